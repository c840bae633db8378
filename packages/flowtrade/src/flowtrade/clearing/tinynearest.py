"""Which constraints hold at the nearest point: a dual active set in plain floats.

Goldfarb and Idnani's method (Math. Programming 27, 1983) for the nearest point of a
small polyhedron: constraints enter one by one, the most violated first, and leave as
their forces vanish. Unlike a guess that is corrected, it knows what to do where rows
that meet depend on each other, as prices of baskets and their parts do. Only the set
is taken from it: `supports` solves its equations exactly and judges the result.
"""

from collections.abc import Sequence
from math import inf
from typing import final

from flowtrade.clearing.tiny import Row, solve_positive

__all__ = ["NearestSet"]

_DEPENDENT = 1e-11
"""Share of a row that the rows that hold do not span and that is rounding."""

_VIOLATED = 1e-12
"""Distance beyond a constraint, in its own units, that counts."""

_ROUNDS = 200


@final
class NearestSet:
    """The search of one point.

    Args:
        rows: Constraints row x >= level, each of size 1 or so.
        levels: Theirs.
        equal: How many, the first ones, are equations instead.
        pull: Force per distance towards the target in each place, > 0.
        target: The point to be near to.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        levels: Sequence[float],
        equal: int,
        pull: Sequence[float],
        target: Sequence[float],
    ) -> None:
        self.rows, self.levels, self.pull = rows, levels, pull
        self.x = list(target)
        self.active: list[int] = []
        self.force: list[float] = []
        self.fixed = 0
        for i in range(equal):
            move, _ = self._direction(i)
            gain = self._along(i, move)
            if gain > _DEPENDENT * self._size(i):
                step = (levels[i] - self._value(i)) / gain
                self.x = [a + step * b for a, b in zip(self.x, move, strict=True)]
                self.active.append(i)
                self.force.append(0.0)
        self.fixed = len(self.active)
        self.first = equal

    def found(self) -> list[int]:
        """The constraints that hold, equations first; none depends on the others.

        Raises:
            ArithmeticError: There is no such point, or rounding got in the way.
        """
        for _ in range(_ROUNDS):
            lack, worst = min(
                (
                    (self._value(i) - self.levels[i], i)
                    for i in range(self.first, len(self.rows))
                    if i not in self.active
                ),
                default=(0.0, 0),
            )
            if lack >= -_VIOLATED:
                return self.active
            self._enter(worst)
        raise ArithmeticError("the constraints went round")

    def _enter(self, new: int) -> None:
        own = 0.0
        for _ in range(_ROUNDS):
            move, share = self._direction(new)
            until, leaving = min(
                (
                    (self.force[place] / share[place], place)
                    for place in range(self.fixed, len(self.active))
                    if share[place] > _DEPENDENT
                ),
                default=(inf, -1),
            )
            gain = self._along(new, move)
            step = until
            if gain > _DEPENDENT * self._size(new):
                whole = (self.levels[new] - self._value(new)) / gain
                step = min(until, whole)
                self.x = [a + step * b for a, b in zip(self.x, move, strict=True)]
            if step == inf:
                raise ArithmeticError("constraints exclude each other")
            self.force = [f - step * s for f, s in zip(self.force, share, strict=True)]
            own += step
            if step < until:
                self.active.append(new)
                self.force.append(own)
                return
            del self.active[leaving], self.force[leaving]
        raise ArithmeticError("the constraints went round")

    def _direction(self, new: int) -> tuple[list[float], list[float]]:
        """Where to move for a constraint with the active ones held, and their share."""
        free = self._pulled(self.rows[new])
        share = list[float]()
        if self.active:
            held = [self._pulled(self.rows[i]) for i in self.active]
            gram = [[self._along(i, other) for other in held] for i in self.active]
            share = solve_positive(gram, [self._along(i, free) for i in self.active])
            for part, row in zip(share, held, strict=True):
                free = [a - part * b for a, b in zip(free, row, strict=True)]
        return free, share

    def _pulled(self, row: Row) -> list[float]:
        out = [0.0] * len(self.pull)
        for k, weight in row:
            out[k] += weight / self.pull[k]
        return out

    def _along(self, i: int, move: Sequence[float]) -> float:
        return sum([weight * move[k] for k, weight in self.rows[i]])

    def _size(self, i: int) -> float:
        return sum([weight * weight / self.pull[k] for k, weight in self.rows[i]])

    def _value(self, i: int) -> float:
        return sum([weight * self.x[k] for k, weight in self.rows[i]])
