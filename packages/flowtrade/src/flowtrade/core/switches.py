"""How soon a thread that computes gives way.

Theory. An auction computes in threads for seconds. Whenever the event loop wakes
meanwhile, it waits for the interpreter until the switch interval is over: 5 ms by
default, in which a request could have been answered. A shorter interval for ever would
cost the store's thread some hundredths of its time, so it is short only while there is
an auction.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["quick_switches"]

_SWITCH: Final = 0.001
"""Seconds that the event loop waits for a thread that computes."""

_open: list[float] = []
"""For each block that is open, what it found."""


@contextmanager
def quick_switches() -> Iterator[None]:
    """Let threads give way sooner inside the block.

    May be entered by several auctions of one process; what the host had set comes back
    when the last of them ends. A host that has them give way sooner still keeps that.
    """
    found = sys.getswitchinterval()
    if not _open and found > _SWITCH:
        sys.setswitchinterval(_SWITCH)
    _open.append(found)
    try:
        yield
    finally:
        first = _open[0]
        _open.pop()
        if not _open and first > _SWITCH and _is_ours(sys.getswitchinterval()):
            sys.setswitchinterval(first)


def _is_ours(seconds: float) -> bool:
    return round(seconds * 1e6) == round(_SWITCH * 1e6)  # microseconds are kept
