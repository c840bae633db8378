"""Pairs of entries within rows: where a product of two of them lands."""

from dataclasses import dataclass

import numpy as np

from flowtrade.clearing.arrays import FloatArray, IntArray, Ragged

__all__ = ["Pairs", "pair_positions", "row_pairs"]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """All unordered pairs of entries within rows, left index >= right index.

    Attributes:
        left: Greater column.
        right: Smaller column.
        row: Row of both.
        value: Product of their weights.
    """

    left: IntArray
    right: IntArray
    row: IntArray
    value: FloatArray


def pair_positions(ptr: IntArray) -> tuple[IntArray, IntArray]:
    """Flat positions of all unordered pairs of entries within rows.

    Entry i of a row meets entries 0 to i of it, itself included.
    """
    lengths = np.diff(ptr)
    within = np.arange(int(ptr[-1])) - np.repeat(ptr[:-1], lengths)
    left = np.repeat(np.arange(len(within)), within + 1)
    ends = np.cumsum(within + 1)
    right = np.arange(len(left)) - np.repeat(ends - within - 1, within + 1)
    right += np.repeat(np.repeat(ptr[:-1], lengths), within + 1)
    return left, right


def row_pairs(table: Ragged) -> Pairs:
    """Pairs within the rows of a table whose indices ascend."""
    left, right = pair_positions(table.ptr)
    value = table.weight[left] * table.weight[right]
    return Pairs(table.idx[left], table.idx[right], table.rows()[left], value)
