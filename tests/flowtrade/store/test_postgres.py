"""What only a store on a server can break: other writers, lost connections."""

from uuid import UUID

import pytest
import trio

from flowtrade.core.operations import AddDemand
from flowtrade.errors import SchemaMismatch, StoreFailed
from flowtrade.models.curve import ConstantCurve
from flowtrade.ports import Window
from flowtrade.settings import StoreSettings
from flowtrade.store import open_store
from netcore.clock import ManualClock


def add(number):
    curve = ConstantCurve(price=number)
    key = str(UUID(int=100 + number))
    return AddDemand(id=key, owner=str(UUID(int=1)), app_data=b"null", curve=curve)


def opened(url):
    return open_store(StoreSettings(url=url), clock=ManualClock())


async def test_what_was_acknowledged_is_there_after_reopening(postgres_url):
    async with opened(postgres_url) as store:
        last = [await store.execute(add(number)) for number in range(3)][-1]
    async with opened(postgres_url) as store:
        snapshot = await store.snapshot()

    assert len(snapshot.entities) == 3
    assert snapshot.at == last.timestamp


async def test_a_second_process_is_kept_out(postgres_url):
    async with opened(postgres_url):
        with pytest.raises(StoreFailed, match="another process serves"):
            async with opened(postgres_url):
                pass
    async with opened(postgres_url):
        pass


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
