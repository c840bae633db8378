"""Exact integers: what goes in as text comes out as the same number."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.models import Level
from integration.testing.book import (
    BookSide,
    PriceBook,
    format_units,
    to_decimal,
    to_units,
)

UNITS = st.integers(0, 10**24)
CHANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), max_size=60)


@given(UNITS)
def test_writing_and_reading_units_is_exact(value):
    assert to_units(format_units(value)) == value
    assert Decimal(format_units(value)) == to_decimal(value)


@given(UNITS, st.integers(0, 8))
def test_fewer_decimals_are_written_only_where_nothing_is_lost(value, decimals):
    coarse = value - value % 10 ** (8 - decimals)

    assert to_units(format_units(coarse, decimals)) == coarse
    if coarse != value:
        with pytest.raises(ValueError, match="decimals"):
            format_units(value, decimals)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("1", 100_000_000),
        ("0.00000001", 1),
        ("61837.63000000", 6_183_763_000_000),
        ("5.000000010000", 500_000_001),
        ("007.5", 750_000_000),
        ("3.", 300_000_000),
    ],
)
def test_plain_decimals_are_read(text, units):
    assert to_units(text) == units


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".5",
        "-1",
        "+1",
        "1e3",
        "NaN",
        "Infinity",
        " 1",
        "1 ",
        "1_0",
        "1,0",
        "1.2.3",
        "0.000000001",
        "٣",
        "1.٣",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match=r"not a plain decimal|finer than"):
        to_units(text)


@given(CHANGES, st.booleans(), st.integers(0, 70))
def test_a_side_is_a_sorted_dict(changes, best_is_highest, depth):
    side, model = BookSide(best_is_highest=best_is_highest), {}
    for price, amount in changes:
        side.set(price, amount)
        model.pop(price, None)
        if amount:
            model[price] = amount

    ordered = sorted(model.items(), reverse=best_is_highest)
    assert list(side) == ordered
    assert side.top(depth) == ordered[:depth]
    assert side.best == (ordered[0] if ordered else None)
    assert len(side) == len(model)
    assert all((price in side) == (price in model) for price in range(61))
    assert all(side.amount(price) == model.get(price, 0) for price in range(61))


@given(CHANGES, CHANGES)
def test_a_copy_is_independent(first, second):
    book = PriceBook("X", 1, bids=first)
    twin = book.copy()
    before = list(book.bids)

    twin.apply(2, second, second)

    assert list(book.bids) == before
    assert len(book.asks) == 0
    assert (book.sequence, twin.sequence) == (1, 2)


def test_an_image_holds_levels_best_first():
    book = PriceBook("X", 7, bids=[(100, 5), (300, 6)], asks=[(500, 1), (400, 2)])

    image = book.image()

    assert image.sequence == 7
    assert image.bids == (
        Level(Decimal("0.00000300"), Decimal("0.00000006")),
        Level(Decimal("0.00000100"), Decimal("0.00000005")),
    )
    assert [level.price for level in image.asks] == [Decimal("4E-6"), Decimal("5E-6")]
    assert image.top(1).asks == image.asks[:1]
    assert image.top(1).bids == image.bids[:1]


def test_a_book_knows_that_it_is_crossed():
    assert PriceBook("X", bids=[(2, 1)], asks=[(2, 1)]).crossed
    assert PriceBook("X", bids=[(3, 1)], asks=[(2, 1)]).crossed
    assert not PriceBook("X", bids=[(1, 1)], asks=[(2, 1)]).crossed
    assert not PriceBook("X", bids=[(1, 1)]).crossed
    assert "1 bids, 0 asks" in repr(PriceBook("X", bids=[(1, 1)]))
