# cython: annotation_typing=False, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=True
# pyright: reportPossiblyUnboundVariable=false
"""The inner loops of a clearing, written to be compiled.

What may live here: loops over arrays that `flowtrade.clearing` has in NumPy and SciPy
as well, and that give the same bits: whatever is summed is summed in the same order.
They run without the interpreter's lock. Nothing is decided here.

The C types stand in `_speedups.pxd`, so that this file is plain typed Python: where the
package was built without a compiler it is imported as it is, gives the same results
slowly, and `flowtrade.clearing.speedups` lets nobody use it but tests. Nothing checks
bounds when it is compiled: callers hand over arrays of the lengths they promise.
"""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from flowtrade.clearing.arrays import FloatArray, IntArray

try:
    # The compiler's own module: there is no such file to be found, nor stubs.
    import cython  # type: ignore[import-not-found,unused-ignore] # pyright: ignore
except ImportError:
    # Interpreted, and there is no Cython: nothing is let go. Written so that the
    # compiler, to which the name is its own, does not see it (nor does pyright).
    globals()["cython"] = SimpleNamespace(nogil=nullcontext())

__all__ = [
    "add_corners",
    "add_products",
    "add_rows",
    "add_trades",
    "are_equal",
    "begin",
    "decide",
    "judge",
    "lay_out",
    "lower",
    "measure_fit",
    "moves",
    "open_pieces",
    "pull",
    "push_rows",
    "spread_back",
    "take_apart",
    "take_out",
]

_INFINITE = float("inf")

# As `flowtrade.clearing.interior` has them.
_FAR, _FAINT, _STEEPEST = 1e100, 1e-200, 1e200
_TINY = 2.2250738585072014e-308


def add_products(
    ptr: IntArray,
    place: IntArray,
    value: FloatArray,
    weights: FloatArray,
    core: FloatArray,
) -> None:
    """Add up the lower triangle of T' diag(weights) T.

    Args:
        ptr: Offsets of the rows of T.
        place: Of each entry's column in the matrix, ascending within a row but for -1,
            which is left out.
        value: Of each entry.
        weights: One per row.
        core: Shape (n, n); its lower triangle is added to.
    """
    with cython.nogil:
        for row in range(len(ptr) - 1):
            start, end = ptr[row], ptr[row + 1]
            weight = weights[row]
            for left in range(start, end):
                at = place[left]
                if at < 0:
                    continue
                for right in range(start, left + 1):
                    if place[right] >= 0:
                        core[at, place[right]] += value[left] * value[right] * weight


def add_corners(
    ptr: IntArray,
    place: IntArray,
    border: FloatArray,
    pulled: FloatArray,
    total: FloatArray,
) -> None:
    """Add up the products of blocks' borders, each with itself.

    Args:
        ptr: Offsets of the blocks' touches.
        place: Of each touch in the matrix, ascending within a block.
        border: Of each touch.
        pulled: The same divided by the block's own entry.
        total: Shape (n, n); its lower triangle is added to.
    """
    with cython.nogil:
        for block in range(len(ptr) - 1):
            start = ptr[block]
            for left in range(start, ptr[block + 1]):
                at, factor = place[left], border[left]
                for right in range(start, left + 1):
                    total[at, place[right]] += factor * pulled[right]


def take_out(total: FloatArray, core: FloatArray) -> None:
    """Subtract a lower triangle from another one."""
    with cython.nogil:
        for row in range(len(core)):
            for column in range(row + 1):
                core[row, column] -= total[row, column]


def pull(
    ptr: IntArray,
    place: IntArray,
    columns: IntArray,
    pulled: FloatArray,
    rhs: FloatArray,
    total: FloatArray,
) -> None:
    """Add up what blocks of one column take from the dense right-hand side.

    Args:
        ptr: Offsets of the blocks' touches.
        place: Of each touch in the matrix.
        columns: Of blocks.
        pulled: Of each touch, the border divided by the block's own entry.
        rhs: Of all columns.
        total: Of the matrix' rows; is added to.
    """
    with cython.nogil:
        for block in range(len(columns)):
            mine = rhs[columns[block]]
            for at in range(ptr[block], ptr[block + 1]):
                total[place[at]] += pulled[at] * mine


def spread_back(
    ptr: IntArray,
    place: IntArray,
    columns: IntArray,
    pulled: FloatArray,
    inverse: FloatArray,
    rhs: FloatArray,
    solved: FloatArray,
    out: FloatArray,
) -> None:
    """The solution of blocks of one column, from that of the dense matrix.

    Args:
        ptr: Offsets of the blocks' touches.
        place: Of each touch in the matrix.
        columns: Of blocks.
        pulled: Of each touch, the border divided by the block's own entry.
        inverse: One over the blocks' own entries.
        rhs: Of all columns.
        solved: Of the matrix.
        out: Of all columns; takes those of the blocks.
    """
    with cython.nogil:
        for block in range(len(columns)):
            dragged = 0.0
            for at in range(ptr[block], ptr[block + 1]):
                dragged += pulled[at] * solved[place[at]]
            out[columns[block]] = rhs[columns[block]] * inverse[block] - dragged


def add_rows(
    ptr: IntArray,
    inverse: FloatArray,
    force: FloatArray,
    y: FloatArray,
    weights: FloatArray,
    push: FloatArray,
    flows: FloatArray,
) -> None:
    """Sums by row of what the interior point knows of segments.

    Args:
        ptr: Offsets of segments by row.
        inverse: Of segments, 1/theta.
        force: Of segments.
        y: Flows of segments.
        weights: Takes the sums of 1/theta.
        push: Takes the sums of forces over theta.
        flows: Takes the sums of flows.
    """
    with cython.nogil:
        for row in range(len(ptr) - 1):
            weight = pushed = flow = 0.0
            for at in range(ptr[row], ptr[row + 1]):
                weight += inverse[at]
                pushed += inverse[at] * force[at]
                flow += y[at]
            weights[row] = weight
            push[row] = pushed
            flows[row] = flow


def push_rows(
    ptr: IntArray, inverse: FloatArray, force: FloatArray, push: FloatArray
) -> None:
    """The second of the sums of `add_rows` alone."""
    with cython.nogil:
        for row in range(len(ptr) - 1):
            pushed = 0.0
            for at in range(ptr[row], ptr[row + 1]):
                pushed += inverse[at] * force[at]
            push[row] = pushed


def lower(force: FloatArray, price: FloatArray, row: IntArray) -> None:
    """Subtract rows' prices from segments' forces, in place."""
    with cython.nogil:
        for at in range(len(force)):
            force[at] -= price[row[at]]


def moves(
    force: FloatArray,
    turn: FloatArray,
    row: IntArray,
    inverse: FloatArray,
    dy: FloatArray,
) -> None:
    """Moves of segments: (force - turn of their row) / theta.

    Args:
        force: Of segments.
        turn: Changes of the rows' prices.
        row: Of segments.
        inverse: Of segments, 1/theta.
        dy: Takes the moves.
    """
    with cython.nogil:
        for at in range(len(force)):
            dy[at] = (force[at] - turn[row[at]]) * inverse[at]


def decide(
    ptr: IntArray,
    low: FloatArray,
    high: FloatArray,
    top: FloatArray,
    bottom: FloatArray,
    row_price: FloatArray,
    price: FloatArray,
    y: FloatArray,
    flat: float,
    window: float,
    status: NDArray[np.uint8],
    fixed: FloatArray,
    sums: FloatArray,
) -> None:
    """Which segments a window decides; see `flowtrade.clearing.polish`.

    Args:
        ptr: Offsets of segments by row.
        low: Of segments, as in `PriceForm`, like all up to `bottom`.
        high: See there.
        top: See there.
        bottom: See there.
        row_price: Price scale of rows.
        price: Of rows.
        y: Flows.
        flat: Price drop given to flat pieces, against the price scale.
        window: Half width, likewise.
        status: Takes what becomes of segments: 0 open, 1 low, 2 high, 3 inside.
        fixed: Takes the flows of decided ones, 0 of others.
        sums: Takes rows' sums of these, of the slopes of those inside, and of the sizes
            of all flows, shape (3, rows).
    """
    with cython.nogil:
        for row in range(len(ptr) - 1):
            reach, least = window * row_price[row], flat * row_price[row]
            base = slopes = volume = 0.0
            for at in range(ptr[row], ptr[row + 1]):
                unlimited = low[at] == -_INFINITE or high[at] == _INFINITE
                drop = 0.0 if unlimited else top[at] - bottom[at]
                soft = least if drop < least else 0.0
                above, below = top[at] - price[row], bottom[at] - price[row]
                status[at] = 0
                fixed[at] = 0.0
                if soft == 0.0 and above >= reach and below <= -reach:
                    gain = (high[at] - low[at]) / (drop + soft)
                    status[at] = 3
                    fixed[at] = low[at] + above * gain
                    slopes += gain
                elif above <= -(reach + soft) and low[at] != -_INFINITE:
                    status[at] = 1
                    fixed[at] = low[at]
                elif below >= reach + soft and high[at] != _INFINITE:
                    status[at] = 2
                    fixed[at] = high[at]
                base += fixed[at]
                volume += y[at] if y[at] >= 0.0 else -y[at]
            sums[0, row], sums[1, row], sums[2, row] = base, slopes, volume


def open_pieces(
    ptr: IntArray,
    low: FloatArray,
    high: FloatArray,
    top: FloatArray,
    bottom: FloatArray,
    row_price: FloatArray,
    rate: float,
    softness: float,
    lines: FloatArray,
    sums: FloatArray,
) -> float:
    """What the interior point starts from that does not depend on prices.

    Up to `row_price` it takes what `decide` takes, then the typical width, the
    regularisation against price scale and width, and room: for slope, regularised
    slope, price at 0 and first flow of segments, shape (4, segments); for rows' sums of
    widths, of weights in the first fit, of weighted middles and of first flows, shape
    (4, rows).

    Returns:
        The sum of widths in the first fit.
    """
    total = 0.0
    with cython.nogil:
        for row in range(len(ptr) - 1):
            level = row_price[row]
            wide = weights = middles = flows = 0.0
            for at in range(ptr[row], ptr[row + 1]):
                here, there = low[at], high[at]
                width, fitted, drop = there - here, there - here, top[at] - bottom[at]
                slope, share = drop / width, -here / width
                if here == -_INFINITE or there == _INFINITE:
                    width, fitted, slope = 1e3 * rate, rate, 0.0
                elif slope > _STEEPEST:
                    slope = _STEEPEST
                lines[0, at] = slope
                lines[1, at] = slope + softness * level / width
                lines[2, at] = top[at]
                if top[at] != bottom[at]:
                    lines[2, at] = top[at] + share * (bottom[at] - top[at])
                if low[at] == -_INFINITE:
                    here = (high[at] if high[at] < 0.0 else 0.0) - rate
                if high[at] == _INFINITE:
                    there = (low[at] if low[at] > 0.0 else 0.0) + rate
                lines[3, at] = 0.5 * (here + there)
                weight = fitted / level
                wide += width
                weights += weight
                middles += weight * (0.5 * (top[at] + bottom[at]))
                flows += lines[3, at]
                total += fitted
            sums[0, row], sums[1, row] = wide, weights
            sums[2, row], sums[3, row] = middles, flows
    return total


def measure_fit(
    ptr: IntArray,
    low: FloatArray,
    high: FloatArray,
    top: FloatArray,
    bottom: FloatArray,
    row_price: FloatArray,
    rate: float,
    price: FloatArray,
) -> float:
    """How far pieces' middles are from fitted prices of rows, weighted as in the fit.

    Up to `rate` it takes what `open_pieces` takes.
    """
    total = 0.0
    with cython.nogil:
        for row in range(len(ptr) - 1):
            for at in range(ptr[row], ptr[row + 1]):
                width = high[at] - low[at]
                if width == _INFINITE:
                    width = rate
                apart = price[row] - 0.5 * (top[at] + bottom[at])
                total += width / row_price[row] * (apart if apart >= 0.0 else -apart)
    return total


def begin(
    ptr: IntArray,
    low: FloatArray,
    high: FloatArray,
    top: FloatArray,
    bottom: FloatArray,
    row_price: FloatArray,
    rate: float,
    price: FloatArray,
    strength: float,
    y: FloatArray,
    start: FloatArray,
) -> float:
    """First distances to bounds and first multipliers.

    Up to `rate` it takes what `open_pieces` takes, then the first prices of rows, the
    multipliers' strength against the price scale, the first flows, and room for the
    distances to the low and to the high end and their multipliers, shape (4, segments).

    Returns:
        What is at stake.
    """
    total = 0.0
    with cython.nogil:
        for row in range(len(ptr) - 1):
            force = strength * row_price[row]
            for at in range(ptr[row], ptr[row + 1]):
                tilt = price[row] - 0.5 * (top[at] + bottom[at])
                width = high[at] - low[at]
                if width == _INFINITE:
                    width = 1e3 * rate
                start[0, at], start[1, at] = _FAR, _FAR
                start[2, at], start[3, at] = _FAINT, _FAINT
                if low[at] != -_INFINITE:
                    away = y[at] - low[at]
                    start[0, at] = away if away > _TINY else _TINY
                    start[2, at] = (tilt if tilt > 0.0 else 0.0) + force
                if high[at] != _INFINITE:
                    away = high[at] - y[at]
                    start[1, at] = away if away > _TINY else _TINY
                    start[3, at] = (-tilt if -tilt > 0.0 else 0.0) + force
                total += ((tilt if tilt >= 0.0 else -tilt) + force) * width
    return total


def add_trades(
    ptr: IntArray,
    idx: IntArray,
    weight: FloatArray,
    rates: FloatArray,
    values: FloatArray,
    net: FloatArray,
    gross: FloatArray,
    worth: FloatArray,
) -> None:
    """What portfolios' rates add up to, and what each portfolio is worth.

    Args:
        ptr: Offsets of portfolios' entries.
        idx: Product or demand of each entry.
        weight: Of each entry.
        rates: Of portfolios.
        values: Of products or demands.
        net: Of products or demands; the sums of weight times rate are added to it.
        gross: Likewise without signs.
        worth: Of portfolios; takes the sums of weight times value.
    """
    with cython.nogil:
        for row in range(len(ptr) - 1):
            rate, total = rates[row], 0.0
            for at in range(ptr[row], ptr[row + 1]):
                traded = weight[at] * rate
                net[idx[at]] += traded
                gross[idx[at]] += traded if traded >= 0.0 else -traded
                total += weight[at] * values[idx[at]]
            worth[row] = total


def judge(
    ptr: IntArray,
    low: FloatArray,
    high: FloatArray,
    top: FloatArray,
    bottom: FloatArray,
    wished: FloatArray,
    short: NDArray[np.uint8],
    filled: FloatArray,
    rest: FloatArray,
    price: FloatArray,
    regret: FloatArray,
    value: FloatArray,
) -> None:
    """Fill curves, and weigh each piece's rate against what it would prefer.

    Args:
        ptr: Offsets of demands' pieces.
        low: Of pieces, as in `Segments`, like all up to `bottom`.
        high: See there.
        top: See there.
        bottom: See there.
        wished: Marginal prices of demands.
        short: Whether a demand's pieces are still to be filled.
        filled: Of pieces; written where they are to be filled, else read.
        rest: Of demands; net rates before, afterwards what did not fit.
        price: Of pieces; takes the prices that unlimited pieces admit.
        regret: Of demands; takes areas between curve and price.
        value: Of demands; takes areas under the curve.
    """
    with cython.nogil:
        for demand in range(len(ptr) - 1):
            start, end = ptr[demand], ptr[demand + 1]
            if short[demand]:
                left = rest[demand]
                if left > 0.0:
                    for at in range(start, end):
                        filled[at] = left if left < high[at] else high[at]
                        left -= filled[at]
                elif left < 0.0:
                    for back in range(end - start):
                        at = end - 1 - back
                        filled[at] = left if left > low[at] else low[at]
                        left -= filled[at]
                rest[demand] = left
            lost = gained = 0.0
            for at in range(start, end):
                asked = wished[demand]
                if high[at] == _INFINITE and asked < top[at]:
                    asked = top[at]
                if low[at] == -_INFINITE and asked > top[at]:
                    asked = top[at]
                price[at] = asked
                have, want = filled[at], filled[at]
                drop, width = top[at] - bottom[at], high[at] - low[at]
                if asked < top[at] and asked > bottom[at]:
                    want = low[at] + (top[at] - asked) / drop * width
                    want = low[at] if want < low[at] else want
                    want = high[at] if want > high[at] else want
                elif asked != top[at] or asked != bottom[at]:
                    want = low[at] if asked >= top[at] else high[at]
                if have == want and have == 0.0:
                    continue
                here = top[at]
                if drop != 0.0:
                    here = top[at] - drop * ((have - low[at]) / width)
                if want != have:
                    there = top[at]
                    if drop != 0.0:
                        there = top[at] - drop * ((want - low[at]) / width)
                    area = (want - have) * (0.5 * (here + there) - asked)
                    # Not a number stays so: nothing is hidden.
                    lost += 0.0 if area < 0.0 else area
                if have != 0.0:
                    there = top[at]
                    if drop != 0.0:
                        there = top[at] - drop * ((0.0 - low[at]) / width)
                    gained += 0.5 * (there + here) * have
            regret[demand] = lost
            value[demand] = gained


def take_apart(
    ptr: IntArray,
    rate: FloatArray,
    price: FloatArray,
    kept: IntArray,
    starts: IntArray,
    low: FloatArray,
    high: FloatArray,
    top: FloatArray,
    bottom: FloatArray,
) -> None:
    """The pieces of curves; see `flowtrade.clearing.segments.disaggregate`.

    Args:
        ptr: Offsets of curves' points.
        rate: Of points.
        price: Of points.
        kept: Room for the points of the longest curve.
        starts: Takes the offsets of pieces by curve, shape (curves + 1,).
        low: Takes what `Segments` has, like all that follow; as many as points.
        high: See there.
        top: See there.
        bottom: See there.
    """
    with cython.nogil:
        piece = 0
        for curve in range(len(ptr) - 1):
            starts[curve] = piece
            count = 0
            for at in range(ptr[curve], ptr[curve + 1]):
                if count > 0:
                    last = kept[count - 1]
                    if rate[at] == rate[last] and price[at] == price[last]:
                        continue
                kept[count] = at
                count += 1
            last = kept[0]
            for i in range(1, count):
                at = kept[i]
                if i + 1 < count:
                    before, after = kept[i - 1], kept[i + 1]
                    across = (rate[after] - rate[before]) * (price[at] - price[before])
                    along = (rate[at] - rate[before]) * (price[after] - price[before])
                    if across == along:
                        continue
                if rate[at] > rate[last]:
                    shift = (rate[last] if rate[last] > 0.0 else 0.0) + (
                        rate[at] if rate[at] < 0.0 else 0.0
                    )
                    low[piece], high[piece] = rate[last] - shift, rate[at] - shift
                    top[piece], bottom[piece] = price[last], price[at]
                    piece += 1
                last = at
        starts[len(ptr) - 1] = piece


def lay_out(
    order: IntArray,
    ptr: IntArray,
    low: FloatArray,
    high: FloatArray,
    top: FloatArray,
    bottom: FloatArray,
    scales: FloatArray,
    rows: IntArray,
    ends: FloatArray,
    row: IntArray,
    demand: IntArray,
) -> None:
    """Pieces in row coordinates; see `flowtrade.clearing.priceform.PriceForm.of`.

    Args:
        order: Demands in the order of their rows.
        ptr: Offsets of demands' pieces.
        low: Of pieces, as in `Segments`, like all up to `bottom`.
        high: See there.
        top: See there.
        bottom: See there.
        scales: Of demands.
        rows: Of demands.
        ends: Takes low, high, top and bottom, shape (4, pieces).
        row: Takes the row of each piece.
        demand: Takes its demand.
    """
    with cython.nogil:
        piece = 0
        for place in range(len(order)):
            owner = order[place]
            scale = scales[owner]
            turned = scale < 0.0
            for at in range(ptr[owner], ptr[owner + 1]):
                if turned:
                    ends[0, piece], ends[1, piece] = high[at] * scale, low[at] * scale
                    ends[2, piece] = bottom[at] / scale
                    ends[3, piece] = top[at] / scale
                else:
                    ends[0, piece], ends[1, piece] = low[at] * scale, high[at] * scale
                    ends[2, piece] = top[at] / scale
                    ends[3, piece] = bottom[at] / scale
                row[piece] = rows[owner]
                demand[piece] = owner
                piece += 1


def are_equal(
    ptr: IntArray, idx: IntArray, weight: FloatArray, sign: FloatArray, twin: IntArray
) -> bool:
    """Whether each row is its twin's, up to their signs.

    Args:
        ptr: Offsets of rows.
        idx: Of entries.
        weight: Of entries.
        sign: Of rows.
        twin: A row for each row.
    """
    equal = True
    with cython.nogil:
        for row in range(len(ptr) - 1):
            start, other = ptr[row], ptr[twin[row]]
            count = ptr[row + 1] - start
            if ptr[twin[row] + 1] - other != count:
                equal = False
                break
            turn = sign[row] * sign[twin[row]]
            for i in range(count):
                if (
                    idx[start + i] != idx[other + i]
                    or weight[start + i] != turn * weight[other + i]
                ):
                    equal = False
            if not equal:
                break
    return equal
