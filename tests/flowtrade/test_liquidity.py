from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrade.liquidity import (
    Depth,
    LiquidityError,
    Shape,
    book_curve,
    depth_curve,
)
from integration.market.books import BookState
from integration.models import Level


def levels(*pairs):
    return [Level(price=Decimal(p), amount=Decimal(a)) for p, a in pairs]


def points(curve):
    return [(p.rate, p.price) for p in curve.points]


class Book:
    """A book whose state the test sets."""

    def __init__(self, state):
        self.state = state

    def bids(self, depth):
        return levels(("99", "1"), ("98", "2"))[:depth]

    def asks(self, depth):
        return levels(("101", "1"), ("103", "4"))[:depth]


def test_steps_repeat_the_books_staircase():
    curve = book_curve(Book(BookState.LIVE), Depth(shape=Shape.STEPS))

    assert points(curve) == [
        (-5, 103),
        (-1, 103),
        (-1, 101),
        (0, 101),
        (0, 99),
        (1, 99),
        (1, 98),
        (3, 98),
    ]


def test_linear_joins_cumulative_amounts():
    curve = book_curve(Book(BookState.LIVE), Depth())

    assert points(curve) == [
        (-5, 103),
        (-1, 101),
        (0, 101),
        (0, 99),
        (1, 99),
        (3, 98),
    ]


def test_horizon_share_levels_and_markup_scale_the_offer():
    depth = Depth(levels=1, horizon=2.0, share=0.5, markup=0.01)

    curve = book_curve(Book(BookState.LIVE), depth)

    assert points(curve) == [
        (-0.25, pytest.approx(102.01)),
        (0, pytest.approx(102.01)),
        (0, pytest.approx(98.01)),
        (0.25, pytest.approx(98.01)),
    ]


@pytest.mark.parametrize("state", [BookState.SYNCING, BookState.STALE])
def test_a_book_that_is_not_live_gives_no_curve(state):
    assert book_curve(Book(state), Depth()) is None


def test_an_empty_book_gives_no_curve():
    assert depth_curve([], [], Depth()) is None


def test_one_side_alone_is_a_curve():
    assert points(depth_curve(levels(("99", "2")), [], Depth())) == [(0, 99), (2, 99)]
    assert points(depth_curve([], levels(("99", "2")), Depth())) == [(-2, 99), (0, 99)]


@pytest.mark.parametrize(
    ("bids", "asks", "says"),
    [
        (levels(("101", "1")), levels(("100", "1")), "crossed"),
        (levels(("99", "1"), ("100", "1")), [], "out of order"),
        ([], levels(("99", "1"), ("98", "1")), "out of order"),
        (levels(("99", "0")), [], "amount"),
        (levels(("NaN", "1")), [], "price"),
        (levels(("99", "Infinity")), [], "amount"),
    ],
)
def test_unusable_levels_are_refused_by_name(bids, asks, says):
    with pytest.raises(LiquidityError, match=says):
        depth_curve(bids, asks, Depth())


@pytest.mark.parametrize(
    "setting",
    [{"levels": 0}, {"horizon": 0.0}, {"share": 1.5}, {"markup": -0.1}, {"markup": 1}],
)
def test_settings_out_of_range_are_refused_by_name(setting):
    with pytest.raises(LiquidityError, match=next(iter(setting))):
        Depth(**setting)


amounts = st.decimals("0.001", "1000", places=3)
steps = st.lists(
    st.tuples(st.decimals("0.01", "5", places=2), amounts), min_size=0, max_size=12
)


@given(steps, steps, st.sampled_from(Shape), st.integers(1, 12))
def test_any_uncrossed_book_gives_a_valid_curve_of_its_whole_size(
    down, up, shape, depth
):
    bids, asks, price = [], [], Decimal(1000)
    for step, amount in down:
        price -= step
        bids.append(Level(price=price, amount=amount))
    price = Decimal(1000)
    for step, amount in up:
        price += step
        asks.append(Level(price=price, amount=amount))

    curve = depth_curve(bids, asks, Depth(levels=depth, shape=shape))

    if curve is None:
        assert not bids
        assert not asks
        return
    low, high = curve.domain
    assert high == pytest.approx(float(sum(lv.amount for lv in bids[:depth])))
    assert -low == pytest.approx(float(sum(lv.amount for lv in asks[:depth])))
