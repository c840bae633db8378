"""A batch belongs to the epoch in which it was cut, whoever leads when it is stored."""

import pytest
import trio

from flowtrade.core.operations import TakeLead
from flowtrade.errors import Superseded
from flowtrade.testing import FixedSolver
from flowtrade.testing.bench import open_bench


class Interrupted:
    """Solves like the fixed solver, while something happens in the event loop."""

    async def meanwhile(self):
        raise AssertionError("set by the test")

    def solve(self, auction, *, targets, time_limit):
        trio.from_thread.run(self.meanwhile)
        return FixedSolver().solve(auction, targets=targets, time_limit=time_limit)


@pytest.mark.parametrize("after", ["led by nobody here", "led anew"])
async def test_a_batch_cut_in_an_epoch_before_is_not_stored(after):
    solver = Interrupted()
    async with open_bench(solver=solver) as bench:
        auctioneer, store = bench.service.auctioneer, bench.service._store
        await store.execute(TakeLead())
        auctioneer.fence = 1

        async def lead():
            await store.execute(TakeLead())
            auctioneer.fence = 2 if after == "led anew" else None

        solver.meanwhile = lead
        with pytest.raises(Superseded, match="epoch 1"):
            await auctioneer.run_batch()
