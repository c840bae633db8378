"""Why a quadratic program has no answer, with a witness that anybody can check.

`qp.solve_qp` answers with a proven optimum or with nothing. What stands behind nothing
is asked for here, since it costs two further programs: is there no point at all, or no
end of the gains, or is the program none? Either is told by a vector:

* infeasible: y with A'y = 0 although every row in its bounds would give y'(Ax) < 0;
* unbounded: d with Pd = 0 and q'd < 0 along which no bound is ever met;
* not convex: d with d'Pd < 0.

Both are minimal in norm, and are themselves the optima of programs that always have
one, so the same solver finds them. Nothing is believed that the vector does not prove.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from scipy import linalg, sparse

from flowtrade.clearing.arrays import FloatArray
from flowtrade.clearing.qp import (
    Problem,
    is_convex,
    solve_qp,
    symmetric,
    what_is_wrong,
)

__all__ = ["NoAnswer", "Refusal", "refusal_of"]

_PROOF = 1e-7
"""What a witness may leave of what it should make vanish, against what it shows."""

_DENSE = 1000
"""Variables up to which a direction of negative curvature is looked for."""


class NoAnswer(StrEnum):
    """Why a program has no proven optimum."""

    INVALID = "invalid"
    """Arrays do not fit, or hold what is no number."""
    NOT_CONVEX = "not_convex"
    """The objective falls ever faster in some direction."""
    INFEASIBLE = "infeasible"
    """No point is within all bounds."""
    UNBOUNDED = "unbounded"
    """The objective has no least value."""
    UNSOLVED = "unsolved"
    """None of these could be proven: nobody came near enough, or time was up."""


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """Why, and what proves it.

    Attributes:
        reason: Which of the ends.
        text: In words.
        witness: The vector that proves it: of rows if infeasible, else of variables.
    """

    reason: NoAnswer
    text: str
    witness: FloatArray | None = None


def refusal_of(problem: Problem, *, time_limit: float = 10.0) -> Refusal:
    """Find out why a program was not answered.

    Args:
        problem: A program that `solve_qp` answered with None.
        time_limit: Seconds for each of two further programs.
    """
    wrong = what_is_wrong(problem)
    if wrong:
        return Refusal(NoAnswer.INVALID, wrong)
    problem = replace(problem, hessian=symmetric(problem.hessian))
    if not is_convex(problem.hessian):
        return _not_convex(problem.hessian)
    rows = _no_point(problem, time_limit)
    if rows is not None:
        return Refusal(
            NoAnswer.INFEASIBLE,
            f"no point is within all bounds: rows {_named(rows)} exclude each other",
            rows,
        )
    ray = _no_end(problem, time_limit)
    if ray is not None:
        return Refusal(
            NoAnswer.UNBOUNDED,
            f"the objective falls for ever as variables {_named(ray)} grow",
            ray,
        )
    return Refusal(
        NoAnswer.UNSOLVED,
        "no optimum was proven, nor that there is none: scale the program, or allow "
        "more time",
    )


def _not_convex(hessian: sparse.csc_array) -> Refusal:
    text = "P is not positive semidefinite: the objective falls without end"
    witness = None
    if hessian.shape[0] <= _DENSE:
        _, vectors = linalg.eigh(hessian.toarray(), subset_by_index=[0, 0])
        witness = vectors[:, 0]
    return Refusal(NoAnswer.NOT_CONVEX, text, witness)


def _no_point(problem: Problem, time_limit: float) -> FloatArray | None:
    """The least shift of rows that makes room is a proof where it is not zero."""
    rows, count = problem.matrix.shape
    if np.isposinf(problem.lower).any() or np.isneginf(problem.upper).any():
        # A bound that no number meets: its row alone excludes every point.
        bad = np.isposinf(problem.lower) | np.isneginf(problem.upper)
        return np.where(bad, 1.0, 0.0)
    nothing = sparse.csc_array((count, count))
    crossed = np.maximum(problem.lower - problem.upper, 0.0)
    if crossed.any():
        return np.where(crossed == crossed.max(), 1.0, 0.0)
    answer = solve_qp(
        Problem(
            sparse.csc_array(sparse.block_diag([nothing, sparse.eye_array(rows)])),
            np.zeros(count + rows),
            sparse.csc_array(sparse.hstack([problem.matrix, sparse.eye_array(rows)])),
            problem.lower,
            problem.upper,
        ),
        time_limit=time_limit,
    )
    if answer is None:
        return None
    force = -answer.x[count:]
    size = float(np.abs(force).max(initial=0.0))
    if size == 0.0:
        return None
    force = np.where(np.abs(force) <= _PROOF * size, 0.0, force / size)
    most = np.where(force > 0.0, problem.upper, problem.lower)
    held = force != 0.0
    reach = float(force[held] @ most[held])
    weight = abs(problem.matrix.T) @ np.abs(force)
    left = np.abs(problem.matrix.T @ force)
    scale = float(np.abs(force[held]) @ np.abs(most[held]))
    proven = reach < -_PROOF * scale and (left <= _PROOF * weight).all()
    return force if proven else None


def _no_end(problem: Problem, time_limit: float) -> FloatArray | None:
    """The projection of -q onto the directions without curvature or end."""
    count = len(problem.cost)
    size = float(np.abs(problem.cost).max(initial=0.0))
    if size == 0.0:
        return None
    zero = np.zeros(count)
    answer = solve_qp(
        Problem(
            sparse.csc_array(sparse.eye_array(count)),
            problem.cost / size,
            sparse.csc_array(sparse.vstack([problem.hessian, problem.matrix])),
            np.concatenate([zero, np.where(np.isfinite(problem.lower), 0.0, -np.inf)]),
            np.concatenate([zero, np.where(np.isfinite(problem.upper), 0.0, np.inf)]),
        ),
        time_limit=time_limit,
    )
    if answer is None:
        return None
    length = float(np.abs(answer.x).max(initial=0.0))
    if length <= _PROOF:
        return None
    ray = answer.x / length
    ray[np.abs(ray) <= _PROOF] = 0.0
    along = problem.matrix @ ray
    slack = _PROOF * (abs(problem.matrix) @ np.abs(ray))
    curved = np.abs(problem.hessian @ ray)
    proven = (
        float(problem.cost @ ray) < -_PROOF * float(np.abs(problem.cost) @ np.abs(ray))
        and (
            along[np.isfinite(problem.lower)] >= -slack[np.isfinite(problem.lower)]
        ).all()
        and (
            along[np.isfinite(problem.upper)] <= slack[np.isfinite(problem.upper)]
        ).all()
        and (curved <= _PROOF * (abs(problem.hessian) @ np.abs(ray))).all()
    )
    return ray if proven else None


def _named(vector: FloatArray) -> str:
    """Numbers of the largest entries."""
    held = np.flatnonzero(vector)
    first = held[np.argsort(-np.abs(vector[held]), kind="stable")][:8]
    more = "" if len(held) <= len(first) else f" and {len(held) - len(first)} more"
    return ", ".join(str(i) for i in sorted(first.tolist())) + more
