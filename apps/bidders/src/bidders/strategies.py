"""What the sample bidders want: pure functions of what they see.

A strategy names its bids once (each a portfolio of products) and is asked for curves
again and again. It sees books and mid prices by product name, and the round's number;
it knows no socket, no clock and no API. Randomness is seeded, so that the same seed
and the same market give the same bids.

A strategy that lacks a price it needs answers None for that bid: the bid is withdrawn.
It never bids on a price it cannot see.
"""

import math
import random
from collections.abc import Mapping
from typing import Protocol

from flowtrade.liquidity import BookView, Depth, book_curve
from flowtrade.models.curve import Curve, Point, PwlCurve

__all__ = ["BasketBuyer", "MarketMaker", "MarketView", "SpreadTrader", "Strategy"]


class MarketView(Protocol):
    """What a strategy may look at."""

    @property
    def round(self) -> int:
        """How often this strategy was asked before."""
        ...

    def book(self, product: str) -> BookView | None:
        """The order book behind a product, if it has one."""
        ...

    def mid(self, product: str) -> float | None:
        """The product's mid price, None while its book may not be believed."""
        ...


class Strategy(Protocol):
    """A bidder's mind."""

    @property
    def name(self) -> str:
        """The bidder's name, shown beside its bids."""
        ...

    @property
    def bids(self) -> Mapping[str, Mapping[str, float]]:
        """Bid name -> weights over product names."""
        ...

    def quote(self, view: MarketView) -> Mapping[str, Curve | None]:
        """A curve for each bid of `bids`; None withdraws it."""
        ...


class MarketMaker:
    """Offers the depth of each product's order book, a little away from the middle.

    Args:
        products: Names of the products to quote.
        depth: How much of each book, and on which terms.
        name: Shown beside the bids.
    """

    def __init__(
        self, products: tuple[str, ...], depth: Depth, *, name: str = "maker"
    ) -> None:
        self.name = name
        self.bids = {f"{name} {product}": {product: 1.0} for product in products}
        self._depth = depth

    def quote(self, view: MarketView) -> Mapping[str, Curve | None]:
        """The curve of each book; None where the book is missing or not live."""
        curves: dict[str, Curve | None] = {}
        for bid, basis in self.bids.items():
            book = view.book(next(iter(basis)))
            curves[bid] = None if book is None else book_curve(book, self._depth)
        return curves


class SpreadTrader:
    """Trades one portfolio back to its running average price, both ways.

    Buys the portfolio below its average and sells above it, with a straight curve
    through the average: rate `notional / scale` at one `width` away from it.

    Args:
        basis: Weights over product names, long positive.
        notional: Value to trade per unit of time when the price is one width off.
        width: Relative distance, of the portfolio's gross value, that saturates.
        memory: Rounds over which the average forgets (exponential), > 1.
        name: Shown beside the bid.
    """

    def __init__(
        self,
        basis: Mapping[str, float],
        *,
        notional: float,
        width: float = 0.0005,
        memory: float = 20.0,
        name: str = "spread",
    ) -> None:
        self.name = name
        self.bids = {name: dict(basis)}
        self._notional = notional
        self._width = width
        self._keep = 1.0 - 1.0 / memory
        self._average: float | None = None

    def quote(self, view: MarketView) -> Mapping[str, Curve | None]:
        """The straight curve through the average; None without every price."""
        valued = _value(self.bids[self.name], view)
        if valued is None:
            return {self.name: None}
        price, gross = valued
        before = price if self._average is None else self._average
        self._average = self._keep * before + (1 - self._keep) * price
        rate, off = self._notional / gross, self._width * gross
        return {
            self.name: PwlCurve(
                points=(
                    Point(rate=-rate, price=self._average + off),
                    Point(rate=rate, price=self._average - off),
                )
            )
        }


class BasketBuyer:
    """Accumulates a basket, sometimes in a hurry and sometimes not.

    Its limit price wanders around the basket's mid price by a seeded random walk
    that is pulled back to zero.

    Args:
        basis: Positive weights over product names.
        notional: Value to buy per unit of time at most.
        swing: Relative size of the wandering, about one standard deviation.
        width: Relative distance over which the rate falls from full to zero.
        seed: Seed of the walk.
        name: Shown beside the bid.
    """

    def __init__(
        self,
        basis: Mapping[str, float],
        *,
        notional: float,
        swing: float = 0.0004,
        width: float = 0.001,
        seed: int = 0,
        name: str = "basket",
    ) -> None:
        self.name = name
        self.bids = {name: dict(basis)}
        self._notional = notional
        self._swing = swing
        self._width = width
        self._walk = 0.0
        self._random = random.Random(f"{seed}/{name}")  # noqa: S311 - a bidder's mood

    def quote(self, view: MarketView) -> Mapping[str, Curve | None]:
        """Full rate well below the limit, none at it; None without every price."""
        # One step a round, whether or not there is a price, keeps the walk a
        # function of the round alone. Var = 1 in the long run: 0.95**2 + 0.0975 = 1.
        self._walk = 0.95 * self._walk + math.sqrt(0.0975) * self._random.gauss(0, 1)
        valued = _value(self.bids[self.name], view)
        if valued is None:
            return {self.name: None}
        price, gross = valued
        limit = price + gross * (self._walk * self._swing + self._width / 2)
        return {
            self.name: PwlCurve(
                points=(
                    Point(rate=0.0, price=limit),
                    Point(
                        rate=self._notional / gross, price=limit - gross * self._width
                    ),
                )
            )
        }


def _value(basis: Mapping[str, float], view: MarketView) -> tuple[float, float] | None:
    """(portfolio's mid price, gross value of one unit), or None without a price."""
    price = gross = 0.0
    for product, weight in basis.items():
        mid = view.mid(product)
        if mid is None:
            return None
        price += weight * mid
        gross += abs(weight) * mid
    return (price, gross) if gross > 0 else None
