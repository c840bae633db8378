"""The normal matrix: T' diag(weights) T, assembled, factorised and solved.

Where an entry lands depends on T alone, so positions and products of coefficients
are computed once; an assembly is then one sparse product. Columns of shared demands
are eliminated block by block first, since they couple only within one bidder's
portfolios; what remains is one dense matrix over the products, factorised by LAPACK.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from scipy import sparse
from scipy.linalg import lapack
from scipy.sparse import csgraph

from flowtrade.clearing.arrays import FloatArray, IntArray, Ragged
from flowtrade.clearing.rowmap import RowMap

__all__ = ["Assembler", "Factor", "SingularMatrix"]

_LARGEST_BLOCK = 64
"""Shared demands of one block; larger blocks join the dense matrix instead."""

_DELTA_GROWTH = 100.0
_DELTA_TRIES = 8


class SingularMatrix(ArithmeticError):  # noqa: N818 - named for the fact
    """The normal matrix has no Cholesky factor, however regularised."""


@final
class Assembler:
    """Assembles and factorises T' diag(weights) T for one T.

    Columns up to `products` stay; later ones are eliminated where they form small
    blocks. The order of work is fixed, so the same weights give the same bits.
    """

    def __init__(self, rowmap: RowMap, products: int) -> None:
        self.map = rowmap
        self.width = rowmap.shape[1]
        self.products = products

    def factor(self, weights: FloatArray, delta: FloatArray | float) -> "Factor":
        """Factorise T' diag(weights) T + diag(delta).

        Args:
            weights: One per row, >= 0.
            delta: Regularisation per column, > 0.

        Raises:
            SingularMatrix: No factor was found, even with a greater delta.
        """
        shift = np.broadcast_to(np.asarray(delta, np.float64), (self.width,)).copy()
        for _ in range(_DELTA_TRIES):
            factor = self._try(weights, shift)
            if factor is not None:
                return factor
            shift *= _DELTA_GROWTH
        raise SingularMatrix(
            f"no Cholesky factor of the {self.width} prices' normal matrix, even with "
            f"{shift.max():.3g} added to its diagonal"
        )

    def _try(self, weights: FloatArray, shift: FloatArray) -> "Factor | None":
        plan = self.plan
        core = plan.core(weights, shift)
        blocks = []
        for block in plan.blocks:
            solved = block.eliminate(weights, shift, core)
            if solved is None:
                return None
            blocks.append(solved)
        # C-order lower is Fortran-order upper: the transpose spares LAPACK a copy.
        upper, info = lapack.dpotrf(core.T, lower=0, clean=0, overwrite_a=1)
        if info != 0 or not np.isfinite(upper[-1:, -1:]).all():
            return None
        return Factor(plan, upper, blocks)

    @cached_property
    def plan(self) -> "_Plan":
        """Where everything lands."""
        return _Plan.of(self.map, self.products)


@final
class Factor:
    """A factorised normal matrix."""

    def __init__(
        self,
        plan: "_Plan",
        upper: FloatArray,
        blocks: "list[tuple[FloatArray, FloatArray]]",
    ) -> None:
        self._plan = plan
        self._upper = upper
        self._blocks = blocks

    def solve(self, rhs: FloatArray) -> FloatArray:
        """The solution for one right-hand side of shape (columns,)."""
        plan = self._plan
        dense = rhs[plan.kept]
        for block, (inverse, border) in zip(plan.blocks, self._blocks, strict=True):
            inner = np.matmul(inverse, rhs[block.columns][..., None])
            pull = np.matmul(border.transpose(0, 2, 1), inner)[..., 0]
            # Padding points one past the end.
            padded = np.append(dense, 0.0)
            np.subtract.at(padded, block.border.ravel(), pull.ravel())
            dense = padded[:-1]
        solved, _ = lapack.dpotrs(self._upper, dense, lower=0)
        out = np.empty(len(rhs))
        out[plan.kept] = solved
        for block, (inverse, border) in zip(plan.blocks, self._blocks, strict=True):
            near = np.append(solved, 0.0)[block.border]
            inner = rhs[block.columns] - np.matmul(border, near[..., None])[..., 0]
            out[block.columns] = np.matmul(inverse, inner[..., None])[..., 0]
        return out


@dataclass(frozen=True, slots=True, eq=False)
class _Target:
    """Entries of one array as linear functions of the row weights."""

    position: IntArray
    table: sparse.csr_array

    @classmethod
    def of(
        cls, position: IntArray, row: IntArray, value: FloatArray, rows: int
    ) -> "_Target":
        distinct, number = np.unique(position, return_inverse=True)
        table = sparse.coo_array(
            (value, (number.astype(np.int32), row.astype(np.int32))),
            shape=(len(distinct), rows),
        ).tocsr()
        return cls(distinct, table)

    def fill(self, out: FloatArray, weights: FloatArray) -> None:
        out[self.position] = self.table @ weights


@dataclass(frozen=True, eq=False)
class _Block:
    """Blocks of shared demands of one size: count m blocks of n columns, p products.

    Attributes:
        columns: Columns of T, shape (m, n).
        border: Kept columns they touch, shape (m, p); one past the end is padding.
        own: Fills the (m, n, n) diagonal blocks.
        cross: Fills the (m, n, p) borders.
        scatter: Adds the (m, p, p) corrections to the dense matrix.
        corner: Their positions there.
    """

    columns: IntArray
    border: IntArray
    own: _Target
    cross: _Target
    scatter: sparse.csr_array
    corner: IntArray

    def eliminate(
        self, weights: FloatArray, shift: FloatArray, core: FloatArray
    ) -> tuple[FloatArray, FloatArray] | None:
        """Take the blocks out of the dense matrix: inverses and borders."""
        count, size = self.columns.shape
        own = np.zeros(count * size * size)
        self.own.fill(own, weights)
        own = own.reshape(count, size, size)
        inner = np.arange(size)
        own[:, inner, inner] += shift[self.columns]
        cross = np.zeros(count * size * self.border.shape[1])
        self.cross.fill(cross, weights)
        cross = cross.reshape(count, size, -1)
        if size == 1:
            inverse = 1.0 / own
        else:
            try:
                inverse = np.linalg.inv(own)
            except np.linalg.LinAlgError:
                return None
        if not np.isfinite(inverse).all():
            return None
        pull = np.matmul(cross.transpose(0, 2, 1), np.matmul(inverse, cross))
        core.reshape(-1)[self.corner] -= self.scatter @ pull.reshape(-1)
        return inverse, cross


@dataclass(frozen=True, eq=False)
class _Plan:
    """Positions of every entry.

    Attributes:
        kept: Columns of the dense matrix.
        dense: Fills its lower triangle.
        blocks: What is eliminated before.
        small: T itself as a dense array where that is the faster way, else None.
    """

    kept: IntArray
    dense: _Target | None
    blocks: "list[_Block]"
    small: FloatArray | None

    def core(self, weights: FloatArray, shift: FloatArray) -> FloatArray:
        """The dense matrix before elimination, lower triangle, C order."""
        size = len(self.kept)
        if self.small is not None:
            core = self.small.T @ (self.small * weights[:, None])
        else:
            core = np.zeros((size, size))
            if self.dense is not None:
                self.dense.fill(core.reshape(-1), weights)
        core.reshape(-1)[:: size + 1] += shift[self.kept]
        return core

    @classmethod
    def of(cls, rowmap: RowMap, products: int) -> "_Plan":
        rows, width = rowmap.shape
        if width == products and rowmap.is_small:
            return cls(np.arange(width), None, [], rowmap.dense)
        pairs = _pairs(rowmap.table)
        block = _blocks(rowmap.table, products, width)
        kept = np.flatnonzero(block < 0)
        place = np.full(width, -1, np.int64)
        place[kept] = np.arange(len(kept))
        inside = (block[pairs.left] < 0) & (block[pairs.right] < 0)
        high = np.maximum(place[pairs.left], place[pairs.right])
        low = np.minimum(place[pairs.left], place[pairs.right])
        dense = _Target.of(
            (high * len(kept) + low)[inside],
            pairs.row[inside],
            pairs.value[inside],
            rows,
        )
        blocks = _eliminations(pairs, block, place, rows, len(kept))
        return cls(kept, dense, blocks, None)


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """All unordered pairs of entries within rows, left >= right."""

    left: IntArray
    right: IntArray
    row: IntArray
    value: FloatArray


def _pairs(table: Ragged) -> _Pairs:
    row = table.rows()
    within = np.arange(len(table.idx)) - table.ptr[row]
    # Entry i of a row meets entries 0..i of it.
    left = np.repeat(np.arange(len(table.idx)), within + 1)
    ends = np.cumsum(within + 1)
    right = np.arange(len(left)) - np.repeat(ends - within - 1, within + 1)
    right += np.repeat(table.ptr[row], within + 1)
    value = table.weight[left] * table.weight[right]
    return _Pairs(table.idx[left], table.idx[right], row[left], value)


def _blocks(table: Ragged, products: int, width: int) -> IntArray:
    """Block number of each column, -1 for columns that stay."""
    out = np.full(width, -1, np.int64)
    count = width - products
    if not count:
        return out
    shared = table.idx >= products
    row, column = table.rows()[shared], table.idx[shared] - products
    incidence = sparse.csr_array(
        (np.ones(len(row)), (row, column)), shape=(len(table), count)
    )
    graph = (incidence.T @ incidence).tocsr()
    _, label = csgraph.connected_components(graph, directed=False)
    sizes = np.bincount(label)
    small = sizes[label] <= _LARGEST_BLOCK
    out[products:] = np.where(small, label, -1)
    return out


def _eliminations(
    pairs: _Pairs, block: IntArray, place: IntArray, rows: int, kept: int
) -> list[_Block]:
    used = np.flatnonzero(block >= 0)
    if not len(used):
        return []
    numbers, label = np.unique(block[used], return_inverse=True)
    labels = np.full(len(block), -1, np.int64)
    labels[used] = label
    mixed = (labels[pairs.left] >= 0) & (labels[pairs.right] < 0)
    touched = np.unique(labels[pairs.left[mixed]] * kept + place[pairs.right[mixed]])
    size = np.bincount(label, minlength=len(numbers))
    reach = np.bincount(touched // max(kept, 1), minlength=len(numbers))
    # Blocks of like size share an array; borders are padded to a power of two.
    padded = np.where(
        reach > 0, 1 << np.ceil(np.log2(np.maximum(reach, 1))).astype(int), 1
    )
    shapes = size * (1 << 32) + padded
    return [
        _group(
            np.flatnonzero(shapes == shape), labels, touched, place, pairs, rows, kept
        )
        for shape in np.unique(shapes)
    ]


def _group(
    members: IntArray,
    labels: IntArray,
    touched: IntArray,
    place: IntArray,
    pairs: _Pairs,
    rows: int,
    kept: int,
) -> _Block:
    """Positions for the blocks of one shape."""
    number = np.full(labels.max() + 1, -1, np.int64)
    number[members] = np.arange(len(members))
    mine = np.flatnonzero((labels >= 0) & (number[labels] >= 0))
    order = mine[np.argsort(number[labels[mine]], kind="stable")]
    size = len(order) // len(members)
    columns = order.reshape(len(members), size)
    inner = np.full(len(labels), -1, np.int64)
    inner[order] = np.tile(np.arange(size), len(members))
    edge = touched[number[touched // kept] >= 0]
    owner, column = number[edge // kept], edge % kept
    counts = np.bincount(owner, minlength=len(members))
    width = max(int(1 << int(np.ceil(np.log2(max(counts.max(), 1))))), 1)
    border = np.full((len(members), width), kept, np.int64)
    slot = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    border[owner, slot] = column
    keys = owner * (kept + 1) + column
    left, right = labels[pairs.left], labels[pairs.right]
    in_left = (left >= 0) & (number[left] >= 0)
    own = in_left & (right >= 0)
    cross = in_left & (right < 0)
    at = number[left[own]] * size * size
    i, j = inner[pairs.left[own]], inner[pairs.right[own]]
    both = np.concatenate([at + i * size + j, (at + j * size + i)[i != j]])
    value = np.concatenate([pairs.value[own], pairs.value[own][i != j]])
    row = np.concatenate([pairs.row[own], pairs.row[own][i != j]])
    spot = np.searchsorted(
        keys, number[left[cross]] * (kept + 1) + place[pairs.right[cross]]
    )
    at = (number[left[cross]] * size + inner[pairs.left[cross]]) * width + slot[spot]
    scatter, corner = _corner(border, kept)
    return _Block(
        columns,
        border,
        _Target.of(both, row, value, rows),
        _Target.of(at, pairs.row[cross], pairs.value[cross], rows),
        scatter,
        corner,
    )


def _corner(border: IntArray, kept: int) -> tuple[sparse.csr_array, IntArray]:
    """Sums of border products by position in the lower triangle."""
    left = np.repeat(border, border.shape[1], axis=1).ravel()
    right = np.tile(border, (1, border.shape[1])).ravel()
    valid = np.flatnonzero((left >= right) & (left < kept))
    corner, number = np.unique(left[valid] * kept + right[valid], return_inverse=True)
    scatter = sparse.csr_array(
        (np.ones(len(valid)), (number, valid)), shape=(len(corner), len(left))
    )
    return scatter, corner
