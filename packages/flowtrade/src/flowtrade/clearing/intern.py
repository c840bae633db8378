"""Interning: give equal rows one number, so that they are computed once.

Rows are equal when their indices and weights are, up to one common sign. Numbers
follow the order of a content hash: they do not depend on the order of the rows, nor
on how the table came about. Equality is decided by comparing, never by the hash.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowtrade.clearing._speedups import are_equal
from flowtrade.clearing.arrays import FloatArray, IntArray, Ragged, ragged_index
from flowtrade.clearing.speedups import COMPILED

__all__ = ["Interned", "first_signs", "hash_rows", "intern_rows"]

_Hashes = NDArray[np.uint64]

# Multipliers and shifts of splitmix64's finaliser (Steele, Lea & Flood 2014).
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, eq=False)
class Interned:
    """Distinct rows and who has them.

    Attributes:
        table: The distinct rows, first weight positive.
        number: For each given row, its number in `table`.
        sign: For each given row, the sign that turns the one into the other.
    """

    table: Ragged
    number: IntArray
    sign: FloatArray


def first_signs(rows: Ragged) -> FloatArray:
    """The sign of each row's first weight; 1 for an empty row."""
    sign = np.ones(len(rows))
    filled = np.flatnonzero(np.diff(rows.ptr))
    sign[filled] = np.sign(rows.weight[rows.ptr[filled]])
    return sign


def hash_rows(rows: Ragged) -> _Hashes:
    """Hash each row's content, first sign divided out; empty rows give 0."""
    signed = rows.weight * np.repeat(first_signs(rows), np.diff(rows.ptr))
    mixed = _mix(_mix(rows.idx.astype(np.uint64) + _GOLDEN) ^ signed.view(np.uint64))
    out = np.zeros(len(rows), np.uint64)
    filled = np.flatnonzero(np.diff(rows.ptr))
    if len(filled):
        out[filled] = np.add.reduceat(mixed, rows.ptr[filled])
    return out


def intern_rows(
    rows: Ragged, hashes: _Hashes, *, compiled: bool = COMPILED
) -> Interned:
    """Find the distinct rows.

    Args:
        rows: The table, indices ascending within a row, no zero weights.
        hashes: Of its rows, by `hash_rows`.
        compiled: Whether the compiled loops compare.
    """
    sign = first_signs(rows)
    first, number = _number(hashes)
    twin = first[number]
    if compiled:
        same = are_equal(rows.ptr, rows.idx, rows.weight, sign, twin)
    else:
        same = _are_equal(rows, sign, twin)
    if not same:
        first, number = _group_exactly(rows, sign, hashes)
    table = rows.take(first)
    weight = table.weight * np.repeat(sign[first], np.diff(table.ptr))
    return Interned(Ragged(table.ptr, table.idx, weight), number, sign)


def _number(hashes: _Hashes) -> tuple[IntArray, IntArray]:
    """The first row of each hash, and the number of each row's hash by size.

    What `np.unique` tells, by a sort that need not be stable and so is the faster one.
    """
    order = np.argsort(hashes)
    ordered = hashes[order]
    new = np.ones(len(hashes), np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    number = np.empty(len(hashes), np.int64)
    number[order] = np.cumsum(new) - 1
    starts = np.flatnonzero(new)
    first = np.minimum.reduceat(order, starts) if len(starts) else order
    return first, number


def _mix(value: _Hashes) -> _Hashes:
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


def _are_equal(rows: Ragged, sign: FloatArray, twin: IntArray) -> bool:
    lengths = np.diff(rows.ptr)
    if not np.array_equal(lengths, lengths[twin]):
        return False
    there = ragged_index(rows.ptr, twin)
    turned = np.repeat(sign * sign[twin], lengths)
    return np.array_equal(rows.idx, rows.idx[there]) and np.array_equal(
        rows.weight, turned * rows.weight[there]
    )


def _group_exactly(
    rows: Ragged, sign: FloatArray, hashes: _Hashes
) -> tuple[IntArray, IntArray]:
    """Group by content where two different rows share a hash."""
    keys: list[tuple[int, bytes, bytes]] = []
    for i in range(len(rows)):
        part = slice(rows.ptr[i], rows.ptr[i + 1])
        weight = sign[i] * rows.weight[part]
        keys.append((int(hashes[i]), rows.idx[part].tobytes(), weight.tobytes()))
    rank = {key: n for n, key in enumerate(sorted(set(keys)))}
    number = np.array([rank[key] for key in keys], np.int64)
    first = np.full(len(rank), len(keys), np.int64)
    np.minimum.at(first, number, np.arange(len(keys)))
    return first, number
