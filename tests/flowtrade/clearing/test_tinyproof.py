"""The certificate in loops is the certificate in arrays."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrade.clearing import ClearingStatus, Market
from flowtrade.clearing.certificate import Terms, audit
from flowtrade.clearing.testing import Oddity, odd_auction
from flowtrade.clearing.tinyproof import TinyTerms


def pieces_of(segments):
    columns = (segments.low, segments.high, segments.top, segments.bottom)
    flat = list(zip(*(c.tolist() for c in columns), strict=True))
    ptr = segments.ptr.tolist()
    return [flat[a:b] for a, b in itertools.pairwise(ptr)]


def both(market):
    """The terms in arrays and in lists."""
    structure, basis = market.structure, market.columns.basis
    usage = structure.usage
    return (
        Terms(market.columns.products, market.segments, usage, basis),
        TinyTerms(
            market.columns.products,
            pieces_of(market.segments),
            [usage.take_row(j) for j in range(len(usage))],
            [basis.take_row(j) for j in range(len(basis))],
            sorted(set(usage.idx.tolist())),
        ),
    )


def answers(market, chance):
    """Points good and bad: everything at once that an answer can have wrong."""
    structure = market.structure
    count = market.columns.products
    z = np.array(
        [chance.choice([0.0, 10.0, 31.5]) for _ in range(structure.map.shape[1])]
    )
    scale = chance.choice([0.0, 1.0, 1e6])
    rates = [scale * chance.uniform(-3, 3) for _ in range(len(structure.live))]
    rates = np.where(structure.live, rates, 0.0)
    marginal = structure.demand_prices(z)
    if chance.random() < 0.3:
        marginal = marginal + chance.uniform(-1, 1)
    return rates, z[:count], marginal


@given(st.integers(0, 2**32), st.sampled_from(Oddity))
@settings(max_examples=150)
def test_every_measure_is_that_of_the_arrays(seed, oddity):
    market = Market.from_auction(odd_auction(seed, oddity))
    chance = random.Random(seed)  # noqa: S311 - no secret
    terms, tiny = both(market)
    rates, prices, marginal = answers(market, chance)

    theirs = audit(terms, rates=rates, prices=prices, marginal=marginal)
    ours = tiny.audit(
        rates=rates.tolist(), prices=prices.tolist(), marginal=marginal.tolist()
    )

    mine = sorted(tiny.used)
    assert np.array_equal(ours.net, theirs.net)
    assert np.array_equal(np.array(ours.regret)[mine], theirs.regret[mine])
    assert np.array_equal(np.array(ours.value)[mine], theirs.value[mine])
    assert np.array_equal(ours.volume, theirs.volume)
    one, other = ours.certificate, theirs.certificate
    assert one.status is other.status
    size = other.value_scale
    for name in one.__struct_fields__[1:]:
        assert getattr(one, name) == pytest.approx(
            getattr(other, name), rel=1e-12, abs=1e-14 * size
        )


@pytest.mark.parametrize("place", ["rates", "prices", "marginal"])
def test_what_is_no_number_is_never_proven(place):
    market = Market.from_auction(odd_auction(3, Oddity.PLAIN))
    _, tiny = both(market)
    answer = {
        "rates": [0.0] * market.columns.portfolios,
        "prices": [1.0] * market.columns.products,
        "marginal": [1.0] * market.columns.demands,
    }
    answer[place][0] = float("nan")

    certificate = tiny.audit(**answer).certificate

    assert certificate.status is ClearingStatus.REJECTED
