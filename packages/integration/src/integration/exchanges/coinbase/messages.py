"""What Coinbase Exchange sends: one union told apart by `type`."""

from typing import TypeAlias

import msgspec

__all__ = [
    "Fault",
    "Heartbeat",
    "L2Update",
    "LastMatch",
    "Match",
    "Message",
    "Snapshot",
    "Subscriptions",
    "Ticker",
    "decode",
]


class Match(msgspec.Struct, tag="match", tag_field="type", gc=False):
    """A trade; `side` is the *maker's*."""

    trade_id: int
    time: str
    product_id: str
    size: str
    price: str
    side: str
    sequence: int | None = None


class LastMatch(msgspec.Struct, tag="last_match", tag_field="type", gc=False):
    """The last trade before the subscription."""

    trade_id: int
    product_id: str


class Ticker(msgspec.Struct, tag="ticker", tag_field="type", gc=False):
    """Best levels; sent on trades only, so a coarse view."""

    sequence: int
    product_id: str
    best_bid: str
    best_bid_size: str
    best_ask: str
    best_ask_size: str
    time: str


class Snapshot(msgspec.Struct, tag="snapshot", tag_field="type"):
    """The whole book."""

    product_id: str
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    time: str | None = None


class L2Update(msgspec.Struct, tag="l2update", tag_field="type"):
    """Changes `[side, price, size]`; nothing numbers them."""

    product_id: str
    time: str
    changes: list[tuple[str, str, str]]


class Heartbeat(msgspec.Struct, tag="heartbeat", tag_field="type", gc=False):
    """Once a second; `last_trade_id` shows lost trades."""

    product_id: str
    sequence: int
    last_trade_id: int


class Channel(msgspec.Struct):
    """Products of a channel."""

    name: str
    product_ids: list[str] = []


class Subscriptions(msgspec.Struct, tag="subscriptions", tag_field="type"):
    """Everything that is subscribed to on the connection now."""

    channels: list[Channel]


class Fault(msgspec.Struct, tag="error", tag_field="type"):
    """A refusal; `reason` is the telling part."""

    message: str
    reason: str = ""


Message: TypeAlias = (
    Match | LastMatch | Ticker | Snapshot | L2Update | Heartbeat | Subscriptions | Fault
)

_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def decode(payload: bytes) -> Message:
    """Decode one message.

    Raises:
        msgspec.DecodeError: it is not one of Coinbase's.
    """
    return _decoder.decode(payload)
