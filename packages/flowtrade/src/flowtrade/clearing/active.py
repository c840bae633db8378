"""The active set of tiny auctions, found in floats and solved in rationals.

A handful of prices and some dozen pieces need no arrays: every call of a library
costs more than its arithmetic. So plain loops run a proximal semismooth Newton method
on the dual, a piecewise quadratic of the prices, until it shows which pieces stand at
an end, which slope through the price and which flat ones hold it. The equations of
that set are then solved without any rounding and its conditions checked likewise; a
piece found on the wrong side changes sides and the equations are solved again. What
is returned is therefore the optimum itself, rounded once: 11, not 11.000000000004642.

It may give up, never err: without an exact proof there is no answer, and the interior
point is asked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from time import monotonic
from typing import TypeAlias, final

import numpy as np

from flowtrade.clearing.activeset import ExactAuction, ExactPoint, Side
from flowtrade.clearing.arrays import FloatArray
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.tiny import TinyForm, solve_positive

__all__ = ["ActivePoint", "TinyPoint", "first_prices", "solve_active", "solve_tiny"]

_SOFT = (1e-3, 1e-6, 1e-9, 1e-12)
"""Price drop lent to flat pieces, against the price scale, round by round."""

_STEPS = 40
"""Newton steps a round; typical are three to six in the first and one later."""

_STILL = 3
"""Steps without a change of the set that end a round: the exact equations have been
tried at the first of them. Where those contradict each other nothing slopes in some
direction of the prices, and they go on until something does."""

_REPAIRS = 12
"""Sets tried in exact arithmetic after one that floats found."""

_FAR = 1e3
"""Width of an unlimited piece while it is soft, in typical ones."""


_LOW, _HIGH, _INSIDE = Side.LOW, Side.HIGH, Side.INSIDE
"""Names of their own: looking an enumeration up costs as much as the sum beside it."""

_Line: TypeAlias = tuple[int, float, float, float, float, float]
"""A piece as Newton's method sees it: row, flow, price there, slope, low, high."""


@dataclass(frozen=True, slots=True, eq=False)
class ActivePoint:
    """An optimum, rounded once.

    Attributes:
        z: Prices.
        y: Flows.
        steps: Newton steps and sets tried.
    """

    z: FloatArray
    y: FloatArray
    steps: int


@dataclass(frozen=True, slots=True, eq=False)
class TinyPoint:
    """The same in lists, and `exact`, before it was rounded."""

    z: list[float]
    y: list[float]
    steps: int
    exact: ExactPoint


def solve_active(form: PriceForm, *, deadline: float = np.inf) -> ActivePoint | None:
    """Solve a tiny auction exactly.

    Args:
        form: The auction; `is_tiny` says whether it is worth trying.
        deadline: Value of `time.monotonic` at which to give up.

    Returns:
        Its optimum, proven in rational arithmetic, or None if it was not found.
    """
    point = solve_tiny(TinyForm.of(form), deadline=deadline)
    if point is None:
        return None
    return ActivePoint(np.array(point.z), np.array(point.y), point.steps)


def solve_tiny(form: TinyForm, *, deadline: float = inf) -> TinyPoint | None:
    """Solve a tiny auction in lists exactly, as `solve_active` does."""
    try:
        return _Search(form).run(deadline)
    except (ArithmeticError, ValueError):
        # Numbers beyond what floats hold: left to those who scale.
        return None


def first_prices(form: TinyForm) -> list[float]:
    """Prices at which straight lines through all pieces' middles would balance.

    Raises:
        ArithmeticError: They are beyond what floats hold.
        ValueError: Likewise.
    """
    search = _Search(form)
    return search.first_prices([search.middle(s) for s in range(search.count)])


@final
class _Search:
    """One auction as lists."""

    def __init__(self, form: TinyForm) -> None:
        self.form = form
        self.columns = form.columns
        self.row, self.rows = form.row, form.rows
        self.low, self.high = form.low, form.high
        self.top, self.bottom = form.top, form.bottom
        self.offset = form.offset
        self.scale, self.level, self.rate = form.scale, form.level, form.rate
        self.count = len(self.row)
        far = _FAR * self.rate
        self.width = [
            high - low if isfinite(high - low) else far
            for low, high in zip(self.low, self.high, strict=True)
        ]
        self.drop = [
            top - bottom for top, bottom in zip(self.top, self.bottom, strict=True)
        ]
        self.steps = 0
        self.contradicts = False
        self.floor = self._floor()
        self.exact = ExactAuction(
            self.rows,
            self.row,
            (self.low, self.high),
            (self.top, self.bottom),
            self.offset,
        )

    def run(self, deadline: float) -> TinyPoint | None:
        """Rounds of ever harder flat pieces until one shows the set."""
        y = [self.middle(s) for s in range(self.count)]
        z = self.first_prices(y) if self.columns > 1 else [self._crossing()]
        tried: set[tuple[Side, ...]] = set()
        for soft in _SOFT:
            if monotonic() > deadline:
                break
            lines = self._soften(y, soft)
            for found, sides in self._newton(z, lines):
                z, y = found, self._flows(found, lines)
                point = self._finish(z, y, sides, tried)
                if point is not None:
                    return point
        return None

    def middle(self, s: int) -> float:
        low, high = self.low[s], self.high[s]
        return 0.5 * (low + high) if isfinite(low) and isfinite(high) else 0.0

    def _floor(self) -> list[float]:
        """Slope that keeps every column's equation solvable."""
        out = [1e-3 * self.rate / level for level in self.level]
        for s, r in enumerate(self.row):
            slope = self.width[s] / self.scale[r]
            for column, weight in self.rows[r]:
                out[column] += weight * weight * slope
        return [1e-10 * value for value in out]

    def first_prices(self, y: list[float]) -> list[float]:
        """Prices at which straight lines through all middles would balance."""
        slope = [0.0] * len(self.rows)
        flow = [0.0] * len(self.rows)
        for s, r in enumerate(self.row):
            steep = self.width[s] / self.scale[r]
            slope[r] += steep
            flow[r] += y[s] + steep * 0.5 * (self.top[s] + self.bottom[s])
        return solve_positive(self._matrix(slope, self.floor), self._balance(flow))

    def _crossing(self) -> float:
        """The price of the only column, but for the place on its line.

        Lots and prices may be worlds apart here, and all kinks are known: half a dozen
        looks at demand and supply tell between which two they meet.
        """
        lines = self._soften([self.middle(s) for s in range(self.count)], 1e-15)
        kinks: set[float] = set()
        for s, r in enumerate(self.row):
            for _, weight in self.rows[r]:  # none where portfolios cancel out
                kinks |= {self.top[s] / weight, self.bottom[s] / weight}
        ends = sorted(kinks) or [0.0]
        low, high = 0, len(ends)
        while low < high:
            middle = (low + high) // 2
            flow, _, _ = _respond(self.form.forward([ends[middle]]), lines)
            if self._balance(flow)[0] > 0.0:
                low = middle + 1
            else:
                high = middle
        return 0.5 * (ends[max(low - 1, 0)] + ends[min(low, len(ends) - 1)])

    def _soften(self, y: list[float], soft: float) -> list[_Line]:
        """Each piece as a line: row, flow, its price there, slope and ends.

        A piece flatter than the softness is tilted around its present flow.
        """
        out = []
        for s, r in enumerate(self.row):
            low, high, drop, width = (
                self.low[s],
                self.high[s],
                self.drop[s],
                self.width[s],
            )
            lent = soft * self.scale[r]
            if drop >= lent:
                out.append((r, low, self.top[s], width / drop, low, high))
                continue
            centre = y[s]
            price = self.top[s]
            if drop:
                price -= drop * ((centre - low) / width)
            out.append((r, centre, price, width / (drop + lent), low, high))
        return out

    def _newton(
        self, z: list[float], lines: list[_Line]
    ) -> Iterator[tuple[list[float], list[Side]]]:
        """Newton's method on the softened dual: sets that stood still, and the last."""
        price = self.form.forward(z)
        flow, slope, sides = _respond(price, lines)
        force = self._balance(flow)
        if self.columns == 1:
            yield z, sides
        still = 0
        for _ in range(_STEPS):
            # A set that stands still and is not the one has far to go.
            ease = 5.0 * 0.25**still
            shift = [
                max(ease * abs(f) / level, floor)
                for f, level, floor in zip(force, self.level, self.floor, strict=True)
            ]
            move = solve_positive(self._matrix(slope, shift), force)
            along = self.form.forward(move)
            self.steps += 1
            outside = sum(a * b for a, b in zip(self.offset, move, strict=True))
            step = _best_step(price, along, lines, outside)
            if step == 0.0:
                break
            z = [a + step * b for a, b in zip(z, move, strict=True)]
            price = [a + step * b for a, b in zip(price, along, strict=True)]
            before = sides
            flow, slope, sides = _respond(price, lines)
            force = self._balance(flow)
            still = still + 1 if sides == before else 0
            if still:
                yield z, sides
            if still >= _STILL and not self.contradicts:
                return
        yield z, sides

    def _flows(self, z: list[float], lines: list[_Line]) -> list[float]:
        """Flow of each piece at prices."""
        price = self.form.forward(z)
        return [
            min(max(centre + (level - price[r]) * gain, low), high)
            for r, centre, level, gain, low, high in lines
        ]

    def _finish(
        self,
        z: list[float],
        y: list[float],
        sides: list[Side],
        tried: set[tuple[Side, ...]],
    ) -> TinyPoint | None:
        """Solve the set exactly; where a condition fails, change the set."""
        for _ in range(_REPAIRS):
            key = tuple(sides)
            if key in tried:
                return None
            tried.add(key)
            self.steps += 1
            point = self.exact.solved(sides, z, y)
            self.contradicts = point is None
            if point is None:
                return None
            sides, good = point.judged()
            if good:
                return TinyPoint(point.prices(), point.flows(), self.steps, point)
        return None

    def _balance(self, flow: list[float]) -> list[float]:
        out = list(self.offset)
        for value, row in zip(flow, self.rows, strict=True):
            if value:
                for column, weight in row:
                    out[column] += weight * value
        return out

    def _matrix(self, slope: list[float], shift: list[float]) -> list[list[float]]:
        """T' diag(slope) T + diag(shift)."""
        out = [[0.0] * self.columns for _ in shift]
        for value, row in zip(slope, self.rows, strict=True):
            if value:
                for column, weight in row:
                    line, share = out[column], weight * value
                    for other, its in row:
                        line[other] += share * its
        for column, value in enumerate(shift):
            out[column][column] += value
        return out


def _respond(
    price: list[float],
    lines: Sequence[_Line],
) -> tuple[list[float], list[float], list[Side]]:
    """Flow of each row at row prices, its slope, and where each piece stands."""
    flow = [0.0] * len(price)
    slope = [0.0] * len(price)
    sides = []
    for r, centre, level, gain, low, high in lines:
        y = centre + (level - price[r]) * gain
        if y <= low:
            y = low
            sides.append(_LOW)
        elif y >= high:
            y = high
            sides.append(_HIGH)
        else:
            slope[r] += gain
            sides.append(_INSIDE)
        flow[r] += y
    return flow, slope, sides


def _best_step(
    price: list[float], along: list[float], lines: Sequence[_Line], outside: float
) -> float:
    """How far to go: where the dual's derivative along the move falls to zero.

    It falls piece by piece in straight lines, so one walk over its kinks finds the
    place; looking for it with ten guesses takes longer.
    """
    value, fall = outside, 0.0
    kinks: list[tuple[float, float]] = []
    for r, centre, level, gain, low, high in lines:
        a = along[r]
        if a == 0.0:
            continue
        y = centre + (level - price[r]) * gain
        loss = gain * a
        first, last = (high, low) if loss > 0.0 else (low, high)
        # From `first` through the slope to `last` as the step grows.
        enters, leaves = (y - first) / loss, (y - last) / loss
        if leaves <= 0.0:
            value += last * a
        elif enters > 0.0:
            value += first * a
            kinks.append((enters, loss * a))
            kinks.append((leaves, -loss * a))
        else:
            value += y * a
            fall += loss * a
            kinks.append((leaves, -loss * a))
    if value <= 0.0:
        return 0.0
    kinks.sort()
    at = 0.0
    for place, more in kinks:
        if fall > 0.0 and value <= fall * (place - at):
            break
        if place == inf:
            return at
        value -= fall * (place - at)
        at = place
        fall += more
        if value <= 0.0:
            return at
    return at + value / fall if fall > 0.0 else at
