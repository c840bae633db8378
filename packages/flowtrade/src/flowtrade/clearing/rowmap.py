"""A thin sparse matrix: the map from prices to rows and back.

Wraps the two products that every iteration needs. Small matrices are held densely:
below a few thousand entries the sparse call costs more than the arithmetic.
"""

from functools import cached_property
from typing import final

import numpy as np
from scipy import sparse

from flowtrade.clearing.arrays import FloatArray, IntArray, Ragged

__all__ = ["RowMap"]

_DENSE = 8192
"""Entries up to which a dense product is the faster one (measured: 5 against 8 us)."""


@final
class RowMap:
    """A matrix T of shape (rows, columns), immutable.

    Attributes:
        table: Its rows.
        shape: Rows and columns.
    """

    def __init__(self, table: Ragged, columns: int) -> None:
        self.table = table
        self.shape = (len(table), columns)
        self._is_small = len(table) * columns <= _DENSE

    def forward(self, z: FloatArray) -> FloatArray:
        """T z: the value of each row at prices z."""
        matrix = self.dense if self._is_small else self.csr
        return np.asarray(matrix @ z)

    def adjoint(self, flow: FloatArray) -> FloatArray:
        """T' flow: what the rows' flows add up to in each column."""
        matrix = self.dense.T if self._is_small else self._transposed
        return np.asarray(matrix @ flow)

    @property
    def is_small(self) -> bool:
        """Whether dense products are used."""
        return self._is_small

    @cached_property
    def dense(self) -> FloatArray:
        """The matrix as a dense array."""
        out = np.zeros(self.shape)
        out[self.table.rows(), self.table.idx] = self.table.weight
        return out

    @cached_property
    def csr(self) -> sparse.csr_array:
        """The matrix in SciPy's row format."""
        table = self.table
        kind = np.int32 if max(len(table.idx), *self.shape) < 2**31 else np.int64
        return sparse.csr_array(
            (table.weight, table.idx.astype(kind), table.ptr.astype(kind)),
            shape=self.shape,
        )

    @cached_property
    def absolute(self) -> FloatArray:
        """Sum of absolute weights of each row."""
        size = np.abs(self.table.weight)
        out = np.bincount(self.table.rows(), weights=size, minlength=len(self.table))
        return out.astype(np.float64, copy=False)

    def rows(self, numbers: IntArray) -> "RowMap":
        """The map of the given rows only."""
        return RowMap(self.table.take(numbers), self.shape[1])

    @cached_property
    def _transposed(self) -> sparse.csr_array:
        return self.csr.T.tocsr()
