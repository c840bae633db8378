import numpy as np
import pytest
from scipy import sparse

from flowtrade.clearing import (
    ClearingStatus,
    Market,
    SolverMode,
    UnboundedMarket,
    clear,
)
from flowtrade.clearing.generate import generate
from flowtrade.clearing.highs import (
    Core,
    SolverFailed,
    checked,
    has_hipo,
    new_highs,
    solve_highs,
    solve_quadratic,
)
from flowtrade.clearing.lp import Direction, SmallProgram
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.testing import Oddity, odd_auction

highspy = pytest.importorskip("highspy")


def quadratic(core, *, curvature=2.0, lower=0.0):
    # min c/2 (x^2 + y^2) - 3x - y with x + y = 2: x = 1 + 1/c, y = 1 - 1/c.
    return solve_quadratic(
        hessian=sparse.csc_array(np.diag([curvature, curvature])),
        cost=np.array([-3.0, -1.0]),
        matrix=sparse.csc_array(np.array([[1.0, 1.0]])),
        row_lower=np.array([2.0]),
        row_upper=np.array([2.0]),
        lower=np.array([lower, lower]),
        upper=np.array([10.0, 10.0]),
        core=core,
    )


def test_hipo_is_installed():
    assert has_hipo()


@pytest.mark.parametrize("core", Core)
def test_every_core_solves_a_program_with_a_known_answer(core):
    point = quadratic(core)

    assert point.x == pytest.approx([1.5, 0.5], abs=1e-6)
    # Minimising, HiGHS' dual has the sign of c + Qx: 2 * 1.5 - 3 = 0.
    assert point.dual == pytest.approx([0.0], abs=1e-5)
    assert point.status == "Optimal"


@pytest.mark.parametrize("core", Core)
def test_rows_without_bounds_push_nobody(core):
    point = solve_quadratic(
        hessian=sparse.csc_array(np.eye(2)),
        cost=np.array([-1.0, -1.0]),
        matrix=sparse.csc_array([[3.0, 5.0], [1.0, 1.0], [1.0, -1.0]]),
        row_lower=np.array([-np.inf, 1.0, -np.inf]),
        row_upper=np.array([np.inf, 1.0, np.inf]),
        lower=np.full(2, -np.inf),
        upper=np.full(2, np.inf),
        core=core,
    )

    assert point.x == pytest.approx([0.5, 0.5], abs=1e-6)
    assert point.dual == pytest.approx([0.0, -0.5, 0.0], abs=1e-6)


@pytest.mark.parametrize("core", Core)
def test_an_infeasible_program_with_free_rows_leaves_the_process_alive(core):
    # HiPO wrote past its arrays here, and glibc ended the process.
    weight = np.array([3.0, -14.0, -8.0, -5.0, -6.0, 11.0, -9.0])
    rows = [
        [2, 0, 0, 0, -1, 2, -1],
        [0, 0, 0, -1, 0, 1, 0],
        [0, 2, -1, 1, 0, 0, -2],
        [1, 0, -2, 2, -1, 0, 1],
        *np.eye(7),
    ]
    inf = np.inf
    point = solve_quadratic(
        hessian=sparse.csc_array(np.outer(weight, weight) / 100),
        cost=np.array([-2.0, -5.0, 3.0, 3.0, 3.0, 4.0, 2.0]),
        matrix=sparse.csc_array(np.array(rows, float)),
        row_lower=np.array([-inf, -inf, 1, -1, -2, 0, -inf, 6, -inf, -inf, 0]),
        row_upper=np.array([inf, -3, inf, 2, inf, inf, 3, 8, 1, inf, 3]),
        lower=np.full(7, -inf),
        upper=np.full(7, inf),
        core=core,
    )

    assert point.dual.shape == (11,)
    assert point.dual[0] == point.dual[9] == 0.0


@pytest.mark.parametrize("core", Core)
def test_a_curvature_highs_would_refuse_never_reaches_it(core):
    with pytest.raises(SolverFailed, match="1e15"):
        quadratic(core, curvature=1e16)


def test_a_model_highs_refuses_is_an_error_not_a_crash():
    with pytest.raises(SolverFailed):
        quadratic(Core.HIPO, lower=np.nan)


def test_an_option_that_does_not_exist_is_an_error():
    status = new_highs().setOptionValue("no_such_option", 1)

    with pytest.raises(SolverFailed, match="set no_such_option"):
        checked(status, "set no_such_option")


@pytest.mark.parametrize("core", [Core.HIPO, Core.HIPO_AUGMENTED])
def test_the_price_form_gives_prices_as_negative_row_duals(core):
    market = generate("mixed", 60, 6, seed=2)
    form = PriceForm.of(market.structure, market.segments)

    z, y, _ = solve_highs(form, core)

    prices = clear(market).arrays.price
    assert z[:6] == pytest.approx(prices, rel=1e-4)
    assert form.merit(z, y) < 1e-5


@pytest.mark.parametrize("kind", ["mixed", "paper", "ticks", "unlimited"])
def test_highs_alone_is_polished_to_a_certified_answer(kind):
    market = generate(kind, 80, 8, seed=5)

    clearing = clear(market, mode=SolverMode.HIGHS)

    assert clearing.report.solver.startswith("highs")
    assert clearing.certificate.worst < 1e-9
    assert clearing.gains == pytest.approx(clear(market).gains, rel=1e-9)


@pytest.mark.parametrize("part", range(10))
def test_steep_books_are_certified_by_highs_alone(part):
    for seed in range(100 * part, 100 * part + 100):
        market = Market.from_auction(odd_auction(seed, Oddity.BOOKS))

        certificate = clear(market, mode=SolverMode.HIGHS).certificate

        assert certificate.status is ClearingStatus.CERTIFIED, seed
        assert certificate.worst <= 1e-10, seed


def test_a_point_that_highs_takes_for_an_error_is_judged_like_any_other():
    # A book and a product of one level: HiPO's duals miss HiGHS' own 1e-9 by a hair.
    market = Market.from_auction(odd_auction(798, Oddity.BOOKS))

    clearing = clear(market, mode=SolverMode.HIGHS)

    assert "Solve error" in [a.outcome for a in clearing.report.attempts]
    assert clearing.certificate.worst <= 1e-10


def test_an_unbounded_market_is_named_as_such_by_highs_mode_too():
    market = Market.from_auction(
        {
            "demand_curves": {"b": {"price": 8}, "s": {"price": 7}},
            "portfolios": {
                "b": {"demand": "b", "basis": "A"},
                "s": {"demand": "s", "basis": "A"},
            },
        }
    )

    with pytest.raises(UnboundedMarket) as caught:
        clear(market, mode=SolverMode.HIGHS)

    assert set(caught.value.orders) == {"b", "s"}
    assert caught.value.ray == {"b": pytest.approx(1.0), "s": pytest.approx(-1.0)}
    assert caught.value.gains == pytest.approx(1.0)


def test_ranges_of_a_linear_set_are_its_extremes_or_infinite():
    # 0 <= a + b <= 2 and -1 <= a - b <= 1; c only bounded from below.
    matrix = sparse.csc_array(
        np.array([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0, 0, 1.0]])
    )
    program = SmallProgram(
        matrix, np.array([0.0, -1.0, -4.0]), np.array([2.0, 1.0, np.inf])
    )

    found = [
        (program.extreme(i, Direction.LOWEST), program.extreme(i, Direction.HIGHEST))
        for i in range(3)
    ]

    assert found == [
        (pytest.approx(-0.5), pytest.approx(1.5)),
        (pytest.approx(-0.5), pytest.approx(1.5)),
        (pytest.approx(-4.0), np.inf),
    ]
