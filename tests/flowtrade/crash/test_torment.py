"""A server that is killed at any instant has lost nothing that it acknowledged.

The full numbers are run by `benchmarks/service/crash.py`; here a few rounds of each.
"""

import os
import signal
import sqlite3
import subprocess
import sys

import pytest
import trio

from flowtrade.settings import StoreSettings
from flowtrade.store import open_store
from flowtrade.store.schema import SQLITE_STEPS
from flowtrade.testing.crash import Point, torment
from netcore.clock import SystemClock

# httpx leaves the body of a request behind when the server dies while it is sent.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")

POINTS = (None, Point.BEFORE_COMMIT, None, Point.BEFORE_ANSWER, Point.IN_BATCH)


@pytest.fixture
def seed():
    chosen = int(os.environ.get("FLOWTRADE_SEED", "0")) or int.from_bytes(os.urandom(4))
    print(f"FLOWTRADE_SEED={chosen}")  # pytest shows it with a failure
    return chosen


@pytest.mark.slow
async def test_a_server_on_a_file_loses_nothing_that_it_acknowledged(tmp_path, seed):
    toll = await torment(
        f"sqlite:{tmp_path / 'store.db'}", rounds=5, seed=seed, points=POINTS
    )

    assert toll.kills == 5
    assert toll.acknowledged > 0
    assert toll.batches > 0
    assert toll.replayed > 0


@pytest.mark.slow
async def test_a_server_on_postgresql_loses_nothing_that_it_acknowledged(
    postgres_url, seed
):
    toll = await torment(
        postgres_url, rounds=2, seed=seed, points=(None, Point.BEFORE_ANSWER)
    )

    assert toll.kills == 2
    assert toll.versions > 0


# Opens a store and dies at the n-th statement of the migration.
MIGRANT = """
import os, signal, sqlite3, sys
from pathlib import Path
from flowtrade.store import sqlite as module
from flowtrade.store.sqlite import SqliteDatabase

left = int(sys.argv[2])
connect = sqlite3.connect

def count(_statement):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def watched(*args, **kwargs):
    connection = connect(*args, **kwargs)
    connection.set_trace_callback(count)
    return connection

module.sqlite3.connect = watched
SqliteDatabase(Path(sys.argv[1])).open_writer().close()
"""


def migrate_and_die(path, statement):
    command = [sys.executable, "-c", MIGRANT, str(path), str(statement)]
    return subprocess.run(command, check=False).returncode  # noqa: S603  # our own text


@pytest.mark.slow
@pytest.mark.parametrize("old", [0, 1])
async def test_a_migration_that_is_killed_is_finished_by_the_next_start(tmp_path, old):
    # Before, within and behind the steps; the pragmas of a connection come first.
    for statement in (1, 12, 26, 33, 39):
        path = tmp_path / f"{statement}.db"
        with sqlite3.connect(path) as connection:
            for number, step in enumerate(SQLITE_STEPS[:old], start=1):
                connection.executescript(
                    f"{step} PRAGMA user_version = {number};"
                    f"PRAGMA application_id = {0x464C5754};"
                )
        connection.close()
        code = await trio.to_thread.run_sync(migrate_and_die, path, statement)

        assert code in (-signal.SIGKILL, 0)  # 0: there were fewer statements
        settings = StoreSettings(url=f"sqlite:{path}")
        async with open_store(settings, clock=SystemClock()) as store:
            assert (await store.snapshot()).entities == ()
        with sqlite3.connect(path) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (check,) = connection.execute("PRAGMA integrity_check").fetchone()
        connection.close()
        assert (version, check) == (len(SQLITE_STEPS), "ok")
