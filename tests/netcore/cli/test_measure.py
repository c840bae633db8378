"""Distributions: percentiles are values, buckets lose nothing, bars show all."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.cli.measure import (
    Bucket,
    Distribution,
    bars,
    decade_buckets,
    doubling_buckets,
    duration_text,
)

values = st.lists(st.integers(0, 10**15), min_size=1, max_size=200)


@given(values, st.floats(0, 100))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(numbers, percent):
    found = Distribution(numbers).percentile(percent)

    enough = [
        n
        for n in numbers
        if 100 * sum(m <= n for m in numbers) >= percent * len(numbers)
    ]
    assert found == min(enough)


def test_percentiles_of_a_hundred_values_are_their_ranks():
    shown = Distribution(range(100, 0, -1))

    assert [shown.percentile(p) for p in (0, 1, 50, 90, 99, 99.5, 100)] == [
        1, 1, 50, 90, 99, 100, 100,
    ]  # fmt: skip


@pytest.mark.parametrize(("numbers", "percent"), [([], 50), ([1], -1), ([1], 101)])
def test_there_is_no_percentile_of_nothing_or_beyond_the_ends(numbers, percent):
    with pytest.raises(ValueError, match="does not exist"):
        Distribution(numbers).percentile(percent)


def test_a_summary_names_the_figures():
    assert Distribution([5, 1, 3, 7]).summary() == {
        "count": 4, "min": 1, "p50": 3, "p90": 7, "p99": 7, "max": 7, "mean": 4,
    }  # fmt: skip
    assert Distribution().summary() == {"count": 0}


def test_values_may_be_added_after_a_look():
    shown = Distribution([3])
    assert shown.percentile(100) == 3
    shown.add(9)
    shown.add(1)
    assert (list(shown.ordered), shown.total, len(shown)) == ([1, 3, 9], 13, 3)


@pytest.mark.parametrize("edges", [doubling_buckets, decade_buckets])
@given(numbers=values)
def test_every_value_is_in_one_bucket_and_buckets_ascend(edges, numbers):
    found = Distribution(numbers).buckets(edges)

    for bucket in found:
        inside = [n for n in numbers if bucket.low <= n < bucket.high]
        assert len(inside) == bucket.count > 0
    assert sum(bucket.count for bucket in found) == len(numbers)
    assert all(a.high <= b.low for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("value", "doubling", "decade"),
    [
        (0, (0, 1), (0, 1)),
        (1, (1, 2), (1, 2)),
        (4, (4, 8), (2, 5)),
        (5, (4, 8), (5, 10)),
        (199, (128, 256), (100, 200)),
        (999, (512, 1024), (500, 1000)),
        (1000, (512, 1024), (1000, 2000)),
    ],
)
def test_buckets_begin_where_they_should(value, doubling, decade):
    assert doubling_buckets(value) == doubling
    assert decade_buckets(value) == decade


def test_the_longest_bar_is_the_largest_bucket_and_none_is_invisible():
    lines = bars([Bucket(1, 2, 1000), Bucket(2, 4, 1)], str, width=10)

    assert [line.count("#") for line in lines] == [10, 1]
    assert lines[0].split() == [">=", "1", "##########", "1000", "99.9", "%"]


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.00 us"),
        (12_345, "12.3 us"),
        (999_900, "1000 us"),
        (1_500_000, "1.50 ms"),
        (61_000_000_000, "61.0 s"),
        (7_200_000_000_000, "7200 s"),
    ],
)
def test_durations_have_three_digits(ns, text):
    assert duration_text(ns) == text
