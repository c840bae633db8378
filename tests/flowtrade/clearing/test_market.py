from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrade.clearing import InvalidMarket, Market, PortfolioTerms, clear
from flowtrade.clearing import market as market_module
from flowtrade.clearing.arrays import Ragged
from flowtrade.clearing.columns import Curves
from flowtrade.clearing.generate import generate
from flowtrade.clearing.testing import Oddity, odd_auction
from flowtrade.models.curve import ConstantCurve, parse_curve
from flowtrade.models.group import parse_group

SEEDS = st.integers(0, 2**32)
SOLVABLE = st.sampled_from([*(o for o in Oddity if o is not Oddity.TANGLED)])

BUYER = [{"rate": 0, "price": 10}, {"rate": 1, "price": 5}]
SELLER = {"min_rate": -1, "max_rate": 0, "price": 7.5}


def models_of(auction):
    demands = {k: parse_curve(v) for k, v in auction["demand_curves"].items()}
    portfolios = {
        k: PortfolioTerms(parse_group(v["demand"]), parse_group(v["basis"]))
        for k, v in auction["portfolios"].items()
    }
    return demands, portfolios


def halves(names, cut):
    names = list(names)
    return names[: len(names) * cut // 4], names[len(names) * cut // 4 :]


@given(SEEDS, SOLVABLE, st.integers(1, 3))
@settings(max_examples=60)
def test_new_curves_give_the_same_bits_as_a_market_built_afresh(seed, oddity, cut):
    demands, portfolios = models_of(odd_auction(seed, oddity))
    others, _ = models_of(odd_auction(seed + 1, oddity))
    pool = list(others.values()) or [None]
    _, changed = halves(demands, cut)
    new = {
        name: pool[i % len(pool)]
        for i, name in enumerate(changed)
        if not isinstance(pool[i % len(pool)], ConstantCurve)
    }
    market = Market.from_models(demands, portfolios)
    structure = market.structure

    updated = market.update(demands=new)

    fresh = Market.from_models(demands | new, portfolios)
    assert updated.structure is structure
    assert_same_bits(updated, fresh)


@given(SEEDS, SOLVABLE, st.integers(1, 3))
@settings(max_examples=60)
def test_new_portfolios_give_the_same_bits_as_a_market_built_afresh(seed, oddity, cut):
    demands, portfolios = models_of(odd_auction(seed, oddity))
    first, later = halves(portfolios, cut)
    market = Market.from_models(demands, {name: portfolios[name] for name in first})
    assert len(market.structure.live) == len(first)

    updated = market.update(portfolios={name: portfolios[name] for name in later})

    assert_same_bits(updated, Market.from_models(demands, portfolios))


def assert_same_bits(one, other):
    for name in ("portfolio_ids", "product_ids", "demand_ids"):
        assert list(getattr(one, name)) == list(getattr(other, name))
    for name in ("usage", "basis"):
        a, b = getattr(one.columns, name), getattr(other.columns, name)
        assert np.array_equal(a.ptr, b.ptr)
        assert np.array_equal(a.idx, b.idx)
        assert np.array_equal(a.weight, b.weight)
    try:
        digest = clear(one).digest
    except Exception as error:
        with pytest.raises(type(error)):
            clear(other)
        return
    assert digest == clear(other).digest


def test_whole_numbers_are_numbers():
    demands = {
        "b": ConstantCurve(min_rate=0, max_rate=1, price=10),
        "s": ConstantCurve(min_rate=-2, max_rate=0, price=10),
    }
    portfolios = {name: PortfolioTerms({name: 1}, {"X": 1}) for name in demands}

    clearing = clear(Market.from_models(demands, portfolios))

    assert clearing.products["X"].price == 10.0
    assert clearing.gains == 0.0
    assert clearing.portfolios["b"].rate == 0.0


def test_a_product_that_appears_or_vanishes_rebuilds_the_market():
    market = Market.from_models(
        *models_of(
            {
                "demand_curves": {"b": BUYER, "s": SELLER},
                "portfolios": {
                    "b": {"demand": "b", "basis": "B"},
                    "s": {"demand": "s", "basis": "B"},
                },
            }
        )
    )

    more = market.update(portfolios={"t": PortfolioTerms({"s": 1.0}, {"A": 1.0})})
    moved = market.update(
        portfolios={
            "b": PortfolioTerms({"b": 1.0}, {"C": 1.0}),
            "s": PortfolioTerms({"s": 1.0}, {"C": 1.0}),
        }
    )

    assert more.product_ids == ["A", "B"]
    assert moved.product_ids == ["C"]
    assert clear(moved).products["C"].price == pytest.approx(7.5)
    assert market.product_ids == ["B"]


def test_an_unknown_demand_is_ignored_until_it_appears():
    terms = {
        "b": PortfolioTerms({"b": 1.0, "later": 1.0}, {"A": 1.0}),
        "s": PortfolioTerms({"s": 1.0}, {"A": 1.0}),
    }
    curves = {"b": parse_curve(BUYER), "s": parse_curve(SELLER)}
    market = Market.from_models(curves, terms)
    assert clear(market).portfolios["b"].rate == pytest.approx(0.5)
    assert "later" not in clear(market).demands

    blocked = market.update(demands={"later": None})

    assert clear(blocked).portfolios["b"].rate == 0.0
    assert clear(blocked).portfolios["b"].reason == "blocked"
    assert clear(market).portfolios["b"].rate == pytest.approx(0.5)


def test_a_retired_portfolio_keeps_its_place_and_trades_nothing():
    market = generate("mixed", 40, 5, seed=2)
    name = market.portfolio_ids[7]

    retired = market.update(portfolios={name: PortfolioTerms({}, {})})

    row = clear(retired).portfolios[name]
    assert (row.price, row.rate, row.reason) == (None, 0.0, "no_demand")


def test_columns_take_over_the_structure_of_a_market_with_the_same_portfolios():
    market = generate("mixed", 200, 10, seed=1)
    columns = market.columns
    parts = {"products": 10, "usage": columns.usage, "basis": columns.basis}
    moved = Curves(columns.curves.ptr, columns.curves.rate, columns.curves.price + 1.0)
    other = Ragged(columns.basis.ptr, columns.basis.idx, columns.basis.weight * 2.0)

    warm = Market.from_columns(curves=moved, like=market, **parts)
    cold = Market.from_columns(curves=moved, **parts)
    changed = Market.from_columns(
        curves=moved, like=market, **(parts | {"basis": other})
    )

    assert warm.structure is market.structure
    assert changed.structure is not market.structure
    assert clear(warm).digest == clear(cold).digest


RATES, PRICES = np.array([0.0, 3.0, -2.0, 0.0]), np.array([9.0, 5.0, 8.0, 4.0])
CURVES = Curves(np.array([0, 2, 4]), RATES, PRICES)
ROWS = Ragged(np.array([0, 1, 2]), np.array([0, 1]), np.ones(2))


def table(ptr=(0, 1, 2), idx=(0, 1), weight=(1.0, 1.0)):
    return Ragged(np.array(ptr), np.array(idx), np.array(weight))


@pytest.mark.parametrize(
    ("what", "code", "where"),
    [
        ({"curves": Curves(np.array([1, 3, 5]), RATES, PRICES)}, "offsets", "curves"),
        ({"curves": Curves(np.array([0, 2, 5]), RATES, PRICES)}, "offsets", "curves"),
        ({"curves": Curves(np.array([0, 2, 3]), RATES, PRICES)}, "offsets", "curves"),
        ({"curves": Curves(np.array([0, 5, 4]), RATES, PRICES)}, "offsets", "curves"),
        ({"curves": Curves(np.zeros(0), RATES, PRICES)}, "offsets", "curves"),
        ({"curves": Curves(CURVES.ptr, RATES, PRICES[:3])}, "offsets", "curves"),
        ({"curves": Curves(np.array([0, 1.5, 4]), RATES, PRICES)}, "number", "curves"),
        ({"curves": Curves(np.array([0, np.nan]), RATES, PRICES)}, "number", "curves"),
        ({"usage": table(ptr=(1, 2, 3))}, "offsets", "demand"),
        ({"usage": table(ptr=(1, 1, 2))}, "offsets", "demand"),
        ({"usage": table(ptr=(0, 1, 3))}, "offsets", "demand"),
        ({"usage": table(ptr=(0, 3, 2))}, "offsets", "demand"),
        ({"usage": table(weight=(1.0,))}, "offsets", "demand"),
        ({"usage": table(idx=(0.0, 0.5))}, "number", "demand"),
        ({"basis": table(ptr=(0, 1, 1))}, "offsets", "basis"),
        ({"basis": table(ptr=((0, 1), (1, 2)))}, "offsets", "basis"),
        ({"usage": table(ptr=(0, 2))}, "rows", "usage"),
        ({"basis": table(ptr=(0, 1, 2, 2))}, "rows", "usage"),
    ],
)
def test_columns_that_do_not_fit_each_other_are_refused(what, code, where):
    columns = {"curves": CURVES, "usage": ROWS, "basis": ROWS, **what}

    with pytest.raises(InvalidMarket) as caught:
        Market.from_columns(products=2, **columns)

    assert (caught.value.code, caught.value.where) == (f"columns.{code}", where)


@pytest.mark.parametrize("number", [int, "f4", "i2", ">f8", "u8"])
def test_columns_of_any_whole_numbers_are_read(number):
    whole = {"ptr": CURVES.ptr.astype(number), "idx": ROWS.idx.astype(number)}
    curves = Curves(whole["ptr"], (RATES * 1.0).astype("f4"), PRICES.astype(int))
    rows = Ragged(whole["ptr"] // 2, whole["idx"], np.ones(2, "f4"))

    market = Market.from_columns(products=2, curves=curves, usage=rows, basis=rows)

    same = Market.from_columns(products=2, curves=CURVES, usage=ROWS, basis=ROWS)
    assert clear(market).digest == clear(same).digest


@pytest.mark.parametrize(
    ("auction", "code", "where"),
    [
        (None, "auction.type", ""),
        ([], "auction.type", ""),
        ({"portfolios": {}}, "auction.demand_curves", "demand_curves"),
        ({"demand_curves": {}, "portfolios": []}, "auction.portfolios", "portfolios"),
        (
            {"demand_curves": {"d": 1}, "portfolios": {}},
            "curve.type",
            "demand_curves.d",
        ),
        (
            {"demand_curves": {}, "portfolios": {"x": 1}},
            "portfolio.type",
            "portfolios.x",
        ),
        (
            {"demand_curves": {}, "portfolios": {"x": {"demand": 1, "basis": None}}},
            "group.type",
            "portfolios.x",
        ),
    ],
)
def test_a_file_that_is_no_auction_is_refused_with_code_and_place(auction, code, where):
    with pytest.raises(InvalidMarket) as caught:
        Market.from_auction(auction)

    assert (caught.value.code, caught.value.where) == (code, where)


def test_a_weight_that_is_no_number_is_refused():
    with pytest.raises(InvalidMarket, match="finite"):
        Market.from_models(
            {"d": None}, {"x": PortfolioTerms({"d": float("nan")}, {"A": 1.0})}
        )


def test_a_market_prints_what_it_holds():
    text = repr(generate("paper", 12, 3, seed=0))

    assert text == "<Market of 12 portfolios, 3 products, 12 demands>"


def test_a_market_in_one_piece_stays_so_when_only_curves_change():
    market = generate("mixed", 300, 10, seed=4)
    assert market.is_whole
    columns, curves = market.columns, market.columns.curves
    moved = Curves(curves.ptr, curves.rate, curves.price + 1.0)

    with mock.patch.object(market_module, "find_members", side_effect=AssertionError):
        updated = market.update(demands={market.demand_ids[0]: None})
        alike = Market.from_columns(
            products=columns.products,
            curves=moved,
            usage=columns.usage,
            basis=columns.basis,
            like=market,
        )

        assert updated.is_whole
        assert alike.is_whole
    assert clear(updated).report.parts == ()
