"""The heap of a process that clears auctions again and again.

Theory. A solve frees what it no longer needs while it computes, and glibc's allocator
gives memory at the end of the heap back to the kernel as soon as there is some: tens
of megabytes in one call, within which the interpreter's lock is held. The event loop
waited 5 to 8 ms for that in one run of seven; the next auction asks for the same memory
again, page by page. A process that will need it every few seconds keeps it.

Other allocators, and other systems, are left alone.
"""

import ctypes
import sys
from typing import Final

__all__ = ["keep_heap"]

# <malloc.h>; also mallopt(3).
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3

_KEPT: Final = 1 << 30
"""Bytes free at the end of the heap from which on they are given back: an auction of a
million orders needs about as much. The largest that `mallopt` takes is 2 GB."""

_MAPPED: Final = 32 << 20
"""Bytes from which on a block is a mapping of its own, given back when it is freed; the
largest that glibc allows. To name the other threshold alone would leave this at 128 KB,
and every array would be mapped anew."""


def keep_heap() -> bool:
    """Keep freed memory for the next auction; for a process whose purpose they are.

    Cannot be taken back, since glibc does not tell what was set before.

    Returns:
        Whether there is such an allocator, and it agreed.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    return bool(
        libc.mallopt(_MMAP_THRESHOLD, _MAPPED) and libc.mallopt(_TRIM_THRESHOLD, _KEPT)
    )
