"""A store on a database: one writer thread with group commit, readers beside it.

Theory. Operations queue to one thread, those of one turn of the event loop together.
It takes all that wait (up to a bound), opens one transaction, carries out each
operation on its own (a refused one fails alone), writes their rows together, commits
once, and hands the results to the event loop, which tells the listeners and wakes the
callers in order. One fsync serves all that waited while the one before ran: that is
where the throughput comes from.

Where several processes share the database, the transaction begins with reading what
the others have written since: the listeners hear of that first, so in every process
they hear the one order of commits. A process that writes nothing is told by a bell
that there is news, and looks once a second all the same.

Promises: acknowledged means durable, as far as the database keeps its commits;
timestamps strictly increase; a caller that is cancelled does not undo its operation; a
full queue refuses at once instead of growing; listeners are never ahead of the disk.
If a commit fails, every operation of its group is refused and none of it is kept. If
the connection is lost instead, nobody knows whether the commit happened: then the
store ends with that error, and its owner with it, to read the truth at the next start.

Reads of the past run on other connections in other threads and do not wait for the
writer.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from itertools import chain
from queue import SimpleQueue
from typing import Never, TypeVar, final

import trio

from flowtrade.core.operations import Applied, Operation, apply, issue_timestamp
from flowtrade.core.state import (
    Batched,
    Bids,
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
from flowtrade.ports import Clock, Listener, Lock, Window
from flowtrade.settings import StoreSettings
from flowtrade.store.landing import Landing, move_landed
from flowtrade.store.sessions import Bell, Database, Session
from flowtrade.store.tables import SqlReads
from flowtrade.store.writes import Known, SqlGroup, SqlTransaction
from netcore.models import Timestamp

__all__ = ["GroupStore"]

_T = TypeVar("_T")

_LOOK = 1.0
"""Seconds after which a process looks for others' commits although no bell rang."""

_log = logging.getLogger(__name__)

_READERS = 2
"""Reader threads: history reads are short, and Python runs one at a time anyway."""


class _Order(Enum):
    """What the writer is asked beside operations."""

    LOOK = "look"
    """Read what others have written."""
    CLOSE = "close"


class _Ticket:
    """Operations of one caller on their way to the disk and back.

    Waited for by at most one task, which is woken without an event in between: there
    is one ticket for each change, and an event costs more than its answer.
    """

    __slots__ = ("_answered", "_waiter", "failure", "operations", "results")

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self.results: list[Applied | RequestError] = []
        self.failure: Exception | None = None
        self._answered = False
        self._waiter: trio.lowlevel.Task | None = None

    async def wait(self) -> list[Applied | RequestError]:
        # Cancelling this wait leaves the ticket where it is: it happens all the same.
        if self._answered:
            await trio.lowlevel.checkpoint()
        else:
            self._waiter = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._leave)
        if self.failure is not None:
            raise self.failure
        return self.results

    def answer(self) -> None:
        """Wake who waits; called in the event loop once results are told."""
        self._answered = True
        if self._waiter is not None:
            trio.lowlevel.reschedule(self._waiter)
            self._waiter = None

    def _leave(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._waiter = None
        return trio.lowlevel.Abort.SUCCEEDED


@final
class GroupStore:
    """The port `Store` over a database.

    Call `open`, then start `run` in a nursery; it serves until `close` is called or it
    is cancelled, and carries out what it has taken before it ends.

    Args:
        database: Where operations are kept.
        clock: Gives timestamps; read in the writer thread.
        settings: Bounds of the queue and of a group.
        landing: When versions land in a table of their own, if the database has it.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        settings: StoreSettings | None = None,
        landing: Landing | None = None,
    ) -> None:
        settings = settings or StoreSettings()
        self._database = database
        self._clock = clock
        self._queue_limit = settings.queue
        self._group_limit = settings.group
        self._listeners: list[Listener] = []
        self._queue: SimpleQueue[list[_Ticket] | _Order] = SimpleQueue()
        self._asked: list[_Ticket] = []
        self._taken: deque[_Ticket] = deque()
        self._waiting = 0
        self._writer: Session | None = None
        self._open = False
        self._refused = False
        self._closing = trio.Event()
        self._crash: BaseException | None = None
        self._last: Timestamp = 0
        self._batches = 0
        self._known = Known(landing or Landing())
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
                if self._database.shared:
                    await nursery.start(self._listen)
                self._open = True
                task_status.started()
                try:
                    await self._closing.wait()
                finally:
                    self._open = False
                    self._hand_over()
                    self._queue.put(_Order.CLOSE)
                    nursery.cancel_scope.cancel()
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
        if not self._open:
            await self._closed()
        (ticket,) = self._enqueue([operation])
        (result,) = await ticket.wait()
        if isinstance(result, RequestError):
            raise result
        return result

    async def execute_many(
        self, operations: Sequence[Operation]
    ) -> list[Applied | RequestError]:
        """See `flowtrade.ports.Store.execute_many`."""
        if not self._open:
            await self._closed()
        results: list[Applied | RequestError] = []
        for ticket in self._enqueue(operations):
            results += await ticket.wait()
        return results

    def open_lock(self, silence: float) -> Lock | None:
        """Return the lock for which the processes on this store contend to lead.

        Args:
            silence: Seconds without a sign of life after which a holder loses it.

        Returns:
            The lock, or None where no other process could write.
        """
        return self._database.open_lock(silence) if self._database.shared else None

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

    async def _closed(self) -> Never:
        # A caller that is being cancelled together with us is no error of anybody's.
        await trio.lowlevel.checkpoint_if_cancelled()
        raise StoreClosed

    def _enqueue(self, operations: Sequence[Operation]) -> list[_Ticket]:
        if self._waiting + len(operations) > self._queue_limit:
            raise StoreBusy(self._waiting)
        # In pieces, so that a long list shares its commits with what others ask.
        size = self._group_limit
        tickets = [
            _Ticket(operations[start : start + size])
            for start in range(0, len(operations), size)
        ]
        self._waiting += len(operations)
        if not self._asked:
            trio.lowlevel.current_trio_token().run_sync_soon(self._hand_over)
        self._asked += tickets
        return tickets

    def _hand_over(self) -> None:
        # Once in a turn of the event loop: handed over one by one, the first of those
        # that ask in one turn would have a commit to itself, and the rest wait for it.
        asked, self._asked = self._asked, []
        if asked:
            self._queue.put(asked)

    # The writer thread.

    def _open_writer(self) -> Session:
        database = self._database
        try:
            writer = database.open_writer()
        except database.errors as error:
            raise StoreFailed(f"cannot open {database.name}: {error}") from error
        try:
            if writer.lands:
                self._move_landed(writer)
            reads = SqlReads(writer)
            self._last, self._batches = reads.last_timestamp(), reads.last_batch()
        except database.errors as error:
            writer.close()
            raise StoreFailed(f"cannot use {database.name}: {error}") from error
        return writer

    @staticmethod
    def _move_landed(writer: Session) -> None:
        """Let the first snapshot, the longest there is, read one table."""
        writer.begin()
        if move_landed(writer):
            writer.commit()
        else:
            writer.rollback()

    async def _write_until_closed(self, writer: Session) -> None:
        token = trio.lowlevel.current_trio_token()
        # Not abandoned when cancelled: what was taken is carried out first.
        await trio.to_thread.run_sync(
            self._write_loop, writer, token, limiter=self._writer_limit
        )

    def _write_loop(self, writer: Session, token: trio.lowlevel.TrioToken) -> None:
        while (group := self._take()) is not None:
            heard: list[Applied] = []
            try:
                if group:
                    self._commit(writer, group, heard)
                else:
                    self._look(writer, heard)
            finally:
                token.run_sync_soon(self._finish, heard, group)

    def _take(self) -> list[_Ticket] | None:
        """Return all that wait; nothing to look only, None when the store closes."""
        group: list[_Ticket] = []
        taken, size = self._taken, 0
        while True:
            while taken:
                ticket = taken.popleft()
                group.append(ticket)
                size += len(ticket.operations)
                if size >= self._group_limit:
                    return group
            if group and self._queue.empty():
                return group
            item = self._queue.get()
            if item is _Order.CLOSE:
                if not group:
                    return None
                self._queue.put(item)  # for the next call
                return group
            if isinstance(item, list):
                taken.extend(item)
            elif self._queue.empty():
                return group

    def _commit(
        self, writer: Session, group: list[_Ticket], heard: list[Applied]
    ) -> None:
        before = self._last
        try:
            writer.begin()
            before = self._hear(writer, heard)
            results = self._carry_out(writer, group)
            writer.execute(
                "UPDATE head SET last_timestamp = :last", {"last": self._last}
            )
            writer.commit()
        except self._database.errors as error:
            self._last, self._refused = before, True
            self._known.forget()
            writer.rollback()
            for ticket in group:
                ticket.failure = self._refusal(error)
            if writer.lost:
                raise StoreFailed(
                    f"the connection to {self._database.name} was lost; whether the "
                    "last operations happened is known after a restart"
                ) from error
        else:
            self._refused = False
            for ticket, answers in zip(group, results, strict=True):
                ticket.results = answers
            if self._database.shared:  # only there is a batch asked for by its number
                self._count_batches(chain.from_iterable(results))

    def _refusal(self, error: Exception) -> StoreFailed:
        refused = StoreFailed(f"{self._database.name} refused the operation: {error}")
        refused.__cause__ = error
        return refused

    def _hear(self, writer: Session, heard: list[Applied]) -> Timestamp:
        """Read what others have committed; return the last timestamp issued."""
        if self._database.shared:
            reads = SqlReads(writer)
            last = reads.last_timestamp()
            if last != self._last:
                heard += reads.since(self._last, self._batches)
                self._last = last
                self._known.following = None
                self._count_batches(heard)
        return self._last

    def _look(self, writer: Session, heard: list[Applied]) -> None:
        """Read what others have committed, when there is nothing to write."""
        try:
            writer.begin_snapshot()
            self._hear(writer, heard)
        except self._database.errors as error:
            raise StoreFailed(
                f"{self._database.name} cannot be read: {error}"
            ) from error
        finally:
            writer.rollback()

    def _count_batches(self, answers: Iterable[Applied | RequestError]) -> None:
        for answer in answers:
            for change in answer.changes if isinstance(answer, Applied) else ():
                if isinstance(change, Batched):
                    self._batches = change.batch.record.seq

    def _carry_out(
        self, writer: Session, tickets: list[_Ticket]
    ) -> list[list[Applied | RequestError]]:
        operations = [op for ticket in tickets for op in ticket.operations]
        scattered = len(operations) < 2 * len(tickets)
        group = SqlGroup(writer, self._known, operations, scattered=scattered)
        carry_out = self._apply
        results = [
            [carry_out(group, operation) for operation in ticket.operations]
            for ticket in tickets
        ]
        group.flush()
        return results

    def _apply(self, group: SqlGroup, operation: Operation) -> Applied | RequestError:
        now = issue_timestamp(self._clock.now_ns(), self._last, operation)
        changes = group.apply_plain(operation, now)
        if changes is None:
            tx = SqlTransaction(group, now)
            try:
                changes = apply(operation, tx)
            except RequestError as error:
                return error
            group.accept(tx)
        self._last = now
        return Applied(timestamp=now, operation=operation, changes=changes)

    # The event loop's side.

    async def _listen(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Ask the writer to look whenever another process has committed."""
        bell: Bell | None = await self._in_thread(self._database.open_bell)
        task_status.started()
        failures: tuple[type[Exception], ...] = (*self._database.errors, StoreFailed)
        try:
            while True:
                try:
                    if bell is None:
                        bell = await self._in_thread(self._database.open_bell)
                    with trio.move_on_after(_LOOK):
                        await trio.lowlevel.wait_readable(bell.fileno())
                        if not bell.rang():
                            continue
                except failures as error:
                    # The looks once a second go on; the bell is hung up again.
                    _log.warning("%s: no news are told: %s", self._database.name, error)
                    if bell is not None:
                        bell.close()
                        bell = None
                    await trio.sleep(_LOOK)
                self._queue.put(_Order.LOOK)
        finally:
            if bell is not None:
                bell.close()

    def _finish(self, heard: list[Applied], group: list[_Ticket]) -> None:
        self._tell(heard)
        for ticket in group:
            self._waiting -= len(ticket.operations)
            if not ticket.results and ticket.failure is None:
                ticket.failure = StoreClosed()  # the writer ended before its commit
            self._tell(ticket.results)
            ticket.answer()

    def _tell(self, results: Iterable[Applied | RequestError]) -> None:
        listeners = self._listeners
        # An exception here would end trio itself; it must end our owner instead.
        try:
            for result in results:
                if type(result) is Applied:
                    for listener in listeners:
                        listener(result)
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
