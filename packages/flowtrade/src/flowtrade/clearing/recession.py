"""Unlimited orders that cross: is there a direction in which gains never end?

Only pieces without limit can move for ever. Bounded to one unit each they make an
auction of flat orders of their own: the whole market is unbounded exactly when that
auction gains something. So the same solver answers the question, and its answer is
the direction itself, which names the orders that cross.
"""

from dataclasses import dataclass, replace

import numpy as np

from flowtrade.clearing.arrays import FloatArray
from flowtrade.clearing.auxiliary import settle
from flowtrade.clearing.priceform import PriceForm

__all__ = ["Ray", "find_ray", "has_unlimited"]

_GAIN = 1e-9
"""Gains per unit that count, against the prices that take part."""

_SLACK = 1e6
"""How many times the gains must exceed the worth of the remaining imbalance."""

_REACH = 0.5
"""How far some piece goes at least: gains that can be scaled up end at the box, 1."""

_BALANCE = 1e-7
"""Imbalance of a column against its gross volume: a column that balances only in sight
of the others is one that the direction cannot go through."""

_NOISE = (1e-9, 1e-12, 1e-15)
"""Flows up to which are left out; columns with small weights may need small ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Ray:
    """A direction of unlimited gains.

    Attributes:
        flow: Of each segment, the largest 1 in size.
        gains: Per unit.
    """

    flow: FloatArray
    gains: float


def has_unlimited(form: PriceForm) -> bool:
    """Whether any order has no limit; if none has, gains are finite."""
    orders = form.demand >= 0
    return bool(np.isinf(form.width[orders]).any())


def find_ray(form: PriceForm, *, deadline: float = np.inf) -> Ray | None:
    """Look for a direction of unlimited gains.

    Args:
        form: The market.
        deadline: Value of `time.monotonic` at which to stop.

    Returns:
        The direction, or None if there is none to the precision of prices.
    """
    moving = np.flatnonzero(np.isinf(form.width))
    if not len(moving):
        return None
    box = replace(
        form,
        row=form.row[moving],
        low=np.where(np.isinf(form.low[moving]), -1.0, 0.0),
        high=np.where(np.isinf(form.high[moving]), 1.0, 0.0),
        top=form.top[moving],
        bottom=form.bottom[moving],
        demand=form.demand[moving],
    )
    point = settle(box, deadline=deadline)
    if point is None:
        return None
    for noise in _NOISE:
        y = np.where(np.abs(point.y) > noise, point.y, 0.0)
        if _is_ray(box, y):
            flow = np.zeros(len(form))
            flow[moving] = y
            return Ray(flow, float(box.top @ y))
    return None


def _is_ray(box: PriceForm, y: FloatArray) -> bool:
    """Whether flows gain something, reach their box and balance in every column."""
    if np.abs(y).max(initial=0.0) < _REACH:
        return False
    gains = float(box.top @ y)
    size = float(np.abs(box.top) @ np.abs(y))
    left = np.abs(box.balance(y))
    # What the remaining imbalance could be worth must not explain the gains.
    slack = float(left.sum()) * box.scales.price
    if gains <= max(_GAIN * size, _SLACK * slack):
        return False
    return bool((left <= _BALANCE * box.gross_volume(y)).all())
