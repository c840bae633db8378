"""The auctions whose answers were proven by hand, by linear programs and by KKT."""

import json
import math
from pathlib import Path

import pytest

from flowtrade.clearing import (
    ClearingStatus,
    InvalidMarket,
    Market,
    SolverMode,
    UnboundedMarket,
    clear,
)

DATA = Path(__file__).resolve().parents[3] / "../shared/data/auctions"


def load_cases():
    if not DATA.exists():
        return []
    return json.loads((DATA / "cases.json").read_text())["cases"]


CASES = load_cases()
SOLVED = [case for case in CASES if case["expect"]["status"] == "solved"]


def by_id(case):
    return case["id"]


def test_the_auction_cases_are_there():
    if not CASES:
        pytest.skip(f"{DATA} absent: no auction case was checked")

    assert len(SOLVED) > 40


def assert_value(got, want, *, tolerance):
    if want is None:
        assert got is None
    elif isinstance(want, dict):
        low = -math.inf if want["min"] is None else want["min"]
        high = math.inf if want["max"] is None else want["max"]
        assert low - tolerance <= got <= high + tolerance
    else:
        assert got == pytest.approx(want, rel=tolerance, abs=tolerance)


def assert_outcome(clearing, expect, *, tolerance):
    # Gains may be as small as 1e-10: judged relatively, unlike rates and prices.
    assert clearing.gains == pytest.approx(expect["gains"], rel=1e-8, abs=1e-17)
    for group in ("portfolios", "products"):
        rows = getattr(clearing, group)
        assert set(rows) == set(expect[group])
        for key, want in expect[group].items():
            assert_value(rows[key].price, want["price"], tolerance=tolerance)
            assert_value(rows[key].rate, want["rate"], tolerance=tolerance)


@pytest.mark.parametrize("case", SOLVED, ids=by_id)
def test_rates_prices_and_gains_are_the_proven_ones(case):
    expect = case["expect"]

    clearing = clear(Market.from_auction(case["input"]))

    assert clearing.status is ClearingStatus.CERTIFIED
    assert_outcome(clearing, expect, tolerance=1e-8)
    canonical = expect.get("canonical", {})
    for key, price in canonical.get("products", {}).items():
        assert_value(clearing.products[key].price, price, tolerance=1e-8)
    for key, rate in canonical.get("portfolios", {}).items():
        assert_value(clearing.portfolios[key].rate, rate, tolerance=1e-8)


@pytest.mark.parametrize("case", SOLVED, ids=by_id)
def test_the_published_price_ranges_are_the_proven_ones(case):
    clearing = clear(Market.from_auction(case["input"]))

    for key, want in case["expect"]["products"].items():
        product = clearing.products[key]
        price = want["price"]
        if isinstance(price, dict):
            assert not product.unique
            for got, end in (
                (product.price_min, price["min"]),
                (product.price_max, price["max"]),
            ):
                assert got == (end if end is None else pytest.approx(end, abs=1e-8))
        elif price is not None:
            assert product.unique
            assert product.price_min == pytest.approx(price, rel=1e-8)
            assert product.price_max == pytest.approx(price, rel=1e-8)


@pytest.mark.parametrize("case", SOLVED, ids=by_id)
def test_highs_alone_reaches_the_same_answers(case):
    clearing = clear(Market.from_auction(case["input"]), mode=SolverMode.HIGHS)

    assert_outcome(clearing, case["expect"], tolerance=1e-6)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["expect"]["status"] == "unbounded"], ids=by_id
)
def test_an_unbounded_auction_is_refused_and_names_the_orders_that_cross(case):
    market = Market.from_auction(case["input"])

    with pytest.raises(UnboundedMarket) as caught:
        clear(market)

    curves = case["input"]["demand_curves"]
    assert caught.value.gains > 0.0
    assert caught.value.ray
    for name in caught.value.orders:
        curve = curves[name]
        assert curve.get("min_rate") is None or curve.get("max_rate") is None


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["expect"]["status"] == "invalid"], ids=by_id
)
def test_an_invalid_auction_is_refused_with_its_code(case):
    with pytest.raises(InvalidMarket) as caught:
        Market.from_auction(case["input"])

    assert caught.value.code == case["expect"]["error"]
