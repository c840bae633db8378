"""A large auction lets others have their turn, and tells the same as a small one."""

from uuid import UUID

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from flowtrade.core import auction as auction_module
from flowtrade.core import turns
from flowtrade.core.auction import _sorted
from flowtrade.core.service import Service
from flowtrade.models.curve import ConstantCurve
from flowtrade.settings import StoreSettings
from flowtrade.store import open_store
from flowtrade.testing import FixedSolver, SeededIds
from netcore.clock import ManualClock

BIDDERS = [str(UUID(int=number)) for number in range(1, 6)]


class Listener:
    """A publisher that calls back at each of a batch's news."""

    def __init__(self):
        self.topics = []
        self.heard = lambda: None

    def publish(self, topic, update):
        self.topics.append(topic)
        self.heard()


@pytest.fixture
async def house():
    clock, listener = ManualClock(), Listener()
    async with open_store(StoreSettings(url="memory:"), clock=clock) as store:
        service = Service(
            store=store,
            solver=FixedSolver(),
            clock=clock,
            ids=SeededIds(),
            publisher=listener,
        )
        await service.load()
        item = (await service.create_product(b"null")).id
        for bidder in BIDDERS:
            demand = await service.create_demand(bidder, b"1", ConstantCurve(price=1))
            await service.create_portfolio(
                bidder, b"2", demand={demand.id: 1.0}, basis={item: 1.0}
            )
        yield service, listener, item


def expected(item):
    return [("market", ""), ("product", item), *(("bidder", b) for b in BIDDERS)]


async def test_others_run_while_a_batch_is_told(house, monkeypatch):
    service, listener, item = house
    monkeypatch.setattr(turns, "_TURN", -1.0)
    seen = []

    async def look(task_status):
        task_status.started()
        while len(listener.topics) < len(expected(item)):
            seen.append(len(listener.topics))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        with trio.fail_after(60):
            await nursery.start(look)
            await service.auctioneer.run_batch()

    assert listener.topics == expected(item)
    # Once in each turn, but which of two tasks is first in a turn is for trio to say.
    assert len(set(seen) & {1, 2, 3, 4, 5, 6}) >= 3


async def test_a_small_batch_is_told_in_one_go(house, monkeypatch):
    service, listener, item = house
    monkeypatch.setattr(turns, "_TURN", 60.0)
    seen = set()

    async def look(task_status):
        task_status.started()
        while len(listener.topics) < len(expected(item)):
            seen.add(len(listener.topics))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        with trio.fail_after(60):
            await nursery.start(look)
            await service.auctioneer.run_batch()

    assert listener.topics == expected(item)
    assert seen == {0}


async def test_who_is_cancelled_while_a_batch_is_told_has_told_all_of_it(
    house, monkeypatch
):
    service, listener, item = house
    monkeypatch.setattr(turns, "_TURN", -1.0)
    with trio.CancelScope() as scope:
        listener.heard = scope.cancel
        await service.auctioneer.run_batch()

    assert scope.cancel_called
    assert listener.topics == expected(item)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3)))
def test_keys_are_sorted_as_their_bytes_however_many_runs_it_takes(keys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auction_module, "_PIECE", 3)
        assert _sorted(keys) == sorted(keys, key=str.encode)
        assert _sorted(sorted(keys)) == sorted(keys, key=str.encode)
