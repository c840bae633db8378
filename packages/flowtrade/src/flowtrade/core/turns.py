"""Long work on the event loop, in pieces: others run every few milliseconds.

What looks at every bid of a large market, and has to happen in the event loop, goes
through here. Knows nothing of what the work is.
"""

from collections.abc import Iterable
from time import perf_counter
from typing import Final, TypeVar, final

import trio

__all__ = ["Turns", "in_turns"]

_T = TypeVar("_T")

_TURN: Final = 0.002
"""Seconds of work before others have their turn."""

_LOOK: Final = 16
"""Items after which the clock is looked at."""


@final
class Turns:
    """Counts the time of one piece of work; begins with its making."""

    __slots__ = ("_began",)

    def __init__(self) -> None:
        self._began = perf_counter()

    async def give_way(self) -> None:
        """Let others run, if they have waited long enough."""
        if perf_counter() - self._began > _TURN:
            await trio.lowlevel.checkpoint()
            self._began = perf_counter()


async def in_turns(items: Iterable[_T]) -> list[_T]:
    """Return a list of items that take their time to be made.

    Args:
        items: Made one by one, such as by a generator; what they are made of must not
            change meanwhile.
    """
    turns = Turns()
    found: list[_T] = []
    for item in items:
        found.append(item)
        if len(found) % _LOOK == 0:
            await turns.give_way()
    return found
