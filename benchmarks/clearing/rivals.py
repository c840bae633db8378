"""Outside solvers on the anchor's formulation, and HiGHS on both.

Each function takes a market and returns seconds (building included, as ours is) and
the largest relative measure of the certificate, so that accuracy stands beside time.
"""

import time
from collections.abc import Callable

import numpy as np
from scipy import sparse

from flowtrade.clearing.certificate import Terms, audit
from flowtrade.clearing.formulation import PlainProgram
from flowtrade.clearing.highs import Core, SolverFailed, solve_highs, solve_quadratic
from flowtrade.clearing.market import Market
from flowtrade.clearing.priceform import PriceForm
from flowtrade.clearing.recover import portfolio_rates

LIMIT = 60.0
"""Wall seconds that a rival gets for one market; its status tells when they are up."""

Rival = Callable[[Market], tuple[float, float, str]]


def judge(
    market: Market, x: np.ndarray, prices: np.ndarray, marginal: np.ndarray
) -> float:
    """The certificate's largest relative measure of an answer."""
    structure = market.structure
    terms = Terms(
        market.columns.products,
        market.segments,
        structure.usage,
        market.columns.basis,
    )
    return audit(terms, rates=x, prices=prices, marginal=marginal).certificate.worst


def _judge_plain(
    market: Market, program: PlainProgram, x: np.ndarray, dual: np.ndarray
) -> float:
    marginal = np.full(market.columns.demands, np.nan)
    marginal[program.demands] = -dual[program.products : program.matrix.shape[0]]
    return judge(market, x[: program.portfolios], dual[: program.products], marginal)


def clarabel_plain(market: Market) -> tuple[float, float, str]:
    """Clarabel, the anchor's default, on the anchor's formulation."""
    import clarabel

    start = time.process_time()
    program = PlainProgram.of(market)
    count = len(program.cost)
    low = np.flatnonzero(np.isfinite(program.lower) & (program.lower < program.upper))
    high = np.flatnonzero(np.isfinite(program.upper) & (program.lower < program.upper))
    dead = np.flatnonzero(program.lower == program.upper)
    eye = sparse.eye_array(count, format="csr")
    matrix = sparse.vstack(
        [program.matrix, eye[dead], eye[high], -eye[low]], format="csc"
    )
    rhs = np.concatenate(
        [
            np.zeros(program.matrix.shape[0]),
            program.upper[dead],
            program.upper[high],
            -program.lower[low],
        ]
    )
    zero = program.matrix.shape[0] + len(dead)
    cones = [clarabel.ZeroConeT(zero), clarabel.NonnegativeConeT(len(high) + len(low))]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.time_limit = LIMIT
    solver = clarabel.DefaultSolver(
        sparse.csc_matrix(sparse.diags_array(program.curvature, format="csc")),
        program.cost,
        sparse.csc_matrix(matrix),
        rhs,
        cones,
        settings,
    )
    solution = solver.solve()
    seconds = time.process_time() - start
    x, z = np.array(solution.x), np.array(solution.z)
    return seconds, _judge_plain(market, program, x, z), str(solution.status)


def osqp_plain(market: Market) -> tuple[float, float, str]:
    """OSQP as the anchor sets it: defaults and polishing."""
    import osqp

    start = time.process_time()
    program = PlainProgram.of(market)
    rows = program.matrix.shape[0]
    count = len(program.cost)
    matrix = sparse.vstack(
        [program.matrix, sparse.eye_array(count, format="csc")], format="csc"
    )
    solver = osqp.OSQP()
    solver.setup(
        sparse.csc_matrix(sparse.diags_array(program.curvature, format="csc")),
        program.cost,
        sparse.csc_matrix(matrix),
        np.concatenate([np.zeros(rows), program.lower]),
        np.concatenate([np.zeros(rows), program.upper]),
        verbose=False,
        polishing=True,
        time_limit=LIMIT,
    )
    result = solver.solve()
    seconds = time.process_time() - start
    worst = _judge_plain(market, program, result.x, result.y)
    return seconds, worst, str(result.info.status)


def _highs_plain(market: Market, core: Core) -> tuple[float, float, str]:
    start = time.process_time()
    program = PlainProgram.of(market)
    rows = program.matrix.shape[0]
    try:
        point = solve_quadratic(
            hessian=sparse.diags_array(program.curvature, format="csc"),
            cost=program.cost,
            matrix=program.matrix,
            row_lower=np.zeros(rows),
            row_upper=np.zeros(rows),
            lower=program.lower,
            upper=program.upper,
            core=core,
            deadline=time.monotonic() + LIMIT,
            tolerance=1e-8,
        )
    except SolverFailed as error:
        return time.process_time() - start, float("inf"), str(error)
    seconds = time.process_time() - start
    return seconds, _judge_plain(market, program, point.x, -point.dual), point.status


def hipo_plain(market: Market) -> tuple[float, float, str]:
    """HiGHS' interior point on the anchor's formulation."""
    return _highs_plain(market, Core.HIPO)


def qpasm_plain(market: Market) -> tuple[float, float, str]:
    """HiGHS' active set on the anchor's formulation."""
    return _highs_plain(market, Core.ACTIVE_SET)


def hipo_price_form(market: Market) -> tuple[float, float, str]:
    """HiGHS' interior point on our price form, without polish."""
    fresh = Market(
        market.demand_ids, market.portfolio_ids, market.product_ids, market.columns
    )
    start = time.process_time()
    form = PriceForm.of(fresh.structure, fresh.segments)
    try:
        z, y, point = solve_highs(form, Core.HIPO)
    except SolverFailed as error:
        return time.process_time() - start, float("inf"), str(error)
    rates = portfolio_rates(fresh.structure, form, y)
    seconds = time.process_time() - start
    products = fresh.columns.products
    worst = judge(fresh, rates, z[:products], fresh.structure.demand_prices(z))
    return seconds, worst, point.status


RIVALS: dict[str, Rival] = {
    "clarabel": clarabel_plain,
    "osqp": osqp_plain,
    "hipo": hipo_plain,
    "qpasm": qpasm_plain,
    "hipo-price-form": hipo_price_form,
}
