"""Portfolios that cannot trade: what arrays and lists find, and nobody else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrade.clearing import Market, SolverMode, clear
from flowtrade.clearing.parts import live_usage
from flowtrade.clearing.still import still_portfolios, still_rows
from flowtrade.clearing.testing import Oddity, odd_auction
from flowtrade.clearing.tinyrows import TinyMarket


def still_of(auction):
    """Names of the portfolios that cannot trade, by arrays and by lists."""
    market = Market.from_auction(auction)
    columns, tiny = market.columns, TinyMarket(market.columns)
    live, usage = live_usage(columns)
    blocked = np.array([d in tiny.blocked for d in range(columns.demands)], np.bool_)
    found = still_portfolios(columns.basis, usage, live, blocked)
    rows = still_rows(tiny.basis, tiny.usage, tiny.live, tiny.blocked)
    assert set(np.flatnonzero(found).tolist()) == rows
    return {market.portfolio_ids[j] for j in rows}


def naive(auction):
    """The same by its definition, on names."""
    curves = auction["demand_curves"]
    left = {
        name: (
            {d for d in terms["demand"] if d in curves},
            set(terms["basis"]),
        )
        for name, terms in auction["portfolios"].items()
    }
    left = {name: rows for name, rows in left.items() if all(rows)}
    out = set()
    while True:
        alone = {
            name
            for name, (demands, products) in left.items()
            if any(
                all(k not in others for n, (_, others) in left.items() if n != name)
                for k in products
            )
            or any(
                curves[d] is None
                and all(d not in others for n, (others, _) in left.items() if n != name)
                for d in demands
            )
        }
        if not alone:
            return out
        out |= alone
        left = {name: rows for name, rows in left.items() if name not in alone}


NAMES = st.lists(st.sampled_from("abcdefgh"), max_size=3, unique=True)


@st.composite
def auctions(draw):
    curve = {"price": 5, "min_rate": -1, "max_rate": 1}
    curves = draw(
        st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([None, curve]))
    )
    rows = draw(st.lists(st.tuples(NAMES, NAMES), max_size=10))
    return {
        "demand_curves": curves,
        "portfolios": {
            f"f{i}": {
                "demand": dict.fromkeys(demands, 1),
                "basis": dict.fromkeys(products, 1),
            }
            for i, (demands, products) in enumerate(rows)
        },
    }


@given(auctions())
@settings(max_examples=200)
def test_arrays_and_lists_find_those_that_the_definition_finds(auction):
    assert still_of(auction) == naive(auction)


def test_a_chain_of_swaps_without_an_end_is_still_from_its_first_link_on():
    curve = {"price": 5, "min_rate": -1, "max_rate": 1}
    names = [f"f{i}" for i in range(200)]
    auction = {
        "demand_curves": dict.fromkeys(names, curve),
        "portfolios": {
            name: {"demand": name, "basis": {f"p{i:03}": 1, f"p{i + 1:03}": -1}}
            for i, name in enumerate(names)
        },
    }

    assert still_of(auction) == set(names)
    closed = {"demand": names[0], "basis": {"p000": -1, "p200": 1}}
    assert not still_of(
        {**auction, "portfolios": {**auction["portfolios"], "last": closed}}
    )


@given(st.integers(0, 2**32), st.sampled_from(Oddity))
@settings(max_examples=40)
def test_no_market_without_lone_holders_has_any(seed, oddity):
    auction = odd_auction(seed, oddity)
    doubled = {
        **auction,
        "portfolios": auction["portfolios"]
        | {f"{name}-twin": terms for name, terms in auction["portfolios"].items()},
    }
    curves = {
        name: {"price": 1, "min_rate": -1, "max_rate": 1}
        for name in auction["demand_curves"]
    }

    assert not still_of({**doubled, "demand_curves": curves})


@pytest.mark.parametrize("mode", [SolverMode.AUTO, SolverMode.INTERIOR])
def test_what_others_leave_to_a_lone_holder_is_nothing_to_the_bit(mode):
    auction = {
        "demand_curves": {
            "deep": {"price": 2.4, "min_rate": 0, "max_rate": 4141.5},
            "small": [{"rate": 0, "price": 10.4}, {"rate": 0.0044, "price": 0.77}],
        },
        "portfolios": {
            "alone": {"demand": "small", "basis": "a"},
            "half": {"demand": {"small": 0.5}, "basis": "b"},
            "deep-b": {"demand": "deep", "basis": "b"},
            "deep-c": {"demand": "deep", "basis": "c"},
            "small-c": {"demand": "small", "basis": "c"},
        },
    }

    clearing = clear(Market.from_auction(auction), mode=mode)

    assert clearing.portfolios["alone"].rate == 0.0
    assert clearing.products["a"].rate == 0.0
    # Its price is its demand's all the same: it would pay as much as the others.
    assert clearing.products["a"].price == pytest.approx(
        clearing.demands["small"].price, rel=1e-9
    )
