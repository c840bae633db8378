"""A market goes on without the orders whose numbers nobody can reckon with."""

import random
from time import monotonic

import msgspec
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
    ZeroReason,
    clear,
    setaside,
    solve,
)
from flowtrade.clearing.cli import auction_to_builtins
from flowtrade.clearing.generate import generate
from flowtrade.clearing.policy import Effort
from flowtrade.clearing.setaside import clear_others
from flowtrade.models.clearing import OutlyingNumber
from flowtrade.models.curve import parse_curve

# Decades of a number in one order: the ends of float64, and what is between.
DECADES = (-323, -310, -200, -50, -20, -12, 12, 16, 30, 154, 300, 308)


def line(low, top, high, bottom):
    return parse_curve([{"rate": low, "price": top}, {"rate": high, "price": bottom}])


def sound(orders=20, products=4, seed=1, prefix=""):
    """Curves and portfolios of an ordinary market, some of them spreads."""
    chance = random.Random(seed)  # noqa: S311  # no secret
    demands, portfolios = {}, {}
    for i in range(orders):
        price, rate = chance.uniform(40, 60), chance.uniform(1, 10)
        low, high = (0, rate) if chance.random() < 0.5 else (-rate, 0)
        demands[f"{prefix}d{i}"] = line(low, price + 8, high, price - 8)
        basis = {f"{prefix}A{i % products}": 1.0}
        if i % 5 == 0:
            basis[f"{prefix}A{(i + 1) % products}"] = -0.5
        portfolios[f"{prefix}x{i}"] = PortfolioTerms({f"{prefix}d{i}": 1.0}, basis)
    return demands, portfolios


def add(market, name, curve, weight=1.0, basis=None):
    demands, portfolios = market
    demands[name] = curve
    portfolios[name] = PortfolioTerms({name: weight}, basis or {"A1": 1.0})


ORDERS = {
    "weight": lambda v: (line(0, 58, 5, 42), v, 1.0),
    "negative weight": lambda v: (line(0, 58, 5, 42), -v, 1.0),
    "lot": lambda v: (line(0, 58, 5, 42), 1.0, v),
    "sold lot": lambda v: (line(0, 58, 5, 42), 1.0, -v),
    "bid": lambda v: (line(0, max(v, 42), 5, 42), 1.0, 1.0),
    "ask": lambda v: (line(-5, max(v, 42), 0, 42), 1.0, 1.0),
    "cost": lambda v: (line(0, 58, 5, -v), 1.0, 1.0),
    "flat": lambda v: (parse_curve({"min_rate": 0, "max_rate": 5, "price": v}), 1, 1),
    "rate": lambda v: (line(0, 58, v, 42), 1.0, 1.0),
    "sold rate": lambda v: (line(-v, 58, 0, 42), 1.0, 1.0),
    "steep": lambda v: (line(0, v, 1 / max(v, 1e-300), -v), 1.0, 1.0),
    "everything": lambda v: (line(-v, v, v, -v), v, 1 / max(v, 1e-300)),
}
"""An order with one number of any size."""


def same(found, expected):
    """The orders of one market have in another what they had there."""
    for name, product in expected.products.items():
        price = found.products[name].price
        assert price == pytest.approx(product.price, rel=1e-9, abs=1e-9)
    for name, portfolio in expected.portfolios.items():
        rate = found.portfolios[name].rate
        assert rate == pytest.approx(portfolio.rate, rel=1e-9, abs=1e-9)


def loss_of(clearing, demands):
    """What demands would gain by other rates, against what they gain."""
    rows = [clearing.demands[d] for d in demands]
    return sum(row.regret for row in rows) / (1 + sum(abs(r.surplus) for r in rows))


@pytest.mark.parametrize("orders", [20, 90])
@pytest.mark.parametrize("kind", ORDERS)
def test_no_number_in_one_order_stops_a_market(kind, orders):
    expected = clear(Market.from_models(*sound(orders)))
    for decade in DECADES:
        curve, weight, lot = ORDERS[kind](float(f"1e{decade}"))
        demands, portfolios = sound(orders)
        names = list(demands)
        add((demands, portfolios), "odd", curve, weight, {"A1": lot})

        found = clear_others(Market.from_models(demands, portfolios))

        assert found.status is not ClearingStatus.REJECTED
        if found.set_aside:
            assert [one.portfolio for one in found.set_aside] == ["odd"]
            assert found.portfolios["odd"].rate == 0.0
            assert found.portfolios["odd"].reason is ZeroReason.SET_ASIDE
            same(found, expected)
        assert loss_of(found, names) <= 1e-6


SIZES = st.integers(-323, -12) | st.integers(12, 308)


@st.composite
def absurd_orders(draw, products, demands):
    """A curve and terms of which any may be absurd, and at least one is."""
    signed = st.builds(
        lambda d, s: s * float(f"1e{d}"), SIZES, st.sampled_from([1, -1])
    )
    large = st.integers(12, 308).map(lambda d: float(f"1e{d}"))
    weight, lot = draw(st.sampled_from([1.0, -1.0])), draw(st.sampled_from([1.0, -1.0]))
    top, bottom, rate = 58.0, 42.0, 5.0
    spoilt = draw(st.sets(st.integers(0, 4), min_size=1))
    if 0 in spoilt:
        weight = draw(signed)
    if 1 in spoilt:
        lot = draw(signed)
    if 2 in spoilt:
        top = draw(large)
    if 3 in spoilt:
        bottom = -draw(large)
    if spoilt <= {4}:
        rate = draw(large)
    elif 4 in spoilt:
        rate = abs(draw(signed))
    curve = line(0, top, rate, bottom)
    if draw(st.booleans()):
        curve = line(-rate, top, 0, bottom)
    names = st.sampled_from(products)
    basis = {draw(names): 1.0, draw(names): lot}
    return curve, weight, basis


@st.composite
def spoilt_markets(draw):
    orders = draw(st.sampled_from([3, 8, 20, 40, 80]))
    products = draw(st.sampled_from([1, 2, 5, 8]))
    market = generate("mixed", orders, products, seed=draw(st.integers(0, 2**32)))
    auction = auction_to_builtins(market)
    few = st.integers(1, max(1, orders // 8))
    odd = absurd_orders(list(market.product_ids), list(market.demand_ids))
    return auction, draw(st.lists(odd, min_size=1, max_size=min(draw(few), 4)))


def models(auction):
    demands = {k: parse_curve(v) for k, v in auction["demand_curves"].items()}
    portfolios = {
        k: PortfolioTerms(v["demand"], v["basis"])
        for k, v in auction["portfolios"].items()
    }
    return demands, portfolios


@settings(max_examples=20, deadline=None, derandomize=True)
@given(spoilt_markets())
def test_absurd_orders_cost_nobody_else_anything(spoilt):
    auction, odd = spoilt
    demands, portfolios = models(auction)
    names = list(demands)
    try:
        alone = clear(Market.from_models(demands, portfolios))
    except UnboundedMarket:
        assume(False)
    for i, (curve, weight, basis) in enumerate(odd):
        add((demands, portfolios), f"odd{i}", curve, weight, basis)

    found = clear_others(Market.from_models(demands, portfolios), time_limit=60)

    aside = {one.portfolio for one in found.set_aside}
    assert aside <= {f"odd{i}" for i in range(len(odd))}
    kept = {k: v for k, v in portfolios.items() if k not in aside}
    if len(aside) == len(odd):
        same(found, alone)
    elif aside:
        same(found, clear(Market.from_models(demands, kept), time_limit=60))
    assert loss_of(found, names) <= 1e-6
    assert np.isfinite([found.gains, found.certificate.dual_bound]).all()


def test_the_set_depends_on_neither_names_nor_places():
    demands, portfolios = sound(60)
    market = demands, portfolios
    add(market, "a", line(0, 58, 5, 42), -1e-320)
    add(market, "b", line(0, 58, 5, 42), 1.0, {"A2": -1e80})
    add(market, "c", line(0, 1e40, 5, 42))
    first = clear_others(Market.from_models(demands, portfolios))
    chance = random.Random(3)  # noqa: S311  # no secret
    curves, terms = list(demands.items()), list(portfolios.items())
    chance.shuffle(curves)
    chance.shuffle(terms)
    again = clear_others(Market.from_models(dict(curves), dict(terms)))
    once_more = clear_others(Market.from_models(demands, portfolios))

    assert first.set_aside
    assert again.set_aside == first.set_aside
    assert once_more.digest == first.digest
    same(again, first)


def test_a_sound_market_is_cleared_as_ever():
    market = Market.from_models(*sound(30))

    found = clear_others(market)

    assert found.digest == clear(market).digest
    assert found.set_aside == ()


def spoilt(prefix=""):
    """A market and the order that no answer can be certified with."""
    market = sound(60, prefix=prefix)
    basis = {f"{prefix}A1": 1.0}
    add(market, f"{prefix}odd", line(0, 58, 5, 42), -1e-320, basis)
    with pytest.raises(Uncertified):
        clear(Market.from_models(*market))
    return market


def refusing(name):
    """A `clear` that certifies nothing in which an order takes part."""
    real = solve.clear

    def clear(market, **how):
        place = list(market.portfolio_ids).index(name)
        ptr = market.columns.usage.ptr
        if ptr[place + 1] > ptr[place]:
            raise Uncertified(None, ())
        return real(market, **how)

    return clear


def test_another_component_keeps_what_it_bears():
    demands, portfolios = spoilt()
    others = sound(12, prefix="B")
    add(others, "far", line(0, 58, 5, 42), 1e-12, {"BA1": 1.0})
    plain = clear(Market.from_models(*others))
    demands.update(others[0])
    portfolios.update(others[1])

    found = clear_others(Market.from_models(demands, portfolios))

    assert [one.portfolio for one in found.set_aside] == ["odd"]
    same(found, plain)


def test_a_harmless_order_is_given_back_though_it_is_the_farther_one(monkeypatch):
    market = sound(60)
    # It asks more than anybody pays, by more decades than the other's weight is off.
    add(market, "dear", line(-5, 1e15, 0, 1e15))
    add(market, "near", line(0, 58, 5, 42), 1e-9)
    monkeypatch.setattr(setaside, "clear", refusing("near"))

    found = clear_others(Market.from_models(*market))

    assert [one.portfolio for one in found.set_aside] == ["near"]


def test_a_component_too_large_for_trials_does_without_all(monkeypatch):
    demands, portfolios = spoilt()
    add((demands, portfolios), "dear", line(-5, 1e15, 0, 1e15))
    monkeypatch.setattr(setaside, "_TRIED", 10)

    found = clear_others(Market.from_models(demands, portfolios))

    assert [one.portfolio for one in found.set_aside] == ["dear", "odd"]


def test_trials_are_counted(monkeypatch):
    demands, portfolios = spoilt()
    for i in range(12):
        add((demands, portfolios), f"dear{i}", line(-5, 10.0 ** (12 + i), 0, 1e12))
    tried = []
    real = solve.clear

    def counted(market, **how):
        tried.append(how["effort"])
        return real(market, **how)

    monkeypatch.setattr(setaside, "clear", counted)
    found = clear_others(Market.from_models(demands, portfolios))
    assert [one.portfolio for one in found.set_aside] == ["odd"]
    assert 0 < tried.count(Effort.OWN) <= 24
    tried.clear()
    monkeypatch.setattr(setaside, "_TRIALS", 1)

    found = clear_others(Market.from_models(demands, portfolios))

    assert tried.count(Effort.OWN) == 1
    assert "odd" in {one.portfolio for one in found.set_aside}


def test_a_large_market_asks_nobody_slow_to_save_an_outlier(monkeypatch):
    monkeypatch.setattr(setaside, "_LARGE", 10)
    asked = []
    real = solve.clear

    def counted(market, **how):
        asked.append(how["effort"])
        return real(market, **how)

    monkeypatch.setattr(setaside, "clear", counted)

    found = clear_others(Market.from_models(*spoilt()))

    assert [one.portfolio for one in found.set_aside] == ["odd"]
    assert asked == [Effort.OWN, Effort.FULL]


def test_a_market_of_nothing_but_absurd_orders_clears_to_nothing():
    demands = {"a": line(0, 1e300, 1e300, -1e308), "b": line(-1e308, 1e308, 0, 1e200)}
    portfolios = {
        "x": PortfolioTerms({"a": 1e-320}, {"A": 1e308}),
        "y": PortfolioTerms({"b": -1e308}, {"A": 1e-320}),
    }

    found = clear_others(Market.from_models(demands, portfolios))

    assert {one.portfolio for one in found.set_aside} == {"x", "y"}
    assert [row.rate for row in found.portfolios.values()] == [0.0, 0.0]
    assert found.products["A"].price is None


def test_an_answer_whose_gains_are_no_number_is_none():
    market = sound(20)
    add(market, "odd", line(0, 1.7e308, 5, 1.6e308))

    found = clear_others(Market.from_models(*market))

    assert [one.portfolio for one in found.set_aside] == ["odd"]
    assert np.isfinite(found.gains)


def test_a_set_aside_order_is_as_one_without_a_demand():
    demands, portfolios = spoilt()

    found = clear_others(Market.from_models(demands, portfolios))

    del demands["odd"]
    idle = clear(Market.from_models(demands, portfolios))
    row, like = found.portfolios["odd"], idle.portfolios["odd"]
    assert (row.price, row.rate) == (like.price, like.rate)
    assert like.reason is ZeroReason.NO_DEMAND
    assert found.products == idle.products
    (one,) = found.set_aside
    assert (one.number, one.of) == (OutlyingNumber.DEMAND_WEIGHT, "odd")
    assert (one.value, one.scale) == (1e-320, 1.0)


def test_unlimited_orders_that_cross_are_refused_as_ever():
    demands, portfolios = spoilt()
    add((demands, portfolios), "u", parse_curve({"price": 90, "min_rate": 0}))
    add((demands, portfolios), "v", parse_curve({"price": 10, "max_rate": 0}))

    with pytest.raises(UnboundedMarket) as caught:
        clear_others(Market.from_models(demands, portfolios))

    assert set(caught.value.orders) == {"u", "v"}


@pytest.mark.parametrize("decades", [6, 9])
def test_a_number_that_is_nearer_may_be_the_reason(monkeypatch, decades):
    market = sound()
    add(market, "near", line(0, 58, 5, 42), 10.0**-decades)
    add(market, "nearer", line(0, 58, 5, 42), 10.0**-5.5)
    monkeypatch.setattr(setaside, "clear", refusing("near"))

    found = clear_others(Market.from_models(*market))

    assert [one.portfolio for one in found.set_aside] == ["near"]


def test_an_ordinary_order_is_never_set_aside(monkeypatch):
    market = sound()
    add(market, "usual", line(0, 58, 5, 42), 1e-4)
    add(market, "far", line(0, 58, 5, 42), 1e-50)
    monkeypatch.setattr(setaside, "clear", refusing("usual"))

    with pytest.raises(Uncertified):
        clear_others(Market.from_models(*market))


def failing(*_):
    return ()


def test_who_cannot_be_cleared_at_all_is_not_for_want_of_setting_aside(monkeypatch):
    market = Market.from_models(*spoilt())
    monkeypatch.setattr(solve, "clear_small", lambda *_, **__: None)
    monkeypatch.setattr(solve, "solvers_for", failing)

    with pytest.raises(Uncertified):
        clear_others(market)


def test_time_that_runs_out_ends_it_as_ever(monkeypatch):
    market = Market.from_models(*spoilt())
    now = monotonic()
    monkeypatch.setattr(setaside, "monotonic", lambda: now)
    with pytest.raises(Uncertified):
        clear_others(market, time_limit=0.0)

    # The clock moves a second with each attempt: there is time for two.
    times = iter(range(100))
    real = solve.clear

    def slow(market, **how):
        moment = now + next(times) + 1
        monkeypatch.setattr(setaside, "monotonic", lambda: moment)
        return real(market, **how)

    monkeypatch.setattr(setaside, "clear", slow)
    with pytest.raises(Uncertified, match="tried"):
        clear_others(market, time_limit=1.0)


@pytest.mark.parametrize("mode", [SolverMode.INTERIOR, SolverMode.AUDIT])
def test_every_mode_sets_aside(mode):
    found = clear_others(Market.from_models(*spoilt()), mode=mode)

    assert [one.portfolio for one in found.set_aside] == ["odd"]


def test_overflow_on_the_way_proves_nothing(monkeypatch):
    market = Market.from_models(*spoilt())
    real, calls = solve.clear, []

    def breaking(market, **how):
        calls.append(how)
        if len(calls) == 1:
            raise OverflowError("too large")
        return real(market, **how)

    monkeypatch.setattr(setaside, "clear", breaking)

    assert [one.portfolio for one in clear_others(market).set_aside] == ["odd"]


def test_a_limit_that_overflows_is_a_limit_all_the_same():
    demands, portfolios = sound(6, 1)
    # By its weight the limit is 1e383 portfolios, which no float holds.
    demands["odd"] = line(0, 58, 1e135, 42)
    terms = PortfolioTerms({"odd": 1e-248, "d1": 1.0}, {"A0": 1.0})
    portfolios["odd"] = terms
    add((demands, portfolios), "far", line(0, 58, 5, 42), 1e-193, {"A0": -1e-13})

    found = clear_others(Market.from_models(demands, portfolios))

    assert {one.portfolio for one in found.set_aside} <= {"odd", "far"}
    assert loss_of(found, sound(6, 1)[0]) <= 1e-6


def test_no_trial_speaks_for_the_market(monkeypatch):
    others = sound(12, prefix="B")
    add(others, "far", line(0, 58, 5, 42), 1e-12, {"BA1": 1.0})
    demands, portfolios = spoilt()
    market = Market.from_models({**demands, **others[0]}, {**portfolios, **others[1]})
    real = solve.clear

    def endless(market, **how):
        if how["effort"] is Effort.OWN:
            raise UnboundedMarket(ray={}, orders={}, gains=1.0)
        return real(market, **how)

    monkeypatch.setattr(setaside, "clear", endless)

    found = clear_others(market)

    assert [one.portfolio for one in found.set_aside] == ["far", "odd"]


@pytest.mark.parametrize(
    ("weight", "effort"), [(1e-12, Effort.EXACT), (1e-50, Effort.FIRM)]
)
def test_rationals_are_kept_from_numbers_of_hundreds_of_digits(
    monkeypatch, weight, effort
):
    market = sound(20)
    add(market, "odd", line(0, 58, 5, 42), weight)
    asked = []
    real = solve.clear

    def counted(market, **how):
        asked.append(how["effort"])
        return real(market, **how)

    monkeypatch.setattr(setaside, "clear", counted)
    clear_others(Market.from_models(*market))

    assert asked[0] is effort


def test_gains_without_end_are_no_answer_whoever_certifies_them(monkeypatch):
    market = sound(20)
    add(market, "odd", line(0, 58, 5, 42), 1e-20)
    market = Market.from_models(*market)
    real, calls = solve.clear, []

    def boasting(market, **how):
        found = real(market, **how)
        calls.append(how)
        if len(calls) == 1:
            found.certificate = msgspec.structs.replace(
                found.certificate, value_scale=np.inf
            )
        return found

    monkeypatch.setattr(setaside, "clear", boasting)

    assert [one.portfolio for one in clear_others(market).set_aside] == ["odd"]


def test_a_tiny_market_is_judged_by_its_ordinary_orders():
    demands, portfolios = models(auction_to_builtins(generate("mixed", 5, 5, seed=57)))
    names = list(demands)
    add((demands, portfolios), "odd", line(0, 1e67, 5, 42), -1.0, {"p3": -1e-130})

    found = clear_others(Market.from_models(demands, portfolios))

    assert loss_of(found, names) <= 1e-6
