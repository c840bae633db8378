from decimal import Decimal

import pytest

from bidders.strategies import BasketBuyer, MarketMaker, SpreadTrader
from flowtrade.liquidity import Depth
from integration.market.books import BookState
from integration.models import Level


class Book:
    def __init__(self, mid, state=BookState.LIVE):
        self.state = state
        self._mid = Decimal(mid)

    def bids(self, depth):
        return [Level(price=self._mid - 1, amount=Decimal(2))][:depth]

    def asks(self, depth):
        return [Level(price=self._mid + 1, amount=Decimal(3))][:depth]


class View:
    """A market that a test writes down."""

    def __init__(self, **mids):
        self.mids = mids
        self.round = 0

    def book(self, product):
        mid = self.mids.get(product)
        return None if mid is None else Book(mid)

    def mid(self, product):
        return self.mids.get(product)


def points(curve):
    return [(p.rate, p.price) for p in curve.points]


def test_the_maker_offers_each_books_depth():
    maker = MarketMaker(("BTC", "ETH"), Depth())

    quotes = maker.quote(View(BTC=100, ETH=10))

    assert maker.bids == {"maker BTC": {"BTC": 1.0}, "maker ETH": {"ETH": 1.0}}
    assert points(quotes["maker ETH"]) == [(-3, 11), (0, 11), (0, 9), (2, 9)]


def test_the_maker_withdraws_what_it_cannot_see():
    quotes = MarketMaker(("BTC", "ETH"), Depth()).quote(View(BTC=100))

    assert quotes["maker BTC"] is not None
    assert quotes["maker ETH"] is None


def test_the_spread_buys_below_its_average_and_sells_above():
    trader = SpreadTrader({"ETH": 1.0, "BTC": -0.05}, notional=30.0, memory=2.0)
    trader.quote(View(BTC=200, ETH=20))  # portfolio price 10

    fallen = trader.quote(View(BTC=200, ETH=18))["spread"]  # price 8, average 9

    low, high = fallen.domain
    assert -low == high
    # The curve is worth 9 at rate 0: at the market's 8 the trader wants to buy.
    assert sum(p.price for p in fallen.points) / 2 == pytest.approx(9)


def test_the_spread_forgets_nothing_while_a_price_is_missing():
    trader = SpreadTrader({"ETH": 1.0, "BTC": -0.05}, notional=30.0, memory=2.0)
    first = trader.quote(View(BTC=200, ETH=20))["spread"]

    assert trader.quote(View(ETH=20)) == {"spread": None}

    assert trader.quote(View(BTC=200, ETH=20))["spread"] == first


def test_the_basket_only_buys_and_its_walk_is_a_function_of_the_seed():
    def run(seed):
        buyer = BasketBuyer({"BTC": 0.1, "ETH": 1.0}, notional=60.0, seed=seed)
        return [buyer.quote(View(BTC=100, ETH=20))["basket"] for _ in range(5)]

    once, again, other = run(1), run(1), run(2)

    assert once == again
    assert once != other
    assert all(curve.domain == (0.0, 2.0) for curve in once)


def test_the_basket_walks_on_while_a_price_is_missing():
    seen = BasketBuyer({"BTC": 1.0}, notional=1.0, seed=3)
    blind = BasketBuyer({"BTC": 1.0}, notional=1.0, seed=3)
    seen.quote(View(BTC=100))
    assert blind.quote(View()) == {"basket": None}

    assert seen.quote(View(BTC=100)) == blind.quote(View(BTC=100))
