"""Open the store that a URL names."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from flowtrade.errors import InvalidRequest
from flowtrade.ports import Clock, Store
from flowtrade.settings import StoreSettings
from flowtrade.store.memory import MemoryStore
from flowtrade.store.sqlite import SqliteStore

__all__ = ["open_store"]


@asynccontextmanager
async def open_store(settings: StoreSettings, *, clock: Clock) -> AsyncIterator[Store]:
    """Open a store, and close it after everything it has taken is done.

    Args:
        settings: `url` is `memory:`, or `sqlite:PATH`.
        clock: Gives timestamps.

    Raises:
        InvalidRequest: The URL names no store we know.
        SchemaMismatch: The file is not ours, or newer than this program.
        StoreFailed: The file cannot be opened or written.
    """
    scheme, _, rest = settings.url.partition(":")
    if scheme == "memory" and not rest:
        yield MemoryStore(clock)
    elif scheme == "sqlite" and rest:
        store = SqliteStore(Path(rest), clock=clock, settings=settings)
        await store.open()
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            try:
                yield store
            finally:
                store.close()
    else:
        raise InvalidRequest(
            f"a store is memory: or sqlite:PATH, was {settings.url!r}",
            where="store.url",
        )
