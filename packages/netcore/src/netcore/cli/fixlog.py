"""FIX messages in logs: parted by SOH, by `|` or by `^A`, with lines around them.

Pure: bytes in, entries out. A log is read in one of two ways, told from its first
message:

* *raw*: fields end with SOH, as on the wire. Messages are found by their BodyLength,
  wherever lines end; text between them (timestamps of the logger) is passed over.
* *lines*: SOH was replaced to make the log readable. One message a line; what stands
  before `8=FIX` is the logger's.

What is garbled is an entry as well: where it is, how long, and what is wrong with it.
"""

import re
from typing import Final, final

import msgspec

from netcore.fix.codec import FixParser, GarbledReason, checksum
from netcore.fix.fields import Message

__all__ = ["FixEntry", "FixLog", "Garbage", "explain"]

_SOH: Final = b"\x01"
_BEGIN: Final = b"8=FIX"
_START: Final = re.compile(rb"8=FIX[^\x01|^;=\r\n]{0,10}(\x01|\||\^A|;)9=")
_LONGEST_START: Final = 5 + 10 + 2 + 2
_TRAILER: Final = re.compile(rb"\x0110=([0-9]{3})(?:\x01|\Z)")
_BODY_LENGTH: Final = re.compile(rb"8=[^\x01]*\x019=([0-9]{1,9})\x01")
# Control characters that are not line ends or tabs: remains of messages, no log text.
_BINARY: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_MAX_LINE: Final = 1 << 20
_KEPT: Final = 256


@final
class FixEntry(msgspec.Struct, frozen=True):
    """A whole message.

    Attributes:
        offset: Where it begins in the log.
        line: The number of its line, from 1; 0 where lines mean nothing.
        prefix: What the logger wrote before it in the line.
        message: The message.
    """

    offset: int
    line: int
    prefix: str
    message: Message


@final
class Garbage(msgspec.Struct, frozen=True):
    """Bytes of messages that cannot be read as such.

    Attributes:
        offset: Where they begin in the log.
        line: The number of the line, from 1; 0 where lines mean nothing.
        size: How many bytes.
        cause: What is wrong.
        head: The beginning of the bytes.
    """

    offset: int
    line: int
    size: int
    cause: str
    head: bytes


Entry = FixEntry | Garbage


@final
class FixLog:
    """Takes a log as it comes and returns its entries.

    Args:
        raw: Whether the bytes are a connection's, in which nothing but messages may
            be. By default what they are is told from the first message.

    Attributes:
        skipped: Bytes of log text between the messages.
    """

    def __init__(self, *, raw: bool = False) -> None:
        self._strict = raw
        self._raw: _RawLog | None = _RawLog(strict=True) if raw else None
        self._held = b""
        self._offset = 0
        self._line = 1
        self._lines = False
        self._skipped = 0

    @property
    def skipped(self) -> int:
        """Bytes of log text between the messages."""
        return self._skipped + (0 if self._raw is None else self._raw.skipped)

    def feed(self, data: bytes) -> list[Entry]:
        """Return the entries that `data` completes."""
        if self._raw is not None:
            return self._raw.feed(data)
        self._held += data
        if not self._lines:
            self._decide()
        if self._raw is not None:
            held, self._held = self._held, b""
            return self._raw.feed(held)
        return self._whole_lines() if self._lines else []

    def finish(self) -> list[Entry]:
        """Return the entries that the log's end completes."""
        if self._raw is not None:
            return self._raw.finish()
        last, self._held = self._held, b""
        return self._take_line(last) if last else []

    def _decide(self) -> None:
        """Find the first message, and by its separator what kind of log this is."""
        found = _START.search(self._held)
        if found is None:
            # Only whole lines are let go, so that a message's line stays whole.
            end = self._held.rfind(b"\n") + 1
            if end > _LONGEST_START or len(self._held) > _MAX_LINE:
                self._pass(self._held[: end or len(self._held)])
            return
        if found[1] == _SOH:
            start = self._held.rfind(b"\n", 0, found.start()) + 1
            self._pass(self._held[:start])
            self._raw = _RawLog(offset=self._offset, line=self._line)
        else:
            self._lines = True

    def _pass(self, text: bytes) -> None:
        self._skipped += len(text)
        self._offset += len(text)
        self._line += text.count(b"\n")
        self._held = self._held[len(text) :]

    def _whole_lines(self) -> list[Entry]:
        entries: list[Entry] = []
        *lines, self._held = self._held.split(b"\n")
        for line in lines:
            entries += self._take_line(line + b"\n")
        return entries

    def _take_line(self, line: bytes) -> list[Entry]:
        offset, number = self._offset, self._line
        self._offset += len(line)
        self._line += 1
        found = _START.search(line)
        if found is None:
            self._skipped += len(line)
            return []
        self._skipped += found.start()
        start = offset + found.start()
        text = line[found.start() :].rstrip(b"\r\n")
        message, cause = _parse_line(text, found[1])
        if message is None:
            return [Garbage(start, number, len(text), cause, text[:_KEPT])]
        prefix = line[: found.start()].decode("utf-8", "replace").strip()
        return [FixEntry(start, number, prefix, message)]


def _parse_line(text: bytes, separator: bytes) -> tuple[Message | None, str]:
    """Return the message of a line, or what is wrong with it."""
    raw = text.replace(separator, _SOH)
    parser = FixParser()
    messages = parser.feed(raw)
    if not messages and not raw.endswith(_SOH):
        # Many loggers leave the last separator out.
        raw = raw.rstrip() + _SOH
        parser = FixParser()
        messages = parser.feed(raw)
    if len(messages) == 1:
        return messages[0], ""
    return None, explain(raw)


@final
class _RawLog:
    """A log in which SOH ends the fields."""

    def __init__(self, *, offset: int = 0, line: int = 0, strict: bool = False) -> None:
        self._strict = strict
        self._parser = FixParser()
        self._held = bytearray()
        self._offset = offset
        self._line = line
        self._prefix = b""
        self.skipped = 0

    def feed(self, data: bytes) -> list[Entry]:
        """Return the entries that `data` completes."""
        self._held += data
        before = self._parser.delivered
        messages = self._parser.feed(data)
        garbled = self._parser.take_garbled()
        entries: list[Entry] = []
        for place, message in enumerate(messages):
            while garbled and garbled[0].after <= before + place:
                stretch = garbled.pop(0)
                entries += self._garbage(stretch.size, stretch.reason)
            prefix = self._prefix.decode("utf-8", "replace").strip()
            entries.append(FixEntry(self._offset, self._line, prefix, message))
            self._prefix = b""
            self._advance(len(message.raw))
        for stretch in garbled:
            entries += self._garbage(stretch.size, stretch.reason)
        return entries

    def finish(self) -> list[Entry]:
        """Return the unfinished end as garbage, if there is one."""
        rest = bytes(self._held)
        if not rest:
            return []
        if rest.startswith(_BEGIN):
            self._held.clear()
            cause = f"the last message is not complete: {explain(rest)}"
            return [self._entry(rest, cause)]
        return self._garbage(len(rest), GarbledReason.NOISE)

    def _garbage(self, size: int, reason: GarbledReason) -> list[Entry]:
        stretch = bytes(self._held[:size])
        entries: list[Entry] = []
        if reason is not GarbledReason.NOISE:
            # The parser goes on at the next message: what the logger wrote before
            # that one is not part of the damage.
            end = len(stretch) if self._strict else stretch.rfind(b"\n") + 1
            damage, text = stretch[: end or None], stretch[end or size :]
            entries.append(self._entry(damage, explain(damage)))
            self._prefix = b""
        else:
            end = size if self._strict else _binary_end(stretch)
            damage, text = stretch[:end], stretch[end:]
            if damage:
                entries.append(self._entry(damage, reason.value))
                self._prefix = b""
        self.skipped += len(text)
        _, newline, after = text.rpartition(b"\n")
        self._prefix = (after if newline else self._prefix + after)[-_KEPT:]
        self._advance(size)
        return entries

    def _entry(self, data: bytes, cause: str) -> Garbage:
        return Garbage(self._offset, self._line, len(data), cause, data[:_KEPT])

    def _advance(self, size: int) -> None:
        if self._line:
            self._line += self._held.count(b"\n", 0, size)
        del self._held[:size]
        self._offset += size


def _binary_end(stretch: bytes) -> int:
    """Return where the part that no logger writes ends, 0 if there is none."""
    last = 0
    for found in _BINARY.finditer(stretch):
        last = found.end()
    return last


def explain(raw: bytes) -> str:
    """Return what is wrong with bytes that begin like a message and are none.

    Args:
        raw: The bytes, with SOH at the ends of fields.
    """
    head = _BODY_LENGTH.match(raw)
    if head is None:
        return "BodyLength (9) does not follow BeginString (8)"
    if not raw.startswith(b"35=", head.end()):
        return "MsgType (35) does not follow BodyLength (9)"
    trailers = list(_TRAILER.finditer(raw, head.end() - 1))
    if not trailers:
        return "there is no CheckSum (10)"
    trailer = trailers[-1]
    stated, found = int(head[1]), trailer.start() + 1 - head.end()
    if stated != found:
        return f"BodyLength (9) says {stated}, there are {found} bytes"
    total = checksum(raw[: trailer.start() + 1])
    if int(trailer[1]) != total:
        return f"CheckSum (10) says {trailer[1].decode()}, the bytes sum to {total:03d}"
    return "a field has no tag, or a data field not its length"
