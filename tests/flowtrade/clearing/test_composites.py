"""Products that only come together are solved as one, and priced as if apart."""

import random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flowtrade.clearing import (
    ClearingStatus,
    Market,
    PortfolioTerms,
    SolverMode,
    UnboundedMarket,
    Uncertified,
    clear,
    composites,
    market,
)
from flowtrade.clearing.arrays import Ragged
from flowtrade.clearing.columns import Columns, Curves
from flowtrade.clearing.composites import find_composites
from flowtrade.clearing.generate import generate
from flowtrade.clearing.testing import Oddity, odd_auction
from flowtrade.models.clearing import CanonicalChoice
from flowtrade.models.curve import parse_curve

SEEDS = st.integers(0, 299)
"""All of these agree. Of any seeds one in a thousand does not: the polish loses digits
of prices or rates that are free, with or without bundles."""
EVEN = st.sampled_from(
    [Oddity.PLAIN, Oddity.SPREADS, Oddity.CAPPED, Oddity.SUBSTITUTES]
)
RATIOS = (1.0, 1.0, 2.0, 0.5, -1.0, 3.0, 0.1)


def split(auction, chance):
    """The same auction with most products divided into several, in proportions."""
    parts = {}

    def of(product):
        if product not in parts:
            count = chance.randint(1, 4)
            ratios = [1.0, *(chance.choice(RATIOS) for _ in range(count - 1))]
            chance.shuffle(ratios)
            parts[product] = {f"{product}-{i}": r for i, r in enumerate(ratios)}
        return parts[product]

    portfolios = {}
    for key, terms in auction["portfolios"].items():
        basis = terms["basis"]
        if isinstance(basis, str):
            basis = {basis: 1.0}
        divided = {}
        for product, weight in (basis or {}).items():
            for name, ratio in of(product).items():
                divided[name] = weight * ratio
        portfolios[key] = {**terms, "basis": divided}
    return {**auction, "portfolios": portfolios}


def cleared(auction, reference, mode=SolverMode.INTERIOR):
    try:
        return clear(Market.from_auction(auction), reference=reference, mode=mode)
    except (UnboundedMarket, Uncertified):
        assume(False)
        raise


def without_merging(auction, reference):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(market, "find_composites", lambda _columns: None)
        return cleared(auction, reference)


def assert_same_outcome(one, other):
    a, b = one.arrays, other.arrays
    size = max(1.0, float(np.abs(np.nan_to_num(b.price)).max(initial=0.0)))
    depth = max(1.0, float(np.abs(b.net).max(initial=0.0)))
    for name, scale in (
        ("price", size),
        ("price_min", size),
        ("price_max", size),
        ("portfolio_price", size),
        ("marginal", size),
        ("rate", depth),
        ("volume", depth),
        ("net", depth),
        ("surplus", size * depth),
    ):
        found, wanted = getattr(a, name), getattr(b, name)
        np.testing.assert_allclose(
            found, wanted, rtol=1e-8, atol=1e-8 * scale, equal_nan=True, err_msg=name
        )
    for name in ("ranged", "unique", "used"):
        assert (getattr(a, name) == getattr(b, name)).all(), name
    assert one.report.free_prices == other.report.free_prices
    assert one.report.prices is other.report.prices


def drawn(auction, chance):
    """References of some products."""
    names = Market.from_auction(auction).product_ids
    return {p: chance.uniform(-20, 20) for p in names if chance.random() < 0.7}


@given(SEEDS, EVEN, st.booleans())
@settings(max_examples=120)
def test_outcomes_are_those_without_merging(seed, oddity, is_drawn):
    chance = random.Random(seed)  # noqa: S311 - no secret
    auction = split(odd_auction(seed, oddity), chance)
    reference = drawn(auction, chance) if is_drawn else {}

    apart = without_merging(auction, reference)
    # Products without bounds to their prices may be beyond the choice among them.
    assume(apart.report.prices is not CanonicalChoice.KEPT)
    assert_same_outcome(cleared(auction, reference), apart)


@given(SEEDS, st.booleans())
@settings(max_examples=60)
def test_outcomes_of_lots_worlds_apart_are_those_in_whole_numbers(seed, is_drawn):
    # Without merging the polish loses digits of these; the exact path merges nothing.
    chance = random.Random(seed)  # noqa: S311 - no secret
    auction = split(odd_auction(seed, Oddity.BOOKS), chance)
    reference = drawn(auction, chance) if is_drawn else {}
    exact = cleared(auction, reference, SolverMode.AUTO)
    assume(set(exact.report.solver.split("+")) == {"active-set"})

    assert_same_outcome(cleared(auction, reference), exact)


def strip(count):
    """A buyer and a seller of all products alike; the bundle is worth 20/3."""
    basis = {f"p{i:05d}": 1.0 for i in range(count)}
    return {
        "demand_curves": {
            "buyer": [{"rate": 0, "price": 10}, {"rate": 1, "price": 5}],
            "seller": [{"rate": -1, "price": 7}, {"rate": 0, "price": 6}],
        },
        "portfolios": {
            "buyer": {"demand": "buyer", "basis": basis},
            "seller": {"demand": "seller", "basis": basis},
        },
    }


def test_hours_of_a_year_cost_what_one_product_costs():
    clearing = clear(Market.from_auction(strip(8760)))

    assert clearing.status is ClearingStatus.CERTIFIED
    assert clearing.report.solver == "active-set"
    assert clearing.report.free_prices == 8760
    assert clearing.report.prices is CanonicalChoice.CHOSEN
    price = clearing.arrays.price
    assert price.sum() == pytest.approx(20 / 3, rel=1e-12)
    assert (price == price[0]).all()
    assert clearing.arrays.ranged.all()
    assert not clearing.arrays.unique.any()
    assert np.isinf(clearing.arrays.price_min).all()
    assert clearing.portfolios["buyer"].rate == pytest.approx(2 / 3)
    np.testing.assert_allclose(clearing.arrays.volume, 2 / 3)


def test_prices_of_a_bundle_stay_next_to_the_last_ones():
    names = Market.from_auction(strip(40)).product_ids
    before = {name: 0.01 * i for i, name in enumerate(names)}
    clearing = clear(Market.from_auction(strip(40)), reference=before)

    price = clearing.arrays.price
    moved = price - list(before.values())

    assert price.sum() == pytest.approx(20 / 3, rel=1e-12)
    np.testing.assert_allclose(moved, np.full(40, moved[0]))


def test_references_far_out_cost_the_bundle_no_digits():
    market_ = Market.from_auction(strip(40))
    far = dict.fromkeys(market_.product_ids[:20], 1e9)
    clearing = clear(market_, reference=far)

    assert clearing.status is ClearingStatus.CERTIFIED
    assert clearing.arrays.price.sum() == pytest.approx(20 / 3, abs=1e-6)


def bundled(columns):
    found = find_composites(columns)
    assert found is not None
    return found


def columns_of(rows, products):
    """A market of the given holdings, one demand each."""
    count = len(rows)
    lengths = [len(row) for row in rows]
    return Columns(
        products,
        Curves(
            np.arange(count + 1) * 2, np.tile([-1.0, 1.0], count), np.ones(2 * count)
        ),
        np.ones(count, np.bool_),
        Ragged(np.arange(count + 1), np.arange(count), np.ones(count)),
        Ragged(
            np.cumsum([0, *lengths]),
            np.array([k for row in rows for k in row], np.int64),
            np.array([w for row in rows for w in row.values()], float),
        ),
    )


def test_multiples_are_merged_with_their_ratios():
    rows = [{0: 1.0, 1: 2.0, 2: -0.5, 3: 1.0}, {0: 3.0, 1: 6.0, 2: -1.5, 3: 1.0}]

    found = bundled(columns_of(rows, 4))

    assert found.home.tolist() == [0, 0, 0, 1]
    assert found.ratio.tolist() == [1.0, 2.0, -0.5, 1.0]
    assert found.square.tolist() == [5.25, 1.0]
    assert found.merged.tolist() == [True, True, True, False]
    assert found.columns.products == 2
    assert found.columns.basis.idx.tolist() == [0, 1, 0, 1]
    assert found.columns.basis.weight.tolist() == [1.0, 1.0, 3.0, 1.0]


@pytest.mark.parametrize(
    "rows",
    [
        [{0: 1.0, 1: 1.0}, {0: 1.0}],
        [{0: 1.0, 1: 1.0}, {0: 2.0, 1: 2.0 + 2**-51}],
        [{0: 1.0, 1: 1e-9}, {0: 2.0, 1: 2e-9}],
        [{0: 1.0, 1: 1.0}, {0: 1.0, 1: -1.0}],
        [{0: 1.0, 1: 1.0}, {0: 1.0}, {1: 1.0}, {0: 1.0, 1: 1.0}],
    ],
    ids=["holders", "last-bit", "worlds-apart", "signs", "inner-holders"],
)
def test_products_that_somebody_tells_apart_are_not_merged(rows):
    assert find_composites(columns_of(rows, 2)) is None


def test_products_that_nobody_holds_are_no_bundle():
    assert find_composites(columns_of([{0: 1.0}, {0: 2.0}], 3)) is None


def test_products_whose_hashes_collide_are_told_apart(monkeypatch):
    rows = [{0: 1.0, 1: 1.0, 2: 1.0}, {0: 2.0, 1: 3.0, 2: 2.0}]
    monkeypatch.setattr(
        composites._Candidates,
        "_hashes",
        lambda self: np.zeros(len(self.products), np.uint64),
    )

    assert bundled(columns_of(rows, 3)).home.tolist() == [0, 1, 0]


def test_products_told_apart_by_late_portfolios_alone_are_told_apart():
    rows = [*({0: 1.0, 1: 1.0} for _ in range(200)), {0: 1.0, 1: 2.0}]

    assert find_composites(columns_of(rows, 2)) is None


def test_markets_of_single_products_have_no_bundles():
    assert find_composites(generate("mixed", 400, 40, seed=1).columns) is None


def test_new_curves_and_new_portfolios_have_the_outcome_of_a_new_market():
    names = [f"p{i:05d}" for i in range(30)]
    market_ = Market.from_auction(strip(30))
    first = clear(market_)
    curves = {"buyer": parse_curve([{"rate": 0, "price": 9}, {"rate": 1, "price": 5}])}
    shaped = market_.update(demands=curves)
    lone = PortfolioTerms(demand={"buyer": 1.0}, basis={names[3]: 1.0})
    apart = shaped.update(portfolios={"lone": lone})

    assert clear(market_).digest == first.digest
    for warm in (shaped, apart):
        cold = Market.from_models(
            {
                "buyer": curves["buyer"],
                "seller": parse_curve(strip(1)["demand_curves"]["seller"]),
            },
            {
                key: PortfolioTerms({key: 1.0}, dict.fromkeys(names, 1.0))
                for key in ("buyer", "seller")
            }
            | ({"lone": lone} if warm is apart else {}),
        )
        assert clear(warm).digest == clear(cold).digest
    assert bundled(apart.columns).merged.sum() == 29
