"""Threads that do not come back: later work goes on, up to a bound."""

import threading

import pytest
import trio

from flowtrade.core.service import Service
from flowtrade.core.strays import OneAtATime
from flowtrade.errors import SolverFailed
from flowtrade.models.batch import BatchStatus
from flowtrade.models.curve import ConstantCurve
from flowtrade.settings import AuctionSettings, StoreSettings
from flowtrade.store import open_store
from flowtrade.testing import FixedSolver, RecordingPublisher, SeededIds
from flowtrade.testing.bench import open_bench
from netcore.clock import ManualClock

BIDDER = "00000000-0000-0000-0000-000000000001"


class Stuck:
    """Work that ends when it is told to, and says when it has begun."""

    def __init__(self):
        self.gate = threading.Event()
        self.begun = trio.Event()
        self.token = trio.lowlevel.current_trio_token()

    def __call__(self):
        self.token.run_sync_soon(self.begun.set)
        self.gate.wait()
        return "late"


async def give_up(threads, stuck):
    """Have work begin and give it up."""
    async with trio.open_nursery() as nursery:

        async def lost():
            await threads.run(stuck, seconds=1e6)

        nursery.start_soon(lost)
        await stuck.begun.wait()
        nursery.cancel_scope.cancel()


async def until(condition):
    with trio.fail_after(60):
        while not condition():
            await trio.lowlevel.checkpoint()


async def test_work_that_comes_back_leaves_no_stray():
    threads = OneAtATime()

    assert await threads.run(lambda: 7, seconds=1e6) == 7
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0, seconds=1e6)

    assert (threads.strays, threads.able) == (0, True)


async def test_work_goes_on_beside_a_stray_until_there_are_too_many():
    threads, stuck = OneAtATime(), [Stuck(), Stuck()]
    try:
        await give_up(threads, stuck[0])
        assert (threads.strays, threads.able) == (1, True)
        assert await threads.run(lambda: "next", seconds=1e6) == "next"
        await give_up(threads, stuck[1])
        assert (threads.strays, threads.able) == (2, False)
        with pytest.raises(SolverFailed, match="2 solvers that were given up"):
            await threads.run(lambda: "never", seconds=1e6)
        stuck[0].gate.set()
        await until(lambda: threads.able)

        assert await threads.run(lambda: "again", seconds=1e6) == "again"
        assert threads.strays == 1
    finally:
        for one in stuck:
            one.gate.set()
    await until(lambda: threads.strays == 0)


async def test_work_that_is_cancelled_before_its_turn_is_never_begun():
    threads, stuck, others = OneAtATime(), Stuck(), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: threads.run(stuck, seconds=1e6))
        await stuck.begun.wait()
        with trio.move_on_after(0):
            await threads.run(lambda: others.append("begun"), seconds=1e6)
        stuck.gate.set()

    assert others == []
    assert threads.strays == 0


async def test_work_after_cancellation_is_never_begun():
    threads, others = OneAtATime(), []
    with trio.CancelScope() as scope:
        scope.cancel()
        await threads.run(lambda: others.append("begun"), seconds=1e6)

    assert others == []
    assert threads.strays == 0


class Lost:
    """Does not come back from markets with bids until it is told to."""

    def __init__(self):
        self.gate = threading.Event()
        self.inner = FixedSolver()

    def solve(self, auction, *, targets, time_limit):
        if auction.portfolios:
            self.gate.wait()
        return self.inner.solve(auction, targets=targets, time_limit=time_limit)


async def test_batches_after_one_that_was_given_up_are_run(autojump_clock):
    # The autojump clock does not see threads: each of these is given up at once.
    solver, clock = Lost(), ManualClock()
    async with open_store(StoreSettings(url="memory:"), clock=clock) as store:
        service = Service(
            store=store,
            solver=solver,
            clock=clock,
            ids=SeededIds(),
            publisher=RecordingPublisher(),
            settings=AuctionSettings(time_limit=1.0),
        )
        await service.load()
        item = (await service.create_product(b"null")).id
        demand = await service.create_demand(BIDDER, b"null", ConstantCurve(price=1))
        await service.create_portfolio(
            BIDDER, b"null", demand={demand.id: 1.0}, basis={item: 1.0}
        )
        auctioneer = service.auctioneer
        try:
            given_up = [await auctioneer.run_batch() for _ in range(2)]
            was_able = auctioneer.able
            refused = await auctioneer.run_batch()
        finally:
            solver.gate.set()
        autojump_clock.autojump_threshold = float("inf")
        autojump_clock.rate = 1.0
        await until(lambda: auctioneer.able)
        while (
            record := await auctioneer.run_batch()
        ).status is not BatchStatus.CLEARED:
            assert record.error is not None

    for failed in given_up:
        assert "did not answer within 1 s" in (failed.error or "")
    assert not was_able
    assert refused.status is BatchStatus.FAILED
    assert "still at work" in (refused.error or "")


async def test_a_service_without_solvers_says_so():
    async with open_bench() as bench, bench.client(f"bidder_id={BIDDER}") as client:
        was = await client.get("/health/ready")
        bench.service.auctioneer._solving.strays = 2
        found = await client.get("/health/ready")

    assert (was.status_code, was.json()["checks"]["solver"]) == (200, True)
    assert (found.status_code, found.json()["checks"]["solver"]) == (503, False)
