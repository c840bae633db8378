"""Settlement conserves, whatever the rates, lots and number of settlements."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrade.errors import InvalidRequest
from flowtrade.settlement import Fill, Ledger, Period, Unbalanced, apportion

HOUR = 3_600 * 10**9


@st.composite
def balanced(draw):
    """Rates of some portfolios in two products that add up, up to float64."""
    rates, bases = {}, {}
    for product in "PQ":
        drawn = draw(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=4))
        total = sum(drawn)
        for number, rate in enumerate([*drawn, -total]):
            key = f"{product}{number}"
            rates[key], bases[key] = rate, {product: 1.0}
    return Period(
        nanoseconds=draw(st.integers(0, HOUR)),
        rates=rates,
        bases=bases,
        prices={"P": 10.1, "Q": 0.07},
    )


def ledger():
    return Ledger(
        lots={"P": Fraction(1, 10)}, default_lot=Fraction(3), money=Fraction(1, 100)
    )


@given(
    st.lists(st.floats(-1e13, 1e13), min_size=1, max_size=5),
    st.integers(1, 30),
    st.floats(1e-3, 1e7),
)
def test_rates_of_billions_are_settled_to_the_smallest_lot(drawn, days, price):
    keys = [f"p{number}" for number in range(len(drawn) + 1)]
    period = Period(
        nanoseconds=days * 24 * HOUR,
        rates=dict(zip(keys, [*drawn, -sum(drawn)], strict=True)),
        bases={key: {"P": 1.0} for key in keys},
        prices={"P": price},
    )
    book = Ledger(default_lot=Fraction(1, 10**6))

    book.accrue(period)
    settlement = book.settle()

    assert sum(fill.lots for fill in settlement.fills) == 0
    assert sum(settlement.cash.values()) == 0
    for key, rate in period.rates.items():
        exact = Fraction(rate) * days * 24
        assert abs(book.position(key, "P") - exact) <= abs(exact) * Fraction(1, 10**6)


@given(st.lists(balanced(), max_size=5))
def test_every_settlement_conserves_lots_and_cash(periods):
    book = ledger()
    lots, cash = {}, {}
    for period in periods:
        book.accrue(period)
        settlement = book.settle()
        for product in "PQ":
            assert sum(f.lots for f in settlement.fills if f.product == product) == 0
        assert sum(settlement.cash.values()) == 0
        for fill in settlement.fills:
            key = (fill.portfolio, fill.product)
            lots[key] = lots.get(key, 0) + fill.lots
        for key, paid in settlement.cash.items():
            cash[key] = cash.get(key, 0) + paid

    # However many settlements, a position is within one lot of the exact one.
    for (portfolio, product), booked in lots.items():
        size = Fraction(1, 10) if product == "P" else Fraction(3)
        assert abs(book.position(portfolio, product) / size - booked) < 1


@given(st.lists(balanced(), min_size=1, max_size=5))
def test_cutting_a_day_into_settlements_changes_nothing_in_total(periods):
    often, once = ledger(), ledger()
    lots, cash = {}, {}
    for period in periods:
        often.accrue(period)
        once.accrue(period)
        settlement = often.settle()
        for fill in settlement.fills:
            key = (fill.portfolio, fill.product)
            lots[key] = lots.get(key, 0) + fill.lots
        for key, paid in settlement.cash.items():
            cash[key] = cash.get(key, 0) + paid

    total = once.settle()

    assert {(f.portfolio, f.product): f.lots for f in total.fills} == {
        key: value for key, value in lots.items() if value
    }
    assert total.cash == {key: value for key, value in cash.items() if value}
    assert once.settle().fills == ()


def test_an_hour_of_a_simple_market():
    book = Ledger()
    book.accrue(
        Period(
            nanoseconds=HOUR,
            rates={"buyer": 2.5, "seller": -2.5},
            bases={"buyer": {"P": 1.0}, "seller": {"P": 1.0}},
            prices={"P": 7.5},
        )
    )

    settlement = book.settle()

    assert settlement.fills == (
        Fill(portfolio="buyer", product="P", lots=3),
        Fill(portfolio="seller", product="P", lots=-3),
    )
    assert settlement.cash == {"buyer": -1875, "seller": 1875}
    assert book.position("buyer", "P") == Fraction(5, 2)


def test_each_quantity_is_paid_at_the_price_of_its_period():
    book = Ledger()
    for price in (1.0, 3.0):
        book.accrue(
            Period(
                nanoseconds=HOUR,
                rates={"a": 1.0, "b": -1.0},
                bases={"a": {"P": 1.0}, "b": {"P": 1.0}},
                prices={"P": price},
            )
        )

    assert book.settle().cash == {"a": -400, "b": 400}


fractions = st.fractions(-100, 100, max_denominator=997)


@given(st.lists(fractions, min_size=1))
def test_apportioning_rounds_by_less_than_one_and_keeps_the_sum(numbers):
    exact = dict(enumerate([*numbers, -sum(numbers)]))

    whole = apportion(exact)

    assert sum(whole.values()) == 0
    assert all(abs(whole[key] - exact[key]) < 1 for key in exact)
    assert all(whole[k] == exact[k] for k in exact if exact[k].denominator == 1)


def test_the_largest_remainders_are_rounded_up_the_first_among_equals():
    exact = {"a": Fraction(1, 3), "b": Fraction(1, 3), "c": Fraction(-2, 3)}

    assert apportion(exact) == {"a": 1, "b": 0, "c": -1}


def test_what_does_not_add_up_is_refused_and_not_booked():
    with pytest.raises(Unbalanced):
        apportion({"a": Fraction(1, 2)})
    book = Ledger()
    book.accrue(
        Period(
            nanoseconds=HOUR,
            rates={"a": 1.0},
            bases={"a": {"P": 1.0}},
            prices={"P": 1.0},
        )
    )
    for _ in range(2):
        with pytest.raises(Unbalanced):
            book.settle()


@pytest.mark.parametrize(
    "change",
    [
        {"rates": {"a": float("nan")}},
        {"rates": {"a": float("inf")}},
        {"bases": {}},
        {"prices": {}},
        {"prices": {"P": float("nan")}},
        {"nanoseconds": -1},
    ],
)
def test_a_period_that_makes_no_sense_is_refused_whole(change):
    good = {
        "nanoseconds": 1,
        "rates": {"a": 1.0},
        "bases": {"a": {"P": 1.0}},
        "prices": {"P": 1.0},
    }
    book = Ledger()

    with pytest.raises(InvalidRequest):
        book.accrue(Period(**{**good, **change}))

    assert book.settle().fills == ()


def test_a_product_without_price_may_stand_still():
    book = Ledger()
    book.accrue(
        Period(nanoseconds=HOUR, rates={"a": 0.0}, bases={"a": {"P": 1.0}}, prices={})
    )

    assert book.settle().cash == {}


@pytest.mark.parametrize(
    "sizes", [{"rate_unit": 0}, {"money": Fraction(-1)}, {"lots": {"P": Fraction(0)}}]
)
def test_units_are_positive(sizes):
    with pytest.raises(InvalidRequest):
        Ledger(**sizes)
