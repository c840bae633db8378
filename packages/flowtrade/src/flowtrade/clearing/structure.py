"""The price form's skeleton: what the program owes to portfolios alone.

A portfolio's rate is free, so it can be substituted out: it only says that its price
equals the weighted marginal prices of its demands. What remains are the prices. Each
demand's marginal price is then a row of one sparse matrix T times the prices z,

    mu_d = scale_d * (T z)[row_d],   z = (product prices, prices of shared demands).

How a live portfolio j with products a_j and demand weights w_j finds its row:

1. *Simple* (one demand, fed by nobody else): mu = a_j'price / w. The row is a_j, up
   to its sign, and equal rows are shared: 100,000 orders have about 11,000.
2. *Pivot*: it has a demand fed by nobody else. That demand takes what the others
   leave, mu_own = (a_j'price - sum w_o mu_o) / w_own.
3. *Anchor*: its only demand is shared and no other portfolio has settled it yet:
   mu = a_j'price / w, as in 1; the demand's other portfolios follow.
4. *Pseudo-order*: nothing is left to settle. It becomes an order without limit at
   price 0 whose row a_j - sum w_o mu_o must vanish. Such portfolios convert one
   product into another: cycles of them have undetermined rates.

Shared demands that no anchor settles become variables of their own: the price of a
demand, beside the prices of products.

Everything here depends on portfolios only, so that new curves reuse it; and on their
content only, so that it comes out the same however the market was built up.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from flowtrade.clearing.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    Ragged,
    offsets,
    ragged_index,
)
from flowtrade.clearing.assembly import Assembler
from flowtrade.clearing.columns import Columns
from flowtrade.clearing.intern import hash_rows, intern_rows
from flowtrade.clearing.parts import live_usage
from flowtrade.clearing.rowmap import RowMap

__all__ = ["Recovery", "Structure"]

_CANCELLED = 1e-14
"""A difference this small against its terms is rounding: it is zero."""


@dataclass(frozen=True, slots=True, eq=False)
class Recovery:
    """How portfolio rates come back from the flows of demands.

    Attributes:
        direct: Portfolios whose rate is `factor` times the row flow of `demand`.
        demand: Theirs.
        factor: Theirs.
        pseudo: Portfolios that are variables themselves.
        anchors: Portfolios that take what a shared demand's others leave.
        anchored: The demands they settle.
        anchor_weight: Their weights there.
    """

    direct: IntArray
    demand: IntArray
    factor: FloatArray
    pseudo: IntArray
    anchors: IntArray
    anchored: IntArray
    anchor_weight: FloatArray


@final
@dataclass(frozen=True, eq=False)
class Structure:
    """The rows of the price form.

    Attributes:
        products: Number of products; they are the first columns of T.
        live: Which portfolios take part.
        usage: Demands of live portfolios (rows of all portfolios), unknown left out.
        free: Demands that became columns of T after the products.
        map: T; interned rows first, then free demands, then other portfolios.
        row: Row of each demand, -1 for one that no live portfolio feeds.
        scale: Marginal price per value of the row, likewise.
        order: Demands with a row, sorted by it.
        pseudo_rows: Rows of the pseudo-orders, the last of the map.
        recovery: The way back to portfolio rates.
        hashes: Content hashes of all portfolios' products, kept for updates.
    """

    products: int
    live: BoolArray
    usage: Ragged
    free: IntArray
    map: RowMap
    row: IntArray
    scale: FloatArray
    order: IntArray
    pseudo_rows: IntArray
    recovery: Recovery
    hashes: NDArray[np.uint64]

    @classmethod
    def of(
        cls,
        columns: Columns,
        *,
        hashes: NDArray[np.uint64] | None = None,
        like: "Structure | None" = None,
    ) -> "Structure":
        """Find the rows of a market.

        Args:
            columns: The market.
            hashes: Of its portfolios' products, if they are known.
            like: A structure whose map and assembler are taken over if the rows come
                out the same: orders often change without new kinds of portfolios.
        """
        found = _Builder(columns, hashes).build()
        if like is None or not _same_rows(found, like):
            return found
        shared = replace(found, map=like.map)
        shared.__dict__["assembler"] = like.assembler
        return shared

    def updated(self, columns: Columns, changed: IntArray) -> "Structure":
        """The structure of a market in which some portfolios changed.

        Args:
            columns: The market now.
            changed: Portfolios that are new or changed.
        """
        hashes = np.zeros(columns.portfolios, np.uint64)
        hashes[: len(self.hashes)] = self.hashes
        hashes[changed] = hash_rows(columns.basis.take(changed))
        return Structure.of(columns, hashes=hashes, like=self)

    @cached_property
    def assembler(self) -> Assembler:
        """Assembles T' diag(weights) T."""
        return Assembler(self.map, self.products)

    def demand_prices(self, z: FloatArray) -> FloatArray:
        """Marginal price of each demand, NaN where it has no row."""
        values = np.append(self.map.forward(z), np.nan)
        prices: FloatArray = self.scale * values[self.row]
        return prices


def _same_rows(one: Structure, other: Structure) -> bool:
    a, b = one.map.table, other.map.table
    return (
        one.products == other.products
        and one.map.shape == other.map.shape
        and np.array_equal(a.ptr, b.ptr)
        and np.array_equal(a.idx, b.idx)
        and np.array_equal(a.weight, b.weight)
    )


@dataclass(slots=True)
class _Rows:
    """Rows under construction."""

    tables: list[Ragged]
    count: int = 0

    def add(self, table: Ragged) -> IntArray:
        self.tables.append(table)
        self.count += len(table)
        return np.arange(self.count - len(table), self.count)

    def stacked(self) -> Ragged:
        if len(self.tables) == 1:
            return self.tables[0]
        ends = np.cumsum([0] + [len(t.idx) for t in self.tables])
        ptrs = [t.ptr[:-1] + end for t, end in zip(self.tables, ends, strict=False)]
        return Ragged(
            np.concatenate([*ptrs, ends[-1:]]),
            np.concatenate([t.idx for t in self.tables]),
            np.concatenate([t.weight for t in self.tables]),
        )


class _Builder:
    """Sorts portfolios into the four kinds and writes their rows."""

    def __init__(
        self, columns: Columns, hashes: NDArray[np.uint64] | None = None
    ) -> None:
        self.columns = columns
        self.hashes = hash_rows(columns.basis) if hashes is None else hashes
        self.live, self.usage = live_usage(columns)
        self.feeders = np.bincount(self.usage.idx, minlength=columns.demands)
        self.row = np.full(columns.demands, -1, np.int64)
        self.scale = np.full(columns.demands, np.nan)
        self.rows = _Rows([])

    def build(self) -> Structure:
        direct, demand, factor = self._simple()
        complex_ = self._complex()
        order = np.flatnonzero(self.row >= 0)
        # A stable sort of 16-bit keys is a radix sort, ten times the faster one.
        keys = self.row[order]
        if self.rows.count <= 1 << 16:
            keys = keys.astype(np.uint16)
        order = order[np.argsort(keys, kind="stable")]
        return Structure(
            products=self.columns.products,
            live=self.live,
            usage=self.usage,
            free=complex_.free,
            map=RowMap(self.rows.stacked(), self.columns.products + len(complex_.free)),
            row=self.row,
            scale=self.scale,
            order=order,
            pseudo_rows=complex_.pseudo_rows,
            recovery=Recovery(
                direct=np.concatenate([direct, complex_.pivots]),
                demand=np.concatenate([demand, complex_.own]),
                factor=np.concatenate([factor, np.ones(len(complex_.own))]),
                pseudo=complex_.pseudo,
                anchors=complex_.anchors,
                anchored=complex_.anchored,
                anchor_weight=complex_.anchor_weight,
            ),
            hashes=self.hashes,
        )

    def _simple(self) -> tuple[IntArray, IntArray, FloatArray]:
        single = np.flatnonzero(np.diff(self.usage.ptr) == 1)
        demand = self.usage.idx[self.usage.ptr[single]]
        alone = self.feeders[demand] == 1
        portfolios, demand = single[alone], demand[alone]
        weight = self.usage.weight[self.usage.ptr[portfolios]]
        interned = intern_rows(
            self.columns.basis.take(portfolios), self.hashes[portfolios]
        )
        self.rows.add(interned.table)
        self.row[demand] = interned.number
        self.scale[demand] = interned.sign / weight
        return portfolios, demand, interned.sign

    def _complex(self) -> "_Complex":
        found = _Complex.find(self.usage, self.feeders, self.live, self.row >= 0)
        if not len(found.members):
            return found
        products = self.columns.products
        at = self.rows.add(_units(products + np.arange(len(found.free))))
        self.row[found.free] = at
        self.scale[found.free] = 1.0
        settled = found.settled(self.columns)
        for portfolios, demands, weights in (
            (found.anchors, found.anchored, found.anchor_weight),
            (found.pivots, found.own, found.own_weight),
        ):
            at = self.rows.add(
                found.rows_of(portfolios, self.columns, self.usage, settled)
            )
            self.row[demands] = at
            self.scale[demands] = 1.0 / weights
        found.pseudo_rows = self.rows.add(
            found.rows_of(found.pseudo, self.columns, self.usage, settled)
        )
        return found


@dataclass(slots=True, eq=False)
class _Complex:
    """Portfolios that share demands, sorted into pivots, anchors and pseudo-orders."""

    members: IntArray
    pivots: IntArray
    own: IntArray
    own_weight: FloatArray
    anchors: IntArray
    anchored: IntArray
    anchor_weight: FloatArray
    pseudo: IntArray
    free: IntArray
    pseudo_rows: IntArray

    @classmethod
    def find(
        cls, usage: Ragged, feeders: IntArray, live: BoolArray, settled: BoolArray
    ) -> Self:
        lengths = np.diff(usage.ptr)
        first = np.minimum(usage.ptr[:-1], max(len(usage.idx) - 1, 0))
        is_simple = np.zeros(len(usage), np.bool_)
        if len(usage.idx):
            is_simple = (lengths == 1) & (feeders[usage.idx[first]] == 1)
        members = np.flatnonzero(live & ~is_simple)
        if not len(members):
            return cls.none()
        entries = ragged_index(usage.ptr, members)
        owner = np.repeat(members, lengths[members])
        mine = np.flatnonzero(feeders[usage.idx[entries]] == 1)
        pivots, chosen = np.unique(owner[mine], return_index=True)
        pivot_at = entries[mine[chosen]]
        rest = np.setdiff1d(members, pivots, assume_unique=True)
        lone = rest[lengths[rest] == 1]
        anchored, chosen = np.unique(usage.idx[usage.ptr[lone]], return_index=True)
        anchors = lone[chosen]
        own = usage.idx[pivot_at]
        is_free = (feeders > 0) & ~settled
        is_free[own] = False
        is_free[anchored] = False
        return cls(
            members=members,
            pivots=pivots,
            own=own,
            own_weight=usage.weight[pivot_at],
            anchors=anchors,
            anchored=anchored,
            anchor_weight=usage.weight[usage.ptr[anchors]],
            pseudo=np.setdiff1d(rest, anchors, assume_unique=True),
            free=np.flatnonzero(is_free),
            pseudo_rows=np.zeros(0, np.int64),
        )

    @classmethod
    def none(cls) -> Self:
        """No portfolio shares a demand: most small auctions, and no work at all."""
        nobody, nothing = np.zeros(0, np.int64), np.zeros(0)
        return cls(
            members=nobody,
            pivots=nobody,
            own=nobody,
            own_weight=nothing,
            anchors=nobody,
            anchored=nobody,
            anchor_weight=nothing,
            pseudo=nobody,
            free=nobody,
            pseudo_rows=nobody,
        )

    def rows_of(
        self, portfolios: IntArray, columns: Columns, usage: Ragged, settled: Ragged
    ) -> Ragged:
        """a_j - sum over other demands of w_o mu_o, written in the columns of T."""
        held = columns.basis.take(portfolios)
        feeds = usage.take(portfolios)
        own = np.full(columns.demands, -1, np.int64)
        own[self.own] = self.pivots
        if portfolios is self.anchors:
            own[self.anchored] = self.anchors
        others = np.flatnonzero(
            own[feeds.idx] != np.repeat(portfolios, np.diff(feeds.ptr))
        )
        demand, lengths = feeds.idx[others], np.diff(settled.ptr)[feeds.idx[others]]
        at = ragged_index(settled.ptr, demand)
        price = settled.weight[at] * np.repeat(feeds.weight[others], lengths)
        return _summed(
            np.concatenate([held.rows(), np.repeat(feeds.rows()[others], lengths)]),
            np.concatenate([held.idx, settled.idx[at]]),
            np.concatenate([held.weight, -price]),
            len(portfolios),
        )

    def settled(self, columns: Columns) -> Ragged:
        """Prices of settled and free demands as rows over the columns of T."""
        held = columns.basis.take(self.anchors)
        lengths = np.diff(held.ptr)
        share = np.repeat(1.0 / self.anchor_weight, lengths)
        owner = np.concatenate([np.repeat(self.anchored, lengths), self.free])
        order = np.argsort(owner, kind="stable")
        units = columns.products + np.arange(len(self.free))
        weight = np.concatenate([share * held.weight, np.ones(len(units))])
        return Ragged(
            offsets(np.bincount(owner, minlength=columns.demands)),
            np.concatenate([held.idx, units])[order],
            weight[order],
        )


def _units(columns: IntArray) -> Ragged:
    count = len(columns)
    return Ragged(np.arange(count + 1), columns, np.ones(count))


def _summed(row: IntArray, column: IntArray, value: FloatArray, rows: int) -> Ragged:
    """Rows from entries that may repeat; what cancels is left out."""
    order = np.lexsort((column, row))
    row, column, value = row[order], column[order], value[order]
    is_first = np.ones(len(row), np.bool_)
    is_first[1:] = (row[1:] != row[:-1]) | (column[1:] != column[:-1])
    starts = np.flatnonzero(is_first)
    if not len(starts):
        return Ragged(np.zeros(rows + 1, np.int64), column, value)
    total = np.add.reduceat(value, starts)
    size = np.add.reduceat(np.abs(value), starts)
    keep = np.abs(total) > _CANCELLED * size
    counts = np.bincount(row[starts][keep], minlength=rows)
    return Ragged(offsets(counts), column[starts][keep], total[keep])
