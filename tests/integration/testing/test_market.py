"""The synthetic market: repeatable, never crossed, and its ids never skip."""

import itertools
import statistics

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.testing.events import (
    DepthChanged,
    QuoteChanged,
    SymbolSpec,
    TradeDone,
)
from integration.testing.market import KNOWN_SYMBOLS, SyntheticMarket

SECOND = 1_000_000_000
SMALL = SymbolSpec(
    symbol="FOOBAR",
    base="FOO",
    quote="BAR",
    tick=10_000,
    lot=1_000,
    price=50_000_000,
    lot_scale=100,
    volatility=3.0,
    events_per_second=200.0,
    orders_per_side=20,
)


def events_of(seed, seconds, symbols=("BTCUSDT",)):
    market = SyntheticMarket(seed, symbols)
    return market, market.advance(market.start_ns + int(seconds * SECOND))


def test_the_same_seed_is_the_same_market():
    assert events_of(7, 20)[1] == events_of(7, 20)[1]


def test_another_seed_is_another_market():
    assert events_of(7, 2)[1] != events_of(8, 2)[1]


def test_the_market_of_a_seed_stays_what_it_was():
    """Recorded runs depend on it: a change here is a change of every demonstration."""
    _, events = events_of(1, 1)
    depth = next(e for e in events if isinstance(e, DepthChanged))

    assert (depth.first_id, depth.last_id) == (10120598417, 10120598451)
    assert depth.time_ns - SyntheticMarket(1).start_ns == 100_000_000


@settings(max_examples=20)
@given(st.lists(st.integers(1, 400_000_000), min_size=1, max_size=20))
def test_however_time_is_cut_the_events_are_the_same(steps):
    cut = SyntheticMarket(3, ["ETHUSDT", SMALL])
    whole = SyntheticMarket(3, ["ETHUSDT", SMALL])

    pieces = []
    for step in steps:
        pieces.extend(cut.advance(cut.time_ns + step))

    assert pieces == whole.advance(cut.time_ns)


@settings(max_examples=15)
@given(st.integers(), st.sampled_from([SMALL, *KNOWN_SYMBOLS.values()]))
def test_books_are_true_and_never_crossed(seed, spec):
    market = SyntheticMarket(seed, [spec])
    book = market.book(spec.symbol)
    told = book.copy()
    for _ in range(50):
        for event in market.advance(market.time_ns + 100_000_000):
            if isinstance(event, DepthChanged):
                assert event.first_id == told.sequence + 1
                assert event.last_id >= event.first_id
                told.apply(event.last_id, event.bids, event.asks)
                assert not told.crossed

        assert not book.crossed
        assert told.image() == book.image()
        assert len(book.bids) > 0
        assert len(book.asks) > 0


@given(st.integers())
@settings(max_examples=15)
def test_everything_lies_on_the_grid_and_time_never_falls(seed):
    market, events = events_of(seed, 5, [SMALL, "SOLUSDT"])

    assert [e.time_ns for e in events] == sorted(e.time_ns for e in events)
    for event in events:
        spec = market.specs[event.symbol]
        pairs = []
        match event:
            case DepthChanged():
                pairs = [*event.bids, *event.asks]
            case QuoteChanged():
                pairs = [event.bid, event.ask]
            case TradeDone():
                pairs = [(event.price, event.amount)]
                assert event.amount > 0
        assert all(price % spec.tick == 0 and price > 0 for price, _ in pairs)
        assert all(amount % spec.lot == 0 and amount >= 0 for _, amount in pairs)


def test_trades_hit_the_book():
    """Each trade is at a price that was the best before it, for no more than was there.

    Replayed level by level from depth alone that is not visible, so the quotes
    between trades are used: a taker's first trade is at the quoted price.
    """
    _, events = events_of(11, 120)
    quote, checked = None, 0
    for before, event in itertools.pairwise(events):
        if isinstance(before, QuoteChanged):
            quote = before
        if isinstance(event, TradeDone) and before is quote and quote is not None:
            if event.time_ns % 100_000_000 == 0:
                continue  # at a grid time stale quotes are cancelled first
            price, amount = quote.bid if event.buyer_is_maker else quote.ask
            assert event.price == price
            assert event.amount <= amount
            checked += 1
    assert checked > 20


def test_trade_ids_count_and_makers_precede_takers():
    _, events = events_of(2, 60)
    trades = [e for e in events if isinstance(e, TradeDone)]

    assert len(trades) > 100
    assert all(b.trade_id == a.trade_id + 1 for a, b in itertools.pairwise(trades))
    for trade in trades:
        orders = trade.buyer_order, trade.seller_order
        maker, taker = orders if trade.buyer_is_maker else orders[::-1]
        assert maker < taker


def test_quotes_are_told_only_when_they_change_and_are_true():
    market, events = events_of(4, 30)
    quotes = [e for e in events if isinstance(e, QuoteChanged)]

    assert all(
        (a.bid, a.ask) != (b.bid, b.ask) and a.update_id < b.update_id
        for a, b in itertools.pairwise(quotes)
    )
    book = market.book("BTCUSDT")
    assert (quotes[-1].bid, quotes[-1].ask) == (book.bids.best, book.asks.best)


def test_symbols_move_together_as_far_as_they_are_told_to():
    def correlation(target):
        market = SyntheticMarket(5, ["BTCUSDT", "ETHUSDT"], correlation=target)
        moves = {"BTCUSDT": [], "ETHUSDT": []}
        last = dict.fromkeys(moves)
        for _ in range(150):
            market.advance(market.time_ns + 5 * SECOND)
            for symbol, series in moves.items():
                book = market.book(symbol)
                middle = book.bids.best[0] + book.asks.best[0]
                if last[symbol] is not None:
                    series.append(middle / last[symbol] - 1)
                last[symbol] = middle
        return statistics.correlation(*moves.values())

    assert correlation(1.0) > 0.8
    assert abs(correlation(0.0)) < 0.3


def test_settled_is_the_last_grid_time():
    market = SyntheticMarket(1)
    start = market.start_ns

    assert market.settled(start) == start
    assert market.settled(start + 99_999_999) == start
    assert market.settled(start + 100_000_000) == start + 100_000_000
    assert not market.finished
    assert market.book("NOPE") is None
    assert "BTCUSDT" in repr(market)


def test_time_only_goes_forward():
    market = SyntheticMarket(1)
    with pytest.raises(ValueError, match="backwards"):
        market.advance(market.start_ns - 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"symbols": []}, "one or more"),
        ({"symbols": ["BTCUSDT", "BTCUSDT"]}, "distinct"),
        ({"symbols": ["XYZ"]}, "known: BTCUSDT"),
        ({"depth_interval_ns": 0}, "depth_interval_ns"),
        ({"correlation": 1.1}, "correlation"),
        ({"symbols": [SymbolSpec(symbol="A", base="A", quote="B", price=5)]}, "200"),
    ],
)
def test_what_makes_no_market_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        SyntheticMarket(1, **arguments)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tick", 0),
        ("lot", 0),
        ("lot_scale", 0),
        ("orders_per_side", 0),
        ("events_per_second", 0.0),
        ("events_per_second", float("nan")),
        ("volatility", -1.0),
        ("volatility", float("nan")),
    ],
)
def test_a_spec_that_makes_no_sense_is_named(field, value):

    with pytest.raises(ValueError, match=field):
        SyntheticMarket(1, [msgspec.structs.replace(SMALL, **{field: value})])


def test_a_wild_market_stays_a_market():

    wild = msgspec.structs.replace(SMALL, volatility=500.0)
    market = SyntheticMarket(1, [wild])
    for _ in range(100):
        market.advance(market.time_ns + 100_000_000)
        book = market.book("FOOBAR")
        assert not book.crossed
        assert book.bids.best[0] > 0
