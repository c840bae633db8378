"""Private endpoints of a simulated venue: orders, account, private stream, faults.

`PrivateVenue` serves REST and WebSocket on loopback in the dialect of Binance spot or
Bybit v5. Orders meet the engine of `integration.execution.matching`, signatures are
checked by recomputing them, and faults strike on demand. It needs no extra.
"""

from integration.testing.private.dialect import PrivateFault
from integration.testing.private.venue import PrivateVenue

__all__ = ["PrivateFault", "PrivateVenue"]
