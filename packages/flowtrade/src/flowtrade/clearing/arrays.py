"""Names for array types, and ragged rows: what the columnar code is written in.

A ragged array is a pointer of `n + 1` offsets beside flat values; row `i` is
`values[ptr[i]:ptr[i + 1]]`. Nothing here knows of markets.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BoolArray",
    "FloatArray",
    "IntArray",
    "Ragged",
    "group_sum",
    "offsets",
    "ragged_index",
    "row_numbers",
    "splice_index",
    "typical",
]

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """Rows of weighted indices: a sparse matrix by rows.

    Attributes:
        ptr: Offsets, shape (n + 1,), starting at 0.
        idx: Indices, shape (ptr[-1],).
        weight: Weights, the same shape.
    """

    ptr: IntArray
    idx: IntArray
    weight: FloatArray

    def __len__(self) -> int:
        return len(self.ptr) - 1

    def rows(self) -> IntArray:
        """The row number of each entry."""
        return row_numbers(self.ptr)

    def take(self, rows: IntArray) -> "Ragged":
        """The given rows, in the order given."""
        where = ragged_index(self.ptr, rows)
        lengths = self.ptr[rows + 1] - self.ptr[rows]
        return Ragged(offsets(lengths), self.idx[where], self.weight[where])

    def take_row(self, row: int) -> list[tuple[int, float]]:
        """One row as pairs of index and weight."""
        part = slice(int(self.ptr[row]), int(self.ptr[row + 1]))
        pairs = zip(self.idx[part].tolist(), self.weight[part].tolist(), strict=True)
        return list(pairs)

    def filter(self, keep: BoolArray) -> "Ragged":
        """Only the entries marked, all rows kept."""
        if keep.all():
            return self
        counts = group_sum(self.rows(), keep.astype(np.float64), len(self))
        return Ragged(
            offsets(counts.astype(np.int64)), self.idx[keep], self.weight[keep]
        )


def offsets(lengths: IntArray) -> IntArray:
    """Turn row lengths into a pointer."""
    ptr = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ptr[1:])
    return ptr


def row_numbers(ptr: IntArray) -> IntArray:
    """The row number of each entry of a ragged array."""
    return np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))


def ragged_index(ptr: IntArray, rows: IntArray) -> IntArray:
    """Flat positions of all entries of the given rows, row after row."""
    starts, lengths = ptr[rows], ptr[rows + 1] - ptr[rows]
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    index: IntArray = np.arange(total) + np.repeat(starts - ends + lengths, lengths)
    return index


def splice_index(
    ptr: IntArray, rows: IntArray, new_ptr: IntArray
) -> tuple[IntArray, IntArray]:
    """Replace whole rows: the new pointer, and where each entry comes from.

    Args:
        ptr: The old pointer.
        rows: Rows to replace, distinct.
        new_ptr: Pointer of the replacements, one row per entry of `rows`.

    Returns:
        The pointer afterwards, and for each flat position its source in
        `concatenate([old, new])`.
    """
    lengths = np.diff(ptr)
    starts = ptr[:-1].copy()
    lengths[rows] = np.diff(new_ptr)
    starts[rows] = ptr[-1] + new_ptr[:-1]
    after = offsets(lengths)
    source = np.arange(int(after[-1])) + np.repeat(starts - after[:-1], lengths)
    return after, source


def group_sum(groups: IntArray, values: FloatArray, count: int) -> FloatArray:
    """Sum values by group.

    `np.bincount` of empty input with weights counts in floats, without it in
    integers; this always answers floats of shape (count,).
    """
    total = np.bincount(groups, weights=values, minlength=count)
    return np.asarray(total, np.float64)


def typical(values: FloatArray) -> float:
    """The (lower) median, 0 without values; without the cost of `np.median`."""
    if not len(values):
        return 0.0
    middle = (len(values) - 1) // 2
    return float(np.partition(values, middle)[middle])
