"""Auctions in lists: the same scales as in arrays."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flowtrade.clearing import Market
from flowtrade.clearing.generate import generate
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.testing import Oddity, odd_auction
from flowtrade.clearing.tiny import TinyForm, fits, is_tiny, lower_median


@given(st.integers(0, 2**32), st.sampled_from(Oddity))
@settings(max_examples=100)
def test_scales_measured_in_lists_are_those_of_arrays(seed, oddity):
    market = Market.from_auction(odd_auction(seed, oddity))
    assume(len(market.segments))
    form = PriceForm.of(market.structure, market.segments)
    table = form.map.table

    own = TinyForm.scaled(
        [table.take_row(r) for r in range(form.rows)],
        form.row.tolist(),
        (form.low.tolist(), form.high.tolist()),
        (form.top.tolist(), form.bottom.tolist()),
        columns=form.columns,
        orders=int((form.demand >= 0).sum()),
    )

    assert own.rate == form.scales.rate
    assert own.level == pytest.approx(form.column_price.tolist(), rel=1e-14)
    assert own.scale == pytest.approx(form.row_price.tolist(), rel=1e-14)
    assert own.columns == form.columns


@given(st.integers(0, 2**32), st.sampled_from(Oddity))
@settings(max_examples=50)
def test_a_form_in_lists_has_its_pieces_on_the_same_rows(seed, oddity):
    market = Market.from_auction(odd_auction(seed, oddity))
    form = PriceForm.of(market.structure, market.segments)
    z = np.arange(1.0, form.columns + 1)

    own = TinyForm.of(form)

    prices = own.forward(z.tolist())
    assert [prices[r] for r in own.row] == pytest.approx(
        form.map.forward(z)[form.row].tolist(), abs=1e-9
    )
    assert [own.scale[r] for r in own.row] == form.row_price[form.row].tolist()
    assert len(own.rows) == len(set(form.row.tolist()))


@pytest.mark.parametrize(
    ("columns", "pieces", "tiny"),
    [(16, 96, True), (17, 96, False), (16, 97, False), (1, 0, False), (1, 1, True)],
)
def test_tiny_is_a_matter_of_prices_and_pieces(columns, pieces, tiny):
    assert fits(columns, pieces) is tiny


def test_a_market_of_hundreds_is_not_tiny():
    market = generate("mixed", 300, 20, seed=1)

    assert not is_tiny(PriceForm.of(market.structure, market.segments))


def test_the_median_is_one_of_the_values():
    assert lower_median([]) == 0.0
    assert lower_median([3.0, 1.0, 2.0, 9.0]) == 2.0


@pytest.mark.parametrize("dust", [0.0, 1e-15, 1e-6])
def test_a_column_of_dust_has_the_least_scale_of_arrays(dust):
    """The price of one of two products is next to nothing against the other's."""

    def line(level):
        return [{"rate": 0.0, "price": level}, {"rate": 1.0, "price": 0.5 * level}]

    market = Market.from_auction(
        {
            "demand_curves": {
                **{f"a{i}": line(1000.0) for i in range(5)},
                "b": line(1000.0 * dust),
                "c": line(1000.0),
            },
            "portfolios": {
                **{f"a{i}": {"demand": f"a{i}", "basis": "A"} for i in range(5)},
                "b": {"demand": "b", "basis": "B"},
                "c": {"demand": "c", "basis": {"A": 1.0, "B": 1.0}},
            },
        }
    )
    form = PriceForm.of(market.structure, market.segments)
    table = form.map.table

    own = TinyForm.scaled(
        [table.take_row(r) for r in range(form.rows)],
        form.row.tolist(),
        (form.low.tolist(), form.high.tolist()),
        (form.top.tolist(), form.bottom.tolist()),
        columns=form.columns,
        orders=len(form),
    )

    assert own.level == pytest.approx(form.column_price.tolist(), rel=1e-14)
    assert min(own.level) >= 1e-9 * 500.0
    if dust == 1e-6:
        assert own.level[1] == pytest.approx(1e-3)
