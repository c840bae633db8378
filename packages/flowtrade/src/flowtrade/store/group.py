"""A store on a database: one writer thread with group commit, readers beside it.

Theory. Operations queue to one thread. It takes all that wait (up to a bound), opens
one transaction, carries out each operation in a savepoint of its own (a refused one
fails alone), commits once, and hands the results to the event loop, which tells the
listeners and wakes the callers in order. One fsync serves all that waited while the
one before ran: that is where the throughput comes from.

Promises: acknowledged means durable, as far as the database keeps its commits;
timestamps strictly increase; a caller that is cancelled does not undo its operation; a
full queue refuses at once instead of growing; listeners are never ahead of the disk.
If a commit fails, every operation of its group is refused and none of it is kept. If
the connection is lost instead, nobody knows whether the commit happened: then the
store ends with that error, and its owner with it, to read the truth at the next start.

Reads of the past run on other connections in other threads and do not wait for the
writer.
"""

from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TypeVar, final

import outcome
import trio

from flowtrade.core.operations import Applied, Operation, apply, issue_timestamp
from flowtrade.core.state import (
    DemandView,
    Kind,
    Part,
    PortfolioView,
    Snapshot,
    StoredBatch,
    Version,
)
from flowtrade.errors import (
    RequestError,
    StoreBusy,
    StoreClosed,
    StoreFailed,
)
from flowtrade.models.batch import BatchRecord
from flowtrade.models.ids import Id
from flowtrade.ports import Clock, Listener, Window
from flowtrade.settings import StoreSettings
from flowtrade.store.sessions import Database, Session
from flowtrade.store.tables import SqlReads, SqlTransaction
from netcore.models import Timestamp

__all__ = ["GroupStore"]

_T = TypeVar("_T")

_READERS = 2
"""Reader threads: history reads are short, and Python runs one at a time anyway."""


class _Ticket:
    """One operation on its way to the disk and back."""

    __slots__ = ("done", "operation", "result")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.done = trio.Event()
        self.result: outcome.Outcome[Applied] | None = None

    async def wait(self) -> outcome.Outcome[Applied]:
        # Cancelling this wait leaves the ticket where it is: it happens all the same.
        await self.done.wait()
        assert self.result is not None  # noqa: S101  # set before the event is
        return self.result


@final
class GroupStore:
    """The port `Store` over a database.

    Call `open`, then start `run` in a nursery; it serves until `close` is called or it
    is cancelled, and carries out what it has taken before it ends.

    Args:
        database: Where operations are kept.
        clock: Gives timestamps; read in the writer thread.
        settings: Bounds of the queue and of a group.
    """

    def __init__(
        self, database: Database, *, clock: Clock, settings: StoreSettings | None = None
    ) -> None:
        settings = settings or StoreSettings()
        self._database = database
        self._clock = clock
        self._queue_limit = settings.queue
        self._group_limit = settings.group
        self._listeners: list[Listener] = []
        self._queue: SimpleQueue[_Ticket | None] = SimpleQueue()
        self._waiting = 0
        self._writer: Session | None = None
        self._open = False
        self._refused = False
        self._closing = trio.Event()
        self._crash: BaseException | None = None
        self._last: Timestamp = 0
        self._readers: deque[SqlReads] = deque()
        self._reader_limit = trio.CapacityLimiter(_READERS)
        self._writer_limit = trio.CapacityLimiter(1)

    def __repr__(self) -> str:
        return f"GroupStore({self._database.name!r})"

    async def open(self) -> None:
        """Open the file and bring it up to the newest schema.

        Raises:
            SchemaMismatch: The file is not ours, or newer than this program.
            StoreFailed: The file cannot be opened or written.
        """
        self._writer = await self._in_thread(self._open_writer)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve, and close the file at the end."""
        writer = self._writer
        if writer is None:
            raise StoreClosed
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_until_closed, writer)
                self._open = True
                task_status.started()
                try:
                    await self._closing.wait()
                finally:
                    self._open = False
                    self._queue.put(None)
            if self._crash is not None:
                raise self._crash
        finally:
            while self._readers:
                self._readers.pop().close()
            writer.close()

    def close(self) -> None:
        """Take no more operations; `run` ends after those it has taken."""
        self._open = False
        self._closing.set()

    @property
    def healthy(self) -> bool:
        """See `flowtrade.ports.Store.healthy`."""
        return self._open and not self._refused

    async def execute(self, operation: Operation) -> Applied:
        """See `flowtrade.ports.Store.execute`."""
        (ticket,) = self._enqueue([operation])
        return (await ticket.wait()).unwrap()

    async def execute_many(
        self, operations: Sequence[Operation]
    ) -> list[Applied | RequestError]:
        """See `flowtrade.ports.Store.execute_many`."""
        results: list[Applied | RequestError] = []
        for ticket in self._enqueue(operations):
            result = await ticket.wait()
            if isinstance(result, outcome.Error) and isinstance(
                result.error, RequestError
            ):
                results.append(result.error)
            else:
                results.append(result.unwrap())
        return results

    def subscribe(self, listener: Listener) -> None:
        """See `flowtrade.ports.Store.subscribe`."""
        self._listeners.append(listener)

    async def snapshot(self, at: Timestamp | None = None) -> Snapshot:
        """See `flowtrade.ports.Store.snapshot`."""
        return await self._read(lambda reads: reads.snapshot(at))

    async def demand_at(self, key: Id, at: Timestamp) -> DemandView | None:
        """See `flowtrade.ports.Store.demand_at`."""
        return await self._read(lambda reads: reads.demand_at(key, at))

    async def portfolio_at(self, key: Id, at: Timestamp) -> PortfolioView | None:
        """See `flowtrade.ports.Store.portfolio_at`."""
        return await self._read(lambda reads: reads.portfolio_at(key, at))

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

    def _enqueue(self, operations: Sequence[Operation]) -> list[_Ticket]:
        if not self._open:
            raise StoreClosed
        if self._waiting + len(operations) > self._queue_limit:
            raise StoreBusy(self._waiting)
        tickets = [_Ticket(operation) for operation in operations]
        self._waiting += len(tickets)
        for ticket in tickets:
            self._queue.put(ticket)
        return tickets

    # The writer thread.

    def _open_writer(self) -> Session:
        database = self._database
        try:
            writer = database.open_writer()
        except database.errors as error:
            raise StoreFailed(f"cannot open {database.name}: {error}") from error
        try:
            self._last = SqlReads(writer).last_timestamp()
        except database.errors as error:
            writer.close()
            raise StoreFailed(f"cannot use {database.name}: {error}") from error
        return writer

    async def _write_until_closed(self, writer: Session) -> None:
        token = trio.lowlevel.current_trio_token()
        # Not abandoned when cancelled: what was taken is carried out first.
        await trio.to_thread.run_sync(
            self._write_loop, writer, token, limiter=self._writer_limit
        )

    def _write_loop(self, writer: Session, token: trio.lowlevel.TrioToken) -> None:
        while group := self._take():
            try:
                self._commit(writer, group)
            finally:
                token.run_sync_soon(self._finish, group)

    def _take(self) -> list[_Ticket]:
        """Return all that wait, at least one; empty when the store closes."""
        first = self._queue.get()
        if first is None:
            return []
        group = [first]
        while len(group) < self._group_limit and not self._queue.empty():
            ticket = self._queue.get()
            if ticket is None:
                self._queue.put(None)  # for the next call
                break
            group.append(ticket)
        return group

    def _commit(self, writer: Session, group: list[_Ticket]) -> None:
        before = self._last
        try:
            writer.begin()
            results = [self._apply(writer, ticket.operation) for ticket in group]
            writer.execute(
                "UPDATE head SET last_timestamp = :last", {"last": self._last}
            )
            writer.commit()
        except self._database.errors as error:
            self._last, self._refused = before, True
            writer.rollback()
            for ticket in group:
                ticket.result = self._refusal(error)
            if writer.lost:
                raise StoreFailed(
                    f"the connection to {self._database.name} was lost; whether the "
                    "last operations happened is known after a restart"
                ) from error
        else:
            self._refused = False
            for ticket, result in zip(group, results, strict=True):
                ticket.result = result

    def _refusal(self, error: Exception) -> outcome.Error:
        refused = StoreFailed(f"{self._database.name} refused the operation: {error}")
        refused.__cause__ = error
        return outcome.Error(refused)

    def _apply(self, writer: Session, operation: Operation) -> outcome.Outcome[Applied]:
        now = issue_timestamp(self._clock.now_ns(), self._last, operation)
        writer.execute("SAVEPOINT operation")
        try:
            changes = apply(operation, SqlTransaction(writer, now))
        except RequestError as error:
            writer.execute("ROLLBACK TO operation")
            writer.execute("RELEASE operation")
            return outcome.Error(error)
        writer.execute("RELEASE operation")
        self._last = now
        applied = Applied(timestamp=now, operation=operation, changes=changes)
        return outcome.Value(applied)

    # The event loop's side.

    def _finish(self, group: list[_Ticket]) -> None:
        for ticket in group:
            self._waiting -= 1
            if ticket.result is None:  # the writer has ended before its commit
                ticket.result = outcome.Error(StoreClosed())
            if isinstance(ticket.result, outcome.Value):
                self._tell(ticket.result.value)
            ticket.done.set()

    def _tell(self, applied: Applied) -> None:
        # An exception here would end trio itself; it must end our owner instead.
        try:
            for listener in self._listeners:
                listener(applied)
        except Exception as error:  # re-raised by `run`
            self._crash = error
            self.close()

    async def _read(self, read: Callable[[SqlReads], _T]) -> _T:
        def work() -> _T:
            reads = self._reader()
            try:
                return read(reads)
            finally:
                if reads.lost:
                    reads.close()
                else:
                    self._readers.append(reads)

        return await self._in_thread(work)

    def _reader(self) -> SqlReads:
        try:
            return self._readers.pop()
        except IndexError:
            return SqlReads(self._database.open_reader())

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await trio.to_thread.run_sync(work, limiter=self._reader_limit)
        except self._database.errors as error:
            raise StoreFailed(
                f"{self._database.name} cannot be read: {error}"
            ) from error
