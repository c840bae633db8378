import time

import pytest

from netcore.clock import Clock, ManualClock, SystemClock, to_ns


def test_both_clocks_are_clocks():
    assert isinstance(SystemClock(), Clock)
    assert isinstance(ManualClock(), Clock)


def test_the_system_clock_shows_the_systems_times():
    clock = SystemClock()

    before, now, after = time.time_ns(), clock.now_ns(), time.time_ns()
    assert before <= now <= after
    before, now, after = time.monotonic_ns(), clock.monotonic_ns(), time.monotonic_ns()
    assert before <= now <= after


def test_a_manual_clock_moves_only_when_told():
    clock = ManualClock(1_000, 5)

    assert (clock.now_ns(), clock.monotonic_ns()) == (1_000, 5)
    clock.advance(1.5)
    assert (clock.now_ns(), clock.monotonic_ns()) == (1_500_001_000, 1_500_000_005)


def test_setting_the_wall_clock_leaves_the_monotonic_one():
    clock = ManualClock(1_000, 5)

    clock.set_wall(3)

    assert (clock.now_ns(), clock.monotonic_ns()) == (3, 5)


def test_a_manual_clock_never_goes_back():
    clock = ManualClock(1_000, 5)

    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)
    assert clock.monotonic_ns() == 5


@pytest.mark.parametrize(
    ("seconds", "ns"), [(1, 10**9), (0.1, 10**8), (1e-9, 1), (0, 0)]
)
def test_seconds_become_nanoseconds(seconds, ns):
    assert to_ns(seconds) == ns


def test_clocks_print_as_their_constructors():
    assert repr(SystemClock()) == "SystemClock()"
    assert repr(ManualClock(1, 2)) == "ManualClock(1, 2)"
