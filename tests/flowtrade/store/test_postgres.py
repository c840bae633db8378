"""What only a store on a server can break: other writers, lost connections."""

from uuid import UUID

import pytest
import trio

from flowtrade.core.mirror import Mirror
from flowtrade.core.operations import (
    AddDemand,
    AddProduct,
    Cut,
    NewProduct,
    SetCurve,
    StoreBatch,
    TakeLead,
)
from flowtrade.core.state import Led, StoredBatch
from flowtrade.errors import (
    IdTaken,
    SchemaMismatch,
    StoreFailed,
    Superseded,
    VersionMismatch,
)
from flowtrade.models.batch import BatchRecord, BatchStatus, ProductResult
from flowtrade.models.curve import ConstantCurve
from flowtrade.models.time import format_timestamp
from flowtrade.ports import Window
from flowtrade.settings import StoreSettings
from flowtrade.store import open_store
from netcore.clock import ManualClock

pytest.importorskip("psycopg", reason="the extra postgres is absent")

from flowtrade.store import postgres
from flowtrade.store.postgres import PostgresDatabase

ITEM = str(UUID(int=7))


def add(number):
    curve = ConstantCurve(price=number)
    key = str(UUID(int=100 + number))
    return AddDemand(id=key, owner=str(UUID(int=1)), app_data=b"null", curve=curve)


def batch_of(as_of, price):
    result = ProductResult(price=price, rate=0.0, reference=None, name=None)
    record = BatchRecord(
        as_of=format_timestamp(as_of),
        seq=0,
        scheduled=None,
        status=BatchStatus.CLEARED,
        gains=0.0,
        products={ITEM: result},
        demands=1,
        portfolios=0,
        report=None,
        certificate=None,
        input_hash="i",
        outcome_hash="o",
        targets={},
    )
    return StoredBatch(as_of=as_of, scheduled=None, record=record, portfolios={})


def opened(url):
    return open_store(StoreSettings(url=url), clock=ManualClock())


async def test_what_was_acknowledged_is_there_after_reopening(postgres_url):
    async with opened(postgres_url) as store:
        last = [await store.execute(add(number)) for number in range(3)][-1]
    async with opened(postgres_url) as store:
        snapshot = await store.snapshot()

    assert len(snapshot.entities) == 3
    assert snapshot.at == last.timestamp


class Follower:
    """A mirror of a store, and what was told to it."""

    def __init__(self, store):
        self.mirror = Mirror()
        self.told = []
        self.news = trio.Event()
        store.subscribe(self.hear)

    def hear(self, applied):
        self.told.append(applied)
        self.mirror.apply(applied.timestamp, applied.changes)
        self.news.set()
        self.news = trio.Event()

    async def reached(self, timestamp):
        while self.mirror.at < timestamp:
            await self.news.wait()


def contents(mirror):
    auction = mirror.gather()
    batch = None if mirror.batch is None else mirror.batch.record
    return auction, batch, mirror.positions, [p.id for p in mirror.products]


async def test_two_processes_hear_one_order_of_each_others_writes(postgres_url):
    async with opened(postgres_url) as one, opened(postgres_url) as two:
        first, second = Follower(one), Follower(two)
        async with trio.open_nursery() as nursery:
            for number in range(60):
                store = (one, two)[number % 2]
                nursery.start_soon(store.execute, add(number))
        last = await one.execute(SetCurve(id=add(1).id, curve=None))
        with trio.fail_after(120):
            await second.reached(last.timestamp)
        snapshot = await one.snapshot()

    orders = [
        [(a.timestamp, [type(c) for c in a.changes]) for a in f.told if a.changes]
        for f in (first, second)
    ]
    assert orders[0] == orders[1]
    assert len(orders[0]) == 61
    assert contents(first.mirror) == contents(second.mirror)
    assert contents(first.mirror) == contents(Mirror.from_snapshot(snapshot))
    assert {a.operation is None for a in second.told} == {True, False}


async def test_a_process_that_writes_nothing_hears_of_batches(postgres_url):
    async with opened(postgres_url) as one, opened(postgres_url) as two:
        follower = Follower(two)
        await one.execute(AddProduct(product=NewProduct(id=ITEM, app_data=b"null")))
        await one.execute(add(1))
        cut = await one.execute(Cut())
        await one.execute(add(2))
        stored = await one.execute(StoreBatch(batch=batch_of(cut.timestamp, 1.5)))
        with trio.fail_after(120):
            await follower.reached(stored.timestamp)

        heard = follower.mirror.batch
        assert heard == stored.changes[0].batch
        assert contents(follower.mirror) == contents(
            Mirror.from_snapshot(await two.snapshot())
        )


async def test_rules_hold_across_processes(postgres_url):
    async with opened(postgres_url) as one, opened(postgres_url) as two:
        await one.execute(add(1))
        with pytest.raises(IdTaken):
            await two.execute(add(1))
        seen = (await two.demand_at(add(1).id, 2**62)).curve.valid_from
        await two.execute(SetCurve(id=add(1).id, curve=None, expected=(seen,)))
        with pytest.raises(VersionMismatch):
            await one.execute(SetCurve(id=add(1).id, curve=None, expected=(seen,)))


async def test_an_old_leader_stores_nothing(postgres_url):
    async with opened(postgres_url) as one, opened(postgres_url) as two:
        await one.execute(AddProduct(product=NewProduct(id=ITEM, app_data=b"null")))
        (old,) = (await one.execute(TakeLead())).changes
        cut = await one.execute(Cut(fence=old.epoch))
        (new,) = (await two.execute(TakeLead())).changes
        batch = batch_of(cut.timestamp, 2.0)

        assert new == Led(old.epoch + 1)
        for operation in (Cut(fence=old.epoch), StoreBatch(batch=batch, fence=1)):
            with pytest.raises(Superseded, match="epoch 2 has begun"):
                await one.execute(operation)
        assert await one.batches(Window(limit=9)) == []
        assert await two.execute(StoreBatch(batch=batch, fence=new.epoch))


async def test_a_process_that_stands_still_within_a_write_is_overtaken(
    postgres_url, monkeypatch
):
    import psycopg

    monkeypatch.setattr(postgres, "_IDLE", "200ms")
    async with opened(postgres_url) as store:
        await store.execute(add(0))
        stuck = PostgresDatabase(postgres_url).open_writer()
        stuck.begin()  # and now nothing
        with trio.fail_after(120):
            await store.execute(add(1))
        with pytest.raises(psycopg.Error):
            stuck.commit()
        assert stuck.lost
        stuck.close()


async def test_a_lost_connection_ends_the_store(postgres_url, postgres_server):
    _, administrator = postgres_server

    with pytest.RaisesGroup(StoreFailed, StoreFailed, flatten_subgroups=True) as caught:
        async with opened(postgres_url) as store:
            await store.execute(add(0))
            await store.batches(Window(limit=1))  # opens a reader
            administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'flowtrade'"
            )
            with pytest.raises(StoreFailed):  # the reader is lost, and replaced
                await store.batches(Window(limit=1))
            assert await store.batches(Window(limit=1)) == []
            await store.execute(add(1))

    assert "known after a restart" in repr(caught.value)
    async with opened(postgres_url) as store:
        assert len((await store.snapshot()).entities) == 1


async def test_a_newer_schema_is_refused(postgres_url):
    import psycopg

    async with opened(postgres_url):
        pass
    with psycopg.connect(postgres_url) as connection:
        connection.execute("INSERT INTO flowtrade_schema VALUES (99)")

    with pytest.raises(SchemaMismatch, match="upgrade"):
        async with opened(postgres_url):
            pass


async def test_a_server_that_is_away_is_named_without_its_password():
    pytest.importorskip("psycopg", reason="the extra postgres is absent")
    url = "postgresql://user:hidden@127.0.0.1:1/name"

    with pytest.raises(StoreFailed, match="cannot open") as caught:
        async with opened(url):
            pass

    assert "hidden" not in str(caught.value)


async def test_operations_that_wait_share_a_commit(postgres_url):
    async with opened(postgres_url) as store:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(store.execute, add(number))
        entities = (await store.snapshot()).entities

    assert len(entities) == 100
    assert [e.created for e in entities] == sorted({e.created for e in entities})


INSERT = "INSERT INTO memory (scope, key, fingerprint, timestamp, ids) "
TRICKY = [
    ("\\N", "a\tb", b"\\\x00\n\xff", -(2**63), b""),
    ("", "\\.", b"\\N", 2**63 - 1, b"[]"),
    ("é\r\n", '"', b"", 0, bytes(range(256))),
]


@pytest.mark.parametrize("count", [1, 7, 8, 600])
async def test_many_rows_are_written_as_each_would_be(postgres_url, count):
    session = PostgresDatabase(postgres_url).open_writer()
    rows = [(f"{n}{row[0]}", *row[1:]) for n in range(count) for row in TRICKY][:count]
    try:
        session.begin()
        session.execute_many(f"{INSERT}VALUES (?, ?, ?, ?, ?)", rows)
        session.commit()
        found = session.execute(
            "SELECT scope, key, fingerprint, timestamp, ids FROM memory"
        )

        assert sorted(found) == sorted(rows)
    finally:
        session.close()


@pytest.mark.parametrize("count", [2, 9])
async def test_rows_that_collide_write_nothing_and_leave_the_connection(
    postgres_url, count
):
    session = PostgresDatabase(postgres_url).open_writer()
    rows = [("s", "k", b"", 0, b"")] * count
    try:
        session.begin()
        with pytest.raises(postgres.psycopg.errors.UniqueViolation):
            session.execute_many(f"{INSERT}VALUES (?, ?, ?, ?, ?)", rows)
        session.rollback()

        assert not session.lost
        assert list(session.execute("SELECT scope FROM memory")) == []
    finally:
        session.close()
