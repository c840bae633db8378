"""Who is asked to solve an auction, and in which order.

Each solver gives a candidate: prices and flows. The list is walked until the
certificate accepts one. Tiny auctions are solved exactly by their active set. The
interior point comes next; its second try uses the full window and a firmer slope for
flat pieces; tiny auctions that floats spoil are walked through in rationals; HiGHS
follows, on the price form, then with another linear system, and,
for small auctions without any acceptable answer so far, its active set.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum
from math import inf

import numpy as np

from flowtrade.clearing.active import solve_active
from flowtrade.clearing.arrays import FloatArray
from flowtrade.clearing.assembly import FACTORS
from flowtrade.clearing.highs import Core, SolverFailed, solve_highs
from flowtrade.clearing.interior import solve_interior
from flowtrade.clearing.polish import polish
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.tiny import COLUMNS, PIECES, TinyForm
from flowtrade.clearing.tinyexact import walk_exactly
from flowtrade.models.clearing import SolverMode

__all__ = [
    "ANY_MARKET",
    "Candidate",
    "Capabilities",
    "Effort",
    "Solver",
    "Turn",
    "conversion_warning",
    "solvers_for",
]

_ACTIVE_SET = 300
"""Segments up to which the active set is worth asking (measured: minutes at 1000)."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A solver's answer, to be judged.

    Attributes:
        solver: Whose.
        outcome: Its own words.
        iterations: As it counts them.
        z: Prices.
        y: Flows.
        is_exact: Whether they are an optimum rounded once.
    """

    solver: str
    outcome: str
    iterations: int
    z: FloatArray
    y: FloatArray
    is_exact: bool = False


class Turn(Enum):
    """When a solver is asked."""

    UNTIL_CERTIFIED = "until_certified"
    """While no earlier answer is certified."""
    LAST_RESORT = "last_resort"
    """Only while no earlier answer is even accepted."""


class Effort(IntEnum):
    """How much an answer is worth; with each step solvers that take longer."""

    OWN = 0
    """Only our own in floats, which give up soon."""
    FIRM = 1
    """HiGHS' interior point as well."""
    EXACT = 2
    """The walk in rationals as well."""
    FULL = 3
    """Everybody."""

    def among(self, solvers: "tuple[Solver, ...]") -> "tuple[Solver, ...]":
        """Those of a line that are asked; all where there are no others."""
        return tuple(s for s in solvers if s.effort <= self) or solvers


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a solver can be asked; a market beyond it is never brought to it.

    Attributes:
        columns: Most unknown prices.
        pieces: Most pieces of curves.
        fewest: Fewest of them: some have nothing to say about none.
        is_exact: Whether its answer is the optimum rounded once, not a limit.
    """

    columns: float = inf
    pieces: float = inf
    fewest: int = 0
    is_exact: bool = False

    def admit(self, form: PriceForm) -> bool:
        """Whether a market is within them."""
        return form.columns <= self.columns and self.fewest <= len(form) <= self.pieces


ANY_MARKET = Capabilities()
"""Those of a solver for markets of every size."""


@dataclass(frozen=True, slots=True)
class Solver:
    """A named way to a candidate.

    Attributes:
        name: For the report.
        solve: From a market and a deadline (`time.monotonic`) to a candidate.
        turn: When it is asked.
        capabilities: Which markets it is asked about.
        share: Of the time that is left when it is asked, how much it may use: the
            next in line must not find the time gone.
        effort: From which effort on it is asked.
    """

    name: str
    solve: Callable[[PriceForm, float], Candidate]
    turn: Turn = Turn.UNTIL_CERTIFIED
    capabilities: Capabilities = ANY_MARKET
    share: float = 0.9
    effort: Effort = Effort.OWN

    def limit(self, now: float, deadline: float) -> float:
        """When it has to end, of the time until a common deadline."""
        return now + self.share * (deadline - now) if deadline < inf else inf


def solvers_for(form: PriceForm, mode: SolverMode) -> tuple[Solver, ...]:
    """The solvers to ask, in order: those of the mode that can solve the market.

    Args:
        form: The market.
        mode: Who may be asked.
    """
    return tuple(s for s in _LINES[mode] if s.capabilities.admit(form))


def _active(form: PriceForm, deadline: float) -> Candidate:
    point = solve_active(form, deadline=deadline)
    if point is None:
        raise SolverFailed("no set of pieces was proven optimal")
    return Candidate(
        "active-set", "exact", point.steps, point.z, point.y, is_exact=True
    )


def _walk(form: PriceForm, deadline: float) -> Candidate:
    point = walk_exactly(TinyForm.of(form), deadline=deadline)
    if point is None:
        raise SolverFailed("no set of pieces was reached that is optimal")
    z, y = np.array(point.z), np.array(point.y)
    return Candidate("exact-walk", "exact", point.steps, z, y, is_exact=True)


def _interior(form: PriceForm, deadline: float) -> Candidate:
    point = solve_interior(form, deadline=deadline)
    better = polish(form, point.z, point.y, deadline=deadline)
    return Candidate("interior", point.end.value, point.iterations, better.z, better.y)


def _interior_wide(form: PriceForm, deadline: float) -> Candidate:
    point = solve_interior(form, max_iterations=200, deadline=deadline)
    better = polish(
        form, point.z, point.y, deadline=deadline, windows=(np.inf,), flat=1e-4
    )
    return Candidate(
        "interior-wide", point.end.value, point.iterations, better.z, better.y
    )


def _highs(core: Core) -> Callable[[PriceForm, float], Candidate]:
    def solve(form: PriceForm, deadline: float) -> Candidate:
        if core is Core.HIPO:  # its normal matrix is as dense as ours
            form.assembler.check(FACTORS, deadline=deadline)
        z, y, point = solve_highs(form, core, deadline=deadline)
        better = polish(form, z, y, deadline=deadline)
        return Candidate(
            f"highs-{core.value}", point.status, point.iterations, better.z, better.y
        )

    return solve


_TINY = Solver(
    "active-set",
    _active,
    capabilities=Capabilities(COLUMNS, PIECES, fewest=1, is_exact=True),
)
_WALK = Solver(
    "exact-walk",
    _walk,
    capabilities=Capabilities(COLUMNS, PIECES, fewest=1, is_exact=True),
    # Some milliseconds a kink: of the largest it may make a second.
    share=0.5,
    effort=Effort.EXACT,
)
_OWN = (Solver("interior", _interior), Solver("interior-wide", _interior_wide))
_HIGHS = (
    Solver("highs-hipo", _highs(Core.HIPO), effort=Effort.FIRM),
    Solver("highs-hipo-augmented", _highs(Core.HIPO_AUGMENTED), effort=Effort.FIRM),
    # It may run to the time limit on a clean market of a hundred segments, and is no
    # better than an accepted answer when it ends: never for polish.
    Solver(
        "highs-qpasm",
        _highs(Core.ACTIVE_SET),
        turn=Turn.LAST_RESORT,
        capabilities=Capabilities(pieces=_ACTIVE_SET),
        share=1.0,
        effort=Effort.FULL,
    ),
)
_EVERYBODY = (_TINY, *_OWN, _WALK, *_HIGHS)
_LINES = {
    SolverMode.INTERIOR: _OWN,
    SolverMode.HIGHS: _HIGHS,
    SolverMode.AUTO: _EVERYBODY,
    # An audit asks HiGHS again afterwards, whoever answered first.
    SolverMode.AUDIT: _EVERYBODY,
}


def conversion_warning(*, pseudo: int, live: int) -> tuple[str, ...]:
    """What to say of portfolios that only convert demands, if they are many.

    Args:
        pseudo: Portfolios that no demand of their own determines.
        live: Portfolios that take part.
    """
    if pseudo <= 0.1 * max(live, 1):
        return ()
    # Measured: with many of them interior points fail more often than not.
    return (
        f"{pseudo} portfolios only convert shared demands into each other; "
        "give each an own demand, or their rates stay undetermined",
    )
