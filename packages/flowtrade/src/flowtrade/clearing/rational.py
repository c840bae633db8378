"""Linear equations without rounding, for a handful of unknowns.

Floats are rationals, and so is the solution of equations between them. Equations come
as rows of whole numbers and are eliminated without fractions; a common factor is
divided out after every step, so that the numbers stay short. A dozen unknowns take
less time than one call of a linear program.
"""

from collections.abc import Iterable, Sequence
from math import gcd, lcm

__all__ = ["binary_places", "solve_exactly", "whole"]


def binary_places(values: Iterable[float]) -> int:
    """Binary places after the point that hold all of the finite values exactly."""
    most = 1
    for value in values:
        below = value.as_integer_ratio()[1]
        most = max(most, below)
    return most.bit_length() - 1


def whole(value: float, places: int) -> int:
    """The value times two to the power of `places`, which makes it a whole number."""
    above, below = value.as_integer_ratio()
    return above * ((1 << places) // below)


def solve_exactly(
    equations: Sequence[Sequence[int]], near: Sequence[float]
) -> tuple[list[int], int] | None:
    """Solve equations exactly.

    Args:
        equations: Rows of coefficients, the right side last.
        near: Values of the unknowns to take where the equations leave them open: later
            unknowns are left open before earlier ones.

    Returns:
        The solution as numerators over one denominator > 0, or None where the
        equations contradict each other.
    """
    count = len(near)
    rows = [_reduced(row) for row in equations if any(row)]
    pivots: list[tuple[int, list[int]]] = []
    open_ = []
    for column in range(count):
        at = next((i for i, row in enumerate(rows) if row[column]), None)
        if at is None:
            open_.append(column)
            continue
        pivot = rows.pop(at)
        rows = [_without(row, pivot, column) for row in rows]
        pivots.append((column, pivot))
    if any(row[count] for row in rows):
        return None
    return _substituted(pivots, open_, near)


def _substituted(
    pivots: Sequence[tuple[int, list[int]]], open_: Iterable[int], near: Sequence[float]
) -> tuple[list[int], int]:
    """The unknowns one after the other, the last one first."""
    count = len(near)
    ratios = {column: near[column].as_integer_ratio() for column in open_}
    below = lcm(*(ratio[1] for ratio in ratios.values()))
    out = [0] * count
    for column, (above, own) in ratios.items():
        out[column] = above * (below // own)
    for column, row in reversed(pivots):
        rest = row[count] * below
        for other in range(column + 1, count):
            if row[other]:
                rest -= row[other] * out[other]
        scale = row[column]
        common = gcd(rest, scale)
        if scale < 0:
            common = -common
        rest, scale = rest // common, scale // common
        if scale != 1:
            out = [value * scale for value in out]
            below *= scale
        out[column] = rest
    return out, below


def _without(row: list[int], pivot: list[int], column: int) -> list[int]:
    """The row with one unknown eliminated by a pivot row."""
    factor = row[column]
    if not factor:
        return row
    scale = pivot[column]
    return _reduced(
        [scale * own - factor * other for own, other in zip(row, pivot, strict=True)]
    )


def _reduced(row: Sequence[int]) -> list[int]:
    common = gcd(*row)
    return [value // common for value in row] if common > 1 else list(row)
