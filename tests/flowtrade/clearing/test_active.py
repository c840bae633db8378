"""Tiny auctions by their active set: the exact optimum or nothing."""

import itertools
import random
from fractions import Fraction
from math import inf

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flowtrade.clearing import (
    Market,
    SolverMode,
    UnboundedMarket,
    active,
    clear,
    policy,
    small,
)
from flowtrade.clearing.active import first_prices, solve_active, solve_tiny
from flowtrade.clearing.exact import audit_exactly
from flowtrade.clearing.generate import generate
from flowtrade.clearing.interior import solve_interior
from flowtrade.clearing.polish import polish
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.testing import Oddity, odd_auction
from flowtrade.clearing.tiny import TinyForm, is_tiny
from flowtrade.models.clearing import CanonicalChoice

SEEDS = st.integers(0, 2**32)
SOLVABLE = st.sampled_from([*(o for o in Oddity if o is not Oddity.TANGLED)])
CORES = st.sampled_from([SolverMode.AUTO, SolverMode.INTERIOR])


def form_of(market):
    return PriceForm.of(market.structure, market.segments)


def whole_numbers(seed, *, orders, products):
    """An auction in small whole numbers: ties, steps, flats and kinks abound."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    curves, portfolios = {}, {}
    for j in range(orders):
        price, drop = chance.randint(3, 9), chance.choice([0, 0, 1, 2])
        width, sell = chance.randint(1, 4), chance.random() < 0.5
        points = [(0, price + drop), (width, price)]
        if chance.random() < 0.3:
            points.append((width + 1, price - chance.randint(0, 2)))
        if sell:
            points = [(-rate, 2 * price - level) for rate, level in reversed(points)]
        curves[f"d{j}"] = [{"rate": r, "price": p} for r, p in points]
        basis = {f"P{chance.randrange(products)}": 1}
        if products > 1 and chance.random() < 0.4:
            basis = dict.fromkeys((f"P{k}" for k in range(products)), 1)
            basis["P0"] = chance.choice([-1, 1, 2])
        portfolios[f"x{j}"] = {"demand": f"d{j}", "basis": basis}
    return {"demand_curves": curves, "portfolios": portfolios}


# -- an oracle in rational arithmetic ------------------------------------------------


def solved(equations, count):
    """The one solution of equations in fractions, None where there is not one."""
    rows = [[Fraction(v) for v in row] for row in equations]
    for column in range(count):
        at = next((i for i in range(column, len(rows)) if rows[i][column]), None)
        if at is None:
            return None
        rows[column], rows[at] = rows[at], rows[column]
        pivot = [v / rows[column][column] for v in rows[column]]
        rows = [
            pivot
            if i == column
            else [a - row[column] * b for a, b in zip(row, pivot, strict=True)]
            for i, row in enumerate(rows)
        ]
    if any(row[count] for row in rows[count:]):
        return None
    return [row[count] for row in rows[:count]]


def exhausted(form):
    """Prices and flows of the first set of pieces that is optimal, by trying all."""
    pieces = len(form)
    columns = form.columns
    table = [
        [Fraction(v) for v in form.map.dense[form.row[s]].tolist()]
        for s in range(pieces)
    ]
    low, high, top, bottom = (
        [Fraction(v) for v in values.tolist()]
        for values in (form.low, form.high, form.top, form.bottom)
    )
    for sides in itertools.product("LUI", repeat=pieces):
        inside = [s for s in range(pieces) if sides[s] == "I"]
        count = columns + len(inside)
        equations = []
        for place, s in enumerate(inside):
            # drop * y + width * price = drop * low + width * top, flat or sloped.
            width, drop = high[s] - low[s], top[s] - bottom[s]
            row = [width * v for v in table[s]] + [Fraction(0)] * len(inside)
            row[columns + place] = drop
            equations.append([*row, drop * low[s] + width * top[s]])
        for column in range(columns):
            row = [Fraction(0)] * (count + 1)
            for place, s in enumerate(inside):
                row[columns + place] = table[s][column]
            fixed = {"L": low, "U": high}
            for s in range(pieces):
                if sides[s] != "I":
                    row[count] -= table[s][column] * fixed[sides[s]][s]
            equations.append(row)
        point = solved(equations, count)
        if point is None:
            continue
        z, flow = point[:columns], dict(zip(inside, point[columns:], strict=True))
        price = [sum(a * b for a, b in zip(row, z, strict=True)) for row in table]
        if all(
            low[s] <= flow[s] <= high[s]
            if sides[s] == "I"
            else (price[s] >= top[s] if sides[s] == "L" else price[s] <= bottom[s])
            for s in range(pieces)
        ):
            ends = {"L": low, "U": high, "I": flow}
            return z, [ends[sides[s]][s] for s in range(pieces)]
    return None


@given(SEEDS, st.integers(1, 3))
@settings(max_examples=60)
def test_unique_rates_are_the_rational_ones(seed, products):
    market = Market.from_auction(whole_numbers(seed, orders=4, products=products))
    form = form_of(market)
    assume(0 < len(form) <= 5)
    truth = exhausted(form)
    assume(truth is not None)

    clearing = clear(market)

    assume(not clearing.report.free_rates)
    # Prices of another optimal set support the same flows, but for flats in a tie.
    back = market.structure.recovery
    assert not len(back.pseudo)
    assert not len(back.anchors)
    flow = dict.fromkeys(range(market.columns.demands), Fraction(0))
    for d, value in zip(form.demand.tolist(), truth[1], strict=True):
        flow[d] += value
    for j, d, factor in zip(
        back.direct.tolist(), back.demand.tolist(), back.factor.tolist(), strict=True
    ):
        exact = Fraction(factor) * flow[d]
        rate = clearing.portfolios[market.portfolio_ids[j]].rate
        # Pieces of a curve are rounded each, and added up.
        assert rate == pytest.approx(float(exact), rel=4e-16, abs=0.0)
        if (form.demand == d).sum() == 1:
            assert rate == float(exact)


@pytest.mark.parametrize("mode", [SolverMode.AUTO, SolverMode.INTERIOR])
@given(SEEDS, st.integers(1, 3))
@settings(max_examples=40)
def test_unique_prices_are_the_rational_ones(mode, seed, products):
    market = Market.from_auction(whole_numbers(seed, orders=4, products=products))
    form = form_of(market)
    assume(0 < len(form) <= 5)
    truth = exhausted(form)
    assume(truth is not None)

    clearing = clear(market, mode=mode)

    kinks = {Fraction(v) for v in (*form.top.tolist(), *form.bottom.tolist())}
    for name, value in zip(market.product_ids, truth[0], strict=True):
        product = clearing.products[name]
        if not product.unique:
            slack = 1e-12 * (1 + abs(value))
            assert product.price_min is None or product.price_min <= value + slack
            assert product.price_max is None or product.price_max >= value - slack
        elif mode is SolverMode.AUTO:
            assert product.price == float(value)
        else:
            # Beside a kink two slopes take turns; which bits are met is tested below.
            near = 1e-10 if value in kinks else 1e-12
            assert product.price == pytest.approx(float(value), rel=near)


def excess(curves, price):
    """Least and greatest sum of net rates that a price supports, exactly."""
    low = high = Fraction(0)
    for points in curves:
        rates = []
        for (left, above), (right, below) in itertools.pairwise(points):
            if above >= price >= below:
                if above == below:
                    rates += [left, right]
                else:
                    share = (above - price) / Fraction(above - below)
                    rates.append(left + (right - left) * share)
        if not rates:
            rates = [points[0][0] if price > points[0][1] else points[-1][0]]
        low, high = low + min(rates), high + max(rates)
    return low, high


@given(SEEDS, st.integers(2, 12), CORES)
@settings(max_examples=150)
def test_one_product_clears_where_supply_meets_demand(seed, orders, mode):
    auction = whole_numbers(seed, orders=orders, products=1)
    clearing = clear(Market.from_auction(auction), mode=mode)
    curves = [
        [(point["rate"], point["price"]) for point in curve]
        for curve in auction["demand_curves"].values()
    ]
    product = clearing.products["P0"]
    kinks = sorted({price for points in curves for _, price in points})
    supported = [k for k in kinks if excess(curves, k)[0] <= 0 <= excess(curves, k)[1]]

    if not supported:
        # Between two kinks all is one line.
        left = max(k for k in kinks if excess(curves, k)[0] > 0)
        right = min(k for k in kinks if excess(curves, k)[1] < 0)
        over, under = excess(curves, left)[0], excess(curves, right)[1]
        crossing = left + (right - left) * over / Fraction(over - under)
        assert product.price == pytest.approx(float(crossing), rel=1e-12)
        return
    least, most = min(supported), max(supported)
    if mode is not SolverMode.AUTO:
        assert least - 1e-9 <= product.price <= most + 1e-9
        return
    # Only outside of all kinks could a supported price go on.
    endless = least == kinks[0] and excess(curves, least - 1)[1] == 0
    assert product.price_min == (None if endless else least)
    if product.price_min is not None and product.price_max is not None:
        assert product.price_max == most
        assert product.price == (least + most) / 2


@given(SEEDS, SOLVABLE)
@settings(max_examples=150)
def test_a_tiny_auction_is_solved_and_proven_without_rounding(seed, oddity):
    market = Market.from_auction(odd_auction(seed, oddity))
    form = form_of(market)
    assume(is_tiny(form))
    try:
        clearing = clear(market)
    except UnboundedMarket:
        assert solve_active(form) is None
        return

    point = solve_active(form)

    assert point is not None
    # A price of two columns is rounded twice: a unit in the last place, over a flat
    # piece's width, against the little that is at stake where nobody trades.
    regret, imbalance = form.measures(point.z, point.y)
    assert regret <= 1e-11
    assert imbalance <= 1e-12
    # A part without pieces has nothing to solve.
    assert "active-set" in clearing.report.solver.split("+")
    exact = audit_exactly(market, clearing)
    assert abs(exact.gap) <= 1e-10 * clearing.certificate.value_scale


@given(SEEDS, st.integers(2, 3))
@settings(max_examples=60)
def test_the_order_of_tiny_auctions_changes_no_bit(seed, products):
    auction = whole_numbers(seed, orders=8, products=products)
    names = list(auction["portfolios"])
    random.Random(seed).shuffle(names)  # noqa: S311 - no secret
    turned = {
        "demand_curves": {
            f"d{name[1:]}": auction["demand_curves"][f"d{name[1:]}"] for name in names
        },
        "portfolios": {name: auction["portfolios"][name] for name in names},
    }

    one, other = (clear(Market.from_auction(a)) for a in (auction, turned))

    assume(one.report.rates is CanonicalChoice.UNIQUE)
    for name, row in one.products.items():
        twin = other.products[name]
        # Volumes are sums in the order of input.
        assert row.unique == twin.unique
        if row.unique:
            assert row.price == twin.price
        elif row.price is not None:
            # The choice starts from prices that were rounded.
            assert row.price == pytest.approx(twin.price, rel=1e-12, abs=1e-12)
    assert {k: row.rate for k, row in one.portfolios.items()} == {
        k: row.rate for k, row in other.portfolios.items()
    }


def test_an_auction_at_a_kink_has_the_kinks_price():
    # Both curves bend at 11 and at a rate of 1: nothing else balances.
    auction = {
        "demand_curves": {
            "b": [
                {"rate": 0, "price": 12},
                {"rate": 1, "price": 11},
                {"rate": 3, "price": 10},
            ],
            "s": [
                {"rate": -4, "price": 20},
                {"rate": -1, "price": 11},
                {"rate": 0, "price": 10},
            ],
        },
        "portfolios": {k: {"demand": k, "basis": "A"} for k in "bs"},
    }
    for mode in (SolverMode.AUTO, SolverMode.INTERIOR, SolverMode.HIGHS):
        clearing = clear(Market.from_auction(auction), mode=mode)

        assert clearing.products["A"].price == 11.0
        assert clearing.portfolios["b"].rate == 1.0
        assert clearing.portfolios["s"].rate == -1.0


def test_prices_a_billion_apart_are_each_exact():
    curves, portfolios = {}, {}
    for k, price in enumerate((3e-9, 7.0, 5e9)):
        curves[f"b{k}"] = [{"rate": 0, "price": 2 * price}, {"rate": 2, "price": 0}]
        curves[f"s{k}"] = [{"rate": -2, "price": 2 * price}, {"rate": 0, "price": 0}]
        portfolios |= {
            f"{side}{k}": {"demand": f"{side}{k}", "basis": f"P{k}"} for side in "bs"
        }
    curves["x"] = [{"rate": 0, "price": 1e9}, {"rate": 1, "price": 0}]
    portfolios["x"] = {"demand": "x", "basis": {"P0": 1, "P1": 1, "P2": 1}}

    clearing = clear(
        Market.from_auction({"demand_curves": curves, "portfolios": portfolios})
    )

    assert clearing.report.solver == "active-set"
    assert [row.price for row in clearing.products.values()] == [3e-9, 7.0, 5e9]


def test_a_late_caller_gets_no_answer_and_no_error():
    form = form_of(generate("mixed", 10, 3, seed=1))

    assert solve_active(form, deadline=-1.0) is None


@given(SEEDS, SOLVABLE)
@settings(max_examples=40)
def test_the_first_prices_balance_lines_through_the_middles(seed, oddity):
    market = Market.from_auction(odd_auction(seed, oddity))
    assume(0 < len(market.segments) <= 96)
    form = TinyForm.of(form_of(market))

    price = form.forward(first_prices(form))

    lack, size = np.zeros(form.columns), np.zeros(form.columns)
    for s, r in enumerate(form.row):
        low, high, width = form.low[s], form.high[s], form.high[s] - form.low[s]
        bounded = np.isfinite(width)
        slope = (width if bounded else 1e3 * form.rate) / form.scale[r]
        away = 0.5 * (form.top[s] + form.bottom[s]) - price[r]
        flow = (0.5 * (low + high) if bounded else 0.0) + slope * away
        for k, weight in form.rows[r]:
            lack[k] += weight * flow
            size[k] += abs(weight) * slope * form.scale[r]
    # But for the least of slopes that keeps every column's equation solvable.
    assert (np.abs(lack) <= 1e-6 * size).all()


def test_large_auctions_are_none_of_its_business():
    assert not is_tiny(form_of(generate("mixed", 200, 5, seed=1)))
    assert not is_tiny(form_of(generate("mixed", 24, 17, seed=1)))


def test_who_gives_up_is_followed_by_the_interior_point(monkeypatch):
    monkeypatch.setattr(small, "solve_tiny", lambda form, deadline: None)
    monkeypatch.setattr(policy, "solve_active", lambda form, deadline: None)

    clearing = clear(generate("paper", 10, 2, seed=2))

    first = clearing.report.attempts[0]
    assert (first.solver, first.worst) == ("active-set", None)
    assert "no set of pieces" in first.outcome
    assert clearing.report.solver.startswith("interior")
    assert clearing.certificate.worst <= 1e-12


@pytest.mark.parametrize("mode", [SolverMode.INTERIOR, SolverMode.HIGHS])
def test_those_asked_by_name_are_not_overtaken(mode):
    names = [s.name for s in policy.solvers_for(form_of(generate("mixed", 9, 2)), mode)]

    assert "active-set" not in names


def test_the_interior_point_meets_kinks_to_the_bit():
    chance = random.Random(5)  # noqa: S311 - no secret
    met = 0
    for seed in range(25):
        auction = whole_numbers(seed, orders=chance.randint(20, 40), products=2)
        market = Market.from_auction(auction)
        form = form_of(market)
        exact = solve_active(form)
        point = solve_interior(form)
        polished = polish(form, point.z, point.y)
        price, true = form.map.forward(polished.z), form.map.forward(exact.z)
        ends = np.concatenate([form.top, form.bottom])
        rows = np.concatenate([form.row, form.row])
        alone = np.diff(form.map.table.ptr)[rows] == 1
        at_kink = (ends == true[rows]) & alone
        settled = np.abs(price - true)[rows] <= 1e-9
        met += int((at_kink & settled).sum())
        assert (price[rows] == ends)[at_kink & settled].all()
    assert met > 50


@pytest.mark.parametrize("seed", range(12))
def test_lots_and_prices_worlds_apart_have_an_exact_answer(seed):
    chance = random.Random(seed)  # noqa: S311 - no secret
    curves, portfolios = {}, {}
    for j in range(8):
        width, price = 10 ** chance.uniform(-9, 9), 10 ** chance.uniform(-3, 3)
        start = 0 if j % 2 else -width
        curves[f"d{j}"] = [
            {"rate": start, "price": 1.1 * price},
            {"rate": start + width, "price": price},
        ]
        weight = 10 ** chance.uniform(-3, 3)
        portfolios[f"x{j}"] = {"demand": f"d{j}", "basis": {"A": weight}}

    clearing = clear(
        Market.from_auction({"demand_curves": curves, "portfolios": portfolios})
    )

    assert clearing.report.solver == "active-set"
    assert clearing.certificate.worst <= 1e-12


def test_one_product_starts_between_the_kinks_where_demand_meets_supply():
    steps = 0
    for seed in range(40):
        chance = random.Random(seed)  # noqa: S311 - no secret
        curves, portfolios = {}, {}
        for j in range(10):
            width, price = chance.uniform(0.1, 10), chance.uniform(5, 15)
            curves[f"d{j}"] = [
                {"rate": 0 if j % 2 else -width, "price": 1.5 * price},
                {"rate": width if j % 2 else 0, "price": price},
            ]
            portfolios[f"x{j}"] = {"demand": f"d{j}", "basis": "A"}
        market = Market.from_auction(
            {"demand_curves": curves, "portfolios": portfolios}
        )
        steps += solve_active(form_of(market)).steps

    # One look at the set is the rule; from any other price it takes twice as many.
    assert steps <= 2.5 * 40


def test_a_step_ends_where_the_derivative_along_it_is_zero(monkeypatch):
    best, seen = active._best_step, []

    def derivative(step, price, along, lines, outside):
        there = [a + step * b for a, b in zip(price, along, strict=True)]
        flow, _, _ = active._respond(there, lines)
        sizes = [abs(a * b) for a, b in zip(flow, along, strict=True)]
        total = sum(a * b for a, b in zip(flow, along, strict=True))
        return total + outside, sum(sizes) + abs(outside)

    def watched(price, along, lines, outside):
        step = best(price, along, lines, outside)
        if max(map(abs, along)) < 1e-9:
            return step  # the last step, of rounding
        value, _ = derivative(step * (1.0 - 1e-9), price, along, lines, outside)
        beyond, size = derivative(step * (1.0 + 1e-9), price, along, lines, outside)
        assert step > 0.0
        assert value >= -1e-6 * size
        assert beyond <= 1e-6 * size
        seen.append(step)
        return step

    monkeypatch.setattr(active, "_best_step", watched)
    for seed in range(30):
        auction = whole_numbers(seed, orders=6, products=2)
        assert solve_active(form_of(Market.from_auction(auction))) is not None

    assert len(seen) > 60


@pytest.mark.parametrize(
    ("line", "along", "outside", "step"),
    [
        ((0, 0.0, 5.0, 2.0, 0.0, 6.0), 1.0, -1.0, 0.5),  # within the slope
        ((0, 0.0, 5.0, 2.0, 0.0, 6.0), 1.0, -8.0, 0.0),  # falling from the start
        ((0, 0.0, 5.0, 2.0, 0.0, 6.0), 4.0, 0.0, 0.25),  # at its end
        ((0, 9.0, 5.0, 2.0, 0.0, 6.0), 1.0, -3.0, 4.0),  # enters later
        ((0, 3.0, 5.0, 2.0, -inf, inf), 1.0, -1.0, 2.0),  # no end at all
        ((0, 3.0, 5.0, 2.0, 0.0, inf), -1.0, 6.0, 0.5),  # rising, the other way
    ],
)
def test_a_step_over_one_piece(line, along, outside, step):
    assert active._best_step([4.0], [along], [line], outside) == step


def test_prices_that_only_differ_go_as_far_as_they_must():
    """All rows are differences, and the first set leaves their level without a hold."""
    form = TinyForm.scaled(
        [
            [(3, 2.0), (4, -1.0)],
            [(0, 1.0), (4, -2.0)],
            [(1, 1.0), (3, -2.0)],
            [(0, 1.0), (3, -1.0)],
            [(1, 1.0), (2, -1.0)],
            [(2, 1.0), (4, -1.0)],
            [(1, 1.0), (3, -1.0)],
            [(0, 0.5), (2, -0.5)],
            [(3, 1.0), (4, -0.5)],
        ],
        [0, 1, 2, 3, 4, 5, 6, 7, 8],
        (
            [-3.5, 0.0, -2.9, -4.4, -3.4, 0.0, -6.0, 0.0, 0.0],
            [0.0, 6.3, 0.0, 0.0, 3.4, 5.8, 0.0, 0.03, 6.9],
        ),
        (
            [10.8, 6.0, 2.1, 8.4, -6.1, 53.8, 10.7, -0.7, 9.1],
            [8.7, 6.0, -2.4, 4.1, -24.0, 52.8, 6.9, -3.4, 0.6],
        ),
        columns=5,
        orders=9,
    )

    point = solve_tiny(form)

    assert point is not None
    price = form.forward(point.z)
    balance = [0.0] * 5
    for r, y in enumerate(point.y):
        for k, weight in form.rows[r]:
            balance[k] += weight * y
        if y > form.low[r]:
            assert price[r] <= form.top[r] + 1e-9
        if y < form.high[r]:
            assert price[r] >= form.bottom[r] - 1e-9
    assert balance == pytest.approx([0.0] * 5, abs=1e-13)
