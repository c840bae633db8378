"""Settlement: from rates that held for a while to whole lots and whole cents.

An auction says rates and prices in float64; what is delivered and paid are integers,
and they must add up: whatever some bidders get, others give, of every product and of
money, to the last lot and cent.

Theory. Quantities accrue exactly, as fractions: rate x weight x time. A settlement
rounds the *accumulated* quantities of each product to lots by largest remainder (floor
all, then give one lot each to the largest fractions until the sum is zero), and books
the difference to what was booked before. So every settlement conserves, no error
grows with their number (a position is always within one lot of the exact one), and it
does not matter into how many settlements a day is cut. Cash likewise, in the smallest
unit of money, at the price of the period in which the quantity was traded.

What rounding in float64 leaves over of a period's product is taken from its largest
quantity first: the exact quantities add up to zero, too.

Fees are a share of the notional, |quantity| x price, of every portfolio. They accrue
exactly too; each is rounded to the nearest unit of money, and the operator receives
exactly what is charged.

Largest remainder: Hamilton's method of apportionment, here with a total of zero.

Pure: no clock, no store.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TypeVar, final

import msgspec

from flowtrade.errors import InvalidRequest
from flowtrade.models.ids import Id
from netcore.models import Model

__all__ = ["Fill", "Ledger", "Period", "Settlement", "Unbalanced", "apportion"]

_K = TypeVar("_K")
_HALF = Fraction(1, 2)

_ROUNDING = Fraction(1, 10**6)
"""Share of a product's quantities that a published batch's may miss zero by: what
`flowtrade.clearing` accepts."""


@final
class Unbalanced(InvalidRequest):
    """What is to be settled does not add up to zero, so it is no auction's outcome."""

    code = "unbalanced"


class Period(Model, frozen=True, kw_only=True):
    """One cleared batch for as long as it was valid.

    Attributes:
        nanoseconds: How long its rates held, >= 0.
        rates: Rate by portfolio; positive buys.
        bases: Weights by product, by portfolio, in leaf products.
        prices: Price by product; a product that was traded has one.
    """

    nanoseconds: int
    rates: dict[Id, float]
    bases: dict[Id, dict[Id, float]]
    prices: dict[Id, float]


class Fill(Model, frozen=True, kw_only=True, gc=False):
    """A whole number of lots that a portfolio received, negative if it gave them."""

    portfolio: Id
    product: Id
    lots: int


class Settlement(Model, frozen=True, kw_only=True):
    """What is delivered and paid; fills of a product and cash both sum to zero.

    Attributes:
        fills: Portfolios' lots, none of them zero, in order of product and portfolio.
        cash: Smallest units of money that each portfolio receives for what it gave,
            negative if it pays; none of them zero; fees apart.
        fees: Smallest units of money that each portfolio pays to the operator; none
            of them zero.
    """

    fills: tuple[Fill, ...]
    cash: dict[Id, int]
    fees: dict[Id, int] = msgspec.field(default_factory=dict)


@final
class Ledger:
    """Accrues periods and settles them.

    Args:
        rate_unit: Nanoseconds in the unit of time of rates; an hour by default.
        lots: Size of a lot by product, exact; `default_lot` for the others.
        default_lot: Size of a lot of a product that `lots` does not name.
        money: The smallest unit of money.
        fee: What the operator takes of the notional, such as `Fraction(1, 10_000)`.

    Raises:
        InvalidRequest: A size is not positive, or the fee is negative.
    """

    def __init__(
        self,
        *,
        rate_unit: int = 3_600 * 10**9,
        lots: Mapping[Id, Fraction] | None = None,
        default_lot: Fraction = Fraction(1),
        money: Fraction = Fraction(1, 100),
        fee: Fraction = Fraction(0),
    ) -> None:
        self._lots = dict(lots or {})
        sizes = [Fraction(rate_unit), default_lot, money, *self._lots.values()]
        if min(sizes) <= 0:
            raise InvalidRequest("units of time, lots and money are positive")
        if fee < 0:
            raise InvalidRequest(f"a fee is not negative, was {fee}")
        self._rate_unit = rate_unit
        self._default_lot = default_lot
        self._money = money
        self._fee = fee
        self._quantities: dict[Id, dict[Id, Fraction]] = {}
        self._cash: dict[Id, Fraction] = {}
        self._booked_lots: dict[Id, dict[Id, int]] = {}
        self._booked_cash: dict[Id, int] = {}
        self._fees: dict[Id, Fraction] = {}
        self._booked_fees: dict[Id, int] = {}

    def accrue(self, period: Period) -> None:
        """Take in one period.

        What rounding left over of a product is the largest quantity's.

        Raises:
            InvalidRequest: A rate, weight or price is not finite, a traded product
                has no price, or a portfolio no basis. Nothing is taken in.
        """
        entries = [
            (portfolio, product, self._quantity(period, rate, weight))
            for portfolio, rate in period.rates.items()
            for product, weight in _basis(period, portfolio).items()
        ]
        entries = _balanced(entries)
        prices = {
            product: _price(period, product)
            for _, product, quantity in entries
            if quantity
        }
        for portfolio, product, quantity in entries:
            if quantity:
                held = self._quantities.setdefault(product, {})
                held[portfolio] = held.get(portfolio, Fraction()) + quantity
                paid = quantity * prices[product]
                self._cash[portfolio] = self._cash.get(portfolio, Fraction()) - paid
                if self._fee:
                    fee = abs(paid) * self._fee
                    self._fees[portfolio] = self._fees.get(portfolio, Fraction()) + fee

    def position(self, portfolio: Id, product: Id) -> Fraction:
        """Return the exact quantity that a portfolio has accrued."""
        return self._quantities.get(product, {}).get(portfolio, Fraction())

    def positions(self) -> Iterator[tuple[Id, Id, Fraction]]:
        """Yield portfolio, product and exact quantity of all that has accrued."""
        for product, held in sorted(self._quantities.items()):
            for portfolio, quantity in held.items():
                yield portfolio, product, quantity

    def settle(self) -> Settlement:
        """Book what has accrued since the last settlement.

        Raises:
            Unbalanced: The accrued quantities do not add up; nothing is booked.
        """
        lots = {
            product: apportion(
                {key: quantity / self._lot(product) for key, quantity in held.items()}
            )
            for product, held in sorted(self._quantities.items())
        }
        cash = apportion({k: v / self._money for k, v in self._cash.items()})
        fills = [
            Fill(portfolio=key, product=product, lots=change)
            for product, now in lots.items()
            for key, change in _changes(now, self._booked_lots.get(product, {}))
        ]
        fees = {key: round(fee / self._money) for key, fee in self._fees.items()}
        settlement = Settlement(
            fills=tuple(fills),
            cash=dict(_changes(cash, self._booked_cash)),
            fees=dict(_changes(fees, self._booked_fees)),
        )
        self._booked_lots, self._booked_cash = lots, cash
        self._booked_fees = fees
        return settlement

    def _quantity(self, period: Period, rate: float, weight: float) -> Fraction:
        if period.nanoseconds < 0:
            raise InvalidRequest(f"a period is not {period.nanoseconds} ns long")
        time = Fraction(period.nanoseconds, self._rate_unit)
        return _exact("rate", rate) * _exact("weight", weight) * time

    def _lot(self, product: Id) -> Fraction:
        return self._lots.get(product, self._default_lot)


def apportion(exact: Mapping[_K, Fraction]) -> dict[_K, int]:
    """Round numbers that add up to zero to integers that do.

    Each result differs from its number by less than one. Among equal fractions the
    first in the given order is rounded up.

    Args:
        exact: The numbers; their sum may differ from zero by less than a half, which
            is what the rounding errors of float64 amount to.

    Raises:
        Unbalanced: The sum is farther from zero.
    """
    total = sum(exact.values(), Fraction())
    if abs(total) >= _HALF:
        raise Unbalanced(
            f"quantities of one auction add up to zero, these to {float(total):.6g}"
        )
    whole = {key: number.__floor__() for key, number in exact.items()}
    # Stable: sorting keeps the given order of equal remainders.
    order = sorted(exact, key=lambda key: whole[key] - exact[key])
    for key in order[: -sum(whole.values())]:
        whole[key] += 1
    return whole


def _balanced(entries: list[tuple[Id, Id, Fraction]]) -> list[tuple[Id, Id, Fraction]]:
    """Take what rounding left over of each product from its largest quantity.

    In float64 the rates of one batch add up to zero up to rounding: of billions, that
    is more than a lot, and over many batches it grows.
    """
    left: dict[Id, Fraction] = {}
    gross: dict[Id, Fraction] = {}
    largest: dict[Id, int] = {}
    for at, (_, product, quantity) in enumerate(entries):
        left[product] = left.get(product, Fraction()) + quantity
        gross[product] = gross.get(product, Fraction()) + abs(quantity)
        if abs(quantity) > abs(entries[largest.setdefault(product, at)][2]):
            largest[product] = at
    balanced = list(entries)
    for product, rest in left.items():
        if rest and abs(rest) <= _ROUNDING * gross[product]:
            portfolio, _, quantity = entries[largest[product]]
            balanced[largest[product]] = portfolio, product, quantity - rest
    return balanced


def _changes(now: Mapping[_K, int], before: Mapping[_K, int]) -> list[tuple[_K, int]]:
    changes = ((key, value - before.get(key, 0)) for key, value in now.items())
    return [(key, change) for key, change in changes if change]


def _basis(period: Period, portfolio: Id) -> dict[Id, float]:
    if portfolio not in period.bases:
        raise InvalidRequest(f"the portfolio {portfolio} has a rate but no basis")
    return period.bases[portfolio]


def _price(period: Period, product: Id) -> Fraction:
    if product not in period.prices:
        raise InvalidRequest(f"the product {product} was traded but has no price")
    return _exact("price", period.prices[product])


def _exact(what: str, number: float) -> Fraction:
    try:
        return Fraction(number)
    except (ValueError, OverflowError) as error:  # NaN, infinity
        raise InvalidRequest(f"a {what} is a finite number, was {number}") from error
