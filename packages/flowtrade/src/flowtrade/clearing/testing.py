"""For tests of whatever clears auctions: odd little auctions and a brute-force oracle.

The auctions are ugly on purpose: ties on a coarse tick, vertical steps, single points,
unlimited orders, caps shared between portfolios, one demand over several products,
arbitrary incidence. The oracle tries every combination of pieces at their lower end,
at their upper end or between, and needs neither our solver nor anybody else's.
"""

import itertools
import math
import random
from enum import StrEnum
from typing import Any

import numpy as np

from flowtrade.clearing.formulation import PlainProgram
from flowtrade.clearing.market import Market

__all__ = ["Oddity", "brute_force_gains", "odd_auction"]

_LARGEST = 8
"""Pieces beyond which 3^n combinations are too many."""


class Oddity(StrEnum):
    """What is odd about an auction."""

    PLAIN = "plain"
    """One demand to each portfolio."""
    SPREADS = "spreads"
    """Portfolios of two products of opposite sign."""
    CAPPED = "capped"
    """Portfolios with a demand of their own and one that they share."""
    SUBSTITUTES = "substitutes"
    """Portfolios that share their only demand: they convert into each other."""
    BOOKS = "books"
    """Steep two-sided books of many levels, with a spread and a basket across them;
    prices and lots of the products are orders of magnitude apart."""
    TANGLED = "tangled"
    """Any portfolio feeds any demand with any weight; may well be unbounded."""


def odd_auction(
    seed: int, oddity: Oddity = Oddity.PLAIN, *, orders: int | None = None
) -> dict[str, Any]:
    """An auction file's values.

    Args:
        seed: The same seed gives the same auction.
        oddity: What is odd about it.
        orders: Number of orders; by default a small number of the seed's choice.
    """
    return _Odd(random.Random(seed), oddity, orders).auction()  # noqa: S311 - no secret


def brute_force_gains(market: Market) -> float:
    """The gains from trade, by trying every active set.

    Args:
        market: At most eight pieces; bounded.

    Raises:
        ValueError: Too many pieces, or no combination is optimal.
    """
    program = PlainProgram.of(market)
    first = program.portfolios
    count = len(program.cost) - first
    if count > _LARGEST:
        raise ValueError(f"3^{count} combinations are too many")
    ends = [
        [
            status
            for status, end in (
                (-1, program.lower[first + s]),
                (0, 0.0),
                (1, program.upper[first + s]),
            )
            if np.isfinite(end)
        ]
        for s in range(count)
    ]
    for statuses in itertools.product(*ends):
        gains = _try_active_set(program, np.array(statuses, np.int64))
        if gains is not None:
            return gains
    raise ValueError("no combination satisfies the optimality conditions")


def _try_active_set(program: PlainProgram, status: np.ndarray) -> float | None:
    first = program.portfolios
    lower, upper = program.lower[first:], program.upper[first:]
    fixed = np.where(status < 0, lower, np.where(status > 0, upper, 0.0))
    free = np.concatenate(
        [np.flatnonzero(program.live), first + np.flatnonzero(status == 0)]
    )
    matrix = program.matrix.toarray()
    rows = len(matrix)
    y = np.zeros(len(program.cost))
    y[first:] = np.where(status == 0, 0.0, fixed)
    inner = matrix[:, free]
    system = np.block(
        [
            [np.diag(program.curvature[free]), inner.T],
            [inner, np.zeros((rows, rows))],
        ]
    )
    rhs = np.concatenate([-program.cost[free], -matrix @ y])
    solution = np.linalg.lstsq(system, rhs, rcond=1e-12)[0]
    size = 1.0 + float(np.abs(rhs).max(initial=0.0))
    if np.abs(system @ solution - rhs).max(initial=0.0) > 1e-8 * size:
        return None
    y[free] = solution[: len(free)]
    dual = solution[len(free) :]
    reduced = program.curvature * y + program.cost + matrix.T @ dual
    rates, force = y[first:], reduced[first:]
    # Least norm may leave the right side of degenerate combinations: others hit it.
    is_inside = (rates >= lower - 1e-9 * size) & (rates <= upper + 1e-9 * size)
    is_dual = np.where(status < 0, force >= -1e-9 * size, True) & np.where(
        status > 0, force <= 1e-9 * size, True
    )
    if not (is_inside.all() and is_dual.all()):
        return None
    value = 0.5 * y @ (program.curvature * y) + program.cost @ y
    return -float(value)


class _Odd:
    """One auction in the making."""

    def __init__(
        self, chance: random.Random, oddity: Oddity, orders: int | None
    ) -> None:
        self.chance = chance
        self.oddity = oddity
        self.products = chance.choice([1, 2, 3, 5, 8])
        drawn = chance.choice([1, 2, 3, 6, 10, 20, 40])
        self.orders = drawn if orders is None else orders
        self.tick = chance.choice([0.01, 0.5, 5.0])
        self.fair = [chance.uniform(5, 60) for _ in range(self.products)]
        self.curves: dict[str, Any] = {}
        self.portfolios: dict[str, Any] = {}

    def auction(self) -> dict[str, Any]:
        make = {
            Oddity.CAPPED: self._capped,
            Oddity.SUBSTITUTES: self._substitutes,
            Oddity.BOOKS: self._across,
            Oddity.TANGLED: self._tangled,
        }
        if self.oddity is Oddity.BOOKS:
            self._make_books()
        if self.oddity is Oddity.TANGLED:
            for j in range(self.orders):
                self.curves[f"d{j}"] = self._curve(self.chance.choice(self.fair))
        special = make.get(self.oddity, self._plain)
        always = self.oddity is Oddity.TANGLED
        for j in range(self.orders):
            (special if always or self.chance.random() < 0.5 else self._plain)(j)
        return {"demand_curves": self.curves, "portfolios": self.portfolios}

    def _make_books(self) -> None:
        self.fair = [10 ** self.chance.uniform(-1, 5) for _ in self.fair]
        for k, middle in enumerate(self.fair):
            self.curves[f"m{k}"] = self._book(middle)
            self.portfolios[f"m{k}"] = {"demand": f"m{k}", "basis": f"p{k}"}

    def _across(self, j: int) -> None:
        """A spread traded both ways, or a basket bought, all legs worth the same."""
        chance = self.chance
        last = self.products - 1
        leg = {k: float(f"{1000.0 / fair:.3g}") for k, fair in enumerate(self.fair)}
        weights = leg if j % 2 else {0: -leg[0], last: leg[last]}
        worth = sum(weight * self.fair[k] for k, weight in weights.items())
        size = sum(abs(weight) * self.fair[k] for k, weight in weights.items())
        limit = worth + size * (chance.gauss(0, 4e-4) + 5e-4)
        rate = 10 ** chance.uniform(5, 7) / size
        self.curves[f"d{j}"] = [
            {"rate": 0.0 if j % 2 else -rate, "price": limit},
            {"rate": rate, "price": limit - 1e-3 * size},
        ]
        basis = {f"p{k}": weight for k, weight in weights.items()}
        self.portfolios[f"x{j}"] = {"demand": f"d{j}", "basis": basis}

    def _book(self, middle: float) -> list[dict[str, float]]:
        """A maker's curve: from the far end of the asks to that of the bids."""
        chance = self.chance
        tick = 10.0 ** (math.floor(math.log10(middle)) - 4)
        lot = 60 * 10 ** chance.uniform(-2, 3)
        levels = chance.choice([1, 5, 20])
        sides = []
        for sign in (-1, 1):  # asks are sold, below rate 0, bids bought
            rate, level = 0.0, round(middle / tick) - sign
            side: list[dict[str, float]] = []
            for _ in range(levels):
                price = round(level * tick, 9)
                if not side:
                    side.append({"rate": 0.0, "price": price})
                rate += sign * round(lot * (chance.expovariate(1.0) + 1e-4), 6)
                side.append({"rate": rate, "price": price})
                level -= sign * chance.randint(1, 4)
            sides.append(side)
        return [*reversed(sides[0]), *sides[1]]

    def _plain(self, j: int) -> None:
        basis, value = self._basis()
        weight = self.chance.choice([1.0, 1.0, 2.0, -1.0, 0.25])
        curve = self._curve(value / weight)
        self.curves[f"d{j}"] = None if self.chance.random() < 0.02 else curve
        self.portfolios[f"x{j}"] = {"demand": {f"d{j}": weight}, "basis": basis}

    def _capped(self, j: int) -> None:
        cap = self.chance.uniform(0.5, 8.0)
        self.curves[f"c{j}"] = {"min_rate": -cap, "max_rate": cap, "price": 0.0}
        for i, k in enumerate(self._some_products()):
            self.curves[f"d{j}_{i}"] = self._curve(self.fair[k])
            demand = {f"d{j}_{i}": 1.0, f"c{j}": 1.0}
            self.portfolios[f"x{j}_{i}"] = {"demand": demand, "basis": {f"p{k}": 1.0}}

    def _substitutes(self, j: int) -> None:
        products = self._some_products()
        self.curves[f"d{j}"] = self._curve(sum(self.fair[k] for k in products))
        for i, k in enumerate(products):
            self.portfolios[f"x{j}_{i}"] = {"demand": f"d{j}", "basis": f"p{k}"}

    def _tangled(self, j: int) -> None:
        def group(letter: str, count: int) -> dict[str, float]:
            return {
                f"{letter}{self.chance.randrange(count)}": self.chance.choice(
                    [1.0, 1.0, -1.0, 0.5, 2.0, self.chance.gauss(0, 1)]
                )
                for _ in range(self.chance.choice([1, 1, 2, 3]))
            }

        self.portfolios[f"x{j}"] = {
            "demand": group("d", self.orders),
            "basis": group("p", self.products),
        }

    def _some_products(self) -> list[int]:
        count = min(self.products, self.chance.choice([1, 1, 1, 2, 3]))
        if self.oddity is Oddity.SPREADS:
            count = min(self.products, 2)
        return self.chance.sample(range(self.products), count)

    def _basis(self) -> tuple[dict[str, float], float]:
        basis = {}
        for i, k in enumerate(self._some_products()):
            sign = 1.0 if i == 0 or self.chance.random() < 0.5 else -1.0
            if self.oddity is Oddity.SPREADS:
                sign = 1.0 - 2.0 * i
            basis[f"p{k}"] = sign * self.chance.choice([1.0, 1.0, 1.0, 0.5, 2.0])
        return basis, sum(w * self.fair[int(k[1:])] for k, w in basis.items())

    def _curve(self, value: float) -> object:
        return self._flat(value) if self.chance.random() < 0.15 else self._bent(value)

    def _flat(self, value: float) -> dict[str, float]:
        chance = self.chance
        curve = {"price": self._round(value + chance.gauss(0, 5))}
        kind = chance.random()
        if kind < 0.45:
            return {**curve, "min_rate": 0.0, "max_rate": chance.uniform(0.1, 10)}
        if kind < 0.9:
            return {**curve, "min_rate": -chance.uniform(0.1, 10), "max_rate": 0.0}
        if self.oddity is Oddity.TANGLED:
            # Unlimited, and with any weights it may well cross another one.
            away = 0.3 if chance.random() < 0.5 else 1.8
            end = "min_rate" if away < 1.0 else "max_rate"
            return {"price": self._round(value * away), end: 0.0}
        # Unlimited, and too far out to cross another one.
        if chance.random() < 0.5:
            return {"price": self._round(value - abs(value) - 40), "min_rate": 0.0}
        return {"price": self._round(value + abs(value) + 40), "max_rate": 0.0}

    def _bent(self, value: float) -> list[dict[str, float]]:
        chance = self.chance
        count = chance.choice([1, 1, 2, 3, 4])
        side = chance.choice([1, -1, 0])
        ends = sorted(round(chance.uniform(0, 10), 2) for _ in range(count))
        if chance.random() < 0.2:
            ends = [float(int(end)) for end in ends]
        rates = [0.0, *ends]
        back = {1: 0.0, -1: rates[-1], 0: round(rates[-1] / 2, 3)}[side]
        price = value + chance.gauss(0, 4) + 2 * side
        points = []
        for rate in rates:
            points.append({"rate": round(rate - back, 6), "price": self._round(price)})
            if chance.random() < 0.7:
                price -= chance.expovariate(0.3)
        return points

    def _round(self, price: float) -> float:
        return round(price / self.tick) * self.tick
