"""The price-space interior point: Mehrotra's predictor-corrector on the prices.

Every segment s keeps its flow y, its distances wl = y - low and wu = high - y, and
their multipliers vl, vu > 0. Eliminating all of them leaves one symmetric system in
the prices z,

    (T' D T + delta) dz = r,   D = diag(row sums of 1/theta),
    theta = h + rho + vl/wl + vu/wu,

which is as small as the number of products however many orders there are. One
factorisation serves predictor and corrector. Segments are worked on in chunks that
stay in the cache; an infinite side has a distance so large and a multiplier so small
that it takes no part.

Warm starts are deliberately absent: from earlier prices this method needs more
iterations, not fewer, even when only one order in a hundred changed (see ADR 0031).

Reference: S. Mehrotra, "On the implementation of a primal-dual interior point
method", SIAM J. Optimization 2 (1992).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import frexp, ldexp
from time import monotonic
from typing import final

import numpy as np
from scipy import sparse

from flowtrade.clearing._speedups import (
    add_rows,
    begin,
    lower,
    measure_fit,
    moves,
    open_pieces,
    push_rows,
)
from flowtrade.clearing.arrays import FloatArray, IntArray
from flowtrade.clearing.assembly import FACTORS, Factor, SingularMatrix
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.speedups import COMPILED

__all__ = ["InteriorEnd", "InteriorPoint", "solve_interior"]

_CHUNK = 32768
"""Segments worked on at once: few calls, and arrays that stay in the caches."""

_SMALL = 4096
"""Segments up to which plain sums are faster than sparse products."""

_FAR = 1e100
"""Distance to an infinite side."""

_FAINT = 1e-200
"""Multiplier of an infinite side: its share in every sum underflows."""

_BACK_OFF = 0.995
"""Share of the step to the boundary."""

_TOLERANCE = (1e-14, 2e-7, 1e-11)
"""Complementarity at the end against what is at stake: least, share over the number of
segments, most. Measured: an iteration less costs the polish more than it saves."""

_RHO = 1e-7
_DELTA = 1e-10
_START_FORCE = 0.1
"""First multipliers, against the row's price scale."""


class InteriorEnd(StrEnum):
    """How the iteration ended."""

    CONVERGED = "converged"
    STALLED = "stalled"
    LIMIT = "iteration limit"
    TIME = "time limit"
    SINGULAR = "singular"
    DIVERGED = "diverged"


@dataclass(frozen=True, slots=True, eq=False)
class InteriorPoint:
    """Where the iteration stopped.

    Attributes:
        end: Why.
        z: Prices.
        y: Flows, strictly inside their bounds.
        iterations: Factorisations used.
    """

    end: InteriorEnd
    z: FloatArray
    y: FloatArray
    iterations: int


def solve_interior(
    form: PriceForm,
    *,
    max_iterations: int = 100,
    deadline: float = np.inf,
    compiled: bool = COMPILED,
) -> InteriorPoint:
    """Solve a market from a cold start.

    Args:
        form: The market.
        max_iterations: Factorisations allowed.
        deadline: Value of `time.monotonic` at which to stop.
        compiled: Whether compiled loops take part; they find the same bits.

    Returns:
        The last point; judge it by a certificate, not by how it ended.

    Raises:
        TooLarge: There is no room for the matrix, or no time for its factors.
    """
    if not len(form):
        return InteriorPoint(
            InteriorEnd.CONVERGED, np.zeros(form.columns), np.zeros(0), 0
        )
    form.assembler.check(FACTORS, deadline=deadline)
    # A point that overflows ends the iteration: `_judge` sees it.
    with np.errstate(all="ignore"):
        return _Iteration(form, compiled=compiled).run(max_iterations, deadline)


@dataclass(slots=True, eq=False)
class _Chunk:
    """A run of segments and their rows."""

    part: slice
    row: IntArray


@final
class _Iteration:
    """State of one solve."""

    def __init__(self, form: PriceForm, *, compiled: bool) -> None:
        self.form = form
        count = len(form)
        self.z: FloatArray
        self.price: FloatArray  # of rows, at z
        self.delta = _DELTA * form.column_supply
        if compiled:
            self._start_compiled()
        else:
            self._start()
        self.no_low = np.flatnonzero(np.isinf(form.low))
        self.no_high = np.flatnonzero(np.isinf(form.high))
        self.sides = 2 * count - len(self.no_low) - len(self.no_high)
        self.chunks = _chunks(form)
        self.inverse = np.empty(count)
        self.force = np.empty(count)
        make = _CompiledLoops if compiled else _PlainLoops
        self.loops: _CompiledLoops | _PlainLoops
        self.loops = make(form, self.inverse, self.force, self.y)
        self.welfare = 0.0
        self.near_low = np.empty(count)
        self.near_high = np.empty(count)
        self.tie_low = np.empty(count)
        self.tie_high = np.empty(count)
        self.dy = np.empty(count)
        self.dvl = np.empty(count)
        self.dvu = np.empty(count)

    def run(self, max_iterations: int, deadline: float) -> InteriorPoint:
        form = self.form
        end = InteriorEnd.LIMIT
        iterations = 0
        best = np.inf
        stalled = 0
        while iterations < max_iterations:
            weights, push, comp, flows = self._linearise()
            residual = form.balance_of_rows(flows)
            end_now = self._judge(comp, residual)
            if end_now is not None:
                end = end_now
                break
            stalled = stalled + 1 if comp > 0.9 * best else 0
            best = min(best, comp)
            if stalled >= 12:
                end = InteriorEnd.STALLED
                break
            if monotonic() > deadline or not form.assembler.fits(1, deadline=deadline):
                end = InteriorEnd.TIME
                break
            try:
                factor = form.assembler.factor(weights, self.delta)
            except SingularMatrix:
                end = InteriorEnd.SINGULAR
                break
            iterations += 1
            self._advance(factor, push, comp, residual)
        return InteriorPoint(end, self.z, self.y, iterations)

    def _advance(
        self, factor: Factor, push: FloatArray, comp: float, residual: FloatArray
    ) -> None:
        form = self.form
        dz = factor.solve(residual + form.map.adjoint(push))
        step, curve = self._predict(form.map.forward(dz))
        # Complementarity after the predictor, without another pass over segments.
        after = comp * (1.0 - step) + step * step * curve
        push = self._correct(_centring(comp, after) / max(self.sides, 1))
        dz = factor.solve(residual + form.map.adjoint(push))
        turn = form.map.forward(dz)
        ahead, down = self._direct(turn)
        self.z = self.z + down * dz
        self.price = self.price + down * turn
        self._move(ahead, down)

    def _linearise(self) -> tuple[FloatArray, FloatArray, float, FloatArray]:
        """Row weights, row forces, complementarity and row flows at this point."""
        comp = welfare = 0.0
        for chunk in self.chunks:
            at = chunk.part
            wl, wu, vl, vu, y = (
                self.wl[at],
                self.wu[at],
                self.vl[at],
                self.vu[at],
                self.y[at],
            )
            near_low = np.divide(1.0, wl, out=self.near_low[at])
            near_high = np.divide(1.0, wu, out=self.near_high[at])
            tie_low = np.multiply(vl, near_low, out=self.tie_low[at])
            tie_high = np.multiply(vu, near_high, out=self.tie_high[at])
            inverse = np.add(tie_low, tie_high, out=self.inverse[at])
            inverse += self.regular[at]
            np.divide(1.0, inverse, out=inverse)
            force = np.multiply(self.slope[at], y, out=self.force[at])
            base = self.base[at]
            welfare += float(base @ y) - 0.5 * float(force @ y)
            np.subtract(base, force, out=force)
            self.loops.lower(force, self.price, chunk.row)
            comp += float(wl @ vl) + float(wu @ vu)
        self.welfare = welfare
        weights, push, flows = self.loops.look()
        return weights, push, comp, flows

    def _predict(self, turn: FloatArray) -> tuple[float, float]:
        """The affine move: its step, and the sum of products of its moves."""
        reach = 0.0
        curve = 0.0
        for chunk in self.chunks:
            at = chunk.part
            dy = self.dy[at]
            self.loops.moves(self.force[at], turn, chunk.row, self.inverse[at], dy)
            low = dy * self.near_low[at]
            high = dy * self.near_high[at]
            reach = max(
                reach,
                -float(low.min()),
                1.0 + float(low.max()),
                float(high.max()),
                1.0 - float(high.min()),
            )
            # dvl = -vl - tie_low dy and dvu = -vu + tie_high dy.
            bend = self.tie_low[at] + self.tie_high[at]
            bend *= dy
            bend += self.vl[at]
            bend -= self.vu[at]
            curve -= float(dy @ bend)
        step = min(1.0, 1.0 / reach) if reach > 0.0 else 1.0
        return step, curve

    def _correct(self, target: float) -> FloatArray:
        """Second-order terms and centring; the row forces of the final move."""
        for chunk in self.chunks:
            at = chunk.part
            dy, near_low, near_high = self.dy[at], self.near_low[at], self.near_high[at]
            lift = dy * near_low
            lift += 1.0
            lift *= dy
            lift *= self.tie_low[at]
            np.multiply(near_low, target, out=self.dvl[at])
            self.dvl[at] += lift
            press = dy * near_high
            press -= 1.0
            press *= dy
            press *= self.tie_high[at]
            np.multiply(near_high, target, out=self.dvu[at])
            self.dvu[at] += press
            force = self.force[at]
            force += self.dvl[at]
            force -= self.dvu[at]
        return self.loops.push()

    def _direct(self, turn: FloatArray) -> tuple[float, float]:
        """The final move; returns the steps of flows and of prices.

        Each goes as far as its own bounds let it. On sloped pieces that breaks the
        balance of force by slope times the difference, which the next move, being
        computed from the forces themselves, takes back; measured, it saves an
        iteration in twenty.
        """
        flows = prices = 0.0
        for chunk in self.chunks:
            at = chunk.part
            dy = self.dy[at]
            self.loops.moves(self.force[at], turn, chunk.row, self.inverse[at], dy)
            vl, vu, dvl, dvu = self.vl[at], self.vu[at], self.dvl[at], self.dvu[at]
            dvl -= vl
            dvl -= self.tie_low[at] * dy
            dvu -= vu
            dvu += self.tie_high[at] * dy
            ratio = dy * self.near_low[at]
            flows = max(flows, -float(ratio.min()))
            np.multiply(dy, self.near_high[at], out=ratio)
            flows = max(flows, float(ratio.max()))
            np.divide(dvl, vl, out=ratio)
            prices = max(prices, -float(ratio.min()))
            np.divide(dvu, vu, out=ratio)
            prices = max(prices, -float(ratio.min()))
        return _step_within(flows), _step_within(prices)

    def _move(self, ahead: float, down: float) -> None:
        for chunk in self.chunks:
            at = chunk.part
            dy = self.dy[at]
            dy *= ahead
            self.y[at] += dy
            self.wl[at] += dy
            self.wu[at] -= dy
            self.dvl[at] *= down
            self.vl[at] += self.dvl[at]
            self.dvu[at] *= down
            self.vu[at] += self.dvu[at]
        # An infinite side stays infinitely far.
        self.wl[self.no_low] = _FAR
        self.wu[self.no_high] = _FAR
        self.vl[self.no_low] = _FAINT
        self.vu[self.no_high] = _FAINT

    def _judge(self, comp: float, residual: FloatArray) -> InteriorEnd | None:
        if not np.isfinite(comp) or not np.isfinite(self.z).all():
            return InteriorEnd.DIVERGED
        form, residual = self.form, np.abs(residual)
        worth = abs(self.welfare) + 1e-4 * self.potential
        least, share, most = _TOLERANCE
        tolerance = float(np.clip(share / max(len(form), 1), least, most))
        if comp <= tolerance * worth and (residual <= 1e-10 * self.capacity).all():
            return InteriorEnd.CONVERGED
        return None

    def _start(self) -> None:
        """Lines, first prices, flows and multipliers."""
        form = self.form
        low_side, high_side = np.isfinite(form.low), np.isfinite(form.high)
        bounded = low_side & high_side
        row_price = form.row_price[form.row]
        rate = form.scales.rate
        width = np.where(bounded, form.width, 1e3 * rate)
        slope = (form.top - form.bottom) / form.width
        # A piece narrower than rounding would give an infinite slope.
        self.slope = np.where(bounded, np.minimum(slope, 1e200), 0.0)
        self.regular = self.slope + _RHO * row_price / width
        share = -form.low / form.width
        flat = form.top == form.bottom
        across = form.top + share * (form.bottom - form.top)
        self.base = np.where(flat, form.top, across)
        low = np.where(low_side, form.low, np.minimum(form.high, 0.0) - rate)
        high = np.where(high_side, form.high, np.maximum(form.low, 0.0) + rate)
        self.y = 0.5 * (low + high)
        self.capacity = self._capacity(form.row_sums(width))
        fitted = np.where(bounded, width, rate)
        weight = fitted / row_price

        def apart(fit: FloatArray) -> float:
            away = np.abs(fit[form.row] - form.middle)
            return float(weight @ away) / float(fitted.sum())

        weights = form.row_sums(weight)
        middles = form.row_sums(weight * form.middle)
        self.z = self._first_prices(weights, middles, form.row_sums(self.y), apart)
        # Bounds so close that their middle is one of them in floating point.
        tiny = np.finfo(np.float64).tiny
        self.wl = np.where(low_side, np.maximum(self.y - form.low, tiny), _FAR)
        self.wu = np.where(high_side, np.maximum(form.high - self.y, tiny), _FAR)
        self.price = form.map.forward(self.z)
        gradient = self.price[form.row] - form.middle
        force = _START_FORCE * row_price
        self.vl = np.where(low_side, np.maximum(gradient, 0.0) + force, _FAINT)
        self.vu = np.where(high_side, np.maximum(-gradient, 0.0) + force, _FAINT)
        self.potential = float((np.abs(gradient) + force) @ width)

    def _start_compiled(self) -> None:
        """The same by compiled loops."""
        form = self.form
        rate = form.scales.rate
        ends = (form.low, form.high, form.top, form.bottom, form.row_price, rate)
        lines, sums = np.empty((4, len(form))), np.empty((4, form.rows))
        fitted = open_pieces(form.row_ptr, *ends, _RHO, lines, sums)
        self.slope, self.regular, self.base, self.y = lines
        self.capacity = self._capacity(sums[0])

        def apart(fit: FloatArray) -> float:
            return measure_fit(form.row_ptr, *ends, fit) / fitted

        self.z = self._first_prices(sums[1], sums[2], sums[3], apart)
        self.price = form.map.forward(self.z)
        start = np.empty((4, len(form)))
        self.potential = begin(
            form.row_ptr, *ends, self.price, _START_FORCE, self.y, start
        )
        self.wl, self.wu, self.vl, self.vu = start

    def _capacity(self, widths: FloatArray) -> FloatArray:
        """What could be traded in each column at the most."""
        table = self.form.map.table
        size = np.abs(table.weight) * np.repeat(widths, np.diff(table.ptr))
        total = np.bincount(table.idx, weights=size, minlength=self.form.columns)
        return np.maximum(total, self.form.scales.rate)

    def _first_prices(
        self,
        weights: FloatArray,
        middles: FloatArray,
        flows: FloatArray,
        apart: Callable[[FloatArray], float],
    ) -> FloatArray:
        """The prices that orders name on average, moved by what they want on balance.

        A fit to the middles of all pieces, then one Newton step towards the balance of
        lines that fall by twice the spread around it. Unlimited orders, which stand far
        out, weigh like typical ones. Both solves share a factor.

        Args:
            weights: Of rows in the fit.
            middles: Of rows, weighted.
            flows: Of rows, half way along all pieces.
            apart: Tells how far pieces are from a fit in the mean.
        """
        form = self.form
        factor = form.assembler.factor(weights, self.delta)
        fit = factor.solve(form.map.adjoint(middles))
        # Not to the last bits, which depend on the order of the sum.
        spread = _rounded(apart(form.map.forward(fit)))
        return fit + 2.0 * spread * factor.solve(form.balance_of_rows(flows))


@final
class _PlainLoops:
    """What goes by rows: sums over live arrays of segments, and rows' values for them.

    The sums are sparse products, which copy nothing.
    """

    def __init__(
        self, form: PriceForm, inverse: FloatArray, force: FloatArray, y: FloatArray
    ) -> None:
        self._form = form
        self._inverse, self._force, self._y = inverse, force, y
        self._ones = np.ones(len(form))
        self._matrices: list[sparse.csr_array] = []
        if len(form) <= _SMALL:
            # A sparse product costs more than the sums themselves.
            return
        column = np.arange(len(form), dtype=np.int32)
        for values in (inverse, y):
            matrix = sparse.csr_array(
                (values, column, form.row_ptr.astype(np.int32)),
                shape=(form.rows, len(form)),
            )
            matrix.data = values
            self._matrices.append(matrix)

    def look(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Sums of 1/theta, of forces over theta, of flows."""
        if not self._matrices:
            form = self._form
            return form.row_sums(self._inverse), self.push(), form.row_sums(self._y)
        weights, flows = (matrix @ self._ones for matrix in self._matrices)
        return np.asarray(weights), self.push(), np.asarray(flows)

    def push(self) -> FloatArray:
        """Sums of forces over theta."""
        if not self._matrices:
            return self._form.row_sums(self._inverse * self._force)
        return np.asarray(self._matrices[0] @ self._force)

    def lower(self, force: FloatArray, price: FloatArray, row: IntArray) -> None:
        """Subtract rows' prices from forces of some segments, in place."""
        force -= price.take(row)

    def moves(
        self,
        force: FloatArray,
        turn: FloatArray,
        row: IntArray,
        inverse: FloatArray,
        out: FloatArray,
    ) -> None:
        """Moves of some segments at a change of their rows' prices."""
        np.subtract(force, turn.take(row), out=out)
        out *= inverse


@final
class _CompiledLoops:
    """The same by compiled loops, to the same bits."""

    def __init__(
        self, form: PriceForm, inverse: FloatArray, force: FloatArray, y: FloatArray
    ) -> None:
        self._ptr, self._rows = form.row_ptr, form.rows
        self._inverse, self._force, self._y = inverse, force, y

    def look(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Sums of 1/theta, of forces over theta, of flows."""
        weights, push, flows = np.empty((3, self._rows))
        add_rows(self._ptr, self._inverse, self._force, self._y, weights, push, flows)
        return weights, push, flows

    def push(self) -> FloatArray:
        """Sums of forces over theta."""
        push = np.empty(self._rows)
        push_rows(self._ptr, self._inverse, self._force, push)
        return push

    def lower(self, force: FloatArray, price: FloatArray, row: IntArray) -> None:
        """Subtract rows' prices from forces of some segments, in place."""
        lower(force, price, row)

    def moves(
        self,
        force: FloatArray,
        turn: FloatArray,
        row: IntArray,
        inverse: FloatArray,
        out: FloatArray,
    ) -> None:
        """Moves of some segments at a change of their rows' prices."""
        moves(force, turn, row, inverse, out)


def _rounded(value: float) -> float:
    """The first 24 bits of a number."""
    if not np.isfinite(value):
        return value
    share, power = frexp(value)
    return ldexp(round(ldexp(share, 24)), power - 24)


def _centring(comp: float, after: float) -> float:
    """Complementarity to aim at, from that now and after the predictor.

    To so few bits that it does not depend on the order in which the sums behind it
    were taken: that one differs between processors.
    """
    if not 0.0 < comp < np.inf or np.isnan(after):
        return 0.0
    ratio = round(ldexp(min(max(after / comp, 0.0), 1.0), 20))
    return _rounded(ldexp(ratio, -20) ** 3 * comp)


def _step_within(reach: float) -> float:
    """The step that stays off a boundary one over `reach` away."""
    return min(1.0, _BACK_OFF / reach) if reach > 0.0 else 1.0


def _chunks(form: PriceForm) -> list[_Chunk]:
    """Cut the segments into runs of `_CHUNK`."""
    ends = range(0, len(form), _CHUNK)
    parts = [slice(start, min(start + _CHUNK, len(form))) for start in ends]
    return [_Chunk(part, form.row[part]) for part in parts]
