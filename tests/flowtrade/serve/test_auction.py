"""The whole service on a loopback socket: from bids to streams to the end."""

import sqlite3
from uuid import UUID

import httpx
import pytest
import trio
import trio.testing

from flowtrade.auth import JwtAuthorizer, generate_jwt
from flowtrade.client import FlowtradeClient
from flowtrade.errors import AddressInUse, ApiError, ConnectionFailed, SchemaMismatch
from flowtrade.models.curve import ConstantCurve, Point, PwlCurve
from flowtrade.models.product import PartitionChild
from flowtrade.models.submission import Submission, SubmittedDemand
from flowtrade.models.time import parse_timestamp
from flowtrade.models.update import BatchUpdate, GapUpdate, ReferenceUpdate
from flowtrade.serve import listen, run_auction
from flowtrade.settings import (
    AuctionSettings,
    ScheduleSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    Transparency,
)
from flowtrade.testing import FixedSolver

SECRET = "a secret of thirty-two characters!"
ALICE, BOB = str(UUID(int=1)), str(UUID(int=2))
SELL = ConstantCurve(min_rate=-4, max_rate=0, price=10)
BUY = PwlCurve(points=(Point(rate=0, price=15), Point(rate=10, price=5)))


def settings(tmp_path, *, every=None, **server):
    return Settings(
        server=ServerSettings(**{"port": 0, **server}),
        store=StoreSettings(url=f"sqlite:{tmp_path / 'store.db'}"),
        schedule=ScheduleSettings(every=every),
        auction=AuctionSettings(transparency=Transparency.BOOK, coalesce=0.01),
    )


class Running:
    """A service and clients of it."""

    def __init__(self, auction, shutdown, stopped):
        self.auction = auction
        self.shutdown = shutdown
        self.stopped = stopped
        self.admin = self.client(None, admin=True)
        self.alice = self.client(ALICE)
        self.bob = self.client(BOB)

    def client(self, bidder, *, admin=False):
        token = generate_jwt(bidder, SECRET, admin=admin)
        return FlowtradeClient(self.auction.url, token)

    async def market(self):
        item = (await self.admin.create_product({"name": "BTC"})).id
        for client, curve in ((self.alice, SELL), (self.bob, BUY)):
            demand = await client.create_demand(curve, app_data={"name": "d"})
            await client.create_portfolio(demand=demand.id, basis=item)
        return item

    async def aclose(self):
        for client in (self.admin, self.alice, self.bob):
            await client.aclose()


async def start(nursery, config, solver=None):
    shutdown, stopped = trio.Event(), trio.Event()

    async def run(task_status):
        await run_auction(
            config,
            authorizer=JwtAuthorizer.from_secret(SECRET),
            solver=solver,
            shutdown=shutdown,
            task_status=task_status,
        )
        stopped.set()

    return Running(await nursery.start(run), shutdown, stopped)


@pytest.fixture
async def running(tmp_path, nursery):
    opened = await start(nursery, settings(tmp_path))
    yield opened
    await opened.aclose()
    opened.shutdown.set()


async def test_bids_clear_and_everybody_is_told(running):
    async with (
        running.admin.updates() as market,
        running.alice.bidder_updates() as private,
    ):
        item = await running.market()
        async with running.bob.product_updates(item) as product:
            await trio.testing.wait_all_tasks_blocked()
            running.auction.service.set_reference(item, 11.5, 1)
            reference = await anext(market)
            stamp = await running.admin.run_batch()

            batch = await anext(market)
            own = await anext(private)
            outcome = await anext(product)

    assert isinstance(reference, ReferenceUpdate)
    assert reference.mids == {item: 11.5}
    assert isinstance(batch, BatchUpdate)
    assert batch.as_of == own.as_of == outcome.as_of == stamp
    assert batch.products[item].price == pytest.approx(11.0)
    assert batch.products[item].reference == 11.5
    assert {bid.bidder: bid.rate for bid in batch.bids} == {ALICE: -4.0, BOB: 4.0}
    assert [result.rate for result in own.portfolios.values()] == [-4.0]
    assert outcome.price == batch.products[item].price
    assert outcome.rate == 4.0


async def test_the_client_knows_every_endpoint(running):
    item = await running.market()
    alice = running.alice
    await running.admin.run_batch()
    (demand,) = await alice.demands()
    (portfolio,) = await alice.portfolios()

    renewed = await alice.set_curve(demand.id, BUY, if_match=demand.valid_from)
    with pytest.raises(ApiError) as caught:
        await alice.set_curve(demand.id, BUY, if_match=demand.valid_from)
    assert (caught.value.status, caught.value.problem) == (412, "version-mismatch")
    history = await alice.curve_history(demand.id)
    assert [v.valid_from for v in history.results] == [
        renewed.valid_from,
        demand.valid_from,
    ]
    then = parse_timestamp(demand.valid_from)
    past = await alice.demand(demand.id, as_of=then)
    assert past.curve_data == demand.curve_data
    assert past.valid_until == renewed.valid_from
    older = await alice.curve_history(demand.id, before=then + 1, after=then)
    assert len(older.results) == 1

    await alice.update_portfolio(portfolio.id, demand=[demand.id], basis={item: 2})
    assert (await alice.portfolio(portfolio.id)).basis == {item: 2.0}
    assert len((await alice.product_history(portfolio.id)).results) == 2
    assert len((await alice.demand_history(portfolio.id)).results) == 2
    (outcome,) = (await alice.portfolio_outcomes(portfolio.id)).results
    assert outcome.value == pytest.approx({"price": 11.0, "rate": -4.0})
    parts = await running.admin.partition(
        item, [PartitionChild(app_data={"name": "half"}, ratio=2)]
    )
    assert (await alice.portfolio(portfolio.id, expand=True)).basis == {
        parts[0].id: 4.0
    }
    assert (await alice.product(item)).basis == {parts[0].id: 2.0}
    assert [p.id for p in (await alice.products(leaves=True)).results] == [parts[0].id]
    assert len((await alice.product_outcomes(item)).results) == 1
    (batch,) = (await alice.batches()).results
    assert await alice.batch() == await alice.batch(batch.as_of) == batch

    await alice.delete_portfolio(portfolio.id)
    await alice.delete_demand(demand.id)
    submission = Submission(demands=[SubmittedDemand(id=demand.id, curve_data=None)])
    assert (await alice.submit(submission)).demands == []
    assert (await alice.submission()).portfolios == []
    with pytest.raises(ApiError, match="no such demand"):
        await alice.demand(str(UUID(int=99)))


async def test_a_client_that_returns_misses_nothing(running):
    await running.market()
    seen = []
    async with running.admin.updates() as market:
        await running.admin.run_batch()
        seen.append((await anext(market)).seq)
        last = int(market.last_id)
    await running.admin.run_batch()
    await running.admin.run_batch()

    async with running.admin.updates(last_id=last) as market:
        seen += [(await anext(market)).seq for _ in range(2)]

    assert seen == [1, 2, 3]


async def test_a_stream_goes_on_after_a_restart_of_the_service(tmp_path):
    seen = []
    send, receive = trio.open_memory_channel(100)

    async def read(client):
        async with client.updates() as market:
            async for update in market:
                await send.send(update)

    async with trio.open_nursery() as nursery:
        first = await start(nursery, settings(tmp_path))
        port = int(first.auction.url.rpartition(":")[2])
        await first.market()
        nursery.start_soon(read, first.admin)
        await first.admin.run_batch()
        seen.append(await receive.receive())
        first.shutdown.set()
        await first.stopped.wait()

        second = await start(nursery, settings(tmp_path, port=port))
        await second.admin.run_batch()
        while not seen or not isinstance(seen[-1], BatchUpdate) or seen[-1].seq < 2:
            seen.append(await receive.receive())
        nursery.cancel_scope.cancel()

    await first.aclose()
    await second.aclose()
    assert [type(update) for update in seen][:2] == [BatchUpdate, GapUpdate]
    assert {u.seq for u in seen if isinstance(u, BatchUpdate)} == {1, 2}


async def test_the_schedule_clears_without_being_asked(tmp_path, nursery):
    running = await start(nursery, settings(tmp_path, every=0.05))
    item = await running.market()
    async with running.admin.updates() as market:
        batches = []
        while len(batches) < 3 or item not in batches[-1].products:
            batches.append(await anext(market))
    ready = await running.admin._send("GET", "/health/ready")

    seqs = [batch.seq for batch in batches]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    record = await running.admin.batch(batches[-1].as_of)
    assert parse_timestamp(record.scheduled) % 50_000_000 == 0
    assert parse_timestamp(record.as_of) >= parse_timestamp(record.scheduled)
    assert b'"schedule":true' in ready.content
    await running.aclose()
    running.shutdown.set()


async def test_a_stop_with_open_streams_is_quick_and_complete(tmp_path):
    ended = []

    async def watch(url, task_status):
        async with (
            httpx.AsyncClient(timeout=30) as client,
            client.stream("GET", f"{url}/updates") as response,
        ):
            chunks = response.aiter_bytes()
            assert (await anext(chunks)).startswith(b"retry:")
            task_status.started()
            async for _ in chunks:
                pass
        ended.append(url)  # the body was complete: no error of the protocol

    async with trio.open_nursery() as nursery:
        running = await start(nursery, settings(tmp_path))
        for _ in range(20):
            await nursery.start(watch, running.auction.url)
        assert running.auction.hub.clients == 20
        running.shutdown.set()
        await running.aclose()

    assert len(ended) == 20
    assert running.auction.hub.clients == 0


async def test_a_slow_reader_is_dropped_and_the_market_goes_on(tmp_path, nursery):
    config = settings(tmp_path, queue=2, replay=4)
    running = await start(nursery, config)
    host, port = running.auction.url.removeprefix("http://").split(":")
    stream = await trio.open_tcp_stream(host, int(port))
    await stream.send_all(b"GET /updates HTTP/1.1\r\nHost: x\r\n\r\n")
    hub = running.auction.hub
    while hub.clients == 0:
        await trio.lowlevel.checkpoint()
    big = ReferenceUpdate(
        time="2026-01-01T00:00:00Z",
        mids={f"{n:032d}": float(n) for n in range(30_000)},
    )

    while hub.dropped == 0:  # it reads nothing, so its buffers fill
        hub.publish(("market", ""), big)
        await trio.lowlevel.checkpoint()

    assert await running.admin.batches()
    # The connection was cut: what the kernel held comes, then the end.
    with trio.fail_after(60):
        try:
            while await stream.receive_some(2**20):
                pass
        except trio.BrokenResourceError:
            pass
    await stream.aclose()
    await running.aclose()


async def test_a_port_that_is_taken_says_so_before_anything_is_opened(tmp_path):
    with listen("127.0.0.1", 0) as taken:
        config = settings(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(AddressInUse):
            await run_auction(config, authorizer=JwtAuthorizer.from_secret(SECRET))

    assert list(tmp_path.iterdir()) == []


async def test_a_store_of_another_program_ends_the_start(tmp_path):
    config = settings(tmp_path)
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("CREATE TABLE diary (entry TEXT)")
    connection.close()

    with pytest.raises(SchemaMismatch):
        await run_auction(config, authorizer=JwtAuthorizer.from_secret(SECRET))


async def test_a_part_that_crashes_takes_the_service_down(tmp_path):
    def bug(_auction):
        raise ZeroDivisionError

    config = settings(tmp_path, every=0.02)
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        await run_auction(
            config,
            authorizer=JwtAuthorizer.from_secret(SECRET),
            solver=FixedSolver(fail=bug),
        )


async def test_a_server_that_is_away_is_named():
    with listen("127.0.0.1", 0) as unused:
        port = unused.getsockname()[1]
    async with FlowtradeClient(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(ConnectionFailed, match="GET /batch"):
            await client.batches()


async def test_a_stream_that_is_refused_says_why(running):
    async with (
        FlowtradeClient(running.auction.url, "no.token.here") as stranger,
        stranger.bidder_updates() as updates,
    ):
        with pytest.raises(ApiError) as caught:
            await anext(updates)

    assert caught.value.status == 401
