"""What only a store on disk can break: durability, crowding, other people's files."""

import sqlite3
import threading
from uuid import UUID

import pytest
import trio
import trio.testing

from flowtrade.core.operations import AddDemand, SetCurve
from flowtrade.core.state import Part
from flowtrade.errors import (
    IdTaken,
    InvalidRequest,
    SchemaMismatch,
    StoreBusy,
    StoreClosed,
    StoreFailed,
)
from flowtrade.models.curve import ConstantCurve
from flowtrade.ports import Window
from flowtrade.settings import StoreSettings
from flowtrade.store import open_store
from flowtrade.store.group import GroupStore
from flowtrade.store.schema import SQLITE_STEPS
from flowtrade.store.sqlite import SqliteDatabase
from netcore.clock import ManualClock

OWNER = str(UUID(int=1))


def add(number):
    key = str(UUID(int=100 + number))
    curve = ConstantCurve(price=number)
    return AddDemand(id=key, owner=OWNER, app_data=b"null", curve=curve)


class GatedClock:
    """Stops the writer thread inside an operation until it is let through."""

    def __init__(self):
        self.entered = threading.Event()
        self.gate = threading.Event()
        self._clock = ManualClock()

    def now_ns(self):
        self.entered.set()
        assert self.gate.wait(timeout=60)
        return self._clock.now_ns()

    def monotonic_ns(self):
        return 0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


def opened(path, clock=None, **settings):
    url = StoreSettings(url=f"sqlite:{path}", **settings)
    return open_store(url, clock=clock or ManualClock())


async def test_what_was_acknowledged_is_there_after_reopening(path):
    clock = ManualClock()
    async with opened(path, clock) as store:
        last = [await store.execute(add(number)) for number in range(3)][-1]
    async with opened(path, ManualClock(0)) as store:
        snapshot = await store.snapshot()
        following = await store.execute(add(3))

    assert len(snapshot.entities) == 3
    assert snapshot.at == last.timestamp
    assert following.timestamp == last.timestamp + 1  # although the clock went back


async def test_operations_that_wait_share_a_commit_and_fail_alone(path):
    clock = GatedClock()
    results = {}

    async def write(number, operation):
        try:
            results[number] = (await store.execute(operation)).timestamp
        except IdTaken as error:
            results[number] = error

    async with opened(path, clock) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, 0, add(0))
            await trio.to_thread.run_sync(clock.entered.wait)
            for number, operation in enumerate([add(1), add(1), add(2)], 1):
                nursery.start_soon(write, number, operation)
                await trio.testing.wait_all_tasks_blocked()
            clock.gate.set()
        kept = [entity.id for entity in (await store.snapshot()).entities]

    assert isinstance(results[2], IdTaken)
    assert results[0] < results[1] < results[3]
    assert kept == [add(n).id for n in range(3)]


async def test_a_full_queue_refuses_at_once_and_recovers(path):
    clock = GatedClock()
    async with opened(path, clock, queue=2) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.execute, add(0))
            await trio.to_thread.run_sync(clock.entered.wait)
            nursery.start_soon(store.execute, add(1))
            await trio.testing.wait_all_tasks_blocked()

            with pytest.raises(StoreBusy, match="2 writes wait"):
                await store.execute(add(2))

            clock.gate.set()
        await store.execute(add(2))

        assert len((await store.snapshot()).entities) == 3


async def test_what_was_taken_is_carried_out_although_the_owner_is_cancelled(path):
    clock = GatedClock()
    store = GroupStore(SqliteDatabase(path), clock=clock)
    await store.open()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            nursery.start_soon(store.execute, add(0))
            await trio.to_thread.run_sync(clock.entered.wait)
            nursery.start_soon(store.execute, add(1))
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            clock.gate.set()

    async with opened(path) as again:
        assert len((await again.snapshot()).entities) == 2
    with pytest.raises(StoreClosed):
        await store.execute(add(2))


async def test_a_commit_that_fails_refuses_its_group_and_keeps_nothing(path):
    async with opened(path) as store:
        await store.execute(add(0))
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        store._writer.execute("PRAGMA busy_timeout = 0")

        with pytest.raises(StoreFailed, match="locked"):
            await store.execute(add(1))
        unhealthy = store.healthy
        blocker.execute("ROLLBACK")
        blocker.close()
        await store.execute(add(2))

        kept = [entity.id for entity in (await store.snapshot()).entities]

    assert not unhealthy
    assert kept == [add(0).id, add(2).id]


async def test_a_listener_that_fails_ends_the_store_with_its_error(path):
    def broken(_applied):
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with opened(path) as store:
            store.subscribe(broken)
            await store.execute(add(0))
            await trio.sleep_forever()


async def test_another_programs_file_is_refused_and_untouched(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE diary (entry TEXT)")
    connection.close()

    with pytest.raises(SchemaMismatch, match="another program"):
        async with opened(path):
            pass

    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (1,)
    connection.close()


async def test_a_newer_store_is_refused(path):
    async with opened(path):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(SQLITE_STEPS) + 1}")
    connection.close()

    with pytest.raises(SchemaMismatch, match="upgrade"):
        async with opened(path):
            pass


async def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"not a database, but longer than a page header" * 100)

    with pytest.raises(StoreFailed):
        async with opened(path):
            pass


async def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(StoreFailed, match="cannot open"):
        async with opened(tmp_path / "missing" / "store.db"):
            pass


@pytest.mark.parametrize("url", ["", "sqlite:", "memory:x"])
async def test_an_unknown_url_is_refused(url):
    with pytest.raises(InvalidRequest, match="sqlite:PATH"):
        async with open_store(StoreSettings(url=url), clock=ManualClock()):
            pass


async def test_reads_go_on_beside_a_writer_that_is_stuck(path):
    clock = GatedClock()
    clock.gate.set()
    async with opened(path, clock) as store:
        await store.execute(add(0))
        clock.gate.clear()
        clock.entered.clear()
        async with trio.open_nursery() as nursery:
            change = SetCurve(id=add(0).id, curve=None)
            nursery.start_soon(store.execute, change)
            await trio.to_thread.run_sync(clock.entered.wait)

            seen = await store.history(Part.CURVE, add(0).id, Window(limit=9))

            clock.gate.set()

    assert len(seen) == 1


async def test_the_disk_is_told_to_keep_what_is_acknowledged(path):
    async with opened(path) as store:
        (synchronous,) = store._writer.execute("PRAGMA synchronous").fetchone()
        (mode,) = store._writer.execute("PRAGMA journal_mode").fetchone()

    assert (synchronous, mode) == (2, "wal")  # FULL


async def test_a_second_process_is_kept_out(path):
    async with opened(path) as store:
        with pytest.raises(StoreFailed, match="another process serves"):
            async with opened(path):
                pass
        await store.execute(add(0))
    async with opened(path) as store:  # the lock went with its owner
        assert len((await store.snapshot()).entities) == 1


async def test_a_bug_in_the_writer_refuses_what_was_not_committed(path):
    class Broken:
        """Works once, then fails as no clock should."""

        def __init__(self):
            self.left = 2

        def now_ns(self):
            self.left -= 1
            if self.left < 0:
                raise ZeroDivisionError
            return 1

        def monotonic_ns(self):
            return 0

    told, results = [], []

    async def write(store, number):
        try:
            results.append(await store.execute(add(number)))
        except StoreClosed as error:
            results.append(error)

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with opened(path, Broken()) as store:
            store.subscribe(told.append)
            await store.execute(add(0))
            async with trio.open_nursery() as nursery:
                for number in (1, 2):
                    nursery.start_soon(write, store, number)

    async with opened(path) as store:
        kept = len((await store.snapshot()).entities)
    assert kept == len(told) < 3


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 127, 128, 145, 300])
def test_lists_of_any_length_become_rows_in_their_order(path, count):
    session = SqliteDatabase(path).open_writer()
    # The second half is there twice, which this statement is told to pass over.
    rows = [(number, number + 1) for number in [*range(count), *range(count // 2)]]
    try:
        session.execute("PRAGMA foreign_keys = OFF")
        session.begin()
        session.execute_many(
            "INSERT INTO attachment (demand, portfolio) VALUES (?, ?) "
            "ON CONFLICT DO NOTHING",
            rows,
        )
        session.commit()
        found = list(session.execute("SELECT demand, portfolio FROM attachment"))
    finally:
        session.close()

    assert found == rows[:count]


def test_a_row_that_is_refused_among_many_refuses_them_all(path):
    session = SqliteDatabase(path).open_writer()
    rows = [(f"scope {number % 299}", "key", b"", 0, b"[]") for number in range(300)]
    try:
        session.begin()
        with pytest.raises(sqlite3.IntegrityError):
            session.execute_many(
                "INSERT INTO memory (scope, key, fingerprint, timestamp, ids) "
                "VALUES (?, ?, ?, ?, ?)",
                rows,
            )
        session.rollback()
        (kept,) = session.execute("SELECT count(*) FROM memory").fetchone()
    finally:
        session.close()

    assert kept == 0
