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
from flowtrade.clearing import Market, _speedups, assembly, blocks, clear
from flowtrade.clearing.assembly import Assembler
from flowtrade.clearing.generate import generate
from flowtrade.clearing.speedups import BUILT
from flowtrade.clearing.testing import Oddity, odd_auction

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
