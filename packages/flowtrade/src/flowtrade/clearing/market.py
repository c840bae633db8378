"""An auction with its names: built once, updated in place of being built again.

`Market` joins ids to the columns that the solver reads. It is a value: an update
gives a new market, which shares with the old one whatever did not change, and
answers to the same bits as a market built afresh from the same orders.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Self, final

import msgspec
import numpy as np

from flowtrade.clearing.arrays import BoolArray, Ragged, offsets, splice_index
from flowtrade.clearing.columns import (
    Columns,
    Curves,
    as_curves,
    canonical_rows,
    check_curves,
    splice,
)
from flowtrade.clearing.composites import Composites, find_composites
from flowtrade.clearing.errors import InvalidMarket
from flowtrade.clearing.parts import Members, find_members, sub_columns
from flowtrade.clearing.segments import Segments, disaggregate
from flowtrade.clearing.structure import Structure
from flowtrade.models.curve import Curve, CurveError, PwlCurve, parse_curve
from flowtrade.models.group import GroupError, parse_group

__all__ = ["Market", "Part", "PortfolioTerms"]


class PortfolioTerms(msgspec.Struct, frozen=True, gc=False):
    """What a portfolio feeds and holds.

    Attributes:
        demand: Weights by demand id: rate x adds weight times x to the demand.
        basis: Weights by product id: rate x trades weight times x of the product.
    """

    demand: Mapping[str, float]
    basis: Mapping[str, float]


class Part(msgspec.Struct, frozen=True, eq=False):
    """A part of a market that can be cleared apart.

    Attributes:
        market: The part as a market of its own.
        members: What of the whole it holds.
    """

    market: "Market"
    members: Members


@final
class Market:
    """An auction to clear.

    Use `from_models`, `from_auction` or `from_columns`; the constructor is internal.

    Attributes:
        demand_ids: Ids of demands, in the order given.
        portfolio_ids: Ids of portfolios, in the order given.
        product_ids: Ids of products, sorted.
        columns: The arrays.
    """

    def __init__(
        self,
        demand_ids: Sequence[str],
        portfolio_ids: Sequence[str],
        product_ids: Sequence[str],
        columns: Columns,
        *,
        structure: Structure | None = None,
    ) -> None:
        self.demand_ids = demand_ids
        self.portfolio_ids = portfolio_ids
        self.product_ids = product_ids
        self.columns = columns
        if structure is not None:
            # cached_property looks here first: the old market's structure is reused.
            self.__dict__["structure"] = structure

    def __repr__(self) -> str:
        return (
            f"<Market of {len(self.portfolio_ids)} portfolios, "
            f"{len(self.product_ids)} products, {int(self.used.sum())} demands>"
        )

    @classmethod
    def from_models(
        cls,
        demands: Mapping[str, Curve | None],
        portfolios: Mapping[str, PortfolioTerms],
    ) -> Self:
        """Build a market from curves and portfolios.

        Args:
            demands: Curves by demand id. None is a curve that admits rate 0 only, so
                it blocks every portfolio that feeds it; leave a demand out to have
                it ignored instead.
            portfolios: Terms by portfolio id.

        Raises:
            InvalidMarket: A weight is not finite.
        """
        products = sorted(
            {
                product
                for terms in portfolios.values()
                for product, weight in terms.basis.items()
                if weight != 0.0
            }
        )
        slots = {demand: i for i, demand in enumerate(demands)}
        for terms in portfolios.values():
            for demand in terms.demand:
                slots.setdefault(demand, len(slots))
        known = np.zeros(len(slots), np.bool_)
        known[: len(demands)] = True
        curves = _curve_columns(
            chain(demands.values(), [None] * (len(slots) - len(demands)))
        )
        usage = _group_rows([t.demand for t in portfolios.values()], slots, "demand")
        numbers = {product: i for i, product in enumerate(products)}
        basis = _group_rows([t.basis for t in portfolios.values()], numbers, "basis")
        columns = Columns(len(products), curves, known, usage, basis)
        return cls(list(slots), list(portfolios), products, columns)

    @classmethod
    def from_auction(cls, auction: object) -> Self:
        """Build a market from a decoded auction file.

        Args:
            auction: `{"demand_curves": {id: curve}, "portfolios": {id: {"demand":
                group, "basis": group}}}`.

        Raises:
            InvalidMarket: Any part breaks a rule; `code` says which, `where` which
                entry.
        """
        curves = _section(auction, "demand_curves")
        terms = _section(auction, "portfolios")
        return cls.from_models(
            {key: _read_curve(key, value) for key, value in curves.items()},
            {key: _read_terms(key, value) for key, value in terms.items()},
        )

    @classmethod
    def from_columns(
        cls,
        *,
        products: int,
        curves: Curves,
        usage: Ragged,
        basis: Ragged,
        like: "Market | None" = None,
    ) -> Self:
        """Build a market from arrays; ids are numbers with a letter before them.

        Args:
            products: Number of products.
            curves: Of each demand, at least one point each unless it is withdrawn.
            usage: Demands and weights of each portfolio.
            basis: Products and weights of each portfolio.
            like: A market solved before. What its orders share with these is taken
                over instead of being computed again.

        Raises:
            InvalidMarket: The arrays break a rule.
        """
        curves = as_curves(curves)
        check_curves(curves)
        count = len(curves)
        usage = canonical_rows(usage, count, what="demand")
        basis = canonical_rows(basis, products, what="basis")
        if len(usage) != len(basis):
            raise InvalidMarket(
                "columns.rows",
                "usage",
                f"{len(usage)} portfolios feed demands and {len(basis)} hold products: "
                "both tables must have a row for each",
            )
        known = np.ones(count, np.bool_)
        columns = Columns(products, curves, known, usage, basis)
        market = cls(
            _numbered("d", count),
            _numbered("x", len(basis)),
            _numbered("p", products),
            columns,
        )
        if like is not None:
            market._take_over(like)
        return market

    def update(
        self,
        *,
        demands: Mapping[str, Curve | None] | None = None,
        portfolios: Mapping[str, PortfolioTerms] | None = None,
    ) -> "Market":
        """Replace curves and portfolios, or add new ones.

        What does not depend on the change is shared with this market. New curves
        alone keep the whole structure of the program.

        Args:
            demands: New curves by demand id; None blocks the demand.
            portfolios: New terms by portfolio id; empty maps retire a portfolio.

        Returns:
            The market afterwards; this one is unchanged.

        Raises:
            InvalidMarket: A weight is not finite.
        """
        market = self
        if portfolios:
            market = market._with_portfolios(portfolios)
        if demands:
            market = market._with_demands(demands)
        return market

    @cached_property
    def used(self) -> BoolArray:
        """Which demands exist and appear in some portfolio."""
        counts = np.bincount(self.columns.usage.idx, minlength=self.columns.demands)
        return (counts > 0) & self.columns.known

    @cached_property
    def segments(self) -> Segments:
        """The pieces of every curve."""
        return disaggregate(self.columns.curves)

    @cached_property
    def structure(self) -> Structure:
        """What the program owes to portfolios alone."""
        return Structure.of(self.columns)

    @cached_property
    def composites(self) -> Composites | None:
        """The bundles of products that are always held together, if there are any.

        For a market all of whose portfolios take part.
        """
        return find_composites(self.columns)

    @cached_property
    def parts(self) -> "tuple[Part, ...]":
        """The parts that are cleared apart; a market in one piece is its only one.

        None if no portfolio takes part. What takes no part itself is in none of them.
        """
        found = find_members(self.columns)
        # Kept no longer than needed: every market would hold all those before it.
        before = self.__dict__.pop("_parts_before", ())
        if len(found) == 1 and self._is_all(found[0]):
            return (Part(self, found[0]),)
        known = {part.market.product_ids[0]: part.market for part in before}
        return tuple(Part(self._sub_market(part, known), part) for part in found)

    @property
    def is_whole(self) -> bool:
        """Whether the market is in one piece and all of it takes part."""
        return len(self.parts) == 1 and self.parts[0].market is self

    def _is_all(self, members: Members) -> bool:
        columns = self.columns
        return (
            len(members.portfolios) == columns.portfolios
            and len(members.products) == columns.products
            and len(members.demands) == columns.demands
        )

    def _sub_market(self, members: Members, before: "Mapping[str, Market]") -> "Market":
        market = Market(
            [self.demand_ids[d] for d in map(int, members.demands)],
            [self.portfolio_ids[j] for j in map(int, members.portfolios)],
            [self.product_ids[k] for k in map(int, members.products)],
            sub_columns(self.columns, members),
        )
        old = before.get(market.product_ids[0])
        if old is not None and old.product_ids == market.product_ids:
            market.__dict__["structure"] = _carried(old, market.columns)
        return market

    @cached_property
    def _demand_numbers(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.demand_ids)}

    @cached_property
    def _portfolio_numbers(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.portfolio_ids)}

    @cached_property
    def _product_numbers(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.product_ids)}

    def _with_demands(self, demands: Mapping[str, Curve | None]) -> "Market":
        slots = self._demand_numbers
        fresh = [name for name in demands if name not in slots]
        ids = self.demand_ids
        columns = self.columns
        if fresh:
            ids = [*ids, *fresh]
            slots = {name: i for i, name in enumerate(ids)}
            columns = _with_slots(columns, len(ids))
        rows = np.fromiter((slots[name] for name in demands), np.int64, len(demands))
        new = _curve_columns(demands.values())
        old = columns.curves
        ptr, source = splice_index(old.ptr, rows, new.ptr)
        curves = Curves(
            ptr,
            np.concatenate([old.rate, new.rate])[source],
            np.concatenate([old.price, new.price])[source],
        )
        known = columns.known.copy()
        known[rows] = True
        after = Columns(columns.products, curves, known, columns.usage, columns.basis)
        if fresh or not self.columns.known[rows].all():
            return self._share(ids, self.portfolio_ids, after, None)
        kept = self.__dict__.get("structure")
        market = self._share(ids, self.portfolio_ids, after, kept)
        market._stay_whole(self)
        if self.__dict__.get("composites", self) is None:
            market.__dict__["composites"] = None
        return market

    def _with_portfolios(self, portfolios: Mapping[str, PortfolioTerms]) -> "Market":
        numbers = self._portfolio_numbers
        fresh = [name for name in portfolios if name not in numbers]
        wanted = {
            product
            for terms in portfolios.values()
            for product, weight in terms.basis.items()
            if weight != 0.0
        }
        if wanted - self._product_numbers.keys():
            return self._rebuilt(portfolios)
        slots = self._demand_numbers
        named = chain.from_iterable(t.demand for t in portfolios.values())
        ids = [*self.demand_ids, *dict.fromkeys(d for d in named if d not in slots)]
        if len(ids) > len(slots):
            slots = {name: i for i, name in enumerate(ids)}
        columns = _with_slots(self.columns, len(ids))
        names = [*self.portfolio_ids, *fresh]
        if fresh:
            numbers = {name: i for i, name in enumerate(names)}
        rows = np.fromiter((numbers[n] for n in portfolios), np.int64, len(portfolios))
        terms = list(portfolios.values())
        usage = splice(
            _lengthened(columns.usage, len(names)),
            rows,
            _group_rows([t.demand for t in terms], slots, "demand"),
        )
        basis = splice(
            _lengthened(columns.basis, len(names)),
            rows,
            _group_rows([t.basis for t in terms], self._product_numbers, "basis"),
        )
        if not np.bincount(basis.idx, minlength=columns.products).all():
            return self._rebuilt(portfolios)
        after = Columns(columns.products, columns.curves, columns.known, usage, basis)
        kept = self.__dict__.get("structure")
        return self._share(ids, names, after, kept and kept.updated(after, rows))

    def _share(
        self,
        demand_ids: Sequence[str],
        portfolio_ids: Sequence[str],
        columns: Columns,
        structure: Structure | None,
    ) -> "Market":
        market = Market(
            demand_ids, portfolio_ids, self.product_ids, columns, structure=structure
        )
        market._remember_parts(self)
        for name in ("_demand_numbers", "_portfolio_numbers", "_product_numbers"):
            numbers = self.__dict__.get(name)
            ids = getattr(market, name.replace("_numbers", "_ids").lstrip("_"))
            if numbers is not None and len(numbers) == len(ids):
                market.__dict__[name] = numbers
        return market

    def _take_over(self, like: "Market") -> None:
        """Use what a market solved before knows of the same portfolios."""
        self._remember_parts(like)
        if "_parts_before" not in self.__dict__:
            self.__dict__["structure"] = _carried(like, self.columns)
            if self.__dict__["structure"] is like.__dict__.get("structure"):
                self._stay_whole(like)

    def _stay_whole(self, old: "Market") -> None:
        """Be in one piece if an older market of the same portfolios is."""
        parts = old.__dict__.get("parts", ())
        if len(parts) == 1 and parts[0].market is old:
            self.__dict__["parts"] = (Part(self, parts[0].members),)

    def _remember_parts(self, old: "Market") -> None:
        """Have the parts of an older market at hand when the own ones are made."""
        parts = old.__dict__.get("parts", ())
        if not parts:
            parts = old.__dict__.get("_parts_before", ())
        if parts and parts[0].market is not old:
            self.__dict__["_parts_before"] = parts

    def _rebuilt(self, portfolios: Mapping[str, PortfolioTerms]) -> "Market":
        """Build again where the set of products changes: their order would, too."""
        terms = {**self._terms(), **portfolios}
        products = sorted({p for t in terms.values() for p, w in t.basis.items() if w})
        slots = dict(self._demand_numbers)
        for entry in terms.values():
            for demand in entry.demand:
                slots.setdefault(demand, len(slots))
        columns = _with_slots(self.columns, len(slots))
        numbers = {product: i for i, product in enumerate(products)}
        return Market(
            list(slots),
            list(terms),
            products,
            Columns(
                len(products),
                columns.curves,
                columns.known,
                _group_rows([t.demand for t in terms.values()], slots, "demand"),
                _group_rows([t.basis for t in terms.values()], numbers, "basis"),
            ),
        )

    def _terms(self) -> dict[str, PortfolioTerms]:
        groups = [
            _row_maps(self.columns.usage, self.demand_ids),
            _row_maps(self.columns.basis, self.product_ids),
        ]
        rows = zip(self.portfolio_ids, *groups, strict=True)
        return {name: PortfolioTerms(demand, basis) for name, demand, basis in rows}


def _section(auction: object, key: str) -> Mapping[str, object]:
    if not isinstance(auction, Mapping):
        raise InvalidMarket(
            "auction.type",
            "",
            "an auction is an object with demand_curves and portfolios, was "
            f"{type(auction).__name__}",
        )
    section = auction.get(key)
    if not isinstance(section, Mapping):
        raise InvalidMarket(
            f"auction.{key}", key, f"must be an object, was {type(section).__name__}"
        )
    return section


def _read_curve(key: str, value: object) -> Curve | None:
    try:
        return parse_curve(value)
    except CurveError as error:
        where = f"demand_curves.{key}"
        raise InvalidMarket(error.kind.value, where, str(error)) from error


def _read_terms(key: str, value: object) -> PortfolioTerms:
    where = f"portfolios.{key}"
    if not isinstance(value, Mapping):
        raise InvalidMarket(
            "portfolio.type",
            where,
            f"a portfolio is an object, was {type(value).__name__}",
        )
    try:
        return PortfolioTerms(
            parse_group(value.get("demand")), parse_group(value.get("basis"))
        )
    except GroupError as error:
        raise InvalidMarket(error.code, where, str(error)) from error


def _curve_columns(curves: Iterable[Curve | None]) -> Curves:
    lengths: list[int] = []
    rates: list[float] = []
    prices: list[float] = []
    for curve in curves:
        if curve is None:
            lengths.append(0)
        elif isinstance(curve, PwlCurve):
            lengths.append(len(curve.points))
            for point in curve.points:
                rates.append(point.rate)
                prices.append(point.price)
        else:
            ends = dict.fromkeys(curve.domain)
            lengths.append(len(ends))
            rates.extend(ends)
            prices.extend([curve.price] * len(ends))
    return Curves(
        offsets(np.array(lengths, np.int64)),
        np.array(rates, float),
        np.array(prices, float),
    )


def _group_rows(
    groups: Sequence[Mapping[str, float]], numbers: Mapping[str, int], what: str
) -> Ragged:
    lengths = np.fromiter(map(len, groups), np.int64, len(groups))
    total = int(lengths.sum())
    if what == "basis":  # products without any weight have no number
        idx_of = (numbers.get(name, 0) for group in groups for name in group)
    else:
        idx_of = (numbers[name] for group in groups for name in group)
    idx = np.fromiter(idx_of, np.int64, total)
    weight = np.fromiter(
        chain.from_iterable(group.values() for group in groups), float, total
    )
    return canonical_rows(
        Ragged(offsets(lengths), idx, weight), max(len(numbers), 1), what=what
    )


def _row_maps(rows: Ragged, names: Sequence[str]) -> list[dict[str, float]]:
    return [
        {names[k]: weight for k, weight in rows.take_row(i)} for i in range(len(rows))
    ]


def _lengthened(rows: Ragged, count: int) -> Ragged:
    more = count - len(rows)
    if not more:
        return rows
    ptr = np.concatenate([rows.ptr, np.full(more, rows.ptr[-1])])
    return Ragged(ptr, rows.idx, rows.weight)


def _with_slots(columns: Columns, count: int) -> Columns:
    more = count - columns.demands
    if not more:
        return columns
    curves = columns.curves
    ptr = np.concatenate([curves.ptr, np.full(more, curves.ptr[-1])])
    return Columns(
        columns.products,
        Curves(ptr, curves.rate, curves.price),
        np.concatenate([columns.known, np.zeros(more, np.bool_)]),
        columns.usage,
        columns.basis,
    )


def _carried(old: Market, columns: Columns) -> Structure:
    """The structure of a market that resembles an old one."""
    if _same_portfolios(old.columns, columns):
        return old.structure
    return Structure.of(columns, like=old.structure)


def _same_portfolios(old: Columns, new: Columns) -> bool:
    if old.products != new.products or old.demands != new.demands:
        return False
    if not (old.known.all() and new.known.all()):
        return False
    pairs = ((old.usage, new.usage), (old.basis, new.basis))
    return all(
        np.array_equal(a.ptr, b.ptr)
        and np.array_equal(a.idx, b.idx)
        and np.array_equal(a.weight, b.weight)
        for a, b in pairs
    )


def _numbered(letter: str, count: int) -> "Sequence[str]":
    width = len(str(max(count - 1, 0)))
    return [f"{letter}{i:0{width}d}" for i in range(count)]
