"""Candles, and what venues tell of perpetuals: from the market through our feeds.

The simulator's dialects and the connectors were written apart from the venues'
documents; what a consumer sees has to be what the market said, to the last digit.
"""

from contextlib import asynccontextmanager
from decimal import Decimal

import msgspec
import pytest
import trio

pytest.importorskip("trio_websocket")

from integration.market.config import StreamConfig
from integration.market.streams import open_market_streams
from integration.models import (
    Candle,
    ExchangeId,
    FundingRate,
    IndexPrice,
    InstrumentKind,
    Liquidation,
    MarketDataInstrument,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    Side,
    SubKind,
    Subscription,
)
from integration.testing import DerivedMarket, SimulatedExchange, SyntheticMarket
from integration.testing.book import to_decimal
from integration.testing.events import CandleChanged, ContractTold, PositionLiquidated
from integration.testing.market import KNOWN_SYMBOLS

SECOND = 1_000_000_000
PERPETUAL = msgspec.structs.replace(
    KNOWN_SYMBOLS["BTCUSDT"], kind=InstrumentKind.PERPETUAL
)
PERPETUALS = ("binance_futures_usd", "bybit_perpetuals_usd", "okx")
SPOT = ("binance_spot", "bybit_spot", "kraken_v2")


def market(venue):
    spec = PERPETUAL if venue in PERPETUALS else KNOWN_SYMBOLS["BTCUSDT"]
    return DerivedMarket(SyntheticMarket(21, [spec]), seed=3)


def instrument_of(venue):
    if venue in PERPETUALS:
        return MarketDataInstrument.perpetual("btc", "usdt")
    return MarketDataInstrument.spot("btc", "usdt")


def told_by(venue, seconds):
    """What a twin of the exchange's market tells in that time."""
    twin = market(venue)
    return twin.advance(twin.start_ns + seconds * SECOND)


@asynccontextmanager
async def feeding(venue, *kinds):
    exchange, instrument = ExchangeId(venue), instrument_of(venue)
    async with SimulatedExchange(market(venue), dialect=venue) as sim:
        config = StreamConfig(
            websocket_url={exchange: sim.websocket_url},
            rest_url={exchange: sim.rest_url},
            poll_interval=0.01,
        )
        wanted = [Subscription(exchange, instrument, kind) for kind in kinds]
        async with open_market_streams(wanted, config=config) as streams:
            yield sim, streams


async def heard(streams, kind, count):
    """Return the first `count` events of a kind, of which all others are left out."""
    found = []
    with trio.fail_after(120):
        while len(found) < count:
            for event in await streams.next_batch():
                assert isinstance(event, MarketEvent), event
                found += [event] if isinstance(event.kind, kind) else []
    assert len(found) == count
    return found


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


@pytest.mark.parametrize("venue", [*PERPETUALS, *SPOT])
async def test_candles_are_the_markets(venue):
    wanted = of(CandleChanged, told_by(venue, 130))

    async with feeding(venue, SubKind.CANDLES) as (sim, streams):
        await sim.advance(sim.time_ns + 130 * SECOND)
        seen = await heard(streams, Candle, len(wanted))

    for event, want in zip(seen, wanted, strict=True):
        candle = event.kind
        assert (candle.interval, candle.open_time) == ("1m", want.open_ns)
        ours = (candle.open, candle.high, candle.low, candle.close, candle.volume)
        theirs = (want.open, want.high, want.low, want.close, want.volume)
        assert ours == tuple(map(to_decimal, theirs))
        assert candle.closed in {want.closed, None}
        assert candle.trade_count in {want.trades, None}
    assert sum(candle.closed for candle in wanted) == 2


@pytest.mark.parametrize("venue", PERPETUALS)
async def test_liquidations_are_the_markets(venue):
    wanted = of(PositionLiquidated, told_by(venue, 60))

    async with feeding(venue, SubKind.LIQUIDATIONS) as (sim, streams):
        await sim.advance(sim.time_ns + 60 * SECOND)
        seen = await heard(streams, Liquidation, len(wanted))

    assert len(wanted) > 5
    for event, want in zip(seen, wanted, strict=True):
        liquidation = event.kind
        assert liquidation.side is (Side.BUY if want.buys else Side.SELL)
        assert liquidation.price == to_decimal(want.price)
        assert liquidation.quantity == to_decimal(want.amount)
        assert 0 <= want.time_ns - liquidation.time < 1_000_000
        assert event.instrument == instrument_of(venue)


FACTS = [
    (SubKind.MARK_PRICES, MarkPrice, lambda kind: kind.price, lambda t: t.mark),
    (SubKind.INDEX_PRICES, IndexPrice, lambda kind: kind.price, lambda t: t.index),
    (SubKind.FUNDING_RATES, FundingRate, lambda kind: kind.rate, lambda t: t.rate),
    (
        SubKind.OPEN_INTEREST,
        OpenInterest,
        lambda kind: kind.amount,
        lambda t: t.open_interest,
    ),
]


def changes(values):
    """What is told where only what is new is told."""
    return [v for i, v in enumerate(values) if not i or v != values[i - 1]]


# Open interest has no stream at Binance: see the next test.
TOLD = [
    pytest.param(venue, *fact, id=f"{venue}-{fact[0]}")
    for venue in PERPETUALS
    for fact in FACTS
    if (venue, fact[0]) != ("binance_futures_usd", SubKind.OPEN_INTEREST)
]


@pytest.mark.parametrize(("venue", "kind", "event", "ours", "theirs"), TOLD)
async def test_what_is_told_of_a_contract_is_the_markets(
    venue, kind, event, ours, theirs
):
    told = of(ContractTold, told_by(venue, 30))
    if venue == "binance_futures_usd":
        told = [t for t in told if t.time_ns // SECOND % 3 == 0]
    wanted = [to_decimal(theirs(t)) for t in told]
    if venue == "bybit_perpetuals_usd":
        wanted = changes(wanted)

    async with feeding(venue, kind) as (sim, streams):
        await sim.advance(sim.time_ns + 30 * SECOND)
        seen = await heard(streams, event, len(wanted))

    assert [ours(each.kind) for each in seen] == wanted
    assert len(set(wanted)) > 1
    if event is FundingRate:
        due = {each.kind.next_funding_time for each in seen}
        assert due == {told[0].next_funding_ns}


async def test_open_interest_that_has_no_stream_is_asked_for():
    told = of(ContractTold, told_by("binance_futures_usd", 5))
    known = {to_decimal(t.open_interest) for t in told} | {Decimal(0)}

    async with feeding("binance_futures_usd", SubKind.OPEN_INTEREST) as (sim, streams):
        await sim.advance(sim.time_ns + 5 * SECOND)
        latest = to_decimal(told[-1].open_interest)
        seen = []
        with trio.fail_after(20):
            # As often as it is asked; several answers may wait for us at once.
            while not seen or seen[-1].kind.amount != latest:
                seen += await streams.next_batch()

    assert all(isinstance(event.kind, OpenInterest) for event in seen)
    assert {event.kind.amount for event in seen} <= known


async def test_whoever_comes_late_to_a_ticker_gets_all_of_it_first():
    exchange, instrument = ExchangeId.BYBIT_PERPETUALS_USD, instrument_of("okx")
    told = of(ContractTold, told_by("bybit_perpetuals_usd", 4))

    async with feeding(exchange, SubKind.CANDLES) as (sim, streams):
        await sim.advance(sim.time_ns + 4 * SECOND)
        wanted = Subscription(exchange, instrument, SubKind.FUNDING_RATES)
        await streams.subscribe(wanted)
        (event,) = await heard(streams, FundingRate, 1)

    assert event.kind.rate == to_decimal(told[-1].rate)
    assert event.kind.mark_price == to_decimal(told[-1].mark)
    assert event.kind.index_price == to_decimal(told[-1].index)
