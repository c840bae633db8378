"""Parts and rows of tiny markets in lists: those that arrays find."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrade.clearing import Market
from flowtrade.clearing.parts import find_members
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.recover import portfolio_rates
from flowtrade.clearing.testing import Oddity, odd_auction
from flowtrade.clearing.tinyrows import TinyMarket, TinyRows

SEEDS = st.integers(0, 2**32)


def shuffled(auction, seed):
    """The same auction with its demands and portfolios in another order."""
    order = np.random.default_rng(seed)
    out = {}
    for key, entries in auction.items():
        names = list(entries)
        out[key] = {names[i]: entries[names[i]] for i in order.permutation(len(names))}
    return out


@given(SEEDS, st.sampled_from(Oddity))
@settings(max_examples=80)
def test_parts_in_lists_are_those_of_arrays_in_ascending_numbers(seed, oddity):
    columns = Market.from_auction(shuffled(odd_auction(seed, oddity), seed)).columns

    parts = TinyMarket(columns).parts()

    members = find_members(columns)
    if len(parts) > len(members):  # of more than sixteen arrays join the smallest
        return
    assert [(part.portfolios, part.products, part.demands) for part in parts] == [
        (one.portfolios.tolist(), one.products.tolist(), one.demands.tolist())
        for one in members
    ]


@given(SEEDS, st.sampled_from(Oddity))
@settings(max_examples=80)
def test_rows_in_lists_tell_the_prices_and_rates_that_arrays_tell(seed, oddity):
    market = Market.from_auction(shuffled(odd_auction(seed, oddity), seed))
    chance = np.random.default_rng(seed)
    tiny = TinyMarket(market.columns)
    parts = tiny.parts()
    if len(parts) != len(market.parts):
        return
    for mine, whole in zip(parts, market.parts, strict=True):
        rows = TinyRows.of(tiny, mine)
        form, owner = rows.form(tiny)
        other = PriceForm.of(whole.market.structure, whole.market.segments)
        free = whole.members.demands[whole.market.structure.free].tolist()
        assert rows.free == free
        z = chance.normal(size=form.columns)
        price = form.forward(z.tolist())
        theirs = whole.market.structure.demand_prices(z)
        ours = [rows.scale[d] * price[rows.row[d]] for d in mine.demands]
        assert ours == pytest.approx(theirs.tolist(), rel=1e-9, abs=1e-9)

        # Flows by demand and piece, whatever the order of rows: the same rates.
        flow = {d: chance.normal() for d in mine.demands}
        pseudo = {j: chance.normal() for j, _ in rows.pseudo}
        y = [flow[d] * rows.scale[d] for d in owner if d >= 0]
        y += [pseudo[j] for j, _ in rows.pseudo]
        found = rows.rates(tiny.usage, owner, y)
        names = whole.members.demands.tolist()
        converts = whole.members.portfolios[whole.market.structure.recovery.pseudo]
        flows = np.array(
            [
                flow[names[d]] * whole.market.structure.scale[d]
                if d >= 0
                else pseudo[converts[-1 - d]]
                for d in other.demand.tolist()
            ]
        )
        rates = portfolio_rates(whole.market.structure, other, flows)
        assert [found[j] for j in mine.portfolios] == pytest.approx(
            rates.tolist(), rel=1e-9, abs=1e-9
        )


def test_a_price_that_cancels_but_for_rounding_is_no_price():
    # Both feed one demand: 0.3 - 3 * 0.1 is 5.6e-17 in floating point.
    market = Market.from_auction(
        {
            "demand_curves": {"d": {"price": 1, "min_rate": -1, "max_rate": 1}},
            "portfolios": {
                "x": {"demand": "d", "basis": {"A": 0.1, "B": 1}},
                "y": {"demand": {"d": 3}, "basis": {"A": 0.3, "B": 1}},
            },
        }
    )
    tiny = TinyMarket(market.columns)

    rows = TinyRows.of(tiny, *tiny.parts())

    assert [rows.rows[r] for _, r in rows.pseudo] == [[(1, -2.0)]]
