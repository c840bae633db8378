"""Eliminating shared demands from the normal matrix, block by block.

Shared demands meet only where portfolios of one bidder feed several of them, so their
part of the matrix falls into small blocks. Each block is inverted by itself and its
effect subtracted from the products' part (a Schur complement). A block of one demand,
by far the most frequent, needs no inversion, only products of its border; larger
blocks of like shape are worked on together as stacked arrays.
"""

from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from flowtrade.clearing import _speedups
from flowtrade.clearing.arrays import FloatArray, IntArray, Ragged, offsets
from flowtrade.clearing.graph import label_parts
from flowtrade.clearing.pairs import Pairs, pair_positions

__all__ = ["Elimination", "Entries", "eliminations", "label_blocks"]

_FULL = 0.5
"""Share of entries from which on an array is computed whole, zeros included: an empty
row of a sparse product costs as much as an entry."""

_LARGEST = 64
"""Shared demands of one block; larger blocks join the dense matrix instead."""


class Elimination(Protocol):
    """Some columns on their way out of the matrix and back into the solution."""

    def eliminate(
        self, weights: FloatArray, shift: FloatArray, core: FloatArray
    ) -> Any:  # noqa: ANN401 - each kind keeps what it needs for the solves
        """Subtract the columns' effect from the dense matrix; None if singular."""

    def reduce(self, state: Any, rhs: FloatArray, dense: FloatArray) -> None:  # noqa: ANN401 - as above
        """Subtract their effect from the dense right-hand side, in place."""

    def restore(
        self,
        state: Any,  # noqa: ANN401 - as above
        rhs: FloatArray,
        solved: FloatArray,
        out: FloatArray,
    ) -> None:
        """Write the columns' part of the solution."""


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Entries of one array as linear functions of a vector, such as row weights.

    Attributes:
        table: One row per entry named in `position`, or per entry of the array.
        position: Flat positions, distinct and ascending; None for all in order.
    """

    table: sparse.csr_array
    position: IntArray | None

    @classmethod
    def of(
        cls,
        position: IntArray,
        source: IntArray,
        value: FloatArray,
        *,
        size: int,
        sources: int,
    ) -> "Entries":
        """Gather contributions `value * vector[source]` by position.

        Args:
            position: Where each contribution lands.
            source: Which entry of the vector it takes.
            value: What it is multiplied by.
            size: Length of the array.
            sources: Length of the vector.
        """
        # SciPy's conversion is a counting sort: far faster than sorting positions.
        pairs = (position.astype(np.int32), source.astype(np.int32))
        table = sparse.coo_array((value, pairs), shape=(size, sources)).tocsr()
        filled = np.flatnonzero(np.diff(table.indptr))
        if len(filled) >= _FULL * size:
            return cls(table, None)
        ptr = np.append(table.indptr[filled], table.indptr[-1])
        short = sparse.csr_array(
            (table.data, table.indices, ptr), shape=(len(filled), sources)
        )
        return cls(short, filled)

    def valued(self, values: FloatArray) -> "Entries":
        """The same entries with other values; this one may be in use elsewhere."""
        table = copy(self.table)  # its arrays are shared: making it anew checks them
        table.data = values
        return Entries(table, self.position)

    def array(self, vector: FloatArray, size: int) -> FloatArray:
        """The array for a vector."""
        if self.position is None:
            return np.asarray(self.table @ vector)
        out = np.zeros(size)
        out[self.position] = self.table @ vector
        return out

    def subtract(self, out: FloatArray, vector: FloatArray) -> None:
        """Subtract the array for a vector from another one, in place."""
        if self.position is None:
            out -= self.table @ vector
        else:
            out[self.position] -= self.table @ vector


def label_blocks(table: Ragged, products: int, width: int) -> IntArray:
    """Block of each column, -1 for columns that stay in the dense matrix."""
    out = np.full(width, -1, np.int64)
    count = width - products
    if not count:
        return out
    shared = table.idx >= products
    row, column = table.rows()[shared], table.idx[shared] - products
    _, _, label = label_parts(row, column, len(table), count)
    sizes = np.bincount(label)
    out[products:] = np.where(sizes[label] <= _LARGEST, label, -1)
    return out


def eliminations(
    pairs: Pairs,
    block: IntArray,
    place: IntArray,
    rows: int,
    *,
    compiled: bool = False,
) -> list[Elimination]:
    """Plan the elimination of all blocks.

    Args:
        pairs: Of entries within rows of T; rows without a column of some block may be
            left out.
        block: Block of each column, from `label_blocks`.
        place: Place of each kept column in the dense matrix, -1 for others.
        rows: Number of rows of T.
        compiled: Whether compiled loops may be used.
    """
    used = np.flatnonzero(block >= 0)
    if not len(used):
        return []
    kept = int(place.max(initial=-1)) + 1
    numbers, label = np.unique(block[used], return_inverse=True)
    labels = np.full(len(block), -1, np.int64)
    labels[used] = label
    size = np.bincount(label, minlength=len(numbers))
    shape = np.where(labels >= 0, size[labels], 0)
    plans: list[Elimination] = []
    for count in np.unique(size).tolist():
        mine = np.flatnonzero(shape == count)
        mine = mine[np.argsort(labels[mine], kind="stable")]
        columns = mine.reshape(-1, count)
        border = _Border.of(columns, pairs, place, kept)
        if count > 1:
            plans.append(_Stacks.of(columns, border, pairs, rows, kept))
        else:
            plans.append(
                _Singles.of(columns, border, pairs, rows, kept, compiled=compiled)
            )
    return plans


@dataclass(frozen=True, slots=True, eq=False)
class _Border:
    """Kept columns that blocks touch.

    Attributes:
        owner: Block of each touch, ascending.
        column: Place of the kept column.
        number: Block of each column of T, -1 if none here.
        inside: Pairs within the blocks.
        across: Pairs between a block and a kept column.
        touch: For each pair of `across`, its position among the touches.
    """

    owner: IntArray
    column: IntArray
    number: IntArray
    inside: IntArray
    across: IntArray
    touch: IntArray

    @classmethod
    def of(
        cls, columns: IntArray, pairs: Pairs, place: IntArray, kept: int
    ) -> "_Border":
        number = np.full(len(place), -1, np.int64)
        number[columns] = np.arange(len(columns))[:, None]
        # Shared columns come after products: a mixed pair has them on the left.
        is_ours = number[pairs.left] >= 0
        inside = np.flatnonzero(is_ours & (number[pairs.right] >= 0))
        across = np.flatnonzero(is_ours & (place[pairs.right] >= 0))
        keys = number[pairs.left[across]] * kept + place[pairs.right[across]]
        touches, touch = np.unique(keys, return_inverse=True)
        return cls(
            touches // max(kept, 1),
            touches % max(kept, 1),
            number,
            inside,
            across,
            touch,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Corners:
    """Products of touches of the same block, summed by position.

    Attributes:
        left: Touches whose products land in the dense matrix, by position there.
        entries: Multiplies them by the other factors and sums by position.
    """

    left: IntArray
    entries: Entries

    @classmethod
    def of(cls, ptr: IntArray, column: IntArray, kept: int) -> "_Corners":
        left, right = pair_positions(ptr)
        position = column[left] * kept + column[right]
        order = _by_position(position, kept * kept)
        left, right = left[order], right[order]
        return cls(left, _ordered(position[order], right, len(column)))

    def subtract(
        self, core: FloatArray, border: FloatArray, pulled: FloatArray
    ) -> None:
        """Take the products out of the dense matrix, in place."""
        # One pass gathers the left factors, the sparse product does all the rest.
        entries = self.entries.valued(border.take(self.left))
        entries.subtract(core.reshape(-1), pulled)


@dataclass(frozen=True, slots=True, eq=False)
class _DirectCorners:
    """The same by compiled loops.

    Attributes:
        ptr: Offsets of touches by block.
        column: Place of each touch in the dense matrix.
        kept: Size of the dense matrix.
    """

    ptr: IntArray
    column: IntArray
    kept: int

    def subtract(
        self, core: FloatArray, border: FloatArray, pulled: FloatArray
    ) -> None:
        """Take the products out of the dense matrix, in place."""
        # Summed apart, so that no bit depends on what is in the matrix before.
        total = np.zeros((self.kept, self.kept))
        _speedups.add_corners(self.ptr, self.column, border, pulled, total)
        _speedups.take_out(total, core)


@dataclass(frozen=True, slots=True, eq=False)
class _Singles:
    """Blocks of one demand each.

    Attributes:
        columns: Their columns of T.
        own: Fills their diagonal.
        border: Fills their touches.
        owner: Block of each touch.
        column: Place of each touch in the dense matrix.
        corner: Takes the products of touches out of the dense matrix.
    """

    columns: IntArray
    own: Entries
    border: Entries
    owner: IntArray
    column: IntArray
    corner: "_Corners | _DirectCorners"

    @classmethod
    def of(
        cls,
        columns: IntArray,
        border: _Border,
        pairs: Pairs,
        rows: int,
        kept: int,
        *,
        compiled: bool,
    ) -> "_Singles":
        inside, across = border.inside, border.across
        count, touches = len(columns), len(border.owner)
        ptr = offsets(np.bincount(border.owner, minlength=count))
        make = _DirectCorners if compiled else _Corners.of
        return cls(
            columns[:, 0],
            Entries.of(
                border.number[pairs.left[inside]],
                pairs.row[inside],
                pairs.value[inside],
                size=count,
                sources=rows,
            ),
            Entries.of(
                border.touch,
                pairs.row[across],
                pairs.value[across],
                size=touches,
                sources=rows,
            ),
            border.owner,
            border.column,
            make(ptr, border.column, kept),
        )

    def eliminate(
        self, weights: FloatArray, shift: FloatArray, core: FloatArray
    ) -> tuple[FloatArray, FloatArray] | None:
        """See `Elimination`; keeps the inverse and the borders divided by it."""
        own = self.own.array(weights, len(self.columns))
        inverse = 1.0 / (own + shift[self.columns])
        border = self.border.array(weights, len(self.owner))
        pulled = border * inverse[self.owner]
        self.corner.subtract(core, border, pulled)
        return inverse, pulled

    def reduce(
        self, state: tuple[FloatArray, FloatArray], rhs: FloatArray, dense: FloatArray
    ) -> None:
        """See `Elimination`."""
        _, pulled = state
        if isinstance(self.corner, _DirectCorners):
            ptr, total = self.corner.ptr, np.zeros(len(dense))
            _speedups.pull(ptr, self.column, self.columns, pulled, rhs, total)
            dense -= total
            return
        mine = rhs[self.columns][self.owner]
        dense -= np.bincount(self.column, weights=pulled * mine, minlength=len(dense))

    def restore(
        self,
        state: tuple[FloatArray, FloatArray],
        rhs: FloatArray,
        solved: FloatArray,
        out: FloatArray,
    ) -> None:
        """See `Elimination`."""
        inverse, pulled = state
        if isinstance(self.corner, _DirectCorners):
            _speedups.spread_back(
                self.corner.ptr,
                self.column,
                self.columns,
                pulled,
                inverse,
                rhs,
                solved,
                out,
            )
            return
        count = len(self.columns)
        dragged = np.bincount(
            self.owner, weights=pulled * solved[self.column], minlength=count
        )
        out[self.columns] = rhs[self.columns] * inverse - dragged


@dataclass(frozen=True, slots=True, eq=False)
class _Stacks:
    """Blocks of several demands each, all of one size: m blocks of n columns.

    Borders are padded to the widest, p places; padding points one past the end.

    Attributes:
        columns: Columns of T, shape (m, n).
        border: Kept columns they touch, shape (m, p).
        own: Fills the (m, n, n) diagonal blocks.
        cross: Fills the (m, n, p) borders.
        corner: Sums the (m, p, p) corrections by position in the dense matrix.
    """

    columns: IntArray
    border: IntArray
    own: Entries
    cross: Entries
    corner: Entries

    @classmethod
    def of(
        cls, columns: IntArray, found: _Border, pairs: Pairs, rows: int, kept: int
    ) -> "_Stacks":
        count, size = columns.shape
        counts = np.bincount(found.owner, minlength=count)
        width = max(int(counts.max(initial=0)), 1)
        slot = np.arange(len(found.owner)) - (np.cumsum(counts) - counts)[found.owner]
        border = np.full((count, width), kept, np.int64)
        border[found.owner, slot] = found.column
        inner = np.full(len(found.number), -1, np.int64)
        inner[columns] = np.arange(size)
        inside, across = found.inside, found.across
        left, right = pairs.left[inside], pairs.right[inside]
        at = found.number[left] * size * size
        i, j = inner[left], inner[right]
        twice = np.flatnonzero(i != j)
        cross = found.number[pairs.left[across]] * size + inner[pairs.left[across]]
        return cls(
            columns,
            border,
            Entries.of(
                np.concatenate([at + i * size + j, (at + j * size + i)[twice]]),
                np.concatenate([pairs.row[inside], pairs.row[inside][twice]]),
                np.concatenate([pairs.value[inside], pairs.value[inside][twice]]),
                size=count * size * size,
                sources=rows,
            ),
            Entries.of(
                cross * width + slot[found.touch],
                pairs.row[across],
                pairs.value[across],
                size=count * size * width,
                sources=rows,
            ),
            _corner(border, kept),
        )

    def eliminate(
        self, weights: FloatArray, shift: FloatArray, core: FloatArray
    ) -> tuple[FloatArray, FloatArray] | None:
        """See `Elimination`; keeps the inverses and the borders."""
        count, size = self.columns.shape
        width = self.border.shape[1]
        own = self.own.array(weights, count * size * size).reshape(count, size, size)
        inner = np.arange(size)
        own[:, inner, inner] += shift[self.columns]
        cross = self.cross.array(weights, count * size * width)
        cross = cross.reshape(count, size, width)
        try:
            inverse = np.asarray(np.linalg.inv(own), np.float64)
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(inverse).all():
            return None
        pull = np.matmul(cross.transpose(0, 2, 1), np.matmul(inverse, cross))
        self.corner.subtract(core.reshape(-1), pull.reshape(-1))
        return inverse, cross

    def reduce(
        self, state: tuple[FloatArray, FloatArray], rhs: FloatArray, dense: FloatArray
    ) -> None:
        """See `Elimination`."""
        inverse, cross = state
        inner = np.matmul(inverse, rhs[self.columns][..., None])
        pull = np.matmul(cross.transpose(0, 2, 1), inner)[..., 0]
        total = np.bincount(
            self.border.ravel(), weights=pull.ravel(), minlength=len(dense) + 1
        )
        dense -= total[:-1]

    def restore(
        self,
        state: tuple[FloatArray, FloatArray],
        rhs: FloatArray,
        solved: FloatArray,
        out: FloatArray,
    ) -> None:
        """See `Elimination`."""
        inverse, cross = state
        near = np.append(solved, 0.0)[self.border]
        inner = rhs[self.columns] - np.matmul(cross, near[..., None])[..., 0]
        out[self.columns] = np.matmul(inverse, inner[..., None])[..., 0]


def _corner(border: IntArray, kept: int) -> Entries:
    """Sums of border products by position in the lower triangle."""
    left = np.repeat(border, border.shape[1], axis=1).ravel()
    right = np.tile(border, (1, border.shape[1])).ravel()
    valid = np.flatnonzero((left >= right) & (left < kept))
    return Entries.of(
        left[valid] * kept + right[valid],
        valid,
        np.ones(len(valid)),
        size=kept * kept,
        sources=len(left),
    )


def _ordered(position: IntArray, source: IntArray, sources: int) -> Entries:
    """Entries in ascending order of position, whose values are still to be set."""
    filled, starts = np.unique(position, return_index=True)
    ptr = np.append(starts, len(source))
    table = sparse.csr_array(
        (np.ones(len(source)), source.astype(np.int32), ptr.astype(np.int32)),
        shape=(len(ptr) - 1, sources),
    )
    return Entries(table, filled)


def _by_position(position: IntArray, size: int) -> IntArray:
    """A stable order by position, by counting."""
    count = len(position)
    pairs = (position.astype(np.int32), np.arange(count, dtype=np.int32))
    table = sparse.coo_array((np.ones(count), pairs), shape=(size, count)).tocsr()
    return table.indices.astype(np.int64)
