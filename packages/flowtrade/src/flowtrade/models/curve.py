"""Demand curves: the price a bidder would pay as a function of its net rate.

A curve is weakly decreasing, its domain contains rate 0, and it has one of two
shapes: piecewise linear through points, or constant between two rates of which
either may be infinite. A positive rate buys, a negative rate sells.

This module owns the two records, their validity rules, their JSON form, and what a
rate is worth under them. At which rate a market clears is `flowtrade.clearing`.

A value of `PwlCurve` or `ConstantCurve` is always valid: the rules are checked when
it is made, whoever makes it.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import TypeAlias, final

from netcore.models import Model

__all__ = [
    "ConstantCurve",
    "Curve",
    "CurveError",
    "CurveErrorKind",
    "Point",
    "PwlCurve",
    "curve_to_builtins",
    "parse_curve",
    "utility",
]


class CurveErrorKind(StrEnum):
    """What is wrong with a curve; the value is the code that users see."""

    TYPE = "curve.type"
    PWL_EMPTY = "pwl.empty"
    PWL_POINT = "pwl.point"
    PWL_NAN = "pwl.nan"
    PWL_INFINITY = "pwl.infinity"
    PWL_NON_MONOTONE = "pwl.non_monotone"
    PWL_ZERO_TRADE = "pwl.zero_trade"
    CONSTANT_RATE = "constant.rate"
    CONSTANT_PRICE = "constant.price"
    CONSTANT_NAN = "constant.nan"
    CONSTANT_INFINITE_PRICE = "constant.infinite_price"
    CONSTANT_ZERO_TRADE = "constant.zero_trade"


@final
class CurveError(ValueError):
    """A curve that breaks a rule (the caller's fault, never recoverable by retry).

    Attributes:
        kind: Which rule was broken.
        index: The point that broke it, counted from 0, or None if it is not about
            one point.
    """

    def __init__(
        self, kind: CurveErrorKind, text: str, *, index: int | None = None
    ) -> None:
        where = "" if index is None else f" at point {index}"
        super().__init__(f"{kind.value}{where}: {text}")
        self.kind = kind
        self.index = index


class Point(Model, frozen=True, kw_only=True, gc=False):
    """One corner of a piecewise linear curve.

    Attributes:
        rate: Net rate, quantity per unit of time; buying is positive.
        price: Marginal price at that rate.
    """

    rate: float
    price: float


class PwlCurve(Model, frozen=True, kw_only=True, gc=False):
    """A piecewise linear curve through its points, in order of rate.

    Points may repeat, step down vertically (same rate, lower price) and run flat
    (same price). A single point must stand at rate 0: such a curve never trades.

    Raises:
        CurveError: Some rule is broken; rules are tried in the order empty, then
            point by point NaN, infinity, monotone, and last zero trade.
    """

    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        if not _keeps_all_rules(self.points):
            self._tell_broken_rule()

    def _tell_broken_rule(self) -> None:
        if not self.points:
            raise CurveError(
                CurveErrorKind.PWL_EMPTY,
                "a piecewise linear curve needs at least one point; send null to "
                "withdraw a curve",
            )
        previous: Point | None = None
        for index, point in enumerate(self.points):
            _check_point(index, point, previous)
            previous = point
        first, last = self.domain
        if not first <= 0.0 <= last:
            raise CurveError(
                CurveErrorKind.PWL_ZERO_TRADE,
                f"the rates must reach from <= 0 to >= 0, was {first} to {last}",
            )

    @property
    def domain(self) -> tuple[float, float]:
        """The lowest and the highest rate."""
        return self.points[0].rate, self.points[-1].rate


class ConstantCurve(Model, frozen=True, kw_only=True, gc=False):
    """One price for every rate between two bounds.

    Attributes:
        min_rate: Lowest rate, <= 0; minus infinity sells without limit.
        max_rate: Highest rate, >= 0; infinity buys without limit.
        price: The price, finite.

    Raises:
        CurveError: NaN anywhere, an infinite price, or bounds that exclude 0.
    """

    min_rate: float = -math.inf
    max_rate: float = math.inf
    price: float

    def __post_init__(self) -> None:
        if any(map(math.isnan, (self.min_rate, self.max_rate, self.price))):
            raise CurveError(
                CurveErrorKind.CONSTANT_NAN, "min_rate, max_rate and price are numbers"
            )
        if math.isinf(self.price):
            raise CurveError(
                CurveErrorKind.CONSTANT_INFINITE_PRICE,
                f"the price must be finite, was {self.price}",
            )
        if not self.min_rate <= 0.0 <= self.max_rate:
            raise CurveError(
                CurveErrorKind.CONSTANT_ZERO_TRADE,
                "the bounds must satisfy min_rate <= 0 <= max_rate, was "
                f"{self.min_rate} to {self.max_rate}",
            )

    @property
    def domain(self) -> tuple[float, float]:
        """The lowest and the highest rate; either may be infinite."""
        return self.min_rate, self.max_rate


Curve: TypeAlias = PwlCurve | ConstantCurve


def utility(curve: Curve, rate: float) -> float:
    """Return what a rate is worth to the bidder: the curve's integral from 0 to it.

    Args:
        curve: The curve; its price at a rate is what one more unit is worth.
        rate: Within the domain; what lies outside counts for nothing.

    Returns:
        Money per unit of time; negative for a seller, whose payment makes up for it.
    """
    low, high = curve.domain
    rate = min(max(rate, low), high)
    if isinstance(curve, ConstantCurve):
        return curve.price * rate if rate else 0.0  # 0 x infinity is no utility
    return _area_to(curve.points, rate) - _area_to(curve.points, 0.0)


def _area_to(points: tuple[Point, ...], rate: float) -> float:
    """The area under the curve from its first point to a rate."""
    area = 0.0
    for left, right in pairwise(points):
        if right.rate <= rate:
            area += (right.rate - left.rate) * (left.price + right.price) / 2
            continue
        if left.rate < rate:
            slope = (right.price - left.price) / (right.rate - left.rate)
            width = rate - left.rate
            area += width * (left.price + slope * width / 2)
        break
    return area


def parse_curve(value: object) -> Curve | None:
    """Read a curve from decoded JSON; the JSON type tells the shapes apart.

    Args:
        value: None (no curve), a list of objects with `rate` and `price`, or an
            object with `price` and optional `min_rate` and `max_rate` (missing or
            null means unlimited). A curve is returned as it is. Unknown keys are
            ignored.

    Returns:
        The curve, or None for None.

    Raises:
        CurveError: The value is no curve or breaks a rule.
    """
    if value is None or isinstance(value, PwlCurve | ConstantCurve):
        return value
    if type(value) is list:  # as decoded JSON has it
        return PwlCurve(points=tuple(map(_parse_point, range(len(value)), value)))
    if isinstance(value, Mapping):
        return _parse_constant(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return PwlCurve(points=tuple(map(_parse_point, range(len(value)), value)))
    raise CurveError(
        CurveErrorKind.TYPE,
        "a curve is null, a list of points or an object with a price, was "
        f"{type(value).__name__}",
    )


def curve_to_builtins(curve: Curve | None) -> object:
    """Write a curve as JSON-ready values, the inverse of `parse_curve`.

    A constant curve is written with all three keys, an infinite bound as None.
    """
    if curve is None:
        return None
    if isinstance(curve, PwlCurve):
        return [{"rate": p.rate, "price": p.price} for p in curve.points]
    low, high = curve.domain
    return {
        "min_rate": None if math.isinf(low) else low,
        "max_rate": None if math.isinf(high) else high,
        "price": curve.price,
    }


def _keeps_all_rules(points: tuple[Point, ...]) -> bool:
    """Say whether these points make a curve: the rules in one pass.

    No comparison with NaN is true, and between finite ends all is finite.
    """
    if not points:
        return False
    first, last = points[0], points[-1]
    if not (-math.inf < first.rate <= 0.0 <= last.rate < math.inf):
        return False
    if not (-math.inf < last.price and first.price < math.inf):
        return False
    rate, price = first.rate, first.price
    for point in points:
        if not (rate <= point.rate and price >= point.price):
            return False
        rate, price = point.rate, point.price
    return True


def _check_point(index: int, point: Point, previous: Point | None) -> None:
    rate, price = point.rate, point.price
    if math.isnan(rate) or math.isnan(price):
        raise CurveError(
            CurveErrorKind.PWL_NAN, "rate and price are numbers", index=index
        )
    if math.isinf(rate) or math.isinf(price):
        raise CurveError(
            CurveErrorKind.PWL_INFINITY,
            f"rate and price must be finite, was ({rate}, {price}); an unlimited "
            "order is a constant curve",
            index=index,
        )
    if previous is not None and (rate < previous.rate or price > previous.price):
        raise CurveError(
            CurveErrorKind.PWL_NON_MONOTONE,
            f"rates must not fall and prices must not rise, was ({rate}, {price}) "
            f"after ({previous.rate}, {previous.price})",
            index=index,
        )


def _parse_point(index: int, value: object) -> Point:
    if isinstance(value, Point):
        return value
    # Decoded JSON is a dict; asking the abstract class takes ten times as long.
    if type(value) is not dict and not isinstance(value, Mapping):
        raise CurveError(
            CurveErrorKind.PWL_POINT,
            f"a point is an object with rate and price, was {type(value).__name__}",
            index=index,
        )
    rate, price = _number(value.get("rate")), _number(value.get("price"))
    if rate is None or price is None:
        raise CurveError(
            CurveErrorKind.PWL_POINT,
            f"rate and price must both be numbers, was {value.get('rate')!r} and "
            f"{value.get('price')!r}",
            index=index,
        )
    return Point(rate=rate, price=price)


def _parse_constant(value: Mapping[object, object]) -> ConstantCurve:
    price = _number(value.get("price"))
    if price is None:
        raise CurveError(
            CurveErrorKind.CONSTANT_PRICE,
            f"a constant curve needs a price, was {value.get('price')!r}",
        )
    return ConstantCurve(
        min_rate=_bound(value, "min_rate", missing=-math.inf),
        max_rate=_bound(value, "max_rate", missing=math.inf),
        price=price,
    )


def _bound(value: Mapping[object, object], key: str, *, missing: float) -> float:
    raw = value.get(key)
    if raw is None:
        return missing
    number = _number(raw)
    if number is None:
        raise CurveError(
            CurveErrorKind.CONSTANT_RATE,
            f"{key} must be a number or null, was {raw!r}",
        )
    return number


def _number(raw: object) -> float | None:
    if type(raw) is float:  # nearly always; what follows takes five times as long
        return raw
    # JSON's true is an int to Python; it is no rate.
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return None
    try:
        return float(raw)
    except OverflowError:  # an integer literal beyond float64, such as 10**400
        return math.inf if raw > 0 else -math.inf
