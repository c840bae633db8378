"""The mock behind `ExecutionClient`: time, latency, streams, feeds."""

import json
import random
from decimal import Decimal
from pathlib import Path

import pytest
import trio
import trio.testing

from integration.errors import Overload, Sink
from integration.execution import (
    AccountSnapshot,
    BalanceSnapshot,
    InvalidOrder,
    OrderRequestCancel,
    OrderSnapshot,
    OrderState,
    PostOnlyWouldCross,
    TimeInForce,
    TradeEvent,
)
from integration.execution import mock as mock_module
from integration.execution.mock import LatencyModel, MockExchange
from integration.market.playback import Playback
from integration.market.reports import (
    BookResynced,
    BookStale,
    Reconnecting,
    StaleReason,
)
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    PublicTrade,
    Side,
    asset_name_internal,
)

EXCHANGE = ExchangeId.BINANCE_SPOT
MARKET = MarketDataInstrument.spot("btc", "usdt")
BTC, USDT = asset_name_internal("btc"), asset_name_internal("usdt")
MS = 1_000_000
FUNDS = {"ann": {BTC: Decimal(10), USDT: Decimal(10_000)}}
RECORDING = (
    Path(__file__).resolve().parents[3]
    / "../shared/data/wire/replay/binance_spot_nknusdt.json"
)


class Wall:
    """Trio's clock as a wall clock: with MockClock, time is the test's."""

    def now_ns(self):
        return 1_700_000_000 * 10**9 + self.monotonic_ns()

    def monotonic_ns(self):
        return round(trio.current_time() * 1e9)


def market_event(kind, time):
    return MarketEvent(time, time, EXCHANGE, MARKET, kind)


def image(time=1, bids=(("99", "2"),), asks=(("101", "2"),)):
    return market_event(OrderBookSnapshot(list(bids), list(asks)), time)


def mock(kit, **options):
    exchange = MockExchange(EXCHANGE, [kit.spot(notional="0")], FUNDS, **options)
    exchange.on_market(image())
    return exchange


async def test_an_order_is_placed_and_told(kit):
    exchange = mock(kit)
    client = exchange.client("ann")
    stream = client.account_stream()

    order = await client.open_order(kit.market(quantity="1"))

    assert order.state is OrderState.FILLED
    kinds = [type(event.kind) for event in await stream.next_batch()]
    assert kinds[0] is AccountSnapshot
    assert TradeEvent in kinds
    assert (await client.account_snapshot()).orders == ()


async def test_queries_show_what_was_done(kit):
    client = mock(kit).client("ann")
    await client.open_order(kit.limit("a", price="90"))
    await client.open_order(kit.market("b", quantity="1"))

    (resting,) = await client.fetch_open_orders([kit.name])
    (fill,) = await client.fetch_trades(0)
    balances = {b.asset: b.balance for b in await client.fetch_balances()}

    assert resting.key.cid == "a"
    assert fill.cid == "b"
    assert balances[USDT].used == 90
    assert await client.fetch_open_orders(["other"]) == ()
    assert await client.fetch_trades(0, ["other"]) == ()


async def test_refusals_come_back_and_local_faults_never_leave(kit):
    client = mock(kit).client("ann")

    with pytest.raises(PostOnlyWouldCross):
        await client.open_order(kit.limit(price="101", tif=TimeInForce.POST_ONLY))
    with pytest.raises(InvalidOrder):
        await client.open_order(kit.limit(price="100.001"))


async def test_a_stranger_has_no_client(kit):
    with pytest.raises(KeyError):
        mock(kit).client("eve")


async def test_live_requests_take_their_time(kit, autojump_clock):
    exchange = mock(kit, clock=Wall(), latency=LatencyModel(0.1, 0.2))
    client = exchange.client("ann")
    began = trio.current_time()

    order = await client.open_order(kit.limit(price="90"))

    assert trio.current_time() - began == pytest.approx(0.3)
    assert order.time_exchange == Wall().now_ns() - 200 * MS


async def test_an_order_meets_the_book_of_its_arrival(kit, autojump_clock):
    exchange = mock(kit, clock=Wall(), latency=LatencyModel(0.1))
    client = exchange.client("ann")
    placed = []

    async def place():
        placed.append(await client.open_order(kit.market(quantity="1")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(place)
        await trio.testing.wait_all_tasks_blocked()
        # 50 ms later the price is another.
        now = exchange.now_ns() + 50 * MS
        exchange.on_market(image(now, asks=[("105", "2")]))

    assert placed[0].average_price == 105


async def test_who_gives_up_waiting_has_undone_nothing(kit, autojump_clock):
    exchange = mock(kit, clock=Wall(), latency=LatencyModel(0.1))
    client = exchange.client("ann")

    with trio.move_on_after(0.05):
        await client.open_order(kit.limit(price="90"))
    assert await client.fetch_open_orders() == ()
    await trio.sleep(0.1)

    exchange.advance(exchange.now_ns())
    assert len(await client.fetch_open_orders()) == 1


async def test_news_travel_back_as_long_as_answers(kit, autojump_clock):
    exchange = mock(kit, clock=Wall(), latency=LatencyModel(back=0.2))
    stream = exchange.client("ann").account_stream()
    assert isinstance((await anext(stream)).kind, AccountSnapshot)
    began = trio.current_time()

    exchange.engine.place("ann", kit.limit(price="100"), exchange.now_ns())
    exchange.on_market(image(exchange.now_ns(), asks=[("100", "3")]))
    batch = await stream.next_batch()

    assert trio.current_time() - began == pytest.approx(0.2)
    assert [type(event.kind) for event in batch].count(TradeEvent) == 1


async def test_in_replay_time_is_the_markets(kit):
    exchange = mock(kit, latency=LatencyModel(0.010, 0.010))
    client = exchange.client("ann")
    placed = []

    async def place():
        placed.append(await client.open_order(kit.market(quantity="1")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(place)
        await trio.testing.wait_all_tasks_blocked()
        exchange.on_market(image(5 * MS, asks=[("102", "2")]))
        exchange.on_market(image(15 * MS, asks=[("108", "2")]))
        await trio.testing.wait_all_tasks_blocked()
        assert not placed, "the answer is still on its way"
        exchange.advance(30 * MS)

    # It arrived after 10 ms: the book of 5 ms counted, not that of 15.
    assert placed[0].average_price == 102
    assert placed[0].time_exchange == 1 + 10 * MS


async def test_the_same_seed_gives_the_same_delays():
    def delays(seed):
        model = LatencyModel(0.001, 0.002, jitter=0.001, rng=random.Random(seed))  # noqa: S311 - repeatable on purpose
        return [(model.out_ns(), model.back_ns()) for _ in range(5)]

    assert delays(1) == delays(1)
    assert delays(1) != delays(2)
    assert all(out >= MS and back >= 2 * MS for out, back in delays(3))
    with pytest.raises(ValueError, match="not negative"):
        LatencyModel(-1)


async def test_trades_of_the_market_fill_and_are_told(kit):
    exchange = mock(kit)
    client = exchange.client("ann")
    await client.open_order(kit.limit(price="98"))
    stream = client.account_stream()
    await stream.next_batch()

    fall = PublicTrade("1", Decimal(97), Decimal(5), Side.SELL)
    exchange.on_market(market_event(fall, 10))

    kinds = [event.kind for event in await stream.next_batch()]
    order, fill, balances = kinds
    assert isinstance(order, OrderSnapshot)
    assert isinstance(fill, TradeEvent)
    assert isinstance(balances, BalanceSnapshot)
    assert (fill.trade.price, fill.trade.quantity) == (98, 1)


async def test_a_stale_book_halts_until_it_is_resynced(kit):
    exchange = mock(kit)
    client = exchange.client("ann")

    exchange.on_market(BookStale(EXCHANGE, MARKET, StaleReason.GAP, 5))
    with pytest.raises(Exception, match="stale"):
        await client.open_order(kit.limit("a", price="90"))
    exchange.on_market(BookResynced(EXCHANGE, MARKET, StaleReason.GAP, 6, 1))

    assert (await client.open_order(kit.limit("b", price="90"))).state.resting


async def test_other_news_of_the_stream_are_ignored(kit):
    exchange = mock(kit)
    before = exchange.time_ns

    exchange.on_market(Reconnecting(EXCHANGE, "x#0", "lost", 99))

    assert exchange.time_ns == before


async def test_cancelling_through_the_client(kit):
    client = mock(kit).client("ann")
    order = await client.open_order(kit.limit(price="90"))

    done = await client.cancel_order(OrderRequestCancel(order.key))

    assert done.state is OrderState.CANCELLED
    await client.aclose()


async def test_a_closed_stream_says_so_after_what_waited(kit):
    client = mock(kit).client("ann")

    async with client.account_stream() as stream:
        pass

    assert isinstance((await anext(stream)).kind, AccountSnapshot)
    with pytest.raises(Sink):
        await stream.next_batch()


async def test_a_stream_read_too_slowly_ends_in_an_error(kit, monkeypatch):
    monkeypatch.setattr(mock_module, "_CAPACITY", 3)
    exchange = mock(kit)
    client = exchange.client("ann")
    stream = client.account_stream()
    for number in range(5):
        await client.open_order(kit.limit(str(number), price="90"))

    assert len(await stream.next_batch()) == 3
    with pytest.raises(Overload):
        await stream.next_batch()


async def test_a_recording_is_traded_on_the_same_way_twice(kit):
    if not RECORDING.exists():
        pytest.skip(f"{RECORDING} absent")

    async def run():
        session = json.loads(RECORDING.read_bytes())
        instrument = kit.spot(
            "NKNUSDT", "nkn", "usdt", notional="0", tick="0.00001", lot="0.1"
        )
        funds = {"ann": {asset_name_internal("nkn"): Decimal(9000), USDT: Decimal(900)}}
        exchange = MockExchange(EXCHANGE, [instrument], funds)
        return await trade_on(exchange, session, kit)

    first, second = await run(), await run()
    assert first == second
    fills, sums = first
    assert fills, "nothing was filled: the test would show nothing"
    assert set(sums.values()) == {0}


async def trade_on(exchange, session, kit):
    """Buy at the market at every tenth book, bid at the best price between."""
    playback, client = Playback(EXCHANGE), exchange.client("ann")
    for number, message in enumerate(session["messages"]):
        for event in fed(playback, message, number):
            exchange.on_market(event)
        if number % 10 == 5:
            (book,) = playback.books.values()
            if book.best_bid is None:
                continue
            where = {"symbol": "NKNUSDT"}
            bid = str(book.best_bid.price)
            await client.open_order(kit.limit(f"l{number}", "buy", "100", bid, **where))
            await client.open_order(kit.market(f"m{number}", "sell", "30", **where))
    fills = [(t.id, t.price, t.quantity) for t in await client.fetch_trades(0)]
    return fills, {a: exchange.engine.accounts.sum(a) for a in ("nkn", "usdt")}


def fed(playback, message, number):
    raw = json.dumps(message["raw"]).encode()
    if message["transport"] == "http":
        return playback.feed_image(raw, number + 1, symbol="NKNUSDT")
    return playback.feed(raw, number + 1)
