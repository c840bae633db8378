"""Directions of unlimited gains, and what only looks like one."""

import numpy as np
import pytest

from flowtrade.clearing import Market, recession
from flowtrade.clearing.polish import Polished
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.recession import find_ray


def crossed(weight=1.0):
    """An unlimited buyer of A at 8 and an unlimited seller at 7, and B beside them."""
    market = Market.from_auction(
        {
            "demand_curves": {
                "b": {"min_rate": 0, "price": 8},
                "s": {"max_rate": 0, "price": 7},
            },
            "portfolios": {
                "b": {"demand": "b", "basis": {"A": 1, "B": weight}},
                "s": {"demand": "s", "basis": {"A": 1, "B": weight}},
            },
        }
    )
    return PriceForm.of(market.structure, market.segments)


def answering(monkeypatch, flow):
    """Have the auxiliary auction answer so."""

    def settled(form, *, deadline):
        del deadline
        return Polished(np.zeros(form.columns), np.array(flow), 0, np.inf)

    monkeypatch.setattr(recession, "settle", settled)


def test_orders_that_cross_are_a_direction():
    ray = find_ray(crossed())

    assert ray.flow == pytest.approx([1, -1])
    assert ray.gains == pytest.approx(1)


@pytest.mark.parametrize("weight", [1.0, 1e-5])
@pytest.mark.parametrize(
    "flow",
    [
        [1e-14, -1e-14],  # rounding: a direction goes on to the end of its box
        [0.0, 0.0],
        [1.0, -1.0 + 1e-6],  # unbalanced, although that is worth less than the gains
        [1.0, 0.0],
        [-1.0, 1.0],  # losses
    ],
)
def test_what_is_no_direction_is_not_taken_for_one(monkeypatch, weight, flow):
    answering(monkeypatch, flow)

    assert find_ray(crossed(weight)) is None


def test_nothing_unlimited_is_asked_about_where_nobody_answers(monkeypatch):
    monkeypatch.setattr(recession, "settle", lambda *_args, **_options: None)

    assert find_ray(crossed()) is None
