"""Moves bytes: non-blocking streams, sans-I/O protocols and their drivers.

Streams are in `netcore.stream`, protocols in `netcore.ws`, `netcore.http` and
`netcore.fix`, drivers in `netcore.service` (busy-poll) and `netcore.trio`. This module
holds only what all of them share, so that importing it stays cheap; `connect`, for
scripts, is loaded when it is asked for.
"""

from typing import TYPE_CHECKING

from netcore.clock import Clock, ManualClock, SystemClock
from netcore.errors import LocalError, NetError, RemoteError
from netcore.models import Model, Timestamp

if TYPE_CHECKING:
    from netcore.blocking import connect

__all__ = [
    "Clock",
    "LocalError",
    "ManualClock",
    "Model",
    "NetError",
    "RemoteError",
    "SystemClock",
    "Timestamp",
    "connect",
]


def __getattr__(name: str) -> object:
    """Load what scripts ask for: `from netcore import connect` (PEP 562)."""
    if name == "connect":
        from netcore.blocking import connect

        return connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
