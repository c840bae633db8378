"""FIX on the wire: messages from bytes and bytes from messages.

::

    8=FIX.4.4␁ 9=<n>␁ 35=… ␁ … ␁ 10=<sum>␁
                      └──── n ─────┘

BodyLength (9) counts the bytes after its own SOH up to and with the SOH before
`10=`; CheckSum (10) is the sum of all bytes before `10=` modulo 256, in three digits
(FIX 4.4 Vol. 2, "Standard Message Header" and "Checksum Calculation").

A message is found by its BodyLength, not by looking for `10=`, since data fields may
hold anything. One whose first three fields, length or sum is wrong is *garbled*: it is
skipped as if it had never come, so that its number stays expected and is asked for
again (FIX 4.4 Vol. 2, "Session Protocol", "Garbled message"). Nothing of that is an
exception: noise on the line is the sender's fault, not the caller's.

The codec knows no session and no meaning; any BeginString that begins with FIX is
read.
"""

import enum
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import final

import msgspec

from netcore.fix.errors import EncodeError
from netcore.fix.fields import (
    DATA_LENGTH,
    FieldValue,
    Message,
    Pair,
    as_pairs,
    split_fields,
    to_bytes,
)

__all__ = [
    "MAX_MESSAGE_SIZE",
    "FixParser",
    "Garbled",
    "GarbledReason",
    "Resync",
    "checksum",
    "encode",
    "frame",
]

MAX_MESSAGE_SIZE = 1 << 20
"""1 MiB: some thousand book levels. A larger BodyLength is taken for a wrong one."""

_BEGIN = b"8=FIX"
_BEGIN_STRINGS = frozenset({b"FIX.4.%d" % minor for minor in range(5)} | {b"FIXT.1.1"})
# How messages begin that take the fast path; others, such as FIX.5.0's own BeginString
# or garbage that only looks like one, are read by the regex below.
_HEADS = frozenset(b"8=%b\x019=" % begin for begin in _BEGIN_STRINGS)
# FIXT.1.1 is the longest BeginString in use; leave room for FIX.10.0SP99.
_HEAD = re.compile(rb"8=FIX[^\x01=]{0,10}\x019=([0-9]{1,9})\x01").match
_LONGEST_BEGIN = 5 + 10 + 3
_LONGEST_HEAD = 5 + 10 + 1 + 2 + 9 + 1
_TYPE = b"35="
_TRAILERS = tuple(b"\x0110=%03d\x01" % n for n in range(256))
_TRAILER_LENGTH = 7
# BodyLengths as they are usually written; others (leading zeros) take the slow path.
_LENGTHS = {b"%d" % n: n for n in range(5, 2048)}
# Below this size the sum of the bytes is below 65521, the modulus of Adler-32.
_EXACT = 256


def checksum(data: bytes) -> int:
    """Return the sum of the bytes of `data` modulo 256.

    The lower half of Adler-32 started at 0 is the sum modulo 65521, so for up to 256
    bytes (256 · 255 = 65280) it is the sum itself: 4 times as fast as `sum()`.
    """
    adler32 = zlib.adler32
    if len(data) <= _EXACT:
        return adler32(data, 0) & 0xFF
    total = 0
    for start in range(0, len(data), _EXACT):
        total += adler32(data[start : start + _EXACT], 0) & 0xFFFF
    return total & 0xFF


# -- writing -------------------------------------------------------------------------


# `35=` for 35. Without the fields that need care: data fields, whose value may hold
# SOH, and those the codec writes itself; not finding them costs the others nothing.
_PREFIXES = {
    tag: b"%d=" % tag
    for tag in range(1, 1000)
    if tag not in DATA_LENGTH and tag not in {8, 9, 10}
}


def join_fields(pairs: Sequence[tuple[int, FieldValue]]) -> bytes:
    """Return `pairs` as `tag=value␁tag=value␁…`.

    Raises:
        EncodeError: If a field cannot be sent: an empty value, SOH in a value that is
            no data field, a data field without its length right before it, a type
            that has no wire form, a tag that is not positive.
    """
    body = _join(pairs)
    return _join_carefully(as_pairs(pairs)) if body is None else body


def _join(pairs: Sequence[tuple[int, FieldValue]]) -> bytes | None:
    """Join fields that need no care; None if one may."""
    prefixes = _PREFIXES
    try:
        parts = [prefixes[tag] + value for tag, value in pairs]  # type: ignore[operator]  # what is not bytes raises and is converted
    except (KeyError, TypeError):
        return None
    parts.append(b"")
    body = b"\x01".join(parts)
    # The second is maybe only a value that ends in "=", such as Base64.
    if body.count(b"\x01") != len(pairs) or b"=\x01" in body:
        return None
    return body


def _join_carefully(pairs: list[Pair]) -> bytes:
    _check_pairs(pairs)
    return b"".join(b"%d=%b\x01" % pair for pair in pairs)


def _check_pairs(pairs: list[Pair]) -> None:
    before: Pair = (0, b"")
    for tag, value in pairs:
        length_tag = DATA_LENGTH.get(tag)
        if tag < 1:
            raise EncodeError(tag, "a tag is positive")
        if not value:
            raise EncodeError(tag, "a field has a value")
        if length_tag is None:
            if b"\x01" in value:
                raise EncodeError(tag, "only data fields may hold SOH")
        elif before != (length_tag, b"%d" % len(value)):
            raise EncodeError(
                tag, f"a data field follows its length: ({length_tag}, {len(value)})"
            )
        before = (tag, value)


def frame(begin_string: bytes, body: bytes) -> bytes:
    """Return a message of `body`, which is MsgType and the fields after it."""
    head = b"8=%b\x019=%d\x01%b" % (begin_string, len(body), body)
    return head[:-1] + _TRAILERS[checksum(head)]


def encode(fields: Iterable[tuple[int, FieldValue]]) -> bytes:
    """Return `fields` as a message: BodyLength and CheckSum are computed.

    Args:
        fields: BeginString (8) first, then MsgType (35), then the rest in their
            order. A 9 and a 10 among them are left out.

    Raises:
        EncodeError: If 8 and 35 do not lead, or a field cannot be sent.
    """
    pairs = list(fields)
    if not pairs or pairs[0][0] != 8:
        raise EncodeError(8, "BeginString leads a message")
    begin = pairs[0][1]
    if begin not in _BEGIN_STRINGS:
        begin = _checked_begin(begin)
    del pairs[0]
    body = _join(pairs)
    if body is None:
        body = join_fields([pair for pair in pairs if pair[0] not in {9, 10}])
    if not body.startswith(_TYPE):
        raise EncodeError(35, "MsgType follows BeginString and BodyLength")
    return frame(begin, body)  # type: ignore[arg-type]  # all of the set are bytes


def _checked_begin(value: FieldValue) -> bytes:
    begin = to_bytes(8, value)
    if _HEAD(b"8=%b\x019=0\x01" % begin) is None:
        raise EncodeError(8, f"{begin!r} is no BeginString (FIX.4.4, FIXT.1.1)")
    return begin


# -- reading -------------------------------------------------------------------------


class Resync(enum.Enum):
    """Where reading goes on after a garbled message."""

    NEXT_BEGIN = "next begin"
    """At the next `8=FIX`: no whole message is lost to a wrong BodyLength."""

    CLAIMED_END = "claimed end"
    """Behind the first `␁10=…␁` at or after the end that BodyLength claims.

    What a message claims for itself is never read as another one, so a
    counterparty's text inside a damaged message cannot become a message. A message
    swallowed by a too large BodyLength is asked for again by its number. QuickFIX
    and its relatives read like this, so sessions do.
    """


class GarbledReason(enum.Enum):
    """Why bytes were skipped."""

    NOISE = "bytes outside of any message"
    HEADER = "the first three fields are not 8, 9 and 35"
    TOO_LARGE = "BodyLength is over the limit"
    TRAILER = "there is no right CheckSum where BodyLength says"
    FIELDS = "a field has no tag, or a data field not its length"


@final
class Garbled(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that were skipped.

    Attributes:
        reason: Why.
        size: How many bytes, as far as known when it was noticed.
        after: How many messages this parser had delivered before.
    """

    reason: GarbledReason
    size: int
    after: int


@final
class FixParser:
    """Takes bytes as they come and returns whole messages.

    Args:
        max_message_size: The most bytes of a message, all told.
        resync: Where to go on after a garbled message.

    Attributes:
        delivered: How many messages were returned so far.
    """

    __slots__ = (
        "_garbled",
        "_have",
        "_limit",
        "_need",
        "_pieces",
        "_resync",
        "delivered",
    )

    def __init__(
        self,
        *,
        max_message_size: int = MAX_MESSAGE_SIZE,
        resync: Resync = Resync.NEXT_BEGIN,
    ) -> None:
        self._limit = max_message_size
        self._resync = resync
        self._pieces: list[bytes] = []
        self._have = 0
        self._need = 0
        self._garbled: list[Garbled] = []
        self.delivered = 0

    def __repr__(self) -> str:
        return f"<FixParser {self.delivered} delivered, {self._have} bytes pending>"

    @property
    def pending_bytes(self) -> int:
        """How many bytes of an unfinished message are held."""
        return self._have

    def take_garbled(self) -> list[Garbled]:
        """Return what was skipped since the last call."""
        garbled, self._garbled = self._garbled, []
        return garbled

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that `data` completes, in their order."""
        if self._pieces:
            # Pieces are joined once, when enough are there: 1-byte reads of a large
            # message would otherwise copy it once per byte.
            self._pieces.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._pieces)
        messages: list[Message] = []
        position = self._walk(data, messages)
        if position < len(data):
            self._pieces = [data[position:]]
            self._have = len(data) - position
        elif self._pieces:
            self._pieces = []
            self._have = 0
        return messages

    def _walk(self, data: bytes, messages: list[Message]) -> int:
        """Read messages from `data`; return where the unfinished rest begins."""
        position, end, limit, before = 0, len(data), self._limit, self.delivered
        lengths = _LENGTHS
        while position < end:
            # The usual case first, and in place: each call costs 60 ns, a regex 500.
            begin = data.find(b"\x019=", position, position + _LONGEST_BEGIN) + 3
            body = data.find(b"\x01", begin) + 1
            tail = body + lengths.get(data[begin : body - 1], end)
            total = tail + _TRAILER_LENGTH
            if (
                total <= end
                and total - position <= limit
                and data[tail - 1 : total] == _TRAILERS[checksum(data[position:tail])]
                and data[body : body + 3] == _TYPE
                and data[position:begin] in _HEADS
            ):
                raw = data[position:total]
                try:
                    messages.append(Message(split_fields(raw[:-1]), raw))
                except ValueError:
                    pass
                else:
                    position = total
                    continue
            self.delivered = before + len(messages)
            following = self._step(data, position, messages)
            if following is None:
                return position
            position = following
        self.delivered = before + len(messages)
        return position

    def _step(self, data: bytes, position: int, messages: list[Message]) -> int | None:
        """Read what the fast path could not; return where to go on, None to wait."""
        head = _HEAD(data, position)
        if head is None:
            return self._no_head(data, position)
        body = head.end()
        tail = body + int(head[1])
        total = tail + _TRAILER_LENGTH
        if total - position > self._limit:
            return self._skip(data, position, GarbledReason.TOO_LARGE)
        if not _TYPE.startswith(data[body : body + 3]) or tail < body + 4:
            return self._garbage(data, position, tail, GarbledReason.HEADER)
        if total > len(data):
            # MsgType's tag is judged as soon as it is there, not when all is.
            self._need = (total if len(data) >= body + 3 else body + 3) - position
            return None
        if data[tail - 1 : total] != _TRAILERS[checksum(data[position:tail])]:
            return self._garbage(data, position, tail, GarbledReason.TRAILER)
        raw = data[position:total]
        try:
            messages.append(Message(split_fields(raw[:-1]), raw))
        except ValueError:
            return self._garbage(data, position, tail, GarbledReason.FIELDS)
        return total

    def _no_head(self, data: bytes, position: int) -> int | None:
        """Decide on bytes that are not, or not yet, the head of a message."""
        if data.startswith(_BEGIN, position):
            rest = len(data) - position
            if rest < _LONGEST_HEAD and data.count(b"\x01", position) < 2:
                self._need = rest + 1
                return None
            return self._skip(data, position, GarbledReason.HEADER)
        if _BEGIN.startswith(data[position : position + len(_BEGIN)]):
            self._need = len(_BEGIN)
            return None
        return self._skip(data, position, GarbledReason.NOISE)

    def _garbage(
        self, data: bytes, position: int, tail: int, reason: GarbledReason
    ) -> int | None:
        """Skip a message whose head is whole, as far as `resync` says."""
        if self._resync is Resync.NEXT_BEGIN:
            return self._skip(data, position, reason)
        found = data.find(b"\x0110=", tail - 1)
        stop = data.find(b"\x01", found + 1) if found >= 0 else -1
        known = len(data) if stop < 0 else stop + 1
        if known - position > self._limit:
            return self._skip(data, position, reason)
        if stop >= 0:
            self._note(reason, known - position)
            return known
        self._need = max(len(data) + 1, tail + 2) - position
        return None

    def _skip(self, data: bytes, position: int, reason: GarbledReason) -> int:
        """Go on at the next `8=FIX`, or at an end that may be the start of one."""
        following = data.find(_BEGIN, position + 1)
        if following < 0:
            following = len(data)
            for length in range(min(len(_BEGIN) - 1, following - position - 1), 0, -1):
                if data.endswith(_BEGIN[:length]):
                    following -= length
                    self._need = len(_BEGIN)
                    break
        self._note(reason, following - position)
        return following

    def _note(self, reason: GarbledReason, size: int) -> None:
        # Noise that trickles in is one disturbance, not one per byte.
        last = self._garbled[-1] if self._garbled else None
        if (
            last is not None
            and last.reason is reason is GarbledReason.NOISE
            and last.after == self.delivered
        ):
            size += last.size
            self._garbled.pop()
        self._garbled.append(Garbled(reason=reason, size=size, after=self.delivered))
