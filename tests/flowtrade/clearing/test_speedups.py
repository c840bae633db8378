"""Compiled loops, their source interpreted, and NumPy give the same bits."""

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
from flowtrade.clearing import Market, _speedups, assembly, blocks, certificate, clear
from flowtrade.clearing.assembly import Assembler
from flowtrade.clearing.certificate import Terms, audit
from flowtrade.clearing.generate import generate
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


@pytest.mark.skipif(not BUILT, reason="not built: there is one way only")
def test_a_clearing_has_the_same_digest_without_compiled_loops():
    program = (
        "from flowtrade.clearing import clear;"
        "from flowtrade.clearing.generate import generate;"
        "from flowtrade.clearing.speedups import COMPILED;"
        "assert not COMPILED;"
        "print(clear(generate('mixed', 2000, 60, seed=5)).digest)"
    )

    told = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", program],
        env={**os.environ, "FLOWTRADE_PURE": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.strip() == clear(generate("mixed", 2000, 60, seed=5)).digest
