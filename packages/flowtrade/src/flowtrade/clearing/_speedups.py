# cython: annotation_typing=False, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=True
# pyright: reportPossiblyUnbound=false - `cython` is the compiler's or set below
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

from flowtrade.clearing.arrays import FloatArray, IntArray

try:
    # The compiler's own module: there is no such file to be found, nor stubs.
    import cython  # type: ignore[import-not-found,unused-ignore] # pyright: ignore
except ImportError:  # interpreted, and there is no Cython: then nothing is let go
    globals()["cython"] = SimpleNamespace(nogil=nullcontext())

__all__ = ["add_corners", "add_products"]


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
