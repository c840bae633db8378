"""A WebSocket's heartbeat, with time moved by hand."""

import pytest

from netcore.clock import ManualClock, to_ns
from netcore.errors import ConnectionClosed
from netcore.ws import (
    Heartbeat,
    Opcode,
    State,
    encode_frame,
)
from netcore.ws.heartbeat import Occasion

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", **options) -> bytes:
    """A server's frame."""
    return encode_frame(opcode, payload, **options)


def test_heartbeats_leave_in_time_and_measure_the_way(opened, sent):
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


def test_a_silent_peer_is_given_up_and_told(opened, sent):
    clock = ManualClock()
    ws, stream = opened(clock=clock, heartbeat=Heartbeat(interval=10, timeout=3))
    clock.advance(10)
    ws.read_batch()
    clock.advance(3)
    with pytest.raises(ConnectionClosed) as caught:
        ws.read_batch()

    assert (caught.value.code, caught.value.initiated_by) == (1011, "local")
    assert [opcode for opcode, _ in sent(stream)] == [PING, CLOSE]


def test_a_venues_own_heartbeat_is_a_message(opened, sent):
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


def test_a_heartbeat_never_slips_into_a_message_under_way(opened, sent):
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


def test_a_flood_does_not_starve_the_heartbeat(opened, sent):
    clock = ManualClock()
    ws, stream = opened(clock=clock, heartbeat=Heartbeat(interval=1, timeout=1))
    for _ in range(5):
        stream.feed(frame(TEXT, b"data"))
        clock.advance(1)
        assert ws.read_batch() is not None

    assert [opcode for opcode, _ in sent(stream)] == [PING] * 5


def test_a_heartbeat_that_finds_no_room_still_counts_down(opened):
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
