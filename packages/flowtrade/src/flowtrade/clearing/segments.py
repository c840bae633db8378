"""Curves taken apart: the pieces that a demand's net rate is the sum of.

Each piece of a curve is shifted so that it contains 0; since prices fall from left
to right, an optimum fills the pieces in order by itself. A piece is told by its two
ends and the two prices there, not by slope and intercept: so a steep piece stays
exact, and a flat one is where both prices are equal.

The rules are those of the flow-trading-service (fts-core, `disaggregate`): interior
collinear points merge, pieces without width vanish.
"""

from dataclasses import dataclass

import numpy as np

from flowtrade.clearing._speedups import take_apart
from flowtrade.clearing.arrays import BoolArray, FloatArray, IntArray, offsets
from flowtrade.clearing.columns import Curves, as_curves
from flowtrade.clearing.speedups import COMPILED

__all__ = ["Segments", "disaggregate"]


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Pieces of all curves, by demand and in order of rate.

    Attributes:
        ptr: Offsets by demand, shape (demands + 1,).
        low: Lowest rate of the piece, <= 0, maybe infinite.
        high: Highest rate, >= 0, maybe infinite.
        top: Price at the lowest rate.
        bottom: Price at the highest rate, <= top; equal if an end is infinite.
    """

    ptr: IntArray
    low: FloatArray
    high: FloatArray
    top: FloatArray
    bottom: FloatArray

    def __len__(self) -> int:
        return len(self.low)

    def slope(self) -> FloatArray:
        """Fall of the price per unit of rate, >= 0; 0 on flat pieces."""
        with np.errstate(over="ignore"):  # a near-vertical piece may overflow
            return (self.top - self.bottom) / self._width()

    def intercept(self) -> FloatArray:
        """Price of the (extended) piece at rate 0."""
        flat = self.top == self.bottom
        with np.errstate(invalid="ignore"):  # infinite ends: flat, replaced below
            share = -self.low / self._width()
        return np.where(flat, self.top, self.top + share * (self.bottom - self.top))

    def _width(self) -> FloatArray:
        return self.high - self.low


def disaggregate(curves: Curves, *, compiled: bool = COMPILED) -> Segments:
    """Take curves apart.

    Args:
        curves: Valid curves; one without points gives no piece.
        compiled: Whether the compiled loops do it; they find the same bits.

    Returns:
        Their pieces.

    Raises:
        InvalidMarket: The offsets do not fit the points.
    """
    curves = as_curves(curves)
    if compiled:
        return _disaggregate_compiled(curves)
    owner = np.repeat(np.arange(len(curves)), np.diff(curves.ptr))
    rate, price = curves.rate, curves.price
    if len(owner) and int(np.diff(curves.ptr).max()) > 2:
        keep = _without_duplicates(owner, rate, price)
        owner, rate, price = owner[keep], rate[keep], price[keep]
        keep = _without_collinear(owner, rate, price)
        owner, rate, price = owner[keep], rate[keep], price[keep]
    piece = np.flatnonzero((owner[1:] == owner[:-1]) & (rate[1:] > rate[:-1]))
    left, right = rate[piece], rate[piece + 1]
    shift = np.maximum(left, 0.0) + np.minimum(right, 0.0)
    lengths = np.bincount(owner[piece], minlength=len(curves))
    return Segments(
        offsets(lengths),
        left - shift,
        right - shift,
        price[piece],
        price[piece + 1],
    )


def _disaggregate_compiled(curves: Curves) -> Segments:
    points = len(curves.rate)
    longest = int(np.diff(curves.ptr).max(initial=0))
    ptr = np.empty(len(curves) + 1, np.int64)
    low, high, top, bottom = np.empty((4, points))
    kept = np.zeros(max(longest, 1), np.int64)
    take_apart(curves.ptr, curves.rate, curves.price, kept, ptr, low, high, top, bottom)
    # A curve has one piece less than points: hardly any room is wasted by keeping it.
    count = int(ptr[-1])
    return Segments(ptr, low[:count], high[:count], top[:count], bottom[:count])


def _without_duplicates(
    owner: IntArray, rate: FloatArray, price: FloatArray
) -> BoolArray:
    keep = np.ones(len(owner), np.bool_)
    keep[1:] = (
        (owner[1:] != owner[:-1]) | (rate[1:] != rate[:-1]) | (price[1:] != price[:-1])
    )
    return keep


def _without_collinear(
    owner: IntArray, rate: FloatArray, price: FloatArray
) -> BoolArray:
    """Mark what to keep once duplicates are gone: then neighbours suffice."""
    keep = np.ones(len(owner), np.bool_)
    if len(owner) < 3:
        return keep
    # Across the border of two curves an infinite rate may meet another: not compared.
    with np.errstate(invalid="ignore", over="ignore"):
        across = (rate[2:] - rate[:-2]) * (price[1:-1] - price[:-2])
        along = (rate[1:-1] - rate[:-2]) * (price[2:] - price[:-2])
    keep[1:-1] = (owner[2:] != owner[:-2]) | (across != along)
    return keep
