"""A WebSocket over streams that block, break and lie; time moves by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.clock import ManualClock, to_ns
from netcore.errors import (
    BufferFull,
    ConnectionClosed,
    ConnectionLost,
    HandshakeError,
    InvalidURL,
    ProtocolError,
    RecordingError,
    TruncatedStream,
)
from netcore.info import ConnectionInfo
from netcore.testing import (
    ChaosStream,
    ScriptedStream,
    memory_stream_pair,
    random_sizes,
)
from netcore.ws import (
    DeflateConfig,
    Opcode,
    State,
    WebSocket,
    WebSocketOptions,
    encode_frame,
)

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", **options) -> bytes:
    """A server's frame."""
    return encode_frame(opcode, payload, **options)


def close_frame(code: int) -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big"))


def pump(*ends: WebSocket, turns: int = 600) -> list[list[bytes]]:
    """Read all ends in turn, longer than any test needs; servers accept."""
    got: list[list[bytes]] = [[] for _ in ends]
    for _ in range(turns):
        for place, end in enumerate(ends):
            if end.closed:
                continue
            batch = end.read_batch()
            if batch is not None:
                got[place] += batch.payloads
            if end.state is State.CONNECTING and end.request is not None:
                end.accept()
    return got


def connected(
    *, deflate: DeflateConfig | None = None, seed: int | None = None
) -> tuple[WebSocket, WebSocket]:
    a, b = memory_stream_pair()
    streams = (a, b)
    if seed is not None:
        streams = [
            ChaosStream(
                stream,
                receive=random_sizes(seed + place),
                send=random_sizes(seed + 10 + place),
            )
            for place, stream in enumerate(streams)
        ]
    options = WebSocketOptions(deflate=deflate)
    client = WebSocket(streams[0], "/x", options=options)
    server = WebSocket.serve(streams[1], options=options)
    return client, server


# -- reading ---------------------------------------------------------------------------


def test_a_read_makes_at_most_one_receive_and_none_means_no_message(opened):
    ws, _ = opened(frame(TEXT, b"a") + frame(TEXT, b"b"), None, frame(TEXT, b"c"))

    first = ws.read_batch()
    assert first is not None
    assert first.payloads == [b"a", b"b"]
    assert ws.read_batch() is None
    second = ws.read_batch()
    assert second is not None
    assert second.payloads == [b"c"]
    assert ws.read_batch() is None


def test_a_partial_frame_is_kept_over_would_blocks(opened):
    wire = frame(BINARY, bytes(300))
    steps = [step for byte in wire for step in (bytes([byte]), None)]
    ws, _ = opened(*steps)

    batches = [ws.read_batch() for _ in steps]

    assert [batch.payloads for batch in batches if batch] == [[bytes(300)]]


def test_a_batch_is_stamped_by_the_clock_after_its_receive(opened):
    clock = ManualClock(now_ns=42)
    ws, stream = opened(frame(TEXT, b"a"), clock=clock)
    batch = ws.read_batch()
    assert batch is not None
    assert batch.timestamp_ns == 42

    clock.set_wall(50)
    stream.feed(frame(TEXT, b"b"))
    batch = ws.read_batch()
    assert batch is not None
    assert batch.timestamp_ns == 50


def test_a_recorded_streams_own_clock_stamps():
    class Recorded(ScriptedStream):  # type: ignore[misc] # final for users, not here
        clock = ManualClock(now_ns=7)
        replayed = True

    stream = Recorded([frame(TEXT, b"a")])
    batch = WebSocket.open(stream, clock=ManualClock(now_ns=1)).read_batch()

    assert batch is not None
    assert batch.timestamp_ns == 7


def test_messages_can_be_taken_one_by_one(opened):
    ws, _ = opened(frame(TEXT, b"a") + frame(BINARY, b"b"), frame(TEXT, "ü".encode()))

    assert [ws.receive_next() for _ in range(2)] == [
        (ws_frame := _frame(Opcode.TEXT, b"a")),
        _frame(Opcode.BINARY, b"b"),
    ]
    assert ws_frame.text == "a"
    assert ws.receive_text() == "ü"
    assert ws.receive_text() is None
    assert ws.receive_next() is None


def _frame(opcode: Opcode, payload: bytes):
    from netcore.ws import Frame

    return Frame(opcode, True, payload)


def test_pings_are_answered_without_the_user_and_in_one_send(opened, sent):
    ws, stream = opened(frame(PING, b"1") + frame(TEXT, b"a") + frame(PING, b"2"))

    batch = ws.read_batch()

    assert batch is not None
    assert sent(stream) == [(PONG, b"1"), (PONG, b"2")]


@given(seed=st.integers(0, 10_000), deflate=st.booleans())
def test_conversations_survive_single_bytes_and_would_blocks(seed, deflate):
    client, server = connected(deflate=DeflateConfig() if deflate else None, seed=seed)
    messages = [b"", b"a", bytes(130), b"x" * 700]
    for message in messages:
        client.send_binary(message)
    assert pump(client, server) == [[], messages]
    for message in messages:
        server.send_binary(message)

    assert pump(client, server) == [messages, []]
    assert client.pending_bytes == server.pending_bytes == 0


def test_early_messages_arrive_after_the_upgrade():
    client, server = connected()
    client.send_text("early")
    assert client.pending_bytes == 0

    assert pump(client, server) == [[], [b"early"]]


# -- sending ---------------------------------------------------------------------------


@pytest.mark.parametrize("take", [0, 1, 5, 7])
def test_frames_are_never_torn_by_partial_sends(take, opened, sent):
    ws, stream = opened(takes=[take, 0, take, 3])
    ws.send_text("first")
    ws.send_binary(b"second")
    ws.send_ping(b"third")
    while not ws.flush():
        pass

    assert sent(stream) == [(TEXT, b"first"), (BINARY, b"second"), (PING, b"third")]


def test_what_waits_is_flushed_by_the_next_read(opened, sent):
    ws, stream = opened(takes=[3])
    ws.send_text("hello")
    assert ws.pending_bytes
    assert ws.want_write

    assert ws.read_batch() is None

    assert sent(stream) == [(TEXT, b"hello")]
    assert not ws.want_write


@pytest.mark.parametrize("deflate", [None, DeflateConfig()])
def test_a_full_outbox_refuses_before_anything_is_queued(deflate, opened):
    client, server = connected(deflate=deflate)
    pump(client, server)
    ws, stream = opened(takes=[0] * 100, outbox_limit=1000, deflate=deflate)
    ws.send_binary(bytes(900))
    pending = ws.pending_bytes

    with pytest.raises(BufferFull) as caught:
        ws.send_binary(bytes(200))
    with pytest.raises(BufferFull):
        ws.send_many([bytes(60), bytes(60)])

    assert ws.pending_bytes == pending
    assert caught.value.limit == 1000
    assert stream.sent == b""


def test_early_messages_count_for_the_limit():
    stream = ScriptedStream(connecting=1000)
    ws = WebSocket(stream, options=WebSocketOptions(outbox_limit=1000))
    ws.send_binary(bytes(700))
    with pytest.raises(BufferFull):
        ws.send_binary(bytes(400))


def test_replies_find_room_in_a_full_outbox(opened, sent):
    ws, stream = opened(
        frame(PING, b"p"), close_frame(1000), takes=[0, 0, 0], outbox_limit=1000
    )
    ws.send_binary(bytes(980))
    ws.read_batch()
    with pytest.raises(ConnectionClosed):
        ws.read_batch()

    assert ws.finish()
    assert sent(stream) == [
        (BINARY, bytes(980)),
        (PONG, b"p"),
        (CLOSE, b"\x03\xe8"),
    ]


def test_pongs_wait_outside_a_full_outbox_and_leave_later(opened, sent):
    steps = [frame(PING, b"%d" % number) for number in range(3000)]
    ws, stream = opened(*steps, takes=[0] * 3001, outbox_limit=1 << 20)
    ws.send_binary(bytes(100_000))
    for _ in steps:
        ws.read_batch()
    assert ws.pending_bytes < 100_100

    ws.read_batch()

    pongs = [payload for opcode, payload in sent(stream) if opcode == PONG]
    assert pongs == [b"%d" % number for number in range(3000 - 1024, 3000)]


def test_many_messages_leave_in_one_send(opened, sent):
    takes = iter([0])
    ws, stream = opened(takes=takes)
    ws.send_many(["a", b"b", "ü"])
    assert next(takes, "used") == "used"
    ws.flush()

    assert sent(stream) == [(TEXT, b"a"), (TEXT, b"b"), (TEXT, "ü".encode())]


def test_a_message_may_be_sent_in_pieces():
    client, server = connected()
    pump(client, server)
    client.send_text("a", fin=False)
    client.send_text("b", fin=True)
    client.send_pong(b"unasked")

    assert pump(client, server) == [[], [b"ab"]]


# -- endings ---------------------------------------------------------------------------


def test_a_peers_close_is_raised_after_its_messages_and_the_stream_closed(opened, sent):
    ws, stream = opened(frame(TEXT, b"last") + close_frame(4001))
    batch = ws.read_batch()
    assert batch is not None
    assert not stream.closed
    for _ in range(2):
        with pytest.raises(ConnectionClosed) as caught:
            ws.read_batch()
        assert (caught.value.code, caught.value.initiated_by) == (4001, "remote")

    assert stream.closed
    assert sent(stream) == [(CLOSE, (4001).to_bytes(2, "big"))]
    assert (ws.closed, ws.close_code, ws.close_reason) == (True, 4001, "")
    with pytest.raises(ConnectionClosed):
        ws.send_text("too late")


def test_a_fault_is_raised_once_and_then_a_closed_connection(opened, sent):
    ws, stream = opened(b"\xff\xff", None, b"")
    with pytest.raises(ProtocolError) as caught:
        ws.read_batch()
    assert caught.value.code == 1002

    with pytest.raises(ConnectionClosed):
        ws.read_batch()
    assert sent(stream)[0][1][:2] == (1002).to_bytes(2, "big")


def test_after_a_fault_the_stream_stays_until_the_peer_hangs_up(opened):
    ws, stream = opened(b"\xff\xff", b"more", b"and more")
    with pytest.raises(ProtocolError):
        ws.read_batch()
    assert not stream.closed
    assert not ws.finish()

    stream.feed(b"still more", b"")
    assert ws.finish()
    assert stream.closed
    assert ws.finish()


def test_after_a_fault_the_stream_goes_when_patience_ends(opened):
    clock = ManualClock()
    ws, stream = opened(b"\xff\xff", clock=clock, close_timeout=5)
    with pytest.raises(ProtocolError):
        ws.read_batch()
    clock.advance(4.9)
    assert not ws.finish()
    clock.advance(0.1)

    assert ws.finish()
    assert stream.closed


def test_an_endless_talker_does_not_hold_finish_up(opened):
    ws, stream = opened(b"\xff\xff", *[b"x"] * 1000)
    with pytest.raises(ProtocolError):
        ws.read_batch()

    assert not ws.finish()
    assert stream.buffered


def test_unsent_last_words_are_given_time_and_then_up(opened):
    clock = ManualClock()
    ws, stream = opened(close_frame(1000), takes=[0] * 50, clock=clock)
    with pytest.raises(ConnectionClosed):
        ws.read_batch()
    assert not stream.closed
    clock.advance(6)

    assert ws.finish()
    assert stream.closed


def test_our_close_ends_with_the_echo(opened, sent):
    ws, stream = opened(frame(TEXT, b"dropped"), close_frame(1001))
    ws.close(1001, "bye")
    ws.close()
    assert ws.state is State.CLOSING
    assert ws.read_batch() is None
    with pytest.raises(ConnectionClosed) as caught:
        ws.read_batch()

    assert (caught.value.code, caught.value.initiated_by) == (1001, "local")
    assert sent(stream) == [(CLOSE, (1001).to_bytes(2, "big") + b"bye")]
    assert stream.closed


def test_our_close_does_not_wait_for_ever(opened):
    clock = ManualClock()
    ws, stream = opened(clock=clock, close_timeout=2)
    ws.close()
    assert ws.deadline == clock.monotonic_ns() + to_ns(2)
    assert ws.read_batch() is None
    clock.advance(2)
    with pytest.raises(ConnectionClosed) as caught:
        ws.read_batch()

    assert caught.value.code == 1006
    assert stream.closed


@pytest.mark.parametrize(
    "cause", [ConnectionLost("reset by peer"), TruncatedStream("no close_notify")]
)
def test_a_broken_stream_is_an_abnormal_closure_with_its_cause(cause, opened):
    ws, _ = opened(frame(TEXT, b"a"), cause)
    assert ws.read_batch() is not None
    with pytest.raises(ConnectionClosed) as caught:
        ws.read_batch()

    assert caught.value.code == 1006
    assert caught.value.__cause__ is cause


def test_a_full_disk_is_not_taken_for_a_broken_connection(opened):
    ws, _ = opened(RecordingError("disk full"))
    with pytest.raises(RecordingError):
        ws.read_batch()
    assert ws.closed


class DeafStream(ScriptedStream):  # type: ignore[misc] # final for users, not here
    """Takes nothing any more; what came before can still be read."""

    def send(self, data, /):
        raise ConnectionLost("broken pipe")


def test_the_peers_last_words_are_read_though_sending_failed():
    stream = DeafStream([frame(TEXT, b"why") + close_frame(1008)])
    ws = WebSocket.open(stream)
    for _ in range(2):
        with pytest.raises(ConnectionClosed) as failed:
            ws.send_text("x")
        assert isinstance(failed.value.__cause__, ConnectionLost)
    with pytest.raises(ConnectionClosed):
        ws.check_sending()

    batch = ws.read_batch()
    assert batch is not None
    assert batch.payloads == [b"why"]
    with pytest.raises(ConnectionClosed) as caught:
        ws.read_batch()
    assert caught.value.code == 1008


def test_leaving_the_block_gives_the_stream_back(opened):
    ws, stream = opened()
    with ws:
        assert ws.state is State.OPEN

    assert stream.closed
    assert (ws.state, ws.close_code) == (State.CLOSED, 1006)
    ws.abort()


# -- handshake -------------------------------------------------------------------------


def test_the_host_header_leaves_default_ports_out():
    for port, host in [(80, "h"), (443, "h"), (8080, "h:8080")]:
        stream = ScriptedStream(info=ConnectionInfo("h", port))
        WebSocket(stream)
        assert f"\r\nHost: {host}\r\n".encode() in stream.sent
    stream = ScriptedStream(info=ConnectionInfo("::1", 443))
    WebSocket(stream, host=None)
    assert b"\r\nHost: [::1]\r\n" in stream.sent


def test_a_refusal_is_raised_with_its_body():
    client, server = connected()
    client.read_batch()
    server.read_batch()
    server.reject(403, headers=[("X-Why", "because")], body=b"no")
    with pytest.raises(HandshakeError) as caught:
        client.read_batch()

    assert (caught.value.status, caught.value.body) == (403, b"no")
    assert server.finish()
    with pytest.raises(ConnectionClosed):
        client.read_batch()


def test_a_handshake_has_its_time():
    clock = ManualClock()
    ws = WebSocket(
        ScriptedStream(), options=WebSocketOptions(open_timeout=3), clock=clock
    )
    assert ws.read_batch() is None
    clock.advance(3)
    with pytest.raises(HandshakeError, match="within 3"):
        ws.read_batch()


def test_a_server_knows_what_was_asked_and_agreed():
    a, b = memory_stream_pair()
    client = WebSocket(a, "/feed?x=1", subprotocols=["v1"], headers=[("X-Key", "k")])
    server = WebSocket.serve(b)
    server.read_batch()
    request = server.request
    assert request is not None
    assert (request.path, request.header("x-key")) == ("/feed", "k")
    server.accept(subprotocol="v1")
    client.read_batch()

    assert client.agreement is not None
    assert client.agreement.subprotocol == "v1"
    assert server.agreement is not None
    assert "server" in repr(server)
    assert client.info == a.info


@pytest.mark.parametrize("url", ["http://h/", "tcp://h:1", "ws://", "h"])
def test_only_websocket_urls_can_be_connected_to(url):
    with pytest.raises(InvalidURL):
        WebSocket.connect(url)


def test_pongs_show_until_the_next_read(opened):
    ws, _ = opened(frame(PONG, b"a") + frame(PONG, b"b"), None, frame(TEXT, b"x"))

    assert ws.read_batch() is None
    assert ws.pongs == [b"a", b"b"]
    assert ws.read_batch() is None
    assert ws.read_batch().payloads == [b"x"]
    assert ws.pongs == []
