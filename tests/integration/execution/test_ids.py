import random

import pytest

from integration.execution import ClientOrderIds
from netcore.clock import ManualClock


def test_names_do_not_repeat():
    make = ClientOrderIds(clock=ManualClock())

    assert len({make() for _ in range(10_000)}) == 10_000


def test_names_suit_every_venue():
    name = ClientOrderIds("strategy7")()

    assert name.startswith("strategy7")
    assert name.isalnum()
    assert len(name) <= 32


def test_later_names_sort_behind():
    clock = ManualClock()
    make = ClientOrderIds(clock=clock)
    first = make()
    clock.advance(1)

    assert make()[:8] > first[:8]


def test_a_seed_makes_names_repeatable():
    def names():
        make = ClientOrderIds(clock=ManualClock(), rng=random.Random(7))  # noqa: S311 - repeatable on purpose
        return [make() for _ in range(3)]

    assert names() == names()


@pytest.mark.parametrize("prefix", ["x" * 14, "a-b", "ü"])
def test_a_prefix_that_venues_refuse_is_refused(prefix):
    with pytest.raises(ValueError, match="prefix"):
        ClientOrderIds(prefix)
