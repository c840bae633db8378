"""What Bitstamp sends: one union told apart by `event`."""

from typing import TypeAlias

import msgspec

__all__ = [
    "BookImage",
    "DiffBook",
    "Fault",
    "Heartbeat",
    "Left",
    "Message",
    "Reconnect",
    "Subscribed",
    "Trade",
    "decode",
]

RawLevels: TypeAlias = list[tuple[str, str]]


class TradeData(msgspec.Struct, gc=False):
    """`type` 0 is a buy, 1 a sale; numbers are exact in the `_str` fields."""

    id: int
    amount_str: str
    price_str: str
    type: int
    microtimestamp: str


class Trade(msgspec.Struct, tag="trade", tag_field="event"):
    """One trade."""

    channel: str
    data: TradeData


class DiffData(msgspec.Struct):
    """Changed levels; only the time orders them."""

    microtimestamp: str
    bids: RawLevels
    asks: RawLevels


class DiffBook(msgspec.Struct, tag="data", tag_field="event"):
    """A change of a book."""

    channel: str
    data: DiffData


class Subscribed(msgspec.Struct, tag="bts:subscription_succeeded", tag_field="event"):
    """A subscription is confirmed."""

    channel: str


class Left(msgspec.Struct, tag="bts:unsubscription_succeeded", tag_field="event"):
    """A subscription is ended."""

    channel: str


class Reconnect(msgspec.Struct, tag="bts:request_reconnect", tag_field="event"):
    """The server will close the connection."""


class Heartbeat(msgspec.Struct, tag="bts:heartbeat", tag_field="event"):
    """The answer to ours."""


class FaultData(msgspec.Struct):
    """What is wrong."""

    message: str = ""
    code: int | None = None


class Fault(msgspec.Struct, tag="bts:error", tag_field="event"):
    """A refusal."""

    data: FaultData
    channel: str = ""


class BookImage(msgspec.Struct):
    """The answer to `GET /api/v2/order_book/…`."""

    microtimestamp: str
    bids: RawLevels
    asks: RawLevels


Message: TypeAlias = (
    Trade | DiffBook | Subscribed | Left | Reconnect | Heartbeat | Fault
)

_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def decode(payload: bytes) -> Message:
    """Decode one message.

    Raises:
        msgspec.DecodeError: it is not one of Bitstamp's.
    """
    return _decoder.decode(payload)
