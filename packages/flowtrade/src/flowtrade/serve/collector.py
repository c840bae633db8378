"""The garbage collector of a process that serves.

Theory. CPython's collector looks at young objects after every 700 that were made
and not freed, and at all objects once those it has not looked at are a quarter of the
rest. A server whose requests wait for a disk has thousands of young objects that are no
garbage, and a mirror of millions of old ones that never are: the first kind cost a
seventh of its time, the second stops the event loop for as long as a walk over
everything takes. Nearly nothing of ours is garbage in cycles, so little is lost by
looking more rarely, and nothing by not looking at what was loaded before serving began.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["calm_collector"]

_YOUNG: Final = 50_000
"""Objects made and not freed before the young ones are looked at: some megabytes."""

_MIDDLE: Final = 20
"""Looks at the young ones before one at those that have survived one."""

_OLD: Final = 50
"""Looks at the middle ones before one at all, if those are enough to be worth it."""

_open: list[tuple[int, int, int]] = []
"""For each block that is open, what it found."""


@contextmanager
def calm_collector() -> Iterator[None]:
    """Look for garbage more rarely inside the block, and not among what is there.

    May be entered by several services of one process; what the host had set comes back
    when the last of them ends. A host that looks more rarely still, or has switched
    looking off, keeps that.
    """
    ours = (_YOUNG, _MIDDLE, _OLD)
    found = gc.get_threshold()
    if not _open and gc.isenabled() and 0 < found[0] < _YOUNG:
        gc.freeze()
        gc.set_threshold(*ours)
    _open.append(found)
    try:
        yield
    finally:
        first = _open[0]
        _open.pop()
        if not _open and gc.get_threshold() == ours != first:
            gc.set_threshold(*first)
            gc.unfreeze()
