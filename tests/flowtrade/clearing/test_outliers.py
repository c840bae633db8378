"""Orders far out of scale: found by their numbers alone, and no scale to judge by."""

import random

import numpy as np
import pytest

from flowtrade.clearing import (
    ClearingStatus,
    Market,
    PortfolioTerms,
    clear,
)
from flowtrade.clearing.certificate import Terms, audit
from flowtrade.clearing.generate import KINDS, generate
from flowtrade.clearing.outliers import Inliers, find_outliers
from flowtrade.models.clearing import OutlyingNumber
from flowtrade.models.curve import parse_curve


def buys(price=50.0, rate=5.0):
    return parse_curve(
        [{"rate": 0, "price": price + 8}, {"rate": rate, "price": price - 8}]
    )


def sells(price=50.0, rate=5.0):
    return parse_curve(
        [{"rate": -rate, "price": price + 8}, {"rate": 0, "price": price - 8}]
    )


def sound(orders=20, products=4, seed=1):
    """Curves and portfolios of an ordinary market, some of them spreads."""
    rng = random.Random(seed)  # noqa: S311  # a market, not a secret
    demands, portfolios = {}, {}
    for i in range(orders):
        side = buys if rng.random() < 0.5 else sells
        demands[f"d{i}"] = side(rng.uniform(40, 60), rng.uniform(1, 10))
        basis = {f"A{i % products}": 1.0}
        if i % 5 == 0:
            basis[f"A{(i + 1) % products}"] = -0.5
        portfolios[f"x{i}"] = PortfolioTerms({f"d{i}": 1.0}, basis)
    return demands, portfolios


def outlying(demands, portfolios):
    """What is said of each outlying order."""
    market = Market.from_models(demands, portfolios)
    found = find_outliers(market.columns)
    if found is None:
        return {}
    named = [found.named(market, j) for j in np.flatnonzero(found.found).tolist()]
    return {one.portfolio: one for one in named}


def with_order(curve, weight=1.0, lot=1.0, *, seed=1):
    demands, portfolios = sound(seed=seed)
    demands["odd"] = curve
    portfolios["odd"] = PortfolioTerms({"odd": weight}, {"A1": lot})
    return demands, portfolios


@pytest.mark.parametrize("kind", KINDS)
def test_generated_markets_have_no_outliers(kind):
    for seed in range(3):
        market = generate(kind, 300, 12, seed=seed)
        assert find_outliers(market.columns) is None


@pytest.mark.parametrize(
    ("order", "number", "of", "value"),
    [
        ((buys(), 1e-50), OutlyingNumber.DEMAND_WEIGHT, "odd", 1e-50),
        ((buys(), -1e12), OutlyingNumber.DEMAND_WEIGHT, "odd", 1e12),
        ((buys(), 5e-324), OutlyingNumber.DEMAND_WEIGHT, "odd", 5e-324),
        ((buys(), 1.0, -1e-11), OutlyingNumber.BASIS_WEIGHT, "A1", 1e-11),
        ((buys(), 1.0, 1e300), OutlyingNumber.BASIS_WEIGHT, "A1", 1e300),
        ((buys(price=1e30),), OutlyingNumber.PRICE, "odd", 1e30),
        ((buys(price=-1e30),), OutlyingNumber.PRICE, "odd", 1e30),
        ((sells(rate=1e12),), OutlyingNumber.RATE, "odd", 1e12),
    ],
)
def test_the_number_that_is_far_out_is_named(order, number, of, value):
    found = outlying(*with_order(*order))

    assert list(found) == ["odd"]
    assert (found["odd"].number, found["odd"].of) == (number, of)
    assert found["odd"].value == pytest.approx(value, rel=1e-9)
    assert 0.1 < found["odd"].scale < 1e3


def test_numbers_that_are_far_out_only_together_are_named_per_unit():
    found = outlying(*with_order(buys(price=1e4), 1e5, 1e-5))

    assert found["odd"].number is OutlyingNumber.UNIT_PRICE
    assert found["odd"].value == pytest.approx(1e14, rel=1e-2)


def test_what_is_written_is_named_before_what_follows_from_it():
    written = with_order(buys(price=1e7), 1e7, 1e-7)
    assert outlying(*written)["odd"].value == pytest.approx(1e21, rel=1e-3)

    # What is written is named, though it is the price per unit that overflows.
    far = outlying(*with_order(buys(), 1e200, 1e-200))["odd"]
    assert (far.number, far.value) == (OutlyingNumber.DEMAND_WEIGHT, 1e200)


@pytest.mark.parametrize(
    "order",
    [
        (buys(price=5e4, rate=5e-3), 1.0, 1e3),  # a lot of a thousand
        (buys(price=5e-2, rate=5e3), 1.0, 1e-3),
        (buys(rate=5e-300),),  # hardly anything at all
        (sells(price=0.0),),
        (buys(price=1e-200 + 8),),
        (buys(), 1e-5, 1e2),
        (parse_curve({"price": 50, "min_rate": None, "max_rate": 0}),),
    ],
)
def test_large_lots_and_tiny_rates_are_not_outlying(order):
    assert outlying(*with_order(*order)) == {}


def test_an_outlier_of_one_component_says_nothing_of_another():
    demands, portfolios = sound()
    # A market of its own in another unit of price, and one order lost in it.
    for i in range(9):
        demands[f"e{i}"] = buys(3e6) if i % 2 else sells(3e6)
        portfolios[f"y{i}"] = PortfolioTerms({f"e{i}": 1.0}, {"B": 1.0})
    demands["odd"], portfolios["odd"] = buys(1e16), PortfolioTerms({"odd": 1}, {"B": 1})

    found = outlying(demands, portfolios)

    assert list(found) == ["odd"]
    assert found["odd"].scale == pytest.approx(3e6, rel=1e-3)


def test_a_crowd_of_absurd_orders_does_not_make_the_others_absurd():
    demands, portfolios = sound()
    for i in range(50):
        demands[f"e{i}"] = buys()
        portfolios[f"y{i}"] = PortfolioTerms({f"e{i}": 1e-300}, {"A1": 1.0})

    found = outlying(demands, portfolios)
    decades = find_outliers(Market.from_models(demands, portfolios).columns)

    assert decades is not None
    crowd = decades.decades[20:]
    assert crowd.min() > 200
    assert crowd.min() > 10 * decades.decades[:20].max()
    assert set(found) >= {f"y{i}" for i in range(50)}


def test_one_against_one_is_decided_by_what_is_ordinary():
    demands = {"a": buys(), "b": sells(1e30)}
    portfolios = {
        name: PortfolioTerms({demand: 1.0}, {"A": 1.0})
        for name, demand in (("x", "a"), ("y", "b"))
    }

    assert list(outlying(demands, portfolios)) == ["y"]

    demands["b"] = sells()
    portfolios["y"] = PortfolioTerms({"b": 1e-30}, {"A": 1.0})
    assert list(outlying(demands, portfolios)) == ["y"]


def test_a_market_of_small_prices_finds_no_ordinary_one_large():
    small = parse_curve({"price": 1e-6, "min_rate": 0, "max_rate": 1})
    demands = {f"d{i}": small for i in range(20)}
    portfolios = {
        f"x{i}": PortfolioTerms({f"d{i}": 1.0}, {"A": 1.0}) for i in range(20)
    }
    demands["d3"] = buys(1e3)
    portfolios["x9"] = PortfolioTerms({"d9": 1e-30}, {"A": 1.0})

    assert list(outlying(demands, portfolios)) == ["x9"]


def test_neither_names_nor_places_matter():
    demands, portfolios = with_order(buys(price=1e20), 1e-15)
    demands["even"] = sells(rate=1e50)
    portfolios["even"] = PortfolioTerms({"even": 1.0}, {"A2": 1.0, "A3": 2.0})
    expected = outlying(demands, portfolios)
    rng = random.Random(5)  # noqa: S311  # an order, not a secret
    for _ in range(5):
        curves, terms = list(demands.items()), list(portfolios.items())
        rng.shuffle(curves)
        rng.shuffle(terms)
        assert outlying(dict(curves), dict(terms)) == expected
    assert set(expected) == {"odd", "even"}


def test_orders_that_take_no_part_are_no_outliers():
    demands, portfolios = sound()
    portfolios["idle"] = PortfolioTerms({}, {"A1": 1e300})
    portfolios["empty"] = PortfolioTerms({"d1": 1e-300}, {})

    assert outlying(demands, portfolios) == {}


def spoilt():
    """A market in which one price makes anything look small."""
    demands, portfolios = with_order(buys())
    demands["odd"] = sells(1e50)
    return demands, portfolios


def test_an_answer_is_judged_in_the_scale_of_the_others():
    demands, portfolios = spoilt()
    market = Market.from_models(demands, portfolios)
    outliers = find_outliers(market.columns)
    assert outliers is not None
    structure = market.structure
    terms = Terms(4, market.segments, structure.usage, market.columns.basis)
    # Nobody trades, at prices of nothing: everybody who sells or buys loses by it.
    nothing = np.zeros(len(portfolios))
    answer = {
        "rates": nothing,
        "prices": np.zeros(4),
        "marginal": np.zeros(len(demands)),
    }

    whole = audit(terms, **answer)
    judged = Inliers(terms, outliers).judged(whole, **answer)

    assert whole.certificate.status is ClearingStatus.CERTIFIED  # relative to 1e50
    assert judged.certificate.status is ClearingStatus.REJECTED
    assert judged.certificate.relative_gap > 0.1
    assert judged.certificate.gap == whole.certificate.gap


def test_what_clears_with_an_outlier_is_right_for_everybody_else():
    demands, portfolios = spoilt()
    clearing = clear(Market.from_models(demands, portfolios))
    # Nobody pays so much: it is as if it were not there.
    del demands["odd"], portfolios["odd"]
    plain = clear(Market.from_models(demands, portfolios))

    assert clearing.portfolios["odd"].rate == 0.0
    for name, product in plain.products.items():
        assert clearing.products[name].price == pytest.approx(product.price, rel=1e-9)


@pytest.mark.parametrize("where", ["prices", "rates", "marginal"])
def test_every_measure_of_the_others_counts(where):
    demands, portfolios = with_order(buys(), 1e-40)
    market = Market.from_models(demands, portfolios)
    outliers = find_outliers(market.columns)
    assert outliers is not None
    without = {k: v for k, v in portfolios.items() if k != "odd"}
    clearing = clear(Market.from_models(demands, without))
    structure = market.structure
    terms = Terms(4, market.segments, structure.usage, market.columns.basis)
    rates = np.append(clearing.arrays.rate, 0.0)
    prices = clearing.arrays.price.copy()
    marginal = np.append(clearing.arrays.marginal, prices[1] * 1e40)

    def status(**changed):
        answer = {"rates": rates, "prices": prices, "marginal": marginal, **changed}
        proof = audit(terms, **answer)
        found = Inliers(terms, outliers).judged(proof, **answer)
        return found.certificate

    assert max(status().relative_gap, status().relative_imbalance) <= 1e-9
    assert status().stationarity <= 1e-9
    spoil = {"prices": prices, "rates": rates, "marginal": marginal}[where].copy()
    spoil[0] += 1e-3
    found = status(**{where: spoil})
    assert found.status is ClearingStatus.REJECTED


def judged(demands, portfolios, *, products=4, rates=None, prices=None, marginal=None):
    """The certificate of an answer as it was, and in the scale of the others."""
    market = Market.from_models(demands, portfolios)
    outliers = find_outliers(market.columns)
    assert outliers is not None
    usage = market.structure.usage
    terms = Terms(products, market.segments, usage, market.columns.basis)
    answer = {
        "rates": np.zeros(len(portfolios)) if rates is None else rates,
        "prices": np.zeros(products) if prices is None else prices,
        "marginal": np.zeros(len(demands)) if marginal is None else marginal,
    }
    proof = audit(terms, **answer)
    found = Inliers(terms, outliers).judged(proof, **answer)
    return proof.certificate, found.certificate


def test_what_outlying_orders_trade_hides_no_imbalance_of_the_others():
    demands, portfolios = with_order(buys(rate=1e30))
    demands["even"] = sells(rate=1e30)
    portfolios["even"] = PortfolioTerms({"even": 1.0}, {"A1": 1.0})
    rates = np.zeros(22)
    rates[20:] = 1e25, -1e25 * (1 - 1e-14)  # what rounds there is a fortune here
    rates[1] = 1.0

    whole, found = judged(demands, portfolios, rates=rates)

    assert whole.relative_imbalance < 1e-9
    assert found.relative_imbalance > 0.1


def test_outlying_prices_hide_no_difference_of_the_others():
    marginal = np.zeros(21)
    marginal[0] = 5.0

    whole, found = judged(*spoilt(), marginal=marginal)

    assert whole.stationarity < 1e-9
    assert found.stationarity > 0.01


def test_outlying_prices_hide_no_unlimited_order():
    demands, portfolios = spoilt()
    demands["d0"] = parse_curve({"price": 50, "min_rate": 0})

    whole, found = judged(demands, portfolios)

    assert whole.unlimited < 1e-9
    assert found.unlimited > 0.1


def test_a_price_beyond_everybodys_is_no_scale():
    demands, portfolios = spoilt()
    buyers = [i for i in range(20) if demands[f"d{i}"].points[0].rate == 0.0]
    marginal = np.zeros(21)
    marginal[buyers[0]] = 1e200  # whoever buys nothing at such a price loses nothing

    _, found = judged(demands, portfolios, marginal=marginal)

    assert found.relative_gap > 0.1
