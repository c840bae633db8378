"""Open the store, or name the database, that a URL means."""

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

__all__ = ["open_database", "open_store"]


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
    if settings.url == "memory:":
        yield MemoryStore(clock)
        return
    database = open_database(settings.url)
    async with running(GroupStore(database, clock=clock, settings=settings)) as store:
        yield store


def open_database(url: str) -> Database:
    """Return the database of a URL; nothing is opened yet.

    Raises:
        InvalidRequest: The URL names no database we know.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite" and rest:
        return SqliteDatabase(Path(rest))
    if scheme in ("postgres", "postgresql") and rest:
        return _postgres(url)
    if scheme == "memory" and not rest:
        raise InvalidRequest(
            "memory: ends with its process; name a store that outlives it, sqlite:PATH "
            "or postgresql://…",
            where="store.url",
        )
    raise InvalidRequest(
        f"a store is memory:, sqlite:PATH or postgresql://…, was {url!r}",
        where="store.url",
    )


@asynccontextmanager
async def running(store: GroupStore) -> AsyncIterator[GroupStore]:
    """Run a store, and close it after everything it has taken is done.

    Raises:
        SchemaMismatch, StoreFailed: As for `open_store`.
    """
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
