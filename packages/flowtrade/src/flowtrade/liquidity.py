"""Order books become demand curves.

Resting orders of an exchange are willingness to trade at stated prices, and so is a
demand curve; only the units differ: an order offers an amount once, a curve offers a
rate, an amount per unit of time. The horizon joins them: an amount offered over a
horizon of T is the rate amount / T.

Read from the maker's side, whoever quotes like the book buys what the bids would buy
and sells what the asks would sell:

    price
      |ask_2 ──┐
      |        └ask_1──┐
      |                │ (nothing between the best prices: rate 0)
      |                └── bid_1 ──┐
      |                            └── bid_2
      └──────────────── 0 ───────────────── rate

Pure: levels in, curve out. It reads no feed and knows no clock; whether a book may be
believed is its state, which `book_curve` respects.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from flowtrade.models.curve import Point, PwlCurve
from integration.market.books import BookState
from integration.models import Level
from netcore.models import Model

__all__ = ["Depth", "LiquidityError", "Shape", "book_curve", "depth_curve"]


class LiquidityError(ValueError):
    """Levels or settings from which no honest curve can be made (caller's fault)."""


class Shape(StrEnum):
    """How the corners between two levels are joined."""

    LINEAR = "linear"
    """Straight lines through (cumulative amount, price): one answer per price."""

    STEPS = "steps"
    """The book's own staircase: flat at each level's price."""


class Depth(Model, frozen=True, kw_only=True, gc=False):
    """How much of a book to offer, and on which terms.

    Attributes:
        levels: Price levels of each side to use, from the best one on; > 0.
        horizon: Time over which a level's amount is offered, in the market's unit of
            time (the one rates are quoted in); > 0.
        share: Part of each level's amount to offer, in (0, 1].
        markup: Relative distance added to each side, away from the middle: 0.0005
            quotes bids 5 basis points lower and asks 5 higher; in [0, 1).
        shape: How levels are joined.
    """

    levels: int = 10
    horizon: float = 1.0
    share: float = 1.0
    markup: float = 0.0
    shape: Shape = Shape.LINEAR

    def __post_init__(self) -> None:
        for name, value, fine in (
            ("levels", self.levels, self.levels > 0),
            ("horizon", self.horizon, 0 < self.horizon < float("inf")),
            ("share", self.share, 0 < self.share <= 1),
            ("markup", self.markup, 0 <= self.markup < 1),
        ):
            if not fine:
                msg = f"depth.{name} is out of range, was {value}"
                raise LiquidityError(msg)


class BookView(Protocol):
    """What is needed of an order book."""

    @property
    def state(self) -> BookState:
        """Whether the book may be believed."""
        ...

    def bids(self, depth: int) -> Sequence[Level]:
        """The best bids, highest price first."""
        ...

    def asks(self, depth: int) -> Sequence[Level]:
        """The best asks, lowest price first."""
        ...


def book_curve(book: BookView, depth: Depth) -> PwlCurve | None:
    """The curve of whoever quotes like this book, or None if it may not be believed.

    A book that is not LIVE gives None: the bid made from it has to be withdrawn, since
    nobody knows what the exchange shows now.

    Raises:
        LiquidityError: The levels are unusable, see `depth_curve`.
    """
    if book.state is not BookState.LIVE:
        return None
    return depth_curve(book.bids(depth.levels), book.asks(depth.levels), depth)


def depth_curve(
    bids: Sequence[Level], asks: Sequence[Level], depth: Depth
) -> PwlCurve | None:
    """Turn price levels into a demand curve.

    Args:
        bids: Highest price first.
        asks: Lowest price first.
        depth: How much to use and on which terms.

    Returns:
        A curve whose rates reach from minus all asks to plus all bids, or None if
        both sides are empty.

    Raises:
        LiquidityError: A price or amount is not finite or not positive, a side is out
            of order, or the sides cross after the markup.
    """
    buys = _side(bids, depth, sign=1)
    sells = _side(asks, depth, sign=-1)
    if not buys and not sells:
        return None
    if buys and sells and buys[0][1] > sells[0][1]:
        msg = f"the book is crossed: bid {buys[0][1]} above ask {sells[0][1]}"
        raise LiquidityError(msg)
    points = [*reversed(_corners(sells, depth)), *_corners(buys, depth)]
    return PwlCurve(points=tuple(Point(rate=r, price=p) for r, p in points))


def _side(
    levels: Iterable[Level], depth: Depth, *, sign: int
) -> list[tuple[float, float]]:
    """(signed rate of the level, price), best first."""
    out: list[tuple[float, float]] = []
    for level in list(levels)[: depth.levels]:
        _check(level)
        price = float(level.price) * (1 - sign * depth.markup)
        if out and (price - out[-1][1]) * sign > 0:
            side = "bids" if sign > 0 else "asks"
            msg = f"{side} are out of order: {level.price} after {out[-1][1]}"
            raise LiquidityError(msg)
        out.append((sign * float(level.amount) * depth.share / depth.horizon, price))
    return out


def _corners(
    side: list[tuple[float, float]], depth: Depth
) -> list[tuple[float, float]]:
    """Cumulative (rate, price) corners from rate 0 outwards."""
    total = 0.0
    corners: list[tuple[float, float]] = []
    for rate, price in side:
        if not corners or depth.shape is Shape.STEPS:
            corners.append((total, price))
        total += rate
        corners.append((total, price))
    return corners


def _check(level: Level) -> None:
    for name, value in (("price", level.price), ("amount", level.amount)):
        if not Decimal(value).is_finite() or value <= 0:
            msg = f"a level's {name} must be finite and positive, was {value}"
            raise LiquidityError(msg)
