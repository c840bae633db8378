"""The choice among equally good rates: unlimited demands, ties beside deep books."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse

from flowtrade.clearing import Market, UnboundedMarket, auxiliary, clear, solve
from flowtrade.clearing.formulation import PlainProgram
from flowtrade.clearing.testing import Oddity, odd_auction


def test_a_shared_demand_without_limits_is_chosen_without_a_warning():
    # Warnings are errors here: -inf + inf was one, though nothing came of it.
    market = Market.from_auction(
        {
            "demand_curves": {"d": {"price": 4}},
            "portfolios": {
                "p": {"demand": "d", "basis": {"A": -1, "B": 0.5}},
                "q": {"demand": "d", "basis": {"B": -2}},
            },
        }
    )

    clearing = clear(market)

    assert [row.rate for row in clearing.portfolios.values()] == [0, 0]
    assert [row.price for row in clearing.products.values()] == [-5, -2]


def ties_beside_a_deep_book():
    """Three equal bids for A and B together; A trades a billion otherwise."""
    random = np.random.default_rng(3)
    demands, portfolios = {}, {}
    for i in range(40):
        size = float(random.uniform(1e8, 3e8)) * (1 if i % 2 else -1)
        level = float(random.uniform(9.0, 11.0))
        demands[f"deep{i}"] = [
            {"rate": min(size, 0.0), "price": level + 3.0},
            {"rate": max(size, 0.0), "price": level - 3.0},
        ]
        portfolios[f"deep{i}"] = {"demand": f"deep{i}", "basis": "A"}
    for i in range(3):
        demands[f"tied{i}"] = {"min_rate": 0.0, "max_rate": 0.7, "price": 30.0}
        portfolios[f"tied{i}"] = {"demand": f"tied{i}", "basis": {"A": 1.0, "B": 1.0}}
    demands["seller"] = [{"rate": -1.3, "price": 25.0}, {"rate": 0.0, "price": 15.0}]
    portfolios["seller"] = {"demand": "seller", "basis": "B"}
    return Market.from_auction({"demand_curves": demands, "portfolios": portfolios})


def test_ties_are_not_asked_to_balance_the_rounding_of_all_other_volume():
    market = ties_beside_a_deep_book()
    with (
        mock.patch.object(auxiliary, "is_tiny", return_value=False),
        mock.patch.object(auxiliary, "_highs") as highs,
    ):
        clearing = clear(market, mode="interior")

    assert clearing.report.free_rates == 3
    assert clearing.report.rates == "chosen"
    assert not highs.called  # the first solver's answer was good enough
    assert clearing.certificate.worst <= 1e-14
    rates = [clearing.portfolios[f"tied{i}"].rate for i in range(3)]
    assert rates == pytest.approx([rates[0]] * 3, rel=1e-12)
    assert rates[0] == pytest.approx(0.2132833, rel=1e-6)


def converters():
    """Three portfolios that convert two demands into each other without an end."""

    def line(*points):
        return [{"rate": rate, "price": price} for rate, price in points]

    return Market.from_auction(
        {
            "demand_curves": {
                "a": line((-9, 5), (-3, 2), (0, 0)),
                "b": line((-5, -2), (0, -3)),
                "d": line((-12, -1), (3, -1)),
            },
            "portfolios": {
                "v": {"demand": "a", "basis": "p"},
                "w": {"demand": {"a": 2, "b": -1}, "basis": {"p": -1}},
                "x": {"demand": {"b": 0.5}, "basis": "p"},
                "y": {"demand": {"b": -1}, "basis": "p"},
                "z": {"demand": {"d": 3}, "basis": "p"},
            },
        }
    )


def test_ties_beside_a_deep_book_are_settled_in_one_pass():
    market = ties_beside_a_deep_book()

    clearing = solve.clear_small(market, np.full(2, np.nan))

    assert clearing is not None
    assert clearing.certificate.worst <= 1e-14
    rates = [clearing.portfolios[f"tied{i}"].rate for i in range(3)]
    assert rates == pytest.approx([0.2132833] * 3, rel=1e-6)
    assert clearing.portfolios["seller"].rate == pytest.approx(-sum(rates), rel=1e-15)


@pytest.mark.parametrize("whole", [False, True])
def test_the_least_rates_may_be_small(whole):
    curves = {f"s{i}": {"min_rate": -1, "max_rate": 0, "price": 7} for i in range(3)}
    curves["b"] = {"min_rate": 0, "max_rate": 3e-9, "price": 9}
    portfolios = {name: {"demand": name, "basis": "A"} for name in curves}
    market = Market.from_auction({"demand_curves": curves, "portfolios": portfolios})
    with mock.patch.object(solve, "clear_small", wraps=solve.clear_small) as small:
        if whole:
            small.side_effect = lambda *_, **__: None
        clearing = clear(market)

    assert clearing.report.rates == "chosen"
    assert clearing.arrays.rate == pytest.approx([-1e-9] * 3 + [3e-9], rel=1e-12)


@pytest.mark.parametrize("whole", [False, True])
def test_rates_that_turn_over_millions_before_the_choice_balance_after_it(whole):
    # The optimum found first circulates 3e6 for a trade of 4: its sum is rounded.
    with mock.patch.object(solve, "clear_small", wraps=solve.clear_small) as small:
        if whole:
            small.side_effect = lambda *_, **__: None
        clearing = clear(converters())

    assert clearing.report.rates == "chosen"
    expected = [-2 / 55, 1 / 55, -34 / 55, 257 / 55, -4]
    rates = [clearing.portfolios[name].rate for name in "vwxyz"]
    assert rates == pytest.approx(expected, rel=1e-15)
    assert clearing.certificate.imbalance <= 1e-15
    if not whole:  # nobody else had to be asked
        assert solve.clear_small(converters(), np.full(1, np.nan)) is not None


def least_by_clarabel(clarabel, market, clearing):
    """The least rates on the optimal face, which any optimal prices tell."""
    program = PlainProgram.of(market)
    first = program.portfolios
    marginal = np.zeros(market.columns.demands)
    marginal[clearing.arrays.used] = np.nan_to_num(clearing.arrays.marginal)
    slope, lower, upper = program.curvature, program.lower.copy(), program.upper.copy()
    away = -program.cost[first:] - marginal[program.pieces]
    flat = slope[first:] == 0.0
    wanted = np.where(away > 0.0, upper[first:], lower[first:])
    sloped = np.divide(away, slope[first:], out=np.zeros(len(away)), where=~flat)
    wanted = np.where(flat, wanted, np.clip(sloped, lower[first:], upper[first:]))
    settled = ~flat | (np.abs(away) > 1e-9 * (1.0 + np.abs(marginal[program.pieces])))
    lower[first:][settled] = upper[first:][settled] = wanted[settled]

    fixed = lower == upper
    low, high = np.isfinite(lower) & ~fixed, np.isfinite(upper) & ~fixed
    eye = sparse.eye_array(len(slope), format="csr")
    matrix = sparse.vstack([program.matrix, eye[fixed], eye[high], -eye[low]])
    rhs = [np.zeros(program.matrix.shape[0]), lower[fixed], upper[high], -lower[low]]
    equal, bounds = len(rhs[0]) + len(rhs[1]), len(rhs[2]) + len(rhs[3])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-10
    square = np.concatenate([np.ones(first), np.zeros(len(slope) - first)])
    solution = clarabel.DefaultSolver(
        sparse.csc_matrix(sparse.diags_array(square, format="csc")),
        np.zeros(len(slope)),
        sparse.csc_matrix(matrix),
        np.concatenate(rhs),
        [clarabel.ZeroConeT(equal), clarabel.NonnegativeConeT(bounds)],
        settings,
    ).solve()
    rates = np.array(solution.x[:first])
    return rates if str(solution.status) == "Solved" else None


@given(
    st.integers(0, 2**32),
    st.sampled_from([Oddity.PLAIN, Oddity.CAPPED, Oddity.SUBSTITUTES]),
    st.booleans(),
)
@settings(max_examples=60)
def test_chosen_rates_are_the_least_that_another_solver_finds(seed, oddity, whole):
    clarabel = pytest.importorskip("clarabel")
    market = Market.from_auction(odd_auction(seed, oddity))
    with mock.patch.object(solve, "clear_small", wraps=solve.clear_small) as small:
        if whole:
            small.side_effect = lambda *_, **__: None
        try:
            clearing = clear(market)
        except UnboundedMarket:
            assume(False)

    expected = least_by_clarabel(clarabel, market, clearing)

    assume(expected is not None)
    # The certificate says that they are as good; then the least norm says which.
    rates = clearing.arrays.rate
    assert rates @ rates == pytest.approx(expected @ expected, rel=1e-6, abs=1e-6)
