import hashlib

import numpy as np
import pytest

from flowtrade.clearing import clear
from flowtrade.clearing.columns import check_curves
from flowtrade.clearing.generate import KINDS, MarketSpec, from_spec, generate


def fingerprint(market):
    columns = market.columns
    parts = (
        columns.curves.ptr,
        columns.curves.rate,
        columns.curves.price,
        columns.basis.idx,
        columns.basis.weight,
        columns.usage.idx,
    )
    return hashlib.sha256(b"".join(p.tobytes() for p in parts)).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_makes_one_valid_market_and_another_seed_another(kind):
    market = generate(kind, 200, 20, seed=3)

    check_curves(market.columns.curves)
    assert fingerprint(market) == fingerprint(generate(kind, 200, 20, seed=3))
    assert fingerprint(market) != fingerprint(generate(kind, 200, 20, seed=4))
    assert market.columns.portfolios == 200


def test_markets_trade_and_share_rows():
    market = generate("mixed", 2000, 40, seed=1)

    clearing = clear(market)

    assert clearing.gains > 0.0
    assert (clearing.arrays.volume > 0.0).mean() > 0.9
    assert clearing.report.rows < 1300
    assert clearing.report.shared > 20


@pytest.mark.parametrize("products", [1, 2, 3])
def test_tiny_sets_of_products_are_possible(products):
    assert clear(generate("mixed", 30, products, seed=1)).gains > 0.0


def test_scales_multiply_rates_and_prices():
    one = from_spec(MarketSpec(50, 5, seed=1))
    other = from_spec(MarketSpec(50, 5, seed=1, price_scale=2.0, rate_scale=4.0))

    assert np.array_equal(other.columns.curves.rate, one.columns.curves.rate * 4.0)
    assert clear(other).gains == pytest.approx(clear(one).gains * 8.0)


def test_an_unknown_kind_is_an_error():
    with pytest.raises(KeyError):
        generate("nonsense", 1, 1)
