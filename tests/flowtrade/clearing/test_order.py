"""The order of the input decides nothing: statuses, rates and prices are the same."""

import itertools
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowtrade.clearing import Clearing, Market, UnboundedMarket, Uncertified, clear

SEEDS = st.integers(0, 2**32)

WEIGHTS = (1.0, 1.0, 0.5, 2.0, -1.0)

RELATIVE = 1e-9

NO_HOLDER_BUT_ONE = {
    "demand_curves": {
        "d0": {"price": 2.3961264926787393, "min_rate": 0, "max_rate": 400},
        "d1": [
            {"rate": 0.0, "price": 10.422650243392372},
            {"rate": 0.004397608570158631, "price": 0.7700055311465026},
        ],
    },
    "portfolios": {
        "f1": {"demand": "d1", "basis": {"p0": 1}},
        "f3": {"demand": {"d1": 0.5}, "basis": {"p2": 1}},
        "f4": {"demand": "d0", "basis": {"p4": 1}},
        "f6": {"demand": "d0", "basis": {"p2": 1}},
        "f7": {"demand": "d1", "basis": {"p4": 1}},
    },
}


def curve_of(chance):
    """A curve of a size from 0.001 to 1,000."""
    size = 10.0 ** chance.uniform(-3, 3)
    low, high = chance.choice([(-1.0, 0.0), (0.0, 1.0), (-1.0, 1.0)])
    kind = chance.random()
    if kind < 0.05:
        return None
    if kind < 0.45:
        price = chance.choice([chance.uniform(1, 12), float(chance.randint(1, 12))])
        return {"price": price, "min_rate": low * size, "max_rate": high * size}
    count = chance.randint(2, 4)
    rates = sorted(chance.uniform(low, high) * size for _ in range(count))
    prices = sorted((chance.uniform(0, 12) for _ in range(count)), reverse=True)
    rates[0], rates[-1] = min(rates[0], 0.0), max(rates[-1], 0.0)
    return [{"rate": r, "price": p} for r, p in zip(rates, prices, strict=True)]


def auction_of(chance):
    """A few demands that many portfolios share, on a few products."""
    curves = {f"d{i}": curve_of(chance) for i in range(chance.randint(1, 5))}
    products = [f"p{i}" for i in range(chance.randint(1, 5))]

    def row(names, odds):
        some = chance.sample(names, min(len(names), 1 + (chance.random() > odds)))
        return {name: chance.choice(WEIGHTS) for name in some}

    return {
        "demand_curves": curves,
        "portfolios": {
            f"f{i}": {"demand": row(list(curves), 0.8), "basis": row(products, 0.7)}
            for i in range(chance.randint(2, 9))
        },
    }


def shuffled(chance, table):
    names = list(table)
    chance.shuffle(names)
    return {name: table[name] for name in names}


def reordered(chance, auction):
    """The auction in another order, and the new names of its products.

    Products come in the order of their names, so they are renamed.
    """
    products = sorted({k for t in auction["portfolios"].values() for k in t["basis"]})
    names = dict(zip(products, chance.sample(products, len(products)), strict=True))
    portfolios = {
        name: {
            "demand": shuffled(chance, terms["demand"]),
            "basis": shuffled(chance, {names[k]: w for k, w in terms["basis"].items()}),
        }
        for name, terms in auction["portfolios"].items()
    }
    return {
        "demand_curves": shuffled(chance, auction["demand_curves"]),
        "portfolios": shuffled(chance, portfolios),
    }, names


def answered(auction):
    """The status of an auction, and its clearing where it has one."""
    try:
        clearing = clear(Market.from_auction(auction))
    except (UnboundedMarket, Uncertified) as error:
        return type(error).__name__, None
    return clearing.status.value, clearing


def assert_balanced(auction, clearing: Clearing):
    """Products clear to 1e-9 of their volume, however small it is."""
    for product in clearing.products:
        shares = [
            terms["basis"].get(product, 0.0) * clearing.portfolios[name].rate
            for name, terms in auction["portfolios"].items()
        ]
        assert abs(sum(shares)) <= RELATIVE * sum(map(abs, shares))


@given(SEEDS)
@example(141)  # a rate was one order's rounding, another's imbalance
@example(286)
@example(715)
@example(1687)  # an open rate of 1e-18 beside rates of 1
@settings(max_examples=150)
def test_every_order_of_the_input_is_answered_alike(seed):
    chance = random.Random(seed)  # noqa: S311 - no secret
    auction = auction_of(chance)
    status, clearing = answered(auction)
    for _ in range(3):
        other, names = reordered(chance, auction)
        its_status, its = answered(other)

        assert its_status == status
        if clearing is None or its is None:
            continue
        for name, row in clearing.portfolios.items():
            twin = its.portfolios[name]
            assert twin.rate == pytest.approx(row.rate, rel=RELATIVE, abs=0.0)
        level = max([abs(p.price or 0.0) for p in clearing.products.values()])
        for name, product in clearing.products.items():
            twin = its.products[names[name]]
            assert twin.unique == product.unique
            assert twin.price == pytest.approx(
                product.price, rel=RELATIVE, abs=1e-15 * level
            )


@given(SEEDS)
@example(286)  # rates of 1e-17 were all that was traded
@example(2093)
@settings(max_examples=150)
def test_products_balance_to_the_letter_where_hardly_anything_trades(seed):
    chance = random.Random(seed)  # noqa: S311 - no secret
    auction = auction_of(chance)
    _, clearing = answered(auction)

    if clearing is not None:
        assert_balanced(auction, clearing)


@pytest.mark.parametrize("limit", [400, 4_000])
def test_who_alone_holds_a_product_spoils_no_order_of_the_portfolios(limit):
    portfolios = NO_HOLDER_BUT_ONE["portfolios"]
    deep = {**NO_HOLDER_BUT_ONE["demand_curves"]["d0"], "max_rate": limit}
    curves = {**NO_HOLDER_BUT_ONE["demand_curves"], "d0": deep}

    seen = set()
    deepest = 0.0
    for order in itertools.permutations(portfolios):
        auction = {
            "demand_curves": curves,
            "portfolios": {name: portfolios[name] for name in order},
        }
        clearing = clear(Market.from_auction(auction))
        assert_balanced(auction, clearing)
        assert clearing.portfolios["f1"].rate == 0.0
        deepest = clearing.portfolios["f6"].rate
        seen.add(tuple(clearing.portfolios[name].rate for name in sorted(portfolios)))

    assert deepest == pytest.approx(2 * limit, rel=1e-3)
    assert len(seen) == 1  # to the bit


@pytest.mark.parametrize("unit", [1.0, 1e-15])
def test_a_tiny_trade_of_tiny_orders_is_a_trade(unit):
    auction = {
        "demand_curves": {
            "buyer": [{"rate": 0, "price": 10}, {"rate": unit, "price": 5}],
            "seller": {"min_rate": -unit, "max_rate": 0, "price": 7.5},
        },
        "portfolios": {
            "buyer": {"demand": "buyer", "basis": "A"},
            "seller": {"demand": "seller", "basis": "A"},
            "alone": {"demand": "buyer", "basis": "B"},
        },
    }

    clearing = clear(Market.from_auction(auction))

    assert clearing.portfolios["buyer"].rate == 0.5 * unit
    assert clearing.portfolios["seller"].rate == -0.5 * unit
    assert clearing.portfolios["alone"].rate == 0.0


def test_a_tiny_order_among_large_ones_has_its_rate():
    # 1e-18 is nothing in what the product trades, and all that the bidder wants.
    auction = {
        "demand_curves": {
            "buyer": [{"rate": 0, "price": 10}, {"rate": 1, "price": 5}],
            "seller": {"min_rate": -1, "max_rate": 0, "price": 7.5},
            "mite": {"min_rate": 0, "max_rate": 1e-18, "price": 9},
        },
        "portfolios": {
            name: {"demand": name, "basis": "A"} for name in ("buyer", "seller", "mite")
        },
    }

    clearing = clear(Market.from_auction(auction))

    assert clearing.portfolios["mite"].rate == 1e-18
    assert clearing.portfolios["buyer"].rate == 0.5
