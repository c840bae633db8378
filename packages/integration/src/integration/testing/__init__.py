"""A simulated exchange to test and demonstrate against, on loopback.

`SimulatedExchange` needs the extra `testing` (trio-websocket, h11); the pure parts
(`integration.testing.market`, `.recording`, `.book`, `.events`, `.faults`) do not, and
this module loads what is asked for only when it is.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from integration.testing.book import BookImage, PriceBook
    from integration.testing.derived import DerivedMarket
    from integration.testing.dialect import Limits
    from integration.testing.events import MarketSource, SymbolSpec
    from integration.testing.faults import Fault, ScheduledFault, load_script
    from integration.testing.market import SyntheticMarket
    from integration.testing.recording import RecordedMarket, RecordingError
    from integration.testing.server import AddressInUseError
    from integration.testing.simulator import SimulatedExchange

__all__ = [
    "AddressInUseError",
    "BookImage",
    "DerivedMarket",
    "Fault",
    "Limits",
    "MarketSource",
    "PriceBook",
    "RecordedMarket",
    "RecordingError",
    "ScheduledFault",
    "SimulatedExchange",
    "SymbolSpec",
    "SyntheticMarket",
    "load_script",
]

_HOMES = {
    "AddressInUseError": "server",
    "BookImage": "book",
    "DerivedMarket": "derived",
    "Fault": "faults",
    "Limits": "dialect",
    "MarketSource": "events",
    "PriceBook": "book",
    "RecordedMarket": "recording",
    "RecordingError": "recording",
    "ScheduledFault": "faults",
    "SimulatedExchange": "simulator",
    "SymbolSpec": "events",
    "SyntheticMarket": "market",
    "load_script": "faults",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
