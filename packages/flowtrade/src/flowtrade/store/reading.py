"""A store that is only read: for tools that look at a service's past while it runs.

It takes no lock and makes no table, so it opens beside a running service, and it
refuses every operation.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Never, TypeVar, final

import trio

from flowtrade.core.operations import Applied, Operation
from flowtrade.core.state import (
    Bids,
    DemandView,
    Kind,
    Part,
    PortfolioView,
    Snapshot,
    StoredBatch,
    Version,
)
from flowtrade.errors import RequestError, StoreClosed, StoreFailed
from flowtrade.models.batch import BatchRecord
from flowtrade.models.ids import Id
from flowtrade.ports import Listener, Window
from flowtrade.settings import StoreSettings
from flowtrade.store.open import open_database
from flowtrade.store.sessions import Database
from flowtrade.store.tables import SqlReads
from netcore.models import Timestamp

__all__ = ["ReadOnlyStore", "open_for_reading"]

_T = TypeVar("_T")


@asynccontextmanager
async def open_for_reading(settings: StoreSettings) -> AsyncIterator["ReadOnlyStore"]:
    """Open an existing store for reading.

    Args:
        settings: `url` is `sqlite:PATH` of a file that exists, or `postgresql://…`.

    Raises:
        InvalidRequest: The URL names no store that outlives its process.
        StoreFailed: It cannot be opened, or holds nothing of ours.
    """
    scheme, _, rest = settings.url.partition(":")
    if scheme == "sqlite" and not await trio.Path(rest).is_file():
        raise StoreFailed(f"there is no store {rest}; a server makes one")
    store = ReadOnlyStore(open_database(settings.url))
    try:
        await store.open()
        yield store
    finally:
        store.close()


@final
class ReadOnlyStore:
    """The port `Store` without its writing half."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reads: SqlReads | None = None
        self._one_at_a_time = trio.CapacityLimiter(1)

    def __repr__(self) -> str:
        return f"ReadOnlyStore({self._database.name!r})"

    async def open(self) -> None:
        """Connect.

        Raises:
            StoreFailed: It cannot be opened, or holds nothing of ours.
        """
        try:
            await self._read(lambda reads: reads.check())
        except StoreFailed as error:
            raise StoreFailed(
                f"{error}; a server, or `migrate`, brings an earlier store up to date"
            ) from error

    def close(self) -> None:
        """Disconnect."""
        if self._reads is not None:
            self._reads.close()
            self._reads = None

    @property
    def healthy(self) -> bool:
        """See `flowtrade.ports.Store.healthy`: False, as no operation is taken."""
        return False

    async def execute(self, operation: Operation) -> Never:
        """See `flowtrade.ports.Store.execute`; always refused."""
        raise StoreClosed

    async def execute_many(
        self, operations: Sequence[Operation]
    ) -> list[Applied | RequestError]:
        """See `flowtrade.ports.Store.execute_many`; always refused."""
        raise StoreClosed

    def subscribe(self, listener: Listener) -> None:
        """See `flowtrade.ports.Store.subscribe`; there will be nothing to hear."""

    async def snapshot(self, at: Timestamp | None = None) -> Snapshot:
        """See `flowtrade.ports.Store.snapshot`."""
        return await self._read(lambda reads: reads.snapshot(at))

    async def demand_at(self, key: Id, at: Timestamp) -> DemandView | None:
        """See `flowtrade.ports.Store.demand_at`."""
        return await self._read(lambda reads: reads.demand_at(key, at))

    async def portfolio_at(self, key: Id, at: Timestamp) -> PortfolioView | None:
        """See `flowtrade.ports.Store.portfolio_at`."""
        return await self._read(lambda reads: reads.portfolio_at(key, at))

    async def bids_at(self, owner: Id, at: Timestamp) -> Bids:
        """See `flowtrade.ports.Store.bids_at`."""
        return await self._read(lambda reads: reads.bids_at(owner, at))

    async def history(self, part: Part, key: Id, window: Window) -> list[Version]:
        """See `flowtrade.ports.Store.history`."""
        return await self._read(lambda reads: reads.history(part, key, window))

    async def outcomes(self, kind: Kind, key: Id, window: Window) -> list[Version]:
        """See `flowtrade.ports.Store.outcomes`."""
        return await self._read(lambda reads: reads.outcomes(kind, key, window))

    async def batches(self, window: Window) -> list[BatchRecord]:
        """See `flowtrade.ports.Store.batches`."""
        return await self._read(lambda reads: reads.batches(window))

    async def batch(self, as_of: Timestamp) -> StoredBatch | None:
        """See `flowtrade.ports.Store.batch`."""
        return await self._read(lambda reads: reads.batch(as_of))

    async def _read(self, read: Callable[[SqlReads], _T]) -> _T:
        def work() -> _T:
            if self._reads is None:
                self._reads = SqlReads(self._database.open_reader())
            return read(self._reads)

        try:
            return await trio.to_thread.run_sync(work, limiter=self._one_at_a_time)
        except self._database.errors as error:
            raise StoreFailed(
                f"{self._database.name} cannot be read: {error}"
            ) from error
