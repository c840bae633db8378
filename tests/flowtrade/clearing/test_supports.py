"""Supported prices of tiny outcomes: as the linear programs find them, but exact."""

import random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flowtrade.clearing import Market, clear, solve
from flowtrade.clearing.active import solve_active
from flowtrade.clearing.faces import find_face, find_ranges
from flowtrade.clearing.generate import generate
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.prices import nearest_prices, targets
from flowtrade.clearing.supports import find_support
from flowtrade.clearing.testing import Oddity, odd_auction
from flowtrade.clearing.tiny import is_tiny

SEEDS = st.integers(0, 2**32)
ODDITIES = st.sampled_from(
    [Oddity.PLAIN, Oddity.SPREADS, Oddity.CAPPED, Oddity.SUBSTITUTES]
)


@given(SEEDS, ODDITIES, st.booleans())
@settings(max_examples=80)
def test_ranges_and_choice_are_those_of_the_programs(seed, oddity, referred):
    chance = random.Random(seed)  # noqa: S311 - no secret
    market = Market.from_auction(odd_auction(seed, oddity))
    form = PriceForm.of(market.structure, market.segments)
    assume(is_tiny(form))
    point = solve_active(form)
    # Where prices have no end HiGHS may answer with 1e17, which the programs, that
    # reckon with differences of prices, cannot be asked about.
    assume(point is not None and np.abs(point.z).max(initial=0) < 1e9)
    products = len(market.product_ids)
    reference = np.full(products, np.nan)
    if referred:
        reference[:] = [chance.uniform(0, 70) for _ in range(products)]

    support = find_support(form, point.z, point.y, reference)

    assert support is not None
    face = find_face(form, point.z, point.y)
    assert support.open == len(face.open)
    ranges = find_ranges(form, point.z, face)
    scale = form.column_price
    for ours, theirs in (
        (support.ranges.lower, ranges.lower),
        (support.ranges.upper, ranges.upper),
    ):
        # The programs take what is far beyond all bounds for endless.
        near = np.isfinite(ours) & np.isfinite(theirs)
        assert np.abs(ours[near] - theirs[near]) == pytest.approx(
            0, abs=1e-6 * scale.max()
        )
    wanted = np.full(form.columns, np.nan)
    wanted[:products] = reference
    chosen = nearest_prices(
        form,
        point.z,
        face,
        ranges,
        targets(support.ranges, wanted),
        products=products,
    )
    assert support.z[:products] == pytest.approx(
        chosen[:products], abs=1e-6 * scale.max()
    )


def auction(*bounds):
    """Bids and offers that do not meet: price, sign, products."""
    curves, portfolios = {}, {}
    for i, (price, sign, basis) in enumerate(bounds):
        ends = {"min_rate": min(sign, 0), "max_rate": max(sign, 0)}
        curves[f"d{i}"] = {**ends, "price": price}
        portfolios[f"x{i}"] = {"demand": f"d{i}", "basis": basis}
    return Market.from_auction({"demand_curves": curves, "portfolios": portfolios})


def test_corners_of_three_products_are_exact():
    market = auction(
        (4.1, 1, ["A", "B", "C"]),
        (9.3, -1, ["A", "B", "C"]),
        (1.7, 1, "A"),
        (2.2, 1, "B"),
        (0.3, 1, "C"),
    )

    products = clear(market).products

    lowest = {name: row.price_min for name, row in products.items()}
    assert lowest == {"A": 1.7, "B": 2.2, "C": 0.3}
    assert products["A"].price_max == pytest.approx(9.3 - 2.2 - 0.3, rel=1e-15)
    assert sum(row.price for row in products.values()) == pytest.approx(9.3)


def test_a_reference_is_met_or_its_nearest_neighbour():
    market = auction((4, 1, ["A", "B"]), (9, -1, ["A", "B"]), (1, 1, "A"), (2, 1, "B"))

    inside = clear(market, reference={"A": 3.25, "B": 4.5}).products
    outside = clear(market, reference={"A": 8.0, "B": 7.0}).products

    assert (inside["A"].price, inside["B"].price) == (3.25, 4.5)
    assert (outside["A"].price, outside["B"].price) == (5.0, 4.0)


def test_prices_without_an_end_are_drawn_to_the_end_they_have():
    products = clear(auction((5, 1, "A"), (3, -1, "B"))).products

    assert (products["A"].price, products["A"].price_max) == (5.0, None)
    assert (products["B"].price, products["B"].price_min) == (3.0, None)


def test_large_auctions_are_none_of_its_business():
    market = generate("mixed", 300, 20, seed=1)
    form = PriceForm.of(market.structure, market.segments)
    zero = np.zeros(form.columns)

    assert find_support(form, zero, np.zeros(len(form)), zero) is None


def test_without_it_the_programs_choose_the_same_prices(monkeypatch):
    market = generate("thin", 10, 3, seed=4)
    own = clear(market)
    monkeypatch.setattr(solve, "find_support", lambda *_: None)

    other = clear(market)

    assert own.report.free_prices == other.report.free_prices > 0
    assert own.arrays.price == pytest.approx(other.arrays.price, rel=1e-9)
