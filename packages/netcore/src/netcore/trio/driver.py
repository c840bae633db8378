"""When a trio task that drives a non-blocking stream gives way to others.

trio's own socket methods make two checkpoints per call (4 to 7 µs each). Here the
stream is tried first, and the task gives way in one of three manners:

* *park*: the stream would block, so wait until it is ready. A full checkpoint.
* *budget*: data keeps coming and `budget` seconds have passed without one: a full
  checkpoint, so that other tasks run.
* otherwise only look whether the task is cancelled (0.3 µs).

**The deviation from trio's rule.** trio asks every async function to be a full
checkpoint. Ours are cancellation points always, but schedule points only after
`budget` seconds (1 ms by default) of work without one; another task waits that long at
most, plus what one call takes. The check comes *before* the stream is read, never
after: a cancelled task has not taken anything from the stream.
"""

import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from enum import Enum
from typing import Protocol, final

import trio

from netcore.clock import NANOSECONDS, to_ns

__all__ = ["Driven", "TrioClock", "TrioDriver"]

# How often a stream without a descriptor (memory, recordings) is asked again.
_POLL_SECONDS = 0.001


class Driven(Protocol):
    """What a driver has to know of a stream."""

    @property
    def buffered(self) -> bool:
        """Whether to try again without waiting."""
        ...

    @property
    def want_write(self) -> bool:
        """Whether to wait for writing, too."""
        ...

    def fileno(self) -> int:
        """Return the descriptor to wait on, -1 if there is none."""
        ...


@final
class TrioClock:
    """trio's clock as ours: deadlines follow `trio.testing.MockClock` in tests."""

    now_ns = staticmethod(time.time_ns)

    def monotonic_ns(self) -> int:
        """Return trio's current time in nanoseconds."""
        return to_ns(trio.current_time())


class _Watch(Enum):
    """Who waits for the descriptor to be writable; trio allows one task."""

    NOBODY = "nobody"
    READER = "the reading task"
    WRITER = "a task that drains"


_clock = time.perf_counter


@final
class TrioDriver:
    """Waits for one stream; used by one reading task and any number that write.

    Args:
        stream: What to wait for.
        spin: Seconds to keep trying before parking. 50 µs makes round trips as fast
            as busy-polling at the price of that much processor time per wait.
        budget: Seconds after which to give way though data keeps coming.
    """

    __slots__ = (
        "_drained",
        "_last_yield",
        "_reader",
        "_stream",
        "_watch",
        "budget",
        "spin",
    )

    def __init__(
        self, stream: Driven, *, spin: float = 0.0, budget: float = 0.001
    ) -> None:
        if spin < 0 or budget < 0:
            raise ValueError(
                f"spin and budget must not be negative, were {spin} and {budget}"
            )
        self._stream = stream
        self.spin = spin
        self.budget = budget
        self._last_yield = _clock()
        self._reader: int | None = None
        self._watch = _Watch.NOBODY
        self._drained = trio.lowlevel.ParkingLot()

    async def checkpoint(self) -> None:
        """Give way if the budget is used up, else only look for cancellation.

        Raises:
            trio.Cancelled: If the task is cancelled.
        """
        if _clock() - self._last_yield < self.budget:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
            self._last_yield = _clock()

    def turns(self) -> Iterator[None]:
        """Yield as often as fits into `spin` seconds: try at each turn, then park."""
        if self.spin:
            end = _clock() + self.spin
            while _clock() < end:
                yield

    async def park(self, *, deadline_ns: int | None = None) -> None:
        """Wait until the stream may be ready, `wake` is called or time is up.

        It may also return for no reason: try, and park again.

        Args:
            deadline_ns: When to return at the latest, by trio's clock.

        Raises:
            trio.BusyResourceError: If another task reads the same stream.
            trio.Cancelled: If the task is cancelled.
        """
        if self._reader is not None:
            raise trio.BusyResourceError("another task is reading this stream")
        if self._stream.buffered:
            await self.checkpoint()
            return
        limit = math.inf if deadline_ns is None else deadline_ns / NANOSECONDS
        if limit < math.inf:
            with trio.move_on_at(limit):
                await self._wait()
        else:
            await self._wait()
        self._last_yield = _clock()

    def wake(self) -> None:
        """Make the parked task look again, as there is something new to wait for."""
        if self._reader is not None:
            trio.lowlevel.notify_closing(self._reader)

    def wake_to_write(self) -> None:
        """Do as `wake`, unless somebody waits for writing anyway."""
        if self._watch is _Watch.NOBODY:
            self.wake()

    def closing(self) -> None:
        """Wake all waiting tasks; call it right before the stream is closed."""
        if self._reader is not None or self._watch is not _Watch.NOBODY:
            trio.lowlevel.notify_closing(self._stream.fileno())
        self._drained.unpark_all()

    async def wait_writable(self) -> None:
        """Wait until more may be sent; any number of tasks may.

        Raises:
            trio.Cancelled: If the task is cancelled.
        """
        descriptor = self._stream.fileno()
        if descriptor < 0:
            await trio.sleep(_POLL_SECONDS)
        elif self._watch is not _Watch.NOBODY:
            await self._drained.park()
        else:
            self._watch = _Watch.WRITER
            try:
                await _until_closed(trio.lowlevel.wait_writable, descriptor)
            finally:
                self._unwatch()

    def _unwatch(self) -> None:
        """Let those look who relied on our watching."""
        self._watch = _Watch.NOBODY
        self._drained.unpark_all()

    async def _wait(self) -> None:
        """Wait for the descriptor in the directions that matter."""
        descriptor = self._stream.fileno()
        if descriptor < 0:
            await trio.sleep(_POLL_SECONDS)
            return
        self._reader = descriptor
        try:
            if self._stream.want_write and self._watch is _Watch.NOBODY:
                await self._wait_both(descriptor)
            else:
                await _until_closed(trio.lowlevel.wait_readable, descriptor)
        finally:
            self._reader = None

    async def _wait_both(self, descriptor: int) -> None:
        """Wait for whichever direction is ready first.

        trio waits for one direction per task, hence the nursery; it costs some 30 µs,
        but only where a send was not taken whole.
        """

        async def watch(wait: Callable[[int], Awaitable[None]]) -> None:
            await _until_closed(wait, descriptor)
            nursery.cancel_scope.cancel()

        self._watch = _Watch.READER
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch, trio.lowlevel.wait_readable)
                nursery.start_soon(watch, trio.lowlevel.wait_writable)
        finally:
            self._unwatch()


async def _until_closed(
    wait: Callable[[int], Awaitable[None]], descriptor: int
) -> None:
    """Wait; a wake or close ends it as readiness does, and the next try tells."""
    with contextlib.suppress(trio.ClosedResourceError):
        await wait(descriptor)
