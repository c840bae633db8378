"""Every fault on every dialect: what our feeds make of it.

`test_feeds.py` has faults that lose or repeat depth, close or kill; the rest is here.
Nothing is assumed about who is faster: each test moves the market until what it waits
for has happened, and ends with the exchange's own book.
"""

from contextlib import asynccontextmanager

import msgspec
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
    SubKind,
    Subscription,
)
from integration.stream.reconnect import Backoff, ReconnectPolicy
from integration.testing import SimulatedExchange, SyntheticMarket
from integration.testing.faults import (
    ClockSkew,
    Disconnect,
    Gap,
    HalfOpen,
    Malformed,
    MalformedForm,
    Oversized,
    RateLimit,
    SilentStop,
    StaleSnapshot,
)
from integration.testing.simulator import DIALECTS

STEP = 100_000_000
SYMBOL = "BTCUSDT"
DEPTH = 10
QUICK = ReconnectPolicy(backoff=Backoff(0.001, maximum=0.01, stable_after=0.0))
FREE = {"connections": 10_000, "messages_per_second": 10_000}
HTTP_IMAGES = [name for name in sorted(DIALECTS) if "binance" in name]

venues = pytest.mark.parametrize("venue", sorted(DIALECTS))


class Feed:
    """A book that is followed, and the exchange it is of."""

    def __init__(self, sim, streams, key):
        self.sim, self.streams, self.key = sim, streams, key
        self.events = []

    @property
    def book(self):
        return self.streams.books[self.key]

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def in_step(self):
        final = self.sim.final_book(SYMBOL).top(DEPTH)
        ours = (self.book.bids(DEPTH), self.book.asks(DEPTH))
        live = self.book.state is BookState.LIVE
        return live and ours == (list(final.bids), list(final.asks))

    async def take(self):
        with trio.move_on_after(0.02):
            self.events += await self.streams.next_batch()

    async def until(self, done):
        """Move the market, and read, until it is so."""
        while not done():
            await self.sim.advance(self.sim.time_ns + STEP)
            await self.take()

    async def heal(self):
        """Move on until the book is the exchange's again, and has moved since."""
        sequence = self.sim.time_ns + 3 * STEP
        while not (self.in_step() and self.sim.time_ns >= sequence):
            # What was lost may need a next message to show.
            await self.sim.advance(self.sim.time_ns + STEP)
            await self.sim.drain()
            for _ in range(20):
                await self.take()
                if self.in_step():
                    break
        await self.take()  # what the book knew of before we did


@asynccontextmanager
async def feeding(venue, **settings):
    exchange = ExchangeId(venue)
    contract = "perpetual" in venue or "futures" in venue
    make = MarketDataInstrument.perpetual if contract else MarketDataInstrument.spot
    instrument = make("btc", "usdt")
    market = SyntheticMarket(7, [SYMBOL])
    limits = msgspec.structs.replace(DIALECTS[venue].limits, **FREE)
    async with SimulatedExchange(market, dialect=venue, limits=limits) as sim:
        config = StreamConfig(
            websocket_url={exchange: sim.websocket_url},
            rest_url={exchange: sim.rest_url},
            **{"reconnect": QUICK, "silence": None, **settings},
        )
        wanted = Subscription(exchange, instrument, SubKind.ORDER_BOOKS_L2)
        with trio.fail_after(60):
            async with open_market_streams([wanted], config=config) as streams:
                feed = Feed(sim, streams, (exchange, instrument))
                await feed.until(lambda: feed.book.state is BookState.LIVE)
                yield feed


@venues
@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1012, 1013])
async def test_a_close_of_any_code_is_one_outage(venue, code):
    async with feeding(venue) as feed:
        await feed.sim.inject(Disconnect(code=code, reason="because"))
        await feed.until(lambda: feed.of(BookResynced))
        await feed.heal()

    (lost,) = feed.of(Reconnecting)
    assert code == 1006 or str(code) in lost.reason
    assert feed.of(BookStale)[0].reason is StaleReason.DISCONNECTED


@venues
async def test_a_connection_that_says_nothing_more_is_replaced(venue):
    async with feeding(venue, silence=0.5) as feed:
        await feed.sim.inject(SilentStop())
        await feed.until(lambda: feed.of(BookResynced))
        await feed.heal()

    # A slow machine may take a pause for a silence once more.
    assert {"no data came" in lost.reason for lost in feed.of(Reconnecting)} == {True}


@venues
async def test_a_silence_that_ends_in_time_is_a_gap_at_most(venue):
    async with feeding(venue) as feed:
        await feed.sim.inject(SilentStop(duration_ms=500))
        until_ns = feed.sim.time_ns + 6 * STEP
        await feed.until(lambda: feed.sim.time_ns >= until_ns)
        await feed.heal()

    assert not feed.of(Reconnecting)
    assert len(feed.of(BookStale)) <= 1


@venues
async def test_a_half_open_connection_is_found_out(venue):
    # Pings of the venue's own kind are as far apart as it wants them: what finds out
    # soon is the silence, or the missing pong where pings are the protocol's.
    quick = {"ping_interval": 0.1, "ping_timeout": 0.3, "silence": 0.5}
    async with feeding(venue, **quick) as feed:
        await feed.sim.inject(HalfOpen())
        await feed.until(lambda: feed.of(BookResynced))
        await feed.heal()

    assert feed.of(Reconnecting)


UNREADABLE = [
    MalformedForm.NOT_JSON,
    MalformedForm.TRUNCATED,
    MalformedForm.EMPTY,
    MalformedForm.UNKNOWN_EVENT,
    MalformedForm.WRONG_TYPE,
]


@venues
@pytest.mark.parametrize("form", UNREADABLE)
async def test_a_message_that_cannot_be_read_is_told_and_survived(venue, form):
    async with feeding(venue) as feed:
        await feed.sim.inject(Malformed(form=form, symbol=SYMBOL))
        await feed.until(lambda: feed.of(StreamError))
        await feed.heal()

    assert len(feed.of(StreamError)) == 1
    assert not feed.of(Reconnecting)
    # Where a checksum is over what was in it, too, its loss shows.
    assert {stale.reason for stale in feed.of(BookStale)} <= {StaleReason.CHECKSUM}


@venues
async def test_a_number_that_is_none_is_in_no_book_and_no_event(venue):
    async with feeding(venue) as feed:
        await feed.sim.inject(Malformed(form=MalformedForm.NOT_A_NUMBER, symbol=SYMBOL))
        await feed.until(lambda: feed.of(StreamError) or feed.of(BookResynced))
        await feed.heal()

    assert not feed.of(Reconnecting)
    kinds = [event.kind for event in feed.of(MarketEvent)]
    levels = [level for kind in kinds for level in (*kind.bids, *kind.asks)]
    assert "NaN" not in {price for price, _ in levels}


@venues
@pytest.mark.parametrize(
    "form", [MalformedForm.INVALID_UTF8, MalformedForm.RESERVED_BIT]
)
async def test_a_venue_that_breaks_the_protocol_is_left_and_found_again(venue, form):
    async with feeding(venue) as feed:
        await feed.sim.inject(Malformed(form=form))
        await feed.until(lambda: feed.of(BookResynced))
        await feed.heal()

    assert len(feed.of(Reconnecting)) == 1


@venues
async def test_a_message_that_is_too_long_ends_its_connection_only(venue):
    async with feeding(venue) as feed:
        await feed.sim.inject(Oversized(size=17 * 2**20))
        await feed.until(lambda: feed.of(BookResynced))
        await feed.heal()

    (lost,) = feed.of(Reconnecting)
    assert "1009" in lost.reason or "16777216" in lost.reason, lost.reason


@venues
async def test_a_clock_that_is_wrong_moves_times_and_nothing_else(venue):
    async with feeding(venue) as feed:
        feed.events.clear()
        await feed.sim.inject(ClockSkew(offset_ms=-60_000))
        await feed.heal()

    assert not feed.of((BookStale, StreamError, Reconnecting))
    updates = feed.of(MarketEvent)
    assert updates
    assert all(u.time_exchange < feed.sim.time_ns - 50 * 10**9 for u in updates[-1:])


@pytest.mark.parametrize("venue", HTTP_IMAGES)
@pytest.mark.parametrize("status", [429, 418])
async def test_an_image_that_is_refused_for_now_is_fetched_later(venue, status):
    async with feeding(venue) as feed:
        await feed.sim.inject(RateLimit(status=status, count=1, retry_after=0))
        await feed.sim.inject(Gap(symbol=SYMBOL))
        await feed.until(lambda: feed.of(BookResynced))
        await feed.heal()

    assert not feed.of(Reconnecting)


@pytest.mark.parametrize("venue", HTTP_IMAGES)
async def test_an_image_of_long_ago_is_fetched_again(venue):
    async with feeding(venue) as feed:
        await feed.sim.inject(StaleSnapshot(symbol=SYMBOL, count=2))
        before = feed.sim.stats.requests
        await feed.heal()
        await feed.sim.inject(Gap(symbol=SYMBOL))
        await feed.until(lambda: feed.of(BookResynced))
        await feed.heal()

    assert feed.sim.stats.requests >= before + 3
