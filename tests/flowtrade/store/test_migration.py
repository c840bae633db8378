"""A store of an earlier version is brought up to date, whole or not at all.

The earlier schema is made of its own steps, and filled with rows as it had them; what
comes out is compared with what these rows mean. Processes are killed while they
migrate: between two instructions of the database, between two statements, and whenever
a clock says so. Whatever is left must migrate to the very same state.
"""

import itertools
import shutil
import sqlite3
import subprocess
import sys
from uuid import UUID

import pytest

from flowtrade.core.state import Kind, Part, Version
from flowtrade.errors import StoreFailed
from flowtrade.models.curve import ConstantCurve
from flowtrade.ports import Window
from flowtrade.settings import StoreSettings
from flowtrade.store.codec import encode_value, id_to_blob
from flowtrade.store.open import open_database
from flowtrade.store.reading import open_for_reading
from flowtrade.store.schema import POSTGRES_STEPS, SQLITE_STEPS
from flowtrade.store.sqlite import APPLICATION_ID
from flowtrade.store.tables import SqlReads

OWNER = str(UUID(int=1))
PORTFOLIO = str(UUID(int=2))
DEMANDS = 40
VERSIONS = 5
ALL = Window(limit=100)
EARLIER = 3
"""Steps of the schema in which a version's end was stored beside its beginning."""


def demand(number):
    return str(UUID(int=100 + number))


def curve(number, version):
    """The curve of a version; each third one is an inactive period."""
    if version % 3 == 2:
        return None
    return ConstantCurve(price=float(number * 10 + version))


def begins(number, version):
    return 1_000 + number * 100 + version * 10


def rows():
    """Yield the tables and rows of an earlier store."""
    last = begins(DEMANDS, VERSIONS)
    for number in range(DEMANDS):
        created = begins(number, 0)
        head = (number + 1, int(Kind.DEMAND), id_to_blob(demand(number)))
        yield "entity", (*head, id_to_blob(OWNER), b"null", created, None, 1.0)
        for version in range(VERSIONS):
            until = begins(number, version + 1) if version < VERSIONS - 1 else None
            value = encode_value(Part.CURVE, curve(number, version))
            start = begins(number, version)
            yield "version", (number + 1, int(Part.CURVE), start, until, value)
    pk = DEMANDS + 1
    head = (pk, int(Kind.PORTFOLIO), id_to_blob(PORTFOLIO))
    yield "entity", (*head, id_to_blob(OWNER), b"null", last, None, 1.0)
    group = encode_value(Part.DEMAND, {demand(0): 2.0})
    yield "version", (pk, int(Part.DEMAND), last, None, group)
    yield "version", (pk, int(Part.BASIS), last, None, None)
    yield "attachment", (1, pk)


def fill(execute, mark):
    last = begins(DEMANDS, VERSIONS)
    execute(f"UPDATE head SET last_timestamp = {mark}", (last,))  # noqa: S608  # ? or %s
    for table, row in rows():
        marks = ", ".join([mark] * len(row))
        execute(f"INSERT INTO {table} VALUES ({marks})", row)  # noqa: S608  # our own


def earlier_file(path):
    with sqlite3.connect(path) as connection:
        for step in SQLITE_STEPS[:EARLIER]:
            connection.executescript(step)
        connection.execute(f"PRAGMA user_version = {EARLIER}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        fill(connection.execute, "?")
    connection.close()


def earlier_database(url):
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(url) as connection:
        for step in POSTGRES_STEPS[:EARLIER]:
            connection.execute(step)
        connection.execute("CREATE TABLE flowtrade_schema (version INTEGER NOT NULL)")
        connection.execute("INSERT INTO flowtrade_schema VALUES (%s)", [EARLIER])
        fill(connection.execute, "%s")


def check(url):
    """Open a store, and compare all it tells."""
    session = open_database(url).open_writer()
    try:
        reads = SqlReads(session)
        versions = reads.snapshot(None).versions
        live = {(part, key): version for part, key, version in versions}
        assert len(live) == len(versions) == DEMANDS + 2
        for number in range(DEMANDS):
            key = demand(number)
            starts = [begins(number, version) for version in range(VERSIONS)]
            told = [
                Version(start, until, curve(number, version))
                for version, (start, until) in enumerate(
                    itertools.zip_longest(starts, starts[1:])
                )
            ]
            kept = [version for version in reversed(told) if version.value is not None]
            assert reads.history(Part.CURVE, key, ALL) == kept
            assert live[Part.CURVE, key] == told[-1]
            then = reads.demand_at(key, starts[1] + 5)
            assert then.curve == told[1]
        attached = reads.demand_at(demand(0), begins(DEMANDS, VERSIONS))
        assert attached.portfolios == {PORTFOLIO: 2.0}
    finally:
        session.close()


@pytest.fixture(params=["sqlite", "postgres"])
def earlier(request, tmp_path):
    """The URL of a store of the earlier schema."""
    if request.param == "sqlite":
        path = tmp_path / "store.db"
        earlier_file(path)
        return f"sqlite:{path}"
    url = request.getfixturevalue("postgres_url")
    earlier_database(url)
    return url


def test_an_earlier_store_tells_the_same_after_migrating(earlier):
    check(earlier)
    check(earlier)  # as the new one it is now


# A process that forks one victim for each line it is sent, so that modules are loaded
# once. A victim counts steps of SQLite's machine, or statements, and dies by SIGKILL
# at the one it was told; or it is killed by its parent after so many microseconds.
KILLER = """
import os, signal, sys, time

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def count_down(left):
    def step(*_):
        nonlocal left
        left -= 1
        if left <= 0:
            die()
        return 0
    return step

def sqlite(url, how, number):
    from pathlib import Path
    from flowtrade.store.sqlite import SqliteDatabase
    database = SqliteDatabase(Path(url.removeprefix("sqlite:")))
    connect = database._connect
    def armed():
        connection = connect()
        if how == "steps":
            connection.set_progress_handler(count_down(number), 50)
        elif how == "statements":
            connection.set_trace_callback(count_down(number))
        return connection
    database._connect = armed
    return database

def postgres(url, how, number):
    from flowtrade.store.postgres import PostgresDatabase
    database = PostgresDatabase(url)
    connect, step = database.connect, count_down(number)
    class Armed:
        def __init__(self, connection):
            self._connection = connection
        def execute(self, *args):
            step()
            result = self._connection.execute(*args)
            step()
            return result
        def __getattr__(self, name):
            return getattr(self._connection, name)
    database.connect = (lambda: Armed(connect())) if how != "clock" else connect
    return database

def victim(url, how, number):
    make = sqlite if url.startswith("sqlite:") else postgres
    make(url, how, number).open_writer().close()

import flowtrade.store.sqlite
if sys.argv[1] == "postgres":
    import flowtrade.store.postgres
for line in sys.stdin:
    how, number, url = line.split(" ", 2)
    child = os.fork()
    if child == 0:
        try:
            victim(url.strip(), how, int(number))
        finally:
            os._exit(0)
    if how == "clock":
        time.sleep(int(number) / 1e6)
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
    _, status = os.waitpid(child, 0)
    print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, flush=True)
"""


@pytest.fixture
def kill(request):
    """A function that migrates a store and dies at it; says whether it died."""
    kind = "postgres" if "postgres" in request.node.name else "sqlite"
    killer = subprocess.Popen(  # noqa: S603  # our own interpreter and text
        [sys.executable, "-c", KILLER, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )

    def ask(how, number, url):
        killer.stdin.write(f"{how} {number} {url}\n")
        answer = killer.stdout.readline()
        assert answer, "the killer has ended"
        return int(answer) == 9

    yield ask
    killer.stdin.close()
    assert killer.wait(timeout=60) == 0
    killer.stdout.close()


def kinds_of(path):
    """How far a file has come: its step, and whether the old column is there."""
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    columns = [row[1] for row in connection.execute("PRAGMA table_info(version)")]
    connection.close()
    return version, "valid_until" in columns


async def test_a_tool_that_only_reads_an_earlier_store_says_what_to_do(tmp_path):
    earlier_file(tmp_path / "earlier.db")
    with pytest.raises(StoreFailed, match="`migrate`, brings an earlier store"):
        async with open_for_reading(StoreSettings(url=f"sqlite:{tmp_path}/earlier.db")):
            pass


def test_a_process_killed_while_it_migrates_a_file_loses_nothing(tmp_path, kill):
    seen, died = set(), 0
    deaths = [("statements", number) for number in range(9, 18)]
    deaths += [("steps", number) for number in range(1, 200, 17)]
    deaths += [("clock", number) for number in range(0, 6_000, 750)]
    earlier_file(tmp_path / "earlier.db")
    for turn, (how, number) in enumerate(deaths):
        path = tmp_path / f"{turn}.db"
        shutil.copyfile(tmp_path / "earlier.db", path)

        died += kill(how, number, f"sqlite:{path}")

        seen.add(kinds_of(path))
        check(f"sqlite:{path}")
    # Whatever the moment: the step has happened, or it has not; and both were seen.
    assert seen == {(EARLIER, True), (EARLIER + 1, False), (len(SQLITE_STEPS), False)}
    assert died >= 10


def test_a_process_killed_while_it_makes_a_file_leaves_one_to_go_on(tmp_path, kill):
    seen, died = [], 0
    path = tmp_path / "store.db"
    for number in range(1, 60):  # one file, step by step, until a process survives
        dead = kill("statements", number, f"sqlite:{path}")
        died += dead
        seen.append(kinds_of(path)[0])
        if not dead:
            break

    assert died >= 4
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == len(SQLITE_STEPS)


def test_a_process_killed_while_it_migrates_postgres_loses_nothing(postgres_url, kill):
    psycopg = pytest.importorskip("psycopg")
    died = 0
    deaths = [("statements", number) for number in range(1, 13, 2)]
    deaths += [("clock", number) for number in range(5_000, 40_000, 15_000)]
    for turn, (how, number) in enumerate(deaths):
        # A schema of its own, which is where the tables are made.
        url = f"{postgres_url}&options=-csearch_path%3Dturn{turn}"
        with psycopg.connect(postgres_url) as connection:
            connection.execute(f"CREATE SCHEMA turn{turn}")
        earlier_database(url)

        died += kill(how, number, url)

        check(url)
    assert died >= 5
