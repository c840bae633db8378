"""The walk in rationals: the same optimum, and the only one where floats are lost."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrade.clearing import ClearingStatus, Market, clear, policy, solve
from flowtrade.clearing.active import solve_tiny
from flowtrade.clearing.activeset import ExactAuction, ExactPoint
from flowtrade.clearing.exact import audit_exactly
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.testing import Oddity, odd_auction
from flowtrade.clearing.tiny import TinyForm, is_tiny
from flowtrade.clearing.tinyexact import walk_exactly
from flowtrade.models.clearing import SolverMode


def worlds_apart(seed, *, products, orders):
    """Lots from 1e-9 to 1e9, prices and weights from 1e-3 to 1e3, sloped and flat."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    curves, portfolios = {}, {}
    for j in range(orders):
        width, price = 10 ** chance.uniform(-9, 9), 10 ** chance.uniform(-3, 3)
        start = 0 if j % 2 else -width
        last = price if chance.random() < 0.7 else 1.1 * price
        curves[f"d{j}"] = [
            {"rate": start, "price": 1.1 * price},
            {"rate": start + width, "price": last},
        ]
        held = chance.sample(range(products), chance.randint(1, min(3, products)))
        portfolios[f"x{j}"] = {
            "demand": {f"d{j}": 10 ** chance.uniform(-3, 3)},
            "basis": {
                f"p{k}": chance.choice([1, 1, -1]) * 10 ** chance.uniform(-3, 3)
                for k in held
            },
        }
    return {"demand_curves": curves, "portfolios": portfolios}


def forms_of(market):
    for part in market.parts:
        form = PriceForm.of(part.market.structure, part.market.segments)
        if is_tiny(form):
            yield TinyForm.of(form)


def gains_at(form, y):
    """Area under all pieces up to their flows."""
    total = 0.0
    for low, high, top, bottom, flow in zip(
        form.low, form.high, form.top, form.bottom, y, strict=True
    ):
        price = top
        if top != bottom:
            share = (0.5 * flow - low) / (high - low)
            price = top - (top - bottom) * share
        total += flow * price
    return total


@pytest.mark.parametrize(
    ("products", "orders", "seeds"), [(1, 8, 30), (2, 8, 30), (3, 12, 20), (5, 20, 8)]
)
def test_lots_worlds_apart_are_always_solved(products, orders, seeds):
    for seed in range(seeds):
        market = Market.from_auction(
            worlds_apart(seed, products=products, orders=orders)
        )

        clearing = clear(market)

        assert clearing.status is not ClearingStatus.REJECTED
        audit = audit_exactly(market, clearing)
        assert abs(audit.gap - audit.worth) <= 1e-9 * clearing.certificate.value_scale


@given(
    st.integers(0, 2**32),
    st.sampled_from([Oddity.PLAIN, Oddity.SPREADS, Oddity.CAPPED]),
)
@settings(max_examples=15)
def test_a_walk_ends_where_the_search_does(seed, oddity):
    market = Market.from_auction(odd_auction(seed, oddity, orders=12))
    for form in forms_of(market):
        found, walked = solve_tiny(form), walk_exactly(form)

        assert found is not None
        assert walked is not None
        own, other = gains_at(form, walked.y), gains_at(form, found.y)
        assert own == pytest.approx(other, rel=1e-12, abs=1e-12)


def test_the_first_line_of_floats_gives_way_and_the_walk_arrives(monkeypatch):
    """Of the whole line only the walk is left to answer."""
    market = Market.from_auction(worlds_apart(5, products=2, orders=8))
    truth = clear(market)
    line = policy.solvers_for
    monkeypatch.setattr(solve, "clear_small", lambda *_, **__: None)
    monkeypatch.setattr(
        solve,
        "solvers_for",
        lambda form, _: [
            s for s in line(form, SolverMode.AUTO) if s.name == "exact-walk"
        ],
    )

    walked = clear(market)

    assert walked.report.solver == "exact-walk"
    assert walked.gains == pytest.approx(truth.gains, rel=1e-12)


def test_gains_without_end_have_no_answer():
    curves = {"b": {"price": 8}, "s": {"price": 7}}
    portfolios = {n: {"demand": n, "basis": "A"} for n in "bs"}
    market = Market.from_auction({"demand_curves": curves, "portfolios": portfolios})

    for form in forms_of(market):
        assert walk_exactly(form) is None


def test_unlimited_orders_hold_a_price():
    curves = {
        "b": [{"rate": 0, "price": 9}, {"rate": 1, "price": 5}],
        "s": {"price": 7, "max_rate": 0},
    }
    portfolios = {n: {"demand": n, "basis": "A"} for n in "bs"}
    market = Market.from_auction({"demand_curves": curves, "portfolios": portfolios})

    (form,) = forms_of(market)
    point = walk_exactly(form)

    assert point is not None
    assert (point.z, sorted(point.y)) == ([7.0], [-0.5, 0.5])


def test_a_late_walk_is_none():
    (form,) = forms_of(Market.from_auction(worlds_apart(1, products=1, orders=8)))

    assert walk_exactly(form, deadline=0.0) is None
    assert walk_exactly(form) is not None


@pytest.mark.parametrize("lie", ["no point", "no optimum"])
def test_what_the_equations_do_not_confirm_is_no_answer(monkeypatch, lie):
    market = Market.from_auction(odd_auction(3, orders=6))
    form = TinyForm.of(PriceForm.of(market.structure, market.segments))
    assert walk_exactly(form) is not None
    if lie == "no point":
        monkeypatch.setattr(ExactAuction, "solved", lambda *_: None)
    else:
        honest = ExactPoint.judged
        monkeypatch.setattr(ExactPoint, "judged", lambda self: (honest(self)[0], False))

    assert walk_exactly(form) is None
