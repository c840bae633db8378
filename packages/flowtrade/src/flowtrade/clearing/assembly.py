"""The normal matrix: T' diag(weights) T, assembled, factorised and solved.

Where an entry lands depends on T alone, so positions and products of coefficients
are computed once; an assembly is then one sparse product. Columns of shared demands
are eliminated block by block first (see `blocks`), since they couple only within one
bidder's portfolios; what remains is one dense matrix over the products, factorised by
LAPACK.
"""

from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from time import monotonic
from typing import Any, final

import numpy as np

from flowtrade.clearing import _speedups
from flowtrade.clearing.arrays import FloatArray, IntArray, Ragged
from flowtrade.clearing.blocks import Elimination, Entries, eliminations, label_blocks
from flowtrade.clearing.lapack import factorise, solve_factored
from flowtrade.clearing.pairs import Pairs, row_pairs
from flowtrade.clearing.rowmap import RowMap
from flowtrade.clearing.speedups import COMPILED

__all__ = ["FACTORS", "Assembler", "Factor", "SingularMatrix", "TooLarge"]

FACTORS = 24
"""Factors of a dense matrix that a solve must have time for: most take 14 to 20, and
the machine may be busy. Markets beyond are left to a sparse system."""

_WHOLE = 96
"""Columns up to which a small market is not worth the elimination of any."""

_DELTA_GROWTH = 100.0
_DELTA_TRIES = 8


_SPEED = 5e10
"""Floating point operations of a second in a factorisation by one thread (measured at
2,000 to 4,000 prices)."""

_SWIFT = 0.1
"""Seconds that are not worth a refusal: the clock is read between factors."""

_LARGEST = 16384
"""Prices whose dense matrix is still made: 2 GiB."""


class TooLarge(ArithmeticError):
    """So many prices hang together that their dense matrix is not worth beginning."""


class SingularMatrix(ArithmeticError):
    """The normal matrix has no Cholesky factor, however regularised."""


@final
class Assembler:
    """Assembles and factorises T' diag(weights) T for one T.

    Columns up to `products` stay; later ones are eliminated where they form small
    blocks. The order of work is fixed, so the same weights give the same bits.
    """

    def __init__(
        self, rowmap: RowMap, products: int, *, compiled: bool = COMPILED
    ) -> None:
        self.map = rowmap
        self.width = rowmap.shape[1]
        self.products = products
        self._compiled = compiled

    def fits(self, factors: int, *, deadline: float) -> bool:
        """Whether there is room and time for some factors: LAPACK reads no clock.

        Args:
            factors: How many are wanted.
            deadline: Value of `time.monotonic` at which to be done.
        """
        seconds = factors * self._seconds
        in_time = seconds <= max(_SWIFT, deadline - monotonic())
        return in_time and self.products <= _LARGEST

    def check(self, factors: int, *, deadline: float) -> None:
        """Refuse what `fits` denies.

        Raises:
            TooLarge: Room or time is too short.
        """
        if not self.fits(factors, deadline=deadline):
            raise TooLarge(
                f"{self.products} prices hang together: their dense matrix takes "
                f"{8e-6 * self.products**2:.0f} MB (at most {8e-6 * _LARGEST**2:.0f}), "
                f"and solving with it about {factors * self._seconds:.0f} s, of which "
                f"{max(deadline - monotonic(), 0.0):.0f} are left"
            )

    @property
    def _seconds(self) -> float:
        """About how long a factorisation takes."""
        return self.products**3 / 3.0 / _SPEED

    def factor(self, weights: FloatArray, delta: FloatArray | float) -> "Factor":
        """Factorise T' diag(weights) T + diag(delta).

        Args:
            weights: One per row, >= 0.
            delta: Regularisation per column, > 0.

        Raises:
            SingularMatrix: No factor was found, even with a greater delta.
        """
        shift = np.empty(self.width)
        shift[:] = delta
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
        plan = self._plan
        core = plan.core(weights, shift)
        states = []
        for block in plan.blocks:
            state = block.eliminate(weights, shift, core)
            if state is None:
                return None
            states.append(state)
        if not factorise(core) or not np.isfinite(core[-1:, -1:]).all():
            return None
        return Factor(plan, core, states)

    @cached_property
    def _plan(self) -> "_Plan":
        return _Plan.of(self.map, self.products, compiled=self._compiled)


@final
class Factor:
    """A factorised normal matrix."""

    def __init__(self, plan: "_Plan", dense: FloatArray, states: list[Any]) -> None:
        self._plan = plan
        self._dense = dense
        self._states = states

    def solve(self, rhs: FloatArray) -> FloatArray:
        """The solution for one right-hand side of shape (columns,)."""
        plan = self._plan
        if not plan.blocks:
            return solve_factored(self._dense, rhs)
        dense = rhs[plan.kept]
        for block, state in zip(plan.blocks, self._states, strict=True):
            block.reduce(state, rhs, dense)
        solved = solve_factored(self._dense, dense)
        out = np.empty(len(rhs))
        out[plan.kept] = solved
        for block, state in zip(plan.blocks, self._states, strict=True):
            block.restore(state, rhs, solved, out)
        return out


@dataclass(frozen=True, eq=False)
class _Direct:
    """The dense matrix straight from the rows of T, by the compiled loops.

    Attributes:
        table: The rows.
        place: Of each entry's column in the matrix, -1 if it is eliminated.
    """

    table: Ragged
    place: IntArray

    def array(self, weights: FloatArray, size: int) -> FloatArray:
        """The lower triangle, flat; see `Entries.array`."""
        kept = isqrt(size)
        core = np.zeros((kept, kept))
        table = self.table
        _speedups.add_products(table.ptr, self.place, table.weight, weights, core)
        return core.reshape(-1)


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
    dense: "Entries | _Direct | None"
    blocks: list[Elimination]
    small: FloatArray | None

    def core(self, weights: FloatArray, shift: FloatArray) -> FloatArray:
        """The dense matrix before elimination, lower triangle, C order."""
        size = len(self.kept)
        if self.small is not None:
            core: FloatArray = self.small.T @ (self.small * weights[:, None])
        elif self.dense is not None:
            core = self.dense.array(weights, size * size).reshape(size, size)
        else:
            core = np.zeros((size, size))
        core.reshape(-1)[:: size + 1] += shift[self.kept]
        return core

    @classmethod
    def of(cls, rowmap: RowMap, products: int, *, compiled: bool) -> "_Plan":
        rows, width = rowmap.shape
        if rowmap.is_small and (width == products or width <= _WHOLE):
            return cls(np.arange(width), None, [], rowmap.dense)
        table = rowmap.table
        block = label_blocks(table, products, width)
        kept = np.flatnonzero(block < 0)
        place = np.full(width, -1, np.int64)
        place[kept] = np.arange(len(kept))
        if compiled:
            pairs = _bordering(table, block)
            blocks = eliminations(pairs, block, place, rows, compiled=True)
            return cls(kept, _Direct(table, place[table.idx]), blocks, None)
        pairs = row_pairs(table)
        inside = (block[pairs.left] < 0) & (block[pairs.right] < 0)
        # Places ascend with columns, and left is the greater column of the two.
        dense = Entries.of(
            place[pairs.left[inside]] * len(kept) + place[pairs.right[inside]],
            pairs.row[inside],
            pairs.value[inside],
            size=len(kept) ** 2,
            sources=rows,
        )
        return cls(kept, dense, eliminations(pairs, block, place, rows), None)


def _bordering(table: Ragged, block: IntArray) -> Pairs:
    """Pairs whose greater column is some block's.

    A row that has a column of a block has none of another block, nor a shared one that
    stays: what hangs together is one block. So its other columns are products', which
    come before.
    """
    left = np.flatnonzero(block[table.idx] >= 0)
    row = table.rows()[left]
    lengths = left - table.ptr[row] + 1
    ends = np.cumsum(lengths)
    right = np.arange(int(lengths.sum())) - np.repeat(ends - left - 1, lengths)
    left, row = np.repeat(left, lengths), np.repeat(row, lengths)
    value = table.weight[left] * table.weight[right]
    return Pairs(table.idx[left], table.idx[right], row, value)
