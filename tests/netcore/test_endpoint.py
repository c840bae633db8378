import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.clock import ManualClock
from netcore.endpoint import AutoDisconnect, Endpoint, Failed, jittered, ttl_seconds
from netcore.info import ConnectionInfo
from netcore.testing import ScriptedStream


class Plain(Endpoint):
    def create(self, address, context):
        return ScriptedStream()


class Protocol:
    """An object over a stream, which it shows."""

    def __init__(self, stream):
        self.stream = stream


def test_an_endpoint_may_come_again_and_may_end_unless_it_says_otherwise():
    endpoint = Plain(ConnectionInfo("a", 1))

    assert endpoint.can_recreate(Failed(OSError()), None)
    assert endpoint.can_auto_disconnect(None)
    assert not endpoint.every_turn


def test_a_stream_is_watched_itself_and_a_protocol_by_its_stream():
    endpoint = Plain(ConnectionInfo("a", 1))
    stream = ScriptedStream()

    assert endpoint.selectable(stream) is stream
    assert endpoint.selectable(Protocol(stream)) is stream
    with pytest.raises(TypeError, match="int cannot be watched; define selectable in"):
        endpoint.selectable(1)


def test_an_endpoints_deadline_is_its_connections_unless_it_says_otherwise():
    class Timed:
        deadline = 5

    class Odd:
        def deadline(self):
            return 5

    endpoint = Plain(ConnectionInfo("a", 1))

    assert endpoint.deadline(Timed()) == 5
    assert endpoint.deadline(Odd()) is None
    assert endpoint.deadline(ScriptedStream()) is None


def test_an_endpoints_time_is_its_clocks_or_the_systems():
    endpoint = Plain(ConnectionInfo("a", 1))
    before = time.monotonic_ns()
    assert before <= endpoint.monotonic_ns() <= time.monotonic_ns()

    endpoint.clock = ManualClock(monotonic_ns=17)
    assert endpoint.monotonic_ns() == 17


def test_an_endpoint_must_say_how_to_connect():
    with pytest.raises(TypeError, match="create"):
        Endpoint(ConnectionInfo("a", 1))


@given(spread=st.floats(0, 0.99), place=st.floats(0, 1))
def test_jitter_stays_within_its_spread(spread, place):
    supply = jittered(
        100, spread=spread, uniform=lambda low, high: low + (high - low) * place
    )

    assert 100 * (1 - spread) - 1e-9 <= supply() <= 100 * (1 + spread) + 1e-9


def test_jitter_differs_from_connection_to_connection():
    supply = jittered(timedelta(hours=24))

    assert len({supply() for _ in range(10)}) > 1


def test_reasons_can_be_told_apart_and_read():
    assert str(AutoDisconnect(86400.0)) == "auto disconnect after 86400 s"
    assert str(Failed(OSError("x"))) == "OSError: x"
    match Failed(OSError("x")):
        case AutoDisconnect():
            raise AssertionError("a failure is no auto disconnect")
        case Failed(error=OSError()):
            pass


def test_a_spread_of_one_or_more_is_refused():
    with pytest.raises(ValueError, match="was 1"):
        jittered(10, spread=1)


@pytest.mark.parametrize(
    ("ttl", "seconds"), [(5, 5), (0.5, 0.5), (timedelta(minutes=2), 120)]
)
def test_times_to_live_are_seconds(ttl, seconds):
    assert ttl_seconds(ttl) == seconds


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), timedelta(0)])
def test_a_time_to_live_is_positive(ttl):
    with pytest.raises(ValueError, match="must be above 0 s"):
        ttl_seconds(ttl)
