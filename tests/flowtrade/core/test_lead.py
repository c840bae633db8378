"""Who leads: the lock decides who tries, the log who succeeds."""

import trio

from flowtrade.core.lead import Lead
from flowtrade.core.operations import Cut, TakeLead
from flowtrade.errors import StoreFailed
from flowtrade.store.memory import MemoryStore
from netcore.clock import ManualClock


class Switch:
    """A lock that somebody else can take away."""

    def __init__(self, *, free=True):
        self.free = free
        self.asked = 0
        self.closed = 0

    def acquire(self):
        self.asked += 1
        return self.free

    def close(self):
        self.closed += 1


class Runner:
    fence = None
    leads = True


async def wait(lead, *, leading):
    with trio.fail_after(120):
        await lead.until(leading=leading)


async def test_the_lead_is_taken_lost_and_taken_again_in_a_new_epoch():
    store, runner, lock = MemoryStore(ManualClock()), Runner(), Switch(free=False)
    lead = Lead(store, runner, lock)
    assert not runner.leads
    async with trio.open_nursery() as nursery:
        await nursery.start(lead.run)
        assert (lead.epoch, runner.leads, lock.asked) == (None, False, 1)
        lock.free = True
        await wait(lead, leading=True)
        first = (lead.epoch, runner.fence, runner.leads)
        lock.free = False
        await wait(lead, leading=False)
        between = (runner.fence, runner.leads)
        lock.free = True
        await wait(lead, leading=True)
        second = lead.epoch
        nursery.cancel_scope.cancel()

    assert first == (1, 1, True)
    assert between == (None, False)
    assert second == 2
    assert (runner.leads, lock.closed) == (False, 1)
    assert await store.execute(Cut(fence=2))


async def test_a_store_that_refuses_the_epoch_leaves_the_lock_to_others(caplog):
    class Refusing:
        def __init__(self):
            self.store = MemoryStore(ManualClock())
            self.refusals = 1

        async def execute(self, operation):
            assert operation == TakeLead()
            self.refusals -= 1
            if self.refusals >= 0:
                raise StoreFailed("the disk is full")
            return await self.store.execute(operation)

    lock, runner = Switch(), Runner()
    lead = Lead(Refusing(), runner, lock)
    async with trio.open_nursery() as nursery:
        await nursery.start(lead.run)
        refused = (lead.epoch, runner.leads, lock.closed)
        await wait(lead, leading=True)
        nursery.cancel_scope.cancel()

    assert refused == (None, False, 1)
    assert "the disk is full" in caplog.text
