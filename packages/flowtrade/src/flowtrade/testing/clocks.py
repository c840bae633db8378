"""A wall clock that follows trio's, so that `MockClock` moves both."""

from typing import final

import trio

from netcore.models import Timestamp

__all__ = ["TrioClock"]


@final
class TrioClock:
    """The port `Clock` over `trio.current_time`; for use inside `trio.run` only.

    Args:
        start: What the wall clock shows when it is made.
    """

    def __init__(self, start: Timestamp = 1_767_225_600_000_000_000) -> None:
        self._start = start
        self._origin = trio.current_time()

    def now_ns(self) -> Timestamp:
        """Return the wall clock's time."""
        return self._start + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        """Return the nanoseconds since this was made."""
        return round((trio.current_time() - self._origin) * 1e9)
