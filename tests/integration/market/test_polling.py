"""Data that a venue tells only when asked; the venue is a transport without network."""

import json
import math
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest
import trio

from integration.errors import Http, Subscribe
from integration.market.config import FirstConnect, StreamConfig
from integration.market.reports import StreamError
from integration.market.streams import open_market_streams
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OpenInterest,
    SubKind,
    Subscription,
)
from integration.rest.transport import RawResponse
from netcore.clock import SystemClock

USDM = ExchangeId.BINANCE_FUTURES_USD
NOW = 1_700_000_000_000_000_000


class Venue:
    """Answers questions for open interest as told; otherwise with how many came."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.times = []

    async def send(self, prepared):
        path = urlsplit(prepared.raw_path.decode())
        symbol = parse_qs(path.query)["symbol"][0]
        self.asked.append(symbol)
        self.times.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        number = str(len(self.asked))
        body = {"openInterest": number, "symbol": symbol, "time": 1000}
        answer = self.answers.pop(0) if self.answers else (200, json.dumps(body))
        if isinstance(answer, Exception):
            raise answer
        status, text = answer
        return RawResponse(
            status=status,
            headers={},
            content=text.encode(),
            bytes_in=len(text),
            headers_ns=0,
            body_ns=0,
        )

    async def aclose(self):
        await trio.lowlevel.checkpoint()


class Fixed(SystemClock):
    def now_ns(self):
        return NOW


def interest(base):
    instrument = MarketDataInstrument.perpetual(base, "usdt")
    return Subscription(USDM, instrument, SubKind.OPEN_INTEREST)


def streams_of(venue, *subscriptions, **config):
    settings = StreamConfig(http_transport=venue, clock=Fixed(), **config)
    return open_market_streams(subscriptions, config=settings)


async def test_open_interest_comes_again_and_again(autojump_clock):
    venue = Venue()

    async with streams_of(venue, interest("btc"), poll_interval=5) as streams:
        events = [await anext(streams) for _ in range(3)]

    assert [event.kind for event in events] == [
        OpenInterest(Decimal(number)) for number in (1, 2, 3)
    ]
    first = events[0]
    assert isinstance(first, MarketEvent)
    assert first.instrument == MarketDataInstrument.perpetual("btc", "usdt")
    assert (first.time_exchange, first.time_received) == (1_000_000_000, NOW)
    gaps = [b - a for a, b in zip(venue.times, venue.times[1:], strict=False)]
    assert all(math.isclose(gap, 5) for gap in gaps), gaps


async def test_what_is_polled_is_shown_among_the_connections(autojump_clock):
    venue = Venue()

    async with streams_of(venue, interest("btc"), interest("eth")) as streams:
        await streams.next_batch()
        (status,) = streams.connections

    assert status.url == "https://fapi.binance.com"
    assert (status.topics, status.books, status.messages) == (2, 0, 2)
    assert set(status.subscriptions) == {interest("btc"), interest("eth")}


async def test_subscriptions_are_added_and_ended_at_run_time(autojump_clock):
    venue = Venue()

    async with streams_of(venue, interest("btc"), poll_interval=5) as streams:
        handle = await streams.subscribe(interest("eth"))
        await streams.next_batch()
        before = list(venue.asked)
        await streams.unsubscribe(handle)
        await streams.unsubscribe(handle)
        later = [await anext(streams) for _ in range(3)]

    assert sorted(before) == ["BTCUSDT", "ETHUSDT"]
    assert {event.instrument.base for event in later} == {"btc"}
    assert venue.asked.count("ETHUSDT") == 1


async def test_the_same_topic_asked_for_twice_is_asked_once(autojump_clock):
    venue = Venue()

    async with streams_of(venue, interest("btc"), poll_interval=5) as streams:
        again = await streams.subscribe(interest("btc"))
        (first,) = await streams.next_batch()
        batch = [await anext(streams) for _ in range(2)]
        await streams.unsubscribe(again)
        (last,) = await streams.next_batch()

    assert [e.kind.amount for e in (first, *batch, last)] == [1, 2, 2, 3]
    assert venue.asked == ["BTCUSDT"] * 3


async def test_a_symbol_that_the_venue_does_not_know_is_refused(autojump_clock):
    refusal = (400, '{"code":-1121,"msg":"Invalid symbol."}')
    venue = Venue(refusal)

    with pytest.raises(Subscribe, match=r"Invalid symbol"):
        async with streams_of(venue, interest("nonsense")):
            pytest.fail("it was not refused")

    assert venue.asked == ["NONSENSEUSDT"]


async def test_a_failure_later_is_told_of_and_passes(autojump_clock):
    good = (200, '{"openInterest":"7","symbol":"BTCUSDT","time":1}')
    bent = (200, '{"openInterest":"NaN","symbol":"BTCUSDT","time":1}')
    lost = [Http("gone", sent=True) for _ in range(9)]
    venue = Venue(good, bent, *lost)

    async with streams_of(venue, interest("btc"), poll_interval=5) as streams:
        events = []
        while not events or getattr(events[-1], "kind", None) != OpenInterest(
            Decimal(len(venue.asked))
        ):
            events.append(await anext(streams))
        (status,) = streams.connections

    kinds = [type(event) for event in events]
    assert kinds[:3] == [MarketEvent, StreamError, StreamError]
    assert all(event.instrument.base == "btc" for event in events)
    assert status.faults == kinds.count(StreamError)


async def test_a_failure_at_first_may_be_waited_out(autojump_clock):
    venue = Venue(*(Http("gone", sent=True) for _ in range(9)))
    config = {"first_connect": FirstConnect.RETRY, "poll_interval": 5}

    async with streams_of(venue, interest("btc"), **config) as streams:
        events = [await anext(streams)]
        while isinstance(events[-1], StreamError):
            events.append(await anext(streams))

    assert isinstance(events[0], StreamError)
    assert isinstance(events[-1].kind, OpenInterest)


async def test_many_topics_are_asked_for_a_few_at_a_time(autojump_clock):
    venue = Venue()
    wanted = [interest(f"coin{i}") for i in range(20)]

    async with streams_of(venue, *wanted, concurrent_images=2) as streams:
        assert len(venue.asked) == 20
        events = await streams.next_batch()

    assert {event.instrument.base for event in events} == {
        subscription.instrument.base for subscription in wanted
    }
