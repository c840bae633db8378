import numpy as np
import pytest

from flowtrade.clearing.auxiliary import settle
from flowtrade.clearing.generate import generate
from flowtrade.clearing.interior import InteriorEnd, solve_interior
from flowtrade.clearing.market import Market
from flowtrade.clearing.polish import polish
from flowtrade.clearing.priceform import PriceForm

KINDS = ["mixed", "paper", "ticks", "thin", "substitutes"]


def form_of(kind, orders=200, products=15, seed=3):
    market = generate(kind, orders, products, seed=seed)
    return PriceForm.of(market.structure, market.segments)


@pytest.mark.parametrize("kind", KINDS)
def test_the_interior_point_converges_inside_and_near_the_optimum(kind):
    form = form_of(kind)

    point = solve_interior(form)

    assert point.end is InteriorEnd.CONVERGED
    assert 5 < point.iterations < 35
    assert (point.y > form.low).all()
    assert (point.y < form.high).all()
    assert form.merit(point.z, point.y) < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_polish_ends_at_rounding_within_its_first_window(kind):
    form = form_of(kind)
    point = solve_interior(form)

    better = polish(form, point.z, point.y)

    assert form.merit(better.z, better.y) < 1e-12
    assert better.window < np.inf
    assert better.steps < 40
    assert ((better.y >= form.low) & (better.y <= form.high)).all()


@pytest.mark.parametrize("error", [1e-5, 1e-3])
def test_a_start_outside_the_window_enlarges_it(error):
    form = form_of("paper")
    point = solve_interior(form)
    random = np.random.default_rng(0)
    away = point.z * (1.0 + error * random.uniform(-1, 1, len(point.z)))

    better = polish(form, away, point.y)

    assert better.window > 3e-6
    assert form.merit(better.z, better.y) < 1e-12


def book_against(bid):
    """A flat offer beside pieces that are flatter than its proximal slope."""
    return {
        "demand_curves": {
            "maker": [
                {"rate": -80000.0, "price": 8440.0500001},
                {"rate": -40000.0, "price": 8440.05},
                {"rate": 0.0, "price": 8440.05},
                {"rate": 0.0, "price": 8440.0},
                {"rate": 90000.0, "price": 8439.0},
            ],
            "wide": [
                {"rate": -80000.0, "price": 8440.06},
                {"rate": 80000.0, "price": 8440.04},
            ],
            "taker": bid,
        },
        "portfolios": {
            name: {"demand": name, "basis": "A"} for name in ("maker", "wide", "taker")
        },
    }


@pytest.mark.parametrize("error", [0.0, 1e-10, 1e-8])
def test_a_flat_piece_beside_flatter_slopes_holds_its_price_to_the_last_bit(error):
    bid = [{"rate": 0.0, "price": 8450.0}, {"rate": 500.0, "price": 8440.0}]
    market = Market.from_auction(book_against(bid))
    form = PriceForm.of(market.structure, market.segments)
    point = solve_interior(form)

    better = polish(form, point.z * (1.0 + error), point.y)

    assert better.z[0] == 8440.05
    assert form.merit(better.z, better.y) < 1e-15
    assert better.window < np.inf


def test_a_basket_of_held_products_holds_its_last_one_to_the_last_bit():
    flat = [{"rate": -5.0, "price": 3.1}, {"rate": 5.0, "price": 3.1}]
    auction = {
        "demand_curves": {
            "one": flat,
            "both": [{**point, "price": 10.3} for point in flat],
            "bid": [{"rate": 0.0, "price": 9.0}, {"rate": 2.0, "price": 7.0}],
            "offer": [{"rate": -2.0, "price": 5.0}, {"rate": 0.0, "price": 2.0}],
        },
        "portfolios": {
            "one": {"demand": "one", "basis": "A"},
            "both": {"demand": "both", "basis": {"A": 1, "B": 2}},
            "bid": {"demand": "bid", "basis": "B"},
            "offer": {"demand": "offer", "basis": "A"},
        },
    }
    auction["demand_curves"]["offer"] = [
        {"rate": -2.0, "price": 3.3},
        {"rate": 0.0, "price": 2.0},
    ]
    market = Market.from_auction(auction)
    form = PriceForm.of(market.structure, market.segments)
    point = solve_interior(form)

    better = polish(form, point.z, point.y)

    assert better.z[0] == 3.1
    assert better.z[1] == (10.3 - 3.1) / 2.0


def test_a_hopeless_start_is_returned_rather_than_made_worse():
    form = form_of("mixed")
    z, y = np.full(form.columns, 1e9), np.zeros(len(form))

    found = polish(form, z, y)

    assert form.merit(found.z, found.y) <= form.merit(z, y)


def test_limits_end_the_iteration_and_say_so():
    form = form_of("mixed")

    assert solve_interior(form, max_iterations=3).end is InteriorEnd.LIMIT
    assert solve_interior(form, deadline=-np.inf).end is InteriorEnd.TIME


def test_scales_of_prices_and_rates_leave_the_iterations_alone():
    base = solve_interior(form_of("mixed")).iterations
    for factor in (1e-6, 1e6):
        form = form_of("mixed")
        scaled = PriceForm(
            map=form.map,
            assembler=form.assembler,
            row=form.row,
            low=form.low * factor,
            high=form.high * factor,
            top=form.top / factor,
            bottom=form.bottom / factor,
            demand=form.demand,
        )

        assert solve_interior(scaled).iterations == base


def test_an_auction_without_segments_is_settled_at_once():
    form = form_of("paper")
    nothing = np.zeros(0)
    empty = PriceForm(
        map=form.map,
        assembler=form.assembler,
        row=np.zeros(0, np.int64),
        low=nothing,
        high=nothing,
        top=nothing,
        bottom=nothing,
        demand=np.zeros(0, np.int64),
    )

    point = settle(empty)

    assert point.z.tolist() == [0.0] * form.columns
    assert len(point.y) == 0


def test_the_merit_of_what_is_no_number_is_infinite():
    form = form_of("paper")
    y = np.zeros(len(form))

    assert form.merit(np.full(form.columns, np.nan), y) == np.inf
