"""Tiny auctions as plain numbers: the price form in lists.

Below a few dozen pieces every call of an array library costs more than the arithmetic
in it. So tiny auctions are written as lists once, and whatever is asked about them is
answered in loops: the active set (`active`), the prices that support it (`supports`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Self, TypeAlias, final

from flowtrade.clearing.priceform import PriceForm

__all__ = [
    "COLUMNS",
    "PIECES",
    "Row",
    "TinyForm",
    "fits",
    "is_tiny",
    "lower_median",
    "solve_positive",
]

COLUMNS = 16
"""Prices up to which plain loops beat arrays (measured: 2 to 4 against 7 to 11 ms at
nine prices)."""

PIECES = 96
"""Pieces likewise."""

_APART = 1e-9
"""Least price scale of a column against the market's, as in `priceform`."""

Row: TypeAlias = list[tuple[int, float]]
"""Columns and weights of a row."""


@final
@dataclass(slots=True, eq=False)
class TinyForm:
    """The price form in lists; see `priceform`.

    Attributes:
        rows: Columns and weights of each row.
        row: Row of each piece.
        low: Lowest flow of each piece, maybe -inf.
        high: Highest flow, maybe inf.
        top: Price at the lowest flow.
        bottom: Price at the highest flow.
        offset: What enters each column from outside.
        scale: Price scale of each row.
        level: Price scale of each column.
        rate: Typical width of a piece.
    """

    rows: list[Row]
    row: list[int]
    low: list[float]
    high: list[float]
    top: list[float]
    bottom: list[float]
    offset: list[float]
    scale: list[float]
    level: list[float]
    rate: float

    @property
    def columns(self) -> int:
        """Number of unknown prices."""
        return len(self.offset)

    def forward(self, z: Sequence[float]) -> list[float]:
        """Price of each row at prices z."""
        return [
            sum([weight * z[column] for column, weight in row]) for row in self.rows
        ]

    @classmethod
    def of(cls, form: PriceForm) -> Self:
        """Write a price form as lists; rows without pieces are left out."""
        table = form.map.table
        ptr, idx, weight = table.ptr.tolist(), table.idx.tolist(), table.weight.tolist()
        number: dict[int, int] = {}
        row = [number.setdefault(r, len(number)) for r in form.row.tolist()]
        scale = form.row_price.tolist()
        offset = form.offset
        return cls(
            rows=[
                list(
                    zip(
                        idx[ptr[r] : ptr[r + 1]],
                        weight[ptr[r] : ptr[r + 1]],
                        strict=True,
                    )
                )
                for r in number
            ],
            row=row,
            low=form.low.tolist(),
            high=form.high.tolist(),
            top=form.top.tolist(),
            bottom=form.bottom.tolist(),
            offset=[0.0] * form.columns if offset is None else offset.tolist(),
            scale=[scale[r] for r in number],
            level=form.column_price.tolist(),
            rate=form.scales.rate,
        )

    @classmethod
    def scaled(
        cls,
        rows: list[Row],
        row: list[int],
        ends: tuple[list[float], list[float]],
        prices: tuple[list[float], list[float]],
        *,
        columns: int,
        orders: int,
    ) -> Self:
        """Measure the scales of pieces on rows, as `priceform` does.

        Args:
            rows: Columns and weights of each row.
            row: Row of each piece.
            ends: Lowest and highest flows.
            prices: Prices there.
            columns: Number of unknown prices.
            orders: How many pieces are orders; those after them only convert.
        """
        (low, high), (top, bottom) = ends, prices
        widths = [b - a for a, b in zip(low, high, strict=True)]
        reach = [
            max(abs(a), abs(b))
            for a, b in zip(top[:orders], bottom[:orders], strict=True)
        ]
        size = [sum([abs(weight) for _, weight in line]) or 1.0 for line in rows]
        per_weight = [a / size[r] for a, r in zip(reach, row, strict=False)]
        price = (
            max(lower_median(per_weight), 1e-3 * max(per_weight, default=0.0)) or 1.0
        )
        level = _levels(rows, zip(row, reach, strict=False), columns, price)
        return cls(
            rows=rows,
            row=row,
            low=low,
            high=high,
            top=top,
            bottom=bottom,
            offset=[0.0] * columns,
            scale=[
                sum([abs(weight) * level[k] for k, weight in line]) or price
                for line in rows
            ],
            level=level,
            rate=lower_median([w for w in widths if isfinite(w)]) or 1.0,
        )


def is_tiny(form: PriceForm) -> bool:
    """Whether plain loops are the faster way."""
    return fits(form.columns, len(form))


def fits(columns: int, pieces: int) -> bool:
    """Whether so many prices and pieces are few."""
    return columns <= COLUMNS and 0 < pieces <= PIECES


def lower_median(values: Sequence[float]) -> float:
    """The lower median, 0 without values."""
    return sorted(values)[(len(values) - 1) // 2] if values else 0.0


def _levels(
    rows: list[Row],
    orders: Iterable[tuple[int, float]],
    columns: int,
    price: float,
) -> list[float]:
    """Price scale of each column, from the orders for it alone where there are any."""
    told = []
    for r, reach in orders:
        if reach and len(rows[r]) == 1:
            column, weight = rows[r][0]
            told.append((column, reach / abs(weight)))
    level = _middles(told, columns)
    known = 0
    # On through columns told before, as long as there are more each time.
    while known < sum(map(bool, level)) < columns:
        known = sum(map(bool, level))
        told = []
        for line in rows:
            worth = sum([abs(weight) * level[k] for k, weight in line])
            if worth:
                told += [(k, worth / abs(w)) for k, w in line if not level[k]]
        others = _middles(told, columns)
        level = [own or other for own, other in zip(level, others, strict=True)]
    return [max(own, _APART * price) if own else price for own in level]


def _middles(told: Iterable[tuple[int, float]], count: int) -> list[float]:
    """A typical value of each group: the power mean of exponent 1/8."""
    number, total = [0] * count, [0.0] * count
    for group, value in told:
        number[group] += 1
        total[group] += sqrt(sqrt(sqrt(value)))
    return [(t / n) ** 8 if n else 0.0 for t, n in zip(total, number, strict=True)]


def solve_positive(matrix: list[list[float]], rhs: list[float]) -> list[float]:
    """Solve a positive definite system by Cholesky's method.

    Args:
        matrix: Its lower triangle is read; all of it is used up.
        rhs: The right side.

    Raises:
        ValueError: The matrix is not positive definite.
        ZeroDivisionError: Nor semi-definite.
    """
    out = list(rhs)
    for i, row in enumerate(matrix):
        for j in range(i):
            other = matrix[j]
            total = row[j]
            for k in range(j):
                total -= row[k] * other[k]
            row[j] = total / other[j]
        total = row[i] - sum([v * v for v in row[:i]])
        row[i] = sqrt(total)
        out[i] = (out[i] - sum([row[k] * out[k] for k in range(i)])) / row[i]
    for i in range(len(out) - 1, -1, -1):
        value = out[i]
        for k in range(i + 1, len(out)):
            value -= matrix[k][i] * out[k]
        out[i] = value / matrix[i][i]
    return out
