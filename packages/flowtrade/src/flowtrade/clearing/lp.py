"""Ranges by linear programs: one feasible set, many directions.

A thin seam over HiGHS' simplex method. The set is passed once; each direction then
starts from the vertex of the one before. Every status HiGHS returns is checked.
"""

from enum import Enum
from typing import Any, final

import numpy as np
from scipy import sparse

from flowtrade.clearing.arrays import FloatArray

__all__ = ["Direction", "SmallProgram"]


class Direction(Enum):
    """Which end of a range is asked for."""

    LOWEST = 1.0
    HIGHEST = -1.0


@final
class SmallProgram:
    """The set lower <= matrix t <= upper, which must contain t = 0."""

    def __init__(
        self, matrix: sparse.csc_array, lower: FloatArray, upper: FloatArray
    ) -> None:
        # Loading HiGHS costs half a second: only auctions in doubt pay it.
        import highspy

        from flowtrade.clearing.highs import checked, new_highs

        self._scale = _scales(matrix, lower, upper)
        self._highspy = highspy
        self._checked = checked
        self._highs: Any = new_highs()
        checked(self._highs.setOptionValue("presolve", "off"), "set presolve")
        rows, columns = matrix.shape
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = columns, rows
        model.col_cost_ = np.zeros(columns)
        model.col_lower_ = np.full(columns, -np.inf)
        model.col_upper_ = np.full(columns, np.inf)
        model.row_lower_ = lower / self._scale
        model.row_upper_ = upper / self._scale
        model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        model.a_matrix_.num_col_, model.a_matrix_.num_row_ = columns, rows
        model.a_matrix_.start_ = matrix.indptr.astype(np.int32)
        model.a_matrix_.index_ = matrix.indices.astype(np.int32)
        model.a_matrix_.value_ = matrix.data
        checked(self._highs.passModel(model), "pass the program")

    def extreme(self, column: int, direction: Direction) -> float:
        """The lowest or highest value of a column, infinite if there is none.

        Raises:
            SolverFailed: HiGHS answered neither an optimum nor unbounded.
        """
        highs, status = self._highs, self._highspy.HighsModelStatus
        cost = direction.value
        self._checked(highs.changeColCost(column, cost), "set a cost")
        self._checked(highs.run(), "solve a range")
        found = highs.getModelStatus()
        value = float(highs.getSolution().col_value[column])
        self._checked(highs.changeColCost(column, 0.0), "clear a cost")
        if found == status.kOptimal:
            return value * self._scale
        # The set contains 0, so "unbounded or infeasible" can only mean the former.
        if found in (status.kUnbounded, status.kUnboundedOrInfeasible):
            return -cost * np.inf
        from flowtrade.clearing.highs import SolverFailed

        raise SolverFailed(
            f"a price range ended with {highs.modelStatusToString(found)}"
        )


def _scales(matrix: sparse.csc_array, lower: FloatArray, upper: FloatArray) -> float:
    """A common size of all bounds: HiGHS' tolerances are absolute."""
    del matrix
    ends = np.concatenate([lower[np.isfinite(lower)], upper[np.isfinite(upper)]])
    ends = np.abs(ends[ends != 0.0])
    return float(np.median(ends)) if len(ends) else 1.0
