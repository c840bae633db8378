"""Times and numbers as venues spell them, made exact.

Time is `int` nanoseconds since epoch everywhere inside. Venues send milliseconds,
microseconds, decimal seconds or ISO 8601, as number or text: annotate the wire field
with the spelling (`EpochMs`, `IsoTime`, ...), which costs nothing to decode, and
convert when an event is made. Decimal text is never read through a float.

Numbers are `Decimal` by default. msgspec's `Decimal` also accepts `"NaN"`,
`"Infinity"`, `" 1"` and `"1_0"`: `decimal_of` and `check_*` stand where wire values
become prices and amounts.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import NewType, TypeAlias, TypeVar, final

from integration.errors import Deserialise, InvalidLevel, Serialise
from netcore.models import Timestamp

__all__ = [
    "DecimalCache",
    "EpochMs",
    "EpochMsText",
    "EpochNs",
    "EpochSeconds",
    "EpochSecondsDecimal",
    "EpochUs",
    "IsoTime",
    "Number",
    "check_amount",
    "check_price",
    "decimal_of",
    "decimal_text",
    "extract_next",
    "ns_from_datetime",
    "ns_from_decimal_ms",
    "ns_from_decimal_s",
    "ns_from_iso",
    "ns_from_ms",
    "ns_from_s",
    "ns_from_us",
]

T = TypeVar("T")

EpochMs = NewType("EpochMs", int)
"""Whole milliseconds since epoch, as a JSON number; see `ns_from_ms`."""

EpochUs = NewType("EpochUs", int)
"""Whole microseconds since epoch, as a JSON number; see `ns_from_us`."""

EpochNs = NewType("EpochNs", int)
"""Whole nanoseconds since epoch, as a JSON number: already a `Timestamp`."""

EpochSeconds = NewType("EpochSeconds", int)
"""Whole seconds since epoch, as a JSON number; see `ns_from_s`."""

EpochMsText = NewType("EpochMsText", str)
"""Milliseconds since epoch as text, maybe with a fraction; see `ns_from_decimal_ms`."""

EpochSecondsDecimal = NewType("EpochSecondsDecimal", str)
"""Seconds since epoch as decimal text, `1534614057.321597`; see `ns_from_decimal_s`."""

IsoTime = NewType("IsoTime", str)
"""A moment in RFC 3339, up to nanoseconds; see `ns_from_iso`."""

Number: TypeAlias = Decimal | str | int
"""A figure from the wire that has lost nothing yet."""


def ns_from_s(value: int) -> Timestamp:
    """Return nanoseconds for whole seconds."""
    return value * 1_000_000_000


def ns_from_ms(value: int) -> Timestamp:
    """Return nanoseconds for whole milliseconds."""
    return value * 1_000_000


def ns_from_us(value: int) -> Timestamp:
    """Return nanoseconds for whole microseconds."""
    return value * 1_000


def ns_from_decimal_s(text: str) -> Timestamp:
    """Return nanoseconds for seconds in decimal text; digits beyond ns are cut off.

    Raises:
        Deserialise: The text is no decimal number.
    """
    return _scaled(text, 9)


def ns_from_decimal_ms(text: str) -> Timestamp:
    """Return nanoseconds for milliseconds in decimal text; the rest is cut off.

    Raises:
        Deserialise: The text is no decimal number.
    """
    return _scaled(text, 6)


def ns_from_iso(text: str) -> Timestamp:
    """Return nanoseconds for an RFC 3339 moment; digits beyond ns are cut off.

    Raises:
        Deserialise: The text is no such moment, or has no UTC offset: a local time
            names no moment.
    """
    match = _ISO.fullmatch(text)
    if match is None:
        raise Deserialise("a time must be RFC 3339 with an offset", text)
    whole, fraction, offset = match.groups()
    try:
        moment = datetime.fromisoformat(
            whole + ("+00:00" if offset in "Zz" else offset)
        )
    except ValueError as error:
        raise Deserialise(f"a time must exist: {error}", text) from error
    # Whole seconds are far below 2**53: the float is exact.
    seconds = int(moment.timestamp())
    nanos = int((fraction or "")[1:10].ljust(9, "0"))
    return seconds * 1_000_000_000 + nanos


def ns_from_datetime(value: datetime) -> Timestamp:
    """Return nanoseconds for a datetime with time zone.

    Raises:
        Serialise: It has no time zone: a local time names no moment.
    """
    if value.tzinfo is None:
        raise Serialise(f"a datetime needs a time zone, was {value!r}")
    whole = int(value.replace(microsecond=0).timestamp())
    return whole * 1_000_000_000 + value.microsecond * 1_000


def decimal_of(value: Number) -> Decimal:
    """Return a wire figure as a finite Decimal, trailing zeros kept.

    Raises:
        InvalidLevel: It is not a plain decimal number.
    """
    if isinstance(value, str):
        if _NUMBER.fullmatch(value) is None:
            raise InvalidLevel(f"a number must be plain decimal, was {value!r}")
        return Decimal(value)
    if isinstance(value, int):
        return Decimal(value)
    if not value.is_finite():
        raise InvalidLevel(f"a number must be finite, was {value}")
    return value


def decimal_text(value: Decimal) -> str:
    """Return a Decimal as venues want it: no exponent, digits as they are.

    Raises:
        Serialise: It is not finite.
    """
    if not value.is_finite():
        raise Serialise(f"a number must be finite, was {value}")
    return format(value, "f")


def check_price(value: Number) -> Decimal:
    """Return a price: finite; it may be negative (spreads, power), never NaN.

    Raises:
        InvalidLevel: It is none.
    """
    return decimal_of(value)


def check_amount(value: Number) -> Decimal:
    """Return an amount: finite and not negative.

    Raises:
        InvalidLevel: It is none.
    """
    amount = decimal_of(value)
    if amount < 0:
        raise InvalidLevel(f"an amount must not be negative, was {amount}")
    return amount


@final
class DecimalCache:
    """Remembers the Decimal of texts seen before: 24 ns instead of 152 (measured).

    Books repeat the same prices and amounts; the cache is emptied when it is full, so
    that it stays bounded.

    Args:
        size: Texts to remember.
    """

    __slots__ = ("_seen", "_size")

    def __init__(self, size: int = 65_536) -> None:
        self._size = size
        self._seen: dict[str, Decimal] = {}

    def __call__(self, text: str) -> Decimal:
        """Return `decimal_of(text)`.

        Raises:
            InvalidLevel: It is not a plain decimal number.
        """
        value = self._seen.get(text)
        if value is None:
            value = decimal_of(text)
            if len(self._seen) >= self._size:
                self._seen.clear()
            self._seen[text] = value
        return value

    def __len__(self) -> int:
        return len(self._seen)


_MISSING = object()


def extract_next(elements: Iterator[T], name: str) -> T:
    """Return the next element of an array message.

    Raises:
        Deserialise: The array has ended; the message names the missing element.
    """
    element = next(elements, _MISSING)
    if element is _MISSING:
        raise Deserialise(f"the array ends before its element {name!r}", "")
    return element  # type: ignore[return-value]  # not _MISSING, so a T


_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
"""JSON's number (RFC 8259 §6), leading zeros and a bare point admitted as seen live."""

_DECIMAL_TIME = re.compile(r"(-?)([0-9]+)(?:\.([0-9]*))?", re.ASCII)

_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
"""RFC 3339 §5.6, a space for the T admitted as its note says."""


def _scaled(text: str, digits: int) -> int:
    match = _DECIMAL_TIME.fullmatch(text)
    if match is None:
        raise Deserialise("a time must be a decimal number", text)
    sign, whole, fraction = match.groups()
    value = int(whole + (fraction or "")[:digits].ljust(digits, "0"))
    return -value if sign else value
