"""How soon threads give way while there is an auction, and afterwards."""

import sys

import pytest

from flowtrade.core.switches import quick_switches


@pytest.fixture
def interval():
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield 0.005
    sys.setswitchinterval(before)


def test_threads_give_way_sooner_until_the_last_has_ended(interval):
    first, second = quick_switches(), quick_switches()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.getswitchinterval() == pytest.approx(0.001)
    second.__exit__(None, None, None)

    assert sys.getswitchinterval() == pytest.approx(interval)


def test_a_host_whose_threads_give_way_sooner_keeps_its_choice(interval):
    sys.setswitchinterval(0.0002)
    with quick_switches():
        assert sys.getswitchinterval() == pytest.approx(0.0002)

    assert sys.getswitchinterval() == pytest.approx(0.0002)


def test_an_interval_that_a_host_sets_meanwhile_stays(interval):
    with quick_switches():
        sys.setswitchinterval(0.003)

    assert sys.getswitchinterval() == pytest.approx(0.003)
