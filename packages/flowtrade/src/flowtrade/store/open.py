"""Open the store that a URL names."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from flowtrade.errors import InvalidRequest
from flowtrade.ports import Clock, Store
from flowtrade.settings import StoreSettings
from flowtrade.store.group import GroupStore
from flowtrade.store.memory import MemoryStore
from flowtrade.store.sessions import Database
from flowtrade.store.sqlite import SqliteDatabase

__all__ = ["open_store"]


@asynccontextmanager
async def open_store(settings: StoreSettings, *, clock: Clock) -> AsyncIterator[Store]:
    """Open a store, and close it after everything it has taken is done.

    Args:
        settings: `url` is `memory:`, `sqlite:PATH`, or `postgresql://…`.
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
        database: Database = SqliteDatabase(Path(rest))
        async with _running(
            GroupStore(database, clock=clock, settings=settings)
        ) as store:
            yield store
    elif scheme in ("postgres", "postgresql") and rest:
        database = _postgres(settings.url)
        async with _running(
            GroupStore(database, clock=clock, settings=settings)
        ) as store:
            yield store
    else:
        raise InvalidRequest(
            f"a store is memory:, sqlite:PATH or postgresql://…, was {settings.url!r}",
            where="store.url",
        )


@asynccontextmanager
async def _running(store: GroupStore) -> AsyncIterator[GroupStore]:
    await store.open()
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        try:
            yield store
        finally:
            store.close()


def _postgres(url: str) -> Database:
    # Imported late: psycopg is an extra.
    try:
        from flowtrade.store.postgres import PostgresDatabase
    except ModuleNotFoundError as error:
        raise InvalidRequest(
            "a PostgreSQL store needs psycopg: install flowtrade[postgres]",
            where="store.url",
        ) from error
    return PostgresDatabase(url)
