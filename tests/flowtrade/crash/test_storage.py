"""A disk that is full and a file that cannot be written."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import UUID

import pytest
import trio

from flowtrade.core.mirror import Mirror
from flowtrade.core.operations import AddDemand
from flowtrade.errors import StoreFailed
from flowtrade.models.curve import ConstantCurve
from flowtrade.ports import Window
from flowtrade.settings import Settings, StoreSettings
from flowtrade.store import open_store
from flowtrade.testing.bench import open_bench
from netcore.clock import ManualClock, SystemClock

OWNER = str(UUID(int=1))
CURVE = ConstantCurve(min_rate=-1.0, max_rate=1.0, price=1.0)


def key(number):
    return str(UUID(int=100 + number))


def add(number):
    return AddDemand(id=key(number), owner=OWNER, app_data=b"x" * 2000, curve=CURVE)


def run(text, url):
    command = [sys.executable, "-c", text, url]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own text


async def fill(store, first):
    """Write until it is refused; return the number that was."""
    while True:
        try:
            await store.execute(add(first))
        except StoreFailed:
            return first
        first += 1


async def test_a_full_disk_refuses_writes_goes_on_reading_and_recovers(tmp_path):
    url = f"sqlite:{tmp_path / 'store.db'}"
    async with open_store(StoreSettings(url=url), clock=ManualClock()) as store:
        mirror = Mirror()
        store.subscribe(lambda a: mirror.apply(a.timestamp, a.changes))
        await store.execute(add(0))
        (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
        store._writer.execute(f"PRAGMA max_page_count = {pages + 8}")
        kept = await fill(store, 1)
        with pytest.raises(StoreFailed, match="full"):
            await store.execute_many([add(n) for n in range(1000, 1100)])
        unhealthy = store.healthy
        read = (await store.demand_at(key(0), store._last)).curve.value
        store._writer.execute("PRAGMA max_page_count = 1000000")
        await store.execute(add(5000))
        snapshot = await store.snapshot()

    assert kept > 1
    assert not unhealthy
    assert read == CURVE
    expected = [*(key(n) for n in range(kept)), key(5000)]
    assert [entity.id for entity in snapshot.entities] == expected
    assert [v.entity.id for v in mirror.demands_of(OWNER)] == expected
    assert mirror.gather() == Mirror.from_snapshot(snapshot).gather()


async def test_a_service_on_a_full_disk_says_that_it_is_not_ready(tmp_path):
    settings = Settings(store=StoreSettings(url=f"sqlite:{tmp_path / 'store.db'}"))
    rights = f"bidder_id={OWNER}&can_create_bid=true&can_read_bid=true"
    body = {"app_data": str(UUID(int=7)), "curve_data": None}
    async with (
        open_bench(settings) as bench,
        bench.client(rights) as client,
    ):
        assert (await client.post("/demand", json=body)).status_code == 201
        session = bench.service._store._writer
        (pages,) = session.execute("PRAGMA page_count").fetchone()
        session.execute(f"PRAGMA max_page_count = {pages}")
        large = {**body, "curve_data": [{"rate": 0.0, "price": 1.0}] * 20_000}
        refused = await client.post("/demand", json={**large, "app_data": OWNER})
        ready = await client.get("/health/ready")
        still = await client.get(f"/demand/{UUID(int=7)}")
        session.execute("PRAGMA max_page_count = 1000000")
        again = await client.post("/demand", json={**large, "app_data": OWNER})
        healed = await client.get("/health/ready")

    assert (refused.status_code, refused.json()["code"]) == (500, "store-failed")
    assert (ready.status_code, ready.json()["checks"]["store"]) == (503, False)
    assert still.status_code == 200
    assert (again.status_code, healed.status_code) == (201, 200)


# Writes until the kernel refuses, and says how much was acknowledged.
WRITER = """
import resource, signal, sys, uuid, trio
from flowtrade.core.operations import AddDemand
from flowtrade.errors import StoreFailed
from flowtrade.settings import StoreSettings
from flowtrade.store import open_store
from netcore.clock import SystemClock

async def main(url):
    done = 0
    async with open_store(StoreSettings(url=url), clock=SystemClock()) as store:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
        try:
            while True:
                key = str(uuid.UUID(int=100 + done))
                await store.execute(AddDemand(id=key, owner=key, app_data=b"x" * 2000,
                                              curve=None))
                done += 1
        except StoreFailed:
            print(done)

trio.run(main, sys.argv[1])
"""


@pytest.mark.slow
async def test_a_kernel_that_refuses_to_write_costs_nothing_acknowledged(tmp_path):
    url = f"sqlite:{tmp_path / 'store.db'}"
    done = await trio.to_thread.run_sync(run, WRITER, url)
    assert done.returncode == 0, done.stderr
    acknowledged = int(done.stdout)

    async with open_store(StoreSettings(url=url), clock=SystemClock()) as store:
        found = [entity.id for entity in (await store.snapshot()).entities]
        await store.execute(add(10_000))
        assert await store.batches(Window(limit=1)) == []

    assert acknowledged > 10
    assert found == [key(n) for n in range(acknowledged)]


# Opens a store as nobody in particular.
OPENER = """
import os, sys, trio
from flowtrade.errors import StoreFailed
from flowtrade.settings import StoreSettings
from flowtrade.store import open_store
from netcore.clock import SystemClock

async def main(url):
    async with open_store(StoreSettings(url=url), clock=SystemClock()):
        print("opened")

if os.geteuid() == 0:
    os.seteuid(65534)  # root may write whatever it likes
try:
    trio.run(main, sys.argv[1])
except* StoreFailed as group:
    print(*group.exceptions)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_file_that_cannot_be_written_is_refused_at_the_start(what):
    # Not pytest's, which is closed to others.
    folder = Path(tempfile.mkdtemp(prefix="flowtrade-"))
    path = folder / "store.db"
    settings = StoreSettings(url=f"sqlite:{path}")

    async def make():
        async with open_store(settings, clock=SystemClock()) as store:
            await store.execute(add(0))

    trio.run(make)
    before = path.read_bytes()
    path.chmod(0o444)
    (folder / "store.db.lock").chmod(0o666 if what == "file" else 0o444)
    folder.chmod(0o777 if what == "file" else 0o555)
    try:
        done = run(OPENER, settings.url)
        after = path.read_bytes()
    finally:
        folder.chmod(0o777)
        shutil.rmtree(folder)

    assert done.returncode == 0, done.stderr
    assert "cannot open" in done.stdout
    assert after == before
