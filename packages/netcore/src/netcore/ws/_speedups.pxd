# The C types of `_speedups.py`, for Cython; the two files are compiled into one.

cimport cython


@cython.locals(
    octets="const unsigned char *",
    end=Py_ssize_t,
    size=Py_ssize_t,
    start=Py_ssize_t,
)
cpdef Py_ssize_t split(
    bytes data, Py_ssize_t place, Py_ssize_t first, Py_ssize_t most, list payloads
) except -1


@cython.locals(
    size=Py_ssize_t,
    masked=bytearray,
    octets="const unsigned char *",
    into="unsigned char *",
    key_0="unsigned char",
    key_1="unsigned char",
    key_2="unsigned char",
    key_3="unsigned char",
    place=Py_ssize_t,
)
cpdef bytes mask(bytes payload, unsigned int key)
