"""The simulated exchange as a client sees it: over sockets, with every fault."""

import itertools
import json
import ssl
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

trio_websocket = pytest.importorskip("trio_websocket")
trustme = pytest.importorskip("trustme")

from integration.testing import SimulatedExchange, SyntheticMarket  # noqa: E402
from integration.testing.dialect import Limits  # noqa: E402
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
from integration.testing.server import AddressInUseError  # noqa: E402
from integration.testing.simulator import UnknownDialectError  # noqa: E402

SECOND = 1_000_000_000
DEPTH = "btcusdt@depth@100ms"


@pytest.fixture
async def sim():
    async with SimulatedExchange(SyntheticMarket(1)) as exchange:
        yield exchange


async def subscribe(client, *streams):
    reply = await client.ask(method="SUBSCRIBE", params=list(streams), id=1)
    assert reply == {"result": None, "id": 1}


async def read_on(client):
    """Read to the end of the connection, which is an exception."""
    while True:
        await client.socket.get_message()


def assert_same_book(follower, image):
    assert follower.sequence == image.sequence
    assert [(lv.price, lv.amount) for lv in image.bids] == follower.top(10_000)[0]
    assert [(lv.price, lv.amount) for lv in image.asks] == follower.top(10_000)[1]


async def catch_up(sim, client, follower):
    await client.follow_to(follower, sim.sequence(follower.symbol))
    assert_same_book(follower, sim.final_book(follower.symbol))


@asynccontextmanager
async def handshake(sim, target="/ws"):
    """A TCP stream after a handshake, and the venue's answer; no library between."""
    async with await trio.open_tcp_stream("127.0.0.1", sim.port) as stream:
        await stream.send_all(
            b"GET %b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % target.encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        yield stream, head


@asynccontextmanager
async def raw_websocket(sim, target="/ws"):
    """A stream that speaks WebSocket from now on."""
    async with handshake(sim, target) as (stream, head):
        assert head.startswith(b"HTTP/1.1 101")
        # The key and its answer are RFC 6455's example, section 1.3.
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        yield stream


# ---- following


async def test_a_client_by_the_venues_procedure_ends_with_the_final_book(sim, connect):
    async with connect(sim) as client:
        await subscribe(client, DEPTH)
        book = client.follower("BTCUSDT")

        for _ in range(5):
            await sim.advance(sim.time_ns + SECOND)
            await catch_up(sim, client, book)

        assert book.gaps == 0
        assert book.snapshots == 1


async def test_a_late_client_ends_with_the_final_book(sim, connect):
    await sim.advance(sim.time_ns + 30 * SECOND)
    async with connect(sim, "/stream?streams=" + DEPTH) as client:
        await sim.wait_subscribed(DEPTH)
        book = client.follower("BTCUSDT")

        await sim.advance(sim.time_ns + SECOND)

        await catch_up(sim, client, book)
        assert book.gaps == 0


async def test_a_slow_stream_of_one_second_reaches_the_same_book(sim, connect):
    async with connect(sim, "/ws/btcusdt@depth") as client:
        await sim.wait_subscribed("btcusdt@depth")
        book = client.follower("BTCUSDT")
        await sim.advance(sim.time_ns + 10 * SECOND)

        # The last second is told when the next begins.
        told = sim.final_book("BTCUSDT")
        await client.follow_to(book, told.sequence - 200)
        await sim.advance(sim.time_ns + 2 * SECOND)
        await client.follow_to(book, told.sequence)

        assert book.gaps == 0
        assert book.snapshots == 1


async def test_in_real_time_snapshots_may_fall_between_depth_messages(connect):
    limits = Limits(weight_per_minute=10**9)
    async with (
        SimulatedExchange(SyntheticMarket(3), limits=limits) as sim,
        connect(sim, "/ws/" + DEPTH) as client,
    ):
        book = client.follower("BTCUSDT")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sim.run, 5.0)
            while True:
                reply = await client.get("/api/v3/depth", symbol="BTCUSDT", limit=5)
                if reply.json()["lastUpdateId"] > sim.sequence("BTCUSDT"):
                    break
            await client.follow_to(book, sim.sequence("BTCUSDT") + 1)
            nursery.cancel_scope.cancel()

        await sim.advance(sim.time_ns + SECOND)
        await catch_up(sim, client, book)
    assert book.gaps == 0


async def test_lockstep_sends_the_same_bytes_however_time_is_cut(connect):
    async def record(seed: int, step_ns: int) -> list[str]:
        async with (
            SimulatedExchange(SyntheticMarket(seed)) as sim,
            connect(sim) as client,
        ):
            await subscribe(client, DEPTH, "ethusdt@trade", "solusdt@bookTicker")
            end = sim.time_ns + 2 * SECOND
            while sim.time_ns < end:
                await sim.advance(min(end, sim.time_ns + step_ns))
            sent = sim.stats.messages
            return [await client.socket.get_message() for _ in range(sent)]

    whole = await record(5, 2 * SECOND)

    assert await record(5, 2 * SECOND) == whole
    assert await record(5, 37_000_001) == whole
    assert await record(6, 2 * SECOND) != whole


async def test_lockstep_stops_only_where_requests_and_messages_agree(sim, connect):
    async with connect(sim) as client:
        for _ in range(20):
            await sim.advance(sim.time_ns + 77_777_777)
            reply = await client.get("/api/v3/depth", symbol="BTCUSDT")
            assert reply.json()["lastUpdateId"] == sim.sequence("BTCUSDT")


async def test_trades_and_quotes_arrive_in_the_order_of_the_market(sim, connect):
    async with connect(sim, "/stream?streams=btcusdt@trade/btcusdt@bookTicker") as c:
        await sim.wait_subscribed("btcusdt@trade")
        await sim.advance(sim.time_ns + 20 * SECOND)
        messages = [await c.receive() for _ in range(sim.stats.messages)]

    trades = [m["data"] for m in messages if m["stream"] == "btcusdt@trade"]
    quotes = [m["data"] for m in messages if m["stream"] == "btcusdt@bookTicker"]
    assert len(trades) > 10
    assert all(b["t"] == a["t"] + 1 for a, b in itertools.pairwise(trades))
    assert all(a["u"] < b["u"] for a, b in itertools.pairwise(quotes))
    assert all(float(q["b"]) < float(q["a"]) for q in quotes)


async def test_unsubscribing_stops_the_stream(sim, connect):
    async with connect(sim) as client:
        await subscribe(client, DEPTH, "btcusdt@trade")
        await client.ask(method="UNSUBSCRIBE", params=[DEPTH], id=2)
        await sim.advance(sim.time_ns + 5 * SECOND)
        events = {(await client.receive())["e"] for _ in range(sim.stats.messages)}

    assert events == {"trade"}


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
        await subscribe(client, DEPTH)
        book = client.follower("BTCUSDT")
        await sim.advance(sim.time_ns + SECOND)
        await catch_up(sim, client, book)

        await sim.inject(fault)
        await sim.advance(sim.time_ns + SECOND)
        await catch_up(sim, client, book)

        assert (book.gaps, book.snapshots) == (gaps, snapshots)
        assert book.dropped > 0 or isinstance(fault, Gap)


async def test_a_stale_snapshot_has_to_be_fetched_again(sim, connect):
    async with connect(sim) as client:
        await sim.inject(StaleSnapshot(symbol="BTCUSDT", count=2))
        await sim.advance(sim.time_ns + 5 * SECOND)
        await subscribe(client, DEPTH)
        book = client.follower("BTCUSDT")

        await sim.advance(sim.time_ns + SECOND)
        await catch_up(sim, client, book)

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
        await subscribe(client, "btcusdt@trade")
        await sim.inject(Malformed(form=form))
        await sim.advance(sim.time_ns + 5 * SECOND)

        broken = await client.socket.get_message()
        assert not broken.startswith('{"e":"trade"')
        assert (await client.receive())["e"] == "trade"


@pytest.mark.parametrize(
    ("form", "first_byte"),
    [(MalformedForm.INVALID_UTF8, 0x81), (MalformedForm.RESERVED_BIT, 0xA1)],
)
async def test_broken_frames_reach_the_client_raw(sim, form, first_byte):
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


async def test_the_venue_waits_for_its_close_to_be_answered(sim):
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
        await subscribe(client, DEPTH)
        await sim.inject(SilentStop())
        await sim.advance(sim.time_ns + SECOND)

        await client.socket.ping(b"alive?")
        listed = await client.ask(method="LIST_SUBSCRIPTIONS", id=2)

    assert listed == {"result": [DEPTH], "id": 2}


async def test_a_silent_stop_that_ends_leaves_a_gap(sim, connect):
    async with connect(sim) as client:
        await subscribe(client, DEPTH)
        book = client.follower("BTCUSDT")
        await sim.advance(sim.time_ns + SECOND)
        await catch_up(sim, client, book)

        await sim.inject(SilentStop(duration_ms=500))
        await sim.advance(sim.time_ns + SECOND)
        await catch_up(sim, client, book)

    assert book.gaps == 1


async def test_a_half_open_connection_answers_nothing_until_it_is_left(sim):
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
        await subscribe(client, "btcusdt@trade")
        await sim.inject(Refuse(duration_ms=1000))
        with pytest.raises(httpx.ConnectError):
            await client.get("/api/v3/ping")

        await sim.advance(sim.time_ns + 5 * SECOND)

        assert (await client.receive())["e"] == "trade"
        assert (await client.get("/api/v3/ping")).status_code == 200


async def test_a_restart_kills_everything_and_comes_back_on_the_same_port(sim, connect):
    async with connect(sim) as client:
        await client.get("/api/v3/ping")
        await subscribe(client, DEPTH)
        port = sim.port
        await sim.inject(Restart(downtime_ms=2000))

        with pytest.raises(trio_websocket.ConnectionClosed):
            await client.socket.get_message()
        with pytest.raises(httpx.ConnectError):
            await client.get("/api/v3/ping")
        await sim.advance(sim.time_ns + 2 * SECOND)

    async with connect(sim) as again:
        assert sim.port == port
        await subscribe(again, DEPTH)
        book = again.follower("BTCUSDT")
        await sim.advance(sim.time_ns + SECOND)
        await catch_up(sim, again, book)


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
        await subscribe(client, DEPTH)
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
        await subscribe(client, DEPTH)
        for _ in range(19):
            await sim.advance(sim.time_ns + 100_000_000)
        times = [(await client.receive())["E"] for _ in range(17)]
        await sim.advance(sim.time_ns + 100_000_000)
        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await read_on(client)

    begin = SyntheticMarket(1).start_ns // 1_000_000
    missing = {begin + 100 * n for n in range(1, 20)} - set(times)
    assert missing == {begin + 1100, begin + 1200}
    assert closed.value.reason.code == 1012


# ---- limits


async def test_too_many_inbound_messages_end_the_connection(connect):
    limits = Limits(messages_per_second=5)
    async with (
        SimulatedExchange(SyntheticMarket(1), limits=limits) as sim,
        connect(sim) as client,
    ):
        for n in range(6):
            await client.socket.send_message(
                json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": n})
            )
        answers = [await client.receive() for _ in range(5)]
        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await client.socket.get_message()

    assert all(answer["result"] == [] for answer in answers)
    assert closed.value.reason.code == 1008


async def test_an_inbound_message_over_the_limit_closes_with_1009(connect):
    limits = Limits(max_message_bytes=1000)
    async with (
        SimulatedExchange(SyntheticMarket(1), limits=limits) as sim,
        connect(sim) as client,
    ):
        await client.socket.send_message("x" * 1001)
        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await client.socket.get_message()

    assert closed.value.reason.code == 1009


async def test_a_client_that_does_not_read_is_closed_with_1008_in_real_time(connect):
    limits = Limits(queue_messages=10)
    async with (
        SimulatedExchange(SyntheticMarket(1), limits=limits) as sim,
        connect(sim) as client,
    ):
        await subscribe(client, DEPTH)
        # More than a queue in one step of the clock: nobody could have taken it.
        with sim._exclusively():
            await sim._move(sim.time_ns + 10 * SECOND, patient=False, settle=False)
        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await read_on(client)
        await sim.wait_clients(0)

    assert closed.value.reason.code == 1008
    assert sim.stats.slow_clients == 1


async def test_lockstep_waits_for_a_client_that_reads_slowly(connect):
    limits = Limits(queue_messages=10)
    async with (
        SimulatedExchange(SyntheticMarket(1), limits=limits) as sim,
        connect(sim) as client,
    ):
        await subscribe(client, DEPTH)
        book = client.follower("BTCUSDT")

        await sim.advance(sim.time_ns + 20 * SECOND)
        await catch_up(sim, client, book)

    assert book.gaps == 0
    assert sim.stats.slow_clients == 0


async def test_a_client_that_stalls_in_lockstep_is_let_go():
    limits = Limits(queue_messages=10, stall_s=0.1, close_timeout_s=0.1)
    async with (
        SimulatedExchange(SyntheticMarket(1), limits=limits) as sim,
        raw_websocket(sim, "/ws/" + DEPTH),
    ):
        await sim.wait_subscribed(DEPTH)
        await sim.inject(Oversized(size=2**26))  # more than the kernel will hold

        await sim.advance(sim.time_ns + 10 * SECOND)

        await sim.wait_clients(0)
    assert sim.stats.slow_clients == 1


async def test_a_client_that_sends_no_pong_is_closed():
    limits = Limits(ping_interval_s=0.01, pong_timeout_s=0.05, close_timeout_s=0.1)
    async with (
        SimulatedExchange(SyntheticMarket(1), limits=limits) as sim,
        raw_websocket(sim) as stream,
    ):
        data = b""
        while (chunk := await stream.receive_some()) != b"":
            data += chunk

    assert data[0] == 0x89  # a ping
    assert b"\x88\x0e\x03\xf0Pong timeout" in data  # a close with 1008


async def test_a_client_that_answers_pings_stays():
    limits = Limits(ping_interval_s=0.01, pong_timeout_s=0.5)
    async with (
        SimulatedExchange(SyntheticMarket(1), limits=limits) as sim,
        raw_websocket(sim) as stream,
    ):
        began = trio.current_time()
        while trio.current_time() < began + 2 * limits.pong_timeout_s:
            ping = await stream.receive_some()
            assert ping[0] == 0x89
            # A pong with the ping's payload, masked with zeros.
            size = bytes([0x80 | len(ping) - 2])
            await stream.send_all(b"\x8a" + size + bytes(4) + ping[2:])

        assert len(sim._clients) == 1


async def test_an_old_connection_is_closed_with_1001(connect):
    limits = Limits(lifetime_s=0.05)
    async with (
        SimulatedExchange(SyntheticMarket(1), limits=limits) as sim,
        connect(sim) as client,
    ):
        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await client.socket.get_message()

    assert closed.value.reason.code == 1001


async def test_too_many_connections_are_rejected():
    limits = Limits(connections=2)
    async with SimulatedExchange(SyntheticMarket(1), limits=limits) as sim:
        for status in (b"101", b"101", b"429"):
            async with handshake(sim) as (_, head):
                assert head.split()[1] == status


# ---- the exchange itself


async def test_tls_serves_both_halves(connect):
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async with SimulatedExchange(SyntheticMarket(1), ssl_context=server) as sim:
        assert sim.websocket_url.startswith("wss://127.0.0.1:")
        async with connect(sim, ssl_context=trusting) as client:
            await subscribe(client, DEPTH)
            book = client.follower("BTCUSDT")
            await sim.advance(sim.time_ns + SECOND)
            await catch_up(sim, client, book)


async def test_a_client_speaking_plain_to_tls_harms_nobody(connect):
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async with SimulatedExchange(SyntheticMarket(1), ssl_context=server) as sim:
        async with await trio.open_tcp_stream("127.0.0.1", sim.port) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
            await stream.receive_some()
        async with connect(sim, ssl_context=trusting) as client:
            assert (await client.get("/api/v3/ping")).status_code == 200


async def test_a_taken_port_is_named(sim):
    other = SimulatedExchange(SyntheticMarket(1), port=sim.port)

    with pytest.raises(AddressInUseError, match=str(sim.port)):
        async with other:
            pass


async def test_an_unknown_dialect_is_refused():
    with pytest.raises(UnknownDialectError, match="binance_spot"):
        SimulatedExchange(SyntheticMarket(1), dialect="mtgox")


async def test_errors_of_the_body_come_out_as_they_are():
    with pytest.raises(LookupError, match="mine"):
        async with SimulatedExchange(SyntheticMarket(1)):
            raise LookupError("mine")


async def test_cancelling_the_body_leaves_nothing_behind(connect):
    with trio.CancelScope() as scope:
        async with SimulatedExchange(SyntheticMarket(1)) as sim, connect(sim):
            scope.cancel()
            await trio.sleep_forever()

    assert scope.cancelled_caught
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", sim.port)


async def test_serving_from_a_nursery(connect):
    async with trio.open_nursery() as nursery:
        sim = await nursery.start(SimulatedExchange(SyntheticMarket(1)).serve)
        async with connect(sim) as client:
            assert (await client.get("/api/v3/ping")).status_code == 200
        nursery.cancel_scope.cancel()


async def test_only_one_task_moves_the_market(sim):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sim.run)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await sim.advance(sim.time_ns + SECOND)
        nursery.cancel_scope.cancel()


async def test_time_and_speed_only_go_forward(sim):
    await sim.advance(sim.time_ns + SECOND)

    with pytest.raises(ValueError, match="backwards"):
        await sim.advance(sim.time_ns - 1)
    for speed in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="speed"):
            await sim.run(speed)


async def test_one_clients_failure_is_not_the_others(sim, connect, monkeypatch):
    async with connect(sim) as bad, connect(sim) as good:
        await subscribe(good, "btcusdt@trade")
        await sim.wait_clients(2)
        victim = sim._clients[0]
        monkeypatch.setattr(victim.session, "receive", lambda *_: 1 / 0)

        await bad.socket.send_message("{}")
        await sim.wait_clients(1)
        await sim.advance(sim.time_ns + 5 * SECOND)

        assert (await good.receive())["e"] == "trade"
