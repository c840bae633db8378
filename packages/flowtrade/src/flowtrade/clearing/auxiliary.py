"""Small auctions that answer questions about large ones.

The choice among equally good rates, the choice among equally good prices and the search
for unlimited gains are auctions themselves. They are cleared by the same solvers and
compared by the same merit; there is nobody to publish them to, so no certificate.
"""

import numpy as np

from flowtrade.clearing.active import solve_active
from flowtrade.clearing.assembly import FACTORS
from flowtrade.clearing.highs import Core, SolverFailed, solve_highs
from flowtrade.clearing.interior import solve_interior
from flowtrade.clearing.polish import Polished, polish
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.tiny import is_tiny

__all__ = ["settle"]

_REGRET = 1e-13
"""Regrets that are taken without asking anybody else: a price that is off by e costs
the square of e."""

_IMBALANCE = 1e-8
"""Imbalance that is taken likewise: columns that hardly trade never do better."""


def settle(form: PriceForm, *, deadline: float = np.inf) -> Polished | None:
    """Clear an auxiliary auction.

    Args:
        form: The auction.
        deadline: Value of `time.monotonic` at which to stop.

    Returns:
        The best point anybody found, or None if nobody found any.
    """
    best, merit = None, np.inf
    for attempt in (_active, _interior, _interior_wide, _highs):
        try:
            point = attempt(form, deadline)
        except (SolverFailed, ArithmeticError, np.linalg.LinAlgError):
            continue
        if point is None:
            continue
        regret, imbalance = form.measures(point.z, point.y)
        if max(regret, imbalance) < merit:
            best, merit = point, max(regret, imbalance)
        if regret <= _REGRET and imbalance <= _IMBALANCE:
            return point
    return best


def _active(form: PriceForm, deadline: float) -> Polished | None:
    point = solve_active(form, deadline=deadline) if is_tiny(form) else None
    if point is None:
        return None
    return Polished(point.z, point.y, point.steps, np.inf)


def _interior(form: PriceForm, deadline: float) -> Polished | None:
    point = solve_interior(form, deadline=deadline)
    if not (np.isfinite(point.z).all() and np.isfinite(point.y).all()):
        return None
    return polish(form, point.z, point.y, deadline=deadline)


def _interior_wide(form: PriceForm, deadline: float) -> Polished | None:
    point = solve_interior(form, max_iterations=200, deadline=deadline)
    if not (np.isfinite(point.z).all() and np.isfinite(point.y).all()):
        return None
    return polish(
        form, point.z, point.y, deadline=deadline, windows=(np.inf,), flat=1e-4
    )


def _highs(form: PriceForm, deadline: float) -> Polished | None:
    is_dense = form.assembler.fits(FACTORS, deadline=deadline)
    core = Core.HIPO if is_dense else Core.HIPO_AUGMENTED
    z, y, _ = solve_highs(form, core, deadline=deadline)
    return polish(form, z, y, deadline=deadline)
