"""The prices that support tiny outcomes: their ranges, and the nearest of them.

With few prices open, the set of supported ones is a small polyhedron. Floats walk its
edges (the simplex method on a dictionary) and find its point nearest to the targets (an
active set); which rows meet there is all that is taken from them. The rows' equations
are then solved without rounding: a price at the end of a curve is that end, and half
way between 5 and 7.5 is 6.25.

As in `active`, no answer is a possible answer; `faces` and `prices` are asked then.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite, ldexp
from typing import final

import numpy as np

from flowtrade.clearing.arrays import FloatArray
from flowtrade.clearing.faces import Ranges
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.rational import binary_places, solve_exactly, whole
from flowtrade.clearing.tiny import Row, TinyForm, is_tiny
from flowtrade.clearing.tinynearest import NearestSet

__all__ = ["Support", "TinySupport", "find_support", "support_tiny"]

_ZERO = 1e-9
"""Coefficients of a dictionary in natural units that are rounding."""

_PINNED = 1e-12
"""Width of a row's interval, against its price scale, that is none."""

_AT_BOUND = 1e-10
"""Share of a piece's width within which it counts as standing at its end."""

_PIVOTS = 200

_BEYOND = 1e-13
"""Distance beyond a row, against its price scale, that rounding of an exact point
explains."""

_ROUNDING = 1e-12
"""Share of a price scale that a row may push a price the wrong way: a target that
stands on a row is beyond it by rounding."""

_IDLE = 1e-7
"""Pull on prices that are not drawn anywhere, against the least that is: none, but for
the search of the set, which wants some."""


@dataclass(frozen=True, slots=True, eq=False)
class Support:
    """What an outcome's prices may be.

    Attributes:
        ranges: Of every column.
        open: How many columns are not settled.
        z: The chosen prices.
    """

    ranges: Ranges
    open: int
    z: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class TinySupport:
    """The same in lists."""

    lower: list[float]
    upper: list[float]
    open: int
    z: list[float]


class _LostError(ArithmeticError):
    """Rounding or cycling got in the way: somebody else may try."""


def find_support(
    form: PriceForm,
    z: FloatArray,
    y: FloatArray,
    reference: FloatArray,
) -> Support | None:
    """Find the ranges of prices and choose the nearest to targets.

    Args:
        form: The auction.
        z: Optimal prices.
        y: Optimal flows.
        reference: Wanted prices of products, NaN for what the range suggests.

    Returns:
        The ranges and the choice, or None if somebody else should try.
    """
    if not is_tiny(form):
        return None
    found = support_tiny(TinyForm.of(form), z.tolist(), y.tolist(), reference.tolist())
    if found is None:
        return None
    known = np.ones(form.columns, np.bool_)
    ranges = Ranges(np.array(found.lower), np.array(found.upper), known)
    return Support(ranges, found.open, np.array(found.z))


def support_tiny(
    form: TinyForm, z: list[float], y: list[float], reference: list[float]
) -> TinySupport | None:
    """Find the ranges and choose the prices of an auction in lists."""
    try:
        return _Set(form, z, y).support(reference)
    except (ArithmeticError, ValueError):
        return None


@dataclass(slots=True)
class _Bound:
    """One side of a row: sign * (row's price - level) >= 0."""

    row: Row
    level: float
    sign: float


@final
class _Set:
    """The rows' intervals as constraints on changes of prices."""

    def __init__(self, form: TinyForm, z: list[float], y: list[float]) -> None:
        self.z = z
        self.level = form.level
        prices = form.forward(z)
        value = _held_prices(form, prices, y)
        pinned: list[_Bound] = []
        bounds: list[_Bound] = []
        ends = _intervals(form, prices, y)
        for row, held, scale, (low, high) in zip(
            form.rows, value, form.scale, ends, strict=True
        ):
            if low == -inf and high == inf:
                continue
            if high - low <= _PINNED * scale:
                pinned.append(_Bound(row, held, 0.0))
                continue
            if low > -inf:
                bounds.append(_Bound(row, low, 1.0))
            if high < inf:
                bounds.append(_Bound(row, high, -1.0))
        self.open = _unsettled(pinned, self.level)
        self.bounds = [b for b in bounds if self._touches(b)]
        self.pinned = [b for b in pinned if self._touches(b)]

    def _touches(self, bound: _Bound) -> bool:
        return any(column in self.open for column, _ in bound.row)

    def support(self, reference: list[float]) -> TinySupport:
        """Ranges, targets and the nearest point."""
        lower, upper = list(self.z), list(self.z)
        if self.open:
            simplex = _Simplex(self)
            for place, column in enumerate(self.open):
                lower[column] = min(simplex.extreme(place, -1.0), self.z[column])
                upper[column] = max(simplex.extreme(place, 1.0), self.z[column])
        z = self._nearest(lower, upper, reference) if self.open else self.z
        return TinySupport(lower, upper, len(self.open), z)

    def _nearest(
        self, lower: list[float], upper: list[float], reference: list[float]
    ) -> list[float]:
        products = len(reference)
        target = [
            reference[k]
            if k < products and reference[k] == reference[k]
            else _target(lower[k], upper[k])
            for k in range(len(lower))
        ]
        drawn = [k for k in self.open if k < products]
        z = self.z
        if drawn:
            z = self._choose(z, self.open, drawn, target)
        rest = [k for k in self.open if k >= products]
        return self._choose(z, rest, rest, target) if rest else z

    def _choose(
        self,
        z: list[float],
        columns: list[int],
        drawn: list[int],
        target: list[float],
    ) -> list[float]:
        """The point nearest to the target in the drawn columns, others of z held."""
        place = {column: i for i, column in enumerate(columns)}
        bounds = [b for b in self.bounds if any(k in place for k, _ in b.row)]
        fixed = [b for b in self.pinned if any(k in place for k, _ in b.row)]
        active = self._holding(z, place, drawn, target, fixed, bounds)
        near, force = self._stationary(z, place, drawn, target, active)
        for bound, value in zip(active, force, strict=True):
            if bound.sign * value < 0.0 and self._moves(bound, value):
                raise _LostError
        if min((self._slack(b, near) for b in bounds), default=0.0) < -_BEYOND:
            raise _LostError
        return near

    def _holding(
        self,
        z: list[float],
        place: dict[int, int],
        drawn: list[int],
        target: list[float],
        fixed: list[_Bound],
        bounds: list[_Bound],
    ) -> list[_Bound]:
        """Rows that hold at the nearest point, independent of each other."""
        rows: list[Row] = []
        levels: list[float] = []
        for bound in (*fixed, *bounds):
            sign = bound.sign or 1.0
            size = sum([abs(w) * self.level[k] for k, w in bound.row])
            level, row = bound.level, []
            for k, weight in bound.row:
                if k in place:
                    row.append((place[k], sign * weight * self.level[k] / size))
                else:
                    level -= weight * z[k]
            rows.append(row)
            levels.append(sign * level / size)
        top = max(self.level[k] for k in place)
        pull = [(self.level[k] / top) ** 2 for k in place]
        least = _IDLE * min(pull[place[k]] for k in drawn)
        wanted = dict.fromkeys(drawn)
        near = NearestSet(
            rows,
            levels,
            len(fixed),
            [p if k in wanted else least for k, p in zip(place, pull, strict=True)],
            [(target if k in wanted else z)[k] / self.level[k] for k in place],
        )
        every = (*fixed, *bounds)
        return [every[i] for i in near.found()]

    def _moves(self, bound: _Bound, force: float) -> bool:
        """Whether a force is more than what rounding of the target explains."""
        return any(
            abs(weight * force) > _ROUNDING * self.level[k] for k, weight in bound.row
        )

    def _slack(self, bound: _Bound, z: list[float]) -> float:
        size = sum([abs(w) * self.level[k] for k, w in bound.row])
        price = sum([w * z[k] for k, w in bound.row])
        return bound.sign * (price - bound.level) / size

    def _stationary(
        self,
        z: list[float],
        place: dict[int, int],
        drawn: list[int],
        target: list[float],
        active: list[_Bound],
    ) -> tuple[list[float], list[float]]:
        """The nearest point where some rows hold, and the rows' forces on it."""
        count, total = len(place), len(place) + len(active)
        wanted = [target[k] for k in drawn]
        weights = [w for b in active for _, w in b.row]
        w, p = binary_places(weights), binary_places([*wanted, *z])
        levels = binary_places([b.level for b in active])
        p = max(p, levels - w)
        equations = [_row_equation(b, z, place, total, (w, p)) for b in active]
        want = dict(zip(drawn, wanted, strict=True))
        for column, i in place.items():
            equation = [0] * (total + 1)
            if column in want:
                equation[i] = 1
                equation[total] = whole(want[column], p)
            for j, b in enumerate(active):
                for k, weight in b.row:
                    if k == column:
                        equation[count + j] = -whole(weight, w)
            equations.append(equation)
        near = [ldexp(z[k], p) for k in place] + [0.0] * len(active)
        found = solve_exactly(equations, near)
        if found is None:
            raise _LostError
        above, below = found
        out = list(z)
        for column, i in place.items():
            out[column] = above[i] / (below << p)
        return out, [ldexp(value / below, w - p) for value in above[count:]]


def _intervals(
    form: TinyForm, prices: list[float], y: list[float]
) -> list[tuple[float, float]]:
    """Lowest and highest price of each row that support flows, as in `faces`."""
    lower, upper = [-inf] * len(prices), [inf] * len(prices)
    for r, flow, low, high, top, bottom in _pieces(form, y):
        width = high - low
        margin = _AT_BOUND * (width if isfinite(width) else form.rate)
        # A piece at its low end wants the price at or above its top, and so on;
        # inside it wants exactly this price.
        if flow <= low + margin:
            least, most = top, bottom if flow >= high - margin else inf
        elif flow >= high - margin:
            least, most = -inf, bottom
        else:
            least = most = prices[r]
        if least > lower[r]:
            lower[r] = least
        if most < upper[r]:
            upper[r] = most
    return list(zip(lower, upper, strict=True))


def _pieces(
    form: TinyForm, y: list[float]
) -> Iterator[tuple[int, float, float, float, float, float]]:
    return zip(form.row, y, form.low, form.high, form.top, form.bottom, strict=True)


def _held_prices(form: TinyForm, prices: list[float], y: list[float]) -> list[float]:
    """Prices of rows, told by the flows where a piece is inside.

    Then they do not depend on which of many prices the rows' columns happen to have.
    """
    out = list(prices)
    flattest = [inf] * len(out)
    for r, flow, low, high, top, bottom in _pieces(form, y):
        if not low < flow < high:
            continue
        drop = top - bottom
        price = top - drop * ((flow - low) / (high - low)) if drop else top
        if drop < flattest[r] or (drop == flattest[r] and price < out[r]):
            flattest[r], out[r] = drop, price
    return out


def _row_equation(
    bound: _Bound,
    z: list[float],
    place: dict[int, int],
    total: int,
    places: tuple[int, int],
) -> list[int]:
    """The row's price is its level: unknown are the placed columns, times 2^p."""
    w, p = places
    equation = [0] * (total + 1)
    equation[total] = whole(bound.level, w + p)
    for column, weight in bound.row:
        share = whole(weight, w)
        if column in place:
            equation[place[column]] = share
        else:
            equation[total] -= share * whole(z[column], p)
    return equation


def _target(lower: float, upper: float) -> float:
    """The middle, the finite end, or 0."""
    if isfinite(lower) and isfinite(upper):
        return 0.5 * (lower + upper)
    if isfinite(lower):
        return lower
    return upper if isfinite(upper) else 0.0


def _unsettled(pinned: Sequence[_Bound], level: Sequence[float]) -> list[int]:
    """Columns that the pinned rows leave open, by elimination in natural units."""
    count = len(level)
    rows = [_natural(b.row, level) for b in pinned]
    reduced: list[tuple[int, list[float]]] = []
    for _ in range(count):
        size, i, column = max(
            (
                (abs(value), i, k)
                for i, row in enumerate(rows)
                for k, value in enumerate(row)
            ),
            default=(0.0, 0, 0),
        )
        if size <= _ZERO:
            break
        pivot = rows.pop(i)
        scale = pivot[column]
        pivot = [value / scale for value in pivot]
        rows = [_less(row, pivot, column) for row in rows]
        reduced = [(k, _less(row, pivot, column)) for k, row in reduced]
        reduced.append((column, pivot))
    settled = {
        column
        for column, row in reduced
        if all(abs(v) <= 1e-7 for k, v in enumerate(row) if k != column)
    }
    return [k for k in range(count) if k not in settled]


def _natural(row: Sequence[tuple[int, float]], level: Sequence[float]) -> list[float]:
    size = sum([abs(w) * level[k] for k, w in row])
    out = [0.0] * len(level)
    for k, w in row:
        out[k] = w * level[k] / size
    return out


def _less(row: list[float], pivot: list[float], column: int) -> list[float]:
    factor = row[column]
    if not factor:
        return row
    return [a - factor * b for a, b in zip(row, pivot, strict=True)]


@final
class _Simplex:
    """A dictionary: all variables as functions of those that are not basic.

    The first variables are changes of open prices, free; then come the slacks of
    bounds, >= 0. At the start the changes are 0, which is feasible. Bland's rule
    keeps it from cycling.
    """

    def __init__(self, found: _Set) -> None:
        self.set = found
        columns = found.open
        self.count = len(columns)
        place = {column: i for i, column in enumerate(columns)}
        self.table: list[list[float]] = []
        for i in range(self.count):
            self.table.append([float(i == j) for j in range(self.count)] + [0.0])
        for bound in found.bounds:
            line = self._line(bound, place)
            line[-1] = max(found._slack(bound, found.z), 0.0)
            self.table.append(line)
        self.basis: list[int] = list(range(self.count))
        self.used: list[_Bound] = []
        self._hold(found.pinned, place)

    def _line(self, bound: _Bound, place: dict[int, int]) -> list[float]:
        level = self.set.level
        size = sum([abs(w) * level[k] for k, w in bound.row])
        out = [0.0] * (self.count + 1)
        for k, weight in bound.row:
            if k in place:
                out[place[k]] = (bound.sign or 1.0) * weight * level[k] / size
        return out

    def _hold(self, pinned: Sequence[_Bound], place: dict[int, int]) -> None:
        """Take pinned rows out of the choice, each with the variable it settles."""
        for bound in pinned:
            line = self._line(bound, place)
            row = [
                sum([line[i] * self.table[i][j] for i in range(self.count)])
                for j in range(len(self.basis))
            ]
            size, at = max((abs(value), j) for j, value in enumerate(row))
            if size <= _ZERO:
                continue
            self.used.append(bound)
            scale = row[at]
            for entry in self.table:
                factor = entry[at] / scale
                if factor:
                    for j, value in enumerate(row):
                        entry[j] -= factor * value
                del entry[at]
            del self.basis[at]
            if not self.basis:
                raise _LostError

    def extreme(self, place: int, sign: float) -> float:
        """The lowest (-1) or highest (1) price of an open column."""
        for _ in range(_PIVOTS):
            entering = self._entering(place, sign)
            if entering is None:
                return self._exact(place)
            j, direction = entering
            leaving = self._leaving(j, direction)
            if leaving is None:
                return sign * inf
            self._pivot(leaving, j)
        raise _LostError

    def _entering(self, place: int, sign: float) -> tuple[int, float] | None:
        best, found = len(self.table), None
        for j, variable in enumerate(self.basis):
            gain = sign * self.table[place][j]
            is_free = variable < self.count
            if (gain > _ZERO or (is_free and gain < -_ZERO)) and variable < best:
                best, found = variable, (j, 1.0 if gain > 0.0 else -1.0)
        return found

    def _leaving(self, j: int, direction: float) -> int | None:
        least, out = inf, None
        for i in range(self.count, len(self.table)):
            fall = -direction * self.table[i][j]
            if fall > _ZERO and i not in self.basis:
                ratio = self.table[i][-1] / fall
                if ratio < least:
                    least, out = ratio, i
        return out

    def _pivot(self, i: int, j: int) -> None:
        row = list(self.table[i])
        scale = row[j]
        for entry in self.table:
            factor = entry[j] / scale
            if not factor:
                continue
            for k, value in enumerate(row):
                entry[k] -= factor * value
            entry[j] = factor
        for entry in self.table[self.count :]:
            entry[-1] = max(entry[-1], 0.0)
        self.basis[j] = i

    def _exact(self, place: int) -> float:
        """The price at this corner from the rows that meet there."""
        found = self.set
        active = [
            found.bounds[variable - self.count]
            for j, variable in enumerate(self.basis)
            if variable >= self.count and abs(self.table[place][j]) > _ZERO
        ]
        active += self.used
        if not active:
            raise _LostError
        columns = found.open
        where = {column: i for i, column in enumerate(columns)}
        w = binary_places([weight for b in active for _, weight in b.row])
        p = max(binary_places(found.z), binary_places([b.level for b in active]) - w)
        total = self.count
        equations = [_row_equation(b, found.z, where, total, (w, p)) for b in active]
        near = [
            ldexp(found.z[k] + self.table[i][-1] * found.level[k], p)
            for i, k in enumerate(columns)
        ]
        solution = solve_exactly(equations, near)
        if solution is None:
            raise _LostError
        above, below = solution
        return above[place] / (below << p)
