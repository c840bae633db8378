"""Auxiliary auctions: whoever fails leaves the question to the next."""

import numpy as np
import pytest

from flowtrade.clearing import Market, auxiliary, clear
from flowtrade.clearing.auxiliary import settle
from flowtrade.clearing.highs import SolverFailed
from flowtrade.clearing.priceform import PriceForm

TRADE = {
    "demand_curves": {
        "b": [{"rate": 0, "price": 10}, {"rate": 1, "price": 5}],
        "s": [{"rate": -1, "price": 7.5}, {"rate": 0, "price": 7.5}],
    },
    "portfolios": {
        "b": {"demand": "b", "basis": "A"},
        "s": {"demand": "s", "basis": "A"},
    },
}


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), np.linalg.LinAlgError(), SolverFailed("no")]
)
def test_a_solver_that_breaks_down_is_passed_over(monkeypatch, error):
    def broken(*_args, **_options):
        raise error

    monkeypatch.setattr(auxiliary, "solve_active", broken)
    monkeypatch.setattr(auxiliary, "solve_interior", broken)
    market = Market.from_auction(TRADE)

    point = settle(PriceForm.of(market.structure, market.segments))

    assert point is not None
    assert point.z == pytest.approx([7.5])


def test_nobody_answers_where_everybody_breaks_down(monkeypatch):
    def broken(*_args, **_options):
        raise ZeroDivisionError

    for name in ("solve_active", "solve_interior", "solve_highs"):
        monkeypatch.setattr(auxiliary, name, broken)
    market = Market.from_auction(TRADE)

    assert settle(PriceForm.of(market.structure, market.segments)) is None


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_order_at_the_end_of_float64_is_cleared():
    curve = {"price": 1e308, "min_rate": -1e308, "max_rate": 1e308}
    market = Market.from_auction(
        {
            "demand_curves": {"d": curve},
            "portfolios": {"p": {"demand": "d", "basis": "A"}},
        }
    )

    assert clear(market).products["A"].price == 1e308
