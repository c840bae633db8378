"""One active set of a tiny auction, solved and judged in whole numbers.

Given where every piece stands, the prices and the flows of the flat pieces that hold
them are the solution of linear equations; whether the guess was right shows at it. No
step rounds, so a point found good is the optimum, and what is published is its nearest
float.
"""

from collections.abc import Sequence
from enum import IntEnum
from fractions import Fraction
from math import gcd, isfinite, lcm, ldexp
from typing import final

from flowtrade.clearing.rational import binary_places, solve_exactly, whole

__all__ = ["ExactAuction", "ExactPoint", "Side"]


class Side(IntEnum):
    """Where a piece stands."""

    LOW = 0
    HIGH = 1
    INSIDE = 2


@final
class ExactAuction:
    """The auction in whole numbers.

    Weights are in units of 2^-w, rates of 2^-r, prices of 2^-p; what the unknown prices
    stand for is 2^(w-p).

    Attributes:
        rows: Columns and weights of each row.
        row: Row of each piece.
        low: Lowest flow of each piece, maybe -inf.
        high: Highest flow, maybe inf.
        top: Price at the lowest flow.
        bottom: Price at the highest flow.
        offset: What enters each column from outside.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[tuple[int, float]]],
        row: list[int],
        ends: tuple[list[float], list[float]],
        prices: tuple[list[float], list[float]],
        offset: list[float],
    ) -> None:
        low, high = ends
        finite = [end for end in (*low, *high) if isfinite(end)]
        self.w = binary_places([weight for row in rows for _, weight in row])
        self.r = max(binary_places(finite), binary_places(offset) - self.w, 0)
        self.p = binary_places((*prices[0], *prices[1]))
        self.columns, self.row = len(offset), row
        self.rows = [
            [(column, whole(weight, self.w)) for column, weight in row] for row in rows
        ]
        self.low = [self._end(end) for end in low]
        self.high = [self._end(end) for end in high]
        self.top = [whole(value, self.p) for value in prices[0]]
        self.bottom = [whole(value, self.p) for value in prices[1]]
        self.offset = [whole(value, self.w + self.r) for value in offset]
        self.gains: dict[int, tuple[int, int]] = {}

    def _end(self, end: float) -> int | float:
        return whole(end, self.r) if isfinite(end) else end

    def gain(self, s: int) -> tuple[int, int]:
        """Flow per price of a sloped piece, above and below the line."""
        found = self.gains.get(s)
        if found is None:
            width, drop = int(self.high[s] - self.low[s]), self.top[s] - self.bottom[s]
            common = gcd(width, drop)
            found = self.gains[s] = width // common, drop // common
        return found

    def solved(
        self, sides: list[Side], z: list[float], y: list[float]
    ) -> "ExactPoint | None":
        """The point of one set."""
        holding = [
            s
            for s, side in enumerate(sides)
            if side is Side.INSIDE and self.top[s] == self.bottom[s]
        ]
        unknowns = self.columns + len(holding)
        equations = [
            self._held(self.rows[self.row[s]], self.top[s], unknowns) for s in holding
        ]
        equations += self._balances(sides, holding, unknowns)
        near = [ldexp(value, self.p - self.w) for value in z]
        near += [ldexp(y[s], self.r) for s in holding]
        solution = solve_exactly(equations, near)
        if solution is None:
            return None
        return ExactPoint(self, sides, holding, *solution)

    @staticmethod
    def _held(row: list[tuple[int, int]], level: int, unknowns: int) -> list[int]:
        equation = [0] * (unknowns + 1)
        for column, weight in row:
            equation[column] = weight
        equation[-1] = level
        return equation

    def _balances(
        self, sides: list[Side], holding: list[int], unknowns: int
    ) -> list[list[int]]:
        """The columns' balances in the unknowns of a set."""
        sloped = [
            s
            for s, side in enumerate(sides)
            if side is Side.INSIDE and self.top[s] != self.bottom[s]
        ]
        common = lcm(*(self.gain(s)[1] for s in sloped))
        flow = [0] * len(self.rows)
        slope = [0] * len(self.rows)
        for s, r in enumerate(self.row):
            if sides[s] is Side.LOW:
                flow[r] += common * int(self.low[s])
            elif sides[s] is Side.HIGH:
                flow[r] += common * int(self.high[s])
        for s in sloped:
            r, (above, below) = self.row[s], self.gain(s)
            steep = above * (common // below)
            slope[r] += steep
            flow[r] += common * int(self.low[s]) + steep * self.top[s]
        out = [[0] * (unknowns + 1) for _ in range(self.columns)]
        for column, value in enumerate(self.offset):
            out[column][-1] = -common * value
        for r, row in enumerate(self.rows):
            for column, weight in row:
                line = out[column]
                line[-1] -= weight * flow[r]
                if slope[r]:
                    share = weight * slope[r]
                    for other, its in row:
                        line[other] -= share * its
        for place, s in enumerate(holding):
            for column, weight in self.rows[self.row[s]]:
                out[column][self.columns + place] = weight * common
        return out


@final
class ExactPoint:
    """The solution of one set."""

    def __init__(
        self,
        exact: ExactAuction,
        sides: list[Side],
        holding: list[int],
        above: list[int],
        below: int,
    ) -> None:
        self.exact = exact
        self.sides = sides
        self.above, self.below = above, below
        held = above[exact.columns :]
        self.held = dict(zip(holding, held, strict=True))
        self.price = [
            sum([weight * above[column] for column, weight in row])
            for row in exact.rows
        ]

    def judged(self) -> tuple[list[Side], bool]:
        """Where each piece should stand at this point, and whether all do."""
        exact, below = self.exact, self.below
        out = []
        for s, side in enumerate(self.sides):
            at = self.price[exact.row[s]]
            if s in self.held:
                flow = self.held[s]
                if flow < exact.low[s] * below:
                    side = Side.LOW
                elif flow > exact.high[s] * below:
                    side = Side.HIGH
            elif side is Side.INSIDE:
                if at > exact.top[s] * below:
                    side = Side.LOW
                elif at < exact.bottom[s] * below:
                    side = Side.HIGH
            elif side is Side.LOW:
                if at < exact.top[s] * below:
                    side = Side.INSIDE
            elif at > exact.bottom[s] * below:
                side = Side.INSIDE
            out.append(side)
        return out, out == self.sides

    def prices(self) -> list[float]:
        """The prices, rounded once: whole numbers divide that way."""
        exact = self.exact
        places = exact.w - exact.p
        values = self.above[: exact.columns]
        return [ldexp(value / self.below, places) for value in values]

    def flows(self) -> list[float]:
        """The flows, rounded once."""
        return [self._flow(s) for s in range(len(self.sides))]

    def _flow(self, s: int) -> float:
        above, below = self._ratio(s)
        return ldexp(above / below, -self.exact.r)

    def flow(self, s: int) -> Fraction:
        """A piece's flow, not rounded."""
        above, below = self._ratio(s)
        return Fraction(above, below << self.exact.r)

    def _ratio(self, s: int) -> tuple[int, int]:
        """A flow in units of rates."""
        exact, side = self.exact, self.sides[s]
        if side is Side.LOW:
            return int(exact.low[s]), 1
        if side is Side.HIGH:
            return int(exact.high[s]), 1
        if s in self.held:
            return self.held[s], self.below
        above, below = exact.gain(s)
        fall = exact.top[s] * self.below - self.price[exact.row[s]]
        share = below * self.below
        return int(exact.low[s]) * share + fall * above, share
