"""NATS: its codec and a parser for its messages, both without I/O.

https://docs.nats.io/reference/reference-protocols/nats-protocol

`NatsCodec` turns bytes, cut anywhere, into operations; the `encode_` functions turn
operations into bytes; `NatsParser` decodes payloads. The connection that drives them
is `integration.protocols.nats_connection`.

Not here: JetStream.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, Generic, TypeAlias, TypeVar, final

import msgspec

from integration.errors import (
    UNDECODABLE,
    Broker,
    DeserialiseBinary,
    Serialise,
    Unauthorised,
)
from integration.message import AdminKind, ProtocolAdmin
from integration.protocols.websocket import Decode
from integration.stream.parser import BatchLike, Parsed, StreamParser

__all__ = [
    "NatsAuth",
    "NatsBatch",
    "NatsCodec",
    "NatsError",
    "NatsFrame",
    "NatsInfo",
    "NatsMessage",
    "NatsParser",
    "NatsSignal",
    "broken",
    "complaint",
    "encode_connect",
    "encode_publish",
    "encode_subscribe",
    "encode_unsubscribe",
]

T = TypeVar("T")

_MAX_LINE = 4096
"""The server's own limit of a control line (max_control_line)."""

_MAX_INFO = 2**20
"""INFO alone may be longer: it lists a cluster's addresses."""

_MAX_PAYLOAD = 64 * 2**20
"""The most that a server can be told to admit (max_payload)."""


_MAX_HEADS = 10_000
"""Subjects whose lines are remembered."""


class NatsSignal(StrEnum):
    """Operations without content."""

    PING = "PING"
    PONG = "PONG"
    OK = "+OK"


class NatsMessage(msgspec.Struct, frozen=True, gc=False):
    """A message of a subscription.

    Attributes:
        subject: What it was published under.
        sid: Which of our subscriptions it belongs to.
        payload: Its bytes.
        reply: Where an answer is awaited; empty for nowhere.
        headers: The raw header block, `NATS/1.0` line included; empty for none.
    """

    subject: str
    sid: int
    payload: bytes
    reply: str = ""
    headers: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the first value of a header field, or None."""
        wanted = name.lower().encode()
        for line in self.headers.split(b"\r\n")[1:]:
            key, colon, value = line.partition(b":")
            if colon and key.strip().lower() == wanted:
                return value.strip().decode("utf-8", "replace")
        return None

    @property
    def status(self) -> int | None:
        """The code in the header's first line: 503 says that nobody listens."""
        words = self.headers.partition(b"\r\n")[0].split()
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else None


class NatsInfo(msgspec.Struct, frozen=True):
    """What a server says about itself; fields we do not know are ignored."""

    server_id: str = ""
    version: str = ""
    max_payload: int = 1_048_576
    headers: bool = False
    auth_required: bool = False
    tls_required: bool = False
    tls_available: bool = False
    nonce: str = ""


class NatsError(msgspec.Struct, frozen=True):
    """A complaint of the server, in its words."""

    text: str


NatsFrame: TypeAlias = NatsMessage | NatsInfo | NatsError | NatsSignal
"""Everything a server can send."""


class NatsBatch(msgspec.Struct, frozen=True):
    """What one read completed."""

    timestamp_ns: int
    frames: list[NatsFrame]

    def __iter__(self) -> Iterator[NatsFrame]:
        return iter(self.frames)


@final
class NatsCodec:
    """Reads what a server sends, however it is cut.

    Args:
        max_payload: Bytes of a message beyond which the server is taken for broken.
    """

    __slots__ = ("_buffer", "_heads", "_max_payload")

    def __init__(self, *, max_payload: int = _MAX_PAYLOAD) -> None:
        self._buffer = b""
        self._heads: dict[bytes, tuple[str, int, str]] = {}
        self._max_payload = max_payload

    def feed(self, data: bytes) -> list[NatsFrame]:
        """Take bytes and return the operations they complete.

        Raises:
            Broker: (terminal) the server breaks the protocol; the codec is useless
                from then on.
        """
        buffer = self._buffer + data if self._buffer else data
        frames: list[NatsFrame] = []
        at, line = 0, b""
        try:
            while (end := buffer.find(b"\r\n", at)) >= 0:
                line = buffer[at:end]
                head = line[:4].upper()
                frame: NatsFrame | None
                if head == b"MSG ":
                    frame, after = self._message(line, buffer, end + 2)
                elif head == b"HMSG":
                    frame, after = self._headed(line, buffer, end + 2)
                else:
                    frame, after = _control(line), end + 2
                if frame is None:
                    break
                frames.append(frame)
                at = after
        except (ValueError, IndexError) as error:
            raise broken(f"{error} in {line[:80]!r}") from error
        self._buffer = buffer[at:]
        self._check_line()
        return frames

    def _message(
        self, line: bytes, buffer: bytes, start: int
    ) -> tuple[NatsMessage | None, int]:
        # MSG <subject> <sid> [reply-to] <#bytes>
        head, size = line.rsplit(None, 1)
        subject, sid, reply = self._heads.get(head) or self._addressing(head)
        end = start + self._size(size)
        if len(buffer) < end + 2:
            return None, start
        _check_end(buffer, end)
        return NatsMessage(subject, sid, buffer[start:end], reply), end + 2

    def _headed(
        self, line: bytes, buffer: bytes, start: int
    ) -> tuple[NatsMessage | None, int]:
        # HMSG <subject> <sid> [reply-to] <#header bytes> <#total bytes>
        words = line.split()
        subject, sid, reply = _addressing(words[1:-2])
        head, size = self._size(words[-2]), self._size(words[-1])
        if head > size:
            raise ValueError("the header is longer than the message")
        end = start + size
        if len(buffer) < end + 2:
            return None, start
        _check_end(buffer, end)
        payload, headers = buffer[start + head : end], buffer[start : start + head]
        return NatsMessage(subject, sid, payload, reply, headers), end + 2

    def _addressing(self, head: bytes) -> tuple[str, int, str]:
        """Read a line up to its size; remember it, as most messages repeat it."""
        found = _addressing(head.split()[1:])
        if not found[2]:  # a reply's subject is new every time
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            self._heads[head] = found
        return found

    def _size(self, word: bytes) -> int:
        size = _number(word)
        if size > self._max_payload:
            raise ValueError(f"a message of {size} bytes exceeds {self._max_payload}")
        return size

    def _check_line(self) -> None:
        """Refuse a line that never ends."""
        waiting = self._buffer
        limit = _MAX_INFO if waiting[:4].upper() == b"INFO" else _MAX_LINE
        if len(waiting) > limit and b"\r\n" not in waiting[: limit + 2]:
            raise broken(f"a line longer than {limit} bytes")


class NatsAuth(msgspec.Struct, frozen=True, kw_only=True):
    """How we identify ourselves; give one of token, user, or nkey with `sign`.

    Attributes:
        token: A shared token.
        user: A name, with `password`.
        password: Its password.
        nkey: A public key, with `sign`.
        jwt: A user's token that goes with the key.
        sign: Returns the Ed25519 signature of the server's nonce, base64url, unpadded.
    """

    token: str | None = None
    user: str | None = None
    password: str | None = None
    nkey: str | None = None
    jwt: str | None = None
    sign: Callable[[bytes], str] | None = None

    def __repr__(self) -> str:
        return "NatsAuth(***)"

    def fields(self, nonce: str) -> dict[str, str]:
        """Return the fields of CONNECT that identify us."""
        plain = {
            "auth_token": self.token,
            "user": self.user,
            "pass": self.password,
            "nkey": self.nkey,
            "jwt": self.jwt,
            "sig": None if self.sign is None else self.sign(nonce.encode()),
        }
        return {name: value for name, value in plain.items() if value is not None}


def encode_connect(
    info: NatsInfo, auth: NatsAuth | None, *, name: str, echo: bool = True
) -> bytes:
    """Return CONNECT: quiet, with headers if the server has them.

    Args:
        info: What the server said.
        auth: How we identify ourselves.
        name: What the server lists us as.
        echo: Whether we get what we publish ourselves, where we subscribe to it.
    """
    options: dict[str, Any] = {
        "verbose": False,
        "pedantic": False,
        "tls_required": info.tls_required,
        "name": name,
        "lang": "python",
        "version": "1",
        "protocol": 1,
        "echo": echo,
        "headers": info.headers,
        "no_responders": info.headers,
    }
    if auth is not None:
        options |= auth.fields(info.nonce)
    return b"CONNECT " + msgspec.json.encode(options) + b"\r\n"


def encode_publish(
    subject: str,
    payload: bytes,
    *,
    reply: str = "",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return PUB, or HPUB if there are headers.

    Raises:
        Serialise: A subject or header that the protocol cannot carry.
    """
    names = _subjects(subject, reply)
    if not headers:
        return b"PUB %b %d\r\n%b\r\n" % (names, len(payload), payload)
    for name, value in headers.items():
        if not name or any(c in name + value for c in "\r\n") or ":" in name:
            raise Serialise(f"header {name!r} cannot be sent: empty, or has a break")
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    block = f"NATS/1.0\r\n{fields}\r\n".encode()
    total = len(block) + len(payload)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (names, len(block), total, block, payload)


def encode_subscribe(subject: str, sid: int, *, queue: str = "") -> bytes:
    """Return SUB; members of a queue share the messages.

    Raises:
        Serialise: A subject that the protocol cannot carry.
    """
    return b"SUB %b %d\r\n" % (_subjects(subject, queue), sid)


def encode_unsubscribe(sid: int, *, after: int = 0) -> bytes:
    """Return UNSUB: at once, or after so many messages in all."""
    return b"UNSUB %d %d\r\n" % (sid, after) if after else b"UNSUB %d\r\n" % sid


class NatsParser(StreamParser[NatsFrame, T], Generic[T]):
    """Decodes payloads into one type; all else is administrative or a fault.

    Args:
        decoder: A msgspec decoder, or any function from bytes to a value.
    """

    def __init__(
        self,
        decoder: msgspec.json.Decoder[T] | msgspec.msgpack.Decoder[T] | Decode[T],
    ) -> None:
        self._decode: Decode[T] = decoder if callable(decoder) else decoder.decode

    def parse(self, frame: NatsFrame) -> Parsed[T] | None:
        """Decode one message, or judge one operation."""
        match frame:
            case NatsMessage():
                return self._message(frame)
            case NatsError(text):
                return complaint(text)
            case NatsSignal.PING:
                return ProtocolAdmin(AdminKind.PING)
            case NatsSignal.PONG:
                return ProtocolAdmin(AdminKind.PONG)
            case NatsSignal.OK:
                return ProtocolAdmin(AdminKind.ACK)
            case NatsInfo():
                return ProtocolAdmin(AdminKind.INFO)

    def parse_batch(self, batch: BatchLike[NatsFrame]) -> Sequence[Parsed[T]]:
        """Decode one read's messages."""
        message = self._message
        parsed = (
            message(frame) if type(frame) is NatsMessage else self.parse(frame)
            for frame in batch
        )
        return [item for item in parsed if item is not None]

    def _message(self, frame: NatsMessage) -> T | DeserialiseBinary | Broker:
        if frame.headers and frame.status is not None:
            code = str(frame.status)
            return Broker(f"{frame.subject}: status {code}", code=code)
        try:
            return self._decode(frame.payload)
        except UNDECODABLE as error:
            fault = DeserialiseBinary(str(error), frame.payload)
            fault.__cause__ = error
            return fault


def _control(line: bytes) -> NatsFrame:
    word, _, rest = line.partition(b" ")
    match word.upper():
        case b"PING":
            return NatsSignal.PING
        case b"PONG":
            return NatsSignal.PONG
        case b"+OK":
            return NatsSignal.OK
        case b"-ERR":
            return NatsError(rest.strip().strip(b"'").decode("utf-8", "replace"))
        case b"INFO":
            return msgspec.json.decode(rest, type=NatsInfo)
        case _:
            raise ValueError("an unknown operation")


def _addressing(words: list[bytes]) -> tuple[str, int, str]:
    subject, sid, *reply = words
    if len(reply) > 1:
        raise ValueError("too many words")
    return subject.decode(), _number(sid), reply[0].decode() if reply else ""


def _number(word: bytes) -> int:
    if not word.isdigit():
        raise ValueError(f"a number had to stand where {word[:20]!r} stands")
    return int(word)


def _check_end(buffer: bytes, end: int) -> None:
    if buffer[end : end + 2] != b"\r\n":
        raise ValueError("a payload is not followed by a line's end")


@lru_cache(maxsize=4096)
def _subjects(subject: str, other: str) -> bytes:
    for text in (subject, other):
        if any(c.isspace() or c == "\0" for c in text):
            raise Serialise(f"a subject holds no white space, was {text!r}")
    if not subject:
        raise Serialise("a subject must not be empty")
    return f"{subject} {other}".encode() if other else subject.encode()


_REFUSED = ("authorization", "authentication", "permissions", "expired")


def complaint(text: str) -> Broker | Unauthorised:
    """Return what a server's words mean; all but some end the connection."""
    lower = text.lower()
    if lower.startswith("permissions violation"):
        return Broker(text, code=text, recoverable=False)
    if any(word in lower for word in _REFUSED):
        error = Unauthorised(text)
        error.terminal = True
        return error
    if lower == "invalid subject":
        return Broker(text, code=text, recoverable=False)
    return Broker(text, code=text, terminal=True)


def broken(why: str) -> Broker:
    """Return the error for a server that does not keep to the protocol."""
    return Broker(f"the server breaks the protocol: {why}", terminal=True)
