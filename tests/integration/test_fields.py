from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import Deserialise, InvalidLevel, Serialise
from integration.fields import (
    DecimalCache,
    EpochMs,
    EpochMsText,
    EpochNs,
    EpochSeconds,
    EpochSecondsDecimal,
    EpochUs,
    IsoTime,
    check_amount,
    check_price,
    decimal_of,
    decimal_text,
    extract_next,
    ns_from_datetime,
    ns_from_decimal_ms,
    ns_from_decimal_s,
    ns_from_iso,
    ns_from_ms,
    ns_from_s,
    ns_from_us,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Wire(msgspec.Struct):
    a: EpochMs
    b: EpochUs
    c: EpochNs
    d: EpochSeconds
    e: EpochMsText
    f: EpochSecondsDecimal
    g: IsoTime


def test_the_spellings_decode_as_what_they_are_on_the_wire():
    raw = b'{"a":1,"b":2,"c":3,"d":4,"e":"5.5","f":"6.5","g":"1970-01-01T00:00:00Z"}'

    wire = msgspec.json.decode(raw, type=Wire)

    assert [type(getattr(wire, name)) for name in "abcdefg"] == [int] * 4 + [str] * 3


def test_whole_units_become_nanoseconds():
    assert ns_from_s(1_700_000_000) == 1_700_000_000_000_000_000
    assert ns_from_ms(1_700_000_000_123) == 1_700_000_000_123_000_000
    assert ns_from_us(1_700_000_000_123_456) == 1_700_000_000_123_456_000


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1534614057.321597", 1_534_614_057_321_597_000),
        ("1534614057.3215979999", 1_534_614_057_321_597_999),
        ("1534614057", 1_534_614_057_000_000_000),
        ("1534614057.", 1_534_614_057_000_000_000),
        ("0.000000001", 1),
        ("-1.5", -1_500_000_000),
    ],
)
def test_decimal_seconds_lose_nothing(text, ns):
    assert ns_from_decimal_s(text) == ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1606292218213.4578", 1_606_292_218_213_457_800),
        ("1597026383085", 1_597_026_383_085_000_000),
    ],
)
def test_decimal_milliseconds_lose_nothing(text, ns):
    assert ns_from_decimal_ms(text) == ns


@pytest.mark.parametrize("text", ["", "1e9", " 1", "1.2.3", "nan", "\u0661", "1_0"])
def test_a_time_that_is_no_decimal_number_is_refused(text):
    for convert in (ns_from_decimal_s, ns_from_decimal_ms):
        with pytest.raises(Deserialise, match="decimal number"):
            convert(text)


@given(st.decimals(0, 10**10, places=9))
def test_decimal_seconds_equal_exact_arithmetic(value):
    assert ns_from_decimal_s(format(value, "f")) == int(value * 10**9)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2017-09-02T17:05:49.250Z", 1_504_371_949_250_000_000),
        ("2017-09-02T17:05:49.250000001z", 1_504_371_949_250_000_001),
        ("2017-09-02t17:05:49.2500000019+00:00", 1_504_371_949_250_000_001),
        ("2017-09-02 19:05:49.25+02:00", 1_504_371_949_250_000_000),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000_000),
        ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999_999_999),
    ],
)
def test_iso_times_keep_every_nanosecond(text, ns):
    assert ns_from_iso(text) == ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2017-09-02",
        "2017-09-02T17:05:49",
        "2017-09-02T17:05Z",
        "2017-02-30T00:00:00Z",
        "2017-09-02T24:00:01Z",
        "20170902T170549Z",
        "2017-09-02T17:05:49,5Z",
        "2017-09-02T17:05:49Zx",
    ],
)
def test_a_time_that_is_none_or_has_no_offset_is_refused(text):
    with pytest.raises(Deserialise) as caught:
        ns_from_iso(text)

    assert caught.value.payload == text


MOMENTS = st.datetimes(
    timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))
)


@given(MOMENTS)
def test_iso_times_and_datetimes_agree_with_exact_arithmetic(moment):
    expected = (moment - EPOCH) // timedelta(microseconds=1) * 1000

    assert ns_from_datetime(moment) == expected
    assert ns_from_iso(moment.isoformat()) == expected


def test_a_datetime_without_zone_names_no_moment():
    with pytest.raises(Serialise, match="time zone"):
        ns_from_datetime(datetime(2020, 1, 1))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("105944.20", "105944.20"),
        ("12345678901234567890123.5", "12345678901234567890123.5"),
        ("1E-7", "0.0000001"),
        ("-0.5", "-0.5"),
        ("007", "7"),
        ("1.", "1"),
        (7, "7"),
        (Decimal("1E+3"), "1000"),
    ],
)
def test_numbers_are_exact_and_written_without_exponent(value, text):
    assert decimal_text(decimal_of(value)) == text


@pytest.mark.parametrize(
    "value",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "sNaN",
        " 1",
        "1 ",
        "1_0",
        "",
        ".",
        "+1",
        "1e",
        "1e9999",
        "0x1",
        "\u0661",
        "1,5",
        Decimal("NaN"),
        Decimal("-Infinity"),
    ],
)
def test_what_msgspec_lets_through_stops_at_the_boundary(value):
    with pytest.raises(InvalidLevel):
        decimal_of(value)
    with pytest.raises(InvalidLevel):
        DecimalCache()(str(value))


def test_prices_may_be_negative_and_amounts_may_not():
    assert check_price("-37.63") == Decimal("-37.63")
    assert check_amount("0") == 0
    assert check_amount("-0.0") == 0
    with pytest.raises(InvalidLevel, match="must not be negative, was -1"):
        check_amount("-1")


def test_a_number_that_is_not_finite_is_not_written():
    with pytest.raises(Serialise):
        decimal_text(Decimal("Infinity"))


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False), max_size=30))
def test_the_cache_changes_no_value_and_stays_bounded(values):
    cache = DecimalCache(size=5)
    plain = [format(v, "f") for v in values if abs(v.adjusted()) < 900]

    for text in plain:
        assert cache(text) == decimal_of(text)
        assert cache(text) is cache(text)
        assert len(cache) <= 5


def test_elements_of_an_array_are_taken_by_name():
    elements = iter([1, 2])

    assert extract_next(elements, "price") == 1
    assert extract_next(elements, "amount") == 2
    with pytest.raises(Deserialise, match="before its element 'side'"):
        extract_next(elements, "side")
