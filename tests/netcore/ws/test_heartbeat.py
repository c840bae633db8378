"""The heartbeat's timer, told the time by hand."""

import pytest

from netcore.clock import to_ns
from netcore.ws import Heartbeat, HeartbeatTimer, Occasion, Opcode
from netcore.ws.heartbeat import Beat


def timer(**options) -> HeartbeatTimer:
    return HeartbeatTimer(Heartbeat(**options), 0)


def beat(timer: HeartbeatTimer, seconds: float) -> Beat:
    now = to_ns(seconds)
    action = timer.tick(now)
    if action is Beat.SEND:
        timer.sent(b"p", now)
    return action


def test_a_periodic_beat_comes_each_interval_whatever_arrives():
    t = timer(interval=10, timeout=None)

    assert beat(t, 9.9) is Beat.NOTHING
    assert beat(t, 10) is Beat.SEND
    t.alive = True
    assert beat(t, 20) is Beat.SEND
    assert t.deadline == to_ns(30)


def test_an_idle_beat_comes_only_after_silence():
    t = timer(interval=10, occasion=Occasion.IDLE)
    t.alive = True

    assert beat(t, 10) is Beat.NOTHING
    assert beat(t, 20) is Beat.SEND


def test_silence_after_a_beat_expires():
    t = timer(interval=10, timeout=3)

    assert beat(t, 10) is Beat.SEND
    assert t.deadline == to_ns(13)
    assert beat(t, 12.9) is Beat.NOTHING
    assert beat(t, 13) is Beat.EXPIRED


def test_anything_received_is_a_sign_of_life():
    t = timer(interval=10, timeout=3)
    beat(t, 10)
    t.alive = True

    assert beat(t, 13) is Beat.NOTHING
    assert t.deadline == to_ns(20)


def test_the_oldest_unanswered_beat_counts():
    t = timer(interval=2, timeout=5)
    beats = [beat(t, second) for second in (2, 4, 6)]

    assert beats == [Beat.SEND] * 3
    assert beat(t, 7) is Beat.EXPIRED


def test_a_stalled_program_owes_one_beat_not_many():
    t = timer(interval=1, timeout=None)

    assert beat(t, 100) is Beat.SEND
    assert beat(t, 100.5) is Beat.NOTHING


def test_the_pong_of_the_latest_ping_measures_the_way():
    t = timer(interval=1)
    t.tick(to_ns(1))
    t.sent(b"id", to_ns(1))
    t.pong(b"other", to_ns(1.5))
    assert t.latency_ns is None

    t.pong(b"id", to_ns(1.25))
    assert t.latency_ns == to_ns(0.25)


def test_messages_are_made_when_they_are_due():
    numbers = iter(["1", b"2", memoryview(b"3")])
    heartbeat = Heartbeat(interval=1, message=lambda: next(numbers), opcode=Opcode.TEXT)

    assert [heartbeat.make() for _ in range(3)] == [b"1", b"2", b"3"]
    assert Heartbeat(interval=1, message=b"ping").make() == b"ping"


@pytest.mark.parametrize(
    "wrong",
    [{"interval": 0}, {"interval": 1, "timeout": 0}, {"interval": 1, "opcode": 8}],
)
def test_nonsense_is_refused(wrong):
    if "opcode" in wrong:
        wrong = {**wrong, "opcode": Opcode.CLOSE}
    with pytest.raises(ValueError, match="must be"):
        Heartbeat(**wrong)
