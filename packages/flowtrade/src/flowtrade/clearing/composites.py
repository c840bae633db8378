"""Products that are always held in one proportion are one product, while it is solved.

A year that is divided into its hours is 8,760 products, and bids for the year hold all
of them alike. No order tells such products apart: their columns of the portfolios'
table are multiples of each other, so the balance of one is the balance of all, and
only the price of the bundle, the sum of their prices by proportion, matters to
anybody. A solver gets the bundle as one product; its dense system grows with the
square of what is left, and its work with the cube.

How the price of a bundle is divided is what `prices` says of any undetermined prices:
the nearest to their targets. Since a member's price alone may be anything, its range
has no end, and its target is its reference or 0. With proportions r and targets t the
nearest prices of a bundle at price P are

    p = t + r (P - r't) / r'r,

and they are at the distance |P - r't| / |r|. So among several prices of bundles the
nearest are those with each distance divided by |r|, the bundle's `norm`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from flowtrade.clearing.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    Ragged,
    group_sum,
    offsets,
    ragged_index,
)
from flowtrade.clearing.columns import Columns
from flowtrade.clearing.structure import Structure

__all__ = ["Composites", "find_composites"]

_WIDEST = 2.0**20
"""Proportion up to which products are merged: beyond, one is rounding to the other."""

_PER_PRODUCT = 16
"""Entries to each product that are looked at first: they tell nearly all apart."""

_ODD = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9], np.uint64)
"""Multipliers of SplitMix64 (Steele, Lea, Flood 2014)."""


@final
@dataclass(frozen=True, eq=False)
class Composites:
    """A market with bundles in place of the products that only come together.

    Attributes:
        columns: The market of bundles; portfolios and demands are the same.
        home: The bundle of each product.
        ratio: So much of the product is in one of its bundle.
        square: The sum of squares of each bundle's proportions.
        merged: Which products are not alone in their bundle.
    """

    columns: Columns
    home: IntArray
    ratio: FloatArray
    square: FloatArray
    merged: BoolArray

    @cached_property
    def structure(self) -> Structure:
        """What the program of the bundles owes to portfolios alone."""
        return Structure.of(self.columns)

    @property
    def norm(self) -> FloatArray:
        """By how much the distance of a bundle's price is more than its products'."""
        norm: FloatArray = np.sqrt(self.square)
        return norm

    def among(self, columns: IntArray) -> int:
        """How many of some columns are bundles of several products."""
        sizes = np.bincount(self.home, minlength=int(columns.max(initial=0)) + 1)
        return int((sizes[columns] > 1).sum())

    def wanted(self, reference: FloatArray) -> FloatArray:
        """Reference prices of bundles.

        Args:
            reference: Of products, NaN for none.
        """
        target = self._targets(reference)
        total = group_sum(self.home, self.ratio * target, len(self.square))
        alone = np.flatnonzero(~self.merged)
        total[self.home[alone]] = reference[alone]
        return total

    def least(self, prices: FloatArray) -> FloatArray:
        """Prices of products at those of their bundles, the smallest ones."""
        return self._divided(prices, np.zeros(len(self.home)))

    def nearest(self, prices: FloatArray, reference: FloatArray) -> FloatArray:
        """Prices of products at those of their bundles, the nearest to their targets.

        Args:
            prices: Of bundles.
            reference: Of products, NaN for none.
        """
        return self._divided(prices, self._targets(reference))

    def _targets(self, reference: FloatArray) -> FloatArray:
        return np.where(np.isnan(reference) | ~self.merged, 0.0, reference)

    def _divided(self, prices: FloatArray, target: FloatArray) -> FloatArray:
        found = target
        # Twice: from targets far out the first step leaves their rounding.
        for _ in range(2):
            sums = group_sum(self.home, self.ratio * found, len(self.square))
            rest = (prices - sums) / self.square
            found = found + self.ratio * rest[self.home]
        return np.where(self.merged, found, prices[self.home])


def find_composites(columns: Columns) -> Composites | None:
    """Find the products that are always held in one proportion.

    Two products are merged if the same portfolios hold them and their weights, each
    divided by the product's first one, are the same floats.

    Args:
        columns: A market all of whose portfolios take part.

    Returns:
        The market with bundles, or None if every product is told from all others.
    """
    basis = columns.basis
    some = _look_alikes(basis, columns.products)
    if not len(some):
        return None
    leader = np.arange(columns.products)
    ratio = np.ones(columns.products)
    _Candidates.of(basis, some, columns.products).settle(leader, ratio)
    if (leader == np.arange(columns.products)).all():
        return None
    leads = leader == np.arange(columns.products)
    number = np.cumsum(leads) - 1
    home = number[leader]
    bundles = basis.filter(leads[basis.idx])
    return Composites(
        columns=Columns(
            int(leads.sum()),
            columns.curves,
            columns.known,
            columns.usage,
            Ragged(bundles.ptr, number[bundles.idx], bundles.weight),
        ),
        home=home,
        ratio=ratio,
        square=group_sum(home, ratio * ratio, int(leads.sum())),
        merged=np.bincount(home)[home] > 1,
    )


def _look_alikes(basis: Ragged, products: int) -> IntArray:
    """Products that the first portfolios do not tell from another: mostly none.

    They share their first and last holder among these, or nobody holds them there.
    """
    enough = np.searchsorted(basis.ptr, _PER_PRODUCT * products)
    rows = min(int(enough), len(basis))
    idx = basis.idx[: basis.ptr[rows]]
    ends = np.full((2, products), -1)
    # Of an index that comes several times, numpy keeps the last value.
    ends[0, idx[::-1]] = np.arange(len(idx))[::-1]
    ends[1, idx] = np.arange(len(idx))
    holder = np.searchsorted(basis.ptr, ends, side="right") - 1
    key = np.where(ends[0] < 0, -1, holder[0] * len(basis) + holder[1])
    order = np.argsort(key, kind="stable")
    same = key[order][1:] == key[order][:-1]
    alike = np.zeros(products, np.bool_)
    alike[order[1:][same]] = True
    alike[order[:-1][same]] = True
    return np.flatnonzero(alike)


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """Columns of the table of portfolios, of some products.

    Attributes:
        products: Whose.
        ptr: Offsets of their entries.
        row: Portfolio of each entry, ascending within a product.
        share: Its weight against the product's first.
        first: First weight of each product.
    """

    products: IntArray
    ptr: IntArray
    row: IntArray
    share: FloatArray
    first: FloatArray

    @classmethod
    def of(cls, basis: Ragged, products: IntArray, count: int) -> "_Candidates":
        place = np.full(count, -1, np.int64)
        place[products] = np.arange(len(products))
        at = np.flatnonzero(place[basis.idx] >= 0)
        row = np.searchsorted(basis.ptr, at, side="right") - 1
        column = place[basis.idx[at]]
        # A stable sort of 16-bit keys is a radix sort, ten times the faster one.
        keys = column.astype(np.uint16) if len(products) <= 1 << 16 else column
        order = np.argsort(keys, kind="stable")
        lengths = np.bincount(column, minlength=len(products))
        products, lengths = products[lengths > 0], lengths[lengths > 0]
        ptr = offsets(lengths)
        weight = basis.weight[at[order]]
        first = weight[ptr[:-1]]
        with np.errstate(over="ignore"):
            share = weight / np.repeat(first, lengths)
        return cls(products, ptr, row[order], share, first)

    def settle(self, leader: IntArray, ratio: FloatArray) -> None:
        """Write down who leads whom, and in what proportion."""
        key = self._hashes()
        order = np.lexsort((key, np.diff(self.ptr)))
        lengths = np.diff(self.ptr)[order]
        starts = np.ones(len(order), np.bool_)
        starts[1:] = (key[order][1:] != key[order][:-1]) | (lengths[1:] != lengths[:-1])
        # Sorted stably, the first of a run is its least number.
        lead = order[starts][np.cumsum(starts) - 1]
        with np.errstate(over="ignore", under="ignore"):
            found = self.first[order] / self.first[lead]
        size = np.abs(found)
        same = self._are_equal(order, lead)
        same &= (size <= _WIDEST) & (size >= 1.0 / _WIDEST)
        leader[self.products[order[same]]] = self.products[lead[same]]
        ratio[self.products[order[same]]] = found[same]

    def _hashes(self) -> NDArray[np.uint64]:
        mixed = self.share.view(np.uint64) + self.row.astype(np.uint64) * _ODD[0]
        mixed ^= mixed >> np.uint64(30)
        mixed *= _ODD[1]
        mixed ^= mixed >> np.uint64(27)
        hashes: NDArray[np.uint64] = np.add.reduceat(mixed, self.ptr[:-1])
        return hashes

    def _are_equal(self, one: IntArray, other: IntArray) -> BoolArray:
        """Whether columns of equal lengths are; a hash alone has collided before."""
        mine, theirs = ragged_index(self.ptr, one), ragged_index(self.ptr, other)
        differ = self.row[mine] != self.row[theirs]
        differ |= self.share[mine] != self.share[theirs]
        owner = np.repeat(np.arange(len(one)), np.diff(self.ptr)[one])
        equal: BoolArray = group_sum(owner, differ, len(one)) == 0
        return equal
