"""The least rates of tiny parts: those that arrays choose, and exactly balanced."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flowtrade.clearing import Market, clear, small, solve, tinyrates
from flowtrade.clearing.exact import audit_exactly
from flowtrade.clearing.generate import generate
from flowtrade.clearing.small import clear_small
from flowtrade.models.clearing import CanonicalChoice, ZeroReason


def wanted(market):
    return np.full(len(market.product_ids), np.nan)


def at_one_price(*orders):
    """Flat orders on product A at price 7: lowest and highest rate of each."""
    curves = {
        f"d{i}": {"min_rate": low, "max_rate": high, "price": 7}
        for i, (low, high) in enumerate(orders)
    }
    portfolios = {
        f"x{i}": {"demand": f"d{i}", "basis": "A"} for i in range(len(orders))
    }
    return {"demand_curves": curves, "portfolios": portfolios}


def test_ties_are_shared_by_the_least_norm():
    auction = at_one_price((-0.1, 0), (-1, 0), (-1, 0))
    auction["demand_curves"]["buyer"] = [
        {"rate": 0, "price": 9},
        {"rate": 0.5, "price": 8},
    ]
    auction["portfolios"]["buyer"] = {"demand": "buyer", "basis": "A"}
    market = Market.from_auction(auction)

    clearing = clear_small(market, wanted(market))

    assert clearing is not None
    assert clearing.arrays.rate.tolist() == [-0.1, -0.2, -0.2, 0.5]
    assert clearing.report.rates is CanonicalChoice.CHOSEN


def test_equal_buyers_and_sellers_at_one_price_do_not_trade():
    market = Market.from_auction(at_one_price((0, 5), (-5, 0)))

    clearing = clear_small(market, wanted(market))

    assert clearing is not None
    assert clearing.arrays.rate.tolist() == [0.0, 0.0]
    assert clearing.portfolios["x0"].reason is ZeroReason.TIED


def test_a_shared_range_is_divided_evenly():
    auction = at_one_price((-4, 0))
    auction["demand_curves"]["cap"] = [{"rate": 0, "price": 9}, {"rate": 2, "price": 8}]
    for name in "ab":
        auction["portfolios"][name] = {"demand": "cap", "basis": "A"}
    market = Market.from_auction(auction)

    clearing = clear_small(market, wanted(market))

    assert clearing is not None
    assert clearing.portfolios["a"].rate == clearing.portfolios["b"].rate == 1.0
    assert clearing.portfolios["x0"].rate == -2.0


@given(st.integers(0, 2**32), st.integers(2, 5))
@settings(max_examples=60)
def test_chosen_rates_have_the_norm_that_arrays_find(seed, products):
    market = generate("ticks", 12, products, seed=seed)
    ours = clear_small(market, wanted(market))
    # Once in thousands of markets: rounded balances leave no rates within the ranges.
    assume(ours is not None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "clear_small", lambda *_, **__: None)
        theirs = clear(market)

    one, other = ours.arrays.rate, theirs.arrays.rate
    assert one == pytest.approx(other, abs=1e-6 * max(np.abs(other).max(), 1.0))
    audit = audit_exactly(market, ours)
    assert audit.gap <= 1e-12 * ours.certificate.value_scale
    assert audit.imbalance <= 1e-14 * max(float(np.abs(one).max()), 1.0)


def test_a_balance_that_others_imply_is_left_out():
    # The third column is the sum of the first two, the fourth is empty.
    rows = [[(0, 1.0), (2, 1.0)], [(1, 2.0), (2, 2.0)], [(0, 0.1), (1, 0.2), (2, 0.3)]]

    assert tinyrates._independent(rows, 4) == [0, 1]


def test_rounded_balances_do_not_contradict_each_other():
    """Seven products, six open orders: what the others trade is rounded."""
    market = generate("mixed", 10, 5, seed=11)

    clearing = clear_small(market, wanted(market))

    assert clearing is not None
    assert clearing.report.rates is CanonicalChoice.CHOSEN


def test_as_many_balances_as_rates_leave_no_choice():
    """Five of each: two rates stand at an end, which rounded balances exclude."""
    market = generate("ticks", 12, 5, seed=671581)

    clearing = clear_small(market, wanted(market))

    assert clearing is not None
    assert clearing.certificate.worst <= 1e-15


def test_without_a_choice_somebody_else_is_asked(monkeypatch):
    market = Market.from_auction(at_one_price((0, 5), (-5, 0)))
    monkeypatch.setattr(small.LeastRates, "choose", lambda *_, **__: None)

    assert clear_small(market, wanted(market)) is None
    assert clear(market).arrays.rate.tolist() == [0.0, 0.0]
