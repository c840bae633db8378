import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import InvalidLevel
from integration.market.numbers import exact, exact_pair, is_zero, plain

MALFORMED = [
    "",
    ".",
    "NaN",
    "nan",
    "sNaN",
    "Infinity",
    "inf",
    "-1",
    "+1",
    " 1",
    "1 ",
    "1_0",
    "1,0",
    "1.2.3",
    "0x10",
    "1e",
    "1e41",
    "1e-41",
    "1" * 65,
    "\u0661",  # ARABIC-INDIC DIGIT ONE, a digit to str.isdigit
    "\u00b2",  # SUPERSCRIPT TWO, likewise
]


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_not_a_finite_unsigned_number_is_refused(text):
    with pytest.raises(InvalidLevel, match="finite number"):
        exact(text)
    with pytest.raises(InvalidLevel):
        is_zero(text)


@pytest.mark.parametrize("text", ["0", "1.", ".5", "0.00000000", "1e-8", "4.2E+3"])
def test_every_spelling_of_a_number_keeps_its_value_and_digits(text):
    value = exact(text)

    assert value == Decimal(text)
    assert str(value) == str(Decimal(text))


def test_an_error_names_the_number_and_shortens_what_it_shows():
    with pytest.raises(InvalidLevel, match="a price is a finite") as caught:
        exact("9" * 1000, "a price")

    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["0", "0.0", "000", ".0", "0e9", "0E-8", "0.000E+3"])
def test_zero_is_zero_in_any_spelling(text):
    assert is_zero(text)


@pytest.mark.parametrize("text", ["1", "0.01", "1e-8", "10", "0.10"])
def test_what_is_not_zero_is_not(text):
    assert not is_zero(text)


@given(st.integers(0, 10**27), st.integers(-30, 0), st.booleans())
def test_plain_spells_any_amount_without_exponent_and_back(digits, exponent, short):
    value = Decimal((0, tuple(map(int, str(digits))), exponent))
    text = plain(value.normalize() if short else value)

    assert "E" not in text
    assert exact(text) == value


@pytest.mark.parametrize("text", ["1e40", "1e-40"])
def test_plain_spells_the_largest_and_the_smallest_amounts(text):
    assert Decimal(plain(Decimal(text))) == Decimal(text)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-1", "-0", "1e41", "1e-50"])
def test_plain_refuses_what_no_market_has(text):
    with pytest.raises(InvalidLevel):
        plain(Decimal(text))


@pytest.mark.parametrize("text", MALFORMED)
def test_a_pair_is_refused_for_either_of_its_numbers(text):
    with pytest.raises(InvalidLevel, match="a price is a finite"):
        exact_pair(text, "1.5")
    with pytest.raises(InvalidLevel, match="an amount is a finite"):
        exact_pair("1.5", text)


NUMBERS = st.one_of(
    st.from_regex(r"[0-9]{1,40}(\.[0-9]{0,20})?", fullmatch=True),
    st.from_regex(r"[0-9]{1,9}e[+-]?[0-9]", fullmatch=True),
    st.text(alphabet="0123456789.eE+-_ N\u0661", max_size=9),
)


@given(NUMBERS, NUMBERS)
def test_a_pair_is_what_its_numbers_are_one_by_one(price, amount):
    try:
        expected = (exact(price, "a price"), exact(amount, "an amount"))
    except InvalidLevel as error:
        with pytest.raises(InvalidLevel, match=re.escape(str(error))):
            exact_pair(price, amount)
    else:
        assert list(map(str, exact_pair(price, amount))) == list(map(str, expected))
