"""Moves bytes: non-blocking streams, sans-I/O protocols and their drivers.

Streams are in `netcore.stream`, protocols in `netcore.ws`, `netcore.http` and
`netcore.fix`, drivers in `netcore.service` (busy-poll) and `netcore.trio`. This module
holds only what all of them share, so that importing it stays cheap.
"""

from netcore.clock import Clock, ManualClock, SystemClock
from netcore.errors import LocalError, NetError, RemoteError
from netcore.models import Model, Timestamp

__all__ = [
    "Clock",
    "LocalError",
    "ManualClock",
    "Model",
    "NetError",
    "RemoteError",
    "SystemClock",
    "Timestamp",
]
