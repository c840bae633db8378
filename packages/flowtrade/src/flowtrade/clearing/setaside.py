"""Clear a market whose numbers are beyond floats: without the orders that spoil it.

One order with absurd numbers must not keep everybody else from trading. Where no answer
can be certified, and only then, outlying orders (`outliers`) are set aside: cleared as
if they fed no demand, at a rate of zero, and named. What is left is cleared and
certified as any other market. Unlimited orders that cross are not a matter of numbers:
they are refused as ever.

Who is set aside depends on the orders alone. First all outlying ones are taken out, and
where that does not help or there are none, those that are nearer, too; if the rest is
certified, each component of the market gets back as many as it bears, the
least outlying first, whole decades at once, as found by bisection; at last each decade
that went with a farther one is tried by itself. A component that bears all of its
orders keeps them, and nobody's order is set aside for what happens in another one. To
know what it bears takes trials, by those solvers that give up soon. Large components,
and those for which no trials are left, do without and lose all their outlying orders.

Time that runs out ends it as it ends any clearing: nothing is certified.
"""

from collections.abc import Mapping
from math import inf
from time import monotonic
from typing import Final, TypedDict

import numpy as np

from flowtrade.clearing.arrays import BoolArray
from flowtrade.clearing.columns import Columns
from flowtrade.clearing.errors import UnboundedMarket, Uncertified
from flowtrade.clearing.market import Market
from flowtrade.clearing.outcome import Clearing
from flowtrade.clearing.outliers import Outliers, find_outliers
from flowtrade.clearing.policy import Effort
from flowtrade.clearing.solve import clear
from flowtrade.models.clearing import SolverMode

__all__ = ["clear_others"]

_LARGE: Final = 1000
"""Portfolios from which on HiGHS is not asked to save an outlying order: with it in a
market of 20,000 it takes twelve seconds to find no answer, without it the others take
0.2 (measured)."""

_WALKED: Final = 20.0
"""Decades up to which rationals are tried: beyond, they have so many digits that the
walk ends with the time, and what ends with the time is not the same everywhere."""

_TRIED: Final = 2000
"""Portfolios up to which a component is tried with some of its outlying orders: a trial
that fails takes some tenths of a second (measured)."""

_TRIALS: Final = 24
"""Trials in one market; a component with one decade of outlying orders needs none."""

_NEARER: Final = 5.0
"""Decades from which on a number may be the reason where farther ones are not."""

_FIRST: Final = 0.5
"""Share of the time in which a market with outlying orders has to clear as it is."""


def clear_others(
    market: Market,
    *,
    mode: SolverMode = SolverMode.AUTO,
    reference: Mapping[str, float] | None = None,
    time_limit: float = 10.0,
) -> Clearing:
    """Clear an auction, without outlying orders if it cannot be cleared with them.

    Args:
        market: The auction.
        mode: Who may solve it.
        reference: As of `clear`.
        time_limit: Seconds for everything.

    Returns:
        A certified answer of numbers; `set_aside` tells what it was cleared without.

    Raises:
        InvalidMarket: As of `clear`.
        UnboundedMarket: As of `clear`.
        Uncertified: Nobody's answer could be proven, nor without outlying orders, or
            time ran out.
    """
    deadline = monotonic() + time_limit
    how = _How(mode=mode, reference=reference)
    outliers = find_outliers(market.columns)
    try:
        if outliers is None:
            return clear(market, **how, time_limit=time_limit)
        return _Search(market, outliers, how, deadline).clear()
    except Uncertified as error:
        nearer = find_outliers(market.columns, decades=_NEARER)
        if nearer is None:
            raise
        return _Search(market, nearer, how, deadline, error).clear()


class _How(TypedDict):
    """What all attempts have in common."""

    mode: SolverMode
    reference: Mapping[str, float] | None


class _Search:
    """The search for the orders to do without."""

    def __init__(
        self,
        market: Market,
        outliers: Outliers,
        how: _How,
        deadline: float,
        error: Uncertified | None = None,
    ) -> None:
        self._market = market
        self._outliers = outliers
        self._how = how
        self._deadline = deadline
        self._trials = _TRIALS
        self._error = error

    def clear(self) -> Clearing:
        """Clear as it is, unless that has failed; else without outlying orders."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return self._clear() if self._error is None else self._clear_others()

    def _clear(self) -> Clearing:
        nobody = np.zeros_like(self._outliers.found)
        half = monotonic() + _FIRST * (self._deadline - monotonic())
        try:
            return self._attempt(nobody, effort=self._effort(), deadline=half)
        except Uncertified as error:
            self._error = error  # says more than that time is up
        try:
            return self._clear_others()
        except Uncertified:
            # It is not for these orders that the market cannot be cleared.
            return self._attempt(nobody)

    def _effort(self) -> Effort:
        """How much is tried to save the outlying orders."""
        if self._market.columns.portfolios > _LARGE:
            return Effort.OWN
        farthest = float(self._outliers.decades.max())
        return Effort.EXACT if farthest < _WALKED else Effort.FIRM

    def _clear_others(self) -> Clearing:
        everybody = self._outliers.found
        rest = self._attempt(everybody)
        aside = self._needed(everybody)
        if (aside == everybody).all():
            return self._named(rest, everybody)
        try:
            return self._named(self._attempt(aside, effort=self._effort()), aside)
        except Uncertified:
            self._check_time()
            return self._named(rest, everybody)

    def _named(self, clearing: Clearing, aside: BoolArray) -> Clearing:
        if not aside.any():
            return clearing
        market, places = self._market, np.flatnonzero(aside).tolist()
        names = [self._outliers.named(market, place) for place in places]
        return clearing.without(sorted(names, key=lambda one: one.portfolio))

    def _attempt(
        self,
        aside: BoolArray,
        *,
        effort: Effort = Effort.FULL,
        deadline: float = inf,
    ) -> Clearing:
        """Clear the market without some of its portfolios.

        Raises:
            UnboundedMarket: Unlimited orders cross.
            Uncertified: No answer could be proven, or time is up.
        """
        self._check_time()
        market = self._market
        if aside.any():
            market = _without(market, aside)
        left = min(deadline, self._deadline) - monotonic()
        return _clear(market, self._how, time_limit=left, effort=effort)

    def _needed(self, everybody: BoolArray) -> BoolArray:
        """Which of the outlying orders have to be set aside; the rest do without."""
        component, home = self._outliers.component, self._outliers.home
        places = np.unique(component[everybody])
        places = places[np.argsort(home[places])]
        aside = np.zeros_like(everybody)
        for place in places.tolist():
            part = component == place
            # The market has failed; where it is one component's fault, that has.
            known = len(places) == 1
            aside |= self._of_component(part, everybody & part, has_failed=known)
        return aside

    def _of_component(
        self, part: BoolArray, outlying: BoolArray, *, has_failed: bool
    ) -> BoolArray:
        if int(part.sum()) > _TRIED:
            return outlying
        decade = np.where(outlying, np.floor(self._outliers.decades), -1.0)
        nobody = np.zeros_like(outlying)
        if not has_failed and self._bears(part, nobody):
            return nobody
        levels = np.unique(decade[outlying])[::-1]
        fails, bears = 0, len(levels)
        while bears - fails > 1:
            middle = (fails + bears) // 2
            if self._bears(part, np.greater_equal(decade, levels[middle - 1])):
                bears = middle
            else:
                fails = middle
        aside: BoolArray = np.greater_equal(decade, levels[bears - 1])
        for level in levels[: bears - 1].tolist():
            fewer = aside & (decade != level)
            if self._bears(part, fewer):
                aside = fewer
        return aside

    def _bears(self, part: BoolArray, aside: BoolArray) -> bool:
        """Whether a component can be cleared without these; no if nobody may try."""
        if not self._trials:
            return False
        self._trials -= 1
        try:
            self._attempt(~part | aside, effort=Effort.OWN)
        except UnboundedMarket:
            return False
        except Uncertified:
            self._check_time()
            return False
        return True

    def _check_time(self) -> None:
        if monotonic() >= self._deadline:
            raise self._error or Uncertified(None, ())


def _clear(market: Market, how: _How, *, time_limit: float, effort: Effort) -> Clearing:
    """Clear; numbers that are none in the proof or on the way prove nothing."""
    try:
        clearing = clear(market, **how, time_limit=time_limit, effort=effort)
    except (ArithmeticError, ValueError) as error:
        raise Uncertified(None, ()) from error
    proof = clearing.certificate
    if not np.isfinite([proof.gains, proof.dual_bound, proof.value_scale]).all():
        raise Uncertified(proof, clearing.report.attempts)
    return clearing


def _without(market: Market, aside: BoolArray) -> Market:
    """The market with some portfolios that feed no demand."""
    columns = market.columns
    kept = np.repeat(~aside, np.diff(columns.usage.ptr))
    return Market(
        market.demand_ids,
        market.portfolio_ids,
        market.product_ids,
        Columns(
            columns.products,
            columns.curves,
            columns.known,
            columns.usage.filter(kept),
            columns.basis,
        ),
    )
