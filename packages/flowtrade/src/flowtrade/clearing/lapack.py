"""Cholesky factors by LAPACK, with the interpreter let go meanwhile.

SciPy's wrappers hold the interpreter lock while LAPACK works: a factor of 2,000 prices
would keep an event loop in the same process waiting for a tenth of a second, twenty
times an auction. The same routines, reached through the function pointers that SciPy
publishes for compiled callers (`scipy.linalg.cython_lapack`), give the same bits and
are called by ctypes, which lets other threads run.
"""

import ctypes
from typing import Any

import numpy as np
from scipy.linalg import cython_lapack

from flowtrade.clearing.arrays import FloatArray

__all__ = ["factorise", "solve_factored"]

_INT = ctypes.POINTER(ctypes.c_int)
_REALS = ctypes.c_void_p


def _routine(name: str, *arguments: Any) -> Any:  # noqa: ANN401 - ctypes' own types
    """A LAPACK routine as a function that ctypes calls without the lock.

    Raises:
        ImportError: SciPy was built for other integers than ours.
    """
    capsules: Any = cython_lapack.__pyx_capi__
    capsule = capsules[name]
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype = ctypes.c_void_p
    pointer_of.argtypes = [ctypes.py_object, ctypes.c_char_p]
    signature = name_of(capsule)
    if signature is None or b"int *" not in signature:
        raise ImportError(f"scipy.linalg.cython_lapack.{name} is {signature!r}")
    prototype = ctypes.CFUNCTYPE(None, *arguments)
    return prototype(pointer_of(capsule, signature))


_POTRF = _routine("dpotrf", ctypes.c_char_p, _INT, _REALS, _INT, _INT)
_POTRS = _routine(
    "dpotrs", ctypes.c_char_p, _INT, _INT, _REALS, _INT, _REALS, _INT, _INT
)


def factorise(matrix: FloatArray) -> bool:
    """Replace a symmetric matrix by its Cholesky factor, in place.

    Args:
        matrix: Shape (n, n), C order, contiguous; only its lower triangle is read and
            written.

    Returns:
        Whether the matrix is positive definite; if not, it is left half worked on.
    """
    size, info = ctypes.c_int(len(matrix)), ctypes.c_int(0)
    lead = ctypes.c_int(max(len(matrix), 1))
    # What is lower in C order is upper in Fortran's.
    _POTRF(b"U", size, matrix.ctypes.data, lead, info)
    return info.value == 0


def solve_factored(factor: FloatArray, rhs: FloatArray) -> FloatArray:
    """The solution for one right-hand side of shape (n,), by `factorise`'s factor."""
    out = np.array(rhs, np.float64)
    size, info = ctypes.c_int(len(factor)), ctypes.c_int(0)
    lead = ctypes.c_int(max(len(factor), 1))
    one = ctypes.c_int(1)
    _POTRS(b"U", size, one, factor.ctypes.data, lead, out.ctypes.data, lead, info)
    return out
