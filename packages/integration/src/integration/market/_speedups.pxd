# The C types of `_speedups.py`, for Cython; the two files are compiled into one.

cimport cython

cdef int _TEXT, _SYMBOL, _ID_TEXT, _PRICE, _AMOUNT
cdef int _INT, _ID_INT, _TIME, _FIRST, _LAST, _COUNT
cdef int _BOOL, _MAKER, _SIDE
cdef int _NONE, _OF_RANGE, _OF_COUNT
cdef Py_ssize_t _MAX_NUMBER, _MAX_DIGITS
cdef long long _MAX_MS
cdef object _Trade, _Event, _decimal
cdef object _BUY, _SELL, _ORDINARY, _AGGREGATED, _SPOT


@cython.final
cdef class Shape:
    cdef bytes pattern, sizes, kinds
    cdef object exchange, routes, unsaid, spot_unit, other_unit
    cdef int counted

    @cython.locals(
        octets="const unsigned char *",
        pattern="const unsigned char *",
        sizes="const unsigned char *",
        kinds="const unsigned char *",
        symbol_at=Py_ssize_t,
        symbol_end=Py_ssize_t,
        id_at=Py_ssize_t,
        id_end=Py_ssize_t,
        price_at=Py_ssize_t,
        price_end=Py_ssize_t,
        amount_at=Py_ssize_t,
        amount_end=Py_ssize_t,
        end=Py_ssize_t,
        holes=Py_ssize_t,
        hole=Py_ssize_t,
        at=Py_ssize_t,
        drawn=Py_ssize_t,
        start=Py_ssize_t,
        size=Py_ssize_t,
        k=Py_ssize_t,
        points=int,
        kind=int,
        symbol=unicode,
        sells=bint,
        ms="long long",
        first="long long",
        last="long long",
        count="long long",
        value="long long",
    )
    cpdef object read(self, bytes payload, object time)


@cython.locals(
    end=Py_ssize_t, many=Py_ssize_t, i=Py_ssize_t, shape=Shape, event=object
)
cpdef Py_ssize_t scan(
    list payloads, Py_ssize_t place, object time, list shapes, list events
) except -1


@cython.locals(
    price=unicode,
    amount=unicode,
    size=Py_ssize_t,
    i=Py_ssize_t,
    c=Py_UCS4,
    tick="long long",
    digits=int,
    points=int,
    decimals=int,
    something=bint,
)
cpdef bint changes(list raw, int sign, int scale, dict parsed) except -1


cpdef object apply(dict by_tick, set moved, dict parsed)


@cython.locals(
    wanted="long long",
    found="long long",
    low=Py_ssize_t,
    high=Py_ssize_t,
    middle=Py_ssize_t,
    there=bint,
    size=Py_ssize_t,
)
cpdef bint mend(list keys, dict by_tick, set moved) except -1


@cython.locals(out=list, at=Py_ssize_t)
cpdef list top(list keys, dict by_tick, Py_ssize_t depth)


@cython.locals(parts=list, at=Py_ssize_t, of_bids=Py_ssize_t, of_asks=Py_ssize_t)
cpdef str in_turn(list bids, list asks)
