"""What Bitfinex sends: arrays of data, objects of everything else.

Fractions are decoded as their text: checksums are computed over the spelling. With
the flag SEQ_ALL the last element of an array counts the messages of the connection.
"""

from typing import Any, TypeAlias

import msgspec

__all__ = ["Data", "Event", "Message", "decode"]


class Platform(msgspec.Struct):
    """1 is operative, 0 is maintenance."""

    status: int


class Event(msgspec.Struct):
    """Everything that is no data."""

    event: str
    channel: str = ""
    symbol: str = ""
    key: str = ""
    chanId: int | None = None  # noqa: N815  the wire's name
    code: int | None = None
    msg: str = ""
    platform: Platform | None = None
    cid: int | None = None
    status: str = ""


class Data(msgspec.Struct):
    """A data message: what kind (empty for plain data), of what, and its number."""

    channel_id: int
    kind: str
    body: Any
    sequence: int | None


Message: TypeAlias = Data | Event

_event: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_array: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(
    list[Any], float_hook=str
)

_BODILESS = frozenset({"hb"})


def decode(payload: bytes) -> Message:
    """Decode one message.

    Raises:
        msgspec.DecodeError: it is not one of Bitfinex's.
    """
    if not payload.startswith(b"["):
        return _event.decode(payload)
    match _array.decode(payload):
        case [int() as channel, str() as kind, *rest] if kind in _BODILESS:
            return Data(channel, kind, None, _number(rest))
        case [int() as channel, str() as kind, body, *rest]:
            return Data(channel, kind, body, _number(rest))
        case [int() as channel, list() as body, *rest]:
            return Data(channel, "", body, _number(rest))
        case _:
            msg = "expected [channel id, (kind,) data, (number)]"
            raise msgspec.ValidationError(msg)


def _number(rest: list[Any]) -> int | None:
    return rest[0] if rest and isinstance(rest[0], int) else None
