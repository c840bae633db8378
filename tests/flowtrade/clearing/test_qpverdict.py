"""What is said of programs without an answer is proven by its witness."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from flowtrade.clearing import qpverdict
from flowtrade.clearing.qp import Problem, solve_qp
from flowtrade.clearing.qpverdict import NoAnswer, refusal_of

INF = np.inf


def problem(hessian, cost, matrix, lower, upper):
    return Problem(
        sparse.csc_array(np.atleast_2d(np.array(hessian, float))),
        np.array(cost, float),
        sparse.csc_array(np.atleast_2d(np.array(matrix, float))),
        np.array(lower, float),
        np.array(upper, float),
    )


@pytest.mark.parametrize("place", ["hessian", "cost", "matrix", "lower", "upper"])
@pytest.mark.parametrize("value", [np.nan, INF])
def test_what_is_no_number_is_no_program(place, value):
    arrays = {
        "hessian": np.eye(2),
        "cost": np.ones(2),
        "matrix": np.eye(2),
        "lower": np.zeros(2),
        "upper": np.ones(2),
    }
    arrays[place][(1, 1) if arrays[place].ndim == 2 else 1] = value
    task = problem(**arrays)
    if place in {"lower", "upper"} and value == INF:
        assert (solve_qp(task) is None) == (place == "lower")
        return

    assert solve_qp(task) is None
    refusal = refusal_of(task)

    assert refusal.reason is NoAnswer.INVALID
    assert place in refusal.text


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("hessian", problem(np.eye(3), [1, 1], np.eye(2), [0, 0], [1, 1])),
        ("matrix", problem(np.eye(2), [1, 1], np.eye(3), [0, 0], [1, 1])),
        ("upper", problem(np.eye(2), [1, 1], np.eye(2), [0, 0], [1])),
    ],
)
def test_arrays_that_do_not_fit_are_named(name, task):
    assert solve_qp(task) is None

    refusal = refusal_of(task)

    assert refusal.reason is NoAnswer.INVALID
    assert refusal.text.startswith(name)


def test_a_one_sided_hessian_means_its_symmetric_half():
    upper = problem([[2, 2], [0, 4]], [-3, -5], np.eye(2), [-9, -9], [9, 9])
    both = problem([[2, 1], [1, 4]], [-3, -5], np.eye(2), [-9, -9], [9, 9])

    assert solve_qp(upper).x == pytest.approx(solve_qp(both).x, abs=1e-12)


def test_negative_curvature_is_shown():
    task = problem([[1, 4], [0, 1]], [1, 1], np.eye(2), [0, 0], [1, 1])

    assert solve_qp(task) is None
    refusal = refusal_of(task)

    assert refusal.reason is NoAnswer.NOT_CONVEX
    assert refusal.witness @ (task.hessian @ refusal.witness) < 0.0


@pytest.mark.parametrize(
    "task",
    [
        problem(np.eye(2), [1, 1], [[1, 1], [1, 1]], [0, 3], [1, 4]),
        problem(np.eye(2), [1, 1], [[1, 1], [1, 0], [0, 1]], [5, -1, -1], [9, 2, 2]),
        problem(np.zeros((2, 2)), [1, 1], np.eye(2), [2, 0], [1, 1]),
        problem(np.eye(1), [1], [[1]], [INF], [INF]),
    ],
)
def test_rows_that_exclude_each_other_are_named(task):
    assert solve_qp(task) is None

    refusal = refusal_of(task)

    assert refusal.reason is NoAnswer.INFEASIBLE
    assert np.abs(refusal.witness).max() == 1.0
    assert "exclude each other" in refusal.text


@given(st.integers(0, 2**32), st.integers(1, 6))
@settings(max_examples=12)
def test_an_infeasible_program_is_proven_so(seed, count):
    random = np.random.default_rng(seed)
    # Rows with a combination that vanishes, and bounds it cannot meet.
    weight = random.choice([-2.0, -1.0, 1.0, 3.0], size=count + 1)
    rows = random.integers(-3, 4, size=(count, count)).astype(float)
    last = -(weight[:-1] @ rows) / weight[-1]
    matrix = np.vstack([rows, last])
    centre = random.normal(size=count + 1)
    centre -= weight * ((weight @ centre + 2.0) / (weight @ weight))
    wide = 0.5 / np.abs(weight).sum()
    task = problem(
        np.eye(count), random.normal(size=count), matrix, centre - wide, centre + wide
    )

    assert solve_qp(task) is None
    refusal = refusal_of(task)

    assert refusal.reason is NoAnswer.INFEASIBLE
    force = refusal.witness
    assert task.matrix.T @ force == pytest.approx(np.zeros(count), abs=1e-6)
    most = np.where(force > 0.0, task.upper, task.lower)
    assert force @ most < 0.0


@given(st.integers(0, 2**32), st.integers(2, 6))
@settings(max_examples=5)
def test_a_program_without_end_is_proven_so(seed, count):
    random = np.random.default_rng(seed)
    ray = random.choice([-1.0, 1.0, 2.0], size=count)
    root = random.integers(-2, 3, size=(count, count)).astype(float)
    root -= np.outer(root @ ray, ray) / (ray @ ray)
    matrix = random.integers(-2, 3, size=(3, count)).astype(float)
    along = matrix @ ray
    lower = np.where(along >= 0.0, -1.0, -INF)
    upper = np.where(along <= 0.0, 1.0, INF)
    cost = random.normal(size=count)
    cost -= ray * ((cost @ ray + 1.0) / (ray @ ray))
    task = problem(root.T @ root, cost, matrix, lower, upper)

    assert solve_qp(task) is None
    refusal = refusal_of(task)

    assert refusal.reason is NoAnswer.UNBOUNDED
    found = refusal.witness
    assert task.cost @ found < 0.0
    assert task.hessian @ found == pytest.approx(np.zeros(count), abs=1e-5)
    moved = task.matrix @ found
    assert (moved[np.isfinite(lower)] >= -1e-5).all()
    assert (moved[np.isfinite(upper)] <= 1e-5).all()


def test_where_nothing_is_proven_nothing_is_claimed(monkeypatch):
    solvable = problem(np.eye(2), [1, 1], np.eye(2), [0, 0], [1, 1])

    assert refusal_of(solvable).reason is NoAnswer.UNSOLVED
    monkeypatch.setattr(qpverdict, "solve_qp", lambda *_, **__: None)
    assert refusal_of(solvable).reason is NoAnswer.UNSOLVED


@pytest.mark.parametrize(
    ("ray", "hessian", "lower", "upper"),
    [
        ([-1, -1], np.zeros((2, 2)), [0, -INF], [INF, INF]),
        ([-1, -1], np.zeros((2, 2)), [-INF, -INF], [INF, INF]),
        ([1, 1], np.zeros((2, 2)), [-INF, -INF], [INF, 1]),
        ([-1, -1], np.diag([0.0, 1.0]), [-INF, -INF], [INF, INF]),
        ([-1, 1], np.zeros((2, 2)), [-INF, -INF], [INF, INF]),
    ],
    ids=["meets a lower end", "proven", "meets an upper end", "bends", "costs"],
)
def test_a_ray_that_proves_nothing_is_not_believed(
    monkeypatch, ray, hessian, lower, upper
):
    cost = -np.ones(2) if ray == [1, 1] else np.ones(2)
    told = iter([None, SimpleNamespace(x=np.array(ray, float))])
    monkeypatch.setattr(qpverdict, "solve_qp", lambda *_, **__: next(told))

    refusal = refusal_of(problem(hessian, cost, np.eye(2), lower, upper))

    proven = not hessian.any() and ray == [-1, -1] and lower[0] == -INF
    assert refusal.reason is (NoAnswer.UNBOUNDED if proven else NoAnswer.UNSOLVED)


def test_rows_of_small_bounds_are_named_in_order_with_a_witness_of_size_one():
    # 0.01 x <= 0, 0.02 x <= 0 and 0.04 x >= 0.002: the last row pulls the most.
    task = problem(
        np.eye(1), [1], [[0.01], [0.02], [0.04]], [-INF, -INF, 0.002], [0, 0, INF]
    )

    refusal = refusal_of(task)

    assert refusal.reason is NoAnswer.INFEASIBLE
    assert "rows 0, 1, 2 exclude" in refusal.text
    assert np.abs(refusal.witness).max() == 1.0


@pytest.mark.parametrize(
    ("force", "proven"),
    [([1, -1], True), ([1, 0], False), ([-1, 1], False), ([0, 0], False)],
    ids=["proven", "moves a variable", "wrong way round", "nothing"],
)
def test_rows_that_prove_nothing_are_not_believed(monkeypatch, force, proven):
    # x <= 0 and x >= 1: together they leave no room, told by (-1, 1) as shifts.
    task = problem(np.eye(1), [1], [[1], [1]], [-INF, 1], [0, INF])
    shifts = SimpleNamespace(x=np.array([0, *(-f for f in force)], float))
    told = iter([shifts, None])
    monkeypatch.setattr(qpverdict, "solve_qp", lambda *_, **__: next(told))

    refusal = refusal_of(task)

    assert (refusal.reason is NoAnswer.INFEASIBLE) is proven
