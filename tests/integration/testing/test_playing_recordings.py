"""Recordings over the wire: with their timing, at full speed, in a loop, resynced."""

import json
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

pytest.importorskip("trio_websocket")

from integration.testing import RecordedMarket, SimulatedExchange
from integration.testing.dialect import Limits
from integration.testing.faults import Gap

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
DEPTH = "btcusdt@depth@100ms"
SECOND = 1_000_000_000
STEP = 100_000_000


def message(time_ns, text):
    return f"{time_ns} {text}"


def depth(time_ns, number):
    """One level up, another down; ids count by three."""
    first, last = 10 + 3 * number, 12 + 3 * number
    data = {
        "e": "depthUpdate",
        "E": time_ns // 10**6,
        "s": "BTCUSDT",
        "U": first,
        "u": last,
        "b": [[f"{90 + number % 9}.0", f"{number % 4}"]],
        "a": [[f"{110 - number % 9}.0", f"{(number + 1) % 4}"]],
    }
    return message(time_ns, json.dumps({"stream": DEPTH, "data": data}))


@pytest.fixture
def recording(tmp_path):
    """Ten seconds of one hundred depth events, with a snapshot at the start."""
    path = tmp_path / "recording"
    shot = {"lastUpdateId": 10, "bids": [["89.0", "5"]], "asks": [["111.0", "5"]]}
    lines = [message(SECOND, json.dumps(shot))]
    lines += [depth(SECOND + (n + 1) * STEP, n) for n in range(100)]
    path.write_text("\n".join(lines) + "\n")
    return path


@asynccontextmanager
async def following(connect, market, symbol="BTCUSDT"):
    limits = Limits(weight_per_minute=10**9)
    stream = f"{symbol.lower()}@depth@100ms"
    async with (
        SimulatedExchange(market, limits=limits) as sim,
        connect(sim, f"/ws/{stream}") as client,
    ):
        await sim.wait_subscribed(stream)
        yield sim, client, client.follower(symbol, limit=5000)


def assert_same_top(follower, image, depth=100):
    assert follower.sequence == image.sequence
    top = image.top(depth)
    bids, asks = follower.top(depth)
    assert [(level.price, level.amount) for level in top.bids] == bids
    assert [(level.price, level.amount) for level in top.asks] == asks


async def test_at_full_speed_the_book_is_the_recordings(connect, recording):
    async with following(connect, RecordedMarket([recording])) as (sim, client, book):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sim.run, 0)
            await client.follow_to(book, 12 + 3 * 99)

        assert sim.finished
        assert_same_top(book, sim.final_book("BTCUSDT"))
    assert book.gaps == 0


async def test_messages_come_out_byte_for_byte(connect, recording):
    async with following(connect, RecordedMarket([recording])) as (sim, client, _):
        await sim.advance(sim.time_ns + 20 * SECOND)
        sent = [await client.socket.get_message() for _ in range(100)]

    lines = recording.read_text().splitlines()[1:]
    assert [json.loads(text) for text in sent] == [
        json.loads(line.split(" ", 1)[1])["data"] for line in lines
    ]


async def test_the_recorded_timing_is_kept(connect, recording):
    async with following(connect, RecordedMarket([recording])) as (sim, client, book):
        began, speed = trio.current_time(), 20.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sim.run, speed)
            await client.follow_to(book, 12 + 3 * 99)
            # Ten seconds at twenty times the speed cannot take less than half a one.
            assert trio.current_time() - began >= 10 / speed
    assert book.gaps == 0


async def test_who_comes_late_gets_the_book_of_that_moment(connect, recording):
    market = RecordedMarket([recording])
    async with SimulatedExchange(market) as sim:
        await sim.advance(sim.time_ns + 5 * SECOND)
        async with connect(sim, f"/ws/{DEPTH}") as client:
            await sim.wait_subscribed(DEPTH)
            book = client.follower("BTCUSDT")
            await sim.advance(sim.time_ns + 5 * SECOND)
            await client.follow_to(book, sim.sequence("BTCUSDT"))

            assert_same_top(book, sim.final_book("BTCUSDT"))
    assert (book.gaps, book.snapshots) == (0, 1)


async def test_who_lost_a_message_is_resynced(connect, recording):
    async with following(connect, RecordedMarket([recording])) as (sim, client, book):
        await sim.advance(sim.time_ns + 3 * SECOND)
        await client.follow_to(book, sim.sequence("BTCUSDT"))
        await sim.inject(Gap(symbol="BTCUSDT", count=2))

        await sim.advance(sim.time_ns + 3 * SECOND)
        await client.follow_to(book, sim.sequence("BTCUSDT"))

        assert_same_top(book, sim.final_book("BTCUSDT"))
    assert (book.gaps, book.snapshots) == (1, 2)


async def test_what_precedes_the_snapshot_is_sent_but_changes_no_book(tmp_path):
    path = tmp_path / "recording"
    shot = {"lastUpdateId": 18, "bids": [["89.0", "5"]], "asks": [["111.0", "5"]]}
    lines = [depth(n * STEP, n) for n in range(1, 5)]
    path.write_text("\n".join([*lines, message(5 * STEP, json.dumps(shot))]) + "\n")

    async with SimulatedExchange(RecordedMarket([path])) as sim:
        before = sim.final_book("BTCUSDT")
        assert await sim.advance(2 * STEP) == 2
        assert sim.final_book("BTCUSDT") == before
        await sim.advance(3 * STEP)
        assert sim.sequence("BTCUSDT") == 21


async def test_a_loop_is_one_long_session(connect, recording):
    market = RecordedMarket([recording], loop=True)
    async with following(connect, market) as (sim, client, book):
        for _ in range(5):
            await sim.advance(sim.time_ns + 7 * SECOND)
            await client.follow_to(book, sim.sequence("BTCUSDT"))
            assert_same_top(book, sim.final_book("BTCUSDT"))

    assert (book.gaps, book.snapshots) == (0, 1)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
async def test_a_real_recording_is_followed_over_the_wire(connect, symbol):
    path = DATA / f"recordings/binance_spot_{symbol.lower()}_20240808.gz"
    if not path.exists():
        pytest.skip(f"{path.name} absent")
    async with following(connect, RecordedMarket([path]), symbol) as (
        sim,
        client,
        book,
    ):
        for _ in range(4):
            await sim.advance(sim.time_ns + 10 * SECOND)
            await client.follow_to(book, sim.sequence(symbol))

        assert_same_top(book, sim.final_book(symbol))
    assert book.gaps == 0


async def test_another_client_reads_the_same_book(recording):
    """The `websockets` library, which shares no code with the simulator's."""
    websockets = pytest.importorskip("websockets.trio.client")
    async with (
        SimulatedExchange(RecordedMarket([recording])) as sim,
        websockets.connect(f"{sim.websocket_url}/{DEPTH}") as socket,
    ):
        await sim.wait_subscribed(DEPTH)
        await sim.advance(sim.time_ns + 2 * SECOND)
        first = json.loads(await socket.recv())
        await socket.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
        last = first
        while "result" not in last:
            last = json.loads(await socket.recv())

    assert first["U"] == 10
    assert last == {"result": [DEPTH], "id": 1}
