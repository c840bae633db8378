"""Proof of an answer, independent of whoever found it.

Given rates x, product prices and marginal prices mu, each demand d has net rate
g_d = sum_j w_dj x_j, the value U_d(g_d) of filling its curve from 0 outwards, and
V_d(mu) = max_q U_d(q) - mu q. Its *regret*

    V_d(mu_d) + mu_d g_d - U_d(g_d) >= 0          (Fenchel-Young)

is the money it would gain at these prices by another rate. Summed over demands,

    sum regret = [sum V - sum U] + price'(A x) - r'x,      r = A'price - W'mu,

so that with balance (A x = 0) and consistent prices (r = 0) the sum of regrets is
the duality gap: no rates whatsoever gain more than gains + gap. Every bidder can
check her own regret with her own curve and the published prices.

Regrets are computed piece by piece as the area between curve and price from the rate
received to the rate preferred. No large numbers cancel, so a regret of 0 reads 0.

This module needs numpy and nothing of the solvers.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flowtrade.clearing._speedups import add_trades, judge
from flowtrade.clearing.arrays import BoolArray, FloatArray, IntArray, Ragged, typical
from flowtrade.clearing.segments import Segments
from flowtrade.clearing.speedups import COMPILED
from flowtrade.models.clearing import Certificate, ClearingStatus

__all__ = ["POTENTIAL", "Audit", "Terms", "audit", "verdict"]

_CERTIFIED = 1e-9
_ACCEPTED = 1e-6

POTENTIAL = 1e-3
"""Share of the tradable value in the value scale: zero trade must be judged, too."""


_LONG = 64
"""Pieces from which on a curve is filled by itself, not together with all others."""


@dataclass(frozen=True, eq=False)
class Terms:
    """What was asked for: everything the proof is about.

    Attributes:
        products: Number of products.
        segments: Pieces of all curves.
        usage: Demands of each live portfolio; of others, none.
        basis: Products of each portfolio.
    """

    products: int
    segments: Segments
    usage: Ragged
    basis: Ragged

    @cached_property
    def owner(self) -> IntArray:
        """Demand of each piece."""
        ptr = self.segments.ptr
        return np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))

    @cached_property
    def used(self) -> BoolArray:
        """Which demands some live portfolio feeds."""
        used = np.zeros(len(self.segments.ptr) - 1, np.bool_)
        used[self.usage.idx] = True
        return used

    @cached_property
    def mine(self) -> BoolArray:
        """Which pieces are a used demand's."""
        return self.used[self.owner]

    @cached_property
    def price_sizes(self) -> FloatArray:
        """Price scale of each portfolio's demands together."""
        usage = self.usage
        weight = np.zeros(len(usage))
        filled = np.flatnonzero(np.diff(usage.ptr))
        if len(filled):
            weight[filled] = np.add.reduceat(np.abs(usage.weight), usage.ptr[filled])
        sizes: FloatArray = self.scales.price * np.where(weight > 0.0, weight, 1.0)
        return sizes

    @cached_property
    def scales(self) -> "_Scales":
        """What the measures are relative to."""
        return _Scales.of(self)


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """A certificate and the arrays it sums up.

    Attributes:
        certificate: The verdict and its measures.
        net: Net rate of each demand.
        regret: Regret of each demand.
        value: Value U of each demand's net rate.
        volume: Gross volume of each product.
    """

    certificate: Certificate
    net: FloatArray
    regret: FloatArray
    value: FloatArray
    volume: FloatArray


def audit(
    terms: Terms,
    *,
    rates: FloatArray,
    prices: FloatArray,
    marginal: FloatArray,
    compiled: bool = COMPILED,
) -> Audit:
    """Measure an answer.

    Args:
        terms: The auction.
        rates: Of portfolios.
        prices: Of products.
        marginal: Marginal prices of demands; NaN for one no live portfolio feeds.
        compiled: Whether the compiled loops measure; they find the same bits.

    Returns:
        The certificate, whatever its verdict.

    Raises:
        ValueError: There are not as many rates, prices or marginal prices as wanted.
    """
    segments, owner, used, scales = (
        terms.segments,
        terms.owner,
        terms.used,
        terms.scales,
    )
    rates = _numbers("rates", rates, len(terms.basis))
    prices = _numbers("prices", prices, terms.products)
    marginal = _numbers("marginal", marginal, len(used))
    mu = np.where(used, marginal, 0.0)
    measure = _measure_compiled if compiled else _measure
    found = measure(terms, rates, prices, mu)
    net, price, regret, value = found.net, found.price, found.regret, found.value
    imbalance, volume = found.imbalance, found.volume
    gains, gap = float(value[used].sum()), float(regret[used].sum())
    # What the imbalance is worth; with balance and consistent prices it is nothing.
    correction = -float(prices @ imbalance)
    mine = terms.mine
    worth = abs(gains) + POTENTIAL * scales.potential(segments, price, mine)
    measures = {
        "relative_gap": gap / worth,
        "relative_imbalance": _largest(
            np.abs(imbalance) / np.maximum(volume, 1e-6 * scales.rate)
        ),
        "domain": _largest(np.abs(found.outside[used]) / scales.range_of(used)),
        "stationarity": _stationarity(found.mismatch, terms, rates, worth=worth),
        "unlimited": _largest(np.abs(price - mu[owner])[mine]) / scales.price,
    }
    certificate = Certificate(
        status=verdict(max(measures.values())),
        gains=gains,
        dual_bound=gains + gap + correction,
        gap=gap,
        max_regret=_largest(regret[used]),
        value_scale=worth,
        imbalance=_largest(np.abs(imbalance)),
        volume=0.5 * float(volume.sum()),
        **measures,
    )
    return Audit(certificate, net, regret, value, volume)


def _numbers(name: str, values: FloatArray, count: int) -> FloatArray:
    """An answer's numbers as the array that loops without bounds rely on."""
    found = np.ascontiguousarray(values, np.float64)
    if found.shape != (count,):
        raise ValueError(f"{count} {name} are wanted, were of shape {found.shape}")
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What was measured.

    Attributes:
        net: Net rate of each demand.
        outside: What of it does not fit into its curve.
        price: Of each piece, where an unlimited one admits it.
        regret: Of each demand.
        value: Of each demand's net rate.
        imbalance: Of each product.
        volume: Gross volume of each product.
        mismatch: Of each portfolio, A'price - W'mu.
    """

    net: FloatArray
    outside: FloatArray
    price: FloatArray
    regret: FloatArray
    value: FloatArray
    imbalance: FloatArray
    volume: FloatArray
    mismatch: FloatArray


def _measure(
    terms: Terms, rates: FloatArray, prices: FloatArray, mu: FloatArray
) -> _Found:
    segments, owner, demands = terms.segments, terms.owner, len(mu)
    net = _adjoint(terms.usage, rates, demands)
    filled, outside = _fill(segments, net)
    price = _admissible(segments, mu[owner])
    return _Found(
        net=net,
        outside=outside,
        price=price,
        regret=_regrets(segments, filled, price, owner, demands),
        value=_values(segments, filled, owner, demands),
        imbalance=_adjoint(terms.basis, rates, terms.products),
        volume=_gross(terms.basis, rates, terms.products),
        mismatch=_mismatch(
            terms, _forward(terms.basis, prices), _forward(terms.usage, mu)
        ),
    )


def _measure_compiled(
    terms: Terms, rates: FloatArray, prices: FloatArray, mu: FloatArray
) -> _Found:
    segments, basis, usage, count = terms.segments, terms.basis, terms.usage, len(rates)
    net, fed, theirs = np.zeros(len(mu)), np.zeros(len(mu)), np.empty(count)
    add_trades(usage.ptr, usage.idx, usage.weight, rates, mu, net, fed, theirs)
    imbalance, volume = np.zeros(terms.products), np.zeros(terms.products)
    ours = np.empty(count)
    add_trades(
        basis.ptr, basis.idx, basis.weight, rates, prices, imbalance, volume, ours
    )
    filled, outside = np.zeros(len(segments)), net.copy()
    long = _fill_all_long(segments, net, filled, outside)
    price, regret, value = np.empty(len(segments)), np.empty_like(mu), np.empty_like(mu)
    judge(
        segments.ptr,
        segments.low,
        segments.high,
        segments.top,
        segments.bottom,
        mu,
        (~long).view(np.uint8),
        filled,
        outside,
        price,
        regret,
        value,
    )
    return _Found(
        net=net,
        outside=outside,
        price=price,
        regret=regret,
        value=value,
        imbalance=imbalance,
        volume=volume,
        mismatch=_mismatch(terms, ours, theirs),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Scales:
    """Sizes that do not depend on the answer.

    Attributes:
        price: Typical price.
        rate: Typical width of a piece.
        floor: Share of the turnover at all prices that counts as tradable whatever
            the price: where all prices are one, only rounding is left to judge.
        width: Of each piece, an infinite one as typical.
        ranges: Of each demand.
    """

    price: float
    rate: float
    floor: float
    width: FloatArray
    ranges: FloatArray

    @classmethod
    def of(cls, terms: Terms) -> "_Scales":
        segments, mine = terms.segments, terms.mine
        width = segments.high - segments.low
        bounded = np.isfinite(width)
        finite = width[mine & bounded]
        rate = typical(finite) or 1.0
        width = np.where(bounded, width, rate)
        reach = np.maximum(np.abs(segments.top), np.abs(segments.bottom))
        reach = np.where(mine, reach, 0.0)
        level = max(typical(reach[mine]), 1e-3 * _largest(reach))
        ranges = _sum(terms.owner, width, len(terms.used))
        return cls(level or 1.0, rate, 1e-2 * float(reach @ width), width, ranges)

    def potential(
        self, segments: Segments, price: FloatArray, mine: BoolArray
    ) -> float:
        """Money that moving across all pieces would turn over, less its price."""
        away = np.abs(0.5 * (segments.top + segments.bottom) - price)
        away += segments.top - segments.bottom
        away[~mine] = 0.0
        return float(away @ self.width) + self.floor or 1.0

    def range_of(self, used: BoolArray) -> FloatArray:
        ranges: FloatArray = np.maximum(self.ranges[used], self.rate)
        return ranges


def _fill(segments: Segments, net: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fill each curve's pieces with its net rate; what does not fit comes second.

    Buying fills pieces in order, selling from the last one back. The loop runs over
    positions within a curve, all curves at once: running sums over all curves would
    lose digits.
    """
    lengths = np.diff(segments.ptr)
    filled = np.zeros(len(segments))
    rest = net.copy()
    long = _fill_all_long(segments, net, filled, rest)
    if long.any():
        net = np.where(long, 0.0, net)
        lengths = np.where(long, 0, lengths)
    for place in range(int(lengths.max(initial=0))):
        curves = np.flatnonzero((lengths > place) & (net > 0.0))
        at = segments.ptr[curves] + place
        filled[at] = np.minimum(rest[curves], segments.high[at])
        rest[curves] -= filled[at]
        curves = np.flatnonzero((lengths > place) & (net < 0.0))
        at = segments.ptr[curves + 1] - 1 - place
        filled[at] = np.maximum(rest[curves], segments.low[at])
        rest[curves] -= filled[at]
    return filled, rest


def _fill_all_long(
    segments: Segments, net: FloatArray, filled: FloatArray, rest: FloatArray
) -> BoolArray:
    """Fill the curves of many pieces; returns which they are."""
    long = np.diff(segments.ptr) > _LONG
    for curve in np.flatnonzero(long & (net != 0.0)).tolist():
        part = slice(segments.ptr[curve], segments.ptr[curve + 1])
        rest[curve] = _fill_long(segments, part, float(net[curve]), filled[part])
    return long


def _fill_long(
    segments: Segments, part: slice, net: float, filled: FloatArray
) -> float:
    """Fill one curve of many pieces by its own running sum; returns what is left."""
    ends, out = segments.high[part], filled
    if net < 0.0:
        ends, out = segments.low[part][::-1], filled[::-1]
    reach = np.cumsum(np.abs(ends))
    whole = int(np.searchsorted(reach, abs(net)))
    out[:whole] = ends[:whole]
    before = float(reach[whole - 1]) if whole else 0.0
    rest = net - np.copysign(before, net)
    if whole == len(ends):
        return float(rest)
    out[whole] = rest
    return 0.0


def _admissible(segments: Segments, price: FloatArray) -> FloatArray:
    """Move prices to where unlimited pieces admit them."""
    price = np.where(np.isinf(segments.high), np.maximum(price, segments.top), price)
    return np.where(np.isinf(segments.low), np.minimum(price, segments.top), price)


def _preferred(segments: Segments, price: FloatArray) -> FloatArray:
    """Each piece's best rate at a price; on a flat piece at it, NaN for any."""
    best = np.where(price >= segments.top, segments.low, segments.high)
    inside = np.flatnonzero((price < segments.top) & (price > segments.bottom))
    low, high = segments.low[inside], segments.high[inside]
    top, drop = segments.top[inside], (segments.top - segments.bottom)[inside]
    inner = low + (top - price[inside]) / drop * (high - low)
    best[inside] = np.clip(inner, low, high)
    best[(price == segments.top) & (price == segments.bottom)] = np.nan
    return best


def _regrets(
    segments: Segments,
    filled: FloatArray,
    price: FloatArray,
    owner: IntArray,
    demands: int,
) -> FloatArray:
    """Area between curve and price from the filled to the wanted rate."""
    wanted = _preferred(segments, price)
    at = np.flatnonzero((wanted != filled) & ~np.isnan(wanted))
    have, want = filled[at], wanted[at]
    half = 0.5 * (_price_at(segments, at, have) + _price_at(segments, at, want))
    area = (want - have) * (half - price[at])
    return _sum(owner[at], np.maximum(area, 0.0), demands)


def _values(
    segments: Segments, filled: FloatArray, owner: IntArray, demands: int
) -> FloatArray:
    """Area under each curve from 0 to the filled rate."""
    at = np.flatnonzero(filled)
    rate = filled[at]
    start = _price_at(segments, at, np.zeros(len(at)))
    half = 0.5 * (start + _price_at(segments, at, rate))
    return _sum(owner[at], half * rate, demands)


def _price_at(segments: Segments, at: IntArray, rate: FloatArray) -> FloatArray:
    """Price of some pieces at a rate each."""
    top, low = segments.top[at], segments.low[at]
    drop = top - segments.bottom[at]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (rate - low) / (segments.high[at] - low)
    return np.where(drop == 0.0, top, top - drop * share)


def _mismatch(terms: Terms, ours: FloatArray, theirs: FloatArray) -> FloatArray:
    """R = A'price - W'mu of live portfolios, 0 of others."""
    live = (np.diff(terms.usage.ptr) > 0) & (np.diff(terms.basis.ptr) > 0)
    return np.where(live, ours - theirs, 0.0)


def _stationarity(
    mismatch: FloatArray, terms: Terms, rates: FloatArray, *, worth: float
) -> float:
    """Relate prices that differ to prices, and what they hide of the gap to money."""
    differ = np.abs(mismatch)
    hidden = float(differ @ np.abs(rates)) / worth
    return _largest(np.array([_largest(differ / terms.price_sizes), hidden]))


def _forward(rows: Ragged, values: FloatArray) -> FloatArray:
    return _sum(rows.rows(), rows.weight * values[rows.idx], len(rows))


def _adjoint(rows: Ragged, values: FloatArray, count: int) -> FloatArray:
    spread = np.repeat(values, np.diff(rows.ptr))
    return _sum(rows.idx, rows.weight * spread, count)


def _gross(rows: Ragged, values: FloatArray, count: int) -> FloatArray:
    spread = np.abs(rows.weight * np.repeat(values, np.diff(rows.ptr)))
    return _sum(rows.idx, spread, count)


def _sum(groups: IntArray, values: FloatArray, count: int) -> FloatArray:
    total = np.bincount(groups, weights=values, minlength=count)
    return total.astype(np.float64, copy=False)


def _largest(values: FloatArray) -> float:
    worst = float(np.max(values, initial=0.0))
    return worst if worst == worst else float("inf")


def verdict(worst: float) -> ClearingStatus:
    """What an answer's largest relative measure makes of it."""
    if worst <= _CERTIFIED:
        return ClearingStatus.CERTIFIED
    if worst <= _ACCEPTED:
        return ClearingStatus.ACCEPTED
    return ClearingStatus.REJECTED
