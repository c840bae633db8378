"""Faults on demand: everything a venue does to its clients on a bad day.

Pure: what a fault is, when it is due, and how message faults alter the stream of
outgoing messages. Faults of connections are carried out by
`integration.testing.simulator`.

A script is a JSON list of `ScheduledFault`s; times count from the market's start in
*market* time, so in lockstep a script is as reproducible as the market itself::

    [{"after_ms": 5000, "fault": {"type": "gap", "symbol": "BTCUSDT"}},
     {"after_ms": 9000, "fault": {"type": "restart", "downtime_ms": 2000}}]

Durations are market time too; a fault with a count waits for its requests or messages.
"""

import re
from collections import deque
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import msgspec

from integration.errors import IntegrationError
from netcore.models import Model

__all__ = [
    "BadChecksum",
    "ClockSkew",
    "Disconnect",
    "Duplicate",
    "Fault",
    "FaultScriptError",
    "Gap",
    "HalfOpen",
    "Malformed",
    "MalformedForm",
    "MessageFault",
    "MessageFaults",
    "MessageKind",
    "Oversized",
    "RateLimit",
    "Refuse",
    "Reorder",
    "Restart",
    "ScheduledFault",
    "ShutdownNotice",
    "SilentStop",
    "StaleSnapshot",
    "StreamMessage",
    "load_script",
    "malformed_payload",
    "oversized_payload",
]


class FaultScriptError(IntegrationError):
    """A fault script cannot be read: the message says file and place."""


# ---- what goes out, as faults see it


class MessageKind(StrEnum):
    """What a message carries; message faults apply to depth only."""

    DEPTH = "depth"
    QUOTE = "quote"
    TRADE = "trade"
    OTHER = "other"


class StreamMessage(msgspec.Struct, frozen=True, gc=False):
    """One message of one stream, as the dialect spells it.

    Attributes:
        topic: What clients subscribe to, in the dialect's spelling.
        symbol: Venue symbol.
        kind: What it carries.
        payload: JSON text, without any envelope of the connection.
    """

    topic: str
    symbol: str
    kind: MessageKind
    payload: str


# ---- faults of messages


class Gap(Model, frozen=True, tag="gap", tag_field="type"):
    """The next `count` depth events of the symbol are lost."""

    symbol: str
    count: int = 1


class Duplicate(Model, frozen=True, tag="duplicate", tag_field="type"):
    """The next `count` depth events of the symbol come twice."""

    symbol: str
    count: int = 1


class Reorder(Model, frozen=True, tag="reorder", tag_field="type"):
    """The next two depth events of the symbol swap places."""

    symbol: str


class BadChecksum(Model, frozen=True, tag="bad_checksum", tag_field="type"):
    """The next `count` depth events of the symbol carry a wrong checksum.

    Only venues that send one are struck (OKX, Kraken).
    """

    symbol: str
    count: int = 1


class MalformedForm(StrEnum):
    """In which way a message is broken."""

    NOT_JSON = "not_json"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    WRONG_TYPE = "wrong_type"
    NOT_A_NUMBER = "not_a_number"
    UNKNOWN_EVENT = "unknown_event"
    INVALID_UTF8 = "invalid_utf8"
    RESERVED_BIT = "reserved_bit"


class Malformed(Model, frozen=True, tag="malformed", tag_field="type"):
    """Every connection gets one broken message at once.

    The last two forms break the WebSocket protocol itself (RFC 6455 sections 5.2 and
    8.1), the others only its content. `wrong_type` and `not_a_number` break a depth
    message of `symbol`, in the words of the venue; where books come on the stream, it
    is the book's next change that is broken.
    """

    form: MalformedForm = MalformedForm.NOT_JSON
    symbol: str = "BTCUSDT"


class Oversized(Model, frozen=True, tag="oversized", tag_field="type"):
    """Every connection gets one well-formed message of `size` bytes at once."""

    size: int = 17 * 1024 * 1024


# ---- faults of connections


class SilentStop(Model, frozen=True, tag="silent_stop", tag_field="type"):
    """Open connections get no more data, but pings and requests are answered.

    Ends after `duration_ms`; None: never, for the connections open now.
    """

    duration_ms: int | None = None


class HalfOpen(Model, frozen=True, tag="half_open", tag_field="type"):
    """Open connections go dead: nothing is sent, nothing read, TCP stays up."""


class Disconnect(Model, frozen=True, tag="disconnect", tag_field="type"):
    """Open connections are closed.

    Code 1006 (RFC 6455 section 7.4.1: never sent) drops TCP without a close frame.
    """

    code: int = 1006
    reason: str = ""


class ShutdownNotice(Model, frozen=True, tag="shutdown_notice", tag_field="type"):
    """The venue announces maintenance in its own words; it does not close yet."""


class Refuse(Model, frozen=True, tag="refuse", tag_field="type"):
    """New connections are refused (nobody listens); open ones live on."""

    duration_ms: int | None = None


class Restart(Model, frozen=True, tag="restart", tag_field="type"):
    """The venue is killed and comes back on the same port after `downtime_ms`."""

    downtime_ms: int = 1000


# ---- faults of requests and clocks


class RateLimit(Model, frozen=True, tag="rate_limit", tag_field="type"):
    """The next `count` HTTP requests are turned away.

    Attributes:
        status: 429 (slow down) or 418 (banned).
        count: How many requests.
        retry_after: Value of the Retry-After header, in seconds; None: no header.
    """

    status: int = 429
    count: int = 1
    retry_after: int | None = 1


class StaleSnapshot(Model, frozen=True, tag="stale_snapshot", tag_field="type"):
    """The next `count` HTTP snapshots of the symbol show the book of this moment."""

    symbol: str
    count: int = 1


class ClockSkew(Model, frozen=True, tag="clock_skew", tag_field="type"):
    """The venue's clock, in messages and in its time route, is off by this much."""

    offset_ms: int


Fault: TypeAlias = (
    Gap
    | Duplicate
    | Reorder
    | BadChecksum
    | Malformed
    | Oversized
    | SilentStop
    | HalfOpen
    | Disconnect
    | ShutdownNotice
    | Refuse
    | Restart
    | RateLimit
    | StaleSnapshot
    | ClockSkew
)


MessageFault: TypeAlias = Gap | Duplicate | Reorder | BadChecksum
"""Faults that alter depth messages on their way."""


class ScheduledFault(Model, frozen=True):
    """A fault and when it strikes, in market milliseconds after the start."""

    after_ms: int
    fault: Fault


def load_script(path: Path) -> list[ScheduledFault]:
    """Read a fault script.

    Raises:
        FaultScriptError: If the file cannot be read or is not a script.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[ScheduledFault])
    except OSError as error:
        raise FaultScriptError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise FaultScriptError(f"{path}: not a fault script: {error}") from error


# ---- how messages are altered


class MessageFaults:
    """Applies armed gaps, duplicates and swaps to depth messages.

    Faults of one symbol strike one after another, in the order they were armed.
    """

    def __init__(self) -> None:
        self._armed: dict[str, deque[MessageFault]] = {}
        self._held: dict[str, list[StreamMessage]] = {}

    def arm(self, fault: MessageFault) -> None:
        """Let a fault strike the symbol's next depth messages."""
        self._armed.setdefault(fault.symbol, deque()).append(fault)

    def shape(self, messages: list[StreamMessage]) -> list[StreamMessage]:
        """Return what is really sent in place of one market event's messages."""
        if not self._armed or not messages:
            return messages
        symbol = messages[0].symbol
        armed = self._armed.get(symbol)
        struck = [m for m in messages if m.kind is MessageKind.DEPTH]
        if not armed or not struck:
            return messages
        spared = [m for m in messages if m.kind is not MessageKind.DEPTH]
        fault = armed.popleft()
        match fault:
            case Gap() | Duplicate() | BadChecksum():
                if fault.count > 1:
                    left = msgspec.structs.replace(fault, count=fault.count - 1)
                    armed.appendleft(left)
                if isinstance(fault, BadChecksum):
                    return spared + [_falsify(m) for m in struck]
                copies = 0 if isinstance(fault, Gap) else 2
                return spared + [m for m in struck for _ in range(copies)]
            case Reorder() if symbol not in self._held:
                self._held[symbol] = struck
                armed.appendleft(fault)
                return spared
            case Reorder():
                return spared + struck + self._held.pop(symbol)


_CHECKSUM = re.compile(r'("checksum":)(-?\d+)')


def _falsify(message: StreamMessage) -> StreamMessage:
    """Return the message with another checksum, if it has one."""
    text = _CHECKSUM.sub(lambda m: f"{m[1]}{int(m[2]) ^ 1}", message.payload)
    return msgspec.structs.replace(message, payload=text)


_BROKEN_DEPTH = {
    MalformedForm.WRONG_TYPE: '{"e":"depthUpdate","E":"soon","s":%s,"U":{},"u":null}',
    MalformedForm.NOT_A_NUMBER: (
        '{"e":"depthUpdate","E":1,"s":%s,"U":1,"u":9223372036854775807,'
        '"b":[["NaN","1.00000000"]],"a":[["Infinity","-1.00000000"]]}'
    ),
}


def malformed_payload(fault: Malformed) -> str | bytes:
    """Return the broken message: text, or raw bytes of a broken frame."""
    match fault.form:
        case MalformedForm.NOT_JSON:
            return "<html><body>502 Bad Gateway</body></html>"
        case MalformedForm.TRUNCATED:
            return '{"e":"depthUpdate","E":1735689600000,"s":"'
        case MalformedForm.EMPTY:
            return ""
        case MalformedForm.UNKNOWN_EVENT:
            return '{"e":"somethingNew","E":1735689600000,"x":{"y":[1,2,3]}}'
        case MalformedForm.INVALID_UTF8:
            # A final text frame (RFC 6455 section 5.2) whose payload is no UTF-8.
            return b'\x81\x06"\xff\xfe\xfd\xc0"'
        case MalformedForm.RESERVED_BIT:
            # RSV2 set without any extension negotiated.
            return b"\xa1\x02{}"
        case MalformedForm.WRONG_TYPE | MalformedForm.NOT_A_NUMBER:
            symbol = msgspec.json.encode(fault.symbol).decode()
            return _BROKEN_DEPTH[fault.form] % symbol


def oversized_payload(fault: Oversized) -> str:
    """Return a well-formed message of exactly `size` bytes (at least 16)."""
    frame = '{"e":"x","p":""}'
    return frame[:-2] + "0" * (fault.size - len(frame)) + frame[-2:]
