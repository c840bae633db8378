"""Time as a port: the wall clock for timestamps, the monotonic one for deadlines.

Nothing else in this package asks the operating system for the time, so that every
timer can be tested with `ManualClock` and every timestamp can come from a recording.
"""

import time
from typing import Protocol, final, runtime_checkable

from netcore.models import Timestamp

__all__ = ["NANOSECONDS", "Clock", "ManualClock", "SystemClock", "to_ns"]

NANOSECONDS = 1_000_000_000
"""Nanoseconds in a second."""


def to_ns(seconds: float) -> int:
    """Return the nanoseconds in `seconds`, rounded to the nearest."""
    return round(seconds * NANOSECONDS)


@runtime_checkable
class Clock(Protocol):
    """Two readings of time, both in nanoseconds."""

    def now_ns(self) -> Timestamp:
        """Return the wall clock's time since 1970-01-01T00:00:00Z; it may jump."""
        ...

    def monotonic_ns(self) -> int:
        """Return the time since some fixed moment; it never goes back."""
        ...


@final
class SystemClock:
    """The operating system's clocks."""

    # The functions themselves, not methods around them: a reading takes 67 ns, and a
    # Python frame would double that.
    now_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)

    def __repr__(self) -> str:
        return "SystemClock()"


@final
class ManualClock:
    """A clock that stands still until it is told to move.

    Args:
        now_ns: What the wall clock shows at first.
        monotonic_ns: What the monotonic clock shows at first.
    """

    __slots__ = ("_monotonic", "_now")

    def __init__(
        self, now_ns: Timestamp = 1_700_000_000 * NANOSECONDS, monotonic_ns: int = 0
    ) -> None:
        self._now = now_ns
        self._monotonic = monotonic_ns

    def __repr__(self) -> str:
        return f"ManualClock({self._now}, {self._monotonic})"

    def now_ns(self) -> Timestamp:
        """Return what the wall clock shows."""
        return self._now

    def monotonic_ns(self) -> int:
        """Return what the monotonic clock shows."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks on by `seconds`.

        Raises:
            ValueError: If `seconds` is negative; only `set_wall` can go back.
        """
        self.advance_ns(to_ns(seconds))

    def advance_ns(self, nanoseconds: int) -> None:
        """Move both clocks on by `nanoseconds`.

        Raises:
            ValueError: If `nanoseconds` is negative.
        """
        if nanoseconds < 0:
            raise ValueError(f"a clock cannot go back: by {nanoseconds} ns")
        self._now += nanoseconds
        self._monotonic += nanoseconds

    def set_wall(self, now_ns: Timestamp) -> None:
        """Set the wall clock alone, as a time server does; deadlines stay."""
        self._now = now_ns
