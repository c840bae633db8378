"""What a recording holds: handshake, frames or FIX messages, and how it was read.

Pure: pieces in, findings out. The kind of conversation is told from its first bytes.
"""

from enum import Enum
from typing import Final, final

import msgspec

from netcore.cli.fixlog import FixEntry, FixLog, Garbage
from netcore.cli.frames import FrameSeen, FrameWalk, opcode_name
from netcore.cli.measure import Distribution
from netcore.cli.recording import Piece, Problem
from netcore.ws.deflate import Deflate, DeflateConfig
from netcore.ws.frames import Fault, Opcode
from netcore.ws.handshake import HeadReader, header_tokens

__all__ = ["Finding", "FixSeen", "HeadSeen", "Inspection", "Kind", "RawSeen", "sniff"]

Headers = tuple[tuple[str, str], ...]

_EXPANDED: Final = 16 << 20
_MOST_KEPT: Final = 256


class Kind(Enum):
    """What a conversation is."""

    UNKNOWN = "unknown"
    WEBSOCKET = "websocket"
    FIX = "fix"
    RAW = "raw"


@final
class HeadSeen(msgspec.Struct, frozen=True):
    """The head of an HTTP message that begins the conversation.

    Attributes:
        offset: Where it begins.
        size: Its bytes, with the empty line.
        line: The request line or status line.
        headers: The fields, with the values of secret ones as ``***``.
    """

    offset: int
    size: int
    line: str
    headers: Headers


@final
class FixSeen(msgspec.Struct, frozen=True):
    """A FIX message or a garbled stretch, and the read that completed it."""

    entry: FixEntry | Garbage
    ended: int


@final
class RawSeen(msgspec.Struct, frozen=True):
    """What one read of an unknown protocol brought.

    Attributes:
        offset: Where it begins.
        size: Its bytes.
        read: The number of the read.
        head: The beginning of the bytes.
    """

    offset: int
    size: int
    read: int
    head: bytes


Finding = HeadSeen | FrameSeen | FixSeen | RawSeen

# Names of header fields whose values open doors.
_SECRET_WORDS: Final = (
    "auth",
    "cookie",
    "key",
    "token",
    "secret",
    "sign",
    "passphrase",
)
_OPEN: Final = frozenset({"sec-websocket-key", "sec-websocket-accept"})


def sniff(data: bytes, *, outbound: bool) -> Kind:
    """Return what a conversation is by its first bytes.

    Args:
        data: As many of them as there are, at most 16 are looked at.
        outbound: Whether a client sent them.
    """
    for start, kind in (
        (b"GET " if outbound else b"HTTP/1.", Kind.WEBSOCKET),
        (b"8=FIX", Kind.FIX),
    ):
        if data.startswith(start):
            return kind
        if len(data) < len(start) and start.startswith(data):
            return Kind.UNKNOWN
    if len(data) < 2:
        return Kind.UNKNOWN
    known = data[0] & 0x0F in frozenset(Opcode) and not data[0] & 0x30
    control = bool(data[0] & 8)
    sized = not control or (data[0] & 0x80 and data[1] & 0x7F <= 125)
    masked = bool(data[1] & 0x80) is outbound
    # A conversation does not begin in the middle of a message.
    begins = data[0] & 0x0F != Opcode.CONTINUATION
    plausible = known and sized and masked and begins
    return Kind.WEBSOCKET if plausible else Kind.RAW


@final
class Inspection:
    """Takes the pieces of one direction in order.

    Args:
        outbound: Whether a client sent the bytes.
        kind: What they are, UNKNOWN to find out.

    Attributes:
        kind: What they are.
        problems: Broken rules and unfinished ends, by offset.
        reads: The sizes of the reads in bytes.
        gaps: Nanoseconds between reads.
        sizes: The payload sizes of data frames, or of FIX messages.
        per_read: How many frames or messages each read completed.
        counts: How many frames of each opcode, or messages of each type.
        messages: How many whole messages.
        first_ns: When the first read returned, None if unknown.
        last_ns: When the last one did.
    """

    def __init__(self, *, outbound: bool = False, kind: Kind = Kind.UNKNOWN) -> None:
        self._outbound = outbound
        self._file = "outbound" if outbound else "inbound"
        self.kind = kind
        self.problems: list[Problem] = []
        self.reads = Distribution()
        self.gaps = Distribution()
        self.sizes = Distribution()
        self.per_read = Distribution()
        self.counts: dict[str, int] = {}
        self.messages = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self._held = b""
        self._head: HeadReader | None = None
        self._walk: FrameWalk | None = None
        self._expander: Deflate | None = None
        self._expanding = False
        self._fix: FixLog | None = None
        self._size = 0

    def feed(self, piece: Piece) -> list[Finding]:
        """Return what `piece` completes."""
        self.reads.add(len(piece.data))
        self._keep_time(piece)
        self._size = piece.offset + len(piece.data)
        found = self._read(piece)
        if self.kind is not Kind.RAW:
            self.per_read.add(sum(not isinstance(one, HeadSeen) for one in found))
        return found

    def finish(self) -> list[Finding]:
        """Return what the end of the bytes completes; note an unfinished end."""
        if self._fix is not None:
            return [self._fix_seen(entry, -1) for entry in self._fix.finish()]
        if self._head is not None:
            self._note(0, "the handshake's head is not complete")
        if self.kind is Kind.UNKNOWN and self._held:
            self._note(0, f"{len(self._held)} bytes are too few to tell what they are")
        if self._walk is not None and self._walk.unfinished is not None:
            rest = self._walk.unfinished
            need = f" of {rest.need}" if rest.need else ", not even its header whole"
            self._note(
                rest.offset, f"the last frame ends after {rest.have}{need} bytes"
            )
        return []

    @property
    def size(self) -> int:
        """Bytes seen so far."""
        return self._size

    # -- reading ---------------------------------------------------------------------

    def _read(self, piece: Piece) -> list[Finding]:
        if self.kind is Kind.UNKNOWN or (
            self.kind is Kind.WEBSOCKET and self._head is None and self._walk is None
        ):
            self._begin(piece)
        if self._head is not None:
            return self._read_head(self._head, piece)
        data, self._held = self._held + piece.data, b""
        if self._walk is not None:
            return self._frames(self._walk, data, piece.number)
        if self._fix is not None:
            return [self._fix_seen(x, piece.number) for x in self._fix.feed(data)]
        if self.kind is Kind.RAW:
            return [RawSeen(piece.offset, len(data), piece.number, data[:_MOST_KEPT])]
        self._held = data
        return []

    def _begin(self, piece: Piece) -> None:
        data = self._held + piece.data
        if self.kind is Kind.UNKNOWN:
            self.kind = sniff(data[:16], outbound=self._outbound)
        if self.kind is Kind.FIX:
            self._fix = FixLog(raw=True)
        elif self.kind is Kind.WEBSOCKET:
            if data.startswith((b"GET ", b"HTTP/1.")):
                self._head = HeadReader()
            else:
                self._walk = FrameWalk(masked=self._outbound, compressed=True)

    def _read_head(self, reader: HeadReader, piece: Piece) -> list[Finding]:
        data, self._held = self._held + piece.data, b""
        try:
            head = reader.feed(data)
        except ValueError as exc:
            self._give_up(piece.offset, f"no HTTP/1.1 head: {exc}")
            return []
        if head is None:
            return []
        line, headers, rest = head
        self._head = None
        size = piece.offset + len(piece.data) - len(rest)
        found: list[Finding] = [HeadSeen(0, size, line, _hidden(headers))]
        if not self._outbound and line.split(" ")[1:2] != ["101"]:
            # A refusal: its body is whatever the server said.
            self.kind = Kind.RAW
            return found
        compressed = bool(header_tokens(headers, "sec-websocket-extensions"))
        if compressed:
            self._expander = Deflate(DeflateConfig())
        self._walk = FrameWalk(
            masked=self._outbound,
            offset=size,
            compressed=compressed,
            keep=_EXPANDED if compressed else _MOST_KEPT,
        )
        return found + self._frames(self._walk, rest, piece.number)

    def _give_up(self, offset: int, text: str) -> None:
        self._note(offset, text)
        self._head = None
        self.kind = Kind.RAW

    def _frames(self, walk: FrameWalk, data: bytes, read: int) -> list[Finding]:
        lost_before = walk.lost
        found: list[Finding] = []
        for frame in walk.feed(data, read):
            self._count(opcode_name(frame.opcode))
            if frame.fault:
                self._note(frame.offset, f"{opcode_name(frame.opcode)}: {frame.fault}")
            if frame.opcode < Opcode.CLOSE:
                self.sizes.add(frame.size)
                self.messages += frame.fin
            found.append(self._expanded(frame))
        if walk.lost and not lost_before:
            self._note(walk.offset, walk.lost)
        return found

    def _expanded(self, frame: FrameSeen) -> FrameSeen:
        """Return the frame with a readable beginning, where it was compressed."""
        if self._expander is None or frame.opcode >= Opcode.CLOSE:
            return _cut(frame)
        if frame.opcode != Opcode.CONTINUATION:
            self._expanding = bool(frame.rsv & 4)
        if not self._expanding or frame.size > len(frame.head):
            return _cut(frame)
        plain = self._expander.expand(frame.head, _EXPANDED, fin=frame.fin)
        if isinstance(plain, Fault):
            self._note(frame.offset, plain.text)
            self._expander = None
            return _cut(frame)
        return msgspec.structs.replace(frame, head=plain[:_MOST_KEPT])

    def _fix_seen(self, entry: FixEntry | Garbage, read: int) -> FixSeen:
        if isinstance(entry, Garbage):
            self._note(entry.offset, f"{entry.size} garbled bytes: {entry.cause}")
            self._count("garbled")
        else:
            self._count(entry.message.get(35, b"?").decode("latin-1"))
            self.sizes.add(len(entry.message.raw))
            self.messages += 1
        return FixSeen(entry, read)

    # -- counting --------------------------------------------------------------------

    def _keep_time(self, piece: Piece) -> None:
        if piece.time_ns is None:
            return
        if self.first_ns is None:
            self.first_ns = piece.time_ns
        elif self.last_ns is not None:
            # The wall clock may have been set back.
            self.gaps.add(max(0, piece.time_ns - self.last_ns))
        self.last_ns = piece.time_ns

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def _note(self, offset: int, text: str) -> None:
        self.problems.append(Problem(self._file, offset, text))


def _cut(frame: FrameSeen) -> FrameSeen:
    """Return the frame with no more of its payload than a preview needs."""
    if len(frame.head) <= _MOST_KEPT:
        return frame
    return msgspec.structs.replace(frame, head=frame.head[:_MOST_KEPT])


def _hidden(headers: Headers) -> Headers:
    return tuple(
        (name, "***" if _is_secret(name.lower()) else value) for name, value in headers
    )


def _is_secret(name: str) -> bool:
    return name not in _OPEN and any(word in name for word in _SECRET_WORDS)
