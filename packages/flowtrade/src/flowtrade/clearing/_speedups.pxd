# The C types of `_speedups.py`, for Cython; the two files are compiled into one.

cimport cython
from libc.stdint cimport int64_t


@cython.locals(
    row=Py_ssize_t,
    start=Py_ssize_t,
    end=Py_ssize_t,
    left=Py_ssize_t,
    right=Py_ssize_t,
    at=Py_ssize_t,
    weight=double,
)
cpdef add_products(
    const int64_t[::1] ptr,
    const int64_t[::1] place,
    const double[::1] value,
    const double[::1] weights,
    double[:, ::1] core,
)


@cython.locals(
    block=Py_ssize_t,
    start=Py_ssize_t,
    left=Py_ssize_t,
    right=Py_ssize_t,
    at=Py_ssize_t,
    factor=double,
)
cpdef add_corners(
    const int64_t[::1] ptr,
    const int64_t[::1] place,
    const double[::1] border,
    const double[::1] pulled,
    double[:, ::1] total,
)
