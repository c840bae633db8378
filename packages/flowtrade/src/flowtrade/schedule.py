"""The time grid of auctions: pure arithmetic, and the loop that keeps to it.

Grid points are `start + n * every`. The runner sleeps until the next point, runs one
batch for it, and goes on to the next point after now: a point that passed while a
batch was running is skipped and reported, never caught up in a burst, and no point is
run twice (the store refuses a second batch for it, even after a restart or when the
clock is set back).

Where several processes share a store, each keeps to the grid, and the one that leads
runs the batches: the next point after a leader's death is run by its successor.

A failure of one batch is logged and survived; the service ends only when the store
has closed or the program has a bug.
"""

import logging
from typing import Protocol, final

import msgspec
import trio

from flowtrade.errors import (
    BatchExists,
    InvalidRequest,
    NotLeader,
    StoreBusy,
    StoreClosed,
    StoreFailed,
    Superseded,
)
from flowtrade.models.batch import BatchRecord, BatchStatus
from flowtrade.models.time import format_timestamp, parse_timestamp
from flowtrade.ports import Clock
from flowtrade.settings import ScheduleSettings
from netcore.models import Timestamp

__all__ = ["Grid", "OnRequest", "RunsBatches", "Schedule", "ScheduleStatus"]

_SECOND = 1_000_000_000
_LONGEST_SLEEP = 1.0
"""Seconds: the wall clock may be set while we sleep, so it is looked at that often."""

_log = logging.getLogger(__name__)


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """Evenly spaced points in time.

    Attributes:
        every: Nanoseconds between points, > 0.
        start: A point that the grid passes through.
    """

    every: int
    start: Timestamp = 0

    @classmethod
    def from_settings(cls, settings: ScheduleSettings) -> "Grid | None":
        """Return the grid that the settings describe, or None for none.

        Raises:
            InvalidRequest: The period is below a nanosecond.
            TimeError: `start` is no timestamp.
        """
        if settings.every is None:
            return None
        every = round(settings.every * _SECOND)
        if every < 1:
            raise InvalidRequest(f"schedule.every is too short: {settings.every} s")
        start = 0 if settings.start is None else parse_timestamp(settings.start)
        return cls(every=every, start=start)

    def after(self, now: Timestamp) -> Timestamp:
        """Return the first point later than `now`, not before `start`."""
        if now < self.start:
            return self.start
        return now + self.every - (now - self.start) % self.every

    def skipped(self, done: Timestamp, following: Timestamp) -> int:
        """Return how many points lie strictly between two points."""
        return max((following - done) // self.every - 1, 0)


class RunsBatches(Protocol):
    """What the schedule drives: `flowtrade.core.auction.Auctioneer`."""

    async def run_batch(
        self, as_of: Timestamp | None = None, *, scheduled: Timestamp | None = None
    ) -> BatchRecord:
        """Run one batch."""
        ...


class ScheduleStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the schedule is doing.

    Attributes:
        following: The next grid point.
        cleared: Batches cleared so far.
        failed: Batches that failed so far.
        skipped: Grid points passed over so far.
    """

    following: Timestamp
    cleared: int = 0
    failed: int = 0
    skipped: int = 0


@final
class Schedule:
    """Runs batches on a grid.

    Args:
        auctioneer: Runs each batch.
        clock: The wall clock that the grid is on.
        grid: The grid.
    """

    def __init__(self, auctioneer: RunsBatches, *, clock: Clock, grid: Grid) -> None:
        self._auctioneer = auctioneer
        self._clock = clock
        self._grid = grid
        self.status = ScheduleStatus(following=grid.after(clock.now_ns()))

    @property
    def late(self) -> bool:
        """Whether no batch has been run for two grid points, or none will be.

        The latter is so where the clock has been set back: no point is run twice.
        """
        grid, point = self._grid, self.status.following
        passed = self._clock.now_ns() - point
        set_back = -passed > 2 * grid.every and point > grid.start
        return passed > 2 * grid.every or set_back

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run batches until cancelled.

        Raises:
            StoreClosed: The store takes no more operations.
        """
        task_status.started()
        while True:
            point = self.status.following
            await self._sleep_until(point)
            await self._run_one(point)
            following = self._grid.after(max(self._clock.now_ns(), point))
            skipped = self._grid.skipped(point, following)
            if skipped:
                _log.warning(
                    "the batch of %s took long: %d grid points skipped",
                    format_timestamp(point),
                    skipped,
                )
            self._count(following=following, skipped=self.status.skipped + skipped)

    async def _sleep_until(self, point: Timestamp) -> None:
        # Not an event: the wall clock is polled because it may be set meanwhile.
        told = False
        while (left := point - self._clock.now_ns()) > 0:
            if self.late and not told:
                told = True
                _log.warning(
                    "the clock was set back: no auction before %s",
                    format_timestamp(point),
                )
            await trio.sleep(min(left / _SECOND, _LONGEST_SLEEP))

    async def _run_one(self, point: Timestamp) -> None:
        try:
            record = await self._auctioneer.run_batch(point, scheduled=point)
        except StoreClosed:
            raise
        except NotLeader:
            pass  # another process runs this point
        except (BatchExists, Superseded) as error:
            _log.info("skipped: %s", error)
        except (StoreBusy, StoreFailed) as error:
            _log.error("the batch of %s: %s", format_timestamp(point), error)
            self._count(failed=self.status.failed + 1)
        else:
            if record.status is BatchStatus.CLEARED:
                self._count(cleared=self.status.cleared + 1)
            else:
                _log.error("batch %d failed: %s", record.seq, record.error)
                self._count(failed=self.status.failed + 1)

    def _count(self, **changes: int) -> None:
        self.status = msgspec.structs.replace(self.status, **changes)


@final
class OnRequest:
    """Runs a batch soon after somebody asks (auto-solve).

    Requests that come while a batch is running or waits are answered by one more
    batch together: it is cut after all of them.

    Args:
        auctioneer: Runs each batch.
    """

    def __init__(self, auctioneer: RunsBatches) -> None:
        self._auctioneer = auctioneer
        self._asked = trio.Event()

    def request(self) -> None:
        """Ask for a batch; returns at once."""
        self._asked.set()

    async def run(self) -> None:
        """Run batches on request until cancelled; failures are logged."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            try:
                record = await self._auctioneer.run_batch()
            except (NotLeader, Superseded):
                pass  # the process that leads hears of the bids, too
            except (StoreBusy, StoreFailed) as error:
                _log.error("a batch on request: %s", error)
            else:
                if record.status is BatchStatus.FAILED:
                    _log.error("batch %d failed: %s", record.seq, record.error)
