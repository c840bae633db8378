"""Ranges by linear programs: one feasible set, many directions.

A thin seam over HiGHS' simplex method. The set is passed once; each direction then
starts from the vertex of the one before. Every status HiGHS returns is checked.
"""

from enum import Enum
from typing import Any, TypeAlias, final

import numpy as np
from scipy import sparse

from flowtrade.clearing.arrays import FloatArray, typical

__all__ = ["LARGEST_PLANE", "Direction", "SmallProgram", "plane_ranges"]

_Highs: TypeAlias = Any
"""A HiGHS instance: highspy ships no types."""

_BOX = 1e6
"""Box of every column, in typical bounds of rows."""

_SUSPECT = 1e3
"""Values from which on the box may be to blame: it is tried ten times as wide."""

_GROWTH = 10.0

LARGEST_PLANE = 64
"""Rows up to which the ranges of two columns are found by trying all corners."""


_PARALLEL = 1e-12
"""Sine of an angle that is none."""


class Direction(Enum):
    """Which end of a range is asked for."""

    LOWEST = 1.0
    HIGHEST = -1.0


@final
class SmallProgram:
    """The set lower <= matrix t <= upper, which must contain t = 0.

    HiGHS' simplex may end "Unknown" on unbounded programs with free columns. So every
    column gets a box, far beyond the bounds; a value that grows with the box has no
    end.
    """

    def __init__(
        self, matrix: sparse.csc_array, lower: FloatArray, upper: FloatArray
    ) -> None:
        # Loading HiGHS costs half a second: only auctions in doubt pay it.
        import highspy

        from flowtrade.clearing.highs import checked, new_highs

        self._scale = _scale(lower, upper)
        self._statuses = highspy.HighsModelStatus
        self._checked = checked
        self._boxes = [self._model(new_highs(), matrix, lower, upper, _BOX)]
        self._boxes.append(
            self._model(new_highs(), matrix, lower, upper, _BOX * _GROWTH)
        )

    def extreme(self, column: int, direction: Direction) -> float:
        """The lowest or highest value of a column, infinite if there is none.

        Raises:
            SolverFailed: HiGHS answered no optimum.
        """
        value = self._solve(self._boxes[0], column, direction)
        if abs(value) >= _SUSPECT:
            wider = self._solve(self._boxes[1], column, direction)
            if abs(wider) > 0.5 * _GROWTH * abs(value):
                return -direction.value * np.inf
            value = wider  # where bounds are worlds apart, the box was the end
        return value * self._scale

    def _solve(self, highs: _Highs, column: int, direction: Direction) -> float:
        self._checked(highs.changeColCost(column, direction.value), "set a cost")
        self._checked(highs.run(), "solve a range")
        found = highs.getModelStatus()
        value = float(highs.getSolution().col_value[column])
        self._checked(highs.changeColCost(column, 0.0), "clear a cost")
        if found != self._statuses.kOptimal:
            from flowtrade.clearing.highs import SolverFailed

            words = highs.modelStatusToString(found)
            raise SolverFailed(f"a price range ended with {words}")
        return value

    def _model(
        self,
        highs: _Highs,
        matrix: sparse.csc_array,
        lower: FloatArray,
        upper: FloatArray,
        box: float,
    ) -> _Highs:
        import highspy

        options = {
            "presolve": "off",
            # The least HiGHS admits: ends of ranges become targets of prices.
            "primal_feasibility_tolerance": 1e-10,
            "dual_feasibility_tolerance": 1e-10,
        }
        for name, value in options.items():
            self._checked(highs.setOptionValue(name, value), f"set {name}")
        rows, columns = matrix.shape
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = columns, rows
        model.col_cost_ = np.zeros(columns)
        model.col_lower_ = np.full(columns, -box)
        model.col_upper_ = np.full(columns, box)
        model.row_lower_ = lower / self._scale
        model.row_upper_ = upper / self._scale
        model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        model.a_matrix_.num_col_, model.a_matrix_.num_row_ = columns, rows
        model.a_matrix_.start_ = matrix.indptr.astype(np.int32)
        model.a_matrix_.index_ = matrix.indices.astype(np.int32)
        model.a_matrix_.value_ = matrix.data
        self._checked(highs.passModel(model), "pass the program")
        return highs


def _scale(lower: FloatArray, upper: FloatArray) -> float:
    """A common size of all bounds: HiGHS' tolerances are absolute."""
    ends = np.concatenate([lower[np.isfinite(lower)], upper[np.isfinite(upper)]])
    return typical(np.abs(ends[ends != 0.0])) or 1.0


def plane_ranges(
    matrix: FloatArray, lower: FloatArray, upper: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest values of two columns over lower <= matrix t <= upper.

    Two undetermined prices are the most frequent case, and their set is a polygon: all
    corners are tried, which takes less time than to set up a linear program.

    Args:
        matrix: Shape (rows, 2), no row of zeros.
        lower: <= 0, maybe -inf.
        upper: >= 0, maybe inf.

    Returns:
        The ends of both ranges, infinite where there is none.
    """
    has_upper, has_lower = np.isfinite(upper), np.isfinite(lower)
    normal = np.concatenate([matrix[has_upper], -matrix[has_lower]])
    bound = np.concatenate([upper[has_upper], -lower[has_lower]])
    size = np.linalg.norm(normal, axis=1)
    normal, bound = normal / size[:, None], np.maximum(bound / size, 0.0)
    corners = _corners(normal, bound)
    reach = 1e-12 * max(float(bound.max(initial=0.0)), 1e-300)
    inside = (corners @ normal.T <= bound + reach).all(axis=1)
    corners = corners[inside]
    low, high = corners.min(axis=0), corners.max(axis=0)
    rays = _rays(normal)
    return (
        np.where((rays < -_PARALLEL).any(axis=0), -np.inf, low),
        np.where((rays > _PARALLEL).any(axis=0), np.inf, high),
    )


def _corners(normal: FloatArray, bound: FloatArray) -> FloatArray:
    """Where edges meet, the nearest point of each edge, and the origin."""
    first, second = np.triu_indices(len(normal), 1)
    one, other = normal[first], normal[second]
    turn = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
    meets = np.abs(turn) > _PARALLEL
    one, other, turn = one[meets], other[meets], turn[meets]
    b, c = bound[first[meets]], bound[second[meets]]
    x = (b * other[:, 1] - c * one[:, 1]) / turn
    y = (c * one[:, 0] - b * other[:, 0]) / turn
    feet = normal * bound[:, None]
    return np.concatenate([np.stack([x, y], axis=1), feet, np.zeros((1, 2))])


def _rays(normal: FloatArray) -> FloatArray:
    """Directions in which the set has no end; others are linear combinations."""
    along = np.stack([-normal[:, 1], normal[:, 0]], axis=1)
    units = np.concatenate([np.eye(2), -np.eye(2)])
    tried = np.concatenate([along, -along, -normal, units])
    endless = (tried @ normal.T <= _PARALLEL).all(axis=1)
    return tried[endless]
