"""Connections that are changed before the venue ends them, on every dialect.

The next connection is up and in step before the old one is left: of trades, best
levels and books nothing is lost, nothing comes twice, and no book is ever stale.
"""

import msgspec
import pytest
import trio

pytest.importorskip("trio_websocket")

from integration.market.books import BookState, OrderBook
from integration.market.config import StreamConfig
from integration.market.streams import open_market_streams
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    SubKind,
    Subscription,
    TradeFlag,
)
from integration.testing import SimulatedExchange, SyntheticMarket
from integration.testing.faults import ShutdownNotice
from integration.testing.simulator import DIALECTS

STEP = 100_000_000
SYMBOL, DEPTH = "BTCUSDT", 10
KINDS = (SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L1, SubKind.ORDER_BOOKS_L2)
FREE = {"connections": 10_000, "messages_per_second": 10_000}
ANNOUNCING = ["binance_futures_usd", "binance_spot", "okx"]
"""Those that say that they are going to close."""


class Feed:
    """A stream of all kinds of one instrument, and a book of its events alone."""

    def __init__(self, sim, streams, key):
        self.sim, self.streams, self.key = sim, streams, key
        self.trades, self.other = [], []
        self.mirror = OrderBook(max_depth=DEPTH if key[0] == "kraken_v2" else None)

    @property
    def book(self):
        return self.streams.books[self.key]

    async def take(self):
        with trio.move_on_after(0.02):
            for event in await self.streams.next_batch():
                self.see(event)

    def see(self, event):
        if not isinstance(event, MarketEvent):
            self.other.append(event)
            return
        kind = event.kind
        if isinstance(kind, PublicTrade) and not kind.flags & TradeFlag.BACKFILL:
            self.trades.append(int(kind.id))
        elif isinstance(kind, OrderBookSnapshot):
            self.mirror.apply_snapshot(kind.bids, kind.asks)
        elif isinstance(kind, OrderBookUpdate):
            self.mirror.apply_update(kind.bids, kind.asks)

    async def until(self, done):
        while not done():
            await self.sim.advance(self.sim.time_ns + STEP)
            await self.take()

    def in_step(self):
        final = self.sim.final_book(SYMBOL).top(DEPTH)
        wanted = (list(final.bids), list(final.asks))
        books = (self.book, self.mirror)
        return all((b.bids(DEPTH), b.asks(DEPTH)) == wanted for b in books)

    async def finish(self):
        await self.sim.drain()
        while not self.in_step():
            await self.take()


def following(venue, **settings):
    exchange = ExchangeId(venue)
    contract = "perpetual" in venue or "futures" in venue
    make = MarketDataInstrument.perpetual if contract else MarketDataInstrument.spot
    key = (exchange, make("btc", "usdt"))
    limits = msgspec.structs.replace(DIALECTS[venue].limits, **FREE)
    market = SyntheticMarket(7, [SYMBOL])
    sim = SimulatedExchange(market, dialect=venue, limits=limits)
    return key, sim, {"silence": None, "overlap": 0.3, **settings}


async def changed(venue, *, times, strike=None, **settings):
    """Follow a venue over changes of the connection; return what was seen."""
    key, exchange, settings = following(venue, **settings)
    async with exchange as sim:
        config = StreamConfig(
            websocket_url={key[0]: sim.websocket_url},
            rest_url={key[0]: sim.rest_url},
            **settings,
        )
        wanted = [Subscription(*key, kind) for kind in KINDS]
        with trio.fail_after(60):
            async with open_market_streams(wanted, config=config) as streams:
                feed = Feed(sim, streams, key)
                await feed.until(lambda: feed.book.state is BookState.LIVE)
                if strike is not None:
                    await sim.inject(strike)
                await feed.until(lambda: sim.stats.connections > times)
                if strike is not None:
                    await feed.until(lambda: sim.clients == 1)
                await feed.until(iter([False] * 5 + [True]).__next__)
                await feed.finish()
    return feed


def assert_seamless(feed):
    assert feed.other == []
    first = feed.trades[0]
    assert feed.trades == list(range(first, first + len(feed.trades)))
    assert len(feed.trades) > 3


@pytest.mark.parametrize("venue", sorted(DIALECTS))
async def test_a_connection_is_changed_before_its_time_without_a_trace(venue):
    assert_seamless(await changed(venue, times=2, lifetime=0.5))


@pytest.mark.parametrize("venue", ANNOUNCING)
async def test_an_announced_end_is_left_before_it_comes(venue):
    assert_seamless(await changed(venue, times=1, strike=ShutdownNotice()))
