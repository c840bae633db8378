import ctypes

import numpy as np
import pytest
from scipy.linalg import lapack as wrapped

from flowtrade.clearing import lapack


@pytest.mark.parametrize("size", [0, 1, 7, 60])
def test_factor_and_solution_are_scipys_to_the_bit(size):
    random = np.random.default_rng(size)
    half = random.normal(size=(size, size))
    matrix = half @ half.T + np.eye(size)
    rhs = random.normal(size=size)
    mine = np.tril(matrix).copy()

    assert lapack.factorise(mine)
    solution = lapack.solve_factored(mine, rhs)

    assert solution == pytest.approx(np.linalg.solve(matrix, rhs), rel=1e-9)
    if size:
        upper, _ = wrapped.dpotrf(matrix.T, lower=0, clean=0)
        theirs, _ = wrapped.dpotrs(upper, rhs, lower=0)
        assert np.array_equal(np.tril(mine), np.tril(upper.T))
        assert np.array_equal(solution, theirs)


def test_the_right_hand_side_is_left_as_it_is():
    rhs = np.ones(2)

    lapack.solve_factored(np.eye(2), rhs)

    assert rhs.tolist() == [1.0, 1.0]


def test_a_matrix_that_is_not_positive_definite_is_told():
    assert not lapack.factorise(np.diag([1.0, -1.0]))


@pytest.mark.parametrize("routine", [lapack._POTRF, lapack._POTRS])
def test_other_threads_may_run_meanwhile(routine):
    # ctypes holds the interpreter's lock only for functions of Python's own API.
    assert not routine._flags_ & ctypes._FUNCFLAG_PYTHONAPI


def test_a_routine_of_other_integers_is_refused(monkeypatch):
    monkeypatch.setattr(ctypes.pythonapi.PyCapsule_GetName, "restype", ctypes.c_char_p)
    capsule_new = ctypes.pythonapi.PyCapsule_New
    capsule_new.restype = ctypes.py_object
    capsule_new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    strange = b"void (char *, long *)"
    table = {"dpotrf": capsule_new(1, strange, None)}
    monkeypatch.setattr(lapack.cython_lapack, "__pyx_capi__", table)

    with pytest.raises(ImportError, match=r"dpotrf is b'void \(char \*, long \*\)'"):
        lapack._routine("dpotrf")
