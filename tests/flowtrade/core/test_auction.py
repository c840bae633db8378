"""Batches: what they gather, what they store, in which order they tell it."""

import sqlite3
import threading
from contextlib import asynccontextmanager, closing
from uuid import UUID

import msgspec
import pytest
import trio
import trio.testing

from flowtrade.core.mirror import AuctionInput, Mirror, PortfolioTerms
from flowtrade.core.service import Service
from flowtrade.core.solver import ClearingSolver
from flowtrade.core.state import Kind, Part
from flowtrade.errors import BatchExists, BatchFailed, InvalidRequest, NotFound
from flowtrade.models.batch import BatchStatus
from flowtrade.models.curve import ConstantCurve, Point, PwlCurve
from flowtrade.models.portfolio import TradeCap
from flowtrade.models.time import format_timestamp, parse_timestamp
from flowtrade.models.update import (
    BatchUpdate,
    BidderUpdate,
    BookUpdate,
    ProductUpdate,
)
from flowtrade.ports import Window
from flowtrade.schedule import Grid
from flowtrade.settings import AuctionSettings, StoreSettings, Transparency
from flowtrade.store import open_store
from flowtrade.testing import FixedSolver, RecordingPublisher, SeededIds
from netcore.clock import ManualClock

ALICE, BOB = str(UUID(int=1)), str(UUID(int=2))
SELL = ConstantCurve(min_rate=-4, max_rate=0, price=10)
BUY = PwlCurve(points=(Point(rate=0, price=15), Point(rate=10, price=5)))


class House:
    """A service over a memory store, with all that a test looks at."""

    def __init__(self, store, solver, clock, **settings):
        self.clock = clock
        self.store = store
        self.published = RecordingPublisher()
        self.service = Service(
            store=store,
            solver=solver,
            clock=clock,
            ids=SeededIds(),
            publisher=self.published,
            settings=AuctionSettings(**settings),
        )

    async def open(self):
        await self.service.load()
        return self

    @property
    def run_batch(self):
        return self.service.auctioneer.run_batch

    async def market(self):
        """One product, a seller and a buyer of it."""
        service = self.service
        item = (await service.create_product(b'{"name":"BTC"}')).id
        bids = {}
        for bidder, curve, name in ((ALICE, SELL, b'"x"'), (BOB, BUY, b'{"name":"b"}')):
            demand = await service.create_demand(bidder, b"null", curve)
            portfolio = await service.create_portfolio(
                bidder, name, demand={demand.id: 1.0}, basis={item: 1.0}
            )
            bids[bidder] = (demand.id, portfolio.id)
        return item, bids


@asynccontextmanager
async def house(solver=None, url="memory:", **settings):
    clock = ManualClock()
    async with open_store(StoreSettings(url=url), clock=clock) as store:
        yield await House(store, solver or ClearingSolver(), clock, **settings).open()


@pytest.fixture
async def home():
    async with house() as opened:
        yield opened


async def test_a_batch_is_stored_before_it_is_told_and_told_to_all(home):
    item, bids = await home.market()
    home.clock.advance(1)

    record = await home.run_batch()

    assert record.status is BatchStatus.CLEARED
    assert record.products[item].price == pytest.approx(
        11.0
    )  # the seller's end: 4 at 15 - 4
    assert record.products[item].rate == 4.0
    assert (record.demands, record.portfolios, record.seq) == (2, 2, 1)
    assert record.as_of == format_timestamp(home.clock.now_ns())
    assert await home.service.history.batch(parse_timestamp(record.as_of)) == record
    (market,) = home.published.of("market", "")
    assert isinstance(market, BatchUpdate)
    assert market.bids is msgspec.UNSET
    assert market.rate_unit == 3600.0
    assert market.products == record.products
    (product,) = home.published.of("product", item)
    assert product == ProductUpdate(
        as_of=record.as_of,
        seq=1,
        price=record.products[item].price,
        rate=4.0,
        reference=None,
    )
    (private,) = home.published.of("bidder", ALICE)
    assert isinstance(private, BidderUpdate)
    assert list(private.portfolios) == [bids[ALICE][1]]
    assert private.portfolios[bids[ALICE][1]].rate == -4.0


@pytest.mark.parametrize(("most", "pieces"), [(1, 2), (2, 1), (500, 1)])
async def test_a_long_book_is_told_in_several_events(monkeypatch, most, pieces):
    monkeypatch.setattr("flowtrade.core.auction._BOOK", most)
    async with house(transparency=Transparency.BOOK, rate_unit=60.0) as home:
        await home.market()

        record = await home.run_batch()

        batch, *rest = home.published.of("market", "")
        told = [*batch.bids, *(bid for update in rest for bid in update.bids)]
        assert [bid.bidder for bid in told] == [ALICE, BOB]
        assert [type(update) for update in rest] == [BookUpdate] * (pieces - 1)
        assert [update.start for update in rest] == list(range(most, 2, most))
        assert {(u.as_of, u.seq) for u in (batch, *rest)} == {(record.as_of, 1)}
        assert batch.book == (2 if pieces > 1 else msgspec.UNSET)
        assert batch.rate_unit == 60.0


async def test_the_book_is_told_only_where_the_settings_say_so():
    async with house(transparency=Transparency.BOOK) as home:
        item, bids = await home.market()

        await home.run_batch()

        (market,) = home.published.of("market", "")
        told = {bid.bidder: (bid.portfolio, bid.name, bid.basis) for bid in market.bids}
        assert told == {
            ALICE: (bids[ALICE][1], None, {item: 1.0}),
            BOB: (bids[BOB][1], "b", {item: 1.0}),
        }


async def test_a_market_without_limit_fails_by_name_and_the_next_batch_clears(home):
    item, bids = await home.market()
    seller, buyer = bids[ALICE][0], bids[BOB][0]
    await home.service.set_curve(seller, ConstantCurve(price=1))
    await home.service.set_curve(buyer, ConstantCurve(price=2))

    failed = await home.run_batch()
    await home.service.set_curve(seller, SELL)
    await home.service.set_curve(buyer, BUY)
    cleared = await home.run_batch()

    assert failed.status is BatchStatus.FAILED
    assert set(failed.orders) == {seller, buyer}
    assert failed.products == {}
    assert failed.outcome_hash is None
    assert (cleared.status, cleared.seq) == (BatchStatus.CLEARED, 2)
    first, second = home.published.of("market", "")
    assert first.error == failed.error
    assert second.error is msgspec.UNSET
    assert len(home.published.of("product", item)) == 1  # no prices of the failed one


async def test_bids_that_change_while_solving_belong_to_the_next_batch():
    entered, gate = threading.Event(), threading.Event()

    def wait(_auction):
        entered.set()
        assert gate.wait(timeout=60)

    solver = FixedSolver(fail=wait)
    async with house(solver) as home:
        _, bids = await home.market()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(home.run_batch)
            await trio.to_thread.run_sync(entered.wait)
            await home.service.set_curve(bids[ALICE][0], None)
            gate.set()
        await home.run_batch()

        first, second = solver.auctions
        assert list(first.demands) == [bids[ALICE][0], bids[BOB][0]]
        assert list(second.demands) == [bids[BOB][0]]
        # The portfolio stays active: it trades on its other demands, here on none.
        assert second.portfolios[bids[ALICE][1]].demand == {}


async def test_batches_run_one_at_a_time_in_order_of_asking():
    running = []

    def count(_auction):
        running.append("in")
        assert running.count("in") - running.count("out") == 1
        running.append("out")

    async with house(FixedSolver(fail=count)) as home:
        await home.market()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(home.run_batch)

        page = await home.service.history.batches(Window(limit=9))
        assert [record.seq for record in page.results] == [5, 4, 3, 2, 1]
        stamps = [record.as_of for record in page.results]
        assert stamps == sorted(stamps, reverse=True)


async def test_a_clock_that_jumps_moves_no_batch_back_and_repeats_none(any_store):
    day = 86_400 * 10**9
    async with house(url=any_store) as home:
        _, bids = await home.market()
        grid = Grid(every=10**9)
        status, points = [], []
        for jump in (0, day, -2 * day, 5 * day, -day):
            home.clock.set_wall(home.clock.now_ns() + jump)
            for _ in range(2):
                home.clock.advance(0.3)
                await home.service.set_curve(bids[ALICE][0], SELL)
                point = grid.after(home.clock.now_ns())
                try:
                    record = await home.run_batch(point, scheduled=point)
                except BatchExists:
                    continue
                status.append(record.status)
                points.append(point)
        batches = (await home.service.history.batches(Window(limit=99))).results[::-1]
        versions = await home.store.history(
            Part.CURVE, bids[ALICE][0], Window(limit=99)
        )

    stamps = [parse_timestamp(record.as_of) for record in batches]
    assert stamps == sorted(set(stamps))
    assert len(points) == len(set(points)) == len(batches)
    assert set(status) == {BatchStatus.CLEARED}
    tiles = [(v.valid_from, v.valid_until) for v in versions][::-1]
    assert all(start < (end or 2**63) for start, end in tiles)
    assert [end for _, end in tiles[:-1]] == [start for start, _ in tiles[1:]]


async def test_a_grid_point_is_run_once(home):
    await home.market()
    point = home.clock.now_ns() + 10

    record = await home.run_batch(point, scheduled=point)

    assert record.as_of == record.scheduled == format_timestamp(point)
    with pytest.raises(BatchExists):
        await home.run_batch(point, scheduled=point)


async def test_a_solver_that_does_not_come_back_is_given_up(autojump_clock):
    gate = threading.Event()
    solver = FixedSolver(fail=lambda _auction: gate.wait())
    async with house(solver, time_limit=1.0) as home:
        await home.market()
        try:
            # The autojump clock does not see threads: it moves on while one is out.
            record = await home.run_batch()
        finally:
            gate.set()

        assert record.status is BatchStatus.FAILED
        assert "did not answer within 1 s" in record.error


@pytest.fixture
async def ambiguous(home):
    """A house whose one product may clear at any price of [5, 7]."""
    service = home.service
    home.item = (await service.create_product(b'{"name":"BTC"}')).id
    home.demands = []
    for bidder, curve in (
        (ALICE, ConstantCurve(min_rate=-1, max_rate=0, price=7)),
        (BOB, ConstantCurve(min_rate=0, max_rate=1, price=5)),
    ):
        demand = await service.create_demand(bidder, b"null", curve)
        home.demands.append(demand.id)
        await service.create_portfolio(
            bidder, b"null", demand={demand.id: 1.0}, basis={home.item: 1.0}
        )
    return home


async def test_the_first_ambiguous_price_is_drawn_to_the_reference(ambiguous):
    home, item = ambiguous, ambiguous.item
    home.service.set_reference(item, 6.5, 1)

    drawn = await home.run_batch()

    assert drawn.products[item].price == pytest.approx(6.5)
    assert drawn.products[item].reference == 6.5
    assert drawn.targets == {item: 6.5}


async def test_without_last_price_and_reference_the_middle_of_the_range_is_taken(
    ambiguous,
):
    drawn = await ambiguous.run_batch()

    assert drawn.products[ambiguous.item].price == pytest.approx(6.0)
    assert drawn.targets == {}


async def test_an_ambiguous_price_stays_where_it_cleared_last_whatever_the_reference(
    ambiguous,
):
    home, item = ambiguous, ambiguous.item
    home.service.set_reference(item, 6.5, 1)
    await home.run_batch()
    home.service.set_reference(item, 99.0, 2)

    stays = await home.run_batch()

    assert stays.products[item].price == pytest.approx(6.5)
    assert stays.products[item].reference == 99.0
    assert stays.targets == {item: stays.products[item].price}


async def test_a_last_price_that_is_no_longer_supported_gives_way_to_the_nearest(
    ambiguous,
):
    home, item = ambiguous, ambiguous.item
    home.service.set_reference(item, 5.5, 1)
    await home.run_batch()
    better = ConstantCurve(min_rate=0, max_rate=1, price=6.25)
    await home.service.set_curve(home.demands[1], better)

    moved = await home.run_batch()

    assert moved.products[item].price == pytest.approx(6.25)  # of [6.25, 7]


async def test_a_failed_batch_leaves_the_last_clearing_price_the_target(ambiguous):
    home, item = ambiguous, ambiguous.item
    home.service.set_reference(item, 6.5, 1)
    await home.run_batch()
    endless = ConstantCurve(min_rate=0, price=9)
    bid = await home.service.create_demand(BOB, b"null", endless)
    offer = await home.service.create_demand(
        ALICE, b"null", ConstantCurve(max_rate=0, price=8)
    )
    for bidder, demand in ((BOB, bid), (ALICE, offer)):
        await home.service.create_portfolio(
            bidder, b"null", demand={demand.id: 1.0}, basis={item: 1.0}
        )
    home.service.set_reference(item, 99.0, 2)

    failed = await home.run_batch()

    assert failed.status is BatchStatus.FAILED
    assert failed.targets[item] == pytest.approx(6.5)


async def test_the_last_price_is_the_target_after_the_first_batch():
    solver = FixedSolver(price=3.25)
    async with house(solver) as home:
        item, _ = await home.market()
        await home.run_batch()
        await home.run_batch()

        assert solver.targets == [{}, {item: 3.25}]


async def test_news_of_reference_prices_are_gathered(home, autojump_clock):
    first = (await home.service.create_product(b'{"name":"a"}')).id
    second = (await home.service.create_product(b'{"name":"b"}')).id
    async with trio.open_nursery() as nursery:
        await nursery.start(home.service.run)
        home.service.set_reference(first, 1.0, 10)
        home.service.set_reference(first, 2.0, 11)
        home.service.set_reference(first, 9.0, 5)  # older: ignored
        await trio.testing.wait_all_tasks_blocked()
        home.service.set_reference(second, 3.0, 12)
        home.service.set_reference(first, 4.0, 13)
        await trio.sleep(0.3)
        nursery.cancel_scope.cancel()

    told = [update.mids for update in home.published.of("market", "")]
    assert told == [{first: 2.0}, {first: 4.0, second: 3.0}]


@pytest.mark.parametrize("price", [float("nan"), float("inf"), float("-inf")])
async def test_a_reference_price_is_a_number(home, price):
    item = (await home.service.create_product(b"null")).id

    with pytest.raises(InvalidRequest, match="finite"):
        home.service.set_reference(item, price, 1)
    with pytest.raises(NotFound):
        home.service.set_reference(str(UUID(int=5)), 1.0, 1)


async def session(home):
    """A life with batches in it; returns their hashes."""
    item, bids = await home.market()
    home.service.set_reference(item, 10.5, 1)
    hashes = []
    for most in (2, 2.5, 3):
        home.clock.advance(1)
        curve = ConstantCurve(min_rate=-most, max_rate=0, price=9)
        await home.service.set_curve(bids[ALICE][0], curve)
        record = await home.run_batch()
        hashes.append((record.as_of, record.input_hash, record.outcome_hash))
    return hashes


async def test_equal_operations_make_equal_batches_on_every_store(
    tmp_path, postgres_url
):
    lives = []
    for url in ("memory:", "memory:", f"sqlite:{tmp_path / 'a.db'}", postgres_url):
        async with house(url=url) as home:
            lives.append(await session(home))

    assert all(life == lives[0] for life in lives)
    assert len({outcome for _, _, outcome in lives[0]}) == 3


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def any_store(request, tmp_path):
    match request.param:
        case "sqlite":
            return f"sqlite:{tmp_path / 'a.db'}"
        case "postgres":
            return request.getfixturevalue("postgres_url")
    return "memory:"


async def test_a_stored_batch_is_replayed_bit_for_bit(any_store):
    async with house(url=any_store) as home:
        stamps = [stamp for stamp, _, _ in await session(home)]
        item = next(iter(home.service.mirror.products)).id
        part = b'{"name":"half"}'
        await home.service.partition(item, [(part, 2.0)])
        if any_store == "memory:":  # which forgets
            await replay_all(home, stamps)
            return
    async with house(url=any_store) as home:  # another process, another day
        await replay_all(home, stamps)


async def replay_all(home, stamps):
    for stamp in stamps:
        replay = await home.service.auctioneer.replay(parse_timestamp(stamp))
        assert replay.identical
    with pytest.raises(NotFound):
        await home.service.auctioneer.replay(1)


async def test_a_trade_cap_stops_a_portfolio_at_its_total(tmp_path):
    url = f"sqlite:{tmp_path / 'a.db'}"
    terms = {"horizon": 1.0, "rate_unit": 1.0}
    async with house(url=url, **terms) as home:
        _, bids = await home.market()
        buyer, seller = bids[BOB][1], bids[ALICE][1]
        await home.service.set_curve(bids[ALICE][0], ConstantCurve(price=10))
        await home.service.set_cap(buyer, TradeCap(max_trade=12))
        rates = []
        for _ in range(3):
            home.clock.advance(1)
            await home.run_batch()
            rates.append(home.service.position(buyer).rate)
        stored = await home.service.history.batches(Window(limit=9))
    async with house(url=url, **terms) as home:  # positions survive a restart
        home.clock.set_wall(parse_timestamp(stored.results[0].as_of) + 10**9)
        await home.run_batch()
        position = home.service.position(buyer)
        rates.append(position.rate)
        sold = home.service.position(seller)
        for record in stored.results:
            replay = await home.service.auctioneer.replay(parse_timestamp(record.as_of))
            assert replay.identical

    # Uncapped it buys 5 a second: 5, 5, then the 2 that are left, then nothing.
    assert rates == pytest.approx([5, 5, 2, 0], abs=1e-6)
    assert position.traded == pytest.approx(12)
    assert sold.traded == pytest.approx(-12)
    assert stored.results[0].demands == 2  # a cap is no demand of a bidder


@pytest.mark.parametrize(
    "later", [{"horizon": 7.0, "rate_unit": 60.0}, {"horizon": 1.0}, {}]
)
async def test_a_replay_takes_the_terms_of_its_batch(tmp_path, later):
    url = f"sqlite:{tmp_path / 'a.db'}"
    async with house(url=url) as home:  # without caps
        _, bids = await home.market()
        plain = await home.run_batch()
    async with house(url=url, horizon=1.0, rate_unit=1.0) as home:
        await home.service.set_curve(bids[ALICE][0], ConstantCurve(price=10))
        await home.service.set_cap(bids[BOB][1], TradeCap(max_trade=2))
        capped = await home.run_batch()

    async with house(url=url, **later) as home:
        for record in (plain, capped):
            replay = await home.service.auctioneer.replay(parse_timestamp(record.as_of))
            assert replay.identical

    assert (plain.horizon, plain.rate_unit) == (None, 3600.0)
    assert (capped.horizon, capped.rate_unit) == (1.0, 1.0)
    assert capped.portfolios == 2
    rate = next(iter(capped.products.values())).rate
    assert rate == pytest.approx(2)  # it was the cap that decided


async def test_a_batch_of_a_version_without_terms_takes_those_of_today(tmp_path):
    path, terms = tmp_path / "a.db", {"horizon": 1.0, "rate_unit": 1.0}
    async with house(url=f"sqlite:{path}", **terms) as home:
        _, bids = await home.market()
        await home.service.set_curve(bids[ALICE][0], ConstantCurve(price=10))
        await home.service.set_cap(bids[BOB][1], TradeCap(max_trade=2))
        moment = parse_timestamp((await home.run_batch()).as_of)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(
            "UPDATE batch SET record = CAST(json_remove(record, '$.horizon', "
            "'$.rate_unit') AS BLOB)"
        )

    for today, identical in ((terms, True), ({"horizon": 2.0}, False)):
        async with house(url=f"sqlite:{path}", **today) as home:
            replay = await home.service.auctioneer.replay(moment)
            assert replay.stored.rate_unit is None
            assert replay.identical is identical


async def test_a_cap_holds_exactly_however_late_the_next_batch_is(any_store):
    terms = {"horizon": 1.0, "rate_unit": 1.0}
    async with house(url=any_store, **terms) as home:
        _, bids = await home.market()
        buyer, seller = bids[BOB][1], bids[ALICE][1]
        await home.service.set_curve(bids[ALICE][0], ConstantCurve(price=10))
        await home.service.set_cap(buyer, TradeCap(max_trade=12))
        rates = []
        for late in (0.0, 100.0, 0.5, 1e6, 3.0):  # seconds behind the grid
            home.clock.advance(1.0 + late)
            await home.run_batch()
            rates.append(home.service.position(buyer).rate)
            assert home.service.position(buyer).traded <= 12.0
        home.clock.advance(1000)
        last = home.service.position(buyer)
        sold = home.service.position(seller)
        stored = await home.service.history.batches(Window(limit=9))
        lived = dict(home.service.mirror.positions)
        ends = [
            (v.valid_from, v.valid_until)
            for v in await home.store.outcomes(Kind.PORTFOLIO, buyer, Window(limit=9))
        ]
        reloaded = Mirror.from_snapshot(await home.store.snapshot())
        for record in stored.results:
            replay = await home.service.auctioneer.replay(parse_timestamp(record.as_of))
            assert replay.identical

    assert rates == pytest.approx([5, 5, 2, 0, 0], abs=1e-6)
    assert (last.traded, last.rate) == (pytest.approx(12, rel=1e-12), 0)
    assert sold.traded == pytest.approx(-12, rel=1e-12)  # both sides end alike
    assert all(until - start == 10**9 for start, until in ends)
    assert reloaded.positions == lived


async def test_a_portfolio_beyond_its_cap_stands_still():
    async with house(horizon=1.0, rate_unit=1.0) as home:
        _, bids = await home.market()
        buyer = bids[BOB][1]
        home.clock.advance(1)
        await home.run_batch()
        home.clock.advance(5)  # nobody had a cap: rates hold until the next batch
        await home.service.set_cap(buyer, TradeCap(max_trade=3))

        await home.run_batch()
        position = home.service.position(buyer)
        await home.service.set_cap(buyer, None)
        await home.run_batch()

        assert position.traded == pytest.approx(20)
        assert position.rate == 0
        assert home.service.position(buyer).rate == pytest.approx(4)


async def test_a_position_ends_with_the_outcome_it_came_from():
    async with house(rate_unit=1.0) as home:
        item, bids = await home.market()
        portfolio = bids[BOB][1]
        home.clock.advance(1)
        await home.run_batch()
        home.clock.advance(2)
        await home.service.set_groups(portfolio, basis={})
        assert home.service.position(portfolio).rate == pytest.approx(4)
        await home.run_batch()  # without it
        home.clock.advance(100)

        ended = home.service.position(portfolio)
        await home.service.set_groups(portfolio, basis={item: 1.0})
        await home.run_batch()
        home.clock.advance(1)
        resumed = home.service.position(portfolio)

        assert (ended.rate, ended.traded) == (0, pytest.approx(8, abs=1e-6))
        assert resumed.traded == pytest.approx(12, abs=1e-6)


async def test_a_cap_needs_a_horizon(home):
    _, bids = await home.market()

    with pytest.raises(InvalidRequest, match="schedule"):
        await home.service.set_cap(bids[BOB][1], TradeCap(max_trade=1))
    assert (await home.service.set_cap(bids[BOB][1], None)).cap is None


@pytest.mark.parametrize(
    "limits", [(2.0, 1.0), (float("nan"), None), (None, float("inf"))]
)
def test_limits_that_make_no_sense_are_refused(limits):
    with pytest.raises(ValueError, match="trade"):
        TradeCap(min_trade=limits[0], max_trade=limits[1])


def test_crossing_unlimited_orders_are_named_by_the_solver():
    auction = AuctionInput(
        demands={"a": ConstantCurve(price=1), "b": ConstantCurve(price=2)},
        portfolios={
            "x": PortfolioTerms(demand={"a": 1.0}, basis={"P": 1.0}),
            "y": PortfolioTerms(demand={"b": 1.0}, basis={"P": 1.0}),
        },
    )

    with pytest.raises(BatchFailed) as caught:
        ClearingSolver().solve(auction, targets={}, time_limit=5)

    assert set(caught.value.orders) == {"a", "b"}
