"""Matrices that are too large for the room or the time are not begun."""

from time import monotonic

import numpy as np
import pytest

from flowtrade.clearing import (
    ClearingStatus,
    Market,
    SolverMode,
    Uncertified,
    assembly,
    clear,
    faces,
)
from flowtrade.clearing.arrays import Ragged
from flowtrade.clearing.assembly import Assembler, TooLarge
from flowtrade.clearing.columns import Curves
from flowtrade.clearing.interior import solve_interior
from flowtrade.clearing.polish import polish
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.rowmap import RowMap
from flowtrade.clearing.testing import Oddity, odd_auction


def assembler(products):
    """Of a market in which every product has one order."""
    numbers = np.arange(products + 1)
    rows = Ragged(numbers, numbers[:-1], np.ones(products))
    return Assembler(RowMap(rows, products), products)


def linked(products):
    """A buyer and a seller of each product, and one bid for all of them."""
    lone = np.repeat(np.arange(products), 2)
    count = 2 * products + 1
    limits = np.array([[0.0, 1.0], [-1.0, 0.0]] * products + [[0.0, 1.0]])
    prices = np.array([[9.0, 7.0], [8.0, 6.0]] * products + [[9.0, 7.0]])
    prices[-1] *= products
    return Market.from_columns(
        products=products,
        curves=Curves(2 * np.arange(count + 1), limits.ravel(), prices.ravel()),
        usage=Ragged(np.arange(count + 1), np.arange(count), np.ones(count)),
        basis=Ragged(
            np.append(np.arange(count), 2 * products + products),
            np.concatenate([lone, np.arange(products)]),
            np.ones(3 * products),
        ),
    )


def test_matrices_that_take_no_time_are_made_even_when_time_is_up():
    assert assembler(200).fits(12, deadline=monotonic() - 1.0)


def test_matrices_that_outlast_the_limit_are_not_begun():
    large = assembler(8760)

    assert large.fits(12, deadline=np.inf)
    assert not large.fits(12, deadline=monotonic() + 5.0)
    with pytest.raises(TooLarge, match="8760 prices hang together"):
        large.check(12, deadline=monotonic() + 5.0)


def test_matrices_beyond_the_memory_are_never_begun():
    with pytest.raises(TooLarge, match=r"80000 MB \(at most 2147\)"):
        assembler(100_000).check(1, deadline=np.inf)


def test_an_auction_of_too_many_prices_says_what_is_too_large():
    market = linked(20_000)

    with pytest.raises(Uncertified, match="20000 prices hang together") as caught:
        clear(market, mode=SolverMode.INTERIOR)

    assert [a.solver for a in caught.value.attempts] == ["interior", "interior-wide"]


def test_a_point_of_too_many_prices_is_left_as_it_is():
    market = linked(20_000)
    form = PriceForm.of(market.structure, market.segments)
    z, y = np.full(form.columns, 7.5), np.zeros(len(form))

    with pytest.raises(TooLarge):
        solve_interior(form)
    found = polish(form, z, y)

    assert found.steps == 0
    assert (found.z == z).all()
    assert (found.y == y).all()


def test_ranks_beyond_the_room_leave_columns_open_and_prices_as_they_are(monkeypatch):
    market = Market.from_auction(odd_auction(3, Oddity.SPREADS, orders=60))
    before = clear(market, mode=SolverMode.INTERIOR)
    monkeypatch.setattr(faces, "_LARGEST_RANK", 0)
    after = clear(market, mode=SolverMode.INTERIOR)

    assert after.status is ClearingStatus.CERTIFIED
    assert after.report.free_prices > before.report.free_prices
    np.testing.assert_allclose(after.arrays.price, before.arrays.price, rtol=1e-9)


def test_what_is_too_dense_is_asked_of_the_sparse_system(monkeypatch):
    # A market of few prices whose matrix is said to be too large.
    market = linked(40)
    monkeypatch.setattr(assembly, "_LARGEST", 39)

    clearing = clear(market)

    assert clearing.status is ClearingStatus.CERTIFIED
    assert clearing.report.solver == "highs-hipo-augmented"
    assert "40 prices hang together" in clearing.report.attempts[0].outcome
