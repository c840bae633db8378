"""Timestamps: nanoseconds inside, RFC 3339 text at the edge.

Text is always written in UTC with `Z` and a fraction of up to nine digits without
trailing zeros; any offset is accepted when reading. Nothing here asks for the time:
that is `netcore.clock`.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, TypeAlias, final

import msgspec

from netcore.models import Timestamp

__all__ = ["Rfc3339", "TimeError", "format_timestamp", "parse_timestamp"]

Rfc3339: TypeAlias = Annotated[
    str, msgspec.Meta(extra_json_schema={"format": "date-time"})
]
"""An RFC 3339 timestamp as text, in UTC with `Z`."""

_SECOND = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Timestamps are stored as signed 64-bit integers (SQLite, PostgreSQL, NumPy).
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1

# RFC 3339 §5.6, date-time; "T" and "Z" may be lower case, and the note there allows
# a space instead of "T", which we do not: nothing we talk to writes it.
_FORM = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?"
    r"(?:([Zz])|([+-])(\d{2}):(\d{2}))",
    re.ASCII,
)


@final
class TimeError(ValueError):
    """A text that is no RFC 3339 timestamp we can hold (the caller's fault)."""


def parse_timestamp(text: str, *, nearest: bool = False) -> Timestamp:
    """Read an RFC 3339 timestamp.

    Args:
        text: Such as `2026-07-01T12:00:00.5Z` or `2026-07-01T14:00:00+02:00`.
        nearest: Whether a year that we cannot hold gives the nearest moment that we
            can, as is right for a bound: nothing of ours is beyond.

    Returns:
        Nanoseconds since 1970-01-01T00:00:00Z.

    Raises:
        TimeError: Another form, a date or offset that does not exist, a leap second,
            digits below a nanosecond, or, unless `nearest`, a year outside 1677..2262.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise TimeError(
            f"a timestamp looks like 2026-07-01T12:00:00.5Z (RFC 3339), was {text!r}"
        )
    *fields, fraction, _zulu, sign, hours, minutes = match.groups()
    try:
        moment = datetime(*map(int, fields), tzinfo=UTC)  # type: ignore[arg-type, misc]  # six ints: year to second
    except ValueError as error:
        raise TimeError(f"no such moment: {text!r} ({error})") from error
    delta = moment - _EPOCH
    seconds = delta.days * 86_400 + delta.seconds
    if sign is not None:
        seconds -= _offset(text, sign, int(hours), int(minutes))
    timestamp = seconds * _SECOND + _nanoseconds(text, fraction or "")
    if nearest:
        return min(max(timestamp, _LOWEST), _HIGHEST)
    return _checked(text, timestamp)


def format_timestamp(timestamp: Timestamp) -> str:
    """Write a timestamp as RFC 3339 in UTC, without trailing zeros.

    Args:
        timestamp: Nanoseconds since 1970-01-01T00:00:00Z, in the range of int64.
    """
    seconds, nanoseconds = divmod(timestamp, _SECOND)
    if nanoseconds:
        return f"{_whole(seconds)}.{nanoseconds:09d}".rstrip("0") + "Z"
    return _whole(seconds) + "Z"


@lru_cache(maxsize=1024)
def _whole(seconds: int) -> str:
    # Many things happen within one second; to write it is most of the work.
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def _offset(text: str, sign: str, hours: int, minutes: int) -> int:
    if hours > 23 or minutes > 59:  # RFC 3339 §5.6, time-numoffset
        raise TimeError(f"no such offset from UTC: {text!r}")
    seconds = hours * 3_600 + minutes * 60
    return seconds if sign == "+" else -seconds


def _nanoseconds(text: str, fraction: str) -> int:
    digits, rest = fraction[:9], fraction[9:]
    if rest.strip("0"):
        raise TimeError(f"times have nanoseconds at the finest, was {text!r}")
    return int(digits.ljust(9, "0"))


def _checked(text: str, timestamp: int) -> Timestamp:
    if not _LOWEST <= timestamp <= _HIGHEST:
        raise TimeError(f"the year must lie between 1677 and 2262, was {text!r}")
    return timestamp
