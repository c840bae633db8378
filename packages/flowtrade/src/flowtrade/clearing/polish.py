"""The polish: from an interior point to machine precision.

At prices close to optimal only few segments can still change their status. The rest
is replaced by its exact constant or linear response, summed by row (the *window*).
On what is left a proximal semismooth Newton method maximises the dual: flat pieces
get a tiny slope around a centre that follows them, so that their flows are a function
of the price; each round of centres brings the true problem closer superlinearly.

Everything is written in the change of prices since the interior point. Otherwise the
rounding of large prices, divided by the tiny slope of a flat piece, would limit the
balance of products to 1e-10; so it reaches 1e-16.

In the end all segments are evaluated. If a row moved outside its window, the window
is enlarged and the work done again; the last window holds everything.
"""

from dataclasses import dataclass
from enum import IntEnum
from time import monotonic
from typing import final

import numpy as np
from numpy.typing import NDArray

from flowtrade.clearing._speedups import decide
from flowtrade.clearing.arrays import FloatArray, IntArray, group_sum
from flowtrade.clearing.assembly import Factor, SingularMatrix
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.speedups import COMPILED

__all__ = ["Polished", "polish"]

_WINDOWS = (3e-6, 1e-4, np.inf)
"""Half widths tried, against the row's price scale (measured: rarely two)."""

_FLAT = 1e-6
"""Price drop that a flat piece gets over its width, against the price scale."""

_ROUNDS = 12
_STEPS = 60
_LINE = 25
_QUIET = 1e-12
"""Imbalance against gross volume at which a round ends; the last correction takes
what remains."""

_CLOSE = 1e-8
"""Imbalance below which steps are not searched but taken, and soon given up."""

_SETTLED = 1e-8
"""Move of a flat piece's flow against its width at which its centre stays. Its price
is then off by this share of the slope it was given: 1e-14 of the price scale."""

_ABOUT = 1e-3
"""Such a move at the most, however little slope the pieces have by then."""

_HARDEN = 0.1
_HARDEST = 1e-4
"""Slope is taken from soft pieces by this factor after every round that balanced, down
to 1e-10 of the price scale."""

_ROUNDING = 5e-16
"""Imbalance against gross volume that no correction betters."""

_NEAR = 1e-11
"""Distance from a flat piece's price, against the price scale, that is rounding."""

_KINK = 1e-11
"""Distance from a kink's price, likewise: beside a kink two slopes take turns, and the
last digits with them. What such a move costs is its square: nothing that could show."""

_END = 1e-14
"""Distance of a flow from the end of its piece, against the width, likewise."""

_SHARPER = 3
"""Steps at the most that take rounding out of prices."""

_MANY = 300
"""Prices from which on a factor is dear."""

_FEWEST = 3
"""Factors without the time for which a window is not opened."""

_IDLE = 12
"""Steps in a row without halving the imbalance after which a round gives up."""


@dataclass(frozen=True, slots=True, eq=False)
class Polished:
    """A polished point.

    Attributes:
        z: Prices.
        y: Flows; exactly at a bound where they belong there.
        steps: Newton steps used.
        window: Half width of the window that held.
    """

    z: FloatArray
    y: FloatArray
    steps: int
    window: float


def polish(
    form: PriceForm,
    z: FloatArray,
    y: FloatArray,
    *,
    deadline: float = np.inf,
    windows: tuple[float, ...] = _WINDOWS,
    flat: float = _FLAT,
    compiled: bool = COMPILED,
) -> Polished:
    """Improve a near-optimal point to machine precision.

    Args:
        form: The market.
        z: Prices near the optimum.
        y: Flows near it; only those of flat pieces matter.
        deadline: Value of `time.monotonic` at which to stop improving.
        windows: Half widths to try in turn, against the price scale.
        flat: Price drop given to flat pieces over their width, likewise.
        compiled: Whether compiled loops take part; they find the same bits.

    Returns:
        The best point found; judge it by a certificate.
    """
    if not len(form):
        return Polished(z, y, 0, 0.0)
    y = np.clip(y, form.low, form.high)
    steps = 0
    found = [Polished(z, y, 0, 0.0)]
    for window in windows:
        if not form.assembler.fits(_FEWEST, deadline=deadline):
            break
        newton = _Newton(form, z, y, window=window, flat=flat, compiled=compiled)
        newton.run(deadline)
        steps += newton.steps
        if newton.is_sane():
            found.append(newton.finish(steps))
        if newton.is_good():
            return found[-1]
        if monotonic() > deadline:
            break
    # A window's problem may have no solution of its own: then the point it came
    # from may be the better one.
    return min(found, key=lambda point: form.merit(point.z, point.y))


class _Status(IntEnum):
    """What a window says of a segment."""

    OPEN = 0
    LOW = 1
    HIGH = 2
    INSIDE = 3


@final
class _Newton:
    """One window's problem, in prices relative to where it was opened."""

    def __init__(
        self,
        form: PriceForm,
        z: FloatArray,
        y: FloatArray,
        *,
        window: float,
        flat: float,
        compiled: bool,
    ) -> None:
        self.form = form
        self.z = z
        self.dz = np.zeros(form.columns)
        self.steps = 0
        self.still = False
        self.last: tuple[FloatArray, Factor] | None = None
        self.window = window
        self.flat = flat
        self.reach = window * form.row_price
        price = form.map.forward(z)
        sort = self._decide_compiled if compiled else self._decide
        self.status, self.fixed, (self.base, self.base_slope, volume) = sort(price, y)
        floor = 1e-6 * form.scales.rate
        self.gross = np.maximum(form.gross_of_rows(volume), floor)
        self.inside = np.flatnonzero(self.status == _Status.INSIDE)
        self.open = at = np.flatnonzero(self.status == _Status.OPEN)
        self.row = form.row[at]
        self.low, self.high = form.low[at], form.high[at]
        self.o_width, self.o_drop, self.o_soft = self._shape(at)
        self.o_gain = self.o_width / (self.o_drop + self.o_soft)
        # Price still to fall until the piece starts.
        self.o_above = form.top[at] - price[self.row]
        width, drop, soft = self._shape(self.inside)
        self.i_gain = width / (drop + soft)
        self.i_above = form.top[self.inside] - price[form.row[self.inside]]
        self._recentre(y[at])

    def _shape(self, at: IntArray | slice) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Widths of some segments, their fall in price, and what is given to it."""
        form = self.form
        finite = np.isfinite(form.width[at])
        width = np.where(finite, form.width[at], 1e3 * form.scales.rate)
        with np.errstate(over="ignore", invalid="ignore"):
            drop = np.where(finite, form.top[at] - form.bottom[at], 0.0)
        # A proximal slope only where the piece itself is flatter than that.
        least = self.flat * form.row_price[form.row[at]]
        return width, drop, np.where(drop < least, least, 0.0)

    def _decide(
        self, price: FloatArray, y: FloatArray
    ) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
        """Sort segments into decided ones and those the window may change.

        Args:
            price: Of rows.
            y: Flows.

        Returns:
            The `_Status` of each segment; the flows of decided ones; sums by row of
            these, of the slopes of those inside, and of the sizes of all flows.
        """
        form = self.form
        width, drop, soft = self._shape(slice(None))
        reach = self.reach[form.row]
        margin = reach + soft
        above, below = form.top - price[form.row], form.bottom - price[form.row]
        at_low = (above <= -margin) & np.isfinite(form.low)
        at_high = (below >= margin) & np.isfinite(form.high)
        inside = np.flatnonzero((soft == 0.0) & (above >= reach) & (below <= -reach))
        status = np.where(at_low, _Status.LOW, np.where(at_high, _Status.HIGH, 0))
        status = status.astype(np.uint8)
        status[inside] = _Status.INSIDE
        fixed = np.where(at_low, form.low, np.where(at_high, form.high, 0.0))
        slope = np.zeros(len(form))
        slope[inside] = width[inside] / (drop[inside] + soft[inside])
        fixed[inside] = form.low[inside] + above[inside] * slope[inside]
        sums = [form.row_sums(values) for values in (fixed, slope, np.abs(y))]
        return status, fixed, np.array(sums)

    def _decide_compiled(
        self, price: FloatArray, y: FloatArray
    ) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
        """The same by compiled loops."""
        form, count = self.form, len(self.form)
        status, fixed = np.empty(count, np.uint8), np.empty(count)
        sums = np.empty((3, form.rows))
        decide(
            form.row_ptr,
            form.low,
            form.high,
            form.top,
            form.bottom,
            form.row_price,
            price,
            y,
            self.flat,
            self.window,
            status,
            fixed,
            sums,
        )
        return status, fixed, sums

    def _recentre(self, centre: FloatArray) -> None:
        """Tilt the soft pieces around the given flows.

        A soft piece answers y = centre + (P(centre) - mu) / (h + reg), which is its
        sloped answer shifted by the proximal term.
        """
        self.o_centre = centre
        soft = self.o_soft > 0.0
        low = np.where(np.isfinite(self.low), self.low, 0.0)
        # A sloped piece is told from its flow at the first prices: from its low end,
        # the rounding of a long way would come back at every step.
        first = low + self.o_above * self.o_gain
        share = self.o_drop * np.where(soft, centre - low, 0.0) / self.o_width
        self.o_from = np.where(soft, centre, first)
        self.o_force = np.where(soft, self.o_above - share, 0.0)

    def run(self, deadline: float) -> None:
        """Newton's method, then again around better centres, until all is still."""
        failures = 0
        softness = 1.0
        for _ in range(_ROUNDS):
            settled = self._round(deadline)
            failures = 0 if settled else failures + 1
            if failures > 1:
                return
            y = self._open_flows(self.form.map.forward(self.dz))
            soft = self.o_soft > 0.0
            if not soft.any():
                self.still = settled
                return
            if monotonic() > deadline:
                return
            moves = np.abs(y - self.o_centre)[soft] / self.o_width[soft]
            shift = float(moves.max(initial=0.0))
            if settled and shift * softness <= _SETTLED and shift <= _ABOUT:
                self.still = True
                return
            if settled and softness > _HARDEST:
                # The less slope, the fewer rounds; and beside sloped pieces that are
                # flatter still, centres would only creep.
                softness *= _HARDEN
                self._harden()
            self._recentre(np.where(soft, y, self.o_centre))

    def _harden(self) -> None:
        """Give the soft pieces less slope of their own."""
        soft = self.o_soft > 0.0
        self.o_soft = self.o_soft * _HARDEN
        gain = self.o_width / (self.o_drop + self.o_soft)
        self.o_gain = np.where(soft, gain, self.o_gain)

    def _round(self, deadline: float) -> bool:
        """Newton's method for one choice of centres; True when balanced."""
        form = self.form
        turn = form.map.forward(self.dz)
        flow, slope = self._answer(turn)
        force = form.balance_of_rows(flow)
        size = self._size(force)
        idle = 0
        for _ in range(_STEPS):
            if size <= _QUIET or not np.isfinite(size):
                return size <= _QUIET
            if idle > (_IDLE if size > _CLOSE else 1):
                return size <= _CLOSE
            reuse = size <= _CLOSE and idle == 0
            factor = self._factor(slope, force, reuse=reuse)
            if factor is None or monotonic() > deadline:
                return False
            move = factor.solve(force)
            along = form.map.forward(move)
            self.steps += 1
            step = 1.0
            flow, slope = self._answer(turn + along)
            ahead = form.balance_of_rows(flow)
            # Close by, the derivative that a search follows is rounding.
            if self._size(ahead) > (0.9 * size if size > _CLOSE else size):
                start = float(force @ move)
                outside = 0.0 if form.offset is None else float(form.offset @ move)
                step, flow, slope = self._search(
                    turn, along, start, outside, (flow, slope)
                )
                ahead = form.balance_of_rows(flow)
            self.dz = self.dz + step * move
            turn = turn + step * along
            force, before, size = ahead, size, self._size(ahead)
            idle = idle + 1 if size > 0.5 * before else 0
        return False

    def _size(self, force: FloatArray) -> float:
        return float(np.abs(force / self.gross).max(initial=0.0))

    def _search(
        self,
        turn: FloatArray,
        along: FloatArray,
        start: float,
        outside: float,
        full: tuple[FloatArray, FloatArray],
    ) -> tuple[float, FloatArray, FloatArray]:
        """Safeguarded secant for the zero of the falling directional derivative."""
        low, high, step = 0.0, np.inf, 1.0
        at_low, at_high = start, -np.inf
        flow, slope = full
        for _ in range(_LINE):
            value = float(flow @ along) + outside
            if abs(value) <= 0.1 * abs(start):
                break
            if value > 0.0:
                low, at_low = step, value
            else:
                high, at_high = step, value
            if np.isinf(high):
                step *= 4.0
                if step > 1e6:
                    break
            else:
                guess = low + (high - low) * at_low / (at_low - at_high)
                span = high - low
                step = float(np.clip(guess, low + 0.1 * span, high - 0.1 * span))
                if span <= 1e-12 * high:
                    break
            flow, slope = self._answer(turn + step * along)
        return step, flow, slope

    def _answer(self, turn: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Row flows and their slopes at a change of row prices."""
        flow = self.base - self.base_slope * turn
        slope = self.base_slope
        if len(self.row):
            raw = self._raw(turn)
            y = np.clip(raw, self.low, self.high)
            between = (raw > self.low) & (raw < self.high)
            count = self.form.rows
            flow = flow + np.bincount(self.row, weights=y, minlength=count)
            slope = slope + np.bincount(
                self.row, weights=np.where(between, self.o_gain, 0.0), minlength=count
            )
        return flow, slope

    def _raw(self, turn: FloatArray) -> FloatArray:
        raw: FloatArray = self.o_from + (self.o_force - turn[self.row]) * self.o_gain
        return raw

    def _open_flows(self, turn: FloatArray) -> FloatArray:
        return np.clip(self._raw(turn), self.low, self.high)

    def _factor(
        self, slope: FloatArray, force: FloatArray, *, reuse: bool
    ) -> Factor | None:
        """A factor of the Newton matrix; close by, that of like slopes will do."""
        form = self.form
        if reuse and self.last is not None and np.array_equal(self.last[0], slope):
            return self.last[1]
        # Levenberg's term keeps a step within a fifth of the price scale.
        bound = np.abs(force) / (0.2 * form.column_price)
        floor = 1e-10 * form.column_supply
        try:
            factor = form.assembler.factor(slope, np.maximum(bound, floor))
        except SingularMatrix:
            return None
        self.last = (slope, factor)
        return factor

    def flows(self) -> FloatArray:
        """Flows of all segments at the present prices."""
        form = self.form
        turn = form.map.forward(self.dz)
        y = self.fixed.copy()
        fall = self.i_above - turn[form.row[self.inside]]
        y[self.inside] = form.low[self.inside] + fall * self.i_gain
        y[self.open] = self._open_flows(turn)
        return y

    def is_good(self) -> bool:
        """Whether all is still and no row moved out of its window."""
        if not (self.still and self.is_sane()):
            return False
        turn = np.abs(self.form.map.forward(self.dz))
        return bool((turn <= self.reach).all())

    def is_sane(self) -> bool:
        """Whether the prices are numbers."""
        return bool(np.isfinite(self.dz).all())

    def finish(self, steps: int) -> Polished:
        """Take the last rounding out of the balance and of the prices."""
        form = self.form
        self._sharpen()
        y = self.flows()
        turn = form.map.forward(self.dz)
        raw = self._raw(turn)
        rest = form.balance(y)
        if self._size(rest) > _ROUNDING:
            y = self._balanced(y, rest, turn, raw)
        return Polished(self._snapped(raw), self._at_ends(y), steps, self.window)

    def _sharpen(self) -> None:
        """More steps while they balance better.

        A round ends at an imbalance that the flows' last correction would take out;
        the prices' share of it shows in their twelfth digit. Many prices make do with
        the last factor there is.
        """
        form = self.form
        flow, slope = self._answer(form.map.forward(self.dz))
        force = form.balance_of_rows(flow)
        if not _ROUNDING < self._size(force) <= _CLOSE:
            return
        factor = self.last[1] if self.last and form.columns > _MANY else None
        factor = factor or self._factor(slope, 0.0 * force, reuse=True)
        if factor is None:
            return
        for _ in range(_SHARPER):
            size = self._size(force)
            dz = self.dz + factor.solve(force)
            force = form.balance_of_rows(self._answer(form.map.forward(dz))[0])
            if not self._size(force) < size:
                return
            self.dz = dz

    def _at_ends(self, y: FloatArray) -> FloatArray:
        """Flows that are an end but for rounding at it, if balance does not mind."""
        form = self.form
        at = self.open
        close = _END * self.o_width
        flow = y[at]
        low, high = flow - self.low <= close, self.high - flow <= close
        better = y.copy()
        better[at] = np.where(low, self.low, np.where(high, self.high, flow))
        before, after = self._size(form.balance(y)), self._size(form.balance(better))
        return better if after <= max(before, _ROUNDING) else y

    def _balanced(
        self, y: FloatArray, rest: FloatArray, turn: FloatArray, raw: FloatArray
    ) -> FloatArray:
        """Flows moved along their slopes until they balance, if that helps."""
        form = self.form
        factor = self._factor(self._answer(turn)[1], 0.0 * rest, reuse=True)
        if factor is None:
            return y
        between = (raw > self.low) & (raw < self.high)
        slope = np.zeros(len(form))
        slope[self.inside] = self.i_gain
        slope[self.open] = np.where(between, self.o_gain, 0.0)
        fix = form.map.forward(factor.solve(rest))
        better = np.clip(y - slope * fix[form.row], form.low, form.high)
        improves = np.abs(form.balance(better)).sum() < np.abs(rest).sum()
        return better if improves else y

    def _snapped(self, raw: FloatArray) -> FloatArray:
        """Prices, exactly where flat pieces hold them or curves have a kink.

        The proximal term leaves a held price off by some units in the last place,
        which over the width of a deep book is money; a price that was solved for is
        off by the rounding of the solution. A row with one column that is not held
        yet gives that column's price; rows that hold several are left.
        """
        form = self.form
        z = self.z + self.dz
        flat = (self.o_drop == 0.0) & (raw > self.low) & (raw < self.high)
        rows, first = np.unique(self.row[flat], return_index=True)
        level = form.top[self.open[flat]][first]
        near = np.abs(level - form.map.forward(z)[rows]) <= _NEAR * form.row_price[rows]
        kinks, kink_level = self._kinks(z)
        also = ~np.isin(kinks, rows[near])
        rows = np.concatenate([rows[near], kinks[also]])
        self._hold(z, rows, np.concatenate([level[near], kink_level[also]]))
        return z

    def _kinks(self, z: FloatArray) -> tuple[IntArray, FloatArray]:
        """Rows at the price of a kink but for rounding, and the kinks' prices."""
        form = self.form
        price = form.map.forward(z)[self.row]
        reach = _KINK * form.row_price[self.row]
        top, bottom = form.top[self.open], form.bottom[self.open]
        at_top = np.abs(top - price) <= reach
        kink = at_top | (np.abs(bottom - price) <= reach)
        rows, first = np.unique(self.row[kink], return_index=True)
        return rows, np.where(at_top, top, bottom)[kink][first]

    def _hold(self, z: FloatArray, rows: IntArray, level: FloatArray) -> None:
        """Set columns so that rows have their levels, one column a row."""
        table = self.form.map.table
        held = np.zeros(self.form.columns, np.bool_)
        while len(rows):
            part = table.take(rows)
            owner = part.rows()
            is_free = ~held[part.idx]
            free = np.bincount(owner[is_free], minlength=len(rows))
            lone = is_free & (free[owner] == 1)
            if not lone.any():
                break
            column, at = np.unique(part.idx[lone], return_index=True)
            entry = np.flatnonzero(lone)[at]
            rest = part.weight * z[part.idx]
            rest[entry] = 0.0
            rest = group_sum(owner, rest, len(rows))[owner[entry]]
            z[column] = (level[owner[entry]] - rest) / part.weight[entry]
            held[column] = True
            rows, level = rows[free > 1], level[free > 1]
