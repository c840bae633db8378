"""Which prices an optimum supports: intervals of rows, ranges of products.

At optimal flows every row has an interval of prices that support them: a point where
some piece is strictly inside, else from the end prices of the pieces that stand at a
bound. Optimal prices are exactly those z with lower <= T z <= upper, whichever
optimal flows one starts from.

Most columns are settled by rows that pin them one after the other, which is found by
peeling; the rest by the rank of what remains. Only the columns left over after that
are worth linear programs for their ranges.
"""

from dataclasses import dataclass
from time import monotonic

import numpy as np
from scipy import linalg, sparse

from flowtrade.clearing.arrays import BoolArray, FloatArray, IntArray, Ragged
from flowtrade.clearing.graph import label_parts
from flowtrade.clearing.lp import (
    LARGEST_PLANE,
    Direction,
    SmallProgram,
    plane_ranges,
)
from flowtrade.clearing.priceform import PriceForm

__all__ = ["Face", "Ranges", "find_face", "find_ranges", "price_intervals"]

_AT_BOUND = 1e-10
"""Share of a piece's width within which it counts as standing at its end."""

_RANK = 1e-9
"""Relative size below which a pivot is rounding."""

_RANK_SPEED = 2.5e10
"""Floating point operations of a second while a rank is found (measured at 8,000)."""

_SWIFT = 0.1
"""Seconds that are taken whatever the time."""

_LARGEST_RANK = 16384
"""Columns whose rank is found at the most: matrices of 2 GiB."""

_LARGEST_PROGRAM = 1500
"""Undetermined prices per linear program; beyond, ranges are left open."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """Prices that support given flows.

    Attributes:
        lower: Lowest price of each row, maybe -inf.
        upper: Highest.
        open: Columns that the pinned rows do not settle.
    """

    lower: FloatArray
    upper: FloatArray
    open: IntArray

    @property
    def pinned(self) -> BoolArray:
        """Rows of one price."""
        pinned: BoolArray = self.lower == self.upper
        return pinned


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """Ranges of column prices.

    Attributes:
        lower: Lowest price of each column, maybe -inf.
        upper: Highest.
        known: Whether they were determined.
    """

    lower: FloatArray
    upper: FloatArray
    known: BoolArray


def find_face(
    form: PriceForm, z: FloatArray, y: FloatArray, *, deadline: float = np.inf
) -> Face:
    """Find the intervals of rows and the columns they leave open.

    Args:
        form: The market.
        z: Optimal prices.
        y: Optimal flows.
        deadline: Value of `time.monotonic` at which to be done. Columns whose rank
            there is no time to find count as open.
    """
    value = form.map.forward(z)
    lower, upper = price_intervals(form, value, y)
    # Rounding may leave the present price just outside its own interval.
    lower, upper = np.minimum(lower, value), np.maximum(upper, value)
    scale = form.row_price
    pinned = upper - lower <= 1e-12 * scale
    lower = np.where(pinned, value, lower)
    upper = np.where(pinned, value, upper)
    left = _peel(form.map.table, pinned, form.columns)
    if len(left) and _is_affordable(len(left), deadline):
        left = _unsettled(form.map.table, pinned, left, form.columns)
    return Face(lower, upper, left)


def find_ranges(form: PriceForm, z: FloatArray, face: Face) -> Ranges:
    """Lowest and highest price of every column on the face.

    Args:
        form: The market.
        z: A point of the face.
        face: The face.
    """
    lower, upper = z.copy(), z.copy()
    known = np.ones(form.columns, np.bool_)
    if not len(face.open):
        return Ranges(lower, upper, known)
    table = _open_rows(form, z, face)
    for members, rows in table.components():
        if len(members) > _LARGEST_PROGRAM:
            known[members] = False
            continue
        find = table.single if len(members) == 1 else table.program
        low, high = find(members, rows)
        lower[members], upper[members] = z[members] + low, z[members] + high
    return Ranges(lower, upper, known)


def open_rows(form: PriceForm, z: FloatArray, face: Face) -> "OpenRows":
    """What the rows demand of changes in the open columns."""
    return _open_rows(form, z, face)


@dataclass(frozen=True, eq=False)
class OpenRows:
    """Rows over open columns: lower <= matrix dz <= upper.

    Attributes:
        matrix: Shape (rows, open columns).
        lower: Least change of each row, <= 0.
        upper: Greatest, >= 0.
        columns: Columns of the market that are meant.
    """

    matrix: sparse.csc_array
    lower: FloatArray
    upper: FloatArray
    columns: IntArray

    def components(self) -> list[tuple[IntArray, IntArray]]:
        """Columns of the market and rows here that belong together."""
        entries = self.matrix.tocoo()
        row, column = entries.row.astype(np.int64), entries.col.astype(np.int64)
        number, of_row, of_column = label_parts(row, column, *self.matrix.shape)
        order = np.argsort(of_column, kind="stable")
        ends = np.searchsorted(of_column[order], np.arange(number + 1))
        row_order = np.argsort(of_row, kind="stable")
        row_ends = np.searchsorted(of_row[row_order], np.arange(number + 1))
        return [
            (
                self.columns[order[ends[i] : ends[i + 1]]],
                row_order[row_ends[i] : row_ends[i + 1]],
            )
            for i in range(number)
            if ends[i + 1] > ends[i]
        ]

    def single(
        self, members: IntArray, rows: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """The range of a column that no other open column meets."""
        at = int(np.searchsorted(self.columns, members[0]))
        weight = self.matrix[rows][:, [at]].toarray()[:, 0]
        ends = np.stack([self.lower[rows] / weight, self.upper[rows] / weight])
        ends.sort(axis=0)
        low = np.array([ends[0].max(initial=-np.inf)])
        high = np.array([ends[1].min(initial=np.inf)])
        return np.minimum(low, 0.0), np.maximum(high, 0.0)

    def program(
        self, members: IntArray, rows: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Ranges of columns that meet: two by their corners, more by programs."""
        at = np.searchsorted(self.columns, members)
        matrix = self.matrix[rows][:, at]
        if len(members) == 2 and len(rows) <= LARGEST_PLANE:
            ends = plane_ranges(matrix.toarray(), self.lower[rows], self.upper[rows])
            return np.minimum(ends[0], 0.0), np.maximum(ends[1], 0.0)
        program = SmallProgram(matrix, self.lower[rows], self.upper[rows])
        low = [program.extreme(i, Direction.LOWEST) for i in range(len(members))]
        high = [program.extreme(i, Direction.HIGHEST) for i in range(len(members))]
        return np.minimum(low, 0.0), np.maximum(high, 0.0)


def price_intervals(
    form: PriceForm, price: FloatArray, y: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest price of each row that support flows.

    Args:
        form: The market.
        price: Row prices at which the flows are optimal.
        y: The flows.
    """
    rate = form.scales.rate
    width = np.where(np.isfinite(form.width), form.width, rate)
    margin = _AT_BOUND * width
    at_low = y <= form.low + margin
    at_high = y >= form.high - margin
    # A piece at its low end wants the price at or above its top, and so on; inside
    # it wants exactly this price.
    inside = price[form.row]
    least = np.where(at_low, form.top, np.where(at_high, -np.inf, inside))
    most = np.where(at_high, form.bottom, np.where(at_low, np.inf, inside))
    lower = np.full(form.rows, -np.inf)
    upper = np.full(form.rows, np.inf)
    filled = np.flatnonzero(np.diff(form.row_ptr))
    if len(filled):
        starts = form.row_ptr[filled]
        lower[filled] = np.maximum.reduceat(least, starts)
        upper[filled] = np.minimum.reduceat(most, starts)
    return lower, upper


def _peel(table: Ragged, pinned: BoolArray, columns: int) -> IntArray:
    """Columns left when pinned rows with one open column have settled it."""
    entries = np.flatnonzero(pinned[table.rows()])
    row, column = table.rows()[entries], table.idx[entries]
    settled = np.zeros(columns, np.bool_)
    while True:
        todo = ~settled[column]
        row, column = row[todo], column[todo]
        if not len(row):
            break
        counts = np.bincount(row, minlength=len(table))
        lone = counts[row] == 1
        if not lone.any():
            break
        settled[column[lone]] = True
    return np.flatnonzero(~settled)


def _is_affordable(columns: int, deadline: float) -> bool:
    """Whether there is room and time for the rank of so many: LAPACK reads no clock."""
    seconds = columns**3 / 3.0 / _RANK_SPEED
    in_time = seconds <= max(_SWIFT, deadline - monotonic())
    return in_time and columns <= _LARGEST_RANK


def _unsettled(
    table: Ragged, pinned: BoolArray, left: IntArray, columns: int
) -> IntArray:
    """Columns among `left` that the pinned rows really leave open."""
    place = np.full(columns, -1, np.int64)
    place[left] = np.arange(len(left))
    rows = table.rows()
    keep = pinned[rows] & (place[table.idx] >= 0)
    if not keep.any():
        return left
    weight = table.weight[keep]
    size = np.sqrt(np.bincount(rows[keep], weights=weight**2, minlength=len(table)))
    matrix = sparse.csr_array(
        (weight / size[rows[keep]], (rows[keep], place[table.idx[keep]])),
        shape=(len(table), len(left)),
    )
    gram = (matrix.T @ matrix).toarray()
    factor, pivot, rank, _ = linalg.lapack.dpstrf(gram, tol=_RANK, lower=0)
    if rank == len(left):
        return left[:0]
    # Null space: what the dependent columns drag along.
    order = pivot - 1
    drag = linalg.solve_triangular(factor[:rank, :rank], factor[:rank, rank:])
    moves = np.ones(len(left), np.bool_)
    moves[order[:rank]] = np.abs(drag).max(axis=1, initial=0.0) > 1e-7
    return left[moves]


def _open_rows(form: PriceForm, z: FloatArray, face: Face) -> OpenRows:
    table = form.map.table
    place = np.full(form.columns, -1, np.int64)
    place[face.open] = np.arange(len(face.open))
    row = table.rows()
    bounded = np.isfinite(face.lower) | np.isfinite(face.upper)
    keep = (place[table.idx] >= 0) & bounded[row]
    used, number = np.unique(row[keep], return_inverse=True)
    matrix = sparse.csc_array(
        (table.weight[keep], (number, place[table.idx[keep]])),
        shape=(len(used), len(face.open)),
    )
    price = form.map.forward(z)[used]
    return OpenRows(
        matrix, face.lower[used] - price, face.upper[used] - price, face.open
    )
