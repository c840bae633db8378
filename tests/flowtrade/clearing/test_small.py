"""One pass in lists: the same answer as through arrays, or none."""

import random
from dataclasses import replace
from time import monotonic

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flowtrade.clearing import (
    ClearingStatus,
    Market,
    Uncertified,
    clear,
    policy,
    small,
    solve,
)
from flowtrade.clearing.active import solve_tiny
from flowtrade.clearing.generate import KINDS, generate
from flowtrade.clearing.policy import Candidate, Solver
from flowtrade.clearing.segments import disaggregate
from flowtrade.clearing.small import clear_small
from flowtrade.clearing.testing import Oddity, odd_auction
from flowtrade.clearing.tinyrows import pieces_of
from flowtrade.models.clearing import SolverMode

SEEDS = st.integers(0, 2**32)


def none_wanted(market):
    return np.full(len(market.product_ids), np.nan)


def through_arrays(market, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(solve, "clear_small", lambda *_, **__: None)
        return clear(market)


def assert_equal(ours, theirs, scale):
    """The same answer; bits may differ where arrays round on the way."""
    one, other = ours.arrays, theirs.arrays
    for name in ("used", "ranged"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    size = np.abs(other.rate).max(initial=1.0)
    assert one.reason.tolist() == other.reason.tolist()
    for name in ("price", "price_min", "price_max", "marginal", "portfolio_price"):
        assert getattr(one, name) == pytest.approx(
            getattr(other, name), rel=1e-8, abs=1e-8 * scale, nan_ok=True
        ), name
    for name in ("rate", "volume", "net"):
        assert getattr(one, name) == pytest.approx(
            getattr(other, name), rel=1e-7, abs=1e-7 * size
        ), name
    value = ours.certificate.value_scale
    for name in ("surplus", "regret"):
        assert getattr(one, name) == pytest.approx(
            getattr(other, name), abs=1e-8 * value
        ), name
    assert one.box_dual == pytest.approx(other.box_dual, abs=1e-8 * scale)
    assert list(ours.demands) == list(theirs.demands)


@given(SEEDS, st.sampled_from([o for o in Oddity if o is not Oddity.TANGLED]))
@settings(max_examples=120)
def test_the_answer_in_lists_is_the_one_through_arrays(seed, oddity):
    market = Market.from_auction(odd_auction(seed, oddity))
    ours = clear_small(market, none_wanted(market))
    assume(ours is not None)

    with pytest.MonkeyPatch.context() as patch:
        theirs = through_arrays(market, patch)

    assume(theirs.report.solver == "active-set")
    assert_equal(ours, theirs, 100.0)
    assert ours.gains == pytest.approx(theirs.gains, rel=1e-9, abs=1e-9)
    assert (ours.report.segments, ours.report.rows) == (
        theirs.report.segments,
        theirs.report.rows,
    )
    assert ours.report.shared == theirs.report.shared
    assert ours.report.pseudo == theirs.report.pseudo
    assert ours.report.warnings == theirs.report.warnings
    assert [p.portfolios for p in ours.report.parts] == [
        p.portfolios for p in theirs.report.parts
    ]


@pytest.mark.parametrize(
    "market",
    [
        Market.from_auction(odd_auction(207, Oddity.SUBSTITUTES)),
        generate("ticks", 12, 3, seed=46),
    ],
    ids=["substitutes", "ticks"],
)
def test_a_least_rate_of_rounding_is_zero_with_its_reason(market, monkeypatch):
    ours = clear(market)

    theirs = through_arrays(market, monkeypatch)

    assert ours.report.free_rates > 0
    for one in (ours, theirs):
        zero = one.arrays.rate == 0.0
        assert (zero == (np.abs(one.arrays.rate) <= 1e-12)).all()
        assert (zero == (one.arrays.reason > 0)).all()
    assert ours.arrays.reason.tolist() == theirs.arrays.reason.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("products", [2, 3, 5])
def test_ten_orders_of_every_kind_are_cleared_in_one_pass(kind, products):
    for seed in range(12):
        market = generate(kind, 10, products, seed=seed)

        clearing = clear_small(market, none_wanted(market))

        assert clearing is not None, seed
        assert clearing.certificate.worst <= 1e-11


@given(SEEDS, st.sampled_from(sorted(KINDS)), st.integers(2, 5))
@settings(max_examples=40)
def test_a_reference_moves_prices_alike(seed, kind, products):
    chance = random.Random(seed)  # noqa: S311 - no secret
    market = generate(kind, 8, products, seed=seed)
    wanted = np.array([chance.uniform(20, 80) for _ in range(products)])
    wanted[0] = np.nan
    ours = clear_small(market, wanted)
    assume(ours is not None)
    reference = dict(zip(market.product_ids, wanted.tolist(), strict=True))
    del reference[market.product_ids[0]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "clear_small", lambda *_, **__: None)
        theirs = clear(market, reference=reference)

    assert ours.arrays.price == pytest.approx(
        theirs.arrays.price, rel=1e-8, abs=1e-6, nan_ok=True
    )


@given(SEEDS, st.sampled_from(Oddity))
@settings(max_examples=60)
def test_pieces_in_lists_are_those_of_arrays_to_the_bit(seed, oddity):
    curves = Market.from_auction(odd_auction(seed, oddity)).columns.curves

    segments = disaggregate(curves)

    lists = pieces_of(curves)
    assert [len(pieces) for pieces in lists] == np.diff(segments.ptr).tolist()
    flat = [piece for pieces in lists for piece in pieces]
    columns = zip(*flat, strict=True) if flat else [()] * 4
    names = ("low", "high", "top", "bottom")
    for name, column in zip(names, columns, strict=True):
        assert list(column) == getattr(segments, name).tolist()


def test_phases_take_no_longer_than_the_whole():
    market = generate("mixed", 10, 3, seed=4)
    start = monotonic()

    clearing = clear_small(market, none_wanted(market))

    spent = clearing.report.seconds
    assert set(spent) == {"build", "solve", "canonical", "publish"}
    assert min(spent.values()) >= 0.0
    assert sum(spent.values()) <= monotonic() - start


def lying(form, *, deadline):
    point = solve_tiny(form, deadline=deadline)
    return point and replace(point, z=[1.01 * z for z in point.z])


def test_a_lie_is_caught_and_the_next_is_asked(monkeypatch):
    market = generate("paper", 10, 3, seed=1)
    honest = clear(market)
    monkeypatch.setattr(small, "solve_tiny", lying)

    assert clear_small(market, none_wanted(market)) is None
    clearing = clear(market)

    assert clearing.status is ClearingStatus.CERTIFIED
    assert clearing.arrays.price == pytest.approx(honest.arrays.price, rel=1e-9)


def test_a_lie_about_the_support_is_caught(monkeypatch):
    market = generate("thin", 10, 3, seed=4)
    real = small.support_tiny

    def shifted(form, z, y, reference):
        found = real(form, z, y, reference)
        found.z[0] += 1e-3 * found.z[0]
        return found

    monkeypatch.setattr(small, "support_tiny", shifted)

    assert clear_small(market, none_wanted(market)) is None


@pytest.mark.parametrize("place", ["solve_tiny", "support_tiny"])
def test_no_answer_at_any_stage_is_none_at_all(place, monkeypatch):
    market = generate("thin", 10, 3, seed=4)
    monkeypatch.setattr(small, place, lambda *_, **__: None)

    assert clear_small(market, none_wanted(market)) is None
    assert clear(market).status is ClearingStatus.CERTIFIED


@pytest.mark.parametrize("error", [OverflowError, ZeroDivisionError, ValueError])
def test_numbers_beyond_floats_are_left_to_others(error, monkeypatch):
    market = generate("thin", 10, 3, seed=4)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(small, "solve_tiny", fail)

    assert clear_small(market, none_wanted(market)) is None


def test_large_markets_and_empty_ones_are_left_to_others():
    large = generate("mixed", 100, 3, seed=1)
    empty = Market.from_auction({"demand_curves": {}, "portfolios": {}})

    assert clear_small(large, none_wanted(large)) is None
    assert clear_small(empty, none_wanted(empty)) is None


def test_a_late_caller_gets_none():
    market = generate("mixed", 10, 3, seed=1)

    assert clear_small(market, none_wanted(market), deadline=0.0) is None


@pytest.mark.parametrize("mode", [SolverMode.INTERIOR, SolverMode.HIGHS])
def test_who_is_asked_by_name_is_not_overtaken(mode, monkeypatch):
    def never(*_, **__):
        raise AssertionError

    monkeypatch.setattr(solve, "clear_small", never)

    clear(generate("paper", 10, 2, seed=1), mode=mode)


def test_with_nobody_honest_there_is_no_answer(monkeypatch):
    def lie(form, deadline):
        honest = policy.solvers_for(form, SolverMode.INTERIOR)[0].solve(form, deadline)
        return Candidate("liar", "Optimal", 1, honest.z * 1.01, honest.y)

    monkeypatch.setattr(small, "solve_tiny", lying)
    monkeypatch.setattr(solve, "solvers_for", lambda *_: (Solver("liar", lie),))

    with pytest.raises(Uncertified, match="liar"):
        clear(generate("paper", 10, 3, seed=1))
