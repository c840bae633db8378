"""How a venue counts, checked against the slowest possible way of counting."""

from hypothesis import given
from hypothesis import strategies as st

from integration.testing.limits import Charge, SlidingWindow, Verdict, WeightWindow

STEPS = st.lists(st.integers(0, 40), max_size=60)


@given(STEPS, st.integers(1, 6), st.integers(1, 60))
def test_no_window_ever_holds_more_than_the_limit(steps, limit, window):
    counter, now, accepted = SlidingWindow(limit, window), 0, []
    for step in steps:
        now += step
        recent = [at for at in accepted if at > now - window]
        assert counter.hit(now) is (len(recent) < limit)
        if len(recent) < limit:
            accepted.append(now)


def test_weight_counts_in_minutes():
    window = WeightWindow(100, 5)

    assert window.charge(60, 10.0) == Charge(Verdict.ALLOWED, 60, 0)
    assert window.charge(40, 59.9) == Charge(Verdict.ALLOWED, 100, 0)
    assert window.charge(1, 59.9) == Charge(Verdict.SLOW_DOWN, 101, 1)
    assert window.charge(100, 60.0) == Charge(Verdict.ALLOWED, 100, 0)
    assert window.charge(1, 75.5) == Charge(Verdict.SLOW_DOWN, 101, 45)


def test_who_does_not_listen_is_banned_for_two_minutes():
    window = WeightWindow(1, 2)
    window.charge(1, 0.0)

    verdicts = [window.charge(1, float(n)).verdict for n in range(1, 5)]

    assert verdicts == [Verdict.SLOW_DOWN] * 2 + [Verdict.BANNED] * 2
    assert window.charge(1, 122.5) == Charge(Verdict.BANNED, 4, 1)
    assert window.charge(1, 123.0).verdict is Verdict.ALLOWED


def test_patience_is_counted_anew_each_minute():
    window = WeightWindow(1, 1)
    for minute in range(5):
        window.charge(1, minute * 60.0)
        assert window.charge(1, minute * 60.0).verdict is Verdict.SLOW_DOWN
