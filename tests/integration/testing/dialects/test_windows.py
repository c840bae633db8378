"""Windows on a book: what subscribers of N levels are told adds up to N levels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.testing.book import PriceBook, to_units
from integration.testing.dialects.windows import BookWindow, decimals_of, spell

CHANGES = st.lists(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), max_size=6), max_size=12
)


@given(CHANGES, CHANGES, st.integers(1, 8), st.booleans())
def test_a_snapshot_and_its_deltas_are_the_best_levels(bids, asks, depth, tells):
    book = PriceBook("X", bids=[(10, 1), (12, 1)], asks=[(50, 1)])
    window = BookWindow(book, depth)
    client = dict(window.bids), dict(window.asks)

    for round_bids, round_asks in zip(bids, asks, strict=False):
        shifted = [(price + 40, amount) for price, amount in round_asks]
        book.apply(1, round_bids, shifted)
        told = window.follow(book, tell_pushed_out=tells)
        for side, changes, best in zip(client, told, (max, min), strict=True):
            for price, amount in changes:
                side.pop(price, None)
                if amount:
                    side[price] = amount
            while len(side) > depth:  # the client's part where exits are silent
                assert not tells
                worst = min(side) if best is max else max(side)
                del side[worst]

        assert client[0] == dict(book.bids.top(depth)) == window.bids
        assert client[1] == dict(book.asks.top(depth)) == window.asks


def test_nothing_is_told_of_what_did_not_change():
    book = PriceBook("X", bids=[(n, 1) for n in range(1, 20)])
    window = BookWindow(book, 3)

    book.bids.set(2, 9)  # far below the window

    assert window.follow(book, tell_pushed_out=True) == ([], [])


@pytest.mark.parametrize(
    ("step", "decimals"),
    [(1, 8), (10, 7), (1_000_000, 2), (100_000_000, 0), (5_000_000, 2), (10**9, 0)],
)
def test_a_grid_needs_as_many_decimals(step, decimals):
    assert decimals_of(step) == decimals


@given(st.integers(0, 10**18), st.integers(0, 8))
def test_spelling_is_exact_even_off_the_grid(value, decimals):
    text = spell(value, decimals)

    assert to_units(text) == value
    assert len(text.partition(".")[2]) >= decimals
