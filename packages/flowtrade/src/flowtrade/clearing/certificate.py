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

import numpy as np

from flowtrade.clearing.arrays import BoolArray, FloatArray, IntArray, Ragged
from flowtrade.clearing.segments import Segments
from flowtrade.models.clearing import Certificate, ClearingStatus

__all__ = ["Audit", "Terms", "audit"]

_CERTIFIED = 1e-9
_ACCEPTED = 1e-6

_POTENTIAL = 1e-3
"""Share of the tradable value in the value scale: zero trade must be judged, too."""


@dataclass(frozen=True, slots=True, eq=False)
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
    terms: Terms, *, rates: FloatArray, prices: FloatArray, marginal: FloatArray
) -> Audit:
    """Measure an answer.

    Args:
        terms: The auction.
        rates: Of portfolios.
        prices: Of products.
        marginal: Marginal prices of demands; NaN for one no live portfolio feeds.

    Returns:
        The certificate, whatever its verdict.
    """
    segments, usage = terms.segments, terms.usage
    demands = len(segments.ptr) - 1
    used = np.zeros(demands, np.bool_)
    used[usage.idx] = True
    mu = np.where(used, marginal, 0.0)
    net = _adjoint(usage, rates, demands)
    owner = np.repeat(np.arange(demands), np.diff(segments.ptr))
    filled, outside = _fill(segments, net)
    price = _admissible(segments, mu[owner])
    wanted = _preferred(segments, price)
    regret = _regrets(segments, filled, wanted, price, owner, demands)
    value = _sum(owner, _area(segments, filled), demands)
    money = _scales(segments, owner, used, price)
    imbalance = _adjoint(terms.basis, rates, terms.products)
    volume = _gross(terms.basis, rates, terms.products)
    mismatch = _mismatch(terms, prices, mu)
    gains, gap = float(value[used].sum()), float(regret[used].sum())
    # What the imbalance is worth; with balance and consistent prices it is nothing.
    correction = -float(prices @ imbalance)
    worth = abs(gains) + _POTENTIAL * money.potential
    measures = {
        "relative_gap": gap / worth,
        "relative_imbalance": _largest(
            np.abs(imbalance) / np.maximum(volume, 1e-6 * money.rate)
        ),
        "domain": _largest(np.abs(outside[used]) / money.range_of(used)),
        "stationarity": _largest(np.abs(mismatch) / money.price_of(usage)),
        "unlimited": _largest(np.abs(price - mu[owner])[used[owner]]) / money.price,
    }
    certificate = Certificate(
        status=_verdict(max(measures.values())),
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


@dataclass(frozen=True, slots=True, eq=False)
class _Scales:
    """What the measures are relative to."""

    price: float
    rate: float
    potential: float
    ranges: FloatArray

    def range_of(self, used: BoolArray) -> FloatArray:
        ranges: FloatArray = np.maximum(self.ranges[used], self.rate)
        return ranges

    def price_of(self, usage: Ragged) -> FloatArray:
        weight = np.zeros(len(usage))
        filled = np.flatnonzero(np.diff(usage.ptr))
        if len(filled):
            weight[filled] = np.add.reduceat(np.abs(usage.weight), usage.ptr[filled])
        return self.price * np.where(weight > 0.0, weight, 1.0)


def _scales(
    segments: Segments, owner: IntArray, used: BoolArray, price: FloatArray
) -> _Scales:
    mine = used[owner]
    width = (segments.high - segments.low)[mine]
    finite = width[np.isfinite(width)]
    rate = float(np.median(finite)) if len(finite) else 0.0
    width = np.where(np.isfinite(width), width, rate or 1.0)
    top, bottom = segments.top[mine], segments.bottom[mine]
    reach = np.maximum(np.abs(top), np.abs(bottom))
    level = float(np.median(reach)) if len(reach) else 0.0
    level = max(level, 1e-3 * _largest(reach))
    away = np.abs(0.5 * (top + bottom) - price[mine]) + (top - bottom)
    # Where all prices are one, only rounding is left: the floor is well above it.
    potential = float(away @ width) + 1e-2 * float(reach @ width)
    ranges = _sum(owner[mine], width, len(used))
    return _Scales(level or 1.0, rate or 1.0, potential or 1.0, ranges)


def _fill(segments: Segments, net: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fill each curve's pieces with its net rate; what does not fit comes second.

    Buying fills pieces in order, selling from the last one back. The loop runs over
    positions within a curve, all curves at once: running sums over all curves would
    lose digits.
    """
    lengths = np.diff(segments.ptr)
    filled = np.zeros(len(segments))
    rest = net.copy()
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


def _admissible(segments: Segments, price: FloatArray) -> FloatArray:
    """Move prices to where unlimited pieces admit them."""
    price = np.where(np.isinf(segments.high), np.maximum(price, segments.top), price)
    return np.where(np.isinf(segments.low), np.minimum(price, segments.top), price)


def _preferred(segments: Segments, price: FloatArray) -> FloatArray:
    """Each piece's best rate at a price; on a flat piece at it, NaN for any."""
    drop = segments.top - segments.bottom
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inner = segments.low + (segments.top - price) / drop * (
            segments.high - segments.low
        )
    best = np.where(price >= segments.top, segments.low, segments.high)
    between = (price < segments.top) & (price > segments.bottom)
    best = np.where(between, np.clip(inner, segments.low, segments.high), best)
    return np.where((drop == 0.0) & (price == segments.top), np.nan, best)


def _regrets(
    segments: Segments,
    filled: FloatArray,
    wanted: FloatArray,
    price: FloatArray,
    owner: IntArray,
    demands: int,
) -> FloatArray:
    """Area between curve and price from the filled to the wanted rate."""
    wanted = np.where(np.isnan(wanted), filled, wanted)
    half = 0.5 * (_price_at(segments, filled) + _price_at(segments, wanted))
    area = (wanted - filled) * (half - price)
    return _sum(owner, np.maximum(area, 0.0), demands)


def _price_at(segments: Segments, rate: FloatArray) -> FloatArray:
    drop = segments.top - segments.bottom
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (rate - segments.low) / (segments.high - segments.low)
    return np.where(drop == 0.0, segments.top, segments.top - drop * share)


def _area(segments: Segments, rate: FloatArray) -> FloatArray:
    """Value of a rate on a piece: the area under it from 0."""
    half = 0.5 * (_price_at(segments, np.zeros(len(rate))) + _price_at(segments, rate))
    return half * rate


def _mismatch(terms: Terms, prices: FloatArray, marginal: FloatArray) -> FloatArray:
    """R = A'price - W'mu of live portfolios, 0 of others."""
    ours = _forward(terms.basis, prices)
    theirs = _forward(terms.usage, marginal)
    live = (np.diff(terms.usage.ptr) > 0) & (np.diff(terms.basis.ptr) > 0)
    return np.where(live, ours - theirs, 0.0)


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


def _verdict(worst: float) -> ClearingStatus:
    if worst <= _CERTIFIED:
        return ClearingStatus.CERTIFIED
    if worst <= _ACCEPTED:
        return ClearingStatus.ACCEPTED
    return ClearingStatus.REJECTED
