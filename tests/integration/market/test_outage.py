"""A venue that is killed for five seconds of market time, and what is left of it.

In lockstep: the market only moves when it is told to, so that which trades were sent
is known exactly; `benchmarks/integration/outage.py` does the same to a real process.
"""

import itertools

import pytest
import trio

from integration.market.books import BookState
from integration.market.config import StreamConfig
from integration.market.reports import (
    BookResynced,
    BookStale,
    Reconnecting,
    StaleReason,
)
from integration.market.streams import open_market_streams
from integration.models import (
    MarketDataInstrument,
    MarketEvent,
    PublicTrade,
    SubKind,
    Subscription,
)
from integration.stream.reconnect import Backoff, ReconnectPolicy
from integration.testing import SimulatedExchange, SyntheticMarket
from integration.testing.events import TradeDone
from integration.testing.faults import Restart
from integration.testing.simulator import DIALECTS

STEP_NS = 100_000_000
KINDS = (SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L1, SubKind.ORDER_BOOKS_L2)
SYMBOLS = {"btc": "BTCUSDT", "eth": "ETHUSDT", "sol": "SOLUSDT"}


class Follower:
    """A client of a simulated venue that keeps all it is told."""

    def __init__(self, sim, streams, dialect, instruments):
        self.sim, self.streams = sim, streams
        self.dialect, self.instruments = dialect, instruments
        self.events = []

    async def take(self):
        """Takes what there is."""
        with trio.move_on_after(0.02):
            while True:
                self.events += await self.streams.next_batch()

    async def until(self, done):
        """Moves the market until it is so."""
        while not done():
            await self.sim.advance(self.sim.time_ns + STEP_NS)
            await self.take()

    def live(self):
        books = [self.streams.books[self.dialect, i] for i in self.instruments]
        return all(book.state is BookState.LIVE for book in books)

    def trade_ids(self, instrument):
        return [
            int(event.kind.id)
            for event in self.events
            if isinstance(event, MarketEvent)
            and isinstance(event.kind, PublicTrade)
            and event.instrument == instrument
        ]

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def settled(self):
        """Reads on until the last trade has come and the books are the market's own."""
        await self.sim.drain()
        history = published(self.sim.time_ns)
        while not all(
            self.trade_ids(i)[-1:] == [history[SYMBOLS[i.base]][-1][0]]
            and self.same_top(i)
            for i in self.instruments
        ):
            await self.take()

    def same_top(self, instrument):
        book = self.streams.books[self.dialect, instrument]
        final = self.sim.final_book(SYMBOLS[instrument.base])
        ours = (book.bids(5), book.asks(5))
        return ours == (list(final.bids)[:5], list(final.asks)[:5])


def published(until_ns):
    """Which trades the market has had by then: symbol -> ids and times."""
    source = SyntheticMarket(7)
    trades = {symbol: [] for symbol in SYMBOLS.values()}
    for event in source.advance(until_ns):
        if isinstance(event, TradeDone):
            trades[event.symbol].append((event.trade_id, event.time_ns))
    return trades


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@pytest.mark.parametrize("downtime_ms", [200, 5_000])
async def test_a_venue_that_was_killed_comes_back_whole(dialect, downtime_ms):
    perpetual = "perpetual" in dialect or "futures" in dialect
    make = MarketDataInstrument.perpetual if perpetual else MarketDataInstrument.spot
    instruments = [make(base, "usdt") for base in SYMBOLS]
    wanted = [Subscription(dialect, i, kind) for i in instruments for kind in KINDS]
    backoff = Backoff(0.001, maximum=0.01, stable_after=0.0)

    async with SimulatedExchange(SyntheticMarket(7), dialect=dialect) as sim:
        config = StreamConfig(
            websocket_url={dialect: sim.websocket_url},
            rest_url={dialect: sim.rest_url},
            reconnect=ReconnectPolicy(backoff=backoff),
            silence=None,
        )
        with trio.fail_after(90):
            async with open_market_streams(wanted, config=config) as streams:
                client = Follower(sim, streams, dialect, instruments)
                subscribed_ns = sim.time_ns
                await client.until(client.live)
                for _ in range(20):
                    await sim.advance(sim.time_ns + STEP_NS)
                await client.settled()
                before = {i: client.trade_ids(i) for i in instruments}
                earlier, client.events = client.events, []

                await sim.inject(Restart(downtime_ms=downtime_ms))
                killed_ns = sim.time_ns
                back_ns = killed_ns + downtime_ms * 1_000_000
                await sim.advance(back_ns)
                # The market waits, so that what the venue replays is known.
                while len(client.of(BookResynced)) < len(instruments):
                    await client.take()
                for _ in range(20):
                    await sim.advance(sim.time_ns + STEP_NS)
                await client.settled()

                assert client.live()
                ended_ns = sim.time_ns
                after = {i: client.trade_ids(i) for i in instruments}

    assert not [e for e in earlier if isinstance(e, Reconnecting)]
    assert len(client.of(Reconnecting)) == 1
    stale = [(report.instrument, report.reason) for report in client.of(BookStale)]
    assert sorted(stale, key=repr) == sorted(
        ((i, StaleReason.DISCONNECTED) for i in instruments), key=repr
    )
    for report in client.of(BookResynced):
        assert report.reason is StaleReason.DISCONNECTED
        assert report.gap_ns > 0

    history = published(ended_ns)
    for instrument, symbol in zip(instruments, SYMBOLS.values(), strict=True):
        sent = history[symbol]
        assert before[instrument] == [
            number for number, at in sent if subscribed_ns < at <= killed_ns
        ]
        # What the venue replays of the outage is news; of the time before, it is not.
        ids = after[instrument]
        assert all(b == a + 1 for a, b in itertools.pairwise(ids))
        assert ids[-1] == sent[-1][0]
        first_at = dict(sent)[ids[0]]
        replayed = dialect == "kraken_v2"
        assert (killed_ns if replayed else back_ns) < first_at
        assert {number for number, at in sent if at > back_ns} <= set(ids)
