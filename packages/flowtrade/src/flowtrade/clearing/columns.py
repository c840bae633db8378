"""The auction as columns: arrays that every later stage reads and none changes.

A market is three ragged tables: the corner points of each demand curve, the demands
each portfolio feeds, and the products it holds. This module owns the tables, their
canonical form and their replacement row by row. Ids live in `market`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from flowtrade.clearing.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    Ragged,
    offsets,
    splice_index,
)
from flowtrade.clearing.errors import InvalidMarket

__all__ = [
    "Columns",
    "Curves",
    "as_curves",
    "canonical_rows",
    "check_curves",
    "splice",
]


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
        InvalidMarket: Offsets that do not fit, an index out of range or a weight that
            is not finite.
    """
    rows = Ragged(
        _whole_numbers(rows.ptr, what=what),
        _whole_numbers(rows.idx, what=what),
        np.ascontiguousarray(rows.weight, np.float64),
    )
    _check_offsets(rows.ptr, (rows.idx, rows.weight), what=what)
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


def as_curves(curves: Curves) -> Curves:
    """Curves of any numbers as the arrays that loops without bounds rely on.

    Raises:
        InvalidMarket: The offsets do not fit the points.
    """
    found = Curves(
        _whole_numbers(curves.ptr, what="curves"),
        np.ascontiguousarray(curves.rate, np.float64),
        np.ascontiguousarray(curves.price, np.float64),
    )
    _check_offsets(found.ptr, (found.rate, found.price), what="curves")
    return found


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


def _whole_numbers(values: ArrayLike, *, what: str) -> IntArray:
    """Offsets or indices: a fraction is no number of a row."""
    given = np.asarray(values)
    if given.dtype.kind in "iu":
        return np.ascontiguousarray(given, np.int64)
    with np.errstate(invalid="ignore"):  # what is no number differs below
        found = np.ascontiguousarray(given, np.int64)
    if not np.array_equal(found, given):
        raise InvalidMarket(
            "columns.number", what, "offsets and indices must be whole numbers"
        )
    return found


def _check_offsets(
    ptr: IntArray, entries: tuple[IntArray | FloatArray, ...], *, what: str
) -> None:
    """Offsets start at 0, never fall and end where the entries do."""
    shapes = {array.shape for array in entries}
    fits = ptr.ndim == 1 and len(ptr) > 0 and ptr[0] == 0 and shapes == {(ptr[-1],)}
    if not fits or (ptr[1:] < ptr[:-1]).any():
        raise InvalidMarket(
            "columns.offsets",
            what,
            f"offsets of shape {ptr.shape} must rise from 0 to the number of entries, "
            f"which are of shapes {sorted(shapes)}",
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
