"""Prices: the nearest to a target among equally good ones.

Where the optimum supports many price vectors, the one nearest (in the Euclidean sense)
to a target is chosen: it is unique. The target of a product is its reference price,
such as the last auction's, else the middle of its range, its finite end, or 0.

The choice is itself an auction in which the change of prices is sought: each product
has an order that buys one unit for every unit of money the price is below target; each
row has an unlimited bid at its lowest and an unlimited offer at its highest price. So
the same solver clears it, to the same precision. A product that no other undetermined
one meets needs no auction: its target is clipped to its range.
"""

import numpy as np

from flowtrade.clearing.arrays import FloatArray, IntArray, Ragged
from flowtrade.clearing.assembly import Assembler
from flowtrade.clearing.auxiliary import settle
from flowtrade.clearing.faces import Face, OpenRows, Ranges, open_rows
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.rowmap import RowMap

__all__ = ["nearest_prices", "targets"]


def targets(ranges: Ranges, reference: FloatArray) -> FloatArray:
    """Targets of columns: the reference where it is a number, else from the range."""
    lower, upper = ranges.lower, ranges.upper
    has_lower, has_upper = np.isfinite(lower), np.isfinite(upper)
    with np.errstate(invalid="ignore"):
        middle = 0.5 * (lower + upper)
    end = np.where(has_lower, lower, np.where(has_upper, upper, 0.0))
    target = np.where(has_lower & has_upper, middle, end)
    return np.where(np.isnan(reference), target, reference)


def nearest_prices(
    form: PriceForm,
    z: FloatArray,
    face: Face,
    ranges: Ranges,
    target: FloatArray,
    *,
    products: int,
    norm: FloatArray | None = None,
    deadline: float = np.inf,
) -> FloatArray | None:
    """The prices of the face that are nearest to the target.

    Product prices come first; the prices of shared demands are then chosen nearest to
    theirs with the products' held.

    Args:
        form: The market.
        z: A point of the face.
        face: The face.
        ranges: Of its columns.
        target: Of its columns.
        products: Number of columns that are products.
        norm: What the distance of each column is divided by, if it is not 1.
        deadline: Value of `time.monotonic` at which to stop.

    Returns:
        The prices, or None if the choice could not be computed.
    """
    z = z.copy()
    if not len(face.open):
        return z
    norm = np.ones(form.columns) if norm is None else norm
    rows = open_rows(form, z, face)
    together = []
    for members, _ in rows.components():
        if len(members) == 1:
            low, high = ranges.lower[members], ranges.upper[members]
            z[members] = np.clip(target[members], low, high)
        else:
            together.append(members)
    if not together:
        return z
    members = np.sort(np.concatenate(together))
    held = members[members < products]
    moved = _choose(rows, members, held, (target - z) / norm, norm, deadline)
    if moved is None:
        return None
    z[members] += moved
    rest = members[members >= products]
    if len(rest):
        rows = open_rows(form, z, Face(face.lower, face.upper, rest))
        moved = _choose(rows, rest, rest, (target - z) / norm, norm, deadline)
        if moved is None:
            return None
        z[rest] += moved
    return z


def _choose(
    rows: OpenRows,
    members: IntArray,
    drawn: IntArray,
    wishes: FloatArray,
    norm: FloatArray,
    deadline: float,
) -> FloatArray | None:
    """Changes of the member columns that bring the drawn ones nearest."""
    wish = wishes[drawn]
    bound = 1.001 * float(np.linalg.norm(wish))
    if bound == 0.0:
        return np.zeros(len(members))
    places = np.searchsorted(members, drawn)
    auction = _auction(rows, members, places, wish, 1.0 / norm[drawn], bound)
    point = settle(auction, deadline=deadline)
    return None if point is None else point.z


def _auction(
    rows: OpenRows,
    members: IntArray,
    drawn: IntArray,
    wish: FloatArray,
    weight: FloatArray,
    bound: float,
) -> PriceForm:
    matrix = rows.matrix[:, np.searchsorted(rows.columns, members)].tocsr()
    matrix.sort_indices()
    kept = np.flatnonzero(np.diff(matrix.indptr))
    matrix = matrix[kept]
    lower, upper = rows.lower[kept], rows.upper[kept]
    count = len(drawn)
    table = Ragged(
        np.concatenate([np.arange(count), count + matrix.indptr]).astype(np.int64),
        np.concatenate([drawn, matrix.indices]).astype(np.int64),
        np.concatenate([weight, matrix.data]),
    )
    pinned = lower == upper
    bids = np.flatnonzero(np.isfinite(lower) & ~pinned)
    asks = np.flatnonzero(np.isfinite(upper) & ~pinned)
    both = np.flatnonzero(pinned)
    row = np.concatenate([np.arange(count), count + np.concatenate([bids, asks, both])])
    limit = np.concatenate([lower[bids], upper[asks], lower[both]])
    far = np.inf
    low = np.repeat([-bound, 0.0, -far, -far], [count, len(bids), len(asks), len(both)])
    high = np.repeat([bound, far, 0.0, far], [count, len(bids), len(asks), len(both)])
    order = np.argsort(row, kind="stable")
    rowmap = RowMap(table, len(members))
    return PriceForm(
        map=rowmap,
        assembler=Assembler(rowmap, len(members)),
        row=row[order],
        low=low[order],
        high=high[order],
        top=np.concatenate([wish + bound, limit])[order],
        bottom=np.concatenate([wish - bound, limit])[order],
        demand=np.arange(len(row)),
    )
