"""The two paces of a run: live, and in lockstep (see docs/adr/0004-lockstep.md)."""

from collections.abc import Callable
from functools import partial

import trio

from flowtrade.models.batch import BatchRecord
from flowtrade.models.update import BatchUpdate, ReferenceUpdate
from flowtrade_demo.config import DemoConfig, Pace
from flowtrade_demo.house import House, open_house
from netcore.clock import ManualClock

__all__ = ["run_demo", "run_live", "run_lockstep"]

Listener = Callable[[BatchUpdate | ReferenceUpdate], None]


async def run_demo(
    config: DemoConfig,
    *,
    stop: trio.Event,
    started: Callable[[House], None],
    listener: Listener,
) -> None:
    """Start the house and run it at its pace until done or `stop` is set.

    Args:
        config: What to run.
        stop: Ends the run in order.
        started: Called once everything is up.
        listener: Called with every update of the public stream, in order.
    """
    async with open_house(config) as house:
        started(house)
        if config.pace is Pace.LIVE:
            await run_live(house, config, stop=stop, listener=listener)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on, stop, nursery.cancel_scope)
            follower = _Follower(house, listener)
            await nursery.start(follower.run)
            records = await run_lockstep(house, config)
            await follower.wait(seq=records[-1].seq if records else 0)
            nursery.cancel_scope.cancel()


async def run_live(
    house: House, config: DemoConfig, *, stop: trio.Event, listener: Listener
) -> None:
    """Run by the clock until `stop`, the last batch, or the end of the recording."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on, stop, nursery.cancel_scope)
        follower = _Follower(house, listener)
        await nursery.start(follower.run)
        for bidder in house.bidders:
            nursery.start_soon(partial(bidder.run, every=config.every))

        async def play() -> None:
            await house.exchange.run(config.speed)
            nursery.cancel_scope.cancel()

        nursery.start_soon(play)
        if config.batches is None:
            await trio.sleep_forever()
        else:
            await follower.wait(batches=config.batches)
        nursery.cancel_scope.cancel()


async def run_lockstep(house: House, config: DemoConfig) -> list[BatchRecord]:
    """Run round by round; the same configuration gives the same batches.

    A round: the exchange moves by `every`, both feeds catch up, the bidders bid one
    after the other, one auction runs.
    """
    clock = house.clock
    assert isinstance(clock, ManualClock)  # noqa: S101  # what open_house makes
    step = round(config.every * 1e9)
    auctioneer = house.server.auction.service.auctioneer
    records: list[BatchRecord] = []
    now = house.exchange.time_ns
    while not house.exchange.finished:
        if config.batches is not None and len(records) >= config.batches:
            break
        now += step
        await house.exchange.advance(now)
        await house.settle()
        clock.advance_ns(step)
        for bidder in house.bidders:
            await bidder.step()
        records.append(await auctioneer.run_batch())
    return records


class _Follower:
    """Follows the public stream over HTTP, as any page does.

    Args:
        house: Whose stream.
        listener: Called with every update, in order.
    """

    def __init__(self, house: House, listener: Listener) -> None:
        self.batches = 0
        self.seq = 0
        self._house = house
        self._listener = listener
        self._news = trio.Event()

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Follow until cancelled."""
        async with self._house.client.updates() as updates:
            task_status.started()
            async for update in updates:
                if isinstance(update, BatchUpdate | ReferenceUpdate):
                    self._listener(update)
                if isinstance(update, BatchUpdate):
                    self.batches += 1
                    self.seq = update.seq
                    self._news.set()
                    self._news = trio.Event()

    async def wait(self, *, seq: int = 0, batches: int = 0) -> None:
        """Wait for a batch's number, or until so many batches were seen."""
        while self.seq < seq or self.batches < batches:
            await self._news.wait()


async def _stop_on(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()
