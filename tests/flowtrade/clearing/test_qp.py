from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from flowtrade.clearing import qp
from flowtrade.clearing.qp import Problem, solve_qp


def problem(hessian, cost, matrix, lower, upper):
    return Problem(
        sparse.csc_array(np.atleast_2d(np.array(hessian, float))),
        np.array(cost, float),
        sparse.csc_array(np.atleast_2d(np.array(matrix, float))),
        np.array(lower, float),
        np.array(upper, float),
    )


def test_a_program_with_a_known_answer():
    answer = solve_qp(
        problem(np.eye(2) * 2, [-3, -1], [[1, 1], [1, 0]], [2, -9], [2, 1.2])
    )

    assert answer.x == pytest.approx([1.2, 0.8], abs=1e-10)
    assert answer.residual <= 1e-9
    # Row duals are positive where the upper bound pushes.
    assert answer.y[1] > 0.0


def test_a_linear_program_is_one_without_curvature():
    answer = solve_qp(
        problem(
            np.zeros((2, 2)), [-1, -2], [[1, 1], [1, 0], [0, 1]], [-9, 0, 0], [4, 3, 3]
        )
    )

    assert answer.x == pytest.approx([1.0, 3.0], abs=1e-8)


def test_a_program_without_rows_is_solved_by_its_gradient():
    empty = Problem(
        sparse.csc_array(np.diag([2.0, 4.0])),
        np.array([-2.0, 4.0]),
        sparse.csc_array((0, 2)),
        np.zeros(0),
        np.zeros(0),
    )

    assert solve_qp(empty).x == pytest.approx([1.0, -1.0])


@pytest.mark.parametrize(
    ("cost", "lower", "upper"),
    [
        ([-1.0], [0.0], [np.inf]),  # unbounded
        ([1.0], [1.0], [0.0]),  # infeasible
    ],
)
def test_what_has_no_optimum_has_no_answer(cost, lower, upper):
    assert solve_qp(problem([[0.0]], cost, [[1.0]], lower, upper)) is None


@given(st.integers(0, 2**32), st.sampled_from([0.2, 0.9]))
@settings(max_examples=40)
def test_answers_satisfy_the_optimality_conditions(seed, density):
    random = np.random.default_rng(seed)
    count, rows = int(random.integers(1, 25)), int(random.integers(0, 25))
    root = random.normal(size=(count, int(random.integers(1, count + 1))))
    root *= random.uniform(size=root.shape) < density
    general = random.normal(size=(rows, count))
    general *= random.uniform(size=general.shape) < density
    matrix = np.vstack([general, np.eye(count)])
    inside = matrix @ random.normal(size=count)
    lower = inside - random.exponential(size=len(inside))
    upper = inside + random.exponential(size=len(inside))
    equal = np.arange(len(inside)) < rows // 4
    lower[equal] = upper[equal] = inside[equal]
    task = problem(root @ root.T, random.normal(size=count) * 10, matrix, lower, upper)

    answer = solve_qp(task)

    assert answer.residual <= 1e-9
    row = task.matrix @ answer.x
    assert (row >= lower - 1e-7).all()
    assert (row <= upper + 1e-7).all()
    for _ in range(20):
        # No feasible point nearby is better: the set and the objective are convex.
        # Either may leave a row by 1e-9, which is worth that row's multiplier.
        other = inside_point(random, task, answer.x)
        slack = 1e-7 + 2e-9 * np.abs(answer.y).sum()
        assert task.value(other) >= task.value(answer.x) - slack


def inside_point(random, task, x):
    direction = random.normal(size=len(x))
    step = 1.0
    while step > 1e-9:
        row = task.matrix @ (x + step * direction)
        if (row >= task.lower - 1e-9).all() and (row <= task.upper + 1e-9).all():
            return x + step * direction
        step *= 0.5
    return x


def test_a_wrong_point_has_a_residual_and_a_missing_one_an_infinite_one():
    task = problem(np.eye(2), [-1, -1], np.eye(2), [0, 0], [5, 5])

    assert task.residual(np.array([1.0, 1.0]), np.zeros(2)) == 0.0
    assert task.residual(np.array([2.0, 1.0]), np.zeros(2)) > 0.1
    assert task.residual(np.array([9.0, 1.0]), np.array([-8.0, 0.0])) > 0.1
    assert task.residual(np.array([np.nan, 1.0]), np.zeros(2)) == np.inf


@pytest.mark.parametrize(
    ("lower", "solved"), [([], True), ([-1.0], True), ([1], False)]
)
def test_a_program_without_variables_is_solved_where_nothing_is_allowed(
    capfd, lower, solved
):
    rows = len(lower)
    problem = Problem(
        sparse.csc_array((0, 0)),
        np.zeros(0),
        sparse.csc_array((rows, 0)),
        np.array(lower, float),
        np.full(rows, 2.0),
    )

    answer = solve_qp(problem)

    assert (answer is not None) == solved
    assert capfd.readouterr() == ("", "")


def test_an_infeasible_program_with_a_row_without_bounds_has_no_answer():
    # HiGHS is asked, which once wrote past its arrays for such a row.
    problem = Problem(
        sparse.csc_array(np.ones((3, 3))),
        np.array([1.0, -1.0, 2.0]),
        sparse.csc_array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]),
        np.array([-np.inf, 5.0, -np.inf]),
        np.array([np.inf, np.inf, 1.0]),
    )

    assert solve_qp(problem) is None


def curved(size, bend):
    """A program whose Hessian is the identity, with `bend` as one of its entries."""
    hessian = sparse.eye_array(size, format="lil")
    hessian[size // 2, size // 2] = bend
    rows = sparse.csc_array(sparse.eye_array(size))
    ends = np.ones(size)
    return Problem(hessian.tocsc(), np.zeros(size), rows, -ends, ends)


@pytest.mark.parametrize("size", [1, 3, 400])
@pytest.mark.parametrize(
    ("bend", "solved"), [(-1e-3, False), (0, True), (-1e-9, True), (2, True)]
)
def test_a_saddle_is_no_optimum(size, bend, solved):
    # x = 0 meets the conditions of all of them; -1e-9 is what rounding leaves, unless
    # it is all there is.
    solved = solved and not (size == 1 and bend < 0)

    assert (solve_qp(curved(size, bend)) is not None) == solved


@pytest.mark.parametrize("size", [2, 400])
def test_a_saddle_off_the_diagonal_is_no_optimum(size):
    problem = curved(size, 0)
    hessian = problem.hessian.tolil()
    hessian[0, size // 2] = hessian[size // 2, 0] = 0.5

    assert solve_qp(replace(problem, hessian=hessian.tocsc())) is None


def test_every_solver_of_a_program_is_caught_lying_and_the_next_one_answers(
    monkeypatch,
):
    task = problem(np.eye(2) * 2, [-3, -1], [[1, 1], [1, 0]], [2, -9], [2, 1.2])
    line = list(qp._solvers(task))
    monkeypatch.setattr(qp, "_polished", lambda *_: ())

    def lying(solve):
        def lie(task, deadline):
            x, y = solve(task, deadline)
            return 1.01 * x, y

        return lie

    for count in range(len(line) + 1):
        liars = [(f"liar {name}", lying(solve)) for name, solve in line[:count]]
        monkeypatch.setattr(qp, "_solvers", lambda _, all_=liars + line[count:]: all_)

        answer = solve_qp(task)

        if count == len(line):
            assert answer is None
        else:
            assert answer.x == pytest.approx([1.2, 0.8], abs=1e-6)
            assert not answer.solver.startswith("liar")


@pytest.mark.parametrize(
    ("scales", "cost", "rows", "best"),
    [
        ([1e-8, 1e-6, 1e2, 1e7], [-2, 2, 0, 3], [[0, 0, -1, 1], [-1, -1, -1, 0]], -7),
        ([1e-8, 1.0, 1e7, 1e8], [-1, -1, 0, 3], [[0, -1, -1, -1], [-1, 1, 0, 0]], -5),
        ([1e2, 1e-8, 1e2, 1e7], [0, -1, 2, 1], [[1, 1, 0, 0], [-1, 1, 1, 1]], -4),
    ],
)
def test_what_a_variable_of_tiny_units_could_gain_is_no_rounding(
    scales, cost, rows, best
):
    matrix = np.vstack([np.eye(4), rows])
    ends = np.array([1, 1, 1, 1, 9, 9])

    answer = solve_qp(
        problem(
            np.zeros((4, 4)), np.multiply(cost, scales), matrix * scales, -ends, ends
        )
    )

    assert np.multiply(cost, scales) @ answer.x == pytest.approx(best, abs=1e-6)


def test_a_program_without_an_end_is_not_answered_where_its_slope_is_tiny():
    tiny = problem(np.zeros((2, 2)), [1.0, -1e-9], [[1, 0]], [0], [1])

    assert solve_qp(tiny) is None
