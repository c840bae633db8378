"""Work in threads that may not come back.

Theory. A thread cannot be ended from outside. One that is given up goes on for as long
as its library likes, seconds or for ever, and takes a processor and its memory with it.
The next piece of work gets a thread of its own nevertheless: one market that was too
large must not be the end of every later one. So that such threads do not add up until
nothing is left of the machine, there are at most a few of them; then no work is begun
until one of them has ended.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar, final

import trio

from flowtrade.errors import SolverFailed

__all__ = ["OneAtATime"]

_MOST: Final = 2
"""Threads that may be at work for nobody; the next one makes it three processors."""

_T = TypeVar("_T")


@final
class OneAtATime:
    """Runs one piece of work at a time in a thread, and gives up what takes too long.

    Attributes:
        strays: Threads that were given up and are still at work.
    """

    def __init__(self) -> None:
        self.strays = 0
        self._turn = trio.Lock()  # fair: first come, first served

    @property
    def able(self) -> bool:
        """Whether work would be begun."""
        return self.strays < _MOST

    async def run(self, work: Callable[[], _T], *, seconds: float) -> _T:
        """Run work in a thread; abandoned on cancellation, too.

        Args:
            work: What to do.
            seconds: After which it is given up, counted from its turn.

        Raises:
            SolverFailed: Too many are still at work; nothing was begun.
            trio.TooSlowError: It was given up.
        """
        async with self._turn:
            if not self.able:
                raise SolverFailed(
                    f"{self.strays} solvers that were given up are still at work; "
                    "auctions are solved again when one of them has ended; if none "
                    "does, restart the service"
                )
            with trio.fail_after(seconds):
                # From here to the thread's start nothing is cancelled any more.
                await trio.lowlevel.checkpoint_if_cancelled()
                call = _Call(self)
                try:
                    return await trio.to_thread.run_sync(
                        call.run,
                        work,
                        abandon_on_cancel=True,
                        # A shared one would be held by who is given up.
                        limiter=trio.CapacityLimiter(1),
                    )
                finally:
                    call.leave()


@final
class _Call:
    """One piece of work; all but `run` happens on the event loop."""

    def __init__(self, owner: OneAtATime) -> None:
        self._owner = owner
        self._loop = trio.lowlevel.current_trio_token()
        self._has_ended = False
        self._is_stray = False

    def run(self, work: Callable[[], _T]) -> _T:
        try:
            return work()
        finally:
            # Before the result is told: what is queued first comes first. After the
            # loop has ended there is nobody to tell.
            with suppress(trio.RunFinishedError):
                self._loop.run_sync_soon(self._end)

    def leave(self) -> None:
        if not self._has_ended:
            self._is_stray = True
            self._owner.strays += 1

    def _end(self) -> None:
        self._has_ended = True
        if self._is_stray:
            self._owner.strays -= 1
