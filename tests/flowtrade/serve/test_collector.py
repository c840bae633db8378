"""The garbage collector while serving, and afterwards."""

import gc

import pytest

from flowtrade.serve.collector import calm_collector


@pytest.fixture(autouse=True)
def threshold():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield gc.get_threshold()
    gc.unfreeze()
    gc.set_threshold(*before)


def test_garbage_is_looked_for_more_rarely_until_the_last_has_ended(threshold):
    with calm_collector():
        with calm_collector():
            assert gc.get_threshold()[0] > 10 * threshold[0]
        assert gc.get_threshold()[0] > 10 * threshold[0]
        assert gc.get_freeze_count() > 0

    assert gc.get_threshold() == threshold
    assert gc.get_freeze_count() == 0


def test_blocks_need_not_end_in_the_order_in_which_they_began(threshold):
    first, second = calm_collector(), calm_collector()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() != threshold
    second.__exit__(None, None, None)

    assert gc.get_threshold() == threshold


def test_an_exception_does_not_leave_it_calm(threshold):
    with pytest.raises(ZeroDivisionError), calm_collector():
        raise ZeroDivisionError

    assert gc.get_threshold() == threshold


@pytest.mark.parametrize("chosen", [(0, 10, 10), (100_000, 5, 5)])
def test_a_host_that_looks_more_rarely_still_keeps_its_choice(chosen):
    gc.set_threshold(*chosen)
    with calm_collector():
        assert gc.get_threshold() == chosen
        assert gc.get_freeze_count() == 0

    assert gc.get_threshold() == chosen


def test_a_host_that_has_switched_it_off_keeps_its_choice(threshold):
    gc.disable()
    try:
        with calm_collector():
            assert gc.get_threshold() == threshold
            assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_a_host_sets_meanwhile_stays():
    with calm_collector():
        gc.set_threshold(123, 4, 5)

    assert gc.get_threshold() == (123, 4, 5)


def test_what_becomes_garbage_while_serving_is_found():
    class Ring:
        def __init__(self):
            self.me = self

    with calm_collector():
        gc.collect()
        rings = [Ring() for _ in range(10)]
        del rings

        assert gc.collect() >= 10
