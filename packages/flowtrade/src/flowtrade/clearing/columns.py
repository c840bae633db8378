"""The auction as columns: arrays that every later stage reads and none changes.

A market is three ragged tables: the corner points of each demand curve, the demands
each portfolio feeds, and the products it holds. This module owns the tables, their
canonical form and their replacement row by row. Ids live in `market`.
"""

from dataclasses import dataclass

import numpy as np

from flowtrade.clearing.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    Ragged,
    offsets,
    splice_index,
)
from flowtrade.clearing.errors import InvalidMarket

__all__ = ["Columns", "Curves", "canonical_rows", "check_curves", "splice"]


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Corner points of demand curves.

    Attributes:
        ptr: Offsets, shape (n + 1,). A curve without points admits rate 0 only.
        rate: Net rates, ascending within a curve; the first and the last may be
            infinite where a curve has one price.
        price: Prices, finite, descending within a curve.
    """

    ptr: IntArray
    rate: FloatArray
    price: FloatArray

    def __len__(self) -> int:
        return len(self.ptr) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """A market without names.

    Attributes:
        products: Number of products.
        curves: Of each demand.
        known: Whether a demand exists. Portfolios may name demands that do not: they
            are dropped, unlike those whose curve is empty.
        usage: Demands and weights of each portfolio, no zero weights.
        basis: Products and weights of each portfolio, ascending, no zero weights.
    """

    products: int
    curves: Curves
    known: BoolArray
    usage: Ragged
    basis: Ragged

    @property
    def portfolios(self) -> int:
        """Number of portfolios, dead ones included."""
        return len(self.basis)

    @property
    def demands(self) -> int:
        """Number of demands, unknown ones included."""
        return len(self.curves)


def canonical_rows(rows: Ragged, columns: int, *, what: str) -> Ragged:
    """Sort each row by index, add up repeated indices, drop zero weights.

    Args:
        rows: The table.
        columns: Number of columns that may be named.
        what: Its name in messages.

    Raises:
        InvalidMarket: An index out of range or a weight that is not finite.
    """
    rows = Ragged(
        np.ascontiguousarray(rows.ptr, np.int64),
        np.ascontiguousarray(rows.idx, np.int64),
        np.ascontiguousarray(rows.weight, np.float64),
    )
    if not np.isfinite(rows.weight).all():
        raise InvalidMarket("group.weight", what, "weights must be finite")
    if len(rows.idx) and not 0 <= rows.idx.min() <= rows.idx.max() < columns:
        raise InvalidMarket(
            "group.id", what, f"an index is not in 0..{columns - 1}: check the table"
        )
    if _is_canonical(rows):
        return rows
    row = rows.rows()
    order = np.lexsort((rows.idx, row))
    row, idx, weight = row[order], rows.idx[order], rows.weight[order]
    first = np.ones(len(idx), np.bool_)
    first[1:] = (row[1:] != row[:-1]) | (idx[1:] != idx[:-1])
    starts = np.flatnonzero(first)
    total = np.add.reduceat(weight, starts) if len(starts) else weight
    keep = total != 0.0
    lengths = np.bincount(row[starts][keep], minlength=len(rows))
    return Ragged(offsets(lengths), idx[starts][keep], total[keep])


def check_curves(curves: Curves) -> None:
    """Check the rules of curves that came as columns.

    Raises:
        InvalidMarket: A rule is broken; `where` names the demand's number.
    """
    owner = np.repeat(np.arange(len(curves)), np.diff(curves.ptr))
    rate, price = curves.rate, curves.price
    same = owner[1:] == owner[:-1]
    _refuse(np.isnan(rate) | np.isnan(price), owner, "pwl.nan", "NaN")
    _refuse(np.isinf(price), owner, "pwl.infinity", "an infinite price")
    rising = same & ((rate[1:] < rate[:-1]) | (price[1:] > price[:-1]))
    _refuse(rising, owner[1:], "pwl.non_monotone", "rates fall or prices rise")
    unlimited = same & np.isinf(rate[1:] - rate[:-1]) & (price[1:] != price[:-1])
    _refuse(unlimited, owner[1:], "pwl.infinity", "an unlimited piece that slopes")
    filled = np.flatnonzero(np.diff(curves.ptr))
    outside = (rate[curves.ptr[filled]] > 0.0) | (rate[curves.ptr[filled + 1] - 1] < 0)
    _refuse(outside, filled, "pwl.zero_trade", "the rates exclude 0")


def splice(old: Ragged, rows: IntArray, new: Ragged) -> Ragged:
    """Replace whole rows of a ragged table."""
    ptr, source = splice_index(old.ptr, rows, new.ptr)
    return Ragged(
        ptr,
        np.concatenate([old.idx, new.idx])[source],
        np.concatenate([old.weight, new.weight])[source],
    )


def _is_canonical(rows: Ragged) -> bool:
    if (rows.weight == 0.0).any():
        return False
    ascending = np.diff(rows.idx) > 0
    # A row may start below the end of the row before it.
    inner = rows.ptr[1:-1]
    breaks = inner[(inner > 0) & (inner < len(rows.idx))] - 1
    ascending[breaks] = True
    return bool(ascending.all())


def _refuse(bad: BoolArray, owner: IntArray, code: str, text: str) -> None:
    if bad.any():
        first = int(owner[int(np.argmax(bad))])
        raise InvalidMarket(code, f"demand {first}", text)
