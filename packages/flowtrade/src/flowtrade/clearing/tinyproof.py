"""The certificate of a tiny answer, in loops over plain numbers.

The identities, measures and tolerances are those of `certificate`, which tells them;
a property holds the two together. It exists because a tiny auction's proof in arrays
takes longer than its solution.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isinf
from typing import TypeAlias, final

from flowtrade.clearing.certificate import POTENTIAL, verdict
from flowtrade.clearing.tiny import Row, lower_median
from flowtrade.models.clearing import Certificate

__all__ = ["Piece", "TinyAudit", "TinyTerms"]

Piece: TypeAlias = tuple[float, float, float, float]
"""Lowest and highest rate of a piece, and the prices there."""


@dataclass(slots=True, eq=False)
class TinyAudit:
    """A certificate and what it sums up.

    Attributes:
        certificate: The verdict and its measures.
        net: Net rate of each demand.
        regret: Regret of each demand.
        value: Value of each demand's net rate.
        volume: Gross volume of each product.
    """

    certificate: Certificate
    net: list[float]
    regret: list[float]
    value: list[float]
    volume: list[float]


@final
class TinyTerms:
    """What was asked for; see `certificate.Terms`.

    Attributes:
        products: Number of products.
        pieces: Of each demand.
        usage: Demands of each live portfolio; of others, none.
        basis: Products of each portfolio.
        used: Numbers of the demands that some live portfolio feeds.
        rate: Typical width of a piece.
        price: Typical price.
        ranges: Range of each demand, an infinite piece as typical.
    """

    def __init__(
        self,
        products: int,
        pieces: Sequence[Sequence[Piece]],
        usage: Sequence[Row],
        basis: Sequence[Row],
        used: Sequence[int],
    ) -> None:
        self.products, self.pieces = products, pieces
        self.usage, self.basis, self.used = usage, basis, used
        mine = [piece for d in used for piece in pieces[d]]
        widths = [high - low for low, high, _, _ in mine]
        self.rate = lower_median([w for w in widths if isfinite(w)]) or 1.0
        reach = [max(abs(top), abs(bottom)) for _, _, top, bottom in mine]
        level = max(lower_median(reach), 1e-3 * max(reach, default=0.0))
        self.price = level or 1.0
        self.ranges = {d: self._range(pieces[d]) for d in used}
        turnover = 0.0
        for size, width in zip(reach, widths, strict=True):
            turnover += size * (width if isfinite(width) else self.rate)
        self.floor = 1e-2 * turnover

    def _range(self, pieces: Iterable[Piece]) -> float:
        total = 0.0
        for low, high, _, _ in pieces:
            width = high - low
            total += width if isfinite(width) else self.rate
        return total

    def audit(
        self,
        *,
        rates: Sequence[float],
        prices: Sequence[float],
        marginal: Sequence[float],
    ) -> TinyAudit:
        """Measure an answer, as `certificate.audit` does."""
        count = len(self.pieces)
        net, regret, value = [0.0] * count, [0.0] * count, [0.0] * count
        for row, rate in zip(self.usage, rates, strict=True):
            for d, weight in row:
                net[d] += weight * rate
        gains = gap = potential = domain = astray = most = 0.0
        for d in self.used:
            seen = _look(self.pieces[d], net[d], marginal[d], self.rate)
            value[d], regret[d] = seen.value, seen.regret
            gains, gap = gains + seen.value, gap + seen.regret
            potential += seen.potential
            astray = _larger(astray, seen.astray)
            most = _larger(most, seen.regret)
            reach = max(self.ranges[d], self.rate)
            domain = _larger(domain, abs(seen.outside) / reach)
        imbalance, volume = self._balance(rates)
        worth = abs(gains) + POTENTIAL * (potential + self.floor or 1.0)
        floor = 1e-6 * self.rate
        measures = {
            "relative_gap": gap / worth,
            "relative_imbalance": _largest(
                abs(lack) / max(size, floor)
                for lack, size in zip(imbalance, volume, strict=True)
            ),
            "domain": domain,
            "stationarity": self._mismatch(rates, prices, marginal, worth=worth),
            "unlimited": astray / self.price,
        }
        # What the imbalance is worth; with balance and consistent prices it is nothing.
        correction = -sum([p * b for p, b in zip(prices, imbalance, strict=True)])
        certificate = Certificate(
            status=verdict(_largest(measures.values())),
            gains=gains,
            dual_bound=gains + gap + correction,
            gap=gap,
            max_regret=most,
            value_scale=worth,
            imbalance=_largest(map(abs, imbalance)),
            volume=0.5 * sum(volume),
            **measures,
        )
        return TinyAudit(certificate, net, regret, value, volume)

    def _balance(self, rates: Sequence[float]) -> tuple[list[float], list[float]]:
        imbalance, volume = [0.0] * self.products, [0.0] * self.products
        for row, rate in zip(self.basis, rates, strict=True):
            if rate:
                for k, weight in row:
                    share = weight * rate
                    imbalance[k] += share
                    volume[k] += abs(share)
        return imbalance, volume

    def _mismatch(
        self,
        rates: Sequence[float],
        prices: Sequence[float],
        marginal: Sequence[float],
        *,
        worth: float,
    ) -> float:
        worst = hidden = 0.0
        for feeds, holds, rate in zip(self.usage, self.basis, rates, strict=True):
            if not feeds or not holds:
                continue
            gap = size = 0.0
            for k, weight in holds:
                gap += weight * prices[k]
            theirs = 0.0
            for d, weight in feeds:
                theirs += weight * marginal[d]
                size += abs(weight)
            differ = abs(gap - theirs)
            worst = _larger(worst, differ / size)
            hidden += differ * abs(rate)
        return _larger(worst / self.price, hidden / worth)


@dataclass(slots=True, eq=False)
class _Seen:
    """One demand at its net rate and marginal price."""

    value: float = 0.0
    regret: float = 0.0
    potential: float = 0.0
    astray: float = 0.0
    outside: float = 0.0


def _look(pieces: Sequence[Piece], net: float, wished: float, rate: float) -> _Seen:
    """Fill a demand's pieces with its net rate and judge each at the price."""
    filled, outside = _fill(pieces, net)
    out = _Seen(outside=outside)
    for (low, high, top, bottom), have in zip(pieces, filled, strict=True):
        price = wished
        if isinf(high):
            price = max(price, top)
        if isinf(low):
            price = min(price, top)
        out.astray = _larger(out.astray, abs(price - wished))
        drop, width = top - bottom, high - low
        if have:
            start = top - drop * ((0.0 - low) / width) if drop else top
            end = top - drop * ((have - low) / width) if drop else top
            out.value += 0.5 * (start + end) * have
        out.regret += _regret((low, high, top, bottom), have, price)
        size = width if isfinite(width) else rate
        out.potential += (abs(0.5 * (top + bottom) - price) + drop) * size
    return out


def _fill(pieces: Sequence[Piece], net: float) -> tuple[list[float], float]:
    """Buying fills pieces in order, selling from the last one back."""
    filled = [0.0] * len(pieces)
    if net > 0.0:
        for i, (_, high, _, _) in enumerate(pieces):
            filled[i] = share = min(net, high)
            net -= share
    elif net < 0.0:
        for i in range(len(pieces) - 1, -1, -1):
            filled[i] = share = max(net, pieces[i][0])
            net -= share
    return filled, net


def _regret(piece: Piece, filled: float, price: float) -> float:
    """Area between curve and price from the filled to the wanted rate."""
    low, high, top, bottom = piece
    drop = top - bottom
    if price >= top:
        if price == top and not drop:
            return 0.0
        wanted = low
    elif price > bottom:
        wanted = min(max(low + (top - price) / drop * (high - low), low), high)
    else:
        wanted = high
    if wanted == filled:
        return 0.0
    have = want = top
    if drop:
        have = top - drop * ((filled - low) / (high - low))
        want = top - drop * ((wanted - low) / (high - low))
    # No number is no proof: the larger of it and 0 would be 0.
    area = (wanted - filled) * (0.5 * (have + want) - price)
    return area if area != area or area > 0.0 else 0.0


def _larger(one: float, other: float) -> float:
    """The larger of two; what is no number is larger than any."""
    return inf if other != other else max(one, other)


def _largest(values: Iterable[float]) -> float:
    worst = 0.0
    for value in values:
        worst = _larger(worst, value)
    return worst
