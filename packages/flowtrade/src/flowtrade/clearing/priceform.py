"""The program as the solvers see it: segments on rows, prices as unknowns.

With every portfolio substituted out (see `structure`), the auction reads

    minimise   sum_s h_s/2 y_s^2 - p_s y_s      over   low_s <= y_s <= high_s
    subject to T' (sums of y by row) = 0,

and its row duals are the prices. `PriceForm` holds the segments in row coordinates,
sorted by row, and the measures of scale that every tolerance is relative to.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from flowtrade.clearing._speedups import lay_out
from flowtrade.clearing.arrays import (
    FloatArray,
    IntArray,
    group_sum,
    offsets,
    ragged_index,
    typical,
)
from flowtrade.clearing.assembly import Assembler
from flowtrade.clearing.rowmap import RowMap
from flowtrade.clearing.segments import Segments
from flowtrade.clearing.speedups import COMPILED
from flowtrade.clearing.structure import Structure

__all__ = ["PriceForm", "Scales"]

_APART = 1e-9
"""Least price scale of a column against the market's."""


@dataclass(frozen=True, slots=True)
class Scales:
    """What is large and what is small in a market.

    Attributes:
        price: Typical size of prices, in row units of weight 1.
        spread: Typical distance of prices from a common fit, <= `price`.
        rate: Typical width of a segment.
    """

    price: float
    spread: float
    rate: float


@final
@dataclass(frozen=True, eq=False)
class PriceForm:
    """Segments on rows.

    Attributes:
        map: T, shape (rows, columns).
        assembler: Of its normal matrix.
        row: Row of each segment, ascending.
        low: Lowest flow, <= 0, maybe infinite.
        high: Highest flow, >= 0, maybe infinite.
        top: Price at the lowest flow.
        bottom: Price at the highest flow.
        demand: Demand of each segment; for a pseudo-order, -1 - its position.
        offset: What enters each column's balance from outside, or None.
    """

    map: RowMap
    assembler: Assembler
    row: IntArray
    low: FloatArray
    high: FloatArray
    top: FloatArray
    bottom: FloatArray
    demand: IntArray
    offset: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.row)

    @classmethod
    def of(
        cls, structure: Structure, segments: Segments, *, compiled: bool = COMPILED
    ) -> "PriceForm":
        """Lay a market's segments onto the rows of its structure."""
        if compiled:
            return cls._of_compiled(structure, segments)
        order = structure.order
        index = ragged_index(segments.ptr, order)
        lengths = segments.ptr[order + 1] - segments.ptr[order]
        demand = np.repeat(order, lengths)
        scale = np.repeat(structure.scale[order], lengths)
        low, high = segments.low[index] * scale, segments.high[index] * scale
        top, bottom = segments.top[index] / scale, segments.bottom[index] / scale
        turned = scale < 0.0
        low, high = np.where(turned, high, low), np.where(turned, low, high)
        top, bottom = np.where(turned, bottom, top), np.where(turned, top, bottom)
        pseudo = structure.pseudo_rows
        count = len(pseudo)
        nothing = np.zeros(count)
        return cls(
            map=structure.map,
            assembler=structure.assembler,
            row=np.concatenate([structure.row[demand], pseudo]),
            low=np.concatenate([low, nothing - np.inf]),
            high=np.concatenate([high, nothing + np.inf]),
            top=np.concatenate([top, nothing]),
            bottom=np.concatenate([bottom, nothing]),
            demand=np.concatenate([demand, -1 - np.arange(count)]),
        )

    @classmethod
    def _of_compiled(cls, structure: Structure, segments: Segments) -> "PriceForm":
        order, pseudo = structure.order, structure.pseudo_rows
        bids = int((segments.ptr[order + 1] - segments.ptr[order]).sum())
        count = bids + len(pseudo)
        ends = np.empty((4, count))
        row, demand = np.empty(count, np.int64), np.empty(count, np.int64)
        lay_out(
            order,
            segments.ptr,
            segments.low,
            segments.high,
            segments.top,
            segments.bottom,
            structure.scale,
            structure.row,
            ends,
            row,
            demand,
        )
        low, high, top, bottom = ends
        low[bids:], high[bids:] = -np.inf, np.inf
        top[bids:] = bottom[bids:] = 0.0
        row[bids:], demand[bids:] = pseudo, -1 - np.arange(len(pseudo))
        return cls(
            map=structure.map,
            assembler=structure.assembler,
            row=row,
            low=low,
            high=high,
            top=top,
            bottom=bottom,
            demand=demand,
        )

    @property
    def rows(self) -> int:
        """Number of rows, those without segments included."""
        return self.map.shape[0]

    @property
    def columns(self) -> int:
        """Number of unknown prices."""
        return self.map.shape[1]

    @cached_property
    def row_ptr(self) -> IntArray:
        """Offsets of the segments by row."""
        return offsets(np.bincount(self.row, minlength=self.rows))

    @cached_property
    def width(self) -> FloatArray:
        """Range of each segment's flow, maybe infinite."""
        return self.high - self.low

    @cached_property
    def middle(self) -> FloatArray:
        """Price half way along each segment."""
        return 0.5 * (self.top + self.bottom)

    @cached_property
    def scales(self) -> Scales:
        """The market's scales."""
        finite = self.width[np.isfinite(self.width)]
        rate = typical(finite)
        reach = np.maximum(np.abs(self.top), np.abs(self.bottom))
        orders = self.demand >= 0
        per_weight = reach[orders] / self._row_size[self.row[orders]]
        price = typical(per_weight)
        largest = float(per_weight.max(initial=0.0))
        # Most orders may stand at price 0; the others still have a scale.
        price = max(price, 1e-3 * largest)
        return Scales(price=price or 1.0, spread=price or 1.0, rate=rate or 1.0)

    @cached_property
    def _row_size(self) -> FloatArray:
        size = self.map.absolute
        return np.where(size > 0.0, size, 1.0)

    @cached_property
    def column_price(self) -> FloatArray:
        """Price scale of each column: products may be worlds apart in price.

        A mean over the orders for the one column alone. A column that has none takes
        what the rows that it is part of are worth without it, once that is known.
        """
        table = self.map.table
        entries = np.diff(table.ptr)
        alone = np.flatnonzero(entries[self.row] == 1)
        reach = np.maximum(np.abs(self.top[alone]), np.abs(self.bottom[alone]))
        told = (reach > 0.0) & (self.demand[alone] >= 0)
        at = table.ptr[self.row[alone[told]]]
        level = reach[told] / np.abs(table.weight[at])
        price = _middles(table.idx[at], level, self.columns)
        known = int((price > 0.0).sum())
        while 0 < known < len(price):
            price = self._from_rows(price)
            known, before = int((price > 0.0).sum()), known
            if known == before:
                break
        least = _APART * self.scales.price
        return np.where(price > 0.0, np.maximum(price, least), self.scales.price)

    def _from_rows(self, price: FloatArray) -> FloatArray:
        """Fill in columns from the known parts of rows that they share."""
        table = self.map.table
        row = table.rows()
        worth = group_sum(row, np.abs(table.weight) * price[table.idx], self.rows)
        at = np.flatnonzero((price[table.idx] == 0.0) & (worth[row] > 0.0))
        level = worth[row[at]] / np.abs(table.weight[at])
        return np.where(price > 0.0, price, _middles(table.idx[at], level, len(price)))

    @cached_property
    def row_price(self) -> FloatArray:
        """Price scale of each row."""
        table = self.map.table
        worth = np.abs(table.weight) * self.column_price[table.idx]
        size = group_sum(table.rows(), worth, self.rows)
        return np.where(size > 0.0, size, self.scales.price)

    @cached_property
    def column_supply(self) -> FloatArray:
        """Flow per price of each column, were all its pieces lines of price scale."""
        table = self.map.table
        width = np.where(np.isfinite(self.width), self.width, 1e3 * self.scales.rate)
        supply = self.row_sums(width / self.row_price[self.row])
        size = table.weight**2 * np.repeat(supply, np.diff(table.ptr))
        total = group_sum(table.idx, size, self.columns)
        floor = self.scales.rate / self.column_price
        return np.maximum(total, 1e-3 * floor)

    def row_sums(self, values: FloatArray) -> FloatArray:
        """Add up values over the segments of each row."""
        sums = np.bincount(self.row, weights=values, minlength=self.rows)
        return sums.astype(np.float64, copy=False)

    def balance(self, y: FloatArray) -> FloatArray:
        """Imbalance of each column at flows y."""
        return self.balance_of_rows(self.row_sums(y))

    def balance_of_rows(self, flows: FloatArray) -> FloatArray:
        """Imbalance of each column when rows flow so much in sum."""
        total = self.map.adjoint(flows)
        return total if self.offset is None else total + self.offset

    def gross_volume(self, y: FloatArray) -> FloatArray:
        """Gross volume of each column at flows y."""
        return self.gross_of_rows(self.row_sums(np.abs(y)))

    def gross_of_rows(self, rows: FloatArray) -> FloatArray:
        """Gross volume of each column when flows' sizes add up to so much by row."""
        table = self.map.table
        volume = np.bincount(
            table.idx,
            weights=np.abs(table.weight) * np.repeat(rows, np.diff(table.ptr)),
            minlength=self.columns,
        )
        return volume.astype(np.float64, copy=False)

    def merit(self, z: FloatArray, y: FloatArray) -> float:
        """How far a point is from optimal; 0 is optimal, infinite is no number.

        The larger of `measures`. It is what candidates are compared by before the
        certificate has the last word.
        """
        return max(self.measures(z, y))

    def measures(self, z: FloatArray, y: FloatArray) -> tuple[float, float]:
        """The relative sum of regrets, and the largest relative imbalance."""
        if not (np.isfinite(z).all() and np.isfinite(y).all()):
            return float("inf"), float("inf")
        price = self.map.forward(z)[self.row]
        drop = self.top - self.bottom
        with np.errstate(all="ignore"):  # infinite widths: flat, sorted out below
            inner = self.low + (self.top - price) / drop * self.width
            share = 0.5 * (y - self.low) / self.width
        wanted = np.where(price > self.top, self.low, self.high)
        wanted = np.where(
            (price <= self.top) & (price > self.bottom),
            np.clip(inner, self.low, self.high),
            wanted,
        )
        flat = drop == 0.0
        wanted = np.where(flat & (price == self.top), y, wanted)
        # Orders without limit that would trade for ever count as one typical width.
        wanted = np.clip(wanted, y - 1e3 * self.scales.rate, y + 1e3 * self.scales.rate)
        with np.errstate(all="ignore"):
            share += 0.5 * (wanted - self.low) / self.width
        half = np.where(flat, self.top, self.top - drop * share)
        regret = float(np.maximum((wanted - y) * (half - price), 0.0).sum())
        worth = float(np.abs(self.middle) @ np.abs(y))
        worth += 1e-3 * self.scales.price * self.scales.rate
        floor = 1e-6 * self.scales.rate
        volume = np.maximum(self.gross_volume(y), floor)
        imbalance = np.abs(self.balance(y)) / volume
        return regret / worth, float(imbalance.max(initial=0.0))


def _middles(group: IntArray, value: FloatArray, count: int) -> FloatArray:
    """A typical value of each group, 0 without members.

    The power mean of exponent 1/8: as fast as a mean, and near the bulk whatever a few
    values do, be they zeros up to rounding or a billion times the others.
    """
    number = np.bincount(group, minlength=count)
    total = group_sum(group, np.sqrt(np.sqrt(np.sqrt(value))), count)
    middle: FloatArray = (total / np.maximum(number, 1)) ** 8
    return middle
