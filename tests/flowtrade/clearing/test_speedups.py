"""Compiled loops, their source interpreted, and NumPy give the same bits."""

import contextlib
import importlib.util
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrade import clearing
from flowtrade.clearing import (
    Market,
    _speedups,
    assembly,
    blocks,
    certificate,
    clear,
    interior,
    intern,
    polish,
    priceform,
    segments,
)
from flowtrade.clearing.arrays import Ragged, offsets
from flowtrade.clearing.assembly import Assembler
from flowtrade.clearing.certificate import Terms, audit
from flowtrade.clearing.columns import Curves
from flowtrade.clearing.generate import generate
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.segments import disaggregate
from flowtrade.clearing.speedups import BUILT
from flowtrade.clearing.testing import Oddity, odd_auction
from flowtrade.models.curve import parse_curve

FOLDER = Path(clearing.__file__).parent
SEEDS = st.integers(0, 2**32)


def interpreted():
    """The module as it is where nothing was built."""
    loader = SourceFileLoader("interpreted_loops", str(FOLDER / "_speedups.py"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


LOOPS = [pytest.param(interpreted(), id="source"), pytest.param(_speedups, id="built")]
"""The second is the first once more where there was no compiler."""


def same(one, other):
    """Bit for bit, though a zero may have another sign."""
    assert one.shape == other.shape
    return np.array_equal(one, other, equal_nan=True)


def structure(kind, seed):
    if isinstance(kind, Oddity):
        return Market.from_auction(odd_auction(seed, kind, orders=40)).structure
    return generate(kind, 300, 40, seed=seed).structure


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize(
    "kind", ["mixed", "substitutes", "strips", Oddity.CAPPED, Oddity.TANGLED]
)
@settings(max_examples=10)
@given(seed=SEEDS)
def test_an_assembled_matrix_has_the_same_bits(loops, kind, seed):
    rowmap, products = structure(kind, seed).map, structure(kind, seed).products
    random = np.random.default_rng(seed)
    weights = random.lognormal(0.0, 4.0, len(rowmap.table))
    shift = random.lognormal(-9.0, 1.0, rowmap.shape[1])
    rhs = random.normal(size=rowmap.shape[1])
    plain = Assembler(rowmap, products, compiled=False).factor(weights, shift)
    with (
        mock.patch.object(assembly, "_speedups", loops),
        mock.patch.object(blocks, "_speedups", loops),
    ):
        direct = Assembler(rowmap, products, compiled=True).factor(weights, shift)

        assert same(direct.solve(rhs), plain.solve(rhs))


def market_of(kind, seed):
    if isinstance(kind, Oddity):
        return Market.from_auction(odd_auction(seed, kind, orders=12))
    return generate(kind, 60, 8, seed=seed)


def long_curve(market):
    """The market with one demand of very many pieces."""
    rates = np.linspace(-50.0, 50.0, 101).tolist()
    points = [{"rate": r, "price": 20.0 - 0.01 * r - 0.001 * r**3} for r in rates]
    return market.update(demands={market.demand_ids[0]: parse_curve(points)})


def upright_curve(market):
    """The market with one demand whose middle is its end: the steepest there is."""
    points = [{"rate": 0.0, "price": 20.0}, {"rate": 5e-324, "price": 10.0}]
    return market.update(demands={market.demand_ids[0]: parse_curve(points)})


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize("kind", ["mixed", "unlimited", Oddity.BOOKS, Oddity.TANGLED])
@settings(max_examples=25)
@given(seed=SEEDS, broken=st.sampled_from([None, np.nan, np.inf]), far=st.booleans())
def test_an_audit_measures_the_same_bits(loops, kind, seed, broken, far):
    market = long_curve(market_of(kind, seed))
    structure, columns = market.structure, market.columns
    terms = Terms(columns.products, market.segments, structure.usage, columns.basis)
    random = np.random.default_rng(seed)
    size = 1e3 if far else 3.0
    rates = np.round(random.normal(0.0, size, columns.portfolios), 1)
    rates[random.uniform(size=len(rates)) < 0.3] = 0.0
    # On the tick, so that prices meet those of pieces.
    prices = np.round(random.normal(50.0, 20.0, columns.products))
    marginal = np.round(random.normal(50.0, 20.0, columns.demands), 1)
    if broken is not None:
        rates[0] = prices[-1] = marginal[-1] = broken
    point = {"rates": rates, "prices": prices, "marginal": marginal}
    with np.errstate(invalid="ignore"):
        plain = audit(terms, **point, compiled=False)
        with (
            mock.patch.object(certificate, "judge", loops.judge),
            mock.patch.object(certificate, "add_trades", loops.add_trades),
        ):
            found = audit(terms, **point, compiled=True)

    for name in ("net", "regret", "value", "volume"):
        assert same(getattr(found, name), getattr(plain, name)), name
    assert repr(found.certificate) == repr(plain.certificate)


@st.composite
def curve_tables(draw):
    """Curves on a coarse grid: points repeat, lie on one line, stand upright."""
    lengths = draw(st.lists(st.integers(0, 7), max_size=8))
    rates, prices = [], []
    for length in lengths:
        steps = st.lists(st.integers(0, 2), min_size=length, max_size=length)
        rate = np.cumsum(draw(steps)) - draw(st.integers(0, 4))
        price = 9.0 - np.cumsum(draw(steps))
        if length == 2 and draw(st.booleans()):
            rate, price = np.array([-np.inf, np.inf]), np.array([4.0, 4.0])
        # At the ends of floats, too, where products vanish or have no end.
        size = draw(st.sampled_from([1.0, 1.0, 5e-324, 1e-310, 1e300]))
        rates.append(size * np.asarray(rate, float))
        prices.append(draw(st.sampled_from([1.0, size])) * np.asarray(price, float))
    flat = [np.concatenate([np.zeros(0), *part]) for part in (rates, prices)]
    return Curves(offsets(np.array(lengths, np.int64)), *flat)


@pytest.mark.parametrize("loops", LOOPS)
@given(curves=curve_tables())
def test_curves_come_apart_into_the_same_pieces(loops, curves):
    plain = disaggregate(curves, compiled=False)
    with (
        mock.patch.object(segments, "take_apart", loops.take_apart),
        np.errstate(over="ignore"),  # interpreted, its numbers are NumPy's
    ):
        found = disaggregate(curves, compiled=True)

    for name in ("ptr", "low", "high", "top", "bottom"):
        assert same(getattr(found, name), getattr(plain, name)), name


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize("kind", ["mixed", Oddity.SUBSTITUTES, Oddity.TANGLED])
@settings(max_examples=20)
@given(seed=SEEDS)
def test_pieces_are_laid_out_alike(loops, kind, seed):
    market = market_of(kind, seed)
    plain = PriceForm.of(market.structure, market.segments, compiled=False)
    with mock.patch.object(priceform, "lay_out", loops.lay_out):
        found = PriceForm.of(market.structure, market.segments, compiled=True)

    for name in ("row", "demand", "low", "high", "top", "bottom"):
        assert same(getattr(found, name), getattr(plain, name)), name


@pytest.mark.parametrize("loops", LOOPS)
@given(
    rows=st.lists(
        st.lists(st.tuples(st.integers(0, 2), st.sampled_from([-1.0, 1.0, 2.0]))),
        min_size=1,
        max_size=6,
    ),
    data=st.data(),
)
def test_rows_are_compared_alike(loops, rows, data):
    flat = [entry for row in rows for entry in row]
    table = Ragged(
        offsets(np.array([len(row) for row in rows], np.int64)),
        np.array([i for i, _ in flat], np.int64),
        np.array([w for _, w in flat], float),
    )
    number = st.integers(0, len(rows) - 1)
    twin = np.array(
        data.draw(st.lists(number, min_size=len(rows), max_size=len(rows))), np.int64
    )
    sign = intern.first_signs(table)

    equal = loops.are_equal(table.ptr, table.idx, table.weight, sign, twin)

    assert equal == intern._are_equal(table, sign, twin)


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize("orders", [40, 2500])  # the second by sparse products
def test_rows_add_up_to_the_same_bits(loops, orders):
    market = generate("mixed", orders, 8, seed=orders)
    form = PriceForm.of(market.structure, market.segments)
    random = np.random.default_rng(orders)
    arrays = [random.lognormal(0.0, 5.0, len(form)) for _ in range(3)]
    found = []
    plain = interior._PlainLoops(form, *arrays)
    with (
        mock.patch.object(interior, "add_rows", loops.add_rows),
        mock.patch.object(interior, "push_rows", loops.push_rows),
        mock.patch.object(interior, "lower", loops.lower),
        mock.patch.object(interior, "moves", loops.moves),
    ):
        sums = interior._CompiledLoops(form, *arrays)

        assert all(map(same, sums.look(), plain.look()))
        assert same(sums.push(), plain.push())
        turn = random.normal(size=form.rows)
        for each, taken in ((sums, arrays[0].copy()), (plain, arrays[0].copy())):
            each.lower(taken, turn, form.row)
            each.moves(taken, turn, form.row, arrays[1], taken)
            found.append(taken)
        assert same(*found)


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize("kind", ["mixed", "unlimited", Oddity.BOOKS, Oddity.TANGLED])
@settings(max_examples=20)
@given(seed=SEEDS)
def test_the_interior_point_starts_from_the_same_bits(loops, kind, seed):
    market = upright_curve(market_of(kind, seed))
    form = PriceForm.of(market.structure, market.segments)
    names = ("open_pieces", "measure_fit", "begin")
    with np.errstate(all="ignore"), contextlib.ExitStack() as stack:
        plain = interior._Iteration(form, compiled=False)
        for name in names:
            loop = getattr(loops, name)
            stack.enter_context(mock.patch.object(interior, name, loop))
        found = interior._Iteration(form, compiled=True)

    assert found.sides == plain.sides
    assert found.potential == pytest.approx(plain.potential, rel=1e-12)
    for name in ("slope", "regular", "base", "y", "wl", "wu", "vl", "vu", "z"):
        assert same(getattr(found, name), getattr(plain, name)), name


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize("kind", ["mixed", "unlimited", "ticks", Oddity.BOOKS])
@settings(max_examples=20)
@given(seed=SEEDS, window=st.sampled_from([0.0, 1e-3, 0.1, np.inf]))
def test_a_window_decides_the_same_segments(loops, kind, seed, window):
    market = market_of(kind, seed)
    form = PriceForm.of(market.structure, market.segments)
    random = np.random.default_rng(seed)
    z = form.column_price * random.integers(8, 12, form.columns) / 10.0
    y = random.normal(size=len(form))
    plain = polish._Newton(form, z, y, window=window, flat=1e-3, compiled=False)
    with mock.patch.object(polish, "decide", loops.decide):
        found = polish._Newton(form, z, y, window=window, flat=1e-3, compiled=True)

    for name in ("status", "fixed", "base", "base_slope", "gross", "i_gain", "o_from"):
        assert same(getattr(found, name), getattr(plain, name)), name
    assert same(found.flows(), plain.flows())


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize(("second", "equal"), [(-2.0, True), (2.0, False)])
def test_rows_are_equal_up_to_one_sign(loops, second, equal):
    table = Ragged(
        np.array([0, 2, 4]), np.array([0, 1, 0, 1]), np.array([1.0, 2.0, -1.0, second])
    )
    sign, twin = intern.first_signs(table), np.array([1, 0])

    found = loops.are_equal(table.ptr, table.idx, table.weight, sign, twin)

    assert found is equal is intern._are_equal(table, sign, twin)


@given(st.lists(st.integers(0, 5), max_size=40))
def test_hashes_are_numbered_as_by_unique(values):
    hashes = np.array(values, np.uint64)
    _, first, number = np.unique(hashes, return_index=True, return_inverse=True)

    found_first, found_number = intern._number(hashes)

    assert same(found_first, first)
    assert same(found_number, number)


def test_columns_of_other_types_and_strides_clear_alike():
    source = generate("mixed", 300, 20, seed=2).columns
    wide = np.zeros((len(source.curves.rate), 2))
    wide[:, 0] = source.curves.rate
    curves = Curves(source.curves.ptr.astype(np.int32), wide[:, 0], source.curves.price)
    usage, basis = source.usage, source.basis
    other = Market.from_columns(
        products=source.products,
        curves=curves,
        usage=Ragged(
            usage.ptr.astype(np.int32), usage.idx.astype(np.int32), usage.weight
        ),
        basis=Ragged(basis.ptr, basis.idx.astype(np.int16), basis.weight),
    )

    assert clear(other).digest == clear(generate("mixed", 300, 20, seed=2)).digest


@pytest.mark.skipif(not BUILT, reason="not built: there is one way only")
def test_a_clearing_has_the_same_digest_without_compiled_loops():
    program = (
        "from flowtrade.clearing import clear;"
        "from flowtrade.clearing.generate import generate;"
        "from flowtrade.clearing.speedups import COMPILED;"
        "assert not COMPILED;"
        "print([clear(generate('mixed', orders, 60, seed=5)).digest"
        " for orders in (300, 3000)])"
    )

    told = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", program],
        env={**os.environ, "FLOWTRADE_PURE": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    markets = [generate("mixed", orders, 60, seed=5) for orders in (300, 3000)]
    assert told.stdout.strip() == str([clear(market).digest for market in markets])
