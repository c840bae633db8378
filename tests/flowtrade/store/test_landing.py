"""Where versions are written, and that they are read alike wherever they are."""

import sqlite3
from contextlib import closing
from uuid import UUID

import pytest
import trio

from flowtrade.core.operations import (
    AddDemand,
    AddPortfolio,
    AddProduct,
    NewProduct,
    SetCurve,
)
from flowtrade.core.state import Kind, Part
from flowtrade.errors import StoreFailed, VersionMismatch
from flowtrade.models.curve import ConstantCurve
from flowtrade.ports import Window
from flowtrade.store.backup import backup_sqlite
from flowtrade.store.group import GroupStore
from flowtrade.store.landing import Landing
from flowtrade.store.open import running
from flowtrade.store.sqlite import SqliteDatabase, SqliteSession
from flowtrade.store.tables import SqlReads
from netcore.clock import ManualClock

OWNER = str(UUID(int=1))
ALL = Window(limit=1000)
DEMANDS = 20


def demand(number):
    return str(UUID(int=100 + number))


def add(number):
    return AddDemand(
        id=demand(number), owner=OWNER, app_data=b"1", curve=ConstantCurve(price=-1.0)
    )


def change(number, price):
    return SetCurve(id=demand(number), curve=ConstantCurve(price=price))


async def together(store, operations):
    """Carry out operations of as many callers in one commit."""
    tickets = [store._enqueue([operation])[0] for operation in operations]
    return [(await ticket.wait())[0] for ticket in tickets]


async def round_of(store, price, numbers=range(DEMANDS)):
    await together(store, [change(number, price) for number in numbers])


def prices(versions):
    return [version.value.price for version in reversed(versions)]


def rows(path):
    """How many versions are in their places, and how many are not."""
    with closing(sqlite3.connect(path)) as connection:
        return tuple(
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608  # our own words
            for table in ("version", "landed")
        )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


def opened(path, landing=None):
    clock = ManualClock()
    return running(GroupStore(SqliteDatabase(path), clock=clock, landing=landing))


@pytest.fixture
def landing():
    return None


@pytest.fixture
async def store(path, landing):
    async with opened(path, landing) as made:
        await made.execute_many([add(number) for number in range(DEMANDS)])
        yield made


async def test_changes_of_many_callers_land_one_behind_the_other(store, path):
    await round_of(store, 1.0)

    assert rows(path) == (DEMANDS, DEMANDS)


async def test_a_list_and_a_few_go_to_their_places(store, path):
    await store.execute_many([change(number, 1.0) for number in range(DEMANDS)])
    await store.execute(change(0, 2.0))
    await round_of(store, 3.0, range(Landing().least - 1))

    assert rows(path) == (2 * DEMANDS + 1 + Landing().least - 1, 0)


async def test_versions_of_what_is_new_go_to_their_places(store, path):
    new = [add(number) for number in range(DEMANDS, 2 * DEMANDS)]
    await together(store, [*new, *(change(n, 1.0) for n in range(DEMANDS))])

    assert rows(path) == (2 * DEMANDS, DEMANDS)


@pytest.mark.parametrize("landing", [Landing(most=3 * DEMANDS)])
async def test_what_has_landed_is_moved_some_with_each_group(store, path):
    seen = []
    for price in range(7):
        await round_of(store, float(price))
        seen.append(rows(path))
        # Also while versions are in both tables, each is told once.
        for number in range(DEMANDS):
            found = await store.history(Part.CURVE, demand(number), ALL)
            assert prices(found) == [-1.0, *map(float, range(price + 1))]
            ends = [version.valid_until for version in found]
            assert ends == [None, *(version.valid_from for version in found[:-1])]
        (live, *_) = found
        assert (await store.snapshot()).versions[-1][2] == live

    # Of three versions of each demand those of fourteen are forty, and no fewer are.
    assert seen == [
        (20, 20),
        (20, 40),
        (62, 60),
        (80, 20),
        (80, 40),
        (122, 60),
        (140, 20),
    ]


async def test_a_rule_sees_what_has_landed(store):
    await round_of(store, 1.0)
    (latest, first) = await store.history(Part.CURVE, demand(3), ALL)
    curve = ConstantCurve(price=9.0)
    with pytest.raises(VersionMismatch):
        await store.execute(
            SetCurve(id=demand(3), curve=curve, expected=(first.valid_from,))
        )
    await store.execute(
        SetCurve(id=demand(3), curve=curve, expected=(latest.valid_from,))
    )

    found = await store.history(Part.CURVE, demand(3), ALL)
    assert prices(found) == [-1.0, 1.0, 9.0]


@pytest.mark.parametrize(
    ("landing", "rounds", "left"),
    [
        (Landing(), 1, (DEMANDS, DEMANDS)),
        (Landing(most=3 * DEMANDS), 3, (62, 60)),
        # Moving so slowly that others have landed behind.
        (Landing(most=3 * DEMANDS, share=1), 4, (62, 80)),
    ],
)
async def test_a_start_finds_everything_in_its_place(path, landing, rounds, left):
    async with opened(path, landing) as store:
        await store.execute_many([add(number) for number in range(DEMANDS)])
        for price in range(rounds):
            await round_of(store, float(price))
        snapshot = await store.snapshot()
    assert rows(path) == left

    async with opened(path) as again:
        assert rows(path) == ((1 + rounds) * DEMANDS, 0)
        assert await again.snapshot() == snapshot
        for number in range(DEMANDS):
            found = await again.history(Part.CURVE, demand(number), ALL)
            assert prices(found) == [-1.0, *map(float, range(rounds))]


@pytest.mark.parametrize("landing", [Landing(most=3 * DEMANDS)])
async def test_a_copy_taken_while_versions_are_moved_is_whole(store, path, tmp_path):
    for price in range(3):
        await round_of(store, float(price))
    assert rows(path) == (62, 60)

    copy = tmp_path / "copy.db"
    await trio.to_thread.run_sync(backup_sqlite, path, copy)
    async with opened(copy) as again:
        assert rows(copy) == (4 * DEMANDS, 0)
        assert await again.snapshot() == await store.snapshot()


class Fault:
    """Lets one commit fail."""

    def __init__(self, monkeypatch):
        self.armed = False
        commit = SqliteSession.commit

        def fail(session):
            if self.armed:
                self.armed = False
                raise sqlite3.OperationalError("disk I/O error")
            commit(session)

        monkeypatch.setattr(SqliteSession, "commit", fail)


@pytest.mark.parametrize("landing", [Landing(most=3 * DEMANDS)])
async def test_a_commit_that_fails_while_it_moves_keeps_what_had_landed(
    store, path, monkeypatch
):
    fault = Fault(monkeypatch)
    seen = []
    for price in range(5):
        fault.armed = True
        for ticket in [store._enqueue([change(n, 9.0)])[0] for n in range(DEMANDS)]:
            with pytest.raises(StoreFailed):
                await ticket.wait()
        await round_of(store, float(price))  # counts anew, and goes on moving
        seen.append(rows(path))

    assert seen == [(20, 20), (20, 40), (62, 60), (80, 20), (80, 40)]
    for number in range(DEMANDS):
        found = await store.history(Part.CURVE, demand(number), ALL)
        assert prices(found) == [-1.0, *map(float, range(5))]


async def test_no_read_looks_at_more_than_it_is_asked_for(store, path):
    """Neither table is scanned: with a million versions that takes seconds."""
    await store.execute(AddProduct(product=NewProduct(id=OWNER, app_data=b"1")))
    portfolio = str(UUID(int=50))
    group = {demand(n): 1.0 for n in range(3)}
    await store.execute(
        AddPortfolio(
            id=portfolio, owner=OWNER, app_data=b"1", demand=group, basis={OWNER: 1.0}
        )
    )
    await round_of(store, 1.0)
    asked = []
    session = SqliteDatabase(path).open_reader()
    connection = session._connection
    connection.set_trace_callback(asked.append)
    reads = SqlReads(session)
    reads.snapshot(None)
    at = reads.last_timestamp()
    reads.demand_at(demand(0), at)
    reads.portfolio_at(portfolio, at)
    reads.bids_at(OWNER, at)
    reads.history(Part.CURVE, demand(0), ALL)
    reads.outcomes(Kind.PORTFOLIO, portfolio, ALL)
    connection.set_trace_callback(None)
    queries = [sql for sql in asked if "timeline" in sql]
    assert len(queries) >= 6
    for sql in queries:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
        assert not [
            step
            for step in plan
            if "timeline" in step
            or "AUTOMATIC" in step
            or step.startswith(("SCAN version", "SCAN landed", "SCAN v", "SCAN l"))
        ], sql
    session.close()


async def test_a_store_that_fails_to_move_does_not_open(path, monkeypatch):
    async with opened(path) as store:
        await store.execute_many([add(number) for number in range(DEMANDS)])
        await round_of(store, 1.0)

    Fault(monkeypatch).armed = True
    with pytest.raises(StoreFailed, match="cannot use"):
        await GroupStore(SqliteDatabase(path), clock=ManualClock()).open()
    async with opened(path) as again:
        assert len(await again.history(Part.CURVE, demand(0), ALL)) == 2
