"""What Hyperliquid sends: one union told apart by `channel`."""

from decimal import Decimal
from typing import TypeAlias

import msgspec

__all__ = [
    "Bbo",
    "Book",
    "Candle",
    "Context",
    "Fault",
    "Message",
    "Pong",
    "Response",
    "Trades",
    "decode",
]


class Level(msgspec.Struct, gc=False):
    """`n` orders rest there."""

    px: str
    sz: str


class BookData(msgspec.Struct):
    """Bids, then asks."""

    coin: str
    levels: tuple[list[Level], list[Level]]
    time: int


class Book(msgspec.Struct, tag="l2Book", tag_field="channel"):
    """A whole image."""

    data: BookData


class BboData(msgspec.Struct):
    """Best bid and best ask; null is an empty side."""

    coin: str
    time: int
    bbo: tuple[Level | None, Level | None]


class Bbo(msgspec.Struct, tag="bbo", tag_field="channel"):
    """Best levels."""

    data: BboData


class Trade(msgspec.Struct, gc=False):
    """`side` is the taker's: B or A."""

    coin: str
    side: str
    px: str
    sz: str
    time: int
    tid: int


class Trades(msgspec.Struct, tag="trades", tag_field="channel"):
    """Trades in order."""

    data: list[Trade]


class CandleData(msgspec.Struct, gc=False):
    """From `t` to `T`, of coin `s`; `n` trades."""

    t: int
    T: int
    s: str
    i: str
    o: Decimal
    h: Decimal
    l: Decimal  # noqa: E741  the wire's name
    c: Decimal
    v: Decimal
    n: int


class Candle(msgspec.Struct, tag="candle", tag_field="channel"):
    """A candle so far."""

    data: CandleData


class ContextValues(msgspec.Struct, gc=False):
    """What is known of a perpetual besides its trades."""

    funding: Decimal
    openInterest: Decimal  # noqa: N815  the wire's name
    markPx: Decimal  # noqa: N815  the wire's name
    oraclePx: Decimal  # noqa: N815  the wire's name


class ContextData(msgspec.Struct):
    """Of a coin; without a time."""

    coin: str
    ctx: ContextValues


class Context(msgspec.Struct, tag="activeAssetCtx", tag_field="channel"):
    """Funding, prices and open interest."""

    data: ContextData


class Named(msgspec.Struct):
    """What a request was about."""

    type: str
    coin: str = ""
    interval: str = ""


class ResponseData(msgspec.Struct):
    """The request, repeated."""

    method: str
    subscription: Named


class Response(msgspec.Struct, tag="subscriptionResponse", tag_field="channel"):
    """The answer to a request."""

    data: ResponseData


class Pong(msgspec.Struct, tag="pong", tag_field="channel"):
    """The answer to a ping."""


class Fault(msgspec.Struct, tag="error", tag_field="channel"):
    """A refusal in words."""

    data: str


Message: TypeAlias = Book | Bbo | Trades | Candle | Context | Response | Pong | Fault

_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def decode(payload: bytes) -> Message:
    """Decode one message.

    Raises:
        msgspec.DecodeError: it is not one of Hyperliquid's.
    """
    return _decoder.decode(payload)
