"""The simulated exchange as a client sees it: over sockets, whole and at its limits."""

import itertools
import json
import ssl

import pytest
import trio
import trio.testing

trio_websocket = pytest.importorskip("trio_websocket")
trustme = pytest.importorskip("trustme")

from integration.testing import SimulatedExchange, SyntheticMarket  # noqa: E402
from integration.testing.dialect import Limits  # noqa: E402
from integration.testing.faults import Disconnect, Oversized  # noqa: E402
from integration.testing.server import AddressInUseError  # noqa: E402
from integration.testing.simulator import UnknownDialectError  # noqa: E402

SECOND = 1_000_000_000
DEPTH = "btcusdt@depth@100ms"


# ---- following


async def test_a_client_by_the_venues_procedure_ends_with_the_final_book(sim, connect):
    async with connect(sim) as client:
        await client.subscribe(DEPTH)
        book = client.follower("BTCUSDT")

        for _ in range(5):
            await sim.advance(sim.time_ns + SECOND)
            await client.catch_up(book)

        assert book.gaps == 0
        assert book.snapshots == 1


async def test_a_late_client_ends_with_the_final_book(sim, connect):
    await sim.advance(sim.time_ns + 30 * SECOND)
    async with connect(sim, "/stream?streams=" + DEPTH) as client:
        await sim.wait_subscribed(DEPTH)
        book = client.follower("BTCUSDT")

        await sim.advance(sim.time_ns + SECOND)

        await client.catch_up(book)
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
        await client.catch_up(book)
    assert book.gaps == 0


async def test_lockstep_sends_the_same_bytes_however_time_is_cut(connect):
    async def record(seed: int, step_ns: int) -> list[str]:
        async with (
            SimulatedExchange(SyntheticMarket(seed)) as sim,
            connect(sim) as client,
        ):
            await client.subscribe(DEPTH, "ethusdt@trade", "solusdt@bookTicker")
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
        await client.subscribe(DEPTH, "btcusdt@trade")
        await client.ask(method="UNSUBSCRIBE", params=[DEPTH], id=2)
        await sim.advance(sim.time_ns + 5 * SECOND)
        events = {(await client.receive())["e"] for _ in range(sim.stats.messages)}

    assert events == {"trade"}


# ---- limits


async def test_too_many_inbound_messages_end_the_connection(connect, mock_clock):
    limits = Limits(messages_per_second=5)
    async with (
        SimulatedExchange(SyntheticMarket(1), limits=limits) as sim,
        connect(sim) as client,
    ):
        for n in range(6):  # all in one second: the clock stands still
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
        await client.subscribe(DEPTH)
        # More than a queue in one step of the clock: nobody could have taken it.
        with sim._exclusively():
            await sim._move(sim.time_ns + 10 * SECOND, patient=False, settle=False)
        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await client.read_on()
        await sim.wait_clients(0)

    assert closed.value.reason.code == 1008
    assert sim.stats.slow_clients == 1


async def test_lockstep_waits_for_a_client_that_reads_slowly(connect):
    limits = Limits(queue_messages=10)
    async with (
        SimulatedExchange(SyntheticMarket(1), limits=limits) as sim,
        connect(sim) as client,
    ):
        await client.subscribe(DEPTH)
        book = client.follower("BTCUSDT")

        await sim.advance(sim.time_ns + 20 * SECOND)
        await client.catch_up(book)

    assert book.gaps == 0
    assert sim.stats.slow_clients == 0


async def test_a_client_that_stalls_in_lockstep_is_let_go(raw_websocket):
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


async def test_a_client_that_sends_no_pong_is_closed(raw_websocket, patient_clock):
    limits = Limits(ping_interval_s=10, pong_timeout_s=50, close_timeout_s=5)
    async with (
        SimulatedExchange(SyntheticMarket(1), limits=limits) as sim,
        raw_websocket(sim) as stream,
    ):
        data = b""
        while (chunk := await stream.receive_some()) != b"":
            data += chunk

    assert data[0] == 0x89  # a ping
    assert b"\x88\x0e\x03\xf0Pong timeout" in data  # a close with 1008


async def test_a_client_that_answers_pings_stays(raw_websocket, patient_clock):
    limits = Limits(ping_interval_s=10, pong_timeout_s=50)
    async with (
        SimulatedExchange(SyntheticMarket(1), limits=limits) as sim,
        raw_websocket(sim) as stream,
    ):
        data, began = b"", patient_clock.current_time()
        for _ in range(7):  # longer than the patience for one
            while len(data) < 2 or len(data) < 2 + data[1]:
                data += await stream.receive_some()
            assert data[0] == 0x89
            end = 2 + data[1]
            # A pong with the ping's payload, masked with zeros.
            await stream.send_all(
                bytes([0x8A, 0x80 | data[1]]) + bytes(4) + data[2:end]
            )
            data = data[end:]

        assert patient_clock.current_time() - began > limits.pong_timeout_s
        assert sim.clients == 1


async def test_what_is_sent_can_be_waited_for_until_it_was_read(sim, connect):
    async with connect(sim) as client:
        await client.subscribe(DEPTH)
        await sim.advance(sim.time_ns + SECOND)
        read = trio.Event()

        async def wait():
            await sim.wait_read()
            read.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            # Whoever does not take messages does not come to the ping behind them.
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert not read.is_set()

            nursery.start_soon(client.read_on)
            with trio.fail_after(120):
                await read.wait()
            nursery.cancel_scope.cancel()


async def test_a_client_that_is_gone_is_not_waited_for(sim, raw_websocket):
    async with raw_websocket(sim), trio.open_nursery() as nursery:
        await sim.wait_clients(1)
        nursery.start_soon(sim.wait_read)
        await trio.testing.wait_all_tasks_blocked()
        await sim.inject(Disconnect(code=1006))
        with trio.fail_after(120):
            await sim.wait_clients(0)


async def test_an_old_connection_is_closed_with_1001(connect):
    limits = Limits(lifetime_s=0.05)
    async with (
        SimulatedExchange(SyntheticMarket(1), limits=limits) as sim,
        connect(sim) as client,
    ):
        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await client.socket.get_message()

    assert closed.value.reason.code == 1001


async def test_too_many_connections_are_rejected(handshake):
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
            await client.subscribe(DEPTH)
            book = client.follower("BTCUSDT")
            await sim.advance(sim.time_ns + SECOND)
            await client.catch_up(book)


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
    async with connect(sim) as bad:
        await sim.wait_clients(1)
        victim = sim._clients[0]
        monkeypatch.setattr(victim.session, "receive", lambda *_: 1 / 0)
        async with connect(sim) as good:
            await good.subscribe("btcusdt@trade")

            await bad.socket.send_message("{}")
            await sim.wait_clients(1)
            await sim.advance(sim.time_ns + 5 * SECOND)

            assert (await good.receive())["e"] == "trade"
