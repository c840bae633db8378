"""One thread for linear algebra while a market is solved.

On a busy two-core machine a 200 x 200 Cholesky factorisation took 0.2 ms with one
OpenBLAS thread and over 200 ms with two that spin for each other. And sums split
among threads may round differently: the same input must give the same bits.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, final

from threadpoolctl import (  # type: ignore[import-untyped]  # no stubs upstream
    ThreadpoolController,
)

__all__ = ["one_thread"]


@final
class _Pin:
    """The process-wide setting, counted: solves in several threads may overlap."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._limit: Any = None
        self._controller: ThreadpoolController | None = None
        self._saw_highs = False

    def acquire(self) -> None:
        with self._lock:
            if self._users == 0:
                libraries = self._libraries()
                self._limit = libraries.limit(limits=1, user_api="blas")
            self._users += 1

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._limit.restore_original_limits()
                self._limit = None

    def _libraries(self) -> ThreadpoolController:
        # Looking the libraries up takes milliseconds; HiGHS' extras bring another.
        has_highs = "highspy" in sys.modules
        if self._controller is None or has_highs != self._saw_highs:
            self._controller = ThreadpoolController()
            self._saw_highs = has_highs
        return self._controller


_PIN = _Pin()


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block with every BLAS of the process on one thread."""
    _PIN.acquire()
    try:
        yield
    finally:
        _PIN.release()
