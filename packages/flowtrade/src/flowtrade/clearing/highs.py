"""HiGHS as a market solver: reference core and fall-back.

HiGHS has two cores for quadratic programs. HiPO, its interior point, is the right one
here, on the price form with the normal equations; it comes with `highspy[extras]`.
Its active set (`qpasm`) is kept for small auctions only: it is exact when it ends, and
often does not end.

Facts that this module is built around (HiGHS 1.15.1): `passHessian` refuses values
beyond 1e15 but keeps the bad matrix, and a later `run` may then crash the process, so
every status is checked; tolerances are absolute, so the model is passed in natural
units; the active set adds `qp_regularization_value` to the matrix and never takes it
out again; for a minimisation prices are the negative row duals.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from time import monotonic
from typing import Any

import numpy as np
from scipy import sparse

from flowtrade.clearing.arrays import FloatArray, typical
from flowtrade.clearing.errors import ClearingError
from flowtrade.clearing.priceform import PriceForm

__all__ = [
    "Core",
    "HighsPoint",
    "SolverFailed",
    "checked",
    "has_hipo",
    "new_highs",
    "solve_highs",
    "solve_quadratic",
]

_STEEPEST = 1e12
"""Greatest curvature passed, in natural units: beyond, a piece is as good as
vertical, and HiGHS refuses values above 1e15."""

_REGULAR = 1e-12
"""qpasm's regularisation: its default 1e-7 biases the answer, 0 ends undecided."""


class SolverFailed(ClearingError):
    """A solver refused its input or broke off; the next one is asked."""


class Core(StrEnum):
    """HiGHS' cores for quadratic programs."""

    HIPO = "hipo"
    HIPO_AUGMENTED = "hipo-augmented"
    ACTIVE_SET = "qpasm"


@dataclass(frozen=True, slots=True, eq=False)
class HighsPoint:
    """An answer of HiGHS; its own status is a remark, not a verdict.

    Attributes:
        x: Values of the variables.
        dual: Row duals in HiGHS' sign.
        status: In HiGHS' words.
        iterations: Of whichever kind the core counts.
    """

    x: FloatArray
    dual: FloatArray
    status: str
    iterations: int


def new_highs() -> Any:  # noqa: ANN401 - highspy ships no types
    """A silent HiGHS on one thread."""
    import highspy

    highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]  # untyped
    checked(highs.setOptionValue("output_flag", False), "silence")
    checked(highs.setOptionValue("threads", 1), "set threads")
    checked(highs.setOptionValue("parallel", "off"), "set parallel")
    return highs


def checked(status: object, what: str) -> None:
    """Refuse any status of HiGHS that reports an error.

    Raises:
        SolverFailed: It does.
    """
    import highspy

    if status == highspy.HighsStatus.kError:
        raise SolverFailed(f"HiGHS refused to {what}")


def has_hipo() -> bool:
    """Whether HiPO is installed (`highspy[extras]`)."""
    import highspy

    status = new_highs().setOptionValue("solver", "hipo")
    return bool(status == highspy.HighsStatus.kOk)


def solve_highs(
    form: PriceForm, core: Core, *, deadline: float = np.inf
) -> tuple[FloatArray, FloatArray, HighsPoint]:
    """Solve a market's price form.

    Args:
        form: The market.
        core: Which core to use.
        deadline: Value of `time.monotonic` at which to stop.

    Returns:
        Prices, flows and HiGHS' own answer.

    Raises:
        SolverFailed: HiGHS refused the model or gave no finite point.
    """
    # Natural units: row prices are about 1, flows are shares of a typical turnover.
    price = form.row_price[form.row]
    finite = np.isfinite(form.width)
    turnover = typical((form.width * price)[finite])
    unit = (turnover or 1.0) / price
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        drop = (form.top - form.bottom) / price
        slope = np.where(drop > 0.0, drop / (form.width / unit), 0.0)
        share = np.where(drop > 0.0, -form.low / form.width, 0.0)
    slope = np.minimum(slope, _STEEPEST)
    cost = -(form.top - share * (form.top - form.bottom)) / price
    offset = np.zeros(form.columns) if form.offset is None else form.offset
    level = form.column_price
    offset = offset * level / (turnover or 1.0)
    scaled = sparse.diags_array(1.0 / form.row_price) @ form.map.csr
    matrix = (scaled @ sparse.diags_array(level)).T.tocsc()[:, form.row]
    point = solve_quadratic(
        hessian=sparse.diags_array(slope, format="csc"),
        cost=cost,
        matrix=matrix.tocsc(),
        row_lower=-offset,
        row_upper=-offset,
        lower=form.low / unit,
        upper=form.high / unit,
        core=core,
        deadline=deadline,
    )
    return -point.dual * level, point.x * unit, point


def solve_quadratic(
    *,
    hessian: sparse.csc_array,
    cost: FloatArray,
    matrix: sparse.csc_array,
    row_lower: FloatArray,
    row_upper: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    core: Core,
    deadline: float = np.inf,
    tolerance: float = 1e-10,
) -> HighsPoint:
    """Minimise x'Hx/2 + c'x over row and column bounds.

    Args:
        hessian: H, symmetric and positive semidefinite; the lower triangle is read.
        cost: c.
        matrix: Rows by columns.
        row_lower: Lower bounds of rows, maybe -inf.
        row_upper: Upper bounds of rows.
        lower: Lower bounds of columns.
        upper: Upper bounds of columns.
        core: Which core to use.
        deadline: Value of `time.monotonic` at which to stop.
        tolerance: Optimality asked of the interior point.

    Raises:
        SolverFailed: HiGHS refused the model or gave no finite point.
    """
    highs = new_highs()
    _choose(highs, core, tolerance)
    left = max(deadline - monotonic(), 0.0)
    if np.isfinite(left):
        checked(highs.setOptionValue("time_limit", left), "set a time limit")
    # HiPO of HiGHS 1.15.1 writes past its arrays where a row has no bound at all.
    kept = np.isfinite(row_lower) | np.isfinite(row_upper)
    rows = sparse.csc_array(matrix.tocsr()[kept])
    _pass_rows(highs, cost, rows, (row_lower[kept], row_upper[kept]), (lower, upper))
    _pass_hessian(highs, hessian)
    # Its status is no verdict: a point whose duals miss HiGHS' own tolerance by a hair
    # is an error to it, and good enough to be polished. No point at all is seen below.
    highs.run()
    point = _read_point(highs, rows.shape)
    dual = np.zeros(len(kept))
    dual[kept] = point.dual
    return replace(point, dual=dual)


def _pass_rows(
    highs: Any,  # noqa: ANN401 - untyped
    cost: FloatArray,
    matrix: sparse.csc_array,
    of_rows: tuple[FloatArray, FloatArray],
    of_columns: tuple[FloatArray, FloatArray],
) -> None:
    import highspy

    model = highspy.HighsLp()
    rows, columns = matrix.shape
    model.num_col_, model.num_row_ = columns, rows
    model.col_cost_ = cost
    model.col_lower_, model.col_upper_ = of_columns
    model.row_lower_, model.row_upper_ = of_rows
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.num_col_, model.a_matrix_.num_row_ = columns, rows
    model.a_matrix_.start_ = matrix.indptr.astype(np.int32)
    model.a_matrix_.index_ = matrix.indices.astype(np.int32)
    model.a_matrix_.value_ = matrix.data
    checked(highs.passModel(model), "pass the model")


def _read_point(highs: Any, shape: tuple[int, ...]) -> HighsPoint:  # noqa: ANN401 - untyped
    rows, columns = shape
    solution, info = highs.getSolution(), highs.getInfo()
    x, dual = np.array(solution.col_value), np.array(solution.row_dual)
    status = highs.modelStatusToString(highs.getModelStatus())
    if len(x) != columns or not (np.isfinite(x).all() and np.isfinite(dual).all()):
        raise SolverFailed(f"HiGHS gave no point: {status}")
    if len(dual) != rows:
        raise SolverFailed(f"HiGHS gave no prices: {status}")
    count = max(info.ipm_iteration_count, info.qp_iteration_count, 0)
    return HighsPoint(x, dual, status, int(count))


def _choose(highs: Any, core: Core, tolerance: float) -> None:  # noqa: ANN401 - untyped
    options: dict[str, object]
    if core is Core.ACTIVE_SET:
        options = {"solver": "qpasm", "qp_regularization_value": _REGULAR}
    else:
        system = "normaleq" if core is Core.HIPO else "augmented"
        options = {
            "solver": "hipo",
            "hipo_system": system,
            "ipm_optimality_tolerance": tolerance,
            "kkt_tolerance": 1e-9,
        }
    for name, value in options.items():
        checked(highs.setOptionValue(name, value), f"set {name} to {value}")


def _pass_hessian(highs: Any, hessian: sparse.csc_array) -> None:  # noqa: ANN401 - untyped
    import highspy

    lower = sparse.tril(hessian, format="csc")
    lower.eliminate_zeros()
    if lower.nnz == 0:
        return
    if float(np.abs(lower.data).max()) > 1e15:
        raise SolverFailed("a curvature beyond 1e15 cannot be passed to HiGHS")
    model = highspy.HighsHessian()
    model.dim_ = hessian.shape[0]
    model.format_ = highspy.HessianFormat.kTriangular
    model.start_ = lower.indptr.astype(np.int32)
    model.index_ = lower.indices.astype(np.int32)
    model.value_ = lower.data
    checked(highs.passHessian(model), "pass the Hessian")
