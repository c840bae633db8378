"""Several services on one PostgreSQL: one leads, all serve, no batch is run twice."""

import os
import signal
from functools import partial

import pytest
import trio

from flowtrade.auth import FormAuthorizer
from flowtrade.client import FlowtradeClient
from flowtrade.core import lead as lead_module
from flowtrade.errors import ApiError, Superseded
from flowtrade.models.curve import ConstantCurve
from flowtrade.models.time import parse_timestamp
from flowtrade.models.update import BatchUpdate
from flowtrade.serve import run_auction
from flowtrade.settings import ScheduleSettings, ServerSettings, Settings, StoreSettings
from flowtrade.testing.crash.harness import Victim
from flowtrade.testing.crash.load import token_of

BIDDER = "00000000-0000-0000-0000-000000000001"
CURVE = ConstantCurve(min_rate=-1.0, max_rate=1.0, price=5.0)


def settings(url, every=None):
    return Settings(
        server=ServerSettings(port=0),
        store=StoreSettings(url=url),
        schedule=ScheduleSettings(every=every),
    )


async def start(nursery, url, **options):
    every = options.pop("every", None)
    run = partial(
        run_auction, settings(url, every), authorizer=FormAuthorizer(), **options
    )
    return await nursery.start(run)


def client_of(auction):
    return FlowtradeClient(auction.url, token_of(BIDDER))


async def test_followers_take_bids_and_the_leader_clears_them(postgres_url, nursery):
    leader = await start(nursery, postgres_url)
    follower = await start(nursery, postgres_url)
    assert (leader.lead.epoch, follower.lead.epoch) == (1, None)
    async with client_of(leader) as first, client_of(follower) as second:
        item = (await second.create_product("item")).id
        demand = await second.create_demand(CURVE)
        portfolio = await second.create_portfolio(demand=demand.id, basis=item)
        async with second.updates() as market, second.bidder_updates() as private:
            with pytest.raises(ApiError) as refused:
                await second.run_batch()
            stamp = await first.run_batch()
            with trio.fail_after(120):
                told = await anext(market)
                own = await anext(private)

        assert (refused.value.status, refused.value.problem) == (503, "not-leader")
        assert refused.value.retry_after == 1
        assert isinstance(told, BatchUpdate)
        assert told.as_of == own.as_of == stamp
        assert list(own.portfolios) == [portfolio.id]
        assert await first.portfolio(portfolio.id) == await second.portfolio(
            portfolio.id
        )
        assert await second.batch(stamp) == await first.batch(stamp)


async def test_every_point_of_the_grid_is_run_by_whoever_leads(postgres_url):
    async with trio.open_nursery() as nursery:
        one = trio.Event()
        leader = await start(nursery, postgres_url, every=0.05, shutdown=one)
        follower = await start(nursery, postgres_url, every=0.05)
        async with client_of(follower) as client:
            async with client.updates() as market:
                with trio.fail_after(60):
                    for _ in range(3):
                        await anext(market)
                    one.set()  # an orderly stop of the leader
                    await follower.lead.until(leading=True)
                    stamp = (await anext(market)).as_of
                    while (await anext(market)).as_of <= stamp:
                        pass
            records = (await client.batches()).results
        nursery.cancel_scope.cancel()

    points = [parse_timestamp(record.scheduled) for record in records][::-1]
    assert points == sorted(set(points))
    assert all(point % 50_000_000 == 0 for point in points)
    assert [record.seq for record in records][::-1] == list(range(1, len(points) + 1))
    assert leader.lead.epoch is None


@pytest.fixture
async def victim(postgres_url):
    process = await trio.to_thread.run_sync(partial(Victim, postgres_url, every=0.05))
    assert await trio.to_thread.run_sync(process.address)
    yield process
    await trio.to_thread.run_sync(process.kill)


@pytest.mark.slow
async def test_a_killed_leader_is_succeeded(postgres_url, nursery, victim):
    follower = await start(nursery, postgres_url, every=0.05)
    assert follower.lead.epoch is None

    await trio.to_thread.run_sync(victim.kill)
    with trio.fail_after(60):
        await follower.lead.until(leading=True)
        async with client_of(follower) as client, client.updates() as market:
            while (await anext(market)).seq < 2:
                pass

    assert follower.lead.epoch == 2


@pytest.mark.slow
async def test_a_leader_that_stands_still_is_succeeded_and_then_stores_nothing(
    postgres_url, nursery, victim
):
    follower = await start(nursery, postgres_url, every=0.05, silence=0.7)
    os.kill(victim.pid, signal.SIGSTOP)

    with trio.fail_after(60):
        await follower.lead.until(leading=True)
        async with client_of(follower) as client:
            last = (await client.batches()).results[0].seq
            os.kill(victim.pid, signal.SIGCONT)
            async with client.updates() as market:
                while (await anext(market)).seq < last + 10:
                    pass
            records = (await client.batches()).results

    # On a machine that keeps us from running for that long, the other may be leading
    # again: then in an epoch of its own.
    assert follower.lead.epoch is None or follower.lead.epoch >= 2
    points = [parse_timestamp(record.scheduled) for record in records]
    assert points == sorted(set(points), reverse=True)
    assert [r.seq for r in records] == list(range(records[0].seq, 0, -1))[
        : len(records)
    ]


async def test_a_batch_of_an_old_leader_is_refused_between_cut_and_store(
    postgres_url, nursery, monkeypatch
):
    # The leader does not look again, so it cannot be the first to ask for its lock.
    monkeypatch.setattr(lead_module, "_CONFIRM", 3600)
    leader = await start(nursery, postgres_url)
    async with client_of(leader) as client:
        await client.create_product("item")
    auctioneer = leader.service.auctioneer
    epoch = auctioneer.fence
    async with trio.open_nursery() as inner:
        other = await start(inner, postgres_url)
        # The server ends the connection that holds the lock; the leader has not
        # noticed when it runs its next batch.
        leader.lead._lock._connection.close()
        with trio.fail_after(120):
            await other.lead.until(leading=True)
        auctioneer.leads, auctioneer.fence = True, epoch
        with pytest.raises(Superseded, match=f"epoch {epoch}"):
            await auctioneer.run_batch()
        inner.cancel_scope.cancel()
