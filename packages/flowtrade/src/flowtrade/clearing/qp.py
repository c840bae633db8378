"""The general quadratic program, for problems that are no auction.

    minimise  x'Px/2 + q'x    subject to  l <= Ax <= u

Candidates come from an interior point on the sparse KKT system and, where that is not
certified, from HiGHS; each is polished by solving the equations of its active rows. The
residuals of the optimality conditions decide, never a solver's own word. An auction
never comes here: its price form has better methods.

Reference: the quasi-definite KKT system follows R. Vanderbei, "Symmetric quasidefinite
matrices", SIAM J. Optimization 5 (1995).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, final

import numpy as np
from scipy import sparse
from scipy.linalg import lapack
from scipy.sparse import linalg as sparse_linalg

from flowtrade.clearing.arrays import BoolArray, FloatArray
from flowtrade.clearing.blas import one_thread
from flowtrade.clearing.highs import Core, SolverFailed, solve_quadratic

__all__ = [
    "Answer",
    "Problem",
    "is_convex",
    "solve_qp",
    "symmetric",
    "what_is_wrong",
]

_CERTIFIED = 1e-9
_ACCEPTED = 1e-6
_STEPS = 100
_REGULAR = 1e-10
_BACK_OFF = 0.995
_DENSE = 300
"""Rows of a system up to which dense factors are the faster ones."""

_CONVEX = 1e-6
"""Share of the variables' own curvature that may be missing: the rounding of data."""

_ACTIVE_SET = 300
"""Variables up to which HiGHS' active set is worth asking."""


@final
@dataclass(frozen=True, eq=False)
class Problem:
    """A convex quadratic program.

    Attributes:
        hessian: P, positive semidefinite, shape (n, n); of one that is not symmetric
            the symmetric half is what x'Px sees.
        cost: q, shape (n,).
        matrix: A, shape (m, n).
        lower: l, shape (m,), maybe -inf.
        upper: u, shape (m,), maybe inf.
    """

    hessian: sparse.csc_array
    cost: FloatArray
    matrix: sparse.csc_array
    lower: FloatArray
    upper: FloatArray

    def value(self, x: FloatArray) -> float:
        """The objective."""
        return float(0.5 * x @ (self.hessian @ x) + self.cost @ x)

    def residual(self, x: FloatArray, y: FloatArray) -> float:
        """Largest relative violation of the optimality conditions.

        Args:
            x: Variables.
            y: Row duals, positive where the upper bound pushes.
        """
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return float("inf")
        row, force = self.matrix @ x, self.hessian @ x
        over = np.maximum(row - self.upper, 0.0)
        under = np.maximum(self.lower - row, 0.0)
        ends = np.concatenate([self.lower, self.upper])
        ends = np.abs(ends[np.isfinite(ends)])
        size = 1.0 + max(_largest(np.abs(row)), float(ends.max(initial=0.0)))
        primal = max(_largest(over), _largest(under)) / size
        pull = self.matrix.T @ y
        dual_size = 1.0 + max(map(_largest, np.abs([force, pull, self.cost])))
        dual = _largest(np.abs(force + pull + self.cost)) / dual_size
        with np.errstate(invalid="ignore"):
            slack = np.where(y > 0.0, self.upper - row, row - self.lower)
            # A multiplier and a distance at once: judged by what they are worth.
            loss = float(np.abs(np.where(y == 0.0, 0.0, y * slack)).sum())
        if not np.isfinite(loss):
            return float("inf")
        worst = max(primal, dual, loss / (1.0 + abs(self.value(x))))
        # No number is no proof, and `max` may lose one.
        known = primal == primal and dual == dual and worst == worst
        return worst if known else float("inf")


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """An optimum.

    Attributes:
        x: Variables.
        y: Row duals.
        solver: Whose point was polished.
        residual: Largest relative violation of the optimality conditions.
    """

    x: FloatArray
    y: FloatArray
    solver: str
    residual: float


def solve_qp(problem: Problem, *, time_limit: float = 10.0) -> Answer | None:
    """Solve a convex quadratic program.

    Args:
        problem: The program.
        time_limit: Seconds after which no further solver is asked.

    Returns:
        The certified optimum, else the best one within 1e-6, else None: the program
        may be infeasible, unbounded, not convex, none at all or beyond the solvers;
        `qpverdict.refusal_of` finds out.
    """
    if what_is_wrong(problem):
        return None
    problem = replace(problem, hessian=symmetric(problem.hessian))
    if not is_convex(problem.hessian):
        return None
    deadline = monotonic() + time_limit
    judge = _Judge(problem)
    best: Answer | None = None
    # A point that overflows is no answer: `residual` sees it, no warning is needed.
    with one_thread(), np.errstate(all="ignore"):
        for name, solve in _solvers(problem):
            try:
                x, y = solve(problem, deadline)
            except (SolverFailed, ArithmeticError, RuntimeError, ValueError):
                # Each is a solver's way of giving up; the next one is asked.
                continue
            for point in ((x, y), *_polished(problem, x, y)):
                residual = judge.residual(*point)
                if best is None or residual < best.residual:
                    best = Answer(*point, name, residual)
            if best is not None and best.residual <= _CERTIFIED:
                return best
            if monotonic() > deadline:
                break
    return best if best is not None and best.residual <= _ACCEPTED else None


def what_is_wrong(problem: Problem) -> str:
    """What makes the arrays no program, in words; empty if nothing does."""
    count, rows = len(problem.cost), len(problem.lower)
    shapes = {
        "hessian": (problem.hessian.shape, (count, count)),
        "matrix": (problem.matrix.shape, (rows, count)),
        "upper": (problem.upper.shape, (rows,)),
    }
    for name, (shape, expected) in shapes.items():
        if shape != expected:
            return f"{name} has the shape {shape}, not {expected}"
    finite = {
        "hessian": problem.hessian.data,
        "cost": problem.cost,
        "matrix": problem.matrix.data,
    }
    for name, values in finite.items():
        if not np.isfinite(values).all():
            return f"{name} holds what is no finite number"
    for name, values in (("lower", problem.lower), ("upper", problem.upper)):
        if np.isnan(values).any():
            return f"{name} of row {int(np.argmax(np.isnan(values)))} is no number"
    return ""


def symmetric(hessian: sparse.csc_array) -> sparse.csc_array:
    """The symmetric half of P, all that x'Px sees of it."""
    turned = sparse.csc_array(hessian.T)
    if not np.any((hessian - turned).data):
        return hessian
    return sparse.csc_array(0.5 * (hessian + turned))


def is_convex(hessian: sparse.csc_array) -> bool:
    """Whether P is positive semidefinite: all pivots of P, slightly lifted, are > 0.

    The optimality conditions hold at saddles, too: what they certify is an optimum
    only where the program is convex.
    """
    curvature = hessian.diagonal()
    most = _largest(curvature)
    if (curvature < -_CONVEX * most).any():
        return False
    if most == 0.0:
        return not np.any(hessian.data)
    scale = sparse.diags_array(1.0 / np.sqrt(np.where(curvature > 0, curvature, most)))
    lifted = scale @ hessian @ scale + _CONVEX * sparse.eye_array(len(curvature))
    if len(curvature) <= _DENSE:
        return bool(lapack.dpotrf(lifted.toarray())[1] == 0)
    try:
        factors = sparse_linalg.splu(
            sparse.csc_matrix(lifted),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
    except RuntimeError:  # SuperLU: "Factor is exactly singular"
        return False
    in_place = np.array_equal(factors.perm_r, factors.perm_c)
    return in_place and bool((factors.U.diagonal() > 0.0).all())


@final
class _Judge:
    """Judges points in the program's own units, in even ones, and without units.

    In its own a variable that counts in millionths may stand anywhere beside one that
    counts in millions: whatever its condition lacks is small. In even units all count;
    and what a variable could gain by moving alone is money, in units or not.
    """

    def __init__(self, problem: Problem) -> None:
        self._own = problem
        self._curvature = problem.hessian.diagonal()
        self._entries = problem.matrix.tocoo()
        self._even, columns, rows, worth = _equilibrated(problem, _by_ruiz)
        self._units = columns, rows / worth
        # Variables' own bounds: rows of one entry.
        alone = np.bincount(self._entries.row, minlength=len(problem.lower)) == 1
        self._bounds = np.flatnonzero(alone[self._entries.row])

    def residual(self, x: FloatArray, y: FloatArray) -> float:
        """The largest of the residuals."""
        columns, rows = self._units
        even = self._even.residual(x / columns, y / rows)
        own = max(self._own.residual(x, y), self._own.residual(x, self._charged(x, y)))
        return max(own, even, self._gain(x))

    def _charged(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """The duals if what conditions lack is charged to the variables' own bounds.

        What is little by itself may be much over all the way to the bound: so it
        counts as loss.
        """
        own, at = self._own, self._bounds
        entries = self._entries
        rows, columns, weights = entries.row[at], entries.col[at], entries.data[at]
        lack = own.hessian @ x + own.cost + own.matrix.T @ y
        with np.errstate(divide="ignore", invalid="ignore"):
            wanted = y[rows] - lack[columns] / weights
        end = np.where(wanted > 0.0, own.upper[rows], own.lower[rows])
        usable = np.isfinite(wanted) & np.isfinite(end)
        # One row for each variable, the last one.
        _, last = np.unique(columns[usable][::-1], return_index=True)
        chosen = np.flatnonzero(usable)[::-1][last]
        charged = y.copy()
        charged[rows[chosen]] = wanted[chosen]
        return charged

    def _gain(self, x: FloatArray) -> float:
        """What the best move of one variable gains within all rows, relatively."""
        own, entries = self._own, self._entries
        slope = own.hessian @ x + own.cost
        row = own.matrix @ x
        # Down the slope, and until the first row is at its end.
        ahead = -np.sign(slope[entries.col]) * entries.data
        at = entries.row
        room = np.where(ahead > 0.0, (own.upper - row)[at], (row - own.lower)[at])
        far = np.full(len(x), np.inf)
        moving = ahead != 0.0
        steps = np.maximum(room[moving], 0.0) / np.abs(ahead[moving])
        np.minimum.at(far, entries.col[moving], steps)
        best = np.where(self._curvature > 0.0, np.abs(slope) / self._curvature, np.inf)
        step = np.where(slope == 0.0, 0.0, np.minimum(far, best))
        with np.errstate(invalid="ignore"):
            bend = np.where(self._curvature > 0.0, 0.5 * self._curvature * step**2, 0.0)
            gain = np.where(step > 0.0, np.abs(slope) * step - bend, 0.0)
        return _largest(gain) / (1.0 + abs(own.value(x)))


_Solve = Callable[[Problem, float], tuple[FloatArray, FloatArray]]


def _solvers(problem: Problem) -> Iterator[tuple[str, _Solve]]:
    yield "interior", lambda p, deadline: _Interior(p, _by_ruiz).run(deadline)
    yield "interior-columns", lambda p, end: _Interior(p, _by_columns).run(end)
    yield "highs-hipo", _highs(Core.HIPO_AUGMENTED)
    if len(problem.cost) <= _ACTIVE_SET:
        yield "highs-qpasm", _highs(Core.ACTIVE_SET)


def _highs(core: Core) -> _Solve:
    def solve(problem: Problem, deadline: float) -> tuple[FloatArray, FloatArray]:
        count = len(problem.cost)
        free = np.full(count, np.inf)
        point = solve_quadratic(
            hessian=problem.hessian,
            cost=problem.cost,
            matrix=problem.matrix,
            row_lower=problem.lower,
            row_upper=problem.upper,
            lower=-free,
            upper=free,
            core=core,
            deadline=deadline,
        )
        return point.x, -point.dual

    return solve


@final
class _Interior:
    """Mehrotra's predictor-corrector on the equilibrated program."""

    def __init__(self, problem: Problem, scales: "_Scales") -> None:
        even, self.columns, self.rows, self.worth = _equilibrated(problem, scales)
        self.hessian, self.matrix, self.cost = even.hessian, even.matrix, even.cost
        self.lower, self.upper = even.lower, even.upper
        self.equal: BoolArray = self.lower == self.upper
        self.has_low = np.isfinite(self.lower) & ~self.equal
        self.has_high = np.isfinite(self.upper) & ~self.equal
        self.sides = max(int(self.has_low.sum() + self.has_high.sum()), 1)
        self.system = _bordered(self.hessian, self.matrix)
        self._start()

    def run(self, deadline: float) -> tuple[FloatArray, FloatArray]:
        """Iterate; the last point in the program's own units."""
        best = (np.inf, self.x, self.y)
        for _ in range(_STEPS):
            dual = self.hessian @ self.x + self.cost + self.matrix.T @ self.y
            row = self.matrix @ self.x
            primal = np.where(self.equal, row - self._end(), row - self.s)
            comp = self._complementarity()
            size = max(_largest(np.abs(dual)), _largest(np.abs(primal)), comp)
            if not np.isfinite(size):
                break
            if size < best[0]:
                best = (size, self.x.copy(), self.y.copy())
            if size <= 1e-12 or monotonic() > deadline:
                break
            self._step(dual, primal, comp)
        _, x, y = best
        return x * self.columns, y * self.rows / self.worth

    def _start(self) -> None:
        count, rows = self.matrix.shape[1], self.matrix.shape[0]
        self.x, self.y = np.zeros(count), np.zeros(rows)
        middle = np.where(
            self.has_low & self.has_high,
            0.5 * (np.maximum(self.lower, -1e20) + np.minimum(self.upper, 1e20)),
            np.where(self.has_low, self.lower + 1.0, self.upper - 1.0),
        )
        self.s = np.where(self.has_low | self.has_high, middle, 0.0)
        self.s = np.where(self.equal, self._end(), self.s)
        self.wl = np.where(self.has_low, np.maximum(self.s - self.lower, 1e-2), 1e100)
        self.wu = np.where(self.has_high, np.maximum(self.upper - self.s, 1e-2), 1e100)
        self.vl = np.where(self.has_low, 1.0, 1e-200)
        self.vu = np.where(self.has_high, 1.0, 1e-200)
        self.y = self.vu - self.vl

    def _end(self) -> FloatArray:
        return np.where(self.equal, self.lower, 0.0)

    def _complementarity(self) -> float:
        return float(self.wl @ self.vl + self.wu @ self.vu) / self.sides

    def _step(self, dual: FloatArray, primal: FloatArray, comp: float) -> None:
        stiff = self.vl / self.wl + self.vu / self.wu
        loose = 1.0 / np.maximum(stiff, 1e-300)
        # A row without any bound asks for nothing: its multiplier stays 0.
        bare = ~(self.equal | self.has_low | self.has_high)
        loose = np.where(self.equal, _REGULAR, np.clip(loose, 1e-16, 1e16))
        loose = np.where(bare, 1e16, loose)
        solve = self._factor(loose)
        gap_low = np.where(self.has_low, self.s - self.lower - self.wl, 0.0)
        gap_high = np.where(self.has_high, self.upper - self.s - self.wu, 0.0)

        def move(fix_low: FloatArray, fix_high: FloatArray) -> tuple[FloatArray, ...]:
            # vl + dvl = (fix_low - vl dwl) / wl with dwl = ds + gap_low, and so on.
            pull_low = (fix_low - self.vl * gap_low) / self.wl
            pull_high = (fix_high - self.vu * gap_high) / self.wu
            shift = pull_high - pull_low
            inner = ~self.equal
            rhs = -primal - np.where(inner, loose * (shift - self.y), 0.0)
            dx, dy = solve(-dual, rhs)
            ds = np.where(inner, loose * (dy + self.y - shift), 0.0)
            dwl = np.where(self.has_low, ds + gap_low, 0.0)
            dwu = np.where(self.has_high, gap_high - ds, 0.0)
            dvl = (fix_low - self.vl * dwl) / self.wl - self.vl
            dvu = (fix_high - self.vu * dwu) / self.wu - self.vu
            return dx, dy, ds, dwl, dwu, dvl, dvu

        none = np.zeros(len(self.y))
        affine = move(none, none)
        reach = self._reach(affine)
        after = self._after(affine, min(1.0, 1.0 / reach)) / self.sides
        target = comp * min(max(after / comp, 0.0), 1.0) ** 3 if comp > 0.0 else 0.0
        _, _, _, dwl, dwu, dvl, dvu = affine
        fix_low = np.where(self.has_low, target - dwl * dvl, 0.0)
        fix_high = np.where(self.has_high, target - dwu * dvu, 0.0)
        final_move = move(fix_low, fix_high)
        step = min(1.0, _BACK_OFF / self._reach(final_move))
        parts = (self.x, self.y, self.s, self.wl, self.wu, self.vl, self.vu)
        for part, change in zip(parts, final_move, strict=True):
            part += step * change
        self.vl = np.where(self.has_low, np.maximum(self.vl, 1e-300), 1e-200)
        self.vu = np.where(self.has_high, np.maximum(self.vu, 1e-300), 1e-200)
        self.y = np.where(self.equal, self.y, self.vu - self.vl)
        self.y[bare] = 0.0

    def _reach(self, change: tuple[FloatArray, ...]) -> float:
        _, _, _, dwl, dwu, dvl, dvu = change
        pairs = ((self.wl, dwl), (self.wu, dwu), (self.vl, dvl), (self.vu, dvu))
        return max(1e-10, *(float((-d / v).max(initial=0.0)) for v, d in pairs))

    def _after(self, change: tuple[FloatArray, ...], step: float) -> float:
        _, _, _, dwl, dwu, dvl, dvu = change
        low = (self.wl + step * dwl) @ (self.vl + step * dvl)
        return float(low + (self.wu + step * dwu) @ (self.vu + step * dvu))

    def _factor(
        self, loose: FloatArray
    ) -> Callable[..., tuple[FloatArray, FloatArray]]:
        count = self.matrix.shape[1]
        true = np.concatenate([np.zeros(count), -loose])
        shifted = np.concatenate([np.full(count, _REGULAR), -loose])
        return _refined(self.system, true, shifted, count)


def _refined(
    base: sparse.csc_array, true: FloatArray, shifted: FloatArray, count: int
) -> Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
    """Solve with base + diag(true) through the factors of base + diag(shifted).

    Raises:
        RuntimeError: SuperLU found the matrix singular.
    """
    inverse = _factorise(base, shifted)

    def apply(values: FloatArray) -> FloatArray:
        return np.asarray(base @ values + true * values)

    def solve(top: FloatArray, bottom: FloatArray) -> tuple[FloatArray, FloatArray]:
        rhs = np.concatenate([top, bottom])
        out = inverse(rhs)
        size = _largest(np.abs(rhs - apply(out)))
        for _ in range(4):
            better = out + inverse(rhs - apply(out))
            left = _largest(np.abs(rhs - apply(better)))
            if not left < size:
                break
            out, size = better, left
        return out[:count], out[count:]

    return solve


def _factorise(
    base: sparse.csc_array, diagonal: FloatArray
) -> Callable[[FloatArray], FloatArray]:
    if not len(diagonal):  # LAPACK takes no empty matrix
        return lambda rhs: rhs
    if len(diagonal) <= _DENSE:
        dense = base.toarray()
        at = np.arange(len(diagonal))
        dense[at, at] += diagonal
        factors, pivots, info = lapack.dgetrf(dense, overwrite_a=1)
        if info != 0:
            raise RuntimeError("the system is exactly singular")
        return lambda rhs: np.asarray(lapack.dgetrs(factors, pivots, rhs)[0])
    shifted = base + sparse.diags_array(diagonal, format="csc")
    solver: Any = sparse_linalg.splu(sparse.csc_matrix(shifted))
    return lambda rhs: np.asarray(solver.solve(rhs))


def _polished(
    problem: Problem, x: FloatArray, y: FloatArray
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Solve the equations of the rows that seem active."""
    row = problem.matrix @ x
    with np.errstate(invalid="ignore"):
        low = (row - problem.lower) < -y
        high = (problem.upper - row) < y
    equal = problem.lower == problem.upper
    active = np.flatnonzero(low | high | equal)
    count = len(x)
    rows = problem.matrix.tocsr()[active]
    goal = np.where(high | equal, problem.upper, problem.lower)[active]
    system = _bordered(problem.hessian, rows.tocsc())
    for regular in (1e-9, 1e-7):
        signs = np.concatenate(
            [np.full(count, regular), np.full(len(active), -regular)]
        )
        try:
            solve = _refined(system, np.zeros(len(signs)), signs, count)
        except RuntimeError:  # SuperLU: "Factor is exactly singular"
            continue
        better, dual = solve(-problem.cost - problem.hessian @ x, goal - rows @ x)
        full = np.zeros(len(y))
        full[active] = dual
        yield x + better, full


def _bordered(hessian: sparse.csc_array, rows: sparse.csc_array) -> sparse.csc_array:
    """The symmetric matrix [[P, A'], [A, 0]]."""
    zero = sparse.csc_array((rows.shape[0], rows.shape[0]))
    return sparse.block_array([[hessian, rows.T], [rows, zero]], format="csc")


_Scales = Callable[[Problem], tuple[FloatArray, FloatArray]]


def _equilibrated(
    problem: Problem, scales: _Scales
) -> tuple[Problem, FloatArray, FloatArray, float]:
    """The program in units in which all entries are about 1, and the units."""
    columns, rows = scales(problem)
    cost = _largest(np.abs(problem.cost * columns))
    worth = 1.0 / max(cost, 1e-8) if cost > 0.0 else 1.0
    scale_x = sparse.diags_array(columns, format="csc")
    scale_r = sparse.diags_array(rows, format="csc")
    even = Problem(
        hessian=(scale_x @ problem.hessian @ scale_x * worth).tocsc(),
        cost=problem.cost * columns * worth,
        matrix=(scale_r @ problem.matrix @ scale_x).tocsc(),
        lower=problem.lower * rows,
        upper=problem.upper * rows,
    )
    return even, columns, rows, worth


def _by_columns(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """Scales of variables, then of rows: what one variable is bounded by stays."""
    matrix = abs(problem.matrix)
    own = np.sqrt(np.maximum(problem.hessian.diagonal(), 0.0))
    of_column = np.maximum(_most(matrix, axis=0), own)
    columns = 1.0 / np.where(of_column > 0.0, of_column, 1.0)
    of_row = _most((matrix @ sparse.diags_array(columns)).tocsc(), axis=1)
    return columns, 1.0 / np.where(of_row > 0.0, of_row, 1.0)


def _by_ruiz(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """Scales of variables and rows (Ruiz)."""
    matrix, hessian = abs(problem.matrix), abs(problem.hessian)
    rows, columns = np.ones(matrix.shape[0]), np.ones(matrix.shape[1])
    for _ in range(10):
        scaled = (
            sparse.diags_array(rows) @ matrix @ sparse.diags_array(columns)
        ).tocsc()
        inner = (
            sparse.diags_array(columns) @ hessian @ sparse.diags_array(columns)
        ).tocsc()
        of_row = _most(scaled, axis=1)
        of_column = np.maximum(_most(scaled, axis=0), _most(inner, axis=0))
        rows /= np.sqrt(np.where(of_row > 0.0, of_row, 1.0))
        columns /= np.sqrt(np.where(of_column > 0.0, of_column, 1.0))
    return columns, rows


def _most(matrix: sparse.csc_array, *, axis: int) -> FloatArray:
    if 0 in matrix.shape:
        return np.zeros(matrix.shape[1 - axis])
    return np.asarray(matrix.max(axis=axis).todense()).ravel()


def _largest(values: FloatArray) -> float:
    return float(np.max(values, initial=0.0))
