"""Outside suites' way to the general quadratic program."""

import numpy as np
from scipy import sparse

from flowtrade.clearing.qp import Problem, solve_qp


def solve(
    P: sparse.csc_matrix,  # noqa: N803 - the contract's name
    q: np.ndarray,
    A: sparse.csc_matrix,  # noqa: N803 - the contract's name
    l: np.ndarray,  # noqa: E741 - the contract's name
    u: np.ndarray,
    limit: float,
) -> np.ndarray | None:
    """Minimise x'Px/2 + q'x over l <= Ax <= u; None if no optimum could be proven."""
    problem = Problem(
        sparse.csc_array(P),
        np.asarray(q, float),
        sparse.csc_array(A),
        np.asarray(l, float),
        np.asarray(u, float),
    )
    answer = solve_qp(problem, time_limit=limit)
    return None if answer is None else answer.x
