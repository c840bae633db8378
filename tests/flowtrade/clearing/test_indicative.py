"""Prices between auctions: near, cheap, and honest about how near."""

import math

import pytest

from flowtrade.clearing import InvalidMarket, clear
from flowtrade.clearing.generate import KINDS, generate
from flowtrade.clearing.indicative import indicate


def test_indicative_prices_are_near_the_auctions():
    market = generate("paper", 400, 10, seed=2)
    exact = clear(market).arrays.price

    found = indicate(market)

    assert list(found.prices.values()) == pytest.approx(exact, rel=2e-2)
    assert found.imbalance < 1e-2
    again = indicate(market, start=found.prices)
    assert again.evaluations < found.evaluations


def test_an_empty_book_has_indicative_prices_of_zero():
    market = generate("paper", 3, 2, seed=2).update(
        demands=dict.fromkeys(["d0", "d1", "d2"])
    )

    assert set(indicate(market).prices.values()) == {0.0}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_market_has_numbers_for_all_products(kind):
    market = generate(kind, 300, 8, seed=5)

    found = indicate(market)

    assert list(found.prices) == list(market.product_ids)
    assert all(map(math.isfinite, found.prices.values()))
    assert 0.0 <= found.imbalance < 1.0
    assert indicate(market).prices == found.prices


@pytest.mark.parametrize("kind", ["mixed", "thin", "substitutes"])
def test_more_evaluations_lead_nearer(kind):
    market = generate(kind, 300, 8, seed=5)

    few, many = indicate(market, evaluations=3), indicate(market, evaluations=400)

    assert few.evaluations < many.evaluations
    assert many.imbalance <= few.imbalance


def test_a_change_of_one_order_is_followed_from_the_last_prices():
    market = generate("paper", 400, 10, seed=2)
    before = indicate(market)
    changed = market.update(demands={"d000": None})

    after = indicate(changed, start=before.prices)

    assert after.evaluations < indicate(changed).evaluations
    assert list(after.prices.values()) == pytest.approx(
        clear(changed).arrays.price, rel=2e-2
    )


@pytest.mark.parametrize("price", [math.nan, math.inf, -math.inf])
def test_a_start_that_is_no_price_is_refused(price):
    market = generate("paper", 20, 2, seed=2)

    with pytest.raises(InvalidMarket, match="must be finite") as caught:
        indicate(market, start={market.product_ids[1]: price})

    assert caught.value.code == "start.price"
    assert caught.value.where == market.product_ids[1]
