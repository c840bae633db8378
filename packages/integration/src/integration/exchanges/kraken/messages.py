"""What Kraken v1 sends: arrays of data, objects of everything else.

A data message ends in channel name and pair; a book message holds one object or, when
both sides changed, two.
"""

from typing import Any, TypeAlias

import msgspec

__all__ = ["BookPart", "Candle", "Data", "Message", "SystemEvent", "Trade", "decode"]


class Trade(msgspec.Struct, array_like=True, gc=False):
    """`side` b or s; time in decimal seconds."""

    price: str
    volume: str
    time: str
    side: str


class Spread(msgspec.Struct, array_like=True, gc=False):
    """Best prices, then time, then the amounts."""

    bid: str
    ask: str
    time: str
    bid_volume: str
    ask_volume: str


class Candle(msgspec.Struct, array_like=True, gc=False):
    """Times of the last change and of the interval's end in decimal seconds."""

    time: str
    end: str
    open: str
    high: str
    low: str
    close: str
    vwap: str
    volume: str
    count: int


class Level(msgspec.Struct, array_like=True, gc=False):
    """A fourth element `r` marks a level sent again; it is as good as any."""

    price: str
    volume: str
    time: str


class BookPart(msgspec.Struct):
    """`as`, `bs` in an image, `a`, `b` in an update, `c` the checksum after it."""

    as_: list[Level] | None = msgspec.field(default=None, name="as")
    bs: list[Level] | None = None
    a: list[Level] | None = None
    b: list[Level] | None = None
    c: str | None = None


class Data(msgspec.Struct):
    """A data message, its parts not yet read."""

    channel: str
    pair: str
    parts: list[Any]


class NamedSubscription(msgspec.Struct):
    """The channel that an answer is about."""

    name: str = ""
    interval: int = 1


class SystemEvent(msgspec.Struct):
    """Everything that is no data."""

    event: str
    status: str = ""
    pair: str = ""
    subscription: NamedSubscription | None = None
    errorMessage: str = ""  # noqa: N815  the wire's name
    reqid: int | None = None


Message: TypeAlias = Data | SystemEvent

_event: msgspec.json.Decoder[SystemEvent] = msgspec.json.Decoder(SystemEvent)
_array: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[Any])


def decode(payload: bytes) -> Message:
    """Decode one message.

    Raises:
        msgspec.DecodeError: it is not one of Kraken's.
    """
    if not payload.startswith(b"["):
        return _event.decode(payload)
    match _array.decode(payload):
        case [int(), *parts, str() as channel, str() as pair] if parts:
            return Data(channel, pair, parts)
        case _:
            msg = "expected [channel id, data, (data,) channel name, pair]"
            raise msgspec.ValidationError(msg)
