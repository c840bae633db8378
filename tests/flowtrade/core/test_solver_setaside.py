"""One bidder's absurd numbers cost that bidder a batch, and nobody else."""

import math

import msgspec
import pytest

from flowtrade.core.auction import input_hash, outcome_hash
from flowtrade.core.mirror import AuctionInput, PortfolioTerms
from flowtrade.core.solver import ClearingSolver
from flowtrade.errors import BatchFailed, SolverFailed
from flowtrade.models.clearing import OutlyingNumber, RatePrice, SetAside, SolverMode
from flowtrade.models.curve import ConstantCurve, Point, PwlCurve


def line(low, top, high, bottom):
    return PwlCurve(points=(Point(rate=low, price=top), Point(rate=high, price=bottom)))


def sound():
    demands = {"b": line(0.0, 10.0, 1.0, 5.0), "s": line(-1.0, 7.5, 0.0, 7.5)}
    portfolios = {key: terms({key: 1.0}, {"A": 1.0}) for key in demands}
    return demands, portfolios


def terms(demand, basis):
    return PortfolioTerms(demand=demand, basis=basis)


def solved(demands, portfolios, solver=None):
    auction = AuctionInput(demands=dict(demands), portfolios=dict(portfolios))
    solver = solver or ClearingSolver()
    return solver.solve(auction, targets={}, time_limit=60.0)


def test_an_order_that_nothing_can_be_certified_with_is_set_aside():
    demands, portfolios = sound()
    alone = solved(demands, portfolios)
    demands["odd"] = line(0.0, 10.0, 1.0, 5.0)
    portfolios["odd"] = terms({"odd": -1e-320}, {"A": 1.0})

    found = solved(demands, portfolios)

    assert found.set_aside == [
        SetAside(
            portfolio="odd",
            number=OutlyingNumber.DEMAND_WEIGHT,
            of="odd",
            value=1e-320,
            scale=1.0,
        )
    ]
    assert found.portfolios == {
        **alone.portfolios,
        "odd": RatePrice(price=7.5, rate=0.0),
    }
    assert found.products == alone.products


def test_a_weight_that_a_division_made_infinite_is_set_aside():
    demands, portfolios = sound()
    alone = solved(demands, portfolios)
    demands["odd"] = line(0.0, 10.0, 1.0, 5.0)
    portfolios["odd"] = terms({"odd": 1.0}, {"A": math.inf, "B": 1.0})
    solver = ClearingSolver()

    for _ in range(2):  # once with a model kept
        found = solved(demands, portfolios, solver)

        assert found.portfolios["odd"] == RatePrice(price=None, rate=0.0)
        assert found.products == alone.products
        (one,) = found.set_aside
        assert (one.portfolio, one.of, one.value, one.scale) == ("odd", "A", None, None)
        assert one.number is OutlyingNumber.BASIS_WEIGHT

    # What is not finite has no number in JSON, and is read back nevertheless.
    assert msgspec.json.decode(msgspec.json.encode(one), type=SetAside) == one
    auction = AuctionInput(demands=demands, portfolios=portfolios)
    assert len(input_hash(auction, {})) == 64


def test_the_order_of_orders_and_the_model_kept_change_nothing():
    demands, portfolios = sound()
    demands["odd"] = line(0.0, 1e300, 1.0, 5.0)
    portfolios["odd"] = terms({"odd": 1e-300}, {"A": 1e-200})
    solver = ClearingSolver()
    solved(*sound(), solver)

    kept = solved(demands, portfolios, solver)
    fresh = solved(demands, portfolios)
    turned = solved(dict(reversed(demands.items())), dict(reversed(portfolios.items())))

    assert outcome_hash(kept) == outcome_hash(fresh) == outcome_hash(turned)
    assert kept.set_aside == fresh.set_aside == turned.set_aside


def test_a_bidder_who_puts_it_right_is_back():
    demands, portfolios = sound()
    demands["odd"] = line(0.0, 10.0, 1.0, 5.0)
    portfolios["odd"] = terms({"odd": 1e-320}, {"A": 1.0})
    solver = ClearingSolver()
    assert solved(demands, portfolios, solver).set_aside
    portfolios["odd"] = terms({"odd": 1.0}, {"A": 1.0})

    found = solved(demands, portfolios, solver)

    assert found.set_aside == []
    assert found.portfolios["odd"].rate == pytest.approx(0.5)


def test_unlimited_orders_that_cross_still_fail_the_batch():
    demands, portfolios = sound()
    for key, price in (("u", 9.0), ("v", 3.0)):
        low, high = (0.0, math.inf) if key == "u" else (-math.inf, 0.0)
        demands[key] = ConstantCurve(min_rate=low, max_rate=high, price=price)
        portfolios[key] = terms({key: 1.0}, {"A": 1.0})
    demands["odd"] = line(0.0, 10.0, 1.0, 5.0)
    portfolios["odd"] = terms({"odd": 1e-320}, {"A": 1.0})

    with pytest.raises(BatchFailed) as caught:
        solved(demands, portfolios)

    assert set(caught.value.orders) == {"u", "v"}


def test_a_target_that_is_no_number_is_nobodys_order():
    demands, portfolios = sound()
    auction = AuctionInput(demands=demands, portfolios=portfolios)

    with pytest.raises(BatchFailed, match="must be finite"):
        ClearingSolver().solve(auction, targets={"A": math.nan}, time_limit=9.0)


def test_time_that_runs_out_fails_as_ever():
    demands, portfolios = sound()
    demands["odd"] = line(0.0, 10.0, 1.0, 5.0)
    portfolios["odd"] = terms({"odd": 1e-320}, {"A": 1.0})
    auction = AuctionInput(demands=demands, portfolios=portfolios)

    with pytest.raises(SolverFailed):
        ClearingSolver(SolverMode.AUTO).solve(auction, targets={}, time_limit=0.0)
