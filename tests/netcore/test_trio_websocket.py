"""A WebSocket under trio: reading, sending, closing, and being cancelled anywhere."""

import collections
import itertools
import ssl
from functools import partial

import pytest
import trio
import trio.testing
import trustme

from netcore.errors import (
    BufferFull,
    ConnectError,
    ConnectionClosed,
    ConnectTimeout,
    HandshakeError,
    InvalidURL,
    ProtocolError,
)
from netcore.info import ConnectionInfo, SocketOptions
from netcore.stream.record import Recorder
from netcore.stream.replay import ReplayStream
from netcore.stream.tcp import TcpStream
from netcore.testing import memory_stream_pair, tcp_stream_pair
from netcore.trio import TrioClock, TrioWebSocket, open_websocket, serve_websocket
from netcore.ws import (
    DeflateConfig,
    Frame,
    Heartbeat,
    Opcode,
    Role,
    State,
    WebSocket,
    WebSocketOptions,
    encode_frame,
)

CLOCK = TrioClock()


async def echo(ws: TrioWebSocket) -> None:
    while True:
        frame = await ws.receive_frame()
        if frame.opcode is Opcode.TEXT:
            ws.send_text(frame.payload)
        else:
            ws.send_binary(frame.payload)
        await ws.drain()


@pytest.fixture
async def server(nursery):
    return await nursery.start(serve_websocket, echo, 0)


def ends_over_sockets(**options) -> tuple[TrioWebSocket, TrioWebSocket]:
    """Two upgraded ends over a socket pair, of which the client's has small buffers."""
    settings = WebSocketOptions(**options)
    small = ConnectionInfo("127.0.0.1", 0, options=SocketOptions(sndbuf=1 << 18))
    return tuple(
        TrioWebSocket(WebSocket.open(stream, role=role, options=settings, clock=CLOCK))
        for stream, role in zip(tcp_stream_pair(small), Role, strict=True)
    )


def end_over_memory(**options):
    """A client's upgraded end and the raw stream of its peer; no descriptors."""
    settings = WebSocketOptions(**options)
    ours, theirs = memory_stream_pair()
    return TrioWebSocket(WebSocket.open(ours, options=settings, clock=CLOCK)), theirs


@pytest.fixture
def sockets():
    made: list[TrioWebSocket] = []

    def make(**options):
        ends = ends_over_sockets(**options)
        made.extend(ends)
        return ends

    yield make
    for end in made:
        end.abort()


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


async def test_tls_is_spoken_for_wss(nursery):
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    server = await nursery.start(partial(serve_websocket, echo, 0, ssl_context=theirs))
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


async def test_a_fault_of_the_peer_is_named(sockets, autojump_clock):
    ours, theirs = end_over_memory()
    theirs.send(b"\xff\xff")
    with pytest.raises(ProtocolError):
        await ours.read_batch()
    with pytest.raises(ConnectionClosed):
        await ours.read_batch()
    theirs.close()
    await ours.aclose()


async def test_frames_come_as_they_are_where_asked_for():
    ours, theirs = end_over_memory(frames=True)
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


async def test_a_partial_frame_survives_a_cancelled_read():
    ours, theirs = end_over_memory()
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


# -- sending ---------------------------------------------------------------------------

PLENTY = 64 << 20


async def read_all(ws: TrioWebSocket, count: int) -> list[bytes]:
    got: list[bytes] = []
    while len(got) < count:
        got += (await ws.read_batch()).payloads
    return got


async def test_draining_waits_until_the_peer_has_read(sockets):
    ours, theirs = sockets(outbox_limit=PLENTY)
    message = bytes(16 << 20)
    ours.send_binary(message)
    assert ours.pending_bytes > 0
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ours.drain)
        await trio.testing.wait_all_tasks_blocked()
        assert await read_all(theirs, 1) == [message]
    assert ours.pending_bytes == 0


async def test_draining_to_a_mark_leaves_the_rest(sockets):
    ours, theirs = sockets(outbox_limit=PLENTY)
    ours.send_binary(bytes(16 << 20))
    mark = ours.pending_bytes - 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_all, theirs, 1)
        await ours.drain(mark=mark)
        assert ours.pending_bytes <= mark
        await ours.drain()


async def test_a_reading_task_sends_the_rest_without_a_drain(sockets):
    ours, theirs = sockets(outbox_limit=PLENTY)
    message = bytes(16 << 20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.read_batch)
        await trio.testing.wait_all_tasks_blocked()
        # The reader is parked for reading alone, and has to be told.
        ours.send_binary(message)
        assert await read_all(theirs, 1) == [message]
        theirs.send_text("done")


async def test_a_reader_takes_over_from_a_cancelled_drain(sockets):
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
        assert await read_all(theirs, 1) == [message]
        theirs.send_text("done")


async def test_a_full_outbox_is_told_at_once(sockets):
    ours, _ = sockets(outbox_limit=1 << 20)
    messages = itertools.repeat(bytes(1 << 19), 1000)
    with pytest.raises(BufferFull):
        collections.deque(map(ours.send_binary, messages), maxlen=0)


async def test_draining_a_broken_connection_raises(sockets):
    ours, theirs = sockets(outbox_limit=PLENTY)
    ours.send_binary(bytes(16 << 20))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_abort_later, theirs)
        with pytest.raises(ConnectionClosed) as caught:
            await ours.drain()
    assert caught.value.code == 1006
    with pytest.raises(ConnectionClosed):
        ours.send_text("x")


async def _abort_later(ws: TrioWebSocket) -> None:
    await trio.testing.wait_all_tasks_blocked()
    ws.abort()


async def test_pings_and_pongs_can_be_sent(sockets):
    ours, theirs = sockets()
    ours.send_ping(b"1")
    ours.send_pong(b"2")
    ours.send_text("after")

    assert await theirs.receive_text() == "after"


# -- closing ---------------------------------------------------------------------------


async def test_closing_while_another_task_reads_lets_that_task_see_the_end(sockets):
    ours, theirs = sockets()
    ends: list[int] = []

    async def read() -> None:
        try:
            await ours.read_batch()
        except ConnectionClosed as exc:
            ends.append(exc.code)

    async def answer() -> None:
        with pytest.raises(ConnectionClosed):
            await theirs.read_batch()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(answer)
        await trio.testing.wait_all_tasks_blocked()
        await ours.aclose(4000)

    assert ends == [4000]
    assert ours.state is State.CLOSED


async def test_closing_goes_on_when_the_reading_task_is_cancelled(sockets):
    ours, theirs = sockets()
    scope = trio.CancelScope()

    async def read() -> None:
        with scope:
            await ours.read_batch()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ours.aclose, 4000)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ConnectionClosed):
            await theirs.read_batch()
    assert ours.close_code == 4000


async def test_closing_does_not_wait_for_ever(autojump_clock):
    ours, _ = end_over_memory(close_timeout=3)
    start = trio.current_time()

    await ours.aclose()

    assert trio.current_time() - start == pytest.approx(3, abs=0.01)
    assert ours.close_code == 1006
    await ours.aclose()


async def test_closing_on_a_socket_keeps_its_time_too(sockets, autojump_clock):
    ours, _ = sockets(close_timeout=3)
    start = trio.current_time()

    await ours.aclose()

    assert trio.current_time() - start == pytest.approx(3)


async def test_closing_keeps_its_time_while_another_task_is_parked_reading(
    sockets, autojump_clock
):
    ours, _ = sockets(close_timeout=3)
    start = trio.current_time()

    async def read() -> None:
        with pytest.raises(ConnectionClosed):
            await ours.read_batch()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ours.aclose)

    assert trio.current_time() - start == pytest.approx(3)


async def test_a_cancelled_close_gives_the_socket_back_at_once(autojump_clock):
    ours, theirs = end_over_memory(close_timeout=1000)
    with trio.move_on_after(1) as scope:
        await ours.aclose()

    assert scope.cancelled_caught
    assert trio.current_time() < 10
    assert theirs.receive() is not None
    assert theirs.receive() == b""


async def test_closing_lets_out_what_is_still_unsent(sockets):
    ours, theirs = sockets(outbox_limit=PLENTY)
    message = bytes(16 << 20)
    ours.send_binary(message)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.aclose)
        assert await read_all(theirs, 1) == [message]
        with pytest.raises(ConnectionClosed) as caught:
            await theirs.read_batch()
    assert caught.value.code == 1000


async def test_aborting_ends_a_read_in_another_task(sockets):
    ours, _ = sockets()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_abort_later, ours)
        with pytest.raises(ConnectionClosed) as caught:
            await ours.read_batch()
    assert caught.value.code == 1006


async def test_only_one_task_may_read(sockets):
    ours, theirs = sockets()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.read_batch)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await ours.read_batch()
        theirs.send_text("x")


async def test_a_bad_code_is_refused_before_anything_happens(sockets):
    ours, _ = sockets()
    with pytest.raises(ValueError, match="1006"):
        await ours.aclose(1006)
    assert ours.state is State.OPEN


# -- time ------------------------------------------------------------------------------


class Counted:
    """A stream that counts how often something came."""

    def __init__(self, stream):
        self.stream = stream
        self.reads = 0

    def receive(self, limit):
        data = self.stream.receive(limit)
        self.reads += bool(data)
        return data

    def __getattr__(self, name):
        return getattr(self.stream, name)


async def test_heartbeats_keep_time_while_reading(mock_clock):
    times: list[float] = []

    def beat() -> bytes:
        times.append(trio.current_time())
        return b"hb"

    start = trio.current_time()
    heartbeat = Heartbeat(interval=10, timeout=3, message=beat)
    here, there = tcp_stream_pair()
    counted = Counted(here)
    options = WebSocketOptions(heartbeat=heartbeat)
    ours = TrioWebSocket(WebSocket.open(counted, options=options, clock=CLOCK))
    theirs = TrioWebSocket(WebSocket.open(there, role=Role.SERVER, clock=CLOCK))

    async def answer() -> None:
        with pytest.raises(ConnectionClosed):
            await theirs.read_batch()

    async def let_time_pass() -> None:
        for number in range(1, 4):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(10)
            while counted.reads < number:  # until the pong is there
                await trio.lowlevel.checkpoint()
        theirs.send_text("done")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        nursery.start_soon(let_time_pass)
        assert await ours.receive_text() == "done"
        assert ours.latency_ns == 0
        await ours.aclose()
    theirs.abort()

    assert [time - start for time in times] == pytest.approx([10, 20, 30])


async def test_a_silent_peer_is_given_up_on_a_parked_socket(sockets, autojump_clock):
    ours, _ = sockets(heartbeat=Heartbeat(interval=10, timeout=3))
    start = trio.current_time()
    with pytest.raises(ConnectionClosed) as caught:
        await ours.read_batch()

    assert caught.value.code == 1011
    assert trio.current_time() - start == pytest.approx(13)


# -- opening that fails ----------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://h/", "ws://", "ws://h/#x"])
async def test_only_websocket_urls_can_be_opened(url):
    with pytest.raises(InvalidURL):
        async with open_websocket(url):
            pass


async def test_headers_that_would_break_the_head_are_refused(server):
    with pytest.raises(ValueError, match="header"):
        async with open_websocket(server.url, headers=[("A", "b\r\nC: d")]):
            pass


async def answer_http(nursery, answer: bytes, *, close: bool = True) -> str:
    """A server that answers any request so; return its URL."""

    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)
        if not close:
            await trio.sleep_forever()

    listeners = await nursery.start(
        partial(trio.serve_tcp, handle, 0, host="127.0.0.1")
    )
    return f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"


async def test_a_refusal_is_raised_as_it_is(nursery):
    url = await answer_http(
        nursery, b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\n\r\ntoo much"
    )
    with pytest.raises(HandshakeError) as caught:
        async with open_websocket(url):
            pass

    assert (caught.value.status, caught.value.body) == (429, b"too much")
    assert ("Retry-After", "3") in caught.value.headers


async def test_an_end_without_answer_is_a_handshake_error(nursery):
    url = await answer_http(nursery, b"")
    with pytest.raises(HandshakeError) as caught:
        async with open_websocket(url):
            pass
    assert caught.value.status == 0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 101", ConnectTimeout),
        (b"HTTP/1.1 503 Busy\r\n\r\nwithout end", HandshakeError),
    ],
)
async def test_an_answer_without_end_has_its_time(
    nursery, mock_clock, monkeypatch, answer, error
):
    url = await answer_http(nursery, answer, close=False)
    receive = TcpStream.receive

    def let_time_pass(stream, *limit):
        data = receive(stream, *limit)
        if data:
            mock_clock.autojump_threshold = 0  # there is nothing more to come
        return data

    monkeypatch.setattr(TcpStream, "receive", let_time_pass)
    with pytest.raises(error) as caught:
        async with open_websocket(url, connect_timeout=5):
            pass

    assert trio.current_time() >= 5
    if error is HandshakeError:
        assert (caught.value.status, caught.value.body) == (503, b"without end")


async def test_a_refused_connection_is_a_connect_error(server, nursery):
    url = server.url
    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True), pytest.raises(ConnectError):
        async with open_websocket("ws://127.0.0.1:1"):
            pass
    assert url


# -- recording -------------------------------------------------------------------------


async def test_a_recorded_conversation_replays_to_the_same_batches(server, tmp_path):
    name = tmp_path / "talk"
    batches = []
    with Recorder(name) as recorder:
        async with open_websocket(server.url, recorder=recorder) as ws:
            for text in ("a", "b" * 300):
                ws.send_text(text)
                batches.append(await ws.read_batch())

    replay = WebSocket(ReplayStream(name))
    replayed = []
    while len(replayed) < 2:
        batch = replay.read_batch()
        if batch is not None:
            replayed.append(batch)
    replay.abort()
    assert [batch.payloads for batch in replayed] == [b.payloads for b in batches]


async def test_the_end_below_is_there_for_other_drivers(server):
    async with open_websocket(server.url) as ws:
        ws.websocket.send_ping(b"mine")
        while ws.websocket.pongs != [b"mine"]:
            await trio.lowlevel.checkpoint()
            assert ws.websocket.read_batch() is None
