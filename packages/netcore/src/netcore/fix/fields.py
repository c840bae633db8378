"""FIX fields: how values are read, written and found in a message.

What may live here: values and containers. Framing is in `netcore.fix.codec`, meaning
in `netcore.fix.session` and `netcore.fix.dictionary`.

A message is an *ordered list with duplicates*: order carries the structure of
repeating groups, and a dict would silently lose all members but one.
"""

import calendar
import re
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TypeAlias, TypeVar, overload

import msgspec

from netcore.fix.errors import BadValue, EncodeError, FieldMissing, GroupMismatch
from netcore.models import Timestamp

__all__ = [
    "DATA_LENGTH",
    "FieldValue",
    "Fields",
    "Message",
    "Pair",
    "ResentMessage",
    "TimePrecision",
    "parse_timestamp",
    "to_bytes",
    "utc_timestamp",
]

_T = TypeVar("_T")

Pair: TypeAlias = tuple[int, bytes]
"""A field as it is on the wire: its tag and its value."""

FieldValue: TypeAlias = bytes | str | int | bool | Decimal
"""What can be sent; no float, whose shortest text is not always what was meant."""

TimePrecision: TypeAlias = int
"""Digits behind the seconds of a timestamp: 0, 3, 6 or 9."""

DATA_LENGTH: dict[int, int] = {
    89: 93, 91: 90, 96: 95, 213: 212, 349: 348, 351: 350, 353: 352, 355: 354,
    357: 356, 359: 358, 361: 360, 363: 362, 365: 364, 446: 445, 619: 618, 622: 621,
    1185: 1184, 1278: 1277, 1281: 1280, 1283: 1282, 1398: 1397, 1402: 1401,
    1404: 1403, 1469: 1468, 1527: 1525, 1579: 1578, 1621: 1620, 1665: 1664,
    1697: 1678,
}  # fmt: skip
"""The length field before each data field, whose value may hold SOH (FIX 4.4 Vol. 1,
"Data Types"; 1185 and above: FIX 5.0 SP1 and SP2)."""

# Values that must not be seen in logs: Signature, RawData, Password, NewPassword,
# EncryptedPassword, EncryptedNewPassword.
_SECRET = frozenset({89, 96, 554, 925, 1402, 1404})

# A tag of more digits is no FIX tag (the largest in use have five).
_TAG_FORM = re.compile(rb"-?(?:0|[1-9][0-9]{0,8})").fullmatch
# The cache of tags is bounded, whatever a peer sends.
_TAG_CACHE_LIMIT = 16384

_INTEGER = re.compile(rb"-?[0-9]{1,18}").fullmatch
_NUMBER = re.compile(rb"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)").fullmatch
_TIMESTAMP = re.compile(
    rb"([0-9]{4})([0-9]{2})([0-9]{2})-([0-9]{2}):([0-9]{2}):([0-9]{2})"
    rb"(?:\.([0-9]{1,12}))?"
).fullmatch
_NS = 1_000_000_000


# Tag texts seen before, so that reading one costs a look-up, not an `int()`. Data tags
# are never among them: the failing look-up is what sends a message that may hold SOH
# inside a value to the careful reader, at no cost for the others. (A plain dict and a
# plain loop: a subclass with `__missing__` and comprehensions were 15 % slower.)
_TAGS = {b"%d" % tag: tag for tag in range(1, 1000) if tag not in DATA_LENGTH}


def split_fields(body: bytes) -> list[Pair]:
    """Return the fields of `body`, which is fields parted by SOH without a last one.

    Raises:
        ValueError: If a field has no tag, a tag that is no integer, or a data field
            is not as long as the field before it says.
    """
    tags = _TAGS
    fields: list[Pair] = []
    append = fields.append
    try:
        for field in body.split(b"\x01"):
            tag, value = field.split(b"=", 1)
            append((tags[tag], value))
    except (KeyError, ValueError):
        return _split_carefully(body)
    return fields


def _split_carefully(body: bytes) -> list[Pair]:
    """Read field by field, taking data fields by their length."""
    fields: list[Pair] = []
    position, end = 0, len(body)
    while position <= end:
        equals = body.find(b"=", position)
        text = body[position:equals]
        if equals < 0 or _TAG_FORM(text) is None:
            raise ValueError(f"no tag at byte {position}")
        tag = int(text)
        length = _data_length(tag, fields)
        if length is None:
            stop = body.find(b"\x01", equals)
            stop = end if stop < 0 else stop
            if tag not in DATA_LENGTH and len(_TAGS) < _TAG_CACHE_LIMIT:
                _TAGS[text] = tag
        else:
            stop = equals + 1 + length
            if stop > end or (stop < end and body[stop] != 1):
                raise ValueError(f"data field {tag} is not {length} bytes long")
        fields.append((tag, body[equals + 1 : stop]))
        position = stop + 1
    return fields


def _data_length(tag: int, before: Sequence[Pair]) -> int | None:
    length_tag = DATA_LENGTH.get(tag)
    if length_tag is None or not before or before[-1][0] != length_tag:
        return None
    text = before[-1][1]
    return int(text) if text.isdigit() and len(text) <= 9 else None


# -- values --------------------------------------------------------------------------


def to_bytes(tag: int, value: FieldValue) -> bytes:
    """Return the wire form of `value`.

    Text is sent as UTF-8, booleans as Y and N, decimals without exponent.

    Raises:
        EncodeError: If the type has no wire form, or a number is not finite.
    """
    match value:
        case bytes():
            return value
        case str():
            return value.encode()
        case bool():
            return b"Y" if value else b"N"
        case int():
            return b"%d" % value
        case Decimal():
            if not value.is_finite():
                raise EncodeError(tag, f"{value} is not a finite number")
            return format(value, "f").encode()
        case _:
            raise EncodeError(
                tag,
                f"a {type(value).__name__} has no one wire form; give bytes, str, int, "
                f"bool or Decimal",
            )


_second: tuple[int, bytes] = (-1, b"")


def utc_timestamp(now: Timestamp, precision: TimePrecision = 3) -> bytes:
    """Return `now` as UTCTimestamp, such as `20240808-12:34:56.789`.

    Args:
        now: Nanoseconds since 1970.
        precision: Digits behind the seconds; further ones are cut off, not rounded,
            so that a timestamp is never in the future.
    """
    global _second
    seconds, rest = divmod(now, _NS)
    cached, text = _second
    if cached != seconds:
        text = time.strftime("%Y%m%d-%H:%M:%S", time.gmtime(seconds)).encode()
        _second = (seconds, text)
    if not precision:
        return text
    return b"%b.%0*d" % (text, precision, rest // 10 ** (9 - precision))


def parse_timestamp(text: bytes) -> Timestamp:
    """Return the nanoseconds since 1970 of a UTCTimestamp.

    A leap second (:60) is the second after it, and digits below nanoseconds are cut.

    Raises:
        ValueError: If it is not of the form YYYYMMDD-HH:MM:SS[.sss…] or no such time
            exists.
    """
    match = _TIMESTAMP(text)
    if match is None:
        raise ValueError(f"{text!r} is no UTCTimestamp (YYYYMMDD-HH:MM:SS[.sss])")
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    if not (
        year
        and 1 <= month <= 12
        and 1 <= day <= calendar.monthrange(year, month)[1]
        and hour < 24
        and minute < 60
        and second <= 60
    ):
        raise ValueError(f"there is no time {text!r}")
    seconds = calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0))
    fraction = match[7] or b""
    return seconds * _NS + int(fraction[:9].ljust(9, b"0"))


# -- containers ----------------------------------------------------------------------


class Fields(msgspec.Struct, gc=False, eq=False):
    """Fields in their order: a message, or one member of a repeating group.

    A Struct only for the speed of making one (a third of a class's `__init__`).

    Attributes:
        fields: The fields as (tag, value).
        raw: The bytes a message was read from; empty for a member of a group.
    """

    fields: list[Pair]
    raw: bytes = b""
    _first: dict[int, bytes] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __str__(self) -> str:
        return "|".join(
            f"{tag}=***" if tag in _SECRET else f"{tag}={value.decode('latin-1')}"
            for tag, value in self.fields
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fields):
            return NotImplemented
        return self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]  # the list inside can change

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __contains__(self, tag: int) -> bool:
        return tag in self._index()

    def __getitem__(self, tag: int) -> bytes:
        """Return the value of the first field `tag`.

        Raises:
            FieldMissing: If there is none.
        """
        try:
            return self._index()[tag]
        except KeyError:
            raise FieldMissing(tag, self._where()) from None

    @overload
    def get(self, tag: int) -> bytes | None: ...
    @overload
    def get(self, tag: int, default: _T) -> bytes | _T: ...
    def get(self, tag: int, default: _T | None = None) -> bytes | _T | None:
        """Return the value of the first field `tag`, or `default`."""
        return self._index().get(tag, default)

    def all(self, tag: int) -> list[bytes]:
        """Return the values of every field `tag`, in order."""
        return [value for number, value in self.fields if number == tag]

    def text(self, tag: int) -> str:
        """Return the first field `tag` as text.

        Raises:
            FieldMissing: If there is none.
            BadValue: If it is not UTF-8.
        """
        value = self[tag]
        try:
            return value.decode()
        except UnicodeDecodeError as exc:
            raise BadValue(tag, "the text is not UTF-8") from exc

    def integer(self, tag: int) -> int:
        """Return the first field `tag` as an integer.

        Raises:
            FieldMissing: If there is none.
            BadValue: If it is no integer of FIX (digits, maybe after a minus).
        """
        value = self[tag]
        if _INTEGER(value) is None:
            raise BadValue(tag, f"{value!r} is no integer")
        return int(value)

    def decimal(self, tag: int) -> Decimal:
        """Return the first field `tag` as an exact decimal.

        Raises:
            FieldMissing: If there is none.
            BadValue: If it is no number of FIX: a plus sign or exponent is none.
        """
        value = self[tag]
        if _NUMBER(value) is None:
            raise BadValue(tag, f"{value!r} is no number")
        return Decimal(value.decode())

    def timestamp(self, tag: int) -> Timestamp:
        """Return the first field `tag` as nanoseconds since 1970.

        Raises:
            FieldMissing: If there is none.
            BadValue: If it is no UTCTimestamp.
        """
        try:
            return parse_timestamp(self[tag])
        except ValueError as exc:
            raise BadValue(tag, str(exc)) from exc

    def flag(self, tag: int) -> bool:
        """Return whether there is a field `tag` with the value Y."""
        return self._index().get(tag) == b"Y"

    def groups(
        self, count: int, first: int, members: Collection[int] | None = None
    ) -> "list[Fields]":
        """Return the members of the repeating group that `count` announces.

        Args:
            count: The tag of the number of members, such as 268.
            first: The tag every member begins with, such as 269.
            members: The tags that may be in a member (those of nested groups
                included), so that the end of the last one is known. Without them it
                runs to the message's end: its fields are there, but so is
                whatever follows the group.

        Returns:
            Nothing if the message has no such group or it is empty.

        Raises:
            BadValue: If the count is no integer.
            GroupMismatch: If the count is not the number of members.
        """
        if count not in self:
            return []
        stated = self.integer(count)
        start = next(i for i, (tag, _) in enumerate(self.fields) if tag == count) + 1
        found = _members(self.fields[start:], first, members) if stated else []
        if len(found) != stated:
            raise GroupMismatch(count, stated, len(found))
        return found

    def _index(self) -> dict[int, bytes]:
        index = self._first
        if index is None:
            # Backwards, so that of duplicates the first stays.
            index = self._first = dict(reversed(self.fields))
        return index

    def _where(self) -> str:
        return f"a member of {len(self.fields)} fields"


def _members(
    fields: Sequence[Pair], first: int, members: Collection[int] | None
) -> list[Fields]:
    found: list[Fields] = []
    for tag, value in fields:
        if tag == first:
            found.append(Fields([]))
        elif (
            not found or tag in _TRAILER or (members is not None and tag not in members)
        ):
            break
        found[-1].fields.append((tag, value))
    return found


class Message(Fields, gc=False, eq=False):
    """A whole FIX message, from BeginString to CheckSum."""

    @property
    def type(self) -> str:
        """MsgType (35), such as "D".

        Raises:
            FieldMissing: If the message has none.
        """
        return self[35].decode("latin-1")

    @property
    def sequence(self) -> int:
        """MsgSeqNum (34).

        Raises:
            FieldMissing: If there is none.
            BadValue: If it is no number.
        """
        return self.integer(34)

    @property
    def body(self) -> list[Pair]:
        """The fields that are neither of the standard header nor of the trailer."""
        return [pair for pair in self.fields if pair[0] not in ENVELOPE]

    def _where(self) -> str:
        return f"the message of type {self.get(35, b'?').decode('latin-1')}"


class ResentMessage(Message, gc=False, eq=False):
    """An application message that was sent again: PossDupFlag (43) is Y.

    It was not processed by this session before, but a program that crashed while
    it handled a message may have seen it: check the message's own identity.
    """


_TRAILER = frozenset({93, 89, 10})
# Standard header and trailer of FIX 4.0 to 5.0 SP2 (FIX 4.4 Vol. 2, FIXT 1.1), without
# 627 and its members, which are a group inside the header.
ENVELOPE = frozenset(
    {8, 9, 35, 49, 56, 115, 128, 90, 91, 34, 50, 142, 57, 143, 116, 144, 129, 145, 43}
    | {97, 52, 122, 212, 213, 347, 369, 370, 627, 628, 629, 630, 1128, 1129, 1156}
    | _TRAILER
)


def as_pairs(fields: Iterable[tuple[int, FieldValue]]) -> list[Pair]:
    """Return `fields` with every value in its wire form.

    Raises:
        EncodeError: If a value has none.
    """
    return [(tag, to_bytes(tag, value)) for tag, value in fields]
