"""Scripts' WebSockets: over real sockets, over cut bytes, and against the clock."""

import collections
import itertools
import os
import queue
import select
import signal
import socket
import ssl
import threading
from functools import partial

import pytest
import trio
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

import netcore
from netcore import blocking
from netcore.blocking import BlockingWebSocket, ReceiveTimeout, SendTimeout, connect
from netcore.errors import (
    BufferFull,
    ConnectError,
    ConnectionClosed,
    ConnectTimeout,
    HandshakeError,
    InvalidURL,
    ProtocolError,
    ResolveError,
    ResolveTimeout,
    UntrustedCertificate,
)
from netcore.info import Address
from netcore.stream import Recorder, ReplayStream, TcpStream
from netcore.testing import (
    ChaosStream,
    memory_stream_pair,
    random_sizes,
    reserved_port,
    tcp_stream_pair,
)
from netcore.trio import Accept, Refuse, serve_websocket
from netcore.ws import (
    DeflateConfig,
    Heartbeat,
    Opcode,
    Role,
    State,
    WebSocket,
    WebSocketOptions,
    encode_frame,
)

GUARD_SECONDS = 60  # against hanging; nothing asserts a duration


async def echo(ws):
    while True:
        frame = await ws.receive_frame()
        ws.send_many([frame.payload], opcode=frame.opcode)
        await ws.drain()


async def deaf(ws):
    """Read nothing until the server is stopped."""
    await trio.sleep_forever()


@pytest.fixture
def serve():
    """Serve in a thread of its own, as the calls of the test wait."""
    ready, box = threading.Event(), {}

    async def main():
        async with trio.open_nursery() as nursery:
            box.update(nursery=nursery, token=trio.lowlevel.current_trio_token())
            ready.set()
            await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    ready.wait()

    def start(handler=echo, **how):
        return trio.from_thread.run(
            box["nursery"].start,
            partial(serve_websocket, handler, 0, **how),
            trio_token=box["token"],
        )

    yield start
    trio.from_thread.run_sync(
        box["nursery"].cancel_scope.cancel, trio_token=box["token"]
    )
    thread.join()


def test_it_is_there_for_scripts_and_loads_only_then():
    assert netcore.connect is connect
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        netcore.other  # noqa: B018 - the look-up is the test


def test_messages_come_back(serve):
    codes = queue.SimpleQueue()

    async def note(ws):
        try:
            await echo(ws)
        finally:
            codes.put(ws.close_code)

    server = serve(note)
    with connect(server.url) as ws:
        ws.send_text("é")
        assert ws.receive_text(timeout=GUARD_SECONDS) == "é"
        ws.send_binary(b"\xff")
        frame = ws.receive_frame()
        assert (frame.opcode, frame.payload) == (Opcode.BINARY, b"\xff")
        ws.send_many(["a", "b"])
        got = []
        while len(got) < 2:
            got += ws.read_batch(timeout=GUARD_SECONDS).payloads
        assert got == [b"a", b"b"]
        assert ws.state is State.OPEN
    assert (ws.state, ws.close_code) == (State.CLOSED, 1000)
    assert codes.get(timeout=GUARD_SECONDS) == 1000


def test_everything_told_at_the_handshake_is_there(serve):
    requests = []

    async def keep(ws):
        requests.append(ws.request)
        await echo(ws)

    server = serve(
        keep,
        decide=lambda r: Accept("v2"),
        options=WebSocketOptions(deflate=DeflateConfig()),
    )
    with connect(
        f"{server.url}/x?y=1",
        headers=[("X-Key", "k")],
        origin="http://o",
        subprotocols=["v1", "v2"],
        deflate=DeflateConfig(),
    ) as ws:
        assert (ws.subprotocol, ws.info.port) == ("v2", server.port)
        assert ws.agreement.extensions.startswith("permessage-deflate")
        ws.send_text("x" * 1000)
        assert ws.receive() == b"x" * 1000
    (request,) = requests
    assert (request.target, request.header("x-key"), request.header("origin")) == (
        "/x?y=1", "k", "http://o",
    )  # fmt: skip


def test_loops_end_with_an_orderly_close_alone(serve):
    async def count(ws, code):
        ws.send_many(["1", "2", "3"])
        await ws.aclose(code)

    for code in (1000, 1001):
        server = serve(partial(count, code=code))
        with connect(server.url) as ws:
            assert list(ws) == [b"1", b"2", b"3"]
        with connect(server.url) as ws:
            assert [len(batch) for batch in ws.batches()] == [3]
    server = serve(partial(count, code=4000))
    with connect(server.url) as ws, pytest.raises(ConnectionClosed, match="4000"):
        list(ws)
    with connect(server.url) as ws, pytest.raises(ConnectionClosed, match="4000"):
        list(ws.batches())


def test_a_timeout_has_a_name_and_costs_nothing(serve):
    server = serve()
    with connect(server.url) as ws:
        for seconds in (0, 0.01):
            with pytest.raises(ReceiveTimeout, match=f"within {seconds} s"):
                ws.receive(timeout=seconds)
        with pytest.raises(TimeoutError):
            ws.read_batch(timeout=0)
        ws.send_text("still there")
        assert ws.receive_text() == "still there"


def test_more_than_the_sockets_take_is_sent_while_answers_come(serve):
    server = serve(options=WebSocketOptions(outbox_limit=16 << 20))
    big = os.urandom(6 << 20)
    with connect(server.url, outbox_limit=8 << 20) as ws:
        ws.send_binary(big)
        ws.send_text("after")
        assert ws.receive() == big
        assert ws.receive() == b"after"
        with pytest.raises(BufferFull):
            ws.send_binary(bytes(9 << 20))
        ws.send_text("usable")
        assert ws.receive() == b"usable"


def test_a_peer_that_does_not_read_times_out_a_send(serve):
    server = serve(deaf)
    ws = connect(
        server.url, outbox_limit=64 << 20, send_timeout=0.05, close_timeout=0.05
    )
    # Until the sockets' buffers are full, however large they are.
    endless = itertools.repeat(bytes(8 << 20))
    with ws, pytest.raises(SendTimeout, match="bytes within"):
        collections.deque(map(ws.send_binary, endless), maxlen=0)


def test_a_full_backlog_leaves_the_rest_to_the_peer(monkeypatch):
    monkeypatch.setattr(blocking, "_BACKLOG", 10)
    ours, theirs = memory_stream_pair(capacity=100)
    options = WebSocketOptions(read_size=20)
    ws = BlockingWebSocket(WebSocket.open(ours, options=options), send_timeout=0.02)
    for _ in range(5):
        theirs.send(encode_frame(Opcode.TEXT, b"x" * 18))
    with pytest.raises(SendTimeout):
        ws.send_binary(bytes(1000))
    # Kept until the backlog was full, once: the rest is still in the stream.
    assert ours.buffered
    assert ws.receive() == b"x" * 18
    ws.abort()


def test_pings_are_timed_and_lose_no_message(serve):
    async def chatter(ws):
        ws.send_text("before")
        await echo(ws)

    server = serve(chatter)
    with connect(server.url) as ws:
        assert ws.ping(timeout=GUARD_SECONDS) > 0
        assert ws.ping() > 0
        assert ws.receive_text() == "before"


def test_a_ping_without_a_pong_times_out():
    ours, _ = memory_stream_pair()
    ws = BlockingWebSocket(WebSocket.open(ours))
    with pytest.raises(ReceiveTimeout, match="no pong"):
        ws.ping(timeout=0.01)
    ws.abort()


def test_a_heartbeat_finds_a_silent_peer(serve):
    server = serve(deaf)
    beat = Heartbeat(interval=0.02, timeout=0.02)
    with (
        connect(server.url, heartbeat=beat, close_timeout=0.05) as ws,
        pytest.raises(ConnectionClosed, match="heartbeat"),
    ):
        ws.receive()

    server = serve()
    with connect(server.url, heartbeat=Heartbeat(interval=0.01)) as ws:
        while ws.latency_ns is None:
            with pytest.raises(ReceiveTimeout):
                ws.receive(timeout=0.02)


def test_leaving_by_an_exception_says_going_away(serve):
    codes = queue.SimpleQueue()

    async def note(ws):
        try:
            await echo(ws)
        except ConnectionClosed as exc:
            codes.put(exc.code)
            raise

    server = serve(note)
    with pytest.raises(ZeroDivisionError), connect(server.url):
        raise ZeroDivisionError
    assert codes.get(timeout=GUARD_SECONDS) == 1001


def test_ctrl_c_in_a_wait_costs_no_message(serve, monkeypatch):
    main, waiting = threading.main_thread(), threading.Event()
    wait = WebSocket.wait

    def say_and_wait(ws, timeout):
        # From here on the caller waits: it is not in the send that woke the peer.
        waiting.set()
        return wait(ws, timeout)

    async def interrupt(ws):
        await trio.to_thread.run_sync(waiting.wait, GUARD_SECONDS)
        signal.pthread_kill(main.ident, signal.SIGINT)
        assert await ws.receive_text() == "go on"
        ws.send_text("and here it is")
        await echo(ws)

    server = serve(interrupt)
    with connect(server.url) as ws:
        monkeypatch.setattr(WebSocket, "wait", say_and_wait)
        with pytest.raises(KeyboardInterrupt):
            ws.receive()
        ws.send_text("go on")
        assert ws.receive_text() == "and here it is"
    assert ws.close_code == 1000


def test_closing_ends_in_time_though_the_peer_is_deaf(serve):
    server = serve(deaf)
    ws = connect(server.url, close_timeout=0.05)
    ws.close(1000, "tired")
    assert (ws.state, ws.close_code) == (State.CLOSED, 1006)
    ws.close()
    with pytest.raises(ConnectionClosed):
        ws.receive()
    with pytest.raises(ConnectionClosed):
        ws.send_text("x")


def test_a_fault_of_the_peer_is_raised_after_its_messages():
    ours, theirs = memory_stream_pair()
    theirs.send(encode_frame(Opcode.TEXT, b"good") + b"\xff\x00")
    theirs.close()
    with BlockingWebSocket(WebSocket.open(ours)) as ws:
        assert ws.receive() == b"good"
        with pytest.raises(ProtocolError):
            ws.receive()
        with pytest.raises(ConnectionClosed):
            ws.receive()
    assert ws.close_code == 1002


@given(st.integers(0, 2**32), st.lists(st.binary(max_size=300), min_size=1, max_size=8))
@settings(max_examples=30)
def test_bytes_cut_anywhere_are_the_same_messages(seed, messages):
    ours, theirs = memory_stream_pair(capacity=1 << 20)
    chaos = ChaosStream(
        ours, receive=random_sizes(seed, most=90, would_block=0.1),
        send=random_sizes(seed + 1, most=90, would_block=0.1),
    )  # fmt: skip
    peer = WebSocket.open(theirs, role=Role.SERVER)
    peer.send_many(messages, opcode=Opcode.BINARY)
    ws = BlockingWebSocket(WebSocket.open(chaos))

    got = []
    while len(got) < len(messages):
        got += ws.read_batch(timeout=GUARD_SECONDS).payloads
    ws.send_many(got, opcode=Opcode.BINARY)

    back = []
    while len(back) < len(messages):
        batch = peer.read_batch()
        back += batch.payloads if batch is not None else []
    assert back == got == messages
    ws.abort()
    peer.abort()


def test_a_recording_is_made_and_plays(serve, tmp_path):
    server = serve()
    with (
        Recorder(tmp_path / "talk") as recorder,
        connect(server.url, recorder=recorder) as ws,
    ):
        ws.send_text("hi")
        assert ws.receive() == b"hi"

    again = WebSocket(ReplayStream(tmp_path / "talk"))
    with BlockingWebSocket(again) as ws:
        assert ws.receive() == b"hi"
        with pytest.raises(ConnectionClosed):
            ws.receive()


# -- connecting ----------------------------------------------------------------------


def test_tls_is_verified(serve):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    server = serve(ssl_context=context)

    with connect(server.url, ssl_context=trusting) as ws:
        ws.send_binary(bytes(300_000))
        assert ws.receive() == bytes(300_000)
    with pytest.raises(UntrustedCertificate):
        connect(server.url)


def test_a_name_is_looked_up_and_all_its_addresses_tried(serve, monkeypatch):
    server = serve()

    def resolve(host, port):
        assert host == "venue.test"
        return [Address("127.0.0.1", dead), Address("127.0.0.1", server.port)]

    monkeypatch.setattr(blocking.dns, "resolve", resolve)
    with reserved_port() as dead, connect(f"ws://venue.test:{server.port}") as ws:
        ws.send_text("hi")
        assert ws.receive() == b"hi"


class Unanswered:
    """A connection that nobody accepts nor refuses; its descriptor is never ready."""

    want_write = True
    buffered = False

    def __init__(self):
        self.reading, self.writing = os.pipe()
        self.closed = False

    def fileno(self):
        return self.reading  # never to be written

    def connected(self):
        return False

    def close(self):
        os.close(self.reading)
        os.close(self.writing)
        self.closed = True


def test_an_address_that_does_not_answer_is_overtaken(serve, monkeypatch):
    server, mute, started = serve(), Unanswered(), []
    addresses = [Address("192.0.2.1", server.port), Address("127.0.0.1", server.port)]
    monkeypatch.setattr(blocking.dns, "resolve", lambda host, port: addresses)

    class Streams:
        @staticmethod
        def connect(info, address):
            started.append(address)
            if address is addresses[0]:
                return mute
            return TcpStream.connect(info, address)

    monkeypatch.setattr(blocking, "TcpStream", Streams)

    with connect(f"ws://venue.test:{server.port}") as ws:
        assert ws.info.host == "venue.test"
        ws.send_text("hi")
        assert ws.receive() == b"hi"
    assert started == addresses
    assert mute.closed


def test_all_failures_are_told(monkeypatch):
    addresses = [Address("127.0.0.1", 1), Address("127.0.0.1", 2)]
    monkeypatch.setattr(blocking.dns, "resolve", lambda host, port: addresses)

    with pytest.raises(ConnectError, match=r"no address answered: .*:1: .*:2: "):
        connect("ws://venue.test:1")
    monkeypatch.setattr(blocking.dns, "resolve", lambda host, port: addresses[:1])
    with pytest.raises(ConnectError, match="refused"):
        connect("ws://venue.test:1")


def test_names_that_fail_or_take_too_long_are_told(monkeypatch):
    def fail(host, port):
        raise ResolveError("no such name")

    monkeypatch.setattr(blocking.dns, "resolve", fail)
    with pytest.raises(ResolveError, match="no such name"):
        connect("ws://venue.test")

    asked, release = threading.Event(), threading.Event()

    def hang(host, port):
        asked.set()
        release.wait(GUARD_SECONDS)
        return []

    monkeypatch.setattr(blocking.dns, "resolve", hang)
    with pytest.raises(ResolveTimeout):
        connect("ws://venue.test", connect_timeout=0.01)
    # The thread looks the function up itself, perhaps only now.
    assert asked.wait(GUARD_SECONDS)
    release.set()


def test_a_server_that_says_nothing_times_out(monkeypatch):
    dial = blocking._dial
    # A slow machine may take all of the time for the connection alone.
    monkeypatch.setattr(
        blocking, "_dial", lambda info, deadline: dial(info, deadline + GUARD_SECONDS)
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ConnectTimeout, match="no upgrade"):
            connect(f"ws://127.0.0.1:{port}", connect_timeout=0.02)
        with pytest.raises(ConnectTimeout, match="no TLS handshake"):
            connect(f"wss://127.0.0.1:{port}", connect_timeout=0.02)


def test_a_refusal_is_told_with_its_status_though_its_body_never_ends(
    serve, monkeypatch
):
    server = serve(decide=lambda request: Refuse(403, body=b"no"))
    with pytest.raises(HandshakeError) as caught:
        connect(server.url)
    assert (caught.value.status, caught.value.body) == (403, b"no")

    # What the server says is there before the time begins.
    ours, theirs = tcp_stream_pair()
    theirs.send(b"HTTP/1.1 418 T\r\nContent-Length: 99\r\n\r\nshort")
    assert select.select([ours], [], [], GUARD_SECONDS)[0]
    monkeypatch.setattr(blocking, "_dial", lambda info, deadline: ours)
    with pytest.raises(HandshakeError) as caught:
        connect("ws://venue.test", connect_timeout=0.02)
    assert caught.value.status == 418
    theirs.close()


@pytest.mark.parametrize(
    ("url", "how", "error"),
    [
        ("http://127.0.0.1", {}, InvalidURL),
        ("ws://127.0.0.1:1", {}, ConnectError),
    ],
)
def test_what_cannot_begin_is_told(url, how, error):
    with pytest.raises(error):
        connect(url, **how)


def test_a_bad_header_leaves_no_socket_open(serve):
    server = serve()
    with pytest.raises(ValueError, match="header"):
        connect(server.url, headers=[("bad name", "x")])
