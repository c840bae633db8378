import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.market.liveness import SilenceWatch


def test_before_the_floor_no_silence_is_suspicious():
    watch = SilenceWatch(10.0)
    watch.started(100.0)

    assert watch.deadline == 110.0
    watch.heard(101.0)
    assert watch.deadline == 111.0


def test_nothing_is_known_of_a_line_that_has_said_nothing():
    assert SilenceWatch(0.5).limit == 0.5


def test_a_quiet_instrument_teaches_patience():
    watch = SilenceWatch(10.0, factor=5.0)
    watch.started(0.0)

    watch.heard(8.0)

    assert watch.limit == 40.0
    assert watch.deadline == 48.0


def test_the_time_without_a_connection_teaches_nothing():
    watch = SilenceWatch(10.0)
    watch.started(0.0)
    watch.heard(1.0)

    watch.started(1000.0)

    assert watch.limit == 10.0


def test_reconnecting_in_vain_doubles_the_patience_until_data_come():
    watch = SilenceWatch(10.0)
    watch.started(0.0)

    watch.suspected()
    watch.suspected()
    assert watch.limit == 40.0
    watch.heard(1.0)

    assert watch.limit == 10.0


def test_without_a_floor_silence_is_never_suspicious():
    watch = SilenceWatch(None)
    watch.started(0.0)
    watch.heard(1e9)

    assert watch.limit is None
    assert watch.deadline is None


@pytest.mark.parametrize(("floor", "factor"), [(0, 5), (-1, 5), (10, 0.5)])
def test_a_watch_that_makes_no_sense_is_refused(floor, factor):
    with pytest.raises(ValueError, match="above 0"):
        SilenceWatch(floor, factor=factor)


@given(st.lists(st.floats(0.001, 100.0), min_size=1, max_size=30))
def test_a_silence_like_those_before_is_never_suspicious(gaps):
    watch = SilenceWatch(1.0)
    now = 0.0
    watch.started(now)
    for gap in gaps:
        now += gap
        watch.heard(now)

    assert watch.deadline >= now + max(gaps)
