import json
import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import Unidentifiable
from integration.exchanges.registry import connector_for
from integration.market.config import StreamConfig
from integration.market.health import (
    LatencyHistogram,
    SchemaDrift,
    SchemaWatch,
    StreamMonitor,
)
from integration.market.reports import StreamError
from integration.market.streams import open_market_streams
from integration.metric import encode_prometheus
from integration.models import (
    ExchangeId,
    FundingRate,
    MarketDataInstrument,
    MarketEvent,
    SubKind,
    Subscription,
)
from integration.testing import SimulatedExchange, SyntheticMarket

VENUE = ExchangeId.BINANCE_SPOT
BTC = MarketDataInstrument.spot("btc", "usdt")


@given(
    st.lists(st.integers(0, 2**42 - 1), min_size=1),
    st.floats(0, 1, exclude_min=True),
)
def test_a_quantile_is_never_too_short_and_at_most_a_32nd_too_long(durations, share):
    histogram = LatencyHistogram()
    for duration in durations:
        histogram.add(duration)

    exact = sorted(durations)[max(0, math.ceil(share * len(durations)) - 1)]

    assert exact <= histogram.quantile(share) <= exact + exact / 32
    assert histogram.quantile(1) == max(durations)


def test_what_is_longer_than_any_bucket_is_still_told_exactly():
    histogram = LatencyHistogram()
    histogram.add(1)
    histogram.add(2**50)

    assert histogram.quantile(1) == histogram.longest == 2**50
    assert histogram.quantile(0.5) == 1


def test_clocks_that_disagree_are_counted():
    histogram = LatencyHistogram()
    histogram.add(-5)

    assert (histogram.negative, histogram.quantile(0.5)) == (1, 0)


@given(st.lists(st.integers(0, 2**30)), st.lists(st.integers(0, 2**30), min_size=1))
def test_merged_histograms_are_as_if_all_had_been_counted_by_one(left, right):
    one, two, both = LatencyHistogram(), LatencyHistogram(), LatencyHistogram()
    for histogram, durations in ((one, left), (two, right), (both, left + right)):
        for duration in durations:
            histogram.add(duration)

    one.merge(two)

    shares = (0.01, 0.5, 0.9, 0.99, 1)
    assert [one.quantile(s) for s in shares] == [both.quantile(s) for s in shares]
    assert one.count == both.count


@pytest.mark.parametrize("share", [0, -1, 1.01, math.nan])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="a share is"):
        LatencyHistogram().quantile(share)


def test_nothing_counted_has_no_quantile():
    with pytest.raises(ValueError, match="nothing was counted"):
        LatencyHistogram().quantile(0.5)


def test_both_stages_and_faults_become_metrics():
    monitor = StreamMonitor()
    event = MarketEvent(1_000_000, 3_000_000, VENUE, BTC, FundingRate(0))
    unstamped = MarketEvent(3_000_000, 3_000_000, VENUE, BTC, FundingRate(0))
    fault = StreamError(VENUE, Unidentifiable("trade|X"), 5)

    monitor.delivered([event, unstamped, fault], 4_000_000)

    metrics = {m.tag("stage") or m.tag("error"): m for m in monitor.metrics(7_000_000)}
    first = metrics["exchange_to_received"]
    assert (first.name, first.time, first.tag("exchange")) == (
        "market_latency",
        7,
        "binance_spot",
    )
    assert (first.field("count"), first.field("max_ms")) == (1, 2.0)
    assert metrics["received_to_delivered"].field("count") == 2
    assert metrics["Unidentifiable"].field("count") == 1
    assert b"market_latency_p99_ms" in encode_prometheus(metrics.values())
    with pytest.raises(ValueError, match="a stage is one of"):
        monitor.latency(VENUE, "elsewhere")


# Drift


def trade(**more):
    data = {"e": "trade", "E": 1, "s": "BTCUSDT", "t": 1, "p": "1", "q": "1"}
    return json.dumps(data | {"T": 1, "m": True} | more).encode()


def watch(**options):
    decode = connector_for(VENUE).transformer().decode
    return SchemaWatch(VENUE, decode, **{"every": 1} | options)


def test_a_field_that_a_venue_adds_is_told_of_once_and_counted():
    base = watch()
    base.look([trade()])
    schema = watch(known=base.seen)

    assert schema.look([trade()]) == []
    (drift,) = schema.look([trade(news=1)])
    assert schema.look([trade(news=2), trade(news=3)]) == []

    assert isinstance(drift, SchemaDrift)
    assert drift.path.endswith(".news")
    assert "binance_spot sends" in str(drift)
    assert schema.seen == {drift.path: 3}
    assert not drift.terminal


def test_fields_deep_inside_are_found():
    exchange = ExchangeId.OKX
    schema = SchemaWatch(
        exchange, connector_for(exchange).transformer().decode, every=1
    )
    row = {"instId": "BTC-USDT", "tradeId": "1", "px": "1", "sz": "1", "side": "buy"}
    message = {"arg": {"channel": "trades", "instId": "BTC-USDT"}}

    schema.look([json.dumps(message | {"data": [row | {"ts": "1", "zz": 0}]}).encode()])

    assert any(path.endswith(".data[].zz") for path in schema.seen)


def test_only_samples_are_looked_at_and_what_is_unreadable_is_left_to_others():
    schema = watch(every=10)

    schema.look([trade()] * 25)

    assert schema.sampled == 3
    assert watch().look([b"{", b"pong", trade()[:-4]]) == []
    with pytest.raises(ValueError, match="at least 1"):
        watch(every=0)


async def test_streams_measure_and_tell_of_drift_if_asked_to():
    monitor = StreamMonitor()
    async with SimulatedExchange(SyntheticMarket(7), dialect="binance_spot") as sim:
        config = StreamConfig(
            websocket_url={VENUE: sim.websocket_url},
            rest_url={VENUE: sim.rest_url},
            monitor=monitor,
            schema_sample=1,
        )
        wanted = [Subscription(VENUE, BTC, SubKind.PUBLIC_TRADES)]
        async with open_market_streams(wanted, config=config) as streams:
            events, steps = [], 0
            with trio.fail_after(120):  # against hanging
                while steps < 50 or not {MarketEvent, StreamError} <= set(
                    map(type, events)
                ):
                    steps += 1
                    await sim.advance(sim.time_ns + 100_000_000)
                    with trio.move_on_after(0.02):
                        events += await streams.next_batch()

    count = sum(isinstance(event, MarketEvent) for event in events)
    assert monitor.latency(VENUE, "received_to_delivered").count == count
    paths = [e.error.path for e in events if isinstance(e, StreamError)]
    assert len(paths) == len(set(paths))
    assert monitor.faults == {(VENUE, "SchemaDrift"): len(paths)}
