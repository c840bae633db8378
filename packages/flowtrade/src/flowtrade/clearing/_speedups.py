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

__all__ = ["add_corners", "add_products", "add_trades", "judge"]

_INFINITE = float("inf")


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
