"""A WebSocket's heartbeat, with time moved by hand."""

import pytest

from netcore.clock import ManualClock, to_ns
from netcore.errors import ConnectionClosed
from netcore.testing import ScriptedStream
from netcore.ws import (
    FrameReader,
    Heartbeat,
    Opcode,
    Role,
    State,
    WebSocket,
    WebSocketOptions,
    encode_frame,
)
from netcore.ws.heartbeat import Occasion

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", **options) -> bytes:
    """A server's frame."""
    return encode_frame(opcode, payload, **options)


def opened(*steps, takes=(), clock=None, **options) -> tuple[WebSocket, ScriptedStream]:
    """A client's end after the upgrade, over a script."""
    stream = ScriptedStream(steps, takes=takes)
    settings = WebSocketOptions(**options)
    return WebSocket.open(stream, options=settings, clock=clock), stream


def sent(stream: ScriptedStream) -> list[tuple[int, bytes]]:
    """The frames that a client's end sent."""
    reader = FrameReader(Role.SERVER)
    payloads = reader.feed(bytes(stream.sent))
    assert reader.fault is None
    out: list[tuple[int, bytes]] = []
    marks = list(reader.marks)
    for place, opcode in enumerate([*reader.opcodes(), None]):
        while marks and marks[0].place == place:
            mark = marks.pop(0)
            out.append((mark.opcode, mark.payload))
        if opcode is not None:
            out.append((int(opcode), payloads[place]))
    return out


def test_heartbeats_leave_in_time_and_measure_the_way():
    clock = ManualClock()
    ws, stream = opened(
        clock=clock, heartbeat=Heartbeat(interval=10, timeout=3, message=b"hb")
    )
    assert ws.deadline == clock.monotonic_ns() + to_ns(10)
    assert ws.read_batch() is None
    assert stream.sent == b""
    clock.advance(10)
    assert ws.read_batch() is None
    assert sent(stream) == [(PING, b"hb")]

    clock.advance(0.5)
    stream.feed(frame(PONG, b"hb"))
    assert ws.read_batch() is None
    assert ws.latency_ns == to_ns(0.5)
    clock.advance(3)
    assert ws.read_batch() is None
    assert ws.state is State.OPEN


def test_a_silent_peer_is_given_up_and_told():
    clock = ManualClock()
    ws, stream = opened(clock=clock, heartbeat=Heartbeat(interval=10, timeout=3))
    clock.advance(10)
    ws.read_batch()
    clock.advance(3)
    with pytest.raises(ConnectionClosed) as caught:
        ws.read_batch()

    assert (caught.value.code, caught.value.initiated_by) == (1011, "local")
    assert [opcode for opcode, _ in sent(stream)] == [PING, CLOSE]


def test_a_venues_own_heartbeat_is_a_message():
    clock = ManualClock()
    heartbeat = Heartbeat(
        interval=20,
        timeout=None,
        message=lambda: '{"op":"ping"}',
        opcode=Opcode.TEXT,
        occasion=Occasion.IDLE,
    )
    ws, stream = opened(clock=clock, heartbeat=heartbeat)
    stream.feed(frame(TEXT, b"data"))
    assert ws.read_batch() is not None
    clock.advance(20)
    ws.read_batch()
    assert stream.sent == b""
    clock.advance(20)
    ws.read_batch()

    assert sent(stream) == [(TEXT, b'{"op":"ping"}')]


def test_a_heartbeat_never_slips_into_a_message_under_way():
    clock = ManualClock()
    heartbeat = Heartbeat(interval=1, message=b"hb", opcode=Opcode.TEXT)
    ws, stream = opened(clock=clock, heartbeat=heartbeat)
    ws.send_text("a", fin=False)
    clock.advance(1)
    ws.read_batch()
    ws.send_text("b")
    clock.advance(1)
    ws.read_batch()

    assert [payload for _, payload in sent(stream)][-2:] == [b"b", b"hb"]


def test_a_flood_does_not_starve_the_heartbeat():
    clock = ManualClock()
    ws, stream = opened(clock=clock, heartbeat=Heartbeat(interval=1, timeout=1))
    for _ in range(5):
        stream.feed(frame(TEXT, b"data"))
        clock.advance(1)
        assert ws.read_batch() is not None

    assert [opcode for opcode, _ in sent(stream)] == [PING] * 5


def test_a_heartbeat_that_finds_no_room_still_counts_down():
    clock = ManualClock()
    ws, _ = opened(
        takes=[0] * 100,
        clock=clock,
        outbox_limit=10,
        heartbeat=Heartbeat(interval=1, timeout=1, message=bytes(100)),
    )
    clock.advance(1)
    assert ws.read_batch() is None
    clock.advance(1)
    with pytest.raises(ConnectionClosed) as caught:
        ws.read_batch()
    assert caught.value.code == 1011
