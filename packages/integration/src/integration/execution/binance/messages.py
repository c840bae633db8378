"""What Binance says of an account: answers and the user data stream, as Structs.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/trading-endpoints,
.../account-endpoints, .../user-data-stream. Lenient: the venue adds
fields without notice. Numbers are decimal text on the wire.
"""

from decimal import Decimal
from typing import TypeAlias

import msgspec

__all__ = [
    "AccountAnswer",
    "BalanceUpdate",
    "Envelope",
    "ExecutionReport",
    "ExternalLockUpdate",
    "ListenKey",
    "OrderAnswer",
    "OutboundAccountPosition",
    "ServerTime",
    "StreamEnded",
    "StreamMessage",
    "TradeAnswer",
    "decode",
]


class OrderAnswer(msgspec.Struct, rename="camel"):
    """An order: as placed, cancelled, queried or listed."""

    symbol: str
    order_id: int
    client_order_id: str
    price: Decimal
    orig_qty: Decimal
    executed_qty: Decimal
    status: str
    time_in_force: str
    type: str
    side: str
    # Not camel case in the documentation either.
    cummulative_quote_qty: Decimal = Decimal(-1)
    orig_client_order_id: str = ""
    transact_time: int = 0
    update_time: int = 0
    time: int = 0


class AssetAnswer(msgspec.Struct):
    """One balance."""

    asset: str
    free: Decimal
    locked: Decimal


class AccountAnswer(msgspec.Struct, rename="camel"):
    """The account."""

    balances: list[AssetAnswer]
    update_time: int = 0


class TradeAnswer(msgspec.Struct, rename="camel"):
    """One of our fills."""

    symbol: str
    id: int
    order_id: int
    price: Decimal
    qty: Decimal
    commission: Decimal
    commission_asset: str
    time: int
    is_buyer: bool
    is_maker: bool


class ListenKey(msgspec.Struct, rename="camel"):
    """The name of a user data stream."""

    listen_key: str


class ServerTime(msgspec.Struct, rename="camel"):
    """The venue's time in ms."""

    server_time: int


class ExecutionReport(msgspec.Struct, tag="executionReport", tag_field="e"):
    """An order has changed; of kind TRADE, it was filled."""

    E: int
    s: str
    c: str
    S: str
    o: str
    f: str
    q: Decimal
    p: Decimal
    x: str
    X: str
    i: int
    l: Decimal  # noqa: E741  the wire's name
    z: Decimal
    L: Decimal
    T: int
    t: int
    r: str = "NONE"
    C: str = ""
    n: Decimal | None = None
    N: str | None = None
    m: bool = False
    Z: Decimal = Decimal(-1)


class StreamBalance(msgspec.Struct):
    """One balance of an `outboundAccountPosition`."""

    a: str
    f: Decimal
    l: Decimal  # noqa: E741  the wire's name


class OutboundAccountPosition(
    msgspec.Struct, tag="outboundAccountPosition", tag_field="e"
):
    """Balances that may have changed, as they are now."""

    E: int
    u: int
    B: list[StreamBalance]


class BalanceUpdate(msgspec.Struct, tag="balanceUpdate", tag_field="e"):
    """A deposit, withdrawal or transfer."""

    E: int
    a: str
    d: Decimal
    T: int


class ExternalLockUpdate(msgspec.Struct, tag="externalLockUpdate", tag_field="e"):
    """Something outside spot has locked or freed a part of a balance."""

    E: int
    a: str
    d: Decimal


class ListenKeyExpired(msgspec.Struct, tag="listenKeyExpired", tag_field="e"):
    """The stream was not prolonged in time."""

    E: int = 0


class EventStreamTerminated(msgspec.Struct, tag="eventStreamTerminated", tag_field="e"):
    """The subscription has ended (log-out, or the venue's doing)."""

    E: int = 0


class ServerShutdown(msgspec.Struct, tag="serverShutdown", tag_field="e"):
    """The server is about to go away."""

    E: int = 0


StreamEnded: TypeAlias = ListenKeyExpired | EventStreamTerminated | ServerShutdown

_Known: TypeAlias = (
    ExecutionReport
    | OutboundAccountPosition
    | BalanceUpdate
    | ExternalLockUpdate
    | StreamEnded
)

StreamMessage: TypeAlias = _Known | None
"""None: an event that says nothing of orders, fills or balances."""


class Envelope(msgspec.Struct, rename="camel"):
    """The WebSocket API's wrapper, and its answers."""

    event: msgspec.Raw = msgspec.Raw()
    id: str | int | None = None
    status: int | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Probe(msgspec.Struct):
    e: str = ""
    event: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()


_probe = msgspec.json.Decoder(_Probe)
_known: msgspec.json.Decoder[_Known] = msgspec.json.Decoder(_Known)
_KNOWN = frozenset(
    {
        "executionReport",
        "outboundAccountPosition",
        "balanceUpdate",
        "externalLockUpdate",
        "listenKeyExpired",
        "eventStreamTerminated",
        "serverShutdown",
    }
)


def decode(payload: bytes | msgspec.Raw) -> StreamMessage:
    """Decode a message: bare, of a combined stream, or of the WebSocket API.

    Raises:
        msgspec.DecodeError: It is none of Binance's.
    """
    probe = _probe.decode(payload)
    inner = bytes(probe.event) or bytes(probe.data)
    if inner:
        return decode(inner)
    if probe.e not in _KNOWN:
        return None
    return _known.decode(payload)
