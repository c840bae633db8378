"""Two lines to two venues that say the same, each with faults of its own."""

import itertools
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from integration.errors import GaveUp, IntegrationError, Overload, Subscribe
from integration.exchanges.registry import connector_for
from integration.market import redundancy
from integration.market.books import BookState
from integration.market.config import FirstConnect, StreamConfig
from integration.market.connection import Confirmation
from integration.market.outlet import Outlet
from integration.market.planner import plan
from integration.market.redundancy import (
    AnyConfirmation,
    RedundantConnection,
    line_metrics,
)
from integration.market.reports import (
    BookResynced,
    BookStale,
    Reconnecting,
    StreamError,
)
from integration.market.streams import open_market_streams
from integration.market.turns import LineLost
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookL1,
    OrderBookUpdate,
    PublicTrade,
    Side,
    SubKind,
    Subscription,
)
from integration.rest.limiter import RateLimiter
from integration.stream.channel import OverloadPolicy
from integration.stream.reconnect import Backoff, ReconnectPolicy
from integration.testing import SimulatedExchange, SyntheticMarket
from integration.testing.faults import (
    Disconnect,
    Gap,
    HalfOpen,
    Refuse,
    Reorder,
    SilentStop,
)
from integration.testing.simulator import DIALECTS
from netcore.clock import SystemClock

SPOT = ExchangeId.BINANCE_SPOT
STEP = 100_000_000  # ns of market time between depth messages
QUICK = ReconnectPolicy(backoff=Backoff(0.001, maximum=0.01, stable_after=0.0))
KINDS = (SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L1, SubKind.ORDER_BOOKS_L2)


def instrument_of(dialect, base="btc"):
    spot = dialect in {"binance_spot", "bybit_spot", "kraken_v2", "okx"}
    make = MarketDataInstrument.spot if spot else MarketDataInstrument.perpetual
    return make(base, "usdt")


BTC, ETH = instrument_of(SPOT), instrument_of(SPOT, "eth")


class Twins:
    """Two exchanges in which the same happens, and streams with a line to each."""

    def __init__(self, dialect, sims, streams):
        self.dialect, self.sims, self.streams = dialect, sims, streams
        self.instrument = instrument_of(dialect)
        self.events = []

    async def step(self, count=1):
        for sim in self.sims:
            await sim.advance(sim.time_ns + count * STEP)
        with trio.move_on_after(0.02):
            while True:
                self.events += await self.streams.next_batch()

    async def until(self, done, *, moving=True):
        while not done():
            if moving:
                await self.step()
            else:
                self.events += await self.streams.next_batch()

    async def make_stale(self, sim, fault):
        """Let a fault strike until some line's book was stale.

        A lost delta does not show where the next one happens to change the same levels.
        """
        seen = sum(line.stale for line in self.streams.lines)
        for steps in itertools.count():
            if sum(line.stale for line in self.streams.lines) > seen:
                return
            if steps % 10 == 0:
                await sim.inject(fault)
            await self.step()

    @property
    def book(self):
        return self.streams.books[self.dialect, self.instrument]

    def live(self):
        return self.book.state is BookState.LIVE

    def both_live(self):
        return all(status.live_books == 1 for status in self.streams.connections)

    def same(self, sim=None):
        final = (sim or self.sims[0]).final_book("BTCUSDT")
        ours = (self.book.bids(5), self.book.asks(5))
        return ours == (list(final.bids)[:5], list(final.asks)[:5])

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def kinds(self, kind):
        return [e.kind for e in self.of(MarketEvent) if isinstance(e.kind, kind)]


@asynccontextmanager
async def twins(dialect=SPOT, *, subscriptions=None, refusing=(), **settings):
    instrument = instrument_of(dialect)
    if subscriptions is None:
        subscriptions = [Subscription(dialect, instrument, kind) for kind in KINDS]
    with trio.fail_after(120):
        async with AsyncExitStack() as stack:
            sims = [
                await stack.enter_async_context(
                    SimulatedExchange(SyntheticMarket(7), dialect=dialect)
                )
                for _ in range(2)
            ]
            for number in refusing:
                await sims[number].inject(Refuse())
            settings = {
                "websocket_url": {dialect: sims[0].websocket_url},
                "line_url": {dialect: (sims[1].websocket_url,)},
                "rest_url": {dialect: sims[0].rest_url},
                "reconnect": QUICK,
                "overlap": 0.1,
                "silence": None,
                "lines": 2,
                **settings,
            }
            config = StreamConfig(**settings)
            streams = await stack.enter_async_context(
                open_market_streams(subscriptions, config=config)
            )
            yield Twins(dialect, sims, streams)


def assert_nothing_showed(found):
    """No book stale, no outage, no trade lost or repeated."""
    assert found.of(BookStale) == found.of(Reconnecting) == []
    assert {type(error.error) for error in found.of(StreamError)} <= {LineLost}
    ids = [int(trade.id) for trade in found.kinds(PublicTrade)]
    assert sorted(ids) == list(range(min(ids), min(ids) + len(ids)))


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
async def test_faults_of_one_line_after_the_other_stop_nothing(dialect):
    async with twins(dialect) as found:
        await found.until(found.both_live)
        for sim in found.sims:
            for fault in (
                Gap(symbol="BTCUSDT"),
                Disconnect(),
                Reorder(symbol="BTCUSDT"),
            ):
                await found.make_stale(sim, fault)
                await found.until(found.both_live)
        await found.step(3)
        await found.until(found.same, moving=False)

        assert_nothing_showed(found)
        assert len(found.of(StreamError)) == 2
        assert [status.up for status in found.streams.lines] == [True, True]


async def test_updates_of_two_lines_are_one_chain():
    async with twins() as found:
        await found.until(found.both_live)
        begun = len(found.events)
        await found.step(20)
        await found.until(found.same, moving=False)
        found.events = found.events[begun:]

        updates = found.kinds(OrderBookUpdate)
        assert len(updates) > 10
        for before, after in itertools.pairwise(updates):
            assert after.first_sequence == before.sequence + 1
        tops = [top.sequence for top in found.kinds(OrderBookL1)]
        assert tops == sorted(set(tops))


async def test_both_lines_lost_is_an_outage_and_one_back_ends_it():
    async with twins() as found:
        await found.until(found.both_live)
        for sim in found.sims:
            await sim.inject(Refuse())
            await sim.inject(Disconnect())
        await found.until(lambda: not found.live())
        assert len(found.of(BookStale)) == len(found.of(Reconnecting)) == 1
        assert len(found.of(StreamError)) == 1

        await found.sims[1].inject(Refuse(duration_ms=0))
        await found.step()
        await found.until(found.live)
        [report] = found.of(BookResynced)
        assert report.gap_ns > 0
        assert [status.up for status in found.streams.connections] == [False, True]


async def test_a_line_that_goes_dead_is_replaced_while_the_other_carries_on():
    dead = {"ping_interval": 0.1, "ping_timeout": 0.2}
    async with twins(**dead) as found:
        await found.until(found.both_live)
        await found.sims[0].inject(HalfOpen())
        await found.until(lambda: found.of(StreamError))
        await found.until(found.both_live)
        await found.step(3)
        await found.until(found.same, moving=False)

        assert_nothing_showed(found)


async def test_a_line_that_answers_pings_but_brings_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(redundancy, "_SILENCE", 0.01)  # a tenth of a second
    async with twins() as found:
        await found.until(found.both_live)
        await found.sims[1].inject(SilentStop())
        await found.until(lambda: found.of(StreamError))
        await found.until(found.both_live)

        assert_nothing_showed(found)
        [error] = found.of(StreamError)
        assert "brought nothing of a stream on which" in str(error.error)


async def test_lines_are_changed_before_their_time_without_a_trace():
    async with twins(lifetime=0.5) as found:
        await found.until(
            lambda: all(status.changes >= 2 for status in found.streams.connections)
        )
        await found.step(3)
        await found.until(found.same, moving=False)

        assert_nothing_showed(found)
        assert found.of(StreamError) == []


@pytest.mark.parametrize("policy", [OverloadPolicy.BLOCK, OverloadPolicy.CONFLATE])
async def test_a_slow_consumer_slows_both_lines_and_loses_no_trade(policy):
    async with twins(capacity=4, overload=policy) as found:
        await found.until(found.both_live)
        for sim in found.sims:
            await sim.advance(sim.time_ns + 30 * STEP)
        await found.until(found.same, moving=False)

        assert_nothing_showed(found)


async def test_an_overflow_that_is_a_fault_reaches_the_consumer():
    settings = {"capacity": 1, "overload": OverloadPolicy.RAISE}
    async with twins(**settings) as found:
        for sim in found.sims:
            await sim.advance(sim.time_ns + 20 * STEP)
        with pytest.raises(Overload, match="consume faster"):
            await found.until(lambda: False, moving=False)


# Beginning and ending


def closed_url():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"ws://127.0.0.1:{free.getsockname()[1]}/ws"


@pytest.mark.parametrize("first", list(FirstConnect))
async def test_one_line_is_enough_to_begin(first):
    async with twins(line_url={SPOT: (closed_url(),)}, first_connect=first) as found:
        await found.until(found.live)
        await found.step(3)
        await found.until(found.same, moving=False)
        assert [line.up for line in found.streams.lines] == [True, False]


async def test_a_line_that_could_not_begin_joins_later():
    async with twins(refusing=[1]) as found:
        await found.until(found.live)
        assert [line.up for line in found.streams.lines] == [True, False]
        await found.sims[1].inject(Refuse(duration_ms=0))
        await found.until(found.both_live)
        await found.step(3)
        await found.until(found.same, moving=False)

        assert found.of(BookStale) == []


async def test_no_line_that_begins_is_an_error():
    dead = {"websocket_url": {SPOT: closed_url()}, "line_url": {SPOT: (closed_url(),)}}
    with pytest.raises(IntegrationError, match="refused"):
        async with twins(**dead):
            pytest.fail("nothing listens there")


async def test_a_symbol_that_both_venues_refuse_is_an_error():
    nonsense = MarketDataInstrument.spot("no", "such")
    wanted = [Subscription(ExchangeId.OKX, nonsense, SubKind.PUBLIC_TRADES)]
    with pytest.raises(Subscribe, match="refused"):
        async with twins(ExchangeId.OKX, subscriptions=wanted):
            pytest.fail("no venue has that")


async def test_a_line_that_was_given_up_is_down_and_refuses_what_is_new():
    # The first loss ends a line: it is not said before that it is tried again.
    once = ReconnectPolicy(backoff=Backoff(0.001, stable_after=0.0), max_attempts=0)
    async with twins(ExchangeId.OKX, reconnect=once) as found:
        await found.until(found.both_live)
        await found.sims[1].inject(Disconnect())
        await found.until(lambda: found.of(StreamError))
        [error] = found.of(StreamError)
        assert isinstance(error.error, GaveUp)
        assert [line.up for line in found.streams.lines] == [True, False]
        nonsense = MarketDataInstrument.spot("no", "such")
        wanted = Subscription(ExchangeId.OKX, nonsense, SubKind.PUBLIC_TRADES)
        with pytest.raises(IntegrationError, match="refused"):
            await found.streams.subscribe(wanted)
        await found.step(3)
        await found.until(found.same, moving=False)

        assert found.of(BookStale) == []


async def test_what_cannot_begin_later_is_ended_and_the_rest_goes_on():
    async with twins() as found:
        await found.until(found.both_live)
        for sim in found.sims:
            await sim.inject(Refuse())
        # Another place of the same venue needs connections of its own.
        config = found.streams._config
        config.websocket_url[SPOT] = closed_url()
        config.line_url[SPOT] = (closed_url(),)
        wanted = Subscription(SPOT, ETH, SubKind.PUBLIC_TRADES)
        with pytest.raises(IntegrationError, match="refused"):
            await found.streams.subscribe(wanted)
        await found.until(lambda: len(found.streams.connections) == 2)
        assert [s.up for s in found.streams.connections] == [True, True]


async def test_subscriptions_come_and_go_on_both_lines():
    async with twins() as found:
        await found.until(found.both_live)
        more = [Subscription(SPOT, ETH, kind) for kind in KINDS]
        handle = await found.streams.subscribe(*more)
        eth = found.streams.books[SPOT, ETH]
        await found.until(lambda: eth.state is BookState.LIVE)
        await found.until(
            lambda: all(s.live_books == 2 for s in found.streams.connections)
        )
        assert {s.topics for s in found.streams.connections} == {6}
        left = SystemClock().now_ns()
        await found.streams.unsubscribe(handle)
        assert list(found.streams.books) == [(SPOT, str(BTC))]
        assert {s.topics for s in found.streams.connections} == {3}
        await found.step(5)
        await found.until(found.same, moving=False)
        late = [e for e in found.of(MarketEvent) if e.time_received > left]
        assert late
        assert {event.instrument for event in late} == {BTC}


async def test_the_figures_tell_who_was_first_and_what_was_repeated():
    async with twins() as found:
        await found.until(found.both_live)
        await found.step(10)
        market = len(found.of(MarketEvent))
        lines = found.streams.lines

        assert [line.name for line in lines] == ["binance_spot#0", "binance_spot#1"]
        assert found.streams.redundant == (("binance_spot#0", "binance_spot#1"),)
        assert sum(line.first for line in lines) == market
        assert all(line.first + line.repeated > 0 for line in lines)
        metrics = line_metrics(lines, 5_000_000)
        assert [metric.time for metric in metrics] == [5, 5]
        values = {f.key: f.value.value for f in metrics[0].fields}
        assert values["first"] == lines[0].first
        assert values["up"] == 1


async def test_one_line_is_no_line():
    async with twins(lines=1, line_url={}) as found:
        await found.until(found.live)
        assert found.streams.lines == []
        assert found.streams.redundant == ()


# Waiting for any of several


@pytest.mark.parametrize("last", [0, 1])
async def test_a_topic_is_confirmed_by_the_first_line(last):
    lines = [Confirmation(), Confirmation()]
    lines[last].settle(Subscribe("no"))
    lines[1 - last].settle()
    await AnyConfirmation(lines).wait()


async def test_a_topic_is_refused_when_every_line_refused_it(nursery):
    lines = [Confirmation(), Confirmation()]
    lines[1].settle(Subscribe("not here"))
    refused = []

    async def wait():
        try:
            await AnyConfirmation(lines).wait()
        except Subscribe as error:
            refused.append(str(error))

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    assert refused == []
    lines[0].settle(Subscribe("nor there"))
    await trio.testing.wait_all_tasks_blocked()
    assert refused == ["nor there"]


# Without a venue


def unconnected(*kinds):
    """Return two lines that were never run, what they carry, by kind, and a queue."""
    [found] = plan(
        [Subscription(SPOT, BTC, kind) for kind in kinds],
        connector_for=connector_for,
        websocket_url={},
    )
    outlet = Outlet(1000)
    group = RedundantConnection(
        4,
        found,
        [found.url, found.url],
        connector=connector_for(SPOT),
        config=StreamConfig(lines=2),
        outlet=outlet,
        images=None,
        limiter=RateLimiter({}),
    )
    parts = {wanted.subscription.kind: wanted for wanted in found.wanted}
    return group, parts, outlet


def trade_event(number, price=1, time=1):
    kind = PublicTrade(str(number), Decimal(price), Decimal(3), Side.BUY)
    return MarketEvent(time, time, SPOT, BTC, kind)


def test_a_book_is_kept_while_any_line_still_has_it():
    group, parts, _ = unconnected(SubKind.ORDER_BOOKS_L2)
    book = parts[SubKind.ORDER_BOOKS_L2]
    group.lines[0].refused(book.topic, Subscribe("not here"))
    # Asked for again: that line has it once now, the other twice.
    group.add([book])
    assert group.drop([book]) == []
    assert list(group.books) == [BTC]
    assert group.drop([book]) == [BTC]
    assert group.books == {}


@pytest.mark.parametrize("refused", [False, True])
def test_a_line_is_not_called_silent_about_what_it_was_refused(refused):
    group, parts, _ = unconnected(SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L1)
    failed = []
    for line in group.lines:
        current = SimpleNamespace(fail=failed.append)
        line.relay = SimpleNamespace(sessions=[], current=current)
    if refused:
        topic = parts[SubKind.PUBLIC_TRADES].topic
        group.lines[0].refused(topic, Subscribe("not here"))
    for second in range(60):
        group.take(1, [trade_event(second, time=second * 1_000_000_000)])
    assert bool(failed) is not refused


def test_trades_are_known_as_long_as_anything_of_the_instrument_is_wanted():
    kinds = (SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L2)
    group, parts, outlet = unconnected(*kinds)
    one, two = Decimal(1), Decimal(2)

    def told(line, number, price):
        group.take(line, [trade_event(number, price)])
        return [event.kind.price for event in outlet.take_nowait()]

    assert "binance_spot#4, binance_spot#5" in repr(group)
    assert told(0, "7", one) == [one]
    assert group.drop([parts[SubKind.ORDER_BOOKS_L2]]) == [BTC]
    assert group.books == {}
    assert told(1, "7", one) == []
    assert group.drop([parts[SubKind.PUBLIC_TRADES]]) == []
    assert told(1, "7", two) == [two]


def test_more_urls_than_lines_are_refused():
    with pytest.raises(ValueError, match="binance_spot names 2 further lines"):
        StreamConfig(lines=2, line_url={SPOT: ("ws://a", "ws://b")})
