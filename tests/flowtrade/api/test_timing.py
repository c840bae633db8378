"""Histograms of requests: which bucket, how many series."""

import pytest

from flowtrade.api.timing import BOUNDS, RequestTimes


@pytest.mark.parametrize("number", range(len(BOUNDS)))
def test_a_bound_belongs_to_the_bucket_below_it(number):
    times = RequestTimes()
    times.note("GET /", 200, BOUNDS[number])
    times.note("GET /", 204, BOUNDS[number] * 1.0001)

    (series,) = times.series.values()
    assert series.counts[number : number + 2] == [1, 1]
    assert series.seconds == pytest.approx(2.0001 * BOUNDS[number])


def test_what_takes_longer_than_all_bounds_is_counted():
    times = RequestTimes()
    times.note("GET /", 503, 1e9)

    assert times.series["GET /", 5].counts == [0] * len(BOUNDS) + [1]


def test_series_are_as_many_as_routes_and_classes_of_status():
    times = RequestTimes()
    for status in range(200, 600):
        times.note("GET /", status, 0.001)

    assert len(times.series) == 4
    assert all(sum(series.counts) == 100 for series in times.series.values())
