"""What follows from trading: repeatable, whole, and true to the trades."""

import itertools
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.market.candles import CandleMaker
from integration.models import (
    Candle,
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    PublicTrade,
    Side,
)
from integration.testing.book import to_decimal
from integration.testing.derived import DerivedMarket
from integration.testing.events import (
    CandleChanged,
    ContractTold,
    PositionLiquidated,
    SymbolSpec,
    TradeDone,
)
from integration.testing.market import SyntheticMarket

SECOND = 1_000_000_000
OKX, BTC = ExchangeId.OKX, MarketDataInstrument.spot("btc", "usdt")
SMALL = SymbolSpec(
    symbol="FOOBAR",
    base="FOO",
    quote="BAR",
    tick=10_000,
    lot=1_000,
    price=50_000_000,
    lot_scale=100,
    volatility=3.0,
    orders_per_side=20,
)
RARE = SymbolSpec(
    symbol="RARE",
    base="RARE",
    quote="BAR",
    tick=10_000,
    lot=1_000,
    price=50_000_000,
    volatility=0.0,
    events_per_second=0.2,
    orders_per_side=5,
)


def market(*symbols, intervals=("1m",), seed=0):
    source = SyntheticMarket(5, symbols or (SMALL,))
    return DerivedMarket(source, seed=seed, intervals=intervals)


def events_of(seconds, *symbols, **settings):
    made = market(*symbols, **settings)
    return made.advance(made.start_ns + seconds * SECOND)


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def test_what_the_source_tells_is_told_in_its_order_and_nothing_is_left_out():
    derived = (CandleChanged, ContractTold, PositionLiquidated)
    source = SyntheticMarket(5, (SMALL,))

    plain = [e for e in events_of(5) if not isinstance(e, derived)]

    assert plain == source.advance(source.start_ns + 5 * SECOND)


@settings(max_examples=15)
@given(st.lists(st.integers(1, 1_400_000_000), min_size=1, max_size=8))
def test_however_time_is_cut_the_events_are_the_same(steps):
    cut, whole = (market(SMALL, "BTCUSDT") for _ in range(2))
    ends = list(itertools.accumulate(steps, initial=cut.start_ns))[1:]

    pieces = [event for end in ends for event in cut.advance(end)]

    assert pieces == whole.advance(ends[-1])
    assert cut.time_ns == whole.time_ns == ends[-1]


def test_another_seed_moves_only_what_is_drawn():
    one, two = events_of(30), events_of(30, seed=1)

    assert of(CandleChanged, one) == of(CandleChanged, two)
    assert of(PositionLiquidated, one) != of(PositionLiquidated, two)


def test_time_never_runs_backwards():
    times = [event.time_ns for event in events_of(20, SMALL, "BTCUSDT")]

    assert times == sorted(times)


@pytest.mark.parametrize("interval", ["1m", "5m"])
def test_closed_candles_are_those_of_our_own_maker(interval):
    events = events_of(330, intervals=("1m", "5m"))
    maker = CandleMaker(interval)
    wanted = []
    for trade in of(TradeDone, events):
        price, amount = to_decimal(trade.price), to_decimal(trade.amount)
        kind = PublicTrade(str(trade.trade_id), price, amount, Side.BUY)
        wanted += maker.take(
            [MarketEvent(trade.time_ns, trade.time_ns, OKX, BTC, kind)]
        )

    wanted += maker.close(events[-1].time_ns)

    told = [e for e in of(CandleChanged, events) if e.interval == interval]
    closed = [e for e in told if e.closed]

    assert len(closed) == 330 // (60 if interval == "1m" else 300)
    assert [candle_of(e) for e in closed] == [e.kind for e in wanted]
    assert len(told) > 100


def candle_of(event):
    prices = (event.open, event.high, event.low, event.close)
    return Candle(
        event.interval,
        event.open_ns,
        event.end_ns - 1_000_000,
        *map(to_decimal, (*prices, event.volume)),
        event.trades,
        event.closed,
    )


def test_an_interval_without_trades_has_no_candle_and_news_come_once():
    events = events_of(1200, RARE)
    trades, candles = of(TradeDone, events), of(CandleChanged, events)
    minutes = {trade.time_ns // (60 * SECOND) for trade in trades}

    assert 0 < len(minutes) < 20
    assert {c.open_ns // (60 * SECOND) for c in candles} == minutes
    # A candle is told when a trade has changed it, and once when it is over.
    assert len(candles) <= len(trades) + len(minutes)
    for one, two in itertools.pairwise(candles):
        same = one.open_ns == two.open_ns
        assert two.closed or not same or two.trades > one.trades


def test_contracts_are_told_of_once_a_second_and_stay_near_their_market():
    made = market()
    told = of(ContractTold, made.advance(made.start_ns + 30 * SECOND))
    book = made.book("FOOBAR")

    assert [t.time_ns - made.start_ns for t in told] == [
        n * SECOND for n in range(1, 31)
    ]
    assert len({t.mark for t in told}) > 20
    assert len({t.open_interest for t in told}) > 20
    assert told[-1].index == (book.bids.best[0] + book.asks.best[0]) // 2
    for each in told:
        assert abs(each.mark - each.index) < each.index // 50
        assert 0 < each.next_funding_ns - each.time_ns <= 8 * 3600 * SECOND


def test_funding_of_a_market_at_its_index_is_the_interest_rate():
    still = events_of(5, RARE)
    (first, *_) = of(ContractTold, still)

    assert first.mark == first.index
    assert to_decimal(first.rate) == Decimal("0.0001")


def test_liquidations_are_trades_of_some_size():
    events = events_of(60)
    liquidated, trades = of(PositionLiquidated, events), of(TradeDone, events)
    about = {(t.time_ns, t.price, t.amount, not t.buyer_is_maker) for t in trades}

    assert 5 < len(liquidated) < len(trades) // 4
    assert {(e.time_ns, e.price, e.amount, e.buys) for e in liquidated} <= about
    assert {e.buys for e in liquidated} == {True, False}


def test_candles_that_are_not_on_offer_are_refused():
    with pytest.raises(ValueError, match=r"no candles of 7m, 1y; known: 1m, 5m"):
        market(intervals=("1m", "7m", "1y"))


def test_a_wrapped_source_is_what_it_was():
    made = market(SMALL)

    assert made.time_ns == made.start_ns
    assert not made.finished
    assert list(made.specs) == ["FOOBAR"]
    assert made.settled(made.start_ns + 150_000_000) == made.start_ns + 100_000_000
    assert made.book("NOPE") is None
    assert repr(made).startswith("DerivedMarket(SyntheticMarket(FOOBAR;")
