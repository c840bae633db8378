"""trio-websocket's connections behind our interface, on both sides of a socket."""

from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from netcore.errors import BufferFull, ConnectionClosed
from netcore.trio import TrioWebSocket, open_websocket, serve_websocket
from netcore.trio.interop import AdaptedWebSocket, adapt_websocket
from netcore.ws import Batch, Opcode, State

MESSAGES = ["", "grüße", "x" * 70_000, b"", bytes(300), bytes(70_000)]


async def echo(ws: TrioWebSocket | AdaptedWebSocket) -> None:
    """Code written for our WebSocket."""
    async for batch in ws.batches():
        for frame in batch:
            if frame.opcode is Opcode.TEXT:
                ws.send_text(frame.payload)
            else:
                ws.send_binary(frame.payload)
        await ws.drain()


@asynccontextmanager
async def theirs(url: str):
    """A connection that a user brings."""
    module = pytest.importorskip("trio_websocket")
    async with module.open_websocket_url(url, max_message_size=1 << 20) as connection:
        yield connection
    # trio-websocket forgets its socket where the peer closes first.
    await trio.aclose_forcefully(connection._stream)


async def start(nursery, handler=echo, **how):
    return await nursery.start(partial(serve_websocket, handler, 0, **how))


async def test_a_client_of_theirs_is_used_as_one_of_ours(nursery):
    server = await start(nursery)
    async with theirs(server.url) as connection, adapt_websocket(connection) as ws:
        for message in MESSAGES:
            send = ws.send_text if isinstance(message, str) else ws.send_binary
            send(message)
            frame = await ws.receive_frame()
            expected = message.encode() if isinstance(message, str) else message
            assert (frame.payload, frame.opcode is Opcode.TEXT) == (
                expected, isinstance(message, str),
            )  # fmt: skip
        ws.send_many(["a", "b"])
        assert [await ws.receive_text(), await anext(ws)] == ["a", b"b"]
        batch = None
        ws.send_text("é")
        batch = await ws.read_batch()
        assert isinstance(batch, Batch)
        assert (batch.payloads, batch.opcode) == (["é".encode()], Opcode.TEXT)
        assert batch.timestamp_ns > 1e18
        assert (ws.state, ws.close_code, ws.subprotocol) == (State.OPEN, None, None)
        assert ws.connection is connection


async def test_a_server_of_theirs_serves_with_code_for_ours(nursery):
    module = pytest.importorskip("trio_websocket")
    ended, done = [], trio.Event()

    async def handle(request) -> None:
        connection = await request.accept(subprotocol="v1")
        async with adapt_websocket(connection) as ws:
            assert ws.subprotocol == "v1"
            await echo(ws)
            ended.append((ws.state, ws.close_code, ws.close_reason))
            done.set()

    server = await nursery.start(
        partial(module.serve_websocket, handle, "127.0.0.1", 0, ssl_context=None)
    )
    async with open_websocket(
        f"ws://127.0.0.1:{server.port}", subprotocols=["v1"]
    ) as ws:
        for message in ("hi", "x" * 70_000):
            ws.send_text(message)
            assert await ws.receive_text() == message
        await ws.aclose(1001, "later")
    await done.wait()
    assert ended == [(State.CLOSED, 1001, "later")]


async def test_pieces_become_one_message(nursery):
    server = await start(nursery)
    async with theirs(server.url) as connection, adapt_websocket(connection) as ws:
        ws.send_text("one ", fin=False)
        with pytest.raises(ValueError, match="TEXT message is under way"):
            ws.send_binary(b"x")
        with pytest.raises(ValueError, match="TEXT message is under way"):
            ws.send_many(["x"])
        ws.send_text("two")
        assert await ws.receive_text() == "one two"
        ws.send_text("three")
        assert await ws.receive_text() == "three"


async def test_pings_and_pongs_leave(nursery):
    server = await start(nursery)
    async with theirs(server.url) as connection, adapt_websocket(connection) as ws:
        ws.send_ping(b"there?")
        ws.send_ping(b"there?")
        ws.send_pong(b"unasked")
        with pytest.raises(ValueError, match="at most 125"):
            ws.send_ping(bytes(126))
        ws.send_text("after")
        assert await ws.receive_text() == "after"


@pytest.mark.parametrize("code", [1000, 1001])
async def test_loops_end_with_an_orderly_close(nursery, code):
    async def leave(ws):
        ws.send_text("bye")
        await ws.aclose(code)

    server = await start(nursery, leave)
    async with theirs(server.url) as connection, adapt_websocket(connection) as ws:
        assert [payload async for payload in ws] == [b"bye"]
        assert (ws.close_code, ws.state) == (code, State.CLOSED)


async def test_another_end_is_raised_with_its_code_everywhere(nursery):
    server = await start(nursery, lambda ws: ws.aclose(4001, "go"))
    async with theirs(server.url) as connection, adapt_websocket(connection) as ws:
        for _ in range(2):
            with pytest.raises(ConnectionClosed) as caught:
                await anext(ws)
            end = caught.value
            assert (end.code, end.reason, end.initiated_by) == (4001, "go", "remote")
        with pytest.raises(ConnectionClosed, match="4001"):
            async for _ in ws.batches():
                pass
        with pytest.raises(ConnectionClosed, match="4001"):
            ws.send_text("x")


async def test_closing_waits_for_what_was_sent_and_is_ours(nursery):
    got, done = [], trio.Event()

    async def note(ws):
        try:
            while True:
                got.append(await ws.receive_text())
        finally:
            got.append((ws.close_code, ws.close_reason))
            done.set()

    server = await start(nursery, note)
    async with theirs(server.url) as connection, adapt_websocket(connection) as ws:
        ws.send_many([b"%d" % n for n in range(50)])
        await ws.aclose(1000, "done")
        with pytest.raises(ConnectionClosed) as caught:
            ws.send_text("late")
        assert caught.value.initiated_by == "local"
    await done.wait()
    assert got == [*map(str, range(50)), (1000, "done")]


async def test_leaving_the_block_sends_the_rest_and_leaves_the_connection(nursery):
    server = await start(nursery)
    async with theirs(server.url) as connection:
        async with adapt_websocket(connection) as ws:
            ws.send_text("one")
        assert connection.closed is None
        assert await connection.get_message() == "one"
        async with adapt_websocket(connection) as ws:
            ws.send_text("two")
            assert await ws.receive_text() == "two"


async def test_exceptions_come_as_they_are(nursery):
    server = await start(nursery)
    async with theirs(server.url) as connection:
        with pytest.raises(ZeroDivisionError):
            async with adapt_websocket(connection):
                raise ZeroDivisionError
        assert connection.closed is None


class Stuck:
    """A connection whose peer takes nothing until it is told to."""

    closed = None
    subprotocol = None

    def __init__(self):
        self.release = trio.Event()
        self.sent = []
        self.fault = None

    async def send_message(self, message):
        await self.release.wait()
        if self.fault is not None:
            raise self.fault
        self.sent.append(message)

    async def pong(self, payload=None):
        await self.send_message(payload)

    async def get_message(self):
        await trio.sleep_forever()

    async def aclose(self, code=1000, reason=None):
        self.sent.append((code, reason))


async def test_what_waits_is_bounded_and_counted(nursery):
    stuck = Stuck()
    async with adapt_websocket(stuck, outbox_limit=10) as ws:
        ws.send_binary(b"12345")
        ws.send_pong(b"67")
        with pytest.raises(BufferFull) as caught:
            ws.send_many(["ab", "cd"])
        assert (caught.value.pending, caught.value.size) == (7, 4)
        with pytest.raises(BufferFull):
            ws.send_text("abcd", fin=False)
        assert ws.pending_bytes == 7
        stuck.release.set()
        await ws.drain()
        assert ws.pending_bytes == 0
    assert stuck.sent == [b"12345", b"67"]


async def test_a_drain_stops_at_its_mark():
    stuck = Stuck()
    async with adapt_websocket(stuck) as ws:
        ws.send_text("ab")
        await ws.drain(mark=2)
        with trio.move_on_after(0.01) as scope:
            await ws.drain(mark=1)
        assert scope.cancelled_caught
        stuck.release.set()


async def test_leaving_does_not_wait_for_ever(autojump_clock):
    stuck = Stuck()
    before = trio.current_time()
    async with adapt_websocket(stuck, close_timeout=3) as ws:
        ws.send_text("never")
    assert trio.current_time() - before == pytest.approx(3)
    async with adapt_websocket(stuck, close_timeout=2) as ws:
        ws.send_text("never")
        await ws.aclose()
    assert stuck.sent == [(1000, None)]


async def test_a_send_that_fails_is_told_to_the_next_call():
    stuck = Stuck()
    stuck.fault = OSError("cable cut")
    stuck.release.set()
    async with adapt_websocket(stuck) as ws:
        ws.send_text("x")
        with pytest.raises(OSError, match="cable cut"):
            await ws.drain()
        with pytest.raises(OSError, match="cable cut"):
            ws.send_text("y")
        assert ws.pending_bytes == 0


async def test_an_end_without_a_reason_is_1006():
    class ConnectionClosed_(Exception):  # noqa: N801 - their name, ours is imported
        pass

    ConnectionClosed_.__name__ = "ConnectionClosed"

    class Gone(Stuck):
        async def get_message(self):
            raise ConnectionClosed_

    async with adapt_websocket(Gone()) as ws:
        with pytest.raises(ConnectionClosed) as caught:
            await ws.read_batch()
    assert caught.value.code == 1006


async def test_a_cancelled_read_loses_nothing(nursery):
    go = trio.Event()

    async def wait(ws):
        await go.wait()
        ws.send_text("here")
        await echo(ws)

    server = await start(nursery, wait)
    async with theirs(server.url) as connection, adapt_websocket(connection) as ws:
        with trio.move_on_after(0):
            await ws.read_batch()
        go.set()
        assert await ws.receive_text() == "here"


async def test_text_that_is_none_is_refused_before_it_is_queued():
    async with adapt_websocket(Stuck(), close_timeout=0) as ws:
        with pytest.raises(UnicodeDecodeError):
            ws.send_text(b"\xff")
        assert ws.pending_bytes == 0
        assert "AdaptedWebSocket" in repr(ws)
