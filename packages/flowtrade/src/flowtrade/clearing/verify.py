"""Check a published batch without trusting whoever published it.

This file stands alone: it needs Python and numpy, nothing else of this package, so
that a third party can read all of it, copy it and run

    python verify.py batch.json

on `{"auction": {"demand_curves", "portfolios"}, "outcome": {"portfolios", "products",
"demands"}}`. It repeats, on purpose and in plain loops, what `certificate` computes:
from every demand's curve, net rate and marginal price it finds the money the demand
would gain by another rate (its regret). All regrets together bound what any other
outcome could gain. Beside that, products must balance and every portfolio's price must
equal the weighted marginal prices of its demands.
"""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Finding", "demand_regret", "verify"]

_TOLERANCE = 1e-6

_FAR_OUT = 4.99
"""Decades from the scale from which on a number is an excuse: five, up to rounding."""

_AllTerms: TypeAlias = Mapping[str, tuple[dict[str, float], dict[str, float]]]
"""Of each portfolio: the weights of its demands, and of its products."""


@dataclass(frozen=True)
class Finding:
    """What the check found.

    Attributes:
        is_optimal: Whether everything holds within the tolerance.
        gains: Gains from trade of the published rates.
        gap: No other outcome can gain more than `gains + gap`.
        imbalance: Largest imbalance of a product against its gross volume.
        mismatch: Largest difference of a portfolio's price from its demands' marginal
            prices, against the scale of prices.
        domain: Largest net rate outside its curve, against the scale of rates.
        failures: What does not hold, in words.
        set_aside: The orders that the outcome says it was cleared without, for a
            number of theirs far out of scale: whether they have that number was
            checked. What is optimal is so among all others.
    """

    is_optimal: bool
    gains: float
    gap: float
    imbalance: float
    mismatch: float
    domain: float
    failures: tuple[str, ...]
    set_aside: tuple[str, ...] = ()


def verify(
    auction: Mapping[str, Any],
    outcome: Mapping[str, Any],
    *,
    tolerance: float = _TOLERANCE,
) -> Finding:
    """Check an outcome against the orders it claims to clear.

    Args:
        auction: `demand_curves` and `portfolios`, as submitted.
        outcome: `portfolios` and `products` with `rate` and `price`, `demands` with
            `price`, as published; `set_aside`, if there, names the portfolios that it
            was cleared without.
        tolerance: Relative size up to which a violation is rounding.

    Raises:
        KeyError: The outcome lacks a portfolio, a product or a demand.
    """
    curves = {key: _points(value) for key, value in auction["demand_curves"].items()}
    terms = {key: _terms(value, curves) for key, value in auction["portfolios"].items()}
    aside = {row["portfolio"]: row for row in outcome.get("set_aside", ())}
    excuses = [
        f"portfolio {key} is set aside for a number that is not its, or not far out"
        for key, row in aside.items()
        if not _is_far_out(row, terms[key], curves)
    ]
    # As if they fed no demand: their products are there, and they have no voice.
    terms |= {key: ({}, terms[key][1]) for key in aside}
    rates = {key: outcome["portfolios"][key]["rate"] for key in terms}
    prices = {key: row["price"] for key, row in outcome["products"].items()}
    failures = excuses + [
        f"portfolio {key} takes no part but has a rate"
        for key, (demand, basis) in terms.items()
        if not (demand and basis) and rates[key] != 0.0
    ]
    live = {key: term for key, term in terms.items() if term[0] and term[1]}
    net = _net_rates(live, rates)
    marginal = {name: outcome["demands"][name]["price"] for name in net}
    price_scale, rate_scale = _scales([curves[name] for name in net])
    money = _Money()
    for name, rate in net.items():
        money.add(curves[name], rate, marginal[name])
    worst_domain = _most(_outside(curves[name], rate) for name, rate in net.items())
    differ = _differences(live, prices, marginal)
    mismatch = _most(share for share, _ in differ.values()) / price_scale
    imbalance = _imbalance(live, rates, prices, least=1e-6 * rate_scale)
    worth = abs(money.gains) + 1e-3 * money.potential
    hidden = sum(away * abs(rates[key]) for key, (_, away) in differ.items())
    checks = {
        "an outcome with higher gains may exist": money.gap / worth if worth else 0.0,
        "a product does not balance": imbalance,
        "a portfolio's price is not its demands'": mismatch,
        "prices that differ hide what may be gained": hidden / worth if worth else 0.0,
        "a demand is outside its curve": worst_domain / rate_scale,
        "an unlimited order prefers to trade on": money.unlimited / price_scale,
    }
    failures += [
        f"{text} ({size:.3g} of scale)"
        for text, size in checks.items()
        if not size <= tolerance
    ]
    return Finding(
        is_optimal=not failures,
        gains=money.gains,
        gap=money.gap,
        imbalance=imbalance,
        mismatch=mismatch,
        domain=worst_domain / rate_scale,
        failures=tuple(failures),
        set_aside=tuple(aside),
    )


def _is_far_out(
    row: Mapping[str, Any],
    terms: tuple[dict[str, float], dict[str, float]],
    curves: Mapping[str, Sequence[tuple[float, float]]],
) -> bool:
    """Whether an order has the number that it is said to be set aside for."""
    demand, basis = terms
    of, value, scale = row["of"], row["value"], row["scale"]
    if value is None or scale is None:  # beyond floats already: nothing to compare
        return not all(map(math.isfinite, [*demand.values(), *basis.values()]))
    points = curves.get(of, ())
    rates = [abs(rate) for rate, _ in points if math.isfinite(rate)]
    sizes = {
        "demand_weight": abs(demand.get(of, 0.0)),
        "basis_weight": abs(basis.get(of, 0.0)),
        "price": max((abs(price) for _, price in points), default=0.0),
        "rate": max(rates, default=0.0),
    }
    lot = max(map(abs, basis.values()), default=0.0)
    if lot and sizes["demand_weight"]:
        unit = sizes["demand_weight"] / lot
        sizes["unit_price"] = sizes["price"] * unit
        sizes["unit_rate"] = sizes["rate"] / unit if unit else math.inf
    if not math.isclose(sizes[row["number"]], value, rel_tol=1e-9):
        return False
    return abs(math.log10(value) - math.log10(scale)) >= _FAR_OUT


def _net_rates(terms: _AllTerms, rates: Mapping[str, float]) -> dict[str, float]:
    """Return what each demand receives of all its portfolios."""
    net: dict[str, float] = {}
    for key, (demand, _) in terms.items():
        for name, weight in demand.items():
            net[name] = net.get(name, 0.0) + weight * rates[key]
    return net


def _differences(
    terms: _AllTerms, prices: Mapping[str, float], marginal: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    """Return by how much portfolios' prices differ from their demands'.

    First for each unit of its demands' weight, then for one of the portfolio.
    """

    def of(demand: dict[str, float], basis: dict[str, float]) -> tuple[float, float]:
        ours = sum(weight * prices[name] for name, weight in basis.items())
        theirs = sum(weight * marginal[name] for name, weight in demand.items())
        away = abs(ours - theirs)
        return away / sum(abs(weight) for weight in demand.values()), away

    return {key: of(demand, basis) for key, (demand, basis) in terms.items()}


def _imbalance(
    terms: _AllTerms,
    rates: Mapping[str, float],
    prices: Mapping[str, float],
    *,
    least: float,
) -> float:
    """Return the largest imbalance of a product, relative to its volume."""
    balance, volume = dict.fromkeys(prices, 0.0), dict.fromkeys(prices, 0.0)
    for key, (_, basis) in terms.items():
        for name, weight in basis.items():
            balance[name] += weight * rates[key]
            volume[name] += abs(weight * rates[key])
    return _most(abs(balance[name]) / max(least, volume[name]) for name in balance)


def _most(values: Iterable[float]) -> float:
    """Return the largest, 0 of none; NaN if one is, which `max` would pass over."""
    found = list(values)
    return math.nan if any(map(math.isnan, found)) else max(found, default=0.0)


def demand_regret(curve: object, net: float, price: float) -> float:
    """The money one demand would gain at a price by another net rate; >= 0.

    Args:
        curve: As submitted: null, a list of points, or an object with a price.
        net: The net rate it received.
        price: Its marginal price.
    """
    money = _Money()
    money.add(_points(curve), net, price)
    return money.gap


class _Money:
    """Sums over demands."""

    def __init__(self) -> None:
        self.gains = 0.0
        self.gap = 0.0
        self.potential = 0.0
        self.unlimited = 0.0

    def add(
        self,
        points: Sequence[tuple[float, float]],
        net: float,
        price: float,
    ) -> None:
        """Integrate a curve from 0 to its net rate, and on to where it meets price."""
        low, high = points[0][0], points[-1][0]
        net = min(max(net, low), high)
        if math.isinf(high) and price < points[-1][1]:
            self.unlimited = max(self.unlimited, points[-1][1] - price)
            price = points[-1][1]
        if math.isinf(low) and price > points[0][1]:
            self.unlimited = max(self.unlimited, price - points[0][1])
            price = points[0][1]
        for (left, top), (right, bottom) in pairwise(points):
            if right == left:
                continue
            self.gains += _area(left, right, top, bottom, 0.0, net)
            best = _best(left, right, top, bottom, price)
            here = min(max(net, left), right)
            if best is not None and best != here:
                # Area between curve and price, between what it has and wants.
                area = _area(left, right, top, bottom, here, best)
                self.gap += max(area - price * (best - here), 0.0)
            width = min(right - left, 1e300)
            if math.isfinite(right) and math.isfinite(left):
                middle = 0.5 * (top + bottom)
                self.potential += width * (abs(middle - price) + (top - bottom))
                self.potential += 1e-2 * width * max(abs(top), abs(bottom))


def _area(
    left: float, right: float, top: float, bottom: float, start: float, end: float
) -> float:
    """Area under a piece between two rates, negative if they run leftwards."""
    start = min(max(start, left), right)
    end = min(max(end, left), right)
    if start == end:
        return 0.0
    if top == bottom:
        return top * (end - start)
    fall = (top - bottom) / (right - left)
    return (end - start) * (top - fall * (0.5 * (start + end) - left))


def _best(
    left: float, right: float, top: float, bottom: float, price: float
) -> float | None:
    """The piece's preferred rate; None if any is as good."""
    if price > top:
        return left
    if price < bottom:
        return right
    if top == bottom:
        return None
    return left + (right - left) * (top - price) / (top - bottom)


def _outside(points: Sequence[tuple[float, float]], net: float) -> float:
    return max(points[0][0] - net, net - points[-1][0], 0.0)


def _scales(curves: Sequence[Sequence[tuple[float, float]]]) -> tuple[float, float]:
    """Typical price and typical rate of the pieces."""
    prices, widths = [], []
    for points in curves:
        for (left, top), (right, bottom) in pairwise(points):
            if right > left:
                prices.append(max(abs(top), abs(bottom)))
                if math.isfinite(right - left):
                    widths.append(right - left)
    price = float(np.median(prices)) if prices else 0.0
    price = max(price, 1e-3 * max(prices, default=0.0)) or 1.0
    rate = float(np.median(widths)) if widths else 0.0
    return price, rate or 1.0


def _points(curve: object) -> list[tuple[float, float]]:
    """A curve's corners; no curve admits rate 0 only."""
    if curve is None:
        return [(0.0, 0.0)]
    if isinstance(curve, Mapping):
        low, high = curve.get("min_rate"), curve.get("max_rate")
        price = float(curve["price"])
        return [
            (-math.inf if low is None else float(low), price),
            (math.inf if high is None else float(high), price),
        ]
    if not isinstance(curve, Sequence):
        raise TypeError(f"no curve: {curve!r}")
    return [(float(point["rate"]), float(point["price"])) for point in curve]


def _terms(
    portfolio: Mapping[str, Any], curves: Mapping[str, object]
) -> tuple[dict[str, float], dict[str, float]]:
    demand = {k: w for k, w in _group(portfolio["demand"]).items() if k in curves}
    return demand, _group(portfolio["basis"])


def _group(value: object) -> dict[str, float]:
    if value is None:
        return {}
    if isinstance(value, str):
        return {value: 1.0}
    if isinstance(value, Mapping):
        return {key: float(weight) for key, weight in value.items() if weight != 0}
    if isinstance(value, Sequence):
        return dict.fromkeys(value, 1.0)
    raise TypeError(f"no group: {value!r}")


def main(paths: Sequence[str]) -> int:
    """Check the batches in the named files; the number of bad ones is returned."""
    bad = 0
    for path in paths:
        batch = json.loads(Path(path).read_text())
        finding = verify(batch["auction"], batch["outcome"])
        bad += not finding.is_optimal
        sys.stdout.write(f"{path}: {finding}\n")
    return bad


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
