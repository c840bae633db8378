"""Timestamps: text and nanoseconds."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrade.models.time import TimeError, format_timestamp, parse_timestamp

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(INT64)
def test_writing_and_reading_is_lossless(timestamp):
    assert parse_timestamp(format_timestamp(timestamp)) == timestamp


@given(INT64, INT64)
def test_text_of_the_same_length_sorts_like_time(a, b):
    left, right = format_timestamp(a), format_timestamp(b)
    if len(left) == len(right):
        assert (left < right) == (a < b)


@given(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001, RUF100
def test_microseconds_agree_with_the_standard_library(moment):
    aware = moment.replace(tzinfo=UTC)

    parsed = parse_timestamp(aware.isoformat())

    delta = aware - datetime(1970, 1, 1, tzinfo=UTC)
    micros = (delta.days * 86_400 + delta.seconds) * 10**6 + delta.microseconds
    assert parsed == micros * 1000


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01t01:00:00.5+01:00", 500_000_000),
        ("1969-12-31T23:59:59.9z", -100_000_000),
        ("1970-01-01T00:00:00-00:30", 1_800_000_000_000),
        ("1970-01-01T00:00:00.1000000000000Z", 100_000_000),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000_000),
    ],
)
def test_any_offset_and_precision_is_read(text, nanoseconds):
    assert parse_timestamp(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-07-01",
        "2026-07-01T12:00:00",
        "2026-07-01 12:00:00Z",
        "2026-07-01T12:00Z",
        "2026-02-29T00:00:00Z",
        "2026-07-01T24:00:00Z",
        "2016-12-31T23:59:60Z",
        "2026-07-01T12:00:00.Z",
        "2026-07-01T12:00:00.0000000001Z",
        "2026-07-01T12:00:00+24:00",
        "2026-07-01T12:00:00+0200",
        "\uff12\uff10\uff12\uff16-07-01T12:00:00Z",
        "1600-01-01T00:00:00Z",
        "2300-01-01T00:00:00Z",
        "2026-07-01T12:00:00Z\n",
    ],
)
def test_what_is_no_timestamp_of_ours_is_refused(text):
    with pytest.raises(TimeError):
        parse_timestamp(text)


def test_trailing_zeros_are_trimmed():
    assert format_timestamp(1_500_000_000) == "1970-01-01T00:00:01.5Z"
    assert format_timestamp(10_000_000_000) == "1970-01-01T00:00:10Z"


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("0001-01-01T00:00:00+23:59", -(2**63)),
        ("1677-09-21T00:12:43.145224191Z", -(2**63)),
        ("2262-04-11T23:47:16.854775808Z", 2**63 - 1),
        ("9999-12-31T23:59:59-23:59", 2**63 - 1),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_a_bound_is_the_nearest_moment_that_we_can_hold(text, nearest):
    assert parse_timestamp(text, nearest=True) == nearest


def test_a_bound_is_a_timestamp_all_the_same():
    with pytest.raises(TimeError):
        parse_timestamp("9999-12-32T00:00:00Z", nearest=True)
