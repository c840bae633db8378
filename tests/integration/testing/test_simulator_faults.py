"""Faults of the simulated exchange: a client notices each, and recovers."""

import json

import httpx
import pytest
import trio

trio_websocket = pytest.importorskip("trio_websocket")

from integration.testing import SimulatedExchange, SyntheticMarket  # noqa: E402
from integration.testing.faults import (  # noqa: E402
    ClockSkew,
    Disconnect,
    Duplicate,
    Gap,
    HalfOpen,
    Malformed,
    MalformedForm,
    Oversized,
    RateLimit,
    Refuse,
    Reorder,
    Restart,
    ScheduledFault,
    ShutdownNotice,
    SilentStop,
    StaleSnapshot,
)

SECOND = 1_000_000_000
DEPTH = "btcusdt@depth@100ms"


# ---- faults of messages


@pytest.mark.parametrize(
    ("fault", "gaps", "snapshots"),
    [
        (Gap(symbol="BTCUSDT"), 1, 2),
        (Gap(symbol="BTCUSDT", count=3), 1, 2),
        (Reorder(symbol="BTCUSDT"), 1, 2),
        (Duplicate(symbol="BTCUSDT", count=2), 0, 1),
    ],
)
async def test_a_client_notices_what_happened_to_depth(
    sim, connect, fault, gaps, snapshots
):
    async with connect(sim) as client:
        await client.subscribe(DEPTH)
        book = client.follower("BTCUSDT")
        await sim.advance(sim.time_ns + SECOND)
        await client.catch_up(book)

        await sim.inject(fault)
        await sim.advance(sim.time_ns + SECOND)
        await client.catch_up(book)

        assert (book.gaps, book.snapshots) == (gaps, snapshots)
        assert book.dropped > 0 or isinstance(fault, Gap)


async def test_a_stale_snapshot_has_to_be_fetched_again(sim, connect):
    async with connect(sim) as client:
        await sim.inject(StaleSnapshot(symbol="BTCUSDT", count=2))
        await sim.advance(sim.time_ns + 5 * SECOND)
        await client.subscribe(DEPTH)
        book = client.follower("BTCUSDT")

        await sim.advance(sim.time_ns + SECOND)
        await client.catch_up(book)

        assert book.snapshots == 3


@pytest.mark.parametrize(
    "form",
    [
        form
        for form in MalformedForm
        if form not in {MalformedForm.INVALID_UTF8, MalformedForm.RESERVED_BIT}
    ],
)
async def test_malformed_content_arrives_and_the_feed_goes_on(sim, connect, form):
    async with connect(sim) as client:
        await client.subscribe("btcusdt@trade")
        await sim.inject(Malformed(form=form))
        await sim.advance(sim.time_ns + 5 * SECOND)

        broken = await client.socket.get_message()
        assert not broken.startswith('{"e":"trade"')
        assert (await client.receive())["e"] == "trade"


@pytest.mark.parametrize(
    ("form", "first_byte"),
    [(MalformedForm.INVALID_UTF8, 0x81), (MalformedForm.RESERVED_BIT, 0xA1)],
)
async def test_broken_frames_reach_the_client_raw(sim, form, first_byte, raw_websocket):
    async with raw_websocket(sim) as stream:
        await sim.wait_clients(1)
        await sim.inject(Malformed(form=form))

        frame = await stream.receive_some()

    assert frame[0] == first_byte
    if form is MalformedForm.INVALID_UTF8:
        with pytest.raises(UnicodeDecodeError):
            frame[2:].decode()
    await sim.wait_clients(0)


async def test_an_oversized_message_has_exactly_the_size_asked_for(sim, connect):
    async with connect(sim) as client:
        await sim.wait_clients(1)
        await sim.inject(Oversized(size=100_000))

        text = await client.socket.get_message()

    assert len(text) == 100_000
    assert json.loads(text)


async def test_the_shutdown_notice_is_the_venues(sim, connect):
    async with connect(sim) as client:
        await sim.wait_clients(1)
        await sim.inject(ShutdownNotice())

        assert (await client.receive())["e"] == "serverShutdown"


# ---- faults of connections


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1012, 1013])
async def test_a_disconnect_carries_its_code_and_reason(sim, connect, code):
    async with connect(sim) as client:
        await sim.wait_clients(1)
        await sim.inject(Disconnect(code=code, reason="because"))

        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await client.socket.get_message()

    assert closed.value.reason.code == code
    assert closed.value.reason.reason == "because"


async def test_the_venue_waits_for_its_close_to_be_answered(sim, raw_websocket):
    async with raw_websocket(sim) as stream:
        await sim.wait_clients(1)
        await sim.inject(Disconnect(code=1001))
        assert await stream.receive_some() == b"\x88\x02\x03\xe9"

        with trio.move_on_after(0.1) as patience:
            await stream.receive_some()
        assert patience.cancelled_caught  # still open
        await stream.send_all(b"\x88\x82\x00\x00\x00\x00\x03\xe9")
        assert await stream.receive_some() == b""


async def test_disconnect_1006_sends_no_close_frame(sim, connect):
    async with connect(sim) as client:
        await sim.wait_clients(1)
        await sim.inject(Disconnect(code=1006))

        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await client.socket.get_message()

    assert closed.value.reason.code == 1006


async def test_a_silent_stop_answers_pings_and_requests_but_sends_no_data(sim, connect):
    async with connect(sim) as client:
        await client.subscribe(DEPTH)
        await sim.inject(SilentStop())
        await sim.advance(sim.time_ns + SECOND)

        await client.socket.ping(b"alive?")
        listed = await client.ask(method="LIST_SUBSCRIPTIONS", id=2)

    assert listed == {"result": [DEPTH], "id": 2}


async def test_a_silent_stop_that_ends_leaves_a_gap(sim, connect):
    async with connect(sim) as client:
        await client.subscribe(DEPTH)
        book = client.follower("BTCUSDT")
        await sim.advance(sim.time_ns + SECOND)
        await client.catch_up(book)

        await sim.inject(SilentStop(duration_ms=500))
        await sim.advance(sim.time_ns + SECOND)
        await client.catch_up(book)

    assert book.gaps == 1


async def test_a_half_open_connection_answers_nothing_until_it_is_left(
    sim, raw_websocket
):
    async with raw_websocket(sim) as stream:
        await sim.wait_clients(1)
        await sim.inject(HalfOpen())
        await stream.send_all(b"\x89\x80\x00\x00\x00\x00")  # an empty ping
        await sim.advance(sim.time_ns + SECOND)

        with trio.move_on_after(0.2) as patience:
            await stream.receive_some()
        assert patience.cancelled_caught
        await stream.send_eof()

        assert await stream.receive_some() == b""
    await sim.wait_clients(0)


async def test_refusing_leaves_open_connections_alone(sim, connect):
    async with connect(sim) as client:
        await client.subscribe("btcusdt@trade")
        await sim.inject(Refuse(duration_ms=1000))
        with pytest.raises(httpx.ConnectError):
            await client.get("/api/v3/ping")

        await sim.advance(sim.time_ns + 5 * SECOND)

        assert (await client.receive())["e"] == "trade"
        assert (await client.get("/api/v3/ping")).status_code == 200


async def test_a_restart_kills_everything_and_comes_back_on_the_same_port(sim, connect):
    async with connect(sim) as client:
        await client.get("/api/v3/ping")
        await client.subscribe(DEPTH)
        port = sim.port
        await sim.inject(Restart(downtime_ms=2000))

        with pytest.raises(trio_websocket.ConnectionClosed):
            await client.socket.get_message()
        with pytest.raises(httpx.ConnectError):
            await client.get("/api/v3/ping")
        await sim.advance(sim.time_ns + 2 * SECOND)

    async with connect(sim) as again:
        assert sim.port == port
        await again.subscribe(DEPTH)
        book = again.follower("BTCUSDT")
        await sim.advance(sim.time_ns + SECOND)
        await again.catch_up(book)


# ---- faults of requests and clocks


@pytest.mark.parametrize(("status", "retry_after"), [(429, 7), (418, 120), (429, None)])
async def test_rate_limiting_on_demand(sim, connect, status, retry_after):
    async with connect(sim) as client:
        await sim.inject(RateLimit(status=status, retry_after=retry_after))
        reply = await client.get("/api/v3/ping")

        assert reply.status_code == status
        assert reply.json()["code"] == -1003
        expected = None if retry_after is None else str(retry_after)
        assert reply.headers.get("Retry-After") == expected
        assert (await client.get("/api/v3/ping")).status_code == 200


async def test_a_skewed_clock_shows_in_messages_and_in_the_time_route(sim, connect):
    async with connect(sim) as client:
        await client.subscribe(DEPTH)
        await sim.inject(ClockSkew(offset_ms=-5000))
        await sim.advance(sim.time_ns + 100_000_000)

        told = (await client.get("/api/v3/time")).json()["serverTime"]
        event = await client.receive()

    assert told == sim.time_ns // 1_000_000 - 5000
    assert event["E"] == told


async def test_a_script_strikes_in_market_time(connect):
    script = [
        ScheduledFault(after_ms=1000, fault=Gap(symbol="BTCUSDT", count=2)),
        ScheduledFault(after_ms=2000, fault=Disconnect(code=1012)),
    ]
    async with (
        SimulatedExchange(SyntheticMarket(1), faults=script) as sim,
        connect(sim) as client,
    ):
        await client.subscribe(DEPTH)
        for _ in range(19):
            await sim.advance(sim.time_ns + 100_000_000)
        times = [(await client.receive())["E"] for _ in range(17)]
        await sim.advance(sim.time_ns + 100_000_000)
        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await client.read_on()

    begin = SyntheticMarket(1).start_ns // 1_000_000
    missing = {begin + 100 * n for n in range(1, 20)} - set(times)
    assert missing == {begin + 1100, begin + 1200}
    assert closed.value.reason.code == 1012
