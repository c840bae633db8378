"""The answer of an auction: columns inside, names at the edge.

`Clearing` keeps arrays; its maps make a row when it is looked at. The digest covers
everything that is published and nothing that varies between runs, such as times.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from html import escape
from typing import Generic, TypeVar, final

import msgspec
import numpy as np

from flowtrade.clearing.arrays import BoolArray, FloatArray, IntArray
from flowtrade.models.clearing import (
    Certificate,
    ClearingStatus,
    DemandOutcome,
    PortfolioOutcome,
    ProductOutcome,
    SetAside,
    SolverReport,
    ZeroReason,
)

__all__ = ["Clearing", "OutcomeArrays", "Rows"]

_T = TypeVar("_T", covariant=True)

_SHOWN = 20
"""Rows of a table in a notebook."""

_REASONS: tuple[ZeroReason | None, ...] = (None, *ZeroReason)


@final
class Rows(Mapping[str, _T], Generic[_T]):
    """A read-only map over columns; a row is made when it is asked for."""

    def __init__(self, names: Sequence[str], make: Callable[[int], _T]) -> None:
        self._names = names
        self._make = make
        self._numbers: dict[str, int] | None = None

    def __getitem__(self, name: str) -> _T:
        if self._numbers is None:
            self._numbers = {name: i for i, name in enumerate(self._names)}
        return self._make(self._numbers[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)!r})"


class OutcomeArrays(msgspec.Struct, frozen=True, eq=False):
    """Everything published, as arrays.

    Attributes:
        rate: Of each portfolio.
        portfolio_price: Likewise, NaN where there is none.
        reason: Index into `None, *ZeroReason`.
        price: Of each product, NaN where there is none.
        volume: Likewise, half the gross volume.
        price_min: Lowest supported price, maybe -inf.
        price_max: Highest, maybe inf.
        ranged: Whether the range was determined.
        unique: Whether it is one price.
        used: Numbers of the demands that appear in some portfolio.
        net: Net rate of each of them.
        marginal: Marginal price, NaN where there is none.
        surplus: Value less payment.
        box_dual: Worth of one more unit of range.
        regret: What another rate would gain.
    """

    rate: FloatArray
    portfolio_price: FloatArray
    reason: IntArray
    price: FloatArray
    volume: FloatArray
    price_min: FloatArray
    price_max: FloatArray
    ranged: BoolArray
    unique: BoolArray
    used: IntArray
    net: FloatArray
    marginal: FloatArray
    surplus: FloatArray
    box_dual: FloatArray
    regret: FloatArray


@final
class Clearing:
    """A certified answer.

    Attributes:
        status: How well it is proven.
        portfolios: Rates and prices by portfolio id, in the market's order.
        products: Prices and volumes by product id, sorted.
        demands: Net rates and marginal prices by demand id.
        gains: Gains from trade.
        certificate: The proof.
        report: How it was solved.
        arrays: The same answer as columns.
        set_aside: The orders that it was cleared without (see `setaside`).
    """

    def __init__(
        self,
        names: tuple[Sequence[str], Sequence[str], Sequence[str]],
        arrays: OutcomeArrays,
        certificate: Certificate,
        report: SolverReport,
        *,
        set_aside: Sequence[SetAside] = (),
    ) -> None:
        portfolios, products, demands = names
        self.portfolios: Mapping[str, PortfolioOutcome] = Rows(
            portfolios, self._portfolio
        )
        self.products: Mapping[str, ProductOutcome] = Rows(products, self._product)
        self.demands: Mapping[str, DemandOutcome] = Rows(demands, self._demand)
        self.arrays = arrays
        self.certificate = certificate
        self.report = report
        self.set_aside = tuple(set_aside)

    def without(self, set_aside: Sequence[SetAside]) -> "Clearing":
        """The same answer as that of a market with more orders, which have no part.

        Args:
            set_aside: These orders; their portfolios are the market's.
        """
        names = list(self.portfolios)
        aside = {one.portfolio for one in set_aside}
        rows = np.array([name in aside for name in names], np.bool_)
        reason = np.where(
            rows, _REASONS.index(ZeroReason.SET_ASIDE), self.arrays.reason
        )
        return Clearing(
            (names, list(self.products), list(self.demands)),
            msgspec.structs.replace(self.arrays, reason=reason),
            self.certificate,
            self.report,
            set_aside=set_aside,
        )

    @property
    def status(self) -> ClearingStatus:
        """How well the answer is proven."""
        return self.certificate.status

    @property
    def gains(self) -> float:
        """Gains from trade."""
        return self.certificate.gains

    def __repr__(self) -> str:
        return (
            f"<Clearing {self.status.value} of {len(self.portfolios)} portfolios, "
            f"gains {self.gains:.12g}, worst {self.certificate.worst:.1e}>"
        )

    def _repr_html_(self) -> str:
        """A page for notebooks: verdict, most traded products and largest rates."""
        products = np.argsort(-self.arrays.volume, kind="stable")[:_SHOWN]
        portfolios = np.argsort(-np.abs(self.arrays.rate), kind="stable")[:_SHOWN]
        return (
            f"<h4>{escape(self.status.value)} clearing</h4>"
            f"<p>gains {self.gains:.12g}, worst measure {self.certificate.worst:.1e}, "
            f"by {escape(self.report.solver)}</p>"
            + _table(
                ("product", "price", "rate", "lowest", "highest"),
                (
                    (name, row.price, row.rate, row.price_min, row.price_max)
                    for name, row in _named(self.products, products)
                ),
                len(self.products),
            )
            + _table(
                ("portfolio", "price", "rate", "why none"),
                (
                    (name, row.price, row.rate, row.reason)
                    for name, row in _named(self.portfolios, portfolios)
                ),
                len(self.portfolios),
            )
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ids and published arrays, in hexadecimal.

        The same orders give the same digest on the same build of NumPy and LAPACK,
        whatever the number of threads and however the market was built up.
        """
        total = hashlib.sha256(b"flowtrade-outcome-1\n")
        for names in (self.portfolios, self.products, self.demands):
            total.update(msgspec.json.encode(list(names)))
        for name in self.arrays.__struct_fields__:
            if name == "used":
                continue
            array = getattr(self.arrays, name)
            kind = "<f8" if array.dtype.kind == "f" else "<i8"
            # -0.0 and 0.0 are one answer.
            plain = np.where(array == 0, 0, array) if kind == "<f8" else array
            total.update(f"{name} {len(array)}\n".encode())
            total.update(np.ascontiguousarray(plain, dtype=kind).tobytes())
        return total.hexdigest()

    def _portfolio(self, i: int) -> PortfolioOutcome:
        a = self.arrays
        return PortfolioOutcome(
            price=_number(a.portfolio_price[i]),
            rate=float(a.rate[i]),
            reason=_REASONS[int(a.reason[i])],
        )

    def _product(self, i: int) -> ProductOutcome:
        a = self.arrays
        return ProductOutcome(
            price=_number(a.price[i]),
            rate=float(a.volume[i]),
            price_min=_number(a.price_min[i]),
            price_max=_number(a.price_max[i]),
            unique=bool(a.unique[i]),
            ranged=bool(a.ranged[i]),
        )

    def _demand(self, i: int) -> DemandOutcome:
        a = self.arrays
        return DemandOutcome(
            rate=float(a.net[i]),
            price=_number(a.marginal[i]),
            surplus=float(a.surplus[i]),
            box_dual=float(a.box_dual[i]),
            regret=float(a.regret[i]),
        )


def _named(rows: Mapping[str, _T], shown: IntArray) -> Iterator[tuple[str, _T]]:
    names = list(rows)
    for i in map(int, np.sort(shown)):
        yield names[i], rows[names[i]]


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]], total: int) -> str:
    """A table of rows; names come from outside, so everything is escaped."""
    body = ["".join(f"<td>{_cell(value)}</td>" for value in row) for row in rows]
    more = total - len(body)
    note = f"<caption>and {more} more</caption>" if more > 0 else ""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    lines = "".join(f"<tr>{line}</tr>" for line in body)
    return f"<table>{note}<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return escape(f"{value:.8g}" if isinstance(value, float) else str(value))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
