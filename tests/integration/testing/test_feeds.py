"""Our own feeds against every dialect: an independent reading of the same venues.

The connectors were written from the venues' documents by other hands, so that a book
that ends as the simulator's is a check of both.
"""

from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
import trio

pytest.importorskip("trio_websocket")

from integration.market.books import BookState
from integration.market.config import StreamConfig
from integration.market.reports import (
    BookResynced,
    BookStale,
    Reconnecting,
    StaleReason,
    StreamError,
)
from integration.market.streams import open_market_streams
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookL1,
    PublicTrade,
    Side,
    SubKind,
    Subscription,
)
from integration.stream.reconnect import Backoff, ReconnectPolicy
from integration.testing import SimulatedExchange, SyntheticMarket
from integration.testing.book import to_decimal
from integration.testing.events import QuoteChanged, TradeDone
from integration.testing.faults import (
    BadChecksum,
    Disconnect,
    Duplicate,
    Gap,
    Reorder,
    Restart,
    ShutdownNotice,
)

STEP = 100_000_000
SEED = 21
QUICK = ReconnectPolicy(backoff=Backoff(0.001, maximum=0.01, stable_after=0.0))
# What a venue's book shows at most, of those that our feed asks for by itself.
DEPTHS = {
    "binance_spot": 1000,
    "binance_futures_usd": 1000,
    "bybit_spot": 50,
    "bybit_perpetuals_usd": 50,
    "okx": 400,
    "kraken_v2": 10,
}


def instrument_of(venue: str) -> MarketDataInstrument:
    if venue in {"bybit_perpetuals_usd", "binance_futures_usd"}:
        return MarketDataInstrument.perpetual("btc", "usdt")
    return MarketDataInstrument.spot("btc", "usdt")


class Feed:
    """A feed of one instrument and the exchange it follows."""

    def __init__(self, venue, sim, streams):
        self.sim = sim
        self.streams = streams
        self.venue = venue
        self.events = []
        self.book = streams.books[venue, instrument_of(venue)]

    async def move(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            await self.sim.advance(self.sim.time_ns + STEP)

    def final(self):
        return self.sim.final_book("BTCUSDT").top(DEPTHS[self.venue])

    def in_step(self) -> bool:
        depth = DEPTHS[self.venue]
        image = self.final()
        return (
            self.book.state is BookState.LIVE
            and self.book.bids(depth) == list(image.bids)
            and self.book.asks(depth) == list(image.asks)
        )

    async def catch_up(self) -> None:
        """Consume until the book is the exchange's; it must become so."""
        with trio.fail_after(120):
            while not self.in_step():
                self.events += await self.streams.next_batch()

    async def move_until(self, kind) -> None:
        with trio.fail_after(120):
            while not any(isinstance(event, kind) for event in self.events):
                await self.move(0.1)
                with trio.move_on_after(0.02):
                    self.events += await self.streams.next_batch()

    def of(self, kind) -> list:
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def feeding(venue, *kinds, seed=SEED):
    exchange, instrument = ExchangeId(venue), instrument_of(venue)
    async with SimulatedExchange(SyntheticMarket(seed), dialect=venue) as sim:
        config = StreamConfig(
            websocket_url={exchange: sim.websocket_url},
            rest_url={exchange: sim.rest_url},
            reconnect=QUICK,
        )
        wanted = [Subscription(exchange, instrument, SubKind(kind)) for kind in kinds]
        async with open_market_streams(wanted, config=config) as streams:
            yield (
                Feed(exchange, sim, streams)
                if "order_books_l2" in kinds
                else (
                    sim,
                    streams,
                )
            )


venues = pytest.mark.parametrize("venue", list(DEPTHS))


@venues
async def test_the_book_becomes_and_stays_the_exchanges(venue):
    async with feeding(venue, "order_books_l2") as feed:
        for _ in range(5):
            await feed.move(1)
            await feed.catch_up()

    assert not feed.of((BookStale, StreamError, Reconnecting))
    assert len(feed.of(MarketEvent)) > 30


@venues
async def test_trades_are_the_markets(venue):
    async with feeding(venue, "public_trades") as (sim, streams):
        twin = SyntheticMarket(SEED)
        happened = [
            event
            for event in twin.advance(twin.start_ns + 100 * STEP)
            if isinstance(event, TradeDone) and event.symbol == "BTCUSDT"
        ]
        await sim.advance(sim.time_ns + 100 * STEP)
        seen = []
        with trio.fail_after(120):
            while len(seen) < len(happened):
                seen += await streams.next_batch()

    assert len(happened) > 50
    for event, trade in zip(seen, happened, strict=True):
        assert isinstance(event, MarketEvent)
        assert isinstance(event.kind, PublicTrade)
        assert event.kind.id == str(trade.trade_id)
        assert event.kind.price == to_decimal(trade.price)
        assert event.kind.amount == to_decimal(trade.amount)
        expected = Side.SELL if trade.buyer_is_maker else Side.BUY
        assert event.kind.side is expected
        late_ns = trade.time_ns - event.time_exchange
        assert venue == "binance_spot" or 0 <= late_ns < 1_000_000


@venues
async def test_best_bid_and_ask_are_the_markets(venue):
    async with feeding(venue, "order_books_l1") as (sim, streams):
        await sim.advance(sim.time_ns + 100 * STEP)
        twin = SyntheticMarket(SEED)
        last = [
            event
            for event in twin.advance(sim.time_ns)
            if isinstance(event, QuoteChanged) and event.symbol == "BTCUSDT"
        ][-1]
        tops = []
        with trio.fail_after(120):
            while not tops or _pairs(tops[-1]) != (_pair(last.bid), _pair(last.ask)):
                for event in await streams.next_batch():
                    assert isinstance(event, MarketEvent)
                    assert isinstance(event.kind, OrderBookL1)
                    tops.append(event.kind)

    assert all(top.best_bid.price < top.best_ask.price for top in tops)
    assert len(tops) > 20


def _pair(pair) -> tuple[Decimal, Decimal]:
    return to_decimal(pair[0]), to_decimal(pair[1])


def _pairs(top: OrderBookL1) -> tuple:
    return tuple((lv.price, lv.amount) for lv in (top.best_bid, top.best_ask))


@venues
@pytest.mark.parametrize("fault", [Gap(symbol="BTCUSDT"), Reorder(symbol="BTCUSDT")])
async def test_lost_and_swapped_depth_is_noticed_and_mended(venue, fault):
    async with feeding(venue, "order_books_l2") as feed:
        await feed.move(1)
        await feed.catch_up()

        await feed.sim.inject(fault)
        await feed.move_until(BookResynced)
        await feed.move(1)
        await feed.catch_up()

    first = feed.of(BookStale)[0]
    assert first.reason in {StaleReason.GAP, StaleReason.CHECKSUM}
    assert not feed.of(Reconnecting)


@venues
async def test_repeated_depth_does_no_harm(venue):
    async with feeding(venue, "order_books_l2") as feed:
        await feed.move(1)
        await feed.catch_up()

        await feed.sim.inject(Duplicate(symbol="BTCUSDT", count=3))
        await feed.move(2)
        await feed.catch_up()


@pytest.mark.parametrize("venue", ["okx", "kraken_v2"])
async def test_a_wrong_checksum_is_noticed_and_mended(venue):
    async with feeding(venue, "order_books_l2") as feed:
        await feed.move(1)
        await feed.catch_up()

        await feed.sim.inject(BadChecksum(symbol="BTCUSDT"))
        await feed.move_until(BookResynced)
        await feed.move(1)
        await feed.catch_up()

    assert feed.of(BookStale)[0].reason is StaleReason.CHECKSUM


@venues
async def test_a_dropped_connection_is_mended(venue):
    async with feeding(venue, "order_books_l2") as feed:
        await feed.move(1)
        await feed.catch_up()

        await feed.sim.inject(Disconnect(code=1006))
        await feed.move_until(BookResynced)
        await feed.move(1)
        await feed.catch_up()

    assert len(feed.of(Reconnecting)) == 1
    assert feed.of(BookStale)[0].reason is StaleReason.DISCONNECTED


@venues
async def test_a_restarted_venue_is_found_again(venue):
    async with feeding(venue, "order_books_l2") as feed:
        await feed.move(1)
        await feed.catch_up()

        await feed.sim.inject(Restart(downtime_ms=300))
        await feed.move_until(BookResynced)
        await feed.move(1)
        await feed.catch_up()

    assert len(feed.of(Reconnecting)) == 1


@pytest.mark.parametrize("venue", ["binance_spot", "okx", "kraken_v2"])
async def test_a_notice_of_maintenance_is_understood(venue):
    async with feeding(venue, "order_books_l2") as feed:
        await feed.move(1)
        await feed.catch_up()

        await feed.sim.inject(ShutdownNotice())
        await feed.move(2)
        await feed.catch_up()

    assert not feed.of(StreamError)
