"""Looking after a store from the command line, beside a service that writes to it."""

import json
import sqlite3
from contextlib import closing
from functools import partial
from uuid import UUID

import pytest
import trio

pytest.importorskip("cyclopts")

from flowtrade.core.service import Service
from flowtrade.core.solver import ClearingSolver
from flowtrade.errors import StoreFailed
from flowtrade.models.curve import ConstantCurve, Point, PwlCurve
from flowtrade.models.time import format_timestamp
from flowtrade.settings import AuctionSettings, StoreSettings
from flowtrade.store import open_store
from flowtrade.store.backup import backup_sqlite
from flowtrade.store.reading import open_for_reading
from flowtrade.testing import RecordingPublisher, SeededIds
from netcore.clock import ManualClock

ALICE, BOB = str(UUID(int=1)), str(UUID(int=2))
CURVES = {
    ALICE: ConstantCurve(min_rate=-4, max_rate=0, price=10),
    BOB: PwlCurve(points=(Point(rate=0, price=15), Point(rate=10, price=5))),
}
AUTO = ("--solver", "auto")  # as the service below
START = 1_700_000_000 * 10**9


@pytest.fixture
async def served(tmp_path):
    """A service with three batches, ten minutes apart, and its store's path."""
    path = tmp_path / "auctions.db"
    clock = ManualClock(START)
    async with open_store(StoreSettings(url=f"sqlite:{path}"), clock=clock) as store:
        service = Service(
            store=store,
            solver=ClearingSolver(),
            clock=clock,
            ids=SeededIds(),
            publisher=RecordingPublisher(),
            settings=AuctionSettings(horizon=1.0),
        )
        await service.load()
        item = (await service.create_product(b'{"name":"BTC"}')).id
        for bidder, curve in CURVES.items():
            demand = await service.create_demand(bidder, b"null", curve)
            await service.create_portfolio(
                bidder, b"null", demand={demand.id: 1.0}, basis={item: 1.0}
            )
        for _ in range(3):
            await service.auctioneer.run_batch()
            clock.advance(600)
        yield service, path


async def in_thread(run, *arguments):
    # Commands run an event loop of their own.
    return await trio.to_thread.run_sync(partial(run, *arguments))


async def test_stored_batches_are_solved_again_to_the_same_bits(served, run):
    _, path = served

    code, out, _ = await in_thread(run, "replay", "-s", f"sqlite:{path}", *AUTO)

    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3]
    assert all(line["identical"] for line in lines)


async def test_a_batch_that_was_tampered_with_is_found(served, run):
    service, path = served
    (newest, *_) = (await service.history.batches(window(limit=3))).results
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(
            "UPDATE batch SET record ="
            " CAST(replace(CAST(record AS TEXT), ?, ?) AS BLOB)",
            (newest.outcome_hash, "0" * 64),
        )

    code, out, _ = await in_thread(
        run, "replay", "-s", f"sqlite:{path}", "--as-of", newest.as_of, *AUTO
    )

    assert code == 1
    (line,) = map(json.loads, out.splitlines())
    assert (line["input"], line["outcome"], line["identical"]) == (True, False, False)


def window(**bounds):
    from flowtrade.ports import Window

    return Window(**bounds)


async def test_a_range_of_batches_is_replayed(served, run):
    service, path = served
    records = (await service.history.batches(window(limit=3))).results

    _, out, _ = await in_thread(
        run,
        "replay",
        *("-s", f"sqlite:{path}"),
        *AUTO,
        *("--from", records[1].as_of, "--thru", records[0].as_of),
    )

    assert [json.loads(line)["seq"] for line in out.splitlines()] == [2]


async def test_a_range_is_settled_by_bidder(served, run, monkeypatch):
    _, path = served
    monkeypatch.setenv("FLOWTRADE_SETTLEMENT__LOT", "0.01")
    monkeypatch.setenv("FLOWTRADE_SETTLEMENT__FEE", "0.001")
    times = [format_timestamp(START), format_timestamp(START + 1800 * 10**9)]

    code, out, _ = await in_thread(run, "settle", *times, "-s", f"sqlite:{path}")

    assert code == 0
    told = json.loads(out)
    assert told["batches"] == 3
    assert told["fees"] == sum(s["fees"] for s in told["statements"])
    alice, bob = told["statements"]
    # The first batch comes some operations after the start: nanoseconds.
    assert alice["holdings"][0]["lots"] == -bob["holdings"][0]["lots"] == -200
    assert alice["cash"] == -bob["cash"] == 2200

    _, out, _ = await in_thread(
        run, "settle", *times, "-s", f"sqlite:{path}", "--bidder", BOB
    )
    assert [s["bidder"] for s in json.loads(out)["statements"]] == [BOB]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["settle", "2024-01-01T00:00:00Z", "2200-01-01T00:00:00Z"], "the future"),
        (["settle", "2024-01-02T00:00:00Z", "2024-01-01T00:00:00Z"], "before thru"),
        (["settle", "yesterday", "2024-01-01T00:00:00Z"], "begin"),
        (["replay", "--from", "2200-01-01T00:00:00Z"], "no batch in this range"),
        (["replay", "--as-of", "noon"], "as_of"),
        (
            ["settle", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "--bidder", "x"],
            "traded nothing",
        ),
    ],
)
async def test_what_cannot_be_answered_is_one_line(served, run, arguments, reason):
    _, path = served

    code, out, err = await in_thread(run, *arguments, "-s", f"sqlite:{path}")

    assert (code, out) == (2, "")
    assert reason in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:no-such.db", "there is no store"),
        ("memory:", "ends with its process"),
        ("mysql:x", "a store is"),
    ],
)
@pytest.mark.parametrize("command", ["replay", "backup"])
def test_a_store_that_is_none_is_refused(run, tmp_path, command, url, reason):
    arguments = [tmp_path / "copy.db"] if command == "backup" else []

    code, _, err = run(command, *arguments, "-s", url)

    assert code == 2
    assert reason in err or "backup copies" in err
    assert not (tmp_path / "copy.db").exists()


async def test_a_copy_taken_while_the_service_writes_opens_as_a_store(
    served, run, tmp_path
):
    service, path = served
    copy = tmp_path / "copy.db"

    async def write():
        while not copy.exists():
            await service.create_product(b"null")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        code, out, _ = await in_thread(run, "backup", copy, "-s", f"sqlite:{path}")

    assert code == 0
    assert "checked" in out
    async with open_for_reading(StoreSettings(url=f"sqlite:{copy}")) as store:
        assert len(await store.batches(window(limit=9))) == 3
        with pytest.raises(StoreFailed):
            await trio.to_thread.run_sync(backup_sqlite, path, copy)
    assert {file.name for file in tmp_path.iterdir() if "part" in file.name} == set()


def test_a_copy_of_something_else_is_refused(run, tmp_path):
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as file:
        file.execute("CREATE TABLE x (y)")

    code, _, err = run("backup", tmp_path / "copy.db", "-s", f"sqlite:{other}")

    assert code == 2
    assert "is no store of this program" in err


def test_migrate_makes_a_store_and_finds_one_that_is_in_use(run, tmp_path):
    url = f"sqlite:{tmp_path / 'new.db'}"

    assert run("migrate", "-s", url)[0] == 0
    assert run("migrate", "-s", url)[0] == 0
    assert run("migrate", "-s", f"sqlite:{tmp_path}")[0] == 2


async def test_migrate_does_not_disturb_a_running_service(served, run):
    _, path = served

    code, _, err = await in_thread(run, "migrate", "-s", f"sqlite:{path}")

    assert code == 2
    assert "another process serves" in err
