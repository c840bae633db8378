"""Tiny auctions whose numbers are worlds apart, without any rounding on the way.

Where lots differ by a factor of 10^18, floats cannot tell which pieces hold a price:
the small ones vanish in the rounding of the large. This is an active set method on the
dual in rational arithmetic from its first step to its last. It walks from kink to kink
towards the point that the present set of pieces wants, or, where nothing slopes, along
the direction that the imbalance pulls in; a flat piece it meets holds the price from
then on, until its flow leaves its range. It is slow, some milliseconds a kink, so it is
asked after everybody whose answers only floats spoil.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import inf, isfinite
from time import monotonic
from typing import TypeAlias, final

from flowtrade.clearing.active import TinyPoint, first_prices
from flowtrade.clearing.activeset import ExactAuction, Side
from flowtrade.clearing.tiny import TinyForm

__all__ = ["walk_exactly"]

_KINKS = 400
"""Kinks after which a walk is given up: typical are fewer than there are pieces."""

_ZERO = Fraction(0)

_Vector: TypeAlias = list[Fraction]


def walk_exactly(form: TinyForm, *, deadline: float = inf) -> TinyPoint | None:
    """Solve a tiny auction in rational arithmetic.

    Args:
        form: The auction.
        deadline: Value of `time.monotonic` at which to give up.

    Returns:
        Its optimum, rounded once, or None if it was not reached.
    """
    try:
        return _Walk(form, first_prices(form)).run(deadline)
    except (ArithmeticError, ValueError):
        # The start is in floats, and an answer must fit them.
        return None


@final
class _Walk:
    """One walk: prices, where pieces stand, and which flat ones hold them."""

    def __init__(self, form: TinyForm, z: Sequence[float]) -> None:
        self.form = form
        self.rows = [[(k, Fraction(w)) for k, w in row] for row in form.rows]
        self.low = [_fraction(v) for v in form.low]
        self.high = [_fraction(v) for v in form.high]
        self.top = [Fraction(v) for v in form.top]
        self.bottom = [Fraction(v) for v in form.bottom]
        self.z: _Vector = [Fraction(v) for v in z]
        self.holding: list[int] = []
        self.sides: list[Side] = []
        price = self._prices(self.z)
        for s, r in enumerate(form.row):
            side = Side.INSIDE
            if price[r] >= self.top[s]:
                side = Side.LOW
            elif price[r] <= self.bottom[s]:
                side = Side.HIGH
            self.sides.append(side)
            if not isfinite((form.low[s], form.high[s], 0.0)[side]):
                # Beyond an unlimited piece's price: it holds it instead, if it may.
                self._hold(s)

    def _hold(self, s: int) -> None:
        self.sides[s] = Side.INSIDE
        self.holding.append(s)

    def run(self, deadline: float) -> TinyPoint | None:
        for step in range(_KINKS):
            if monotonic() > deadline:
                return None
            target, flows, ray = self._wanted()
            goal = ray or [a - b for a, b in zip(target, self.z, strict=True)]
            length, met = self._first_kink(goal, None if ray else Fraction(1))
            if met is not None:
                self._move(goal, length)
                self._pass(met, goal)
                continue
            if ray:
                return None
            self._move(goal, length)
            released = self._released(flows)
            if released is None:
                return self._answer(flows, step + 1)
            s, side = released
            self.holding.remove(s)
            self.sides[s] = side
        return None

    def _prices(self, z: _Vector) -> _Vector:
        return [sum((w * z[k] for k, w in row), _ZERO) for row in self.rows]

    def _move(self, along: _Vector, length: Fraction) -> None:
        self.z = [a + length * b for a, b in zip(self.z, along, strict=True)]

    def _wanted(self) -> tuple[_Vector, _Vector, _Vector | None]:
        """The point of the present set and its held flows, or a way up without end."""
        columns = self.form.columns
        count = columns + len(self.holding)
        balance = [[_ZERO] * count + [-Fraction(v)] for v in self.form.offset]
        for s, r in enumerate(self.form.row):
            self._add(s, self.rows[r], balance)
        equations = []
        for place, s in enumerate(self.holding):
            line = [_ZERO] * count + [self.top[s]]
            for k, weight in self.rows[self.form.row[s]]:
                line[k] = weight
                balance[k][columns + place] = weight
            equations.append(line)
        near = [*self.z, *([_ZERO] * len(self.holding))]
        point, proof = _solved([*balance, *equations], near)
        if proof is None:
            return point[:columns], point[columns:], None
        ray = proof[:columns]
        pull = sum((n * line[-1] for n, line in zip(ray, balance, strict=True)), _ZERO)
        # A balance reads "slopes = what is missing": upwards is against it.
        return [], [], [-n for n in ray] if pull > 0 else ray

    def _add(
        self, s: int, row: list[tuple[int, Fraction]], balance: list[_Vector]
    ) -> None:
        """What a piece's flow means for the balances of its columns."""
        side, low, high = self.sides[s], self.low[s], self.high[s]
        top, bottom = self.top[s], self.bottom[s]
        if side is Side.INSIDE:
            if top == bottom:
                return  # a held flow is an unknown
            gain = (high - low) / (top - bottom)
            for k, weight in row:
                for other, its in row:
                    balance[k][other] -= weight * gain * its
                balance[k][-1] -= weight * (low + gain * top)
            return
        flow = low if side is Side.LOW else high
        for k, weight in row:
            balance[k][-1] -= weight * flow

    def _first_kink(
        self, along: _Vector, limit: Fraction | None
    ) -> tuple[Fraction, int | None]:
        """How far until a piece changes, and which; the limit and none if none does."""
        price, change = self._prices(self.z), self._prices(along)
        length, met = limit, None
        for s, r in enumerate(self.form.row):
            rise = change[r]
            if not rise or s in self.holding:
                continue
            side = self.sides[s]
            if side is Side.LOW and rise < 0:
                end = self.top[s]
            elif side is Side.HIGH and rise > 0:
                end = self.bottom[s]
            elif side is Side.INSIDE:
                end = self.top[s] if rise > 0 else self.bottom[s]
            else:
                continue
            here = max((end - price[r]) / rise, _ZERO)
            if length is None or here < length:
                length, met = here, s
        return length or _ZERO, met

    def _pass(self, s: int, along: _Vector) -> None:
        """Change where a piece stands at its kink."""
        rise = sum((w * along[k] for k, w in self.rows[self.form.row[s]]), _ZERO)
        if self.sides[s] is Side.INSIDE:
            self.sides[s] = Side.LOW if rise > 0 else Side.HIGH
        elif self.top[s] == self.bottom[s]:
            self._hold(s)
        else:
            self.sides[s] = Side.INSIDE

    def _released(self, flows: _Vector) -> tuple[int, Side] | None:
        """The first held piece whose flow is beyond its range, and its end."""
        beyond = []
        for s, flow in zip(self.holding, flows, strict=True):
            if isfinite(self.form.low[s]) and flow < self.low[s]:
                beyond.append((s, Side.LOW))
            elif isfinite(self.form.high[s]) and flow > self.high[s]:
                beyond.append((s, Side.HIGH))
        return min(beyond, default=None)

    def _answer(self, flows: _Vector, steps: int) -> TinyPoint | None:
        """Have the set judged by the same equations as everybody's."""
        form = self.form
        exact = ExactAuction(
            form.rows,
            form.row,
            (form.low, form.high),
            (form.top, form.bottom),
            form.offset,
        )
        held = dict(zip(self.holding, flows, strict=True))
        y = [float(held.get(s, _ZERO)) for s in range(len(form.row))]
        point = exact.solved(self.sides, [float(v) for v in self.z], y)
        if point is None or not point.judged()[1]:
            return None
        return TinyPoint(point.prices(), point.flows(), steps, point)


def _fraction(value: float) -> Fraction:
    """An infinite end is never asked for its number."""
    return Fraction(value) if isfinite(value) else _ZERO


def _solved(
    equations: Sequence[_Vector], near: _Vector
) -> tuple[_Vector, _Vector | None]:
    """A solution, open unknowns as they are; or what combination contradicts itself."""
    count = len(near)
    many = len(equations)
    rows: list[tuple[_Vector, _Vector]] = [
        (list(line), [Fraction(i == j) for j in range(many)])
        for i, line in enumerate(equations)
    ]
    pivots: list[tuple[int, _Vector]] = []
    for column in range(count):
        at = next((i for i, (line, _) in enumerate(rows) if line[column]), None)
        if at is None:
            continue
        line, parts = rows.pop(at)
        pivots.append((column, line))
        for i, (other, its) in enumerate(rows):
            share = other[column] / line[column]
            if share:
                rows[i] = (
                    [a - share * b for a, b in zip(other, line, strict=True)],
                    [a - share * b for a, b in zip(its, parts, strict=True)],
                )
    for line, parts in rows:
        if line[count]:
            return [], parts
    out = list(near)
    for column, line in reversed(pivots):
        rest = line[count]
        for place in range(column + 1, count):
            if line[place]:
                rest -= line[place] * out[place]
        out[column] = rest / line[column]
    return out, None
