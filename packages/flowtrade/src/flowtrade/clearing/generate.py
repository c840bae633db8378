"""Seeded markets that look like real ones, of any size, as columns.

Products form a forward curve with correlated fair prices. Bidders send outrights,
spreads, strips of consecutive products and baskets, most of them popular ones; curves
are sloped, stepped or flat, on a tick; some bidders offer substitutes under a common
cap; few orders are unlimited. The same spec gives the same arrays everywhere NumPy's
PCG64 does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from flowtrade.clearing.arrays import (
    FloatArray,
    IntArray,
    Ragged,
    group_sum,
    offsets,
)
from flowtrade.clearing.columns import Curves
from flowtrade.clearing.market import Market

__all__ = ["KINDS", "MarketSpec", "from_spec", "generate"]


@dataclass(frozen=True, slots=True)
class MarketSpec:
    """What a market is made of.

    Attributes:
        orders: Number of portfolios.
        products: Number of products.
        seed: Of the random generator.
        outright: Share of orders on one product.
        spread: Share on the difference of two products.
        strip: Share on consecutive products; the rest are baskets.
        basket: Most products of a basket.
        popular: Share of baskets that are one of a few.
        pieces: Most pieces of a curve.
        flat: Share of pieces that are flat.
        two_sided: Share of curves that buy and sell.
        unlimited: Share of orders without limit.
        substitutes: Share of orders that share a cap with others.
        tick: Prices are multiples of it.
        noise: Spread of bidders' values, relative.
        price_scale: Factor on all prices.
        rate_scale: Factor on all rates.
    """

    orders: int
    products: int
    seed: int = 0
    outright: float = 0.5
    spread: float = 0.25
    strip: float = 0.1
    basket: int = 12
    popular: float = 0.8
    pieces: int = 3
    flat: float = 0.3
    two_sided: float = 0.1
    unlimited: float = 0.0005
    substitutes: float = 0.1
    tick: float = 0.01
    noise: float = 0.03
    price_scale: float = 1.0
    rate_scale: float = 1.0


KINDS: Mapping[str, MarketSpec] = MappingProxyType(
    {
        "mixed": MarketSpec(1, 1),
        "paper": MarketSpec(
            1,
            1,
            spread=0.3,
            strip=0.0,
            basket=20,
            pieces=1,
            flat=0.0,
            two_sided=0.0,
            unlimited=0.0,
            substitutes=0.0,
        ),
        "strips": MarketSpec(1, 1, outright=0.3, spread=0.1, strip=0.55),
        "ticks": MarketSpec(1, 1, flat=1.0, tick=0.5, two_sided=0.0),
        "thin": MarketSpec(1, 1, tick=0.5, spread=0.4, noise=0.1, substitutes=0.2),
        "substitutes": MarketSpec(1, 1, substitutes=1.0),
        "unlimited": MarketSpec(1, 1, unlimited=0.3, substitutes=0.0),
    }
)
"""Kinds of markets by name; orders, products and seed are filled in."""


def generate(kind: str, orders: int, products: int, *, seed: int = 0) -> Market:
    """Make a market of a named kind.

    Args:
        kind: A key of `KINDS`.
        orders: Number of portfolios.
        products: Number of products.
        seed: Of the random generator.

    Raises:
        KeyError: No such kind.
    """
    spec = replace(KINDS[kind], orders=orders, products=products, seed=seed)
    return _Maker(spec).market()


def from_spec(spec: MarketSpec) -> Market:
    """Make a market from a specification."""
    return _Maker(spec).market()


class _Maker:
    """One market in the making."""

    def __init__(self, spec: MarketSpec) -> None:
        self.spec = spec
        self.random = np.random.Generator(np.random.PCG64(spec.seed))
        steps = self.random.normal(0.0, 1.0, spec.products)
        walk = 50.0 + np.cumsum(steps) * 20.0 / np.sqrt(spec.products)
        self.fair = np.maximum(walk, 5.0) + self.random.uniform(0, 5, spec.products)

    def market(self) -> Market:
        basis = self._bases()
        worth = basis.weight * self.fair[basis.idx]
        value = group_sum(basis.rows(), worth, len(basis))
        size = group_sum(basis.rows(), np.abs(worth), len(basis))
        curves = self._curves(value, size)
        usage, caps = self._usage()
        return Market.from_columns(
            products=self.spec.products,
            curves=_joined(curves, caps),
            usage=usage,
            basis=basis,
        )

    def _bases(self) -> Ragged:
        spec, random = self.spec, self.random
        count, products = spec.orders, spec.products
        kind = random.uniform(size=count)
        lengths = np.ones(count, np.int64)
        is_spread = (kind >= spec.outright) & (kind < spec.outright + spec.spread)
        ends = spec.outright + spec.spread
        is_strip = (kind >= ends) & (kind < ends + spec.strip)
        is_basket = kind >= ends + spec.strip
        if products < 4:
            is_strip[:] = is_basket[:] = False
        if products < 2:
            is_spread[:] = False
        lengths[is_spread] = 2
        reach = int(np.log2(max(products // 2, 2)))
        lengths[is_strip] = 2 ** random.integers(1, min(reach, 5) + 1, is_strip.sum())
        pool = self._pool()
        choice = random.integers(0, len(pool), count)
        fresh = is_basket & (random.uniform(size=count) >= spec.popular)
        sizes = np.array([len(p) for p in pool])
        lengths[is_basket] = sizes[choice[is_basket]]
        ptr = offsets(lengths)
        idx = np.zeros(int(ptr[-1]), np.int64)
        weight = np.ones(int(ptr[-1]))
        first = self._products(count)
        idx[ptr[:-1]] = first
        self._spreads(np.flatnonzero(is_spread), ptr, idx, weight, first)
        for j in np.flatnonzero(is_strip).tolist():
            length = int(lengths[j])
            start = int(first[j]) // length * length
            start = min(start, products - length)
            idx[ptr[j] : ptr[j + 1]] = np.arange(start, start + length)
        for j in np.flatnonzero(is_basket & ~fresh).tolist():
            idx[ptr[j] : ptr[j + 1]] = pool[choice[j]]
        for j in np.flatnonzero(fresh).tolist():
            length = int(lengths[j])
            idx[ptr[j] : ptr[j + 1]] = random.choice(products, length, replace=False)
            weight[ptr[j] : ptr[j + 1]] = random.integers(1, 9, length) / 4.0
        return Ragged(ptr, idx, weight)

    def _products(self, count: int) -> IntArray:
        """Products by popularity: a few are traded much, most a little."""
        products = self.spec.products
        rank = self.random.permutation(products)
        share = self.random.beta(0.7, 1.2, count)
        return rank[np.minimum((share * products).astype(np.int64), products - 1)]

    def _spreads(
        self,
        orders: IntArray,
        ptr: IntArray,
        idx: IntArray,
        weight: FloatArray,
        first: IntArray,
    ) -> None:
        products = self.spec.products
        near = min(8, products - 1)
        gap = self.random.integers(1, max(near, 1) + 1, len(orders))
        other = (first[orders] + gap) % products
        idx[ptr[orders] + 1] = other
        weight[ptr[orders] + 1] = -1.0

    def _pool(self) -> list[IntArray]:
        """Baskets that many bidders trade."""
        products, most = self.spec.products, self.spec.basket
        most = min(most, products)
        least = min(3, most)
        return [
            self.random.choice(
                products, self.random.integers(least, most + 1), replace=False
            )
            for _ in range(max(products // 2, 1))
        ]

    def _curves(self, value: FloatArray, size: FloatArray) -> Curves:
        """Curves around each order's own view of its portfolio's value."""
        spec, random = self.spec, self.random
        count = spec.orders
        pieces = random.integers(1, spec.pieces + 1, count)
        side = np.where(random.uniform(size=count) < 0.5, 1.0, -1.0)
        both = random.uniform(size=count) < spec.two_sided
        view = value + random.normal(0.0, spec.noise, count) * size
        # Bidders ask a little better than their view: sellers above, buyers below.
        view -= side * 0.3 * spec.noise * size * random.uniform(size=count)
        ptr = offsets(pieces + 1)
        owner = np.repeat(np.arange(count), pieces + 1)
        place = np.arange(len(owner)) - ptr[owner]
        step = np.round(random.lognormal(2.0, 0.8, len(owner)), 3) + 0.001
        step[place == 0] = 0.0
        rate = np.cumsum(step)
        rate -= rate[ptr[:-1]][owner]
        width = rate[ptr[1:] - 1]
        start = np.where(side > 0, 0.0, -width)
        start = np.where(both, -np.round(0.5 * width, 3), start)
        rate += start[owner]
        fall = random.exponential(0.02, len(owner)) * size[owner]
        fall[random.uniform(size=len(owner)) < spec.flat] = 0.0
        fall[place == 0] = 0.0
        drop = np.cumsum(fall)
        drop -= drop[ptr[:-1]][owner]
        top = view + 0.5 * drop[ptr[1:] - 1]
        price = np.round((top[owner] - drop) / spec.tick) * spec.tick
        curves = Curves(ptr, np.round(rate, 6), price)
        curves = self._unlimited(curves, side, view)
        return Curves(
            curves.ptr,
            curves.rate * spec.rate_scale,
            curves.price * spec.price_scale,
        )

    def _unlimited(self, curves: Curves, side: FloatArray, view: FloatArray) -> Curves:
        """Turn some orders into unlimited ones, far enough out not to cross."""
        spec = self.spec
        some = self.random.uniform(size=spec.orders) < spec.unlimited
        if not some.any():
            return curves
        owner = np.repeat(np.arange(spec.orders), np.diff(curves.ptr))
        place = np.arange(len(owner)) - curves.ptr[owner]
        keep = ~some[owner] | (place < 2)
        rate, price = curves.rate.copy(), curves.price.copy()
        away = np.abs(view) * 0.5 + 30.0
        mine = some[owner]
        level = np.round((view - side * away) / spec.tick) * spec.tick
        price[mine] = level[owner[mine]]
        low = np.where(side > 0, 0.0, -np.inf)
        high = np.where(side > 0, np.inf, 0.0)
        rate[mine & (place == 0)] = low[owner[mine & (place == 0)]]
        rate[mine & (place == 1)] = high[owner[mine & (place == 1)]]
        lengths = np.bincount(owner[keep], minlength=spec.orders)
        return Curves(offsets(lengths), rate[keep], price[keep])

    def _usage(self) -> tuple[Ragged, Curves]:
        """Own demands, and caps that groups of neighbours share."""
        spec, random = self.spec, self.random
        count = spec.orders
        group = np.arange(count) // 3
        shared = random.uniform(size=group[-1] + 1) < spec.substitutes
        number = np.cumsum(shared) - 1
        in_group = shared[group]
        lengths = 1 + in_group.astype(np.int64)
        ptr = offsets(lengths)
        idx = np.zeros(int(ptr[-1]), np.int64)
        idx[ptr[:-1]] = np.arange(count)
        idx[ptr[:-1][in_group] + 1] = count + number[group[in_group]]
        caps = int(shared.sum())
        limit = np.round(random.lognormal(2.5, 0.5, caps), 3) * spec.rate_scale
        rate = np.stack([-limit, limit], axis=1).ravel()
        curves = Curves(np.arange(caps + 1) * 2, rate, np.zeros(2 * caps))
        return Ragged(ptr, idx, np.ones(len(idx))), curves


def _joined(first: Curves, second: Curves) -> Curves:
    return Curves(
        np.concatenate([first.ptr, first.ptr[-1] + second.ptr[1:]]),
        np.concatenate([first.rate, second.rate]),
        np.concatenate([first.price, second.price]),
    )
