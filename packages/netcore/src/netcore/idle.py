"""What a busy loop does when there was nothing to do.

From eating a whole processor for the shortest reaction to sleeping most of the time.
`idle(work)` is called once per turn with how much the turn did.
"""

import os
import time
from collections.abc import Callable
from typing import Protocol, final

__all__ = ["Backoff", "BusySpin", "IdleStrategy", "Sleep", "Yield"]


class IdleStrategy(Protocol):
    """Decides how long to wait after each turn of a loop."""

    def idle(self, work: int, /) -> None:
        """Wait, or not, after a turn that did `work` things."""
        ...


@final
class BusySpin:
    """Never wait: the shortest reaction, and a processor for itself."""

    def idle(self, work: int, /) -> None:
        """Return at once."""


@final
class Yield:
    """Let other threads and processes run, if any is ready to."""

    def __init__(self) -> None:
        # Windows has no sched_yield; a sleep of zero gives the time slice up there.
        self._yield: Callable[[], object] = getattr(
            os, "sched_yield", lambda: time.sleep(0)
        )

    def idle(self, work: int, /) -> None:
        """Yield if there was no work."""
        if not work:
            self._yield()


@final
class Sleep:
    """Sleep a fixed time after each turn without work.

    Args:
        seconds: How long.
        sleep: What sleeps.
    """

    def __init__(
        self, seconds: float, *, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        if seconds < 0:
            raise ValueError(f"seconds must not be negative, was {seconds}")
        self._seconds = seconds
        self._sleep = sleep

    def idle(self, work: int, /) -> None:
        """Sleep if there was no work."""
        if not work:
            self._sleep(self._seconds)


@final
class Backoff:
    """Spin, then yield, then sleep twice as long each time; start anew after work.

    Args:
        spins: Idle turns that return at once.
        yields: Idle turns after these that yield.
        min_sleep: Seconds of the first sleep.
        max_sleep: Seconds that no sleep exceeds.
        sleep: What sleeps.

    The defaults are those of Agrona's BackoffIdleStrategy.
    """

    def __init__(
        self,
        *,
        spins: int = 10,
        yields: int = 5,
        min_sleep: float = 1e-6,
        max_sleep: float = 1e-3,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if spins < 0 or yields < 0 or not 0 < min_sleep <= max_sleep:
            raise ValueError(
                "spins and yields must not be negative and 0 < min_sleep <= max_sleep, "
                f"was {spins=}, {yields=}, {min_sleep=}, {max_sleep=}"
            )
        self._spins = spins
        self._yields = spins + yields
        self._min_sleep = min_sleep
        self._max_sleep = max_sleep
        self._sleep = sleep
        self._yield = Yield()
        self._turns = 0
        self._next = min_sleep

    def idle(self, work: int, /) -> None:
        """Wait a little longer than after the last turn, or start anew."""
        if work:
            self._turns = 0
            self._next = self._min_sleep
            return
        self._turns += 1
        if self._turns <= self._spins:
            return
        if self._turns <= self._yields:
            self._yield.idle(0)
            return
        self._sleep(self._next)
        self._next = min(self._next * 2, self._max_sleep)
