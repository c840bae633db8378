from decimal import Decimal

import pytest

from integration.errors import InvalidLevel
from integration.execution.displayed import Displayed
from integration.models import (
    Level,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    Side,
)


@pytest.fixture
def shown():
    displayed = Displayed("btc_usdt")
    asks = [(str(100 + i), str(i + 1)) for i in range(20)]
    displayed.apply(OrderBookSnapshot([("99", "5"), ("98", "1")], asks))
    return displayed


def offers(displayed, side, count=3):
    return [(float(p), float(q)) for p, q in list(displayed.offers(side))[:count]]


def test_offers_are_the_other_side_best_first(shown):
    assert offers(shown, Side.BUY) == [(100, 1), (101, 2), (102, 3)]
    assert offers(shown, Side.SELL) == [(99, 5), (98, 1)]


def test_all_levels_are_offered_however_many(shown):
    assert len(list(shown.offers(Side.BUY))) == 20


def test_what_is_taken_is_offered_no_more(shown):
    shown.take(Side.BUY, Decimal(100), Decimal(1))
    shown.take(Side.BUY, Decimal(101), Decimal("0.5"))

    assert offers(shown, Side.BUY, 2) == [(101, 1.5), (102, 3)]


def test_an_update_of_a_level_brings_it_back_and_no_other(shown):
    shown.take(Side.BUY, Decimal(100), Decimal(1))
    shown.take(Side.BUY, Decimal(101), Decimal(2))

    # 101.0 is the same level, spelled otherwise.
    shown.apply(OrderBookUpdate([], [("101.0", "2")]))

    assert offers(shown, Side.BUY, 1) == [(101, 2)]


def test_an_image_brings_everything_back(shown):
    shown.take(Side.BUY, Decimal(100), Decimal(1))

    shown.apply(OrderBookSnapshot([], [("100", "1")]))

    assert offers(shown, Side.BUY) == [(100, 1)]


def test_a_top_of_book_restated_for_the_other_side_brings_nothing_back():
    shown = Displayed()
    ask = Level(Decimal(101), Decimal(4))
    shown.apply(OrderBookL1(1, Level(Decimal(99), Decimal(1)), ask))
    shown.take(Side.BUY, Decimal(101), Decimal(3))

    shown.apply(OrderBookL1(2, Level(Decimal(99), Decimal(2)), ask))
    assert offers(shown, Side.BUY) == [(101, 1)]

    shown.apply(OrderBookL1(3, None, Level(Decimal(101), Decimal(5))))
    assert offers(shown, Side.BUY) == [(101, 5)]
    assert offers(shown, Side.SELL) == []


def test_what_is_displayed_at_a_price(shown):
    assert shown.resting_at(Side.BUY, Decimal("99.00")) == 5
    assert shown.resting_at(Side.SELL, Decimal("99.00")) == 0


def test_a_malformed_level_leaves_the_book(shown):
    with pytest.raises(InvalidLevel):
        shown.apply(OrderBookUpdate([("NaN", "1")], []))

    assert offers(shown, Side.SELL) == [(99, 5), (98, 1)]
