"""The program market-recorder, against a simulated exchange and its own recordings."""

import json
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

pytest.importorskip("trio_websocket")
pytest.importorskip("cyclopts")

from integration.testing import (
    RecordedMarket,
    SimulatedExchange,
    SyntheticMarket,
)
from integration.testing.dialect import Limits
from integration.testing.events import TradeDone
from integration.testing.faults import Gap
from netcore.testing import reserved_port

COMMAND = [sys.executable, "-m", "market_recorder.cli"]
SECOND = 1_000_000_000
GUARD_SECONDS = 300  # against hanging; nothing asserts a duration
STREAMS = [
    f"{symbol}@{channel}"
    for symbol in ("btcusdt", "ethusdt")
    for channel in ("trade", "bookTicker", "depth@100ms")
]


@asynccontextmanager
async def recording(sim, folder, *arguments: str):
    """A recorder that has subscribed to everything; yields its process."""
    process = await trio.lowlevel.open_process(
        [
            *(*COMMAND, "record", "--out", str(folder)),
            *("--instruments", "btc_usdt,eth_usdt", *arguments),
            *("--websocket-url", sim.websocket_url, "--rest-url", sim.rest_url),
        ],
        stderr=-1,
    )
    try:
        with trio.fail_after(GUARD_SECONDS):
            await sim.wait_subscribed(*STREAMS)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await process.stderr.aclose()


async def finish(process, number=signal.SIGTERM) -> int:
    process.send_signal(number)
    with trio.fail_after(GUARD_SECONDS):
        return await process.wait()


async def run(*arguments: str):
    with trio.fail_after(GUARD_SECONDS):
        return await trio.run_process(
            [*COMMAND, *arguments],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )


def images_in(folder: Path) -> int:
    """How many HTTP responses are on the disk."""
    journal = folder / "http.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


async def images(folder: Path, count: int) -> None:
    """Wait until the recorder, which may be slow, has so many images of books."""
    with trio.fail_after(GUARD_SECONDS):
        while images_in(folder) < count:
            await trio.testing.wait_all_tasks_blocked(0.01)


async def all_read(sim) -> None:
    """Wait until the recorder has read all that was sent."""
    with trio.fail_after(GUARD_SECONDS):
        await sim.wait_read()


async def test_a_recording_holds_what_the_exchange_sent(tmp_path):
    folder = tmp_path / "recording"
    async with (
        SimulatedExchange(SyntheticMarket(9)) as sim,
        recording(sim, folder) as process,
    ):
        for _ in range(5):
            await sim.advance(sim.time_ns + SECOND)
            await images(folder, 2)
        books = {symbol: sim.final_book(symbol) for symbol in ("BTCUSDT", "ETHUSDT")}
        await all_read(sim)
        sent = sim.stats.messages
        assert await finish(process, signal.SIGINT) == 0

    inspected = await run("inspect", str(folder), "--json")
    assert inspected.returncode == 0, inspected.stderr
    summary = json.loads(inspected.stdout)
    assert summary["complete"]
    assert summary["http"] == {"200": 2}
    assert summary["whole"], summary
    # One more answered the subscription.
    assert (summary["sessions"], summary["messages"]) == (1, sent + 1)
    for book in summary["books"]:
        final = books[book["instrument"].replace("_spot", "").replace("_", "").upper()]
        assert book["state"] == "live"
        assert book["sequence"] <= final.sequence
        assert book["bids"] > 100


async def test_a_recording_becomes_a_source_of_the_simulator(tmp_path):
    folder, copy = tmp_path / "recording", tmp_path / "copy.gz"
    async with (
        SimulatedExchange(SyntheticMarket(9)) as sim,
        recording(sim, folder) as process,
    ):
        await sim.advance(sim.time_ns + SECOND)
        await images(folder, 2)
        await sim.advance(sim.time_ns + 5 * SECOND)
        await all_read(sim)
        assert await finish(process) == 0

    assert (await run("export", str(folder), str(copy))).returncode == 0

    market = RecordedMarket([copy])
    # They are in the order in which their images came, which is nobody's.
    assert set(market.specs) == {"BTCUSDT", "ETHUSDT"}
    played = market.advance(market.start_ns + 3600 * SECOND)
    twin = SyntheticMarket(9)
    lived = twin.advance(twin.start_ns + 6 * SECOND)
    recorded = [e.trade_id for e in played if isinstance(e, TradeDone)]
    happened = [
        e.trade_id
        for e in lived
        if isinstance(e, TradeDone) and e.symbol in market.specs
    ]
    assert recorded == happened
    assert len(recorded) > 20
    again = await run("export", str(folder), str(copy))
    assert again.returncode == 2
    assert b"exists" in again.stderr


async def test_playing_shows_what_a_consumer_would_have_seen(tmp_path):
    folder = tmp_path / "recording"
    limits = Limits(weight_per_minute=10**6)
    async with (
        SimulatedExchange(SyntheticMarket(9), limits=limits) as sim,
        recording(sim, folder) as process,
    ):
        await sim.advance(sim.time_ns + SECOND)
        await images(folder, 2)
        await sim.inject(Gap(symbol="BTCUSDT"))
        with trio.fail_after(GUARD_SECONDS):
            while images_in(folder) < 3:
                await sim.advance(sim.time_ns + SECOND)
                await sim.drain()
                await trio.testing.wait_all_tasks_blocked(0.01)
        await sim.advance(sim.time_ns + SECOND)
        await all_read(sim)
        assert await finish(process) == 0

    played = await run("play", str(folder))
    events = [json.loads(line) for line in played.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert {"public_trade", "l1", "l2"} <= set(kinds)
    assert kinds.index("BookStale") < kinds.index("BookResynced")
    assert (await run("play", str(folder), "--speed", "1000")).stdout == played.stdout


async def test_a_duration_ends_the_recording(tmp_path):
    folder = tmp_path / "recording"
    async with (
        SimulatedExchange(SyntheticMarket(9)) as sim,
        recording(sim, folder, "--duration", "0.01") as process,
    ):
        with trio.fail_after(GUARD_SECONDS):
            assert await process.wait() == 0

    assert json.loads((folder / "recording.json").read_text())["ended_ns"]


async def test_a_full_folder_ends_it_with_two(tmp_path):
    (tmp_path / "something").touch()

    result = await run("record", "--out", str(tmp_path))

    assert result.returncode == 2
    assert result.stderr.decode().splitlines() == [
        f"market-recorder: {tmp_path}: is not empty; choose another folder"
    ]


async def test_an_exchange_that_is_not_there_ends_it_with_one(tmp_path):
    with reserved_port() as port:
        result = await run(
            *("record", "--out", str(tmp_path / "recording")),
            *("--websocket-url", f"ws://127.0.0.1:{port}/ws"),
            *("--rest-url", f"http://127.0.0.1:{port}"),
        )

    assert result.returncode == 1
    (line,) = result.stderr.decode().splitlines()
    assert line.startswith("market-recorder: ")


@pytest.mark.parametrize("command", ["inspect", "play"])
async def test_a_folder_that_is_no_recording_ends_it_with_two(tmp_path, command):
    result = await run(command, str(tmp_path))

    assert result.returncode == 2
    (line,) = result.stderr.decode().splitlines()
    assert str(tmp_path) in line
