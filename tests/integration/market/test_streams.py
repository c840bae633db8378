import itertools
from collections import Counter
from contextlib import asynccontextmanager

import pytest
import trio

from integration.errors import (
    IntegrationError,
    SubscriptionsEmpty,
    Unsupported,
    UnsupportedSubKind,
    WebSocket,
)
from integration.market.config import FirstConnect, StreamConfig
from integration.market.images import ImageScheduler
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
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    SubKind,
    Subscription,
)
from integration.rest.httpx_transport import HttpxTransport
from integration.rest.limiter import RateLimiter
from integration.stream.reconnect import Backoff, ReconnectPolicy
from integration.testing import SimulatedExchange, SyntheticMarket
from integration.testing.faults import (
    Disconnect,
    Duplicate,
    Gap,
    HalfOpen,
    Malformed,
    MalformedForm,
    RateLimit,
    Refuse,
    Reorder,
    Restart,
    ShutdownNotice,
    SilentStop,
    StaleSnapshot,
)

SPOT = ExchangeId.BINANCE_SPOT
BTC = MarketDataInstrument.spot("btc", "usdt")
ETH = MarketDataInstrument.spot("eth", "usdt")
STEP = 100_000_000  # ns of market time between depth messages
QUICK = ReconnectPolicy(backoff=Backoff(0.001, maximum=0.01, stable_after=0.0))


def books_of(*instruments):
    return [Subscription(SPOT, i, SubKind.ORDER_BOOKS_L2) for i in instruments]


@asynccontextmanager
async def streaming(subscriptions, *, faults=(), **config):
    """Open streams against a simulated venue; nothing here waits for a clock."""
    with trio.fail_after(120):
        async with SimulatedExchange(SyntheticMarket(7), faults=faults) as sim:
            config.setdefault("reconnect", QUICK)
            config.setdefault("overlap", 0.1)
            settings = StreamConfig(
                websocket_url={SPOT: sim.websocket_url},
                rest_url={SPOT: sim.rest_url},
                **config,
            )
            async with open_market_streams(subscriptions, config=settings) as streams:
                yield sim, streams


async def step(sim, count=1):
    await sim.advance(sim.time_ns + count * STEP)


async def take_until(sim, streams, done):
    """Move the market and collect events until `done(events)`."""
    events = []
    while not done(events):
        await step(sim)
        with trio.move_on_after(0.02):
            while not done(events):
                events += await streams.next_batch()
    return events


def live(streams, *instruments):
    return lambda _events: all(
        streams.books[SPOT, i].state == "live" for i in instruments
    )


def seen(kind, count=1):
    return lambda events: sum(isinstance(e, kind) for e in events) >= count


def healed_of(reason):
    """Whether a book was stale for a reason, and is live again."""

    def done(events):
        reports = [e for e in events if isinstance(e, BookStale | BookResynced)]
        reasons = [e.reason for e in reports if isinstance(e, BookStale)]
        return reason in reasons and isinstance(reports[-1], BookResynced)

    return done


def changed(streams, count=1):
    return lambda _events: streams.connections[0].changes >= count


async def caught_up(sim, streams, symbol, instrument):
    """Consume until the book has everything that was published."""
    events = []
    while streams.books[SPOT, instrument].sequence != sim.sequence(symbol):
        events += await streams.next_batch()
    return events


def assert_same_book(sim, streams, symbol, instrument):
    book, image = streams.books[SPOT, instrument], sim.final_book(symbol)
    assert book.state == "live"
    assert book.sequence == image.sequence
    assert book.bids() == list(image.bids)
    assert book.asks() == list(image.asks)


async def test_books_trades_and_quotes_of_two_instruments_arrive():
    kinds = (SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L1, SubKind.ORDER_BOOKS_L2)
    subscriptions = [Subscription(SPOT, i, k) for i in (BTC, ETH) for k in kinds]
    async with streaming(subscriptions) as (sim, streams):
        events = await take_until(sim, streams, live(streams, BTC, ETH))
        await step(sim, 20)
        events += await caught_up(sim, streams, "BTCUSDT", BTC)
        events += await caught_up(sim, streams, "ETHUSDT", ETH)

        assert_same_book(sim, streams, "BTCUSDT", BTC)
        assert_same_book(sim, streams, "ETHUSDT", ETH)
        assert all(isinstance(event, MarketEvent) for event in events)
        counts = Counter((e.instrument, type(e.kind)) for e in events)
        for instrument in (BTC, ETH):
            assert counts[instrument, OrderBookSnapshot] == 1
            for kind in (PublicTrade, OrderBookL1, OrderBookUpdate):
                assert counts[instrument, kind] > 0
        assert sim.stats.connections == 1
        assert streams.stats.dropped == 0


async def test_updates_of_a_book_follow_its_image_without_a_hole():
    async with streaming(books_of(BTC)) as (sim, streams):
        events = await take_until(sim, streams, live(streams, BTC))
        await step(sim, 10)
        events += await caught_up(sim, streams, "BTCUSDT", BTC)

        assert isinstance(events[0].kind, OrderBookSnapshot)
        last = events[0].kind.sequence
        for event in events[1:]:
            assert event.kind.first_sequence <= last + 1 <= event.kind.sequence + 1
            last = event.kind.sequence
        assert last == sim.sequence("BTCUSDT")


async def test_a_gap_is_reported_and_healed_on_the_same_connection():
    async with streaming(books_of(BTC, ETH)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC, ETH))
        await sim.inject(Gap(symbol="BTCUSDT"))
        events = await take_until(sim, streams, seen(BookResynced))

        reports = [e for e in events if not isinstance(e, MarketEvent)]
        stale, resynced = reports
        assert isinstance(stale, BookStale)
        assert (stale.instrument, stale.reason) == (BTC, StaleReason.GAP)
        assert stale.received > stale.expected == stale.last_sequence + 1
        assert resynced.instrument == BTC
        assert resynced.missed == (stale.expected, stale.received - 1)
        assert resynced.gap_ns >= 0
        assert sim.stats.connections == 1
        await step(sim, 3)
        await caught_up(sim, streams, "BTCUSDT", BTC)
        assert_same_book(sim, streams, "BTCUSDT", BTC)


async def test_no_update_of_a_stale_book_is_passed_on():
    async with streaming(books_of(BTC)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await sim.inject(Gap(symbol="BTCUSDT"))
        events = await take_until(sim, streams, seen(BookResynced))

        (at,) = [i for i, e in enumerate(events) if isinstance(e, BookStale)]
        assert isinstance(events[at + 1].kind, OrderBookSnapshot)
        assert isinstance(events[at + 2], BookResynced)


async def test_a_duplicate_changes_nothing():
    async with streaming(books_of(BTC)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await sim.inject(Duplicate(symbol="BTCUSDT", count=2))
        await step(sim, 5)
        events = await caught_up(sim, streams, "BTCUSDT", BTC)

        assert all(isinstance(event, MarketEvent) for event in events)
        assert_same_book(sim, streams, "BTCUSDT", BTC)


async def test_messages_that_swap_places_are_noticed():
    async with streaming(books_of(BTC)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await sim.inject(Reorder(symbol="BTCUSDT"))
        events = await take_until(sim, streams, seen(BookResynced))

        assert sum(isinstance(e, BookStale) for e in events) == 1
        await step(sim, 3)
        await caught_up(sim, streams, "BTCUSDT", BTC)
        assert_same_book(sim, streams, "BTCUSDT", BTC)


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1012, 1013])
async def test_a_lost_connection_makes_every_book_stale_and_comes_back(code):
    async with streaming(books_of(BTC, ETH)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC, ETH))
        await sim.inject(Disconnect(code=code))
        events = await take_until(sim, streams, seen(BookResynced, 2))

        reports = [e for e in events if not isinstance(e, MarketEvent)]
        lost, *stale = reports[:3]
        assert isinstance(lost, Reconnecting)
        assert set(lost.instruments) == {BTC, ETH}
        assert {(s.instrument, s.reason) for s in stale} == {
            (BTC, StaleReason.DISCONNECTED),
            (ETH, StaleReason.DISCONNECTED),
        }
        assert sum(isinstance(e, Reconnecting) for e in events) == 1
        await step(sim, 3)
        await caught_up(sim, streams, "BTCUSDT", BTC)
        assert_same_book(sim, streams, "BTCUSDT", BTC)


async def test_a_restart_of_the_venue_is_one_outage():
    async with streaming(books_of(BTC)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await sim.inject(Restart(downtime_ms=300))
        events = await take_until(sim, streams, seen(BookResynced))

        assert sum(isinstance(e, Reconnecting) for e in events) == 1
        assert streams.books[SPOT, BTC].state == "live"


async def test_a_connection_that_answers_pings_but_sends_nothing_is_replaced():
    async with streaming(books_of(BTC), silence=0.3) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await sim.inject(SilentStop())
        events = await take_until(sim, streams, seen(BookResynced))

        (lost,) = [e for e in events if isinstance(e, Reconnecting)]
        assert "no data came" in lost.reason


async def test_a_half_open_connection_is_found_by_its_missing_pong():
    settings = {"ping_interval": 0.1, "ping_timeout": 0.2, "silence": None}
    async with streaming(books_of(BTC), **settings) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await sim.inject(HalfOpen())
        events = await take_until(sim, streams, seen(BookResynced))

        assert sum(isinstance(e, Reconnecting) for e in events) == 1


EVERYTHING = [
    Subscription(SPOT, instrument, kind)
    for instrument in (BTC, ETH)
    for kind in (
        SubKind.PUBLIC_TRADES,
        SubKind.ORDER_BOOKS_L1,
        SubKind.ORDER_BOOKS_L2,
    )
]


def assert_seamless(events):
    """Nothing lost, nothing twice, no book ever stale."""
    assert [event for event in events if not isinstance(event, MarketEvent)] == []
    for instrument in (BTC, ETH):
        kinds = [e.kind for e in events if e.instrument == instrument]
        ids = [int(kind.id) for kind in kinds if isinstance(kind, PublicTrade)]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        tops = [kind.sequence for kind in kinds if isinstance(kind, OrderBookL1)]
        assert tops == sorted(set(tops))
        updates = [kind for kind in kinds if isinstance(kind, OrderBookUpdate)]
        for before, after in itertools.pairwise(updates):
            assert after.first_sequence == before.sequence + 1


async def test_a_connection_is_changed_before_its_time_without_a_trace():
    async with streaming(EVERYTHING, lifetime=0.5) as (sim, streams):
        events = await take_until(sim, streams, live(streams, BTC, ETH))
        events += await take_until(sim, streams, changed(streams, 3))
        await step(sim, 5)
        events += await caught_up(sim, streams, "BTCUSDT", BTC)

        assert_seamless(events)
        assert_same_book(sim, streams, "BTCUSDT", BTC)


async def test_a_change_of_connection_takes_its_turn_like_any_other(monkeypatch):
    turns, acquire = [], RateLimiter.acquire

    async def noted(self, host, bucket="default", *, weight=1):
        turns.append(bucket)
        return await acquire(self, host, bucket, weight=weight)

    monkeypatch.setattr(RateLimiter, "acquire", noted)
    async with streaming(books_of(BTC), lifetime=0.2) as (sim, streams):
        await take_until(sim, streams, changed(streams, 2))
        made = sim.stats.connections

    assert made >= 3
    assert turns.count("connections") >= made


async def test_an_announced_shutdown_is_left_before_it_comes():
    async with streaming(EVERYTHING) as (sim, streams):
        events = await take_until(sim, streams, live(streams, BTC, ETH))
        await sim.inject(ShutdownNotice())
        events += await take_until(sim, streams, changed(streams))
        await sim.wait_clients(1)
        await step(sim, 5)
        events += await caught_up(sim, streams, "BTCUSDT", BTC)

        assert_seamless(events)
        assert_same_book(sim, streams, "BTCUSDT", BTC)


class Swallowing:
    """A transport that never answers one request, if so told."""

    def __init__(self):
        self._inner = HttpxTransport()
        self.swallows = False
        self.swallowed = trio.Event()

    async def send(self, prepared):
        if self.swallows:
            self.swallows = False
            self.swallowed.set()
            await trio.sleep_forever()
        return await self._inner.send(prepared)

    async def aclose(self):
        await self._inner.aclose()


async def test_an_image_that_the_old_connection_waited_for_is_fetched_by_the_new():
    transport = Swallowing()
    async with streaming(books_of(BTC), http_transport=transport) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        transport.swallows = True
        await sim.inject(Gap(symbol="BTCUSDT"))
        await take_until(sim, streams, seen(BookStale))
        await transport.swallowed.wait()
        await sim.inject(ShutdownNotice())
        await take_until(sim, streams, changed(streams))
        await take_until(sim, streams, live(streams, BTC))
        await step(sim, 3)
        await caught_up(sim, streams, "BTCUSDT", BTC)

        assert_same_book(sim, streams, "BTCUSDT", BTC)
    await transport.aclose()


async def test_a_change_that_fails_is_reported_and_the_old_connection_serves_on():
    async with streaming(books_of(BTC)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await sim.inject(Refuse())
        await sim.inject(ShutdownNotice())
        events = await take_until(sim, streams, seen(StreamError))

        assert not any(isinstance(e, Reconnecting | BookStale) for e in events)
        await step(sim, 3)
        await caught_up(sim, streams, "BTCUSDT", BTC)
        assert_same_book(sim, streams, "BTCUSDT", BTC)


async def test_subscriptions_survive_the_change_of_a_connection():
    async with streaming(books_of(BTC)) as (sim, streams):
        await streams.subscribe(*books_of(ETH))
        await take_until(sim, streams, live(streams, BTC, ETH))
        await sim.inject(ShutdownNotice())
        await take_until(sim, streams, changed(streams))
        await sim.wait_clients(1)
        await step(sim, 5)
        await caught_up(sim, streams, "ETHUSDT", ETH)

        assert_same_book(sim, streams, "ETHUSDT", ETH)


async def test_a_connection_lost_during_the_change_is_an_ordinary_outage():
    async with streaming(books_of(BTC)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await sim.inject(ShutdownNotice())
        await sim.inject(Disconnect())
        await take_until(sim, streams, seen(Reconnecting))
        await take_until(sim, streams, live(streams, BTC))
        await step(sim, 3)
        await caught_up(sim, streams, "BTCUSDT", BTC)

        assert_same_book(sim, streams, "BTCUSDT", BTC)


@pytest.mark.parametrize(
    "form",
    [
        MalformedForm.NOT_JSON,
        MalformedForm.TRUNCATED,
        MalformedForm.EMPTY,
        MalformedForm.UNKNOWN_EVENT,
        MalformedForm.WRONG_TYPE,
    ],
)
async def test_a_malformed_message_is_reported_and_survived(form):
    async with streaming(books_of(BTC)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await sim.inject(Malformed(form=form))
        events = await take_until(sim, streams, seen(StreamError))

        (fault,) = [e for e in events if isinstance(e, StreamError)]
        assert fault.exchange is SPOT
        assert isinstance(fault.error, IntegrationError)
        await step(sim, 3)
        await caught_up(sim, streams, "BTCUSDT", BTC)
        assert_same_book(sim, streams, "BTCUSDT", BTC)
        assert sim.stats.connections == 1


async def test_a_number_that_is_none_never_reaches_a_book():
    async with streaming(books_of(BTC)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await sim.inject(Malformed(form=MalformedForm.NOT_A_NUMBER))
        # It claims all ids there are: it may be a gap first, and invalid when joined.
        events = await take_until(sim, streams, healed_of(StaleReason.INVALID))
        books = [e.kind for e in events if isinstance(e, MarketEvent)]
        assert "NaN" not in {price for book in books for price, _ in book.bids}
        await step(sim, 3)
        await caught_up(sim, streams, "BTCUSDT", BTC)

        assert_same_book(sim, streams, "BTCUSDT", BTC)


@pytest.mark.parametrize(
    "form", [MalformedForm.INVALID_UTF8, MalformedForm.RESERVED_BIT]
)
async def test_a_peer_that_breaks_the_protocol_is_left_and_found_again(form):
    async with streaming(books_of(BTC)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await sim.inject(Malformed(form=form))
        events = await take_until(sim, streams, seen(BookResynced))

        assert sum(isinstance(e, Reconnecting) for e in events) == 1


@pytest.mark.parametrize("status", [429, 418])
async def test_an_image_that_is_refused_for_now_is_fetched_later(status):
    async with streaming(books_of(BTC)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await sim.inject(RateLimit(status=status, count=1, retry_after=0))
        await sim.inject(Gap(symbol="BTCUSDT"))
        await take_until(sim, streams, seen(BookResynced))

        assert streams.books[SPOT, BTC].state == "live"


async def test_an_image_older_than_the_updates_is_fetched_again():
    async with streaming(books_of(BTC)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await sim.inject(StaleSnapshot(symbol="BTCUSDT", count=2))
        before = sim.stats.requests
        await step(sim, 3)
        await sim.inject(Gap(symbol="BTCUSDT"))
        await take_until(sim, streams, seen(BookResynced))

        assert sim.stats.requests == before + 3
        await step(sim, 3)
        await caught_up(sim, streams, "BTCUSDT", BTC)
        assert_same_book(sim, streams, "BTCUSDT", BTC)


async def test_the_pauses_between_images_that_are_too_old_begin_anew(monkeypatch):
    pauses, request = [], ImageScheduler.request

    def noted(self, job, *, delay=0.0):
        pauses.append(delay)
        request(self, job, delay=delay)

    monkeypatch.setattr(ImageScheduler, "request", noted)
    async with streaming(books_of(BTC)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        pauses.clear()
        for _ in range(2):
            await sim.inject(StaleSnapshot(symbol="BTCUSDT", count=2))
            await step(sim, 3)
            await sim.inject(Gap(symbol="BTCUSDT"))
            await take_until(sim, streams, seen(BookResynced))

    assert pauses == [0.0, 0.1, 0.2] * 2


async def test_subscriptions_come_and_go_while_the_stream_runs():
    async with streaming(books_of(BTC)) as (sim, streams):
        handle = await streams.subscribe(*books_of(ETH))
        await sim.wait_subscribed("ethusdt@depth@100ms")
        await take_until(sim, streams, live(streams, BTC, ETH))
        assert handle.subscriptions == tuple(books_of(ETH))
        assert sim.stats.connections == 1

        await streams.unsubscribe(handle)
        await streams.unsubscribe(handle)

        with pytest.raises(KeyError, match="books are: binance_spot btc_usdt_spot"):
            streams.books[SPOT, ETH]
        await step(sim, 5)
        events = await caught_up(sim, streams, "BTCUSDT", BTC)
        assert {e.instrument for e in events if isinstance(e, MarketEvent)} <= {
            BTC,
            ETH,
        }
        assert not any(isinstance(e, StreamError) for e in events)


async def test_single_events_and_batches_may_be_mixed():
    async with streaming(books_of(BTC)) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await step(sim, 5)
        last = sim.sequence("BTCUSDT")
        async for event in streams:
            first = event.kind.sequence
            break
        rest = await streams.next_batch() if first != last else []
        while streams.books[SPOT, BTC].sequence != last:
            rest += await streams.next_batch()

        sequences = [first, *(event.kind.sequence for event in rest)]
        assert sequences == sorted(sequences)


async def test_a_slow_consumer_slows_the_venue_and_finds_its_books_stale():
    trades = Subscription(SPOT, BTC, SubKind.PUBLIC_TRADES)
    quotes = Subscription(SPOT, BTC, SubKind.ORDER_BOOKS_L1)
    settings = {"capacity": 10, "stall_timeout": 0.05}
    async with streaming([*books_of(BTC), trades, quotes], **settings) as (
        sim,
        streams,
    ):
        await take_until(sim, streams, live(streams, BTC))
        book = streams.books[SPOT, BTC]
        while book.state == "live":
            await step(sim, 5)
            await sim.drain()
            await trio.testing.wait_all_tasks_blocked(0.01)

        assert len(streams._outlet) < 1000
        events = await take_until(sim, streams, seen(BookResynced))
        (stale,) = [e for e in events if isinstance(e, BookStale)]
        assert stale.reason == StaleReason.OVERFLOW
        assert sim.stats.connections == 1


async def test_nothing_to_subscribe_to_is_an_error():
    with pytest.raises(SubscriptionsEmpty):
        async with open_market_streams([]):
            pytest.fail("there is nothing to stream")


async def test_what_a_venue_does_not_offer_is_refused_before_connecting():
    with pytest.raises(UnsupportedSubKind):
        async with open_market_streams([Subscription(SPOT, BTC, SubKind.LIQUIDATIONS)]):
            pytest.fail("spot has no liquidations")
    with pytest.raises(Unsupported, match="mock"):
        async with open_market_streams(
            [Subscription(ExchangeId.MOCK, BTC, SubKind.PUBLIC_TRADES)]
        ):
            pytest.fail("nobody connects to the mock")


async def test_a_venue_that_is_not_there_fails_the_opening():
    config = StreamConfig(websocket_url={SPOT: "ws://127.0.0.1:9/ws"})
    with pytest.raises(WebSocket):
        async with open_market_streams(books_of(BTC), config=config):
            pytest.fail("port 9 is closed")


async def test_a_venue_that_is_not_there_yet_is_waited_for_if_so_configured():
    config = StreamConfig(
        websocket_url={SPOT: "ws://127.0.0.1:9/ws"},
        reconnect=QUICK,
        first_connect=FirstConnect.RETRY,
    )
    with trio.move_on_after(0.1) as scope:
        async with open_market_streams(books_of(BTC), config=config):
            pytest.fail("port 9 is closed")

    assert scope.cancelled_caught


async def test_giving_up_ends_the_stream_after_what_was_received():
    policy = ReconnectPolicy(backoff=Backoff(0.001, stable_after=0.0), max_attempts=2)
    async with streaming(books_of(BTC), reconnect=policy) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await sim.inject(Restart(downtime_ms=10**9))
        events = []

        async def take_all():
            while True:
                events.extend(await streams.next_batch())

        with pytest.raises(IntegrationError, match="gave up"):
            await take_all()
        assert isinstance(events[-1], StreamError)
        assert streams.books[SPOT, BTC].state == "stale"


async def test_an_exception_of_the_block_comes_out_as_it_is():
    with pytest.raises(ZeroDivisionError):
        async with streaming(books_of(BTC)):
            raise ZeroDivisionError


async def test_connections_tell_how_they_are():
    async with streaming(EVERYTHING) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC, ETH))

        (status,) = streams.connections

        assert status.name == "binance_spot#0"
        assert status.url == sim.websocket_url
        assert (status.up, status.topics) == (True, 6)
        assert (status.live_books, status.books) == (2, 2)
        assert status.messages > 0
        assert (status.faults, status.changes, status.silence) == (0, 0, 60.0)


async def test_leaving_the_block_closes_every_connection():
    async with SimulatedExchange(SyntheticMarket(7)) as sim:
        config = StreamConfig(
            websocket_url={SPOT: sim.websocket_url}, rest_url={SPOT: sim.rest_url}
        )
        with trio.fail_after(120):
            async with open_market_streams(books_of(BTC), config=config):
                await sim.wait_clients(1)
            await sim.wait_clients(0)


async def test_raw_bytes_are_recorded_per_connection(tmp_path):
    async with streaming(books_of(BTC), recorder=tmp_path) as (sim, streams):
        await take_until(sim, streams, live(streams, BTC))
        await step(sim, 3)
        await caught_up(sim, streams, "BTCUSDT", BTC)

    names = sorted(path.name for path in tmp_path.iterdir())
    assert "binance_spot-0-0001_inbound.rec" in names
    inbound = (tmp_path / "binance_spot-0-0001_inbound.rec").read_bytes()
    assert b'"e":"depthUpdate"' in inbound


@pytest.mark.parametrize("name", ["capacity", "silence", "max_depth", "ping_timeout"])
def test_a_setting_that_makes_no_sense_is_refused(name):
    with pytest.raises(ValueError, match=name):
        StreamConfig(**{name: 0})
