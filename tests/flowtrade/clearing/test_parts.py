"""Markets that fall apart: each part is cleared as if it were alone."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flowtrade.clearing import (
    ClearingStatus,
    Market,
    SolverMode,
    UnboundedMarket,
    Uncertified,
    ZeroReason,
    clear,
    policy,
    solve,
)
from flowtrade.clearing.policy import Candidate, Solver
from flowtrade.clearing.testing import Oddity, odd_auction
from flowtrade.models.curve import parse_curve

SEEDS = st.integers(0, 2**32)
SOLVABLE = st.sampled_from([*(o for o in Oddity if o is not Oddity.TANGLED)])


def named(auction, prefix):
    """The same auction under other names, so that it meets no other one."""

    def group(value):
        if isinstance(value, str):
            return {prefix + value: 1.0}
        return {prefix + key: weight for key, weight in value.items()}

    return {
        "demand_curves": {prefix + k: v for k, v in auction["demand_curves"].items()},
        "portfolios": {
            prefix + key: {name: group(terms[name]) for name in ("demand", "basis")}
            for key, terms in auction["portfolios"].items()
        },
    }


def united(auctions, seed):
    """Disjoint auctions as one, their orders mixed but each one's in its own order."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    whole = {}
    for key in ("demand_curves", "portfolios"):
        queues = [list(auction[key].items()) for auction in auctions]
        mixed = []
        while any(queues):
            mixed.append(chance.choice([queue for queue in queues if queue]).pop(0))
        whole[key] = dict(mixed)
    return whole


def cleared(auction):
    try:
        return clear(Market.from_auction(auction))
    except UnboundedMarket:
        assume(False)
        raise


def small(name, price, *, rate=1.0, spread=2.0):
    """A seller at a price and a sloped buyer of one product."""
    return {
        "demand_curves": {
            f"{name}s": {"min_rate": -9 * rate, "max_rate": 0, "price": price},
            f"{name}b": [
                {"rate": 0, "price": price + spread},
                {"rate": 4 * rate, "price": price - spread},
            ],
        },
        "portfolios": {
            f"{name}s": {"demand": f"{name}s", "basis": name},
            f"{name}b": {"demand": f"{name}b", "basis": name},
        },
    }


@given(st.lists(st.tuples(SEEDS, SOLVABLE), min_size=2, max_size=4), SEEDS)
@settings(max_examples=60)
def test_disjoint_auctions_clear_together_to_the_bits_they_clear_to_alone(kinds, seed):
    auctions = [
        named(odd_auction(one, oddity), f"{letter}:")
        for (one, oddity), letter in zip(kinds, "abcd", strict=False)
    ]
    markets = [Market.from_auction(auction) for auction in auctions]
    assume(sum(len(market.parts) for market in markets) <= 16)

    whole = cleared(united(auctions, seed))

    assert whole.status is ClearingStatus.CERTIFIED
    apart = [cleared(auction) for auction in auctions]
    for one in apart:
        for rows, found in (
            (one.portfolios, whole.portfolios),
            (one.products, whole.products),
            (one.demands, whole.demands),
        ):
            assert {name: found[name] for name in rows} == dict(rows)
    total = sum(one.gains for one in apart)
    # Gains are what is left of values that are far larger on steep books.
    rounding = 1e-12 * max(1.0, whole.certificate.value_scale)
    assert whole.gains == pytest.approx(total, rel=1e-12, abs=rounding)
    assert len(whole.report.parts) == sum(len(market.parts) for market in markets)


def test_each_part_has_its_own_scale_solver_and_proof():
    auction = united([small("A", 7.5), small("B", 7.5e9, rate=1e-6, spread=1e9)], 1)

    clearing = clear(Market.from_auction(auction))

    assert clearing.products["A"].price == 7.5
    assert clearing.products["B"].price == 7.5e9
    assert clearing.products["B"].rate == pytest.approx(2e-6, rel=1e-12)
    first, second = clearing.report.parts
    assert (first.products, first.portfolios, first.solver) == (1, 2, "active-set")
    assert first.gains + second.gains == pytest.approx(clearing.gains)
    assert max(first.worst, second.worst) <= 1e-15
    assert [a.solver for a in clearing.report.attempts] == ["active-set"] * 2


def test_a_connected_market_is_its_own_only_part():
    market = Market.from_auction(small("A", 7.5))

    assert market.is_whole
    assert [part.market for part in market.parts] == [market]
    assert clear(market).report.parts == ()


def test_demands_that_are_shared_hold_parts_together():
    auction = united([small("A", 7.5), small("B", 7.5)], 1)
    assert len(Market.from_auction(auction).parts) == 2
    auction["demand_curves"]["cap"] = {"min_rate": -3, "max_rate": 3, "price": 0}
    for name in ("Ab", "Bb"):
        auction["portfolios"][name]["demand"] = [name, "cap"]

    market = Market.from_auction(auction)

    assert market.is_whole
    assert clear(market).demands["cap"].rate == pytest.approx(3.0)


@pytest.mark.parametrize("tiny", [True, False])
def test_what_takes_no_part_is_left_out_and_told_why(monkeypatch, tiny):
    if not tiny:
        monkeypatch.setattr(solve, "clear_small", lambda *_, **__: None)
    auction = small("A", 7.5)
    # Nobody feeds the first: what comes after it keeps its own name.
    auction["demand_curves"] = {"spare": {"price": 1}, **auction["demand_curves"]}
    auction["demand_curves"]["idle"] = {"price": 1}
    auction["portfolios"] |= {
        "no-voice": {"demand": "nobody", "basis": {"A": 2, "Z": 1}},
        "no-goods": {"demand": "idle", "basis": {}},
        "nothing": {"demand": {}, "basis": {}},
    }
    market = Market.from_auction(auction)

    clearing = clear(market)

    assert not market.is_whole
    assert [part.market.portfolio_ids for part in market.parts] == [["As", "Ab"]]
    reasons = {name: row.reason for name, row in clearing.portfolios.items()}
    assert reasons == {
        "As": None,
        "Ab": None,
        "no-voice": ZeroReason.NO_DEMAND,
        "no-goods": ZeroReason.NO_PRODUCT,
        "nothing": ZeroReason.NO_DEMAND,
    }
    assert list(clearing.demands) == ["As", "Ab", "idle"]
    assert clearing.demands["Ab"].rate == -clearing.demands["As"].rate > 0.0
    assert clearing.products["Z"].price is None
    assert clearing.portfolios["no-voice"].price is None  # Z has no price
    assert clearing.demands["idle"].price is None
    assert clearing.demands["idle"].regret == 0.0
    alone = clear(Market.from_auction(small("A", 7.5)))
    assert dict(alone.products)["A"] == clearing.products["A"]


def test_of_many_parts_the_smallest_are_cleared_together():
    auctions = [small(f"p{k:02}", 5.0 + k) for k in range(40)]
    market = Market.from_auction(united(auctions, 3))

    clearing = clear(market)

    assert [len(part.members.products) for part in market.parts] == [1] * 15 + [25]
    assert clearing.status is ClearingStatus.CERTIFIED
    for k in range(40):
        assert clearing.products[f"p{k:02}"].price == pytest.approx(5.0 + k, rel=1e-12)


def test_the_order_of_parts_and_threads_changes_no_bit():
    auctions = [named(odd_auction(s, Oddity.CAPPED), f"{s}:") for s in (3, 4, 5)]
    shapes = [united(auctions, seed) for seed in range(4)]
    expected = clear(Market.from_auction(shapes[0]))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(cleared, shapes * 2))

    for clearing in found:
        assert dict(clearing.products) == dict(expected.products)
        rates = {name: row.rate for name, row in clearing.portfolios.items()}
        assert rates == {name: row.rate for name, row in expected.portfolios.items()}


def test_a_part_without_limit_is_named_and_stops_the_whole():
    endless = {
        "demand_curves": {"b": {"price": 8}, "s": {"price": 7}},
        "portfolios": {
            "b": {"demand": "b", "basis": "Z"},
            "s": {"demand": "s", "basis": "Z"},
        },
    }

    with pytest.raises(UnboundedMarket) as caught:
        clear(Market.from_auction(united([small("A", 7.5), endless], 1)))

    assert set(caught.value.orders) == {"b", "s"}


def test_a_lie_about_one_part_is_caught_in_it(monkeypatch):
    monkeypatch.setattr(solve, "clear_small", lambda *_, **__: None)
    real = policy.solvers_for

    def lie(form, deadline):
        honest = real(form, SolverMode.INTERIOR)[0].solve(form, deadline)
        return Candidate("liar", "Optimal", 1, honest.z * 1.01, honest.y)

    def solvers_for(form, mode):
        # Only the second part's price is this high.
        liars = (Solver("liar", lie),) if form.scales.price > 50 else ()
        return (*liars, *real(form, mode))

    monkeypatch.setattr(solve, "solvers_for", solvers_for)
    auction = united([small("A", 7.5), small("B", 75.0)], 1)

    clearing = clear(Market.from_auction(auction))

    assert [a.solver for a in clearing.report.attempts] == [
        "active-set",
        "liar",
        "active-set",
    ]
    assert clearing.products["B"].price == 75.0


def test_one_part_that_nobody_can_prove_spoils_the_whole(monkeypatch):
    monkeypatch.setattr(solve, "clear_small", lambda *_, **__: None)
    real = policy.solvers_for

    def solvers_for(form, mode):
        return real(form, mode) if form.scales.price < 50 else ()

    monkeypatch.setattr(solve, "solvers_for", solvers_for)
    auction = united([small("A", 7.5), small("B", 75.0)], 1)

    with pytest.raises(Uncertified):
        clear(Market.from_auction(auction))


def test_the_whole_is_proven_no_better_than_its_worst_part(monkeypatch):
    monkeypatch.setattr(solve, "clear_small", lambda *_, **__: None)
    real = policy.solvers_for

    def blur(form, deadline):
        honest = real(form, SolverMode.INTERIOR)[0].solve(form, deadline)
        # A price off by this little is proven to 1e-6, not to 1e-9.
        return Candidate("blurred", "", 1, honest.z * (1 + 1e-8), honest.y)

    def solvers_for(form, mode):
        if form.scales.price > 50:
            return real(form, mode)
        return (Solver("blurred", blur),)

    monkeypatch.setattr(solve, "solvers_for", solvers_for)
    auction = united([small("A", 7.5), small("B", 75.0, rate=1e9)], 1)

    clearing = clear(Market.from_auction(auction))

    assert clearing.report.parts[0].status is ClearingStatus.ACCEPTED
    assert clearing.certificate.worst <= 1e-9
    assert clearing.status is ClearingStatus.ACCEPTED


@given(SEEDS, SEEDS)
@settings(max_examples=20)
def test_an_update_of_one_part_gives_the_bits_of_a_market_built_afresh(seed, other):
    auctions = [named(odd_auction(s, Oddity.PLAIN), f"{s}:") for s in {seed, other}]
    auction = united([*auctions, small("A", 7.5)], 1)
    market = Market.from_auction(auction)
    structures = [part.market.structure for part in market.parts]
    curve = [{"rate": 0, "price": 9}, {"rate": 2, "price": 7}]
    auction["demand_curves"]["Ab"] = curve

    updated = market.update(demands={"Ab": parse_curve(curve)})

    afresh = cleared(auction)
    assert clear(updated).digest == afresh.digest
    kept = [part.market.structure for part in updated.parts]
    assert all(one is two for one, two in zip(kept, structures, strict=True))
    later = updated.update(demands={"Ab": parse_curve(curve)})
    assert "_parts_before" not in updated.__dict__  # no chain of old markets
    assert clear(later).digest == afresh.digest


def test_reference_prices_reach_the_part_they_are_about():
    auction = united([small("A", 7.5), small("B", 7.5)], 1)
    for name in ("Ab", "Bb"):
        auction["demand_curves"][name] = [
            {"rate": 0, "price": 5},
            {"rate": 4, "price": 3},
        ]

    clearing = clear(Market.from_auction(auction), reference={"B": 6.0})

    assert clearing.products["B"].price == 6.0
    assert clearing.products["A"].price == 6.25  # the middle of [5, 7.5]
    assert np.isfinite(clearing.certificate.worst)


@given(
    st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30),
    st.integers(0, 300),
)
def test_few_links_and_many_find_the_same_parts(links, repeated):
    # Every link is a spread; repeated ones change nothing but who does the counting.
    more = [*links, *links[:1] * repeated]
    auction = {
        "demand_curves": {},
        "portfolios": {
            f"x{i}": {"demand": "d", "basis": {f"p{a:02}": 1, f"p{b:02}": -2}}
            for i, (a, b) in enumerate(more)
        },
    }
    for i, terms in enumerate(auction["portfolios"].values()):
        auction["demand_curves"][f"d{i}"] = {"price": 1}
        terms["demand"] = f"d{i}"
    few = {**auction, "portfolios": dict(list(auction["portfolios"].items())[:30])}

    found = [
        {tuple(part.market.product_ids) for part in Market.from_auction(one).parts}
        for one in (auction, few)
    ]

    expected = [{f"p{a:02}", f"p{b:02}"} for a, b in links]
    merged = []
    for group in expected:
        touching = [other for other in merged if other & group]
        merged = [other for other in merged if not other & group]
        merged.append(group.union(*touching))
    assume(len(merged) <= 16)
    assert found == [{tuple(sorted(group)) for group in merged}] * 2
