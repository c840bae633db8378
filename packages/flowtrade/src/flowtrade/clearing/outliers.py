"""Orders whose numbers are far outside their market's scale.

Nothing bounds the size of a number in an order, and floats hold sixteen digits. One
order with a weight of 1e-50 or a price of 1e30 can spoil a market in two ways: no
answer can be certified any more, or any answer is, because "relative to the scale"
means relative to that order. This module finds such orders (`find_outliers`) and judges
an answer in the scale of all others (`Inliers`), so that the second way becomes the
first; `setaside` deals with that.

How far out a number is, is told in decades from the median of its kind among all orders
of the same connected component. No owner, name or place in the input enters. Numbers
have several kinds: those written in the order, and price and rate in units of the
product, since a lot of a thousand at a thousandth of the rate is no outlier. Three
ordinary numbers (1) count along, so that two orders do not outvote each other, and a
median beyond 1e9 or below 1e-9 counts as that: a crowd of absurd orders does not turn
those of everybody else into outliers.
"""

from dataclasses import dataclass
from math import inf
from typing import Final

import msgspec
import numpy as np

from flowtrade.clearing.arrays import BoolArray, FloatArray, IntArray, Ragged, group_sum
from flowtrade.clearing.certificate import POTENTIAL, Audit, Terms, verdict
from flowtrade.clearing.columns import Columns
from flowtrade.clearing.graph import label_parts
from flowtrade.clearing.market import Market
from flowtrade.clearing.parts import live_usage
from flowtrade.models.clearing import OutlyingNumber, SetAside

__all__ = ["DECADES", "Inliers", "Outliers", "find_outliers"]

DECADES: Final = 8.0
"""Decades from the median from which on a number is outlying. Sound markets of lots
that differ by five are common; floats lose the small ones from about ten on (measured).
"""

_ORDINARY: Final = 9.0
"""Decades from 1 that a median may be away and still be believed."""

_NUMBERS: Final = tuple(OutlyingNumber)
_WRITTEN: Final = 4
"""Kinds that stand in the order itself come first; the others follow from them."""

_BOTH_WAYS: Final = frozenset({0, 1})
"""Kinds of which a small one is outlying, too: weights. An order of hardly any price or
rate is as harmless as one of none."""

_VOTES: Final = 3
"""Ordinary numbers that count along in each median."""


@dataclass(frozen=True, slots=True, eq=False)
class _Entries:
    """Numbers of one kind.

    Attributes:
        owner: Portfolio of each.
        of: Demand or product of each.
        value: Their sizes.
    """

    owner: IntArray
    of: IntArray
    value: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Outliers:
    """The outlying orders of a market.

    Attributes:
        decades: Of each portfolio, how far out its farthest number is; 0 for those
            that are not outlying.
        number: Of each portfolio, the kind of the number to name.
        of: Its demand or product.
        value: That number's size.
        centre: The median it is judged against, in decades.
        component: Component of each portfolio; -1 for one that takes no part.
        home: The lowest number of a product in each component.
    """

    decades: FloatArray
    number: IntArray
    of: IntArray
    value: FloatArray
    centre: FloatArray
    component: IntArray
    home: IntArray

    @property
    def found(self) -> BoolArray:
        """Which portfolios are outlying."""
        return self.decades > 0.0

    def named(self, market: Market, portfolio: int) -> SetAside:
        """Return what is to be said of an outlying portfolio."""
        number = _NUMBERS[int(self.number[portfolio])]
        names = market.demand_ids
        if number is OutlyingNumber.BASIS_WEIGHT:
            names = market.product_ids
        value = float(self.value[portfolio])
        return SetAside(
            portfolio=market.portfolio_ids[portfolio],
            number=number,
            of=names[int(self.of[portfolio])],
            value=value if value < inf else None,
            scale=10.0 ** float(self.centre[portfolio]),
        )


def find_outliers(columns: Columns, *, decades: float = DECADES) -> Outliers | None:
    """Find the orders whose numbers are far out.

    Args:
        columns: The market.
        decades: From how far on.

    Returns:
        They, or None where there are none, which takes some passes over the columns
        to see.
    """
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        if not _may_have_some(columns, decades):
            return None
        live, usage = live_usage(columns)
        basis = columns.basis
        if not live.all():
            basis = basis.filter(np.repeat(live, np.diff(basis.ptr)))
        return _judge_sizes(columns, usage, basis, decades)


def _may_have_some(columns: Columns, decades: float) -> bool:
    """Whether the extremes admit an outlier: what it costs to look at all others."""
    least, most = 10.0**-decades, 10.0**decades
    own_low, own_high = _extremes(columns.usage.weight)
    lot_low, lot_high = _extremes(columns.basis.weight)
    price = _extremes(columns.curves.price)[1]
    rate = _extremes(columns.curves.rate)[1]
    if rate == inf:
        rates = columns.curves.rate
        rate = _extremes(rates[np.isfinite(rates)])[1]
    within = (
        own_low > least * own_high
        and lot_low > least * lot_high
        and price < most
        and rate < most
        and price * own_high < most * lot_low
        and rate * lot_high < most * own_low
    )
    return not within


def _extremes(values: FloatArray) -> tuple[float, float]:
    """Smallest and largest size, with an ordinary number counted along."""
    if not len(values):
        return 1.0, 1.0
    sizes = np.abs(values)
    return min(float(sizes.min()), 1.0), max(float(sizes.max()), 1.0)


_Table = tuple[Ragged, IntArray, FloatArray]


def _sizes(columns: Columns, usage: Ragged, basis: Ragged) -> list[_Table]:
    """Numbers of each kind: the table they are in, whose they are, their sizes."""
    price = _largest_of(columns.curves.ptr, np.abs(columns.curves.price))
    rates = np.abs(columns.curves.rate)
    rate = _largest_of(columns.curves.ptr, np.where(np.isinf(rates), 0.0, rates))
    own, lots = np.abs(usage.weight), np.abs(basis.weight)
    # Per unit of the largest product; two steps, so that neither overflows too soon.
    unit = own / np.repeat(_largest_of(basis.ptr, lots), np.diff(usage.ptr))
    prices, asked = price[usage.idx], rate[usage.idx]
    return [
        (usage, usage.idx, own),
        (basis, basis.idx, lots),
        (usage, usage.idx, prices),
        (usage, usage.idx, asked),
        (usage, usage.idx, np.where(prices == 0.0, 0.0, prices * unit)),
        (usage, usage.idx, np.where(asked == 0.0, 0.0, asked / unit)),
    ]


def _largest_of(ptr: IntArray, values: FloatArray) -> FloatArray:
    """Largest of each row's values, 0 of none."""
    out = np.zeros(len(ptr) - 1)
    filled = np.flatnonzero(np.diff(ptr))
    if len(filled):
        out[filled] = np.maximum.reduceat(values, ptr[filled])
    return out


def _judge_sizes(
    columns: Columns, usage: Ragged, basis: Ragged, decades: float
) -> Outliers | None:
    component, home = _components(columns, usage, basis)
    count = len(component)
    out = Outliers(
        decades=np.zeros(count),
        number=np.zeros(count, np.int64),
        of=np.zeros(count, np.int64),
        value=np.zeros(count),
        centre=np.zeros(count),
        component=component,
        home=home,
    )
    named = np.zeros(count)
    for number, (table, of, values) in enumerate(_sizes(columns, usage, basis)):
        entries = _Entries(table.rows(), of, values)
        _judge(out, named, number, entries, decades)
    out.decades[out.decades < decades] = 0.0
    return out if out.found.any() else None


def _judge(
    out: Outliers,
    named: FloatArray,
    number: int,
    entries: _Entries,
    decades: float,
) -> None:
    """Take over what is farther out than what was found before."""
    known = np.flatnonzero(entries.value > 0.0)
    owner, of, value = entries.owner[known], entries.of[known], entries.value[known]
    size = np.log10(value)
    centres = _medians(out.component[owner], size, len(out.home))
    if number not in _BOTH_WAYS:
        centres = np.maximum(centres, 0.0)
    centre = centres[out.component[owner]]
    away = size - centre
    if number in _BOTH_WAYS:
        away = np.abs(away)
    np.maximum.at(out.decades, owner, away)
    if number >= _WRITTEN:
        # What the bidder wrote is named, unless none of it is outlying.
        away = np.where(named[owner] >= decades, 0.0, away)
    # The farthest of each owner last; of equal ones the lowest demand or product.
    order = np.lexsort((-of, away, owner))
    last = np.ones(len(order), np.bool_)
    last[:-1] = owner[order][1:] != owner[order][:-1]
    best = order[last]
    best = best[away[best] > named[owner[best]]]
    place = owner[best]
    named[place] = away[best]
    out.number[place] = number
    out.of[place] = of[best]
    out.value[place] = value[best]
    out.centre[place] = centre[best]


def _medians(group: IntArray, values: FloatArray, count: int) -> FloatArray:
    """The lower median of each group and its ordinary numbers, kept believable."""
    groups = np.concatenate([group, np.repeat(np.arange(count), _VOTES)])
    sizes = np.concatenate([values, np.zeros(_VOTES * count)])
    order = np.lexsort((sizes, groups))
    lengths = np.bincount(groups, minlength=count)
    middle = np.cumsum(lengths) - lengths + (lengths - 1) // 2
    found: FloatArray = np.clip(sizes[order][middle], -_ORDINARY, _ORDINARY)
    return found


def _components(
    columns: Columns, usage: Ragged, basis: Ragged
) -> tuple[IntArray, IntArray]:
    """Component of each portfolio, -1 without part; first product of each."""
    row = np.concatenate([basis.rows(), usage.rows()])
    column = np.concatenate([basis.idx, columns.products + usage.idx])
    count, label, other = label_parts(
        row, column, columns.portfolios, columns.products + columns.demands
    )
    home = np.full(count, columns.products)
    np.minimum.at(home, other[: columns.products], np.arange(columns.products))
    return np.where(np.diff(usage.ptr) > 0, label, -1), home


class Inliers:
    """Judges answers by all but the outlying orders.

    Args:
        terms: The whole market, as the certificate sees it.
        outliers: Its outlying orders.
    """

    def __init__(self, terms: Terms, outliers: Outliers) -> None:
        self._terms = terms
        usage = terms.usage
        within = ~outliers.found
        # A demand that an outlying order feeds as well is judged with that order.
        touched = np.zeros(len(terms.used), np.bool_)
        touched[usage.idx[~np.repeat(within, np.diff(usage.ptr))]] = True
        self._demands = terms.used & ~touched
        self._portfolios = within & (np.diff(usage.ptr) > 0)
        self._own = Terms(
            terms.products,
            terms.segments,
            usage.filter(self._demands[usage.idx]),
            terms.basis,
        )
        mine = self._own.mine
        prices = (terms.segments.top[mine], terms.segments.bottom[mine])
        self._reach = max(_largest(np.abs(price)) for price in prices)

    def judged(
        self,
        proof: Audit,
        *,
        rates: FloatArray,
        prices: FloatArray,
        marginal: FloatArray,
    ) -> Audit:
        """Return a proof whose measures hold in the scale of the others, too.

        Args:
            proof: What was measured of the whole.
            rates: Of portfolios.
            prices: Of products.
            marginal: Marginal prices of demands; NaN for one no live portfolio feeds.
        """
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            measures = self._measures(proof, rates, prices, marginal)
        was = proof.certificate
        measures = {
            name: _worse(value, getattr(was, name)) for name, value in measures.items()
        }
        certificate = msgspec.structs.replace(was, **measures)
        status = verdict(certificate.worst)
        certificate = msgspec.structs.replace(certificate, status=status)
        return Audit(certificate, proof.net, proof.regret, proof.value, proof.volume)

    def _measures(
        self, proof: Audit, rates: FloatArray, prices: FloatArray, marginal: FloatArray
    ) -> dict[str, float]:
        terms, own, mine = self._terms, self._own, self._demands
        scales, segments = own.scales, terms.segments
        mu = np.where(mine, marginal, 0.0)
        price = mu[terms.owner]
        gains = abs(float(proof.value[mine].sum()))
        # Where one's price is beyond all that anybody else names, its size is no scale.
        usual = np.clip(price, -self._reach, self._reach)
        worth = gains + POTENTIAL * scales.potential(segments, usual, own.mine)
        balance, volume, held = self._balance(rates)
        least = 1e-6 * scales.rate
        differ, sizes = self._differences(prices, marginal)
        hidden = float(differ @ np.abs(rates[self._portfolios])) / worth
        return {
            "relative_gap": float(proof.regret[mine].sum()) / worth,
            "relative_imbalance": _largest(
                balance[held] / np.maximum(volume[held], least)
            ),
            "stationarity": _largest(np.append(differ / sizes, hidden)),
            "unlimited": _largest(self._beyond(price)[own.mine]) / scales.price,
        }

    def _balance(self, rates: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """What of each product is left over, what inliers trade, what they hold."""
        basis, products = self._terms.basis, self._terms.products
        flow = basis.weight * np.repeat(rates, np.diff(basis.ptr))
        ours = np.repeat(self._portfolios, np.diff(basis.ptr))
        balance = np.abs(group_sum(basis.idx, flow, products))
        volume = group_sum(basis.idx[ours], np.abs(flow[ours]), products)
        held = np.zeros(products, np.bool_)
        held[basis.idx[ours]] = True
        return balance, volume, held

    def _differences(
        self, prices: FloatArray, marginal: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """How far inliers' prices are from their demands', and what to compare with."""
        terms, at = self._terms, np.flatnonzero(self._portfolios)
        usage, basis = terms.usage.take(at), terms.basis.take(at)
        ours = group_sum(basis.rows(), basis.weight * prices[basis.idx], len(at))
        theirs = group_sum(usage.rows(), usage.weight * marginal[usage.idx], len(at))
        weight = group_sum(usage.rows(), np.abs(usage.weight), len(at))
        return np.abs(ours - theirs), self._own.scales.price * weight

    def _beyond(self, price: FloatArray) -> FloatArray:
        """By how much each piece's price is one at which it would trade for ever."""
        segments = self._terms.segments
        low = np.where(np.isinf(segments.high), segments.top - price, 0.0)
        high = np.where(np.isinf(segments.low), price - segments.top, 0.0)
        return np.maximum(np.maximum(low, high), 0.0)


def _worse(one: float, other: float) -> float:
    return inf if one != one or other != other else max(one, other)


def _largest(values: FloatArray) -> float:
    worst = float(np.max(values, initial=0.0))
    return worst if worst == worst else inf
