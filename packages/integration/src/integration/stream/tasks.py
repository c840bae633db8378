"""Tasks for the length of a block, without a trace in its exceptions."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

__all__ = ["with_tasks"]


@asynccontextmanager
async def with_tasks(*tasks: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run tasks for the length of a block; the block's exception leaves as it is."""
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(task)
        try:
            yield
        except BaseException as error:
            # Raised below: a nursery would wrap it into a group, and who reads a
            # stream would have to know that a task stands behind it.
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
