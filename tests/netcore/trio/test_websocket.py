"""A WebSocket under trio: reading, sending, and being cancelled anywhere."""

import collections
import itertools
import ssl
from functools import partial

import pytest
import trio
import trio.testing
import trustme

from netcore.errors import BufferFull, ConnectionClosed, ProtocolError
from netcore.trio import TrioWebSocket, open_websocket, serve_websocket
from netcore.ws import DeflateConfig, Frame, Opcode, State, encode_frame


def frame(opcode: int, payload: bytes = b"") -> bytes:
    return encode_frame(opcode, payload)


# -- the whole way ---------------------------------------------------------------------


@pytest.mark.parametrize("deflate", [None, DeflateConfig()])
async def test_messages_come_back_with_their_opcode(server, deflate):
    async with open_websocket(server.url, deflate=deflate) as ws:
        ws.send_text("grüße " * 20)
        ws.send_binary(bytes(100_000))

        assert await ws.receive_text() == "grüße " * 20
        assert await ws.receive_frame() == Frame(Opcode.BINARY, True, bytes(100_000))
    assert (ws.state, ws.close_code, ws.close_reason) == (State.CLOSED, 1000, "")


async def test_everything_told_at_the_handshake_is_there(nursery):
    seen = []

    async def look(ws: TrioWebSocket) -> None:
        seen.append(ws.request)

    server = await nursery.start(serve_websocket, look, 0)
    async with open_websocket(
        f"{server.url}/feed?x=1", headers=[("X-Key", "k")], origin="https://o.test"
    ) as ws:
        assert ws.agreement is not None
        assert ws.subprotocol is None
        assert ws.request is None
        assert ws.info.port == server.port
        assert ws.latency_ns is None
        assert "open" in repr(ws)
        with pytest.raises(ConnectionClosed):
            await ws.read_batch()
    request = seen[0]
    assert (request.target, request.header("origin")) == ("/feed?x=1", "https://o.test")
    assert request.header("x-key") == "k"
    assert request.header("host") == f"127.0.0.1:{server.port}"


async def test_tls_is_spoken_for_wss(nursery, kit):
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    server = await nursery.start(
        partial(serve_websocket, kit.echo, 0, ssl_context=theirs)
    )
    assert server.url.startswith("wss://")

    async with open_websocket(server.url, ssl_context=ours) as ws:
        ws.send_binary(bytes(300_000))
        assert (await ws.receive_frame()).payload == bytes(300_000)


@pytest.mark.parametrize("spin", [0.0, 0.01])
async def test_round_trips_work_parked_and_spinning(server, spin):
    async with open_websocket(server.url, spin=spin) as ws:
        for number in range(50):
            ws.send_text(str(number))
            assert (await ws.read_batch()).payloads == [str(number).encode()]


# -- reading ---------------------------------------------------------------------------


async def test_reading_after_the_end_raises_again_and_again(nursery):
    async def leave(ws: TrioWebSocket) -> None:
        ws.send_text("last")
        await ws.aclose(4001, "enough")

    server = await nursery.start(serve_websocket, leave, 0)
    async with open_websocket(server.url) as ws:
        assert (await ws.read_batch()).payloads == [b"last"]
        for _ in range(3):
            with pytest.raises(ConnectionClosed) as caught:
                await ws.read_batch()
            assert (caught.value.code, caught.value.reason) == (4001, "enough")


async def test_loops_end_with_an_orderly_close(sockets):
    ours, theirs = sockets()
    theirs.send_many(["a", "b"])
    theirs.send_text("c")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.aclose, 1001)
        assert [payload async for payload in ours] == [b"a", b"b", b"c"]

    ours, theirs = sockets()
    theirs.send_many(["a", "b"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.aclose)
        batches = [batch.payloads async for batch in ours.batches()]
    assert batches == [[b"a", b"b"]]


@pytest.mark.parametrize("way", ["payloads", "batches"])
async def test_loops_raise_what_is_no_orderly_close(sockets, way):
    ours, theirs = sockets()

    async def loop() -> None:
        async for _ in ours if way == "payloads" else ours.batches():
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.aclose, 1011)
        with pytest.raises(ConnectionClosed) as caught:
            await loop()
    assert caught.value.code == 1011


async def test_leaving_a_loop_loses_no_message_of_its_batch(sockets):
    ours, theirs = sockets()
    theirs.send_many(["a", "b", "c"])
    async for payload in ours:
        assert payload == b"a"
        break

    assert await ours.receive_text() == "b"
    assert [await anext(ours)] == [b"c"]


async def test_a_fault_of_the_peer_is_named(sockets, autojump_clock, kit):
    ours, theirs = kit.end_over_memory()
    theirs.send(b"\xff\xff")
    with pytest.raises(ProtocolError):
        await ours.read_batch()
    with pytest.raises(ConnectionClosed):
        await ours.read_batch()
    theirs.close()
    await ours.aclose()


async def test_frames_come_as_they_are_where_asked_for(kit):
    ours, theirs = kit.end_over_memory(frames=True)
    theirs.send(encode_frame(1, b"a", fin=False) + encode_frame(0, b"b"))

    assert await ours.receive_frame() == Frame(Opcode.TEXT, False, b"a")
    assert await ours.receive_frame() == Frame(Opcode.CONTINUATION, True, b"b")
    ours.abort()


# -- cancellation ----------------------------------------------------------------------


async def test_a_cancelled_read_takes_nothing(sockets):
    ours, theirs = sockets()
    theirs.send_text("kept")
    with trio.CancelScope() as scope:
        scope.cancel()
        await ours.read_batch()

    assert scope.cancelled_caught
    assert await ours.receive_text() == "kept"


async def test_cancelling_at_any_moment_loses_and_repeats_nothing(sockets):
    ours, theirs = sockets()
    got: list[bytes] = []
    total = 400

    async def send() -> None:
        for number in range(total):
            theirs.send_text(str(number))
            await trio.lowlevel.checkpoint()

    async def read(scope: trio.CancelScope) -> None:
        with scope:
            while True:
                got.extend((await ours.read_batch()).payloads)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        for patience in itertools.cycle(range(4)):
            if len(got) == total:
                break
            scope = trio.CancelScope()
            async with trio.open_nursery() as inner:
                inner.start_soon(read, scope)
                for _ in range(patience):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
    assert got == [str(number).encode() for number in range(total)]


async def test_a_partial_frame_survives_a_cancelled_read(kit):
    ours, theirs = kit.end_over_memory()
    wire = frame(2, bytes(1000))
    theirs.send(wire[:500])
    with trio.move_on_after(0.01):
        await ours.read_batch()
    theirs.send(wire[500:])

    assert (await ours.read_batch()).payloads == [bytes(1000)]
    ours.abort()


async def test_a_cancelled_block_says_goodbye_and_does_not_wait(nursery):
    ended = trio.Event()
    codes = []

    async def listen(ws: TrioWebSocket) -> None:
        try:
            await ws.read_batch()
        except ConnectionClosed as exc:
            codes.append(exc.code)
            ended.set()

    server = await nursery.start(serve_websocket, listen, 0)
    with trio.CancelScope() as scope:
        async with open_websocket(server.url):
            scope.cancel()
            await trio.sleep_forever()
    await ended.wait()

    assert codes == [1001]


PLENTY = 64 << 20


# -- sending ---------------------------------------------------------------------------


async def test_draining_waits_until_the_peer_has_read(sockets, kit):
    ours, theirs = sockets(outbox_limit=PLENTY)
    message = bytes(16 << 20)
    ours.send_binary(message)
    assert ours.pending_bytes > 0
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ours.drain)
        await trio.testing.wait_all_tasks_blocked()
        assert await kit.read_all(theirs, 1) == [message]
    assert ours.pending_bytes == 0


async def test_draining_to_a_mark_leaves_the_rest(sockets, kit):
    ours, theirs = sockets(outbox_limit=PLENTY)
    ours.send_binary(bytes(16 << 20))
    mark = ours.pending_bytes - 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kit.read_all, theirs, 1)
        await ours.drain(mark=mark)
        assert ours.pending_bytes <= mark
        await ours.drain()


async def test_a_reading_task_sends_the_rest_without_a_drain(sockets, kit):
    ours, theirs = sockets(outbox_limit=PLENTY)
    message = bytes(16 << 20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.read_batch)
        await trio.testing.wait_all_tasks_blocked()
        # The reader is parked for reading alone, and has to be told.
        ours.send_binary(message)
        assert await kit.read_all(theirs, 1) == [message]
        theirs.send_text("done")


async def test_a_reader_takes_over_from_a_cancelled_drain(sockets, kit):
    ours, theirs = sockets(outbox_limit=PLENTY)
    message = bytes(16 << 20)
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def drain() -> None:
            with scope:
                await ours.drain()

        ours.send_binary(message)
        nursery.start_soon(drain)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ours.read_batch)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert await kit.read_all(theirs, 1) == [message]
        theirs.send_text("done")


async def test_a_full_outbox_is_told_at_once(sockets):
    ours, _ = sockets(outbox_limit=1 << 20)
    messages = itertools.repeat(bytes(1 << 19), 1000)
    with pytest.raises(BufferFull):
        collections.deque(map(ours.send_binary, messages), maxlen=0)


async def test_draining_a_broken_connection_raises(sockets, kit):
    ours, theirs = sockets(outbox_limit=PLENTY)
    ours.send_binary(bytes(16 << 20))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kit.abort_later, theirs)
        with pytest.raises(ConnectionClosed) as caught:
            await ours.drain()
    assert caught.value.code == 1006
    with pytest.raises(ConnectionClosed):
        ours.send_text("x")


async def test_pings_and_pongs_can_be_sent(sockets):
    ours, theirs = sockets()
    ours.send_ping(b"1")
    ours.send_pong(b"2")
    ours.send_text("after")

    assert await theirs.receive_text() == "after"
