import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import HttpTimeout
from integration.rest.clock import ServerClock, resynchronise, synchronise
from netcore.clock import Clock, ManualClock

MS = 1_000_000
S = 1_000 * MS


def test_it_is_a_clock():
    assert isinstance(ServerClock(), Clock)


def test_before_any_answer_the_local_wall_clock_stands_in():
    local = ManualClock(now_ns=1_700_000_000_123_456_789)
    clock = ServerClock(local)

    assert clock.now_ns() == 1_700_000_000_123_456_789
    assert clock.timestamp_ms() == 1_700_000_000_123
    assert not clock.synchronised
    assert clock.uncertainty_ns is None
    assert clock.drift_ppm is None


def test_an_answer_is_taken_to_come_from_the_middle_of_its_round_trip():
    local = ManualClock(now_ns=1_700_000_000 * S, monotonic_ns=0)
    clock = ServerClock(local)

    clock.observe(0, 40 * MS, 1_700_000_005 * S + 20 * MS)

    assert clock.offset_ns == 5 * S
    assert clock.uncertainty_ns == 20 * MS
    local.advance(1.5)
    assert clock.now_ns() == 1_700_000_006 * S + 500 * MS


def test_the_shortest_round_trip_wins():
    local = ManualClock(now_ns=0)
    clock = ServerClock(local)

    clock.observe(0, 200 * MS, 190 * MS)  # off by 90 ms: all the delay on one way
    clock.observe(0, 10 * MS, 6 * MS)  # off by 1 ms
    clock.observe(0, 500 * MS, 10 * MS)

    assert clock.offset_ns == 1 * MS


def test_a_step_of_the_wall_clock_does_not_move_our_timestamps():
    local = ManualClock(now_ns=1_700_000_000 * S)
    clock = ServerClock(local)
    clock.observe(0, 0, 1_700_000_000 * S)

    local.set_wall(1_600_000_000 * S)

    assert clock.now_ns() == 1_700_000_000 * S
    assert clock.offset_ns == 100_000_000 * S


def test_an_old_good_sample_gives_way_when_drift_outweighs_it():
    local = ManualClock(now_ns=0)
    clock = ServerClock(local)
    clock.observe(0, 10 * MS, 5 * MS)
    later = 3600 * S  # 15 ppm make 54 ms of doubt by then
    local.advance(3600)

    clock.observe(later, later + 40 * MS, later + 70 * MS)

    assert clock.offset_ns == 50 * MS


def test_after_forgetting_the_next_answer_wins_but_the_offset_stays_until_then():
    local = ManualClock(now_ns=0)
    clock = ServerClock(local)
    clock.observe(0, 2 * MS, 1 * MS + 3 * S)

    clock.forget()

    assert clock.offset_ns == 3 * S
    clock.observe(0, 900 * MS, 450 * MS + 8 * S)
    assert clock.offset_ns == 8 * S


def test_the_rate_of_the_venues_clock_is_estimated():
    clock = ServerClock(ManualClock(now_ns=0))
    clock.observe(0, 0, 0)
    clock.observe(100 * S, 100 * S, 100 * S + 1 * MS)

    assert clock.drift_ppm == pytest.approx(10.0)


def test_an_answer_before_its_question_is_refused():
    with pytest.raises(ValueError, match="before sent"):
        ServerClock().observe(2, 1, 0)


@given(
    st.integers(-(10**15), 10**15),
    st.lists(st.tuples(st.integers(0, S), st.integers(0, S)), min_size=1, max_size=30),
)
def test_the_error_never_exceeds_the_stated_uncertainty(offset, trips):
    """Each trip has its own way there and back; the true offset is constant."""
    local = ManualClock(now_ns=0)
    clock = ServerClock(local)
    for there, back in trips:
        sent = local.monotonic_ns()
        local.advance_ns(there)
        server_time = local.monotonic_ns() + offset
        local.advance_ns(back)
        clock.observe(sent, local.monotonic_ns(), server_time)

    assert abs(clock.offset_ns - offset) <= clock.uncertainty_ns + 1


async def test_synchronising_asks_as_often_as_told_and_returns_the_best():
    local = ManualClock(now_ns=0)
    clock = ServerClock(local)
    delays = iter([80 * MS, 6 * MS, 50 * MS])

    async def ask():
        delay = next(delays)
        local.advance_ns(delay // 2)
        server_time = local.now_ns() + 7 * S
        local.advance_ns(delay // 2)
        return server_time

    best = await synchronise(clock, ask, samples=3)

    assert best.delay == 6 * MS
    assert clock.offset_ns == 7 * S
    assert next(delays, None) is None


async def test_a_failing_venue_is_reported_and_earlier_answers_count():
    clock = ServerClock(ManualClock(now_ns=0))
    answers = iter([3 * S])

    async def ask():
        for answer in answers:
            return answer
        raise HttpTimeout("late")

    with pytest.raises(HttpTimeout):
        await synchronise(clock, ask)

    assert clock.offset_ns == 3 * S


async def test_no_samples_make_no_estimate():
    with pytest.raises(ValueError, match="at least one"):
        await synchronise(ServerClock(), None, samples=0)


async def test_after_a_refusal_a_better_looking_old_sample_does_not_win():
    local = ManualClock(now_ns=0)
    clock = ServerClock(local)
    clock.observe(0, 2, 1)  # a short trip, but the venue's clock was set since

    async def ask():
        local.advance_ns(40 * MS)
        return local.now_ns() - 20 * MS + 9 * S

    await resynchronise(clock, ask, samples=1)

    assert clock.offset_ns == 9 * S


def test_what_is_known_of_the_clock_can_be_measured():
    clock = ServerClock(ManualClock(now_ns=7_000 * MS))
    assert [f.key for f in clock.metric().fields] == ["offset_ns"]

    clock.observe(0, 10 * MS, 7_005 * MS)
    clock.observe(100 * S, 100 * S + 20 * MS, 107_010 * MS)
    metric = clock.metric(exchange="x")

    assert metric.name == "server_clock"
    assert metric.time == 7_000
    assert metric.tag("exchange") == "x"
    assert metric.field("offset_ns") == 0
    assert metric.field("uncertainty_ns") == 5 * MS
    assert metric.field("drift_ppm") == 0.0
