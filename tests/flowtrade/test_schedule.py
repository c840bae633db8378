"""The grid and the loop that keeps to it, in virtual time."""

import logging

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from flowtrade.errors import (
    BatchExists,
    InvalidRequest,
    StoreBusy,
    StoreClosed,
    StoreFailed,
)
from flowtrade.models.batch import BatchRecord, BatchStatus
from flowtrade.models.time import format_timestamp
from flowtrade.schedule import Grid, OnRequest, Schedule
from flowtrade.settings import ScheduleSettings
from flowtrade.testing import TrioClock
from netcore.clock import ManualClock

SECOND = 1_000_000_000


def record(as_of, status=BatchStatus.CLEARED):
    return BatchRecord(
        as_of=format_timestamp(as_of),
        seq=1,
        scheduled=None,
        status=status,
        gains=None,
        products={},
        demands=0,
        portfolios=0,
        report=None,
        certificate=None,
        input_hash="",
        outcome_hash=None,
        targets={},
        error="crossed" if status is BatchStatus.FAILED else None,
    )


class Auctions:
    """Remembers the grid points; takes as long as it is told."""

    def __init__(self, *durations, errors=()):
        self.points = []
        self.durations = list(durations)
        self.errors = list(errors)

    async def run_batch(self, as_of=None, *, scheduled=None):
        assert as_of == scheduled
        self.points.append(scheduled)
        await trio.sleep(self.durations.pop(0) if self.durations else 0)
        error = self.errors.pop(0) if self.errors else None
        if isinstance(error, Exception):
            raise error
        return record(scheduled or 0, error or BatchStatus.CLEARED)


@given(
    st.integers(1, 10**12),
    st.integers(-(10**15), 10**15),
    st.integers(-(10**15), 10**15),
)
def test_the_next_point_is_the_first_one_later(every, start, now):
    grid = Grid(every=every, start=start)

    point = grid.after(now)

    assert point > now
    assert point >= start
    assert (point - start) % every == 0
    assert point == start or point - every <= now


def test_a_grid_comes_from_the_settings():
    start = "2026-01-01T00:00:00.25Z"

    grid = Grid.from_settings(ScheduleSettings(every=0.5, start=start))

    assert grid.every == SECOND // 2
    assert grid.after(grid.start) == grid.start + SECOND // 2
    assert Grid.from_settings(ScheduleSettings(every=None)) is None
    with pytest.raises(InvalidRequest):
        Grid.from_settings(ScheduleSettings(every=1e-12))


async def run_for(seconds, auctions, every=SECOND):
    clock = TrioClock()
    start = clock.now_ns()
    schedule = Schedule(auctions, clock=clock, grid=Grid(every=every, start=start))
    with trio.move_on_after(seconds):
        await schedule.run()
    return [(point - start) / SECOND for point in auctions.points], schedule


async def test_every_point_gets_its_batch(autojump_clock):
    points, schedule = await run_for(4.5, Auctions(0.2, 0.9, 0.1))

    assert points == [1, 2, 3, 4]
    assert (schedule.status.cleared, schedule.status.skipped) == (4, 0)
    assert not schedule.late


async def test_points_that_pass_meanwhile_are_skipped_and_reported(
    autojump_clock, caplog
):
    with caplog.at_level(logging.WARNING):
        points, schedule = await run_for(6.5, Auctions(0, 2.5))

    assert points == [1, 2, 5, 6]
    assert schedule.status.skipped == 2
    assert "2 grid points skipped" in caplog.text


@pytest.mark.parametrize(
    "error",
    [StoreBusy(9), StoreFailed("disk full"), BatchStatus.FAILED],
)
async def test_a_failed_batch_is_logged_and_survived(autojump_clock, caplog, error):
    points, schedule = await run_for(3.5, Auctions(errors=[None, error]))

    assert points == [1, 2, 3]
    assert (schedule.status.cleared, schedule.status.failed) == (2, 1)
    assert caplog.records[-1].levelname == "ERROR"


async def test_a_point_that_is_done_already_is_passed_over(autojump_clock):
    points, schedule = await run_for(3.5, Auctions(errors=[BatchExists("done")]))

    assert points == [1, 2, 3]
    assert (schedule.status.cleared, schedule.status.failed) == (2, 0)


@pytest.mark.parametrize("error", [StoreClosed(), ZeroDivisionError()])
async def test_a_closed_store_and_a_bug_end_the_schedule(autojump_clock, error):
    with pytest.raises(type(error)):
        await run_for(3.5, Auctions(errors=[error]))


async def test_a_clock_that_is_set_back_repeats_no_point(autojump_clock):
    clock = ManualClock(10 * SECOND)
    auctions = Auctions()
    schedule = Schedule(auctions, clock=clock, grid=Grid(every=SECOND))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(schedule.run)
        for now in (11, 5, 8, 12, 13):
            clock.set_wall(now * SECOND)
            await trio.sleep(2)  # the schedule looks at the clock each second
        nursery.cancel_scope.cancel()

    assert [point // SECOND for point in auctions.points] == [11, 12, 13]


async def test_a_clock_that_jumps_ahead_skips(autojump_clock):
    clock = ManualClock(10 * SECOND)
    auctions = Auctions()
    schedule = Schedule(auctions, clock=clock, grid=Grid(every=SECOND))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(schedule.run)
        await trio.testing.wait_all_tasks_blocked()
        clock.set_wall(100 * SECOND)
        assert schedule.late
        await trio.sleep(2)
        nursery.cancel_scope.cancel()

    assert auctions.points[0] == 11 * SECOND
    assert schedule.status.following == 101 * SECOND
    assert schedule.status.skipped == 89


async def test_a_clock_set_back_is_told_and_counts_as_late(autojump_clock, caplog):
    clock, auctions = ManualClock(100 * SECOND), Auctions()
    schedule = Schedule(auctions, clock=clock, grid=Grid(every=SECOND))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(schedule.run)
        await trio.testing.wait_all_tasks_blocked()
        assert not schedule.late
        clock.set_wall(10 * SECOND)
        assert schedule.late
        await trio.sleep(5)
        nursery.cancel_scope.cancel()

    assert auctions.points == []
    assert caplog.text.count("the clock was set back") == 1
    assert "1970-01-01T00:01:41Z" in caplog.text


async def test_a_grid_that_begins_later_is_not_late(autojump_clock):
    clock, auctions = ManualClock(10 * SECOND), Auctions()
    grid = Grid(every=SECOND, start=100 * SECOND)

    assert not Schedule(auctions, clock=clock, grid=grid).late


async def test_requests_during_a_batch_are_answered_by_one_more(autojump_clock):
    auctions = Auctions(1.0)
    on_request = OnRequest(auctions)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(on_request.run)
        on_request.request()
        await trio.sleep(0.5)
        for _ in range(3):
            on_request.request()
        await trio.sleep(5)
        nursery.cancel_scope.cancel()

    assert len(auctions.points) == 2


async def test_a_request_that_fails_is_logged_and_survived(autojump_clock, caplog):
    auctions = Auctions(errors=[StoreFailed("disk full"), BatchStatus.FAILED])
    on_request = OnRequest(auctions)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(on_request.run)
        for _ in range(3):
            on_request.request()
            await trio.sleep(1)
        nursery.cancel_scope.cancel()

    assert len(auctions.points) == 3
    assert [r.levelname for r in caplog.records] == ["ERROR", "ERROR"]
