# The C types of `_speedups.py`, for Cython; the two files are compiled into one.

cimport cython
from libc.stdint cimport int64_t

cdef double _INFINITE, _FAR, _FAINT, _STEEPEST, _TINY


@cython.locals(
    row=Py_ssize_t, start=Py_ssize_t, end=Py_ssize_t, left=Py_ssize_t, right=Py_ssize_t,
    at=Py_ssize_t, weight=double,
)
cpdef add_products(
    const int64_t[::1] ptr, const int64_t[::1] place, const double[::1] value,
    const double[::1] weights, double[:, ::1] core,
)


@cython.locals(
    block=Py_ssize_t, start=Py_ssize_t, left=Py_ssize_t, right=Py_ssize_t,
    at=Py_ssize_t, factor=double,
)
cpdef add_corners(
    const int64_t[::1] ptr, const int64_t[::1] place, const double[::1] border,
    const double[::1] pulled, double[:, ::1] total,
)


@cython.locals(row=Py_ssize_t, column=Py_ssize_t)
cpdef take_out(const double[:, ::1] total, double[:, ::1] core)


@cython.locals(block=Py_ssize_t, at=Py_ssize_t, mine=double)
cpdef pull(
    const int64_t[::1] ptr, const int64_t[::1] place, const int64_t[::1] columns,
    const double[::1] pulled, const double[::1] rhs, double[::1] total,
)


@cython.locals(block=Py_ssize_t, at=Py_ssize_t, dragged=double)
cpdef spread_back(
    const int64_t[::1] ptr, const int64_t[::1] place, const int64_t[::1] columns,
    const double[::1] pulled, const double[::1] inverse, const double[::1] rhs,
    const double[::1] solved, double[::1] out,
)


@cython.locals(
    row=Py_ssize_t, at=Py_ssize_t, weight=double, pushed=double, flow=double,
)
cpdef add_rows(
    const int64_t[::1] ptr, const double[::1] inverse, const double[::1] force,
    const double[::1] y, double[::1] weights, double[::1] push, double[::1] flows,
)


@cython.locals(row=Py_ssize_t, at=Py_ssize_t, pushed=double)
cpdef push_rows(
    const int64_t[::1] ptr, const double[::1] inverse, const double[::1] force,
    double[::1] push,
)


@cython.locals(at=Py_ssize_t)
cpdef lower(double[::1] force, const double[::1] price, const int64_t[::1] row)


@cython.locals(at=Py_ssize_t)
cpdef moves(
    const double[::1] force, const double[::1] turn, const int64_t[::1] row,
    const double[::1] inverse, double[::1] dy,
)


@cython.locals(
    row=Py_ssize_t, at=Py_ssize_t, reach=double, least=double, base=double,
    slopes=double, volume=double, unlimited=bint, drop=double, soft=double,
    above=double, below=double, gain=double,
)
cpdef decide(
    const int64_t[::1] ptr, const double[::1] low, const double[::1] high,
    const double[::1] top, const double[::1] bottom, const double[::1] row_price,
    const double[::1] price, const double[::1] y, double flat, double window,
    unsigned char[::1] status, double[::1] fixed, double[:, ::1] sums,
)


@cython.locals(
    row=Py_ssize_t, at=Py_ssize_t, total=double, level=double, wide=double,
    weights=double, middles=double, flows=double, here=double, there=double,
    width=double, fitted=double, drop=double, slope=double, share=double, weight=double,
)
cpdef double open_pieces(
    const int64_t[::1] ptr, const double[::1] low, const double[::1] high,
    const double[::1] top, const double[::1] bottom, const double[::1] row_price,
    double rate, double softness, double[:, ::1] lines, double[:, ::1] sums,
) except? -1


@cython.locals(
    row=Py_ssize_t, at=Py_ssize_t, total=double, width=double, apart=double,
)
cpdef double measure_fit(
    const int64_t[::1] ptr, const double[::1] low, const double[::1] high,
    const double[::1] top, const double[::1] bottom, const double[::1] row_price,
    double rate, const double[::1] price,
) except? -1


@cython.locals(
    row=Py_ssize_t, at=Py_ssize_t, total=double, force=double, tilt=double,
    width=double, away=double,
)
cpdef double begin(
    const int64_t[::1] ptr, const double[::1] low, const double[::1] high,
    const double[::1] top, const double[::1] bottom, const double[::1] row_price,
    double rate, const double[::1] price, double strength, const double[::1] y,
    double[:, ::1] start,
) except? -1


@cython.locals(
    row=Py_ssize_t, at=Py_ssize_t, rate=double, total=double, traded=double,
)
cpdef add_trades(
    const int64_t[::1] ptr, const int64_t[::1] idx, const double[::1] weight,
    const double[::1] rates, const double[::1] values, double[::1] net,
    double[::1] gross, double[::1] worth,
)


@cython.locals(
    demand=Py_ssize_t, start=Py_ssize_t, end=Py_ssize_t, at=Py_ssize_t, back=Py_ssize_t,
    left=double, lost=double, gained=double, asked=double, have=double, want=double,
    drop=double, width=double, here=double, there=double, area=double,
)
cpdef judge(
    const int64_t[::1] ptr, const double[::1] low, const double[::1] high,
    const double[::1] top, const double[::1] bottom, const double[::1] wished,
    const unsigned char[::1] short, double[::1] filled, double[::1] rest,
    double[::1] price, double[::1] regret, double[::1] value,
)


@cython.locals(
    piece=Py_ssize_t, curve=Py_ssize_t, count=Py_ssize_t, at=Py_ssize_t, i=Py_ssize_t,
    last=Py_ssize_t, before=Py_ssize_t, after=Py_ssize_t, across=double, along=double,
    shift=double,
)
cpdef take_apart(
    const int64_t[::1] ptr, const double[::1] rate, const double[::1] price,
    int64_t[::1] kept, int64_t[::1] starts, double[::1] low, double[::1] high,
    double[::1] top, double[::1] bottom,
)


@cython.locals(
    piece=Py_ssize_t, place=Py_ssize_t, owner=Py_ssize_t, at=Py_ssize_t, scale=double,
    turned=bint,
)
cpdef lay_out(
    const int64_t[::1] order, const int64_t[::1] ptr, const double[::1] low,
    const double[::1] high, const double[::1] top, const double[::1] bottom,
    const double[::1] scales, const int64_t[::1] rows, double[:, ::1] ends,
    int64_t[::1] row, int64_t[::1] demand,
)


@cython.locals(
    equal=bint, row=Py_ssize_t, start=Py_ssize_t, other=Py_ssize_t, count=Py_ssize_t,
    i=Py_ssize_t, turn=double,
)
cpdef bint are_equal(
    const int64_t[::1] ptr, const int64_t[::1] idx, const double[::1] weight,
    const double[::1] sign, const int64_t[::1] twin,
) except -1
