"""Where an auction is solved: in a worker thread, one at a time, never in the loop."""

import threading

from flowtrade.core.service import Service
from flowtrade.models.batch import BatchStatus
from flowtrade.models.curve import ConstantCurve
from flowtrade.models.time import parse_timestamp
from flowtrade.settings import StoreSettings
from flowtrade.store import open_store
from flowtrade.testing import FixedSolver, RecordingPublisher, SeededIds
from netcore.clock import ManualClock


class Witness:
    """Solves like the fixed solver and remembers in which thread."""

    def __init__(self):
        self.inner = FixedSolver()
        self.threads = []

    def solve(self, auction, *, targets, time_limit):
        self.threads.append(threading.get_ident())
        return self.inner.solve(auction, targets=targets, time_limit=time_limit)


async def test_batches_and_rehearsals_are_solved_off_the_loop():
    clock, solver = ManualClock(), Witness()
    async with open_store(StoreSettings(url="memory:"), clock=clock) as store:
        service = Service(
            store=store,
            solver=solver,
            clock=clock,
            ids=SeededIds(),
            publisher=RecordingPublisher(),
        )
        await service.load()
        item = (await service.create_product(b"null")).id
        bidder = "00000000-0000-0000-0000-000000000001"
        demand = await service.create_demand(bidder, b"null", ConstantCurve(price=1))
        await service.create_portfolio(
            bidder, b"null", demand={demand.id: 1.0}, basis={item: 1.0}
        )

        record = await service.auctioneer.run_batch()
        await service.auctioneer.rehearse()
        await service.auctioneer.replay(parse_timestamp(record.as_of))

    assert record.status is BatchStatus.CLEARED
    assert len(solver.threads) == 3
    assert threading.get_ident() not in solver.threads


class Exhausted:
    """Finds no room for the market."""

    def solve(self, auction, *, targets, time_limit):
        raise MemoryError("unable to allocate 74.5 GiB")


async def test_a_market_too_large_for_the_memory_is_a_failed_batch():
    clock = ManualClock()
    async with open_store(StoreSettings(url="memory:"), clock=clock) as store:
        service = Service(
            store=store,
            solver=Exhausted(),
            clock=clock,
            ids=SeededIds(),
            publisher=RecordingPublisher(),
        )
        await service.load()

        record = await service.auctioneer.run_batch()

    assert record.status is BatchStatus.FAILED
    assert "74.5 GiB" in record.error
