"""The set that holds at the nearest point, against every set there is."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrade.clearing.tinynearest import NearestSet


def nearest_of_all(rows, levels, equal, pull, target):
    """Try every set of constraints: the best feasible point."""
    count = len(target)
    dense = np.zeros((len(rows), count))
    for i, row in enumerate(rows):
        for k, weight in row:
            dense[i, k] = weight
    best, found = np.inf, None
    free = range(equal, len(rows))
    for size in range(min(count, len(rows) - equal) + 1):
        for chosen in itertools.combinations(free, size):
            held = [*range(equal), *chosen]
            a = dense[held]
            gram = np.block(
                [[np.diag(pull), -a.T], [a, np.zeros((len(held), len(held)))]]
            )
            rhs = np.concatenate([pull * target, np.array(levels)[held]])
            x = np.linalg.lstsq(gram, rhs, rcond=None)[0][:count]
            slack = dense @ x - levels
            if np.abs(slack[:equal]).max(initial=0.0) > 1e-9:
                continue
            if slack[equal:].min(initial=0.0) < -1e-9:
                continue
            distance = float(pull @ (x - target) ** 2)
            if distance < best:
                best, found = distance, x
    return found


def point_of(rows, levels, pull, target, active):
    dense = np.zeros((len(active), len(target)))
    for i, j in enumerate(active):
        for k, weight in rows[j]:
            dense[i, k] = weight
    free = dense / pull
    force = np.linalg.solve(free @ dense.T, np.array(levels)[active] - dense @ target)
    return target + free.T @ force


@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(0, 6), st.integers(0, 2))
@settings(max_examples=150)
def test_the_set_gives_the_nearest_of_all_points(seed, count, bounds, equal):
    chance = random.Random(seed)  # noqa: S311 - no secret
    inside = [chance.randint(-2, 2) for _ in range(count)]
    rows, levels = [], []
    for i in range(equal + bounds):
        # Few weights, so that rows often depend on each other and meet in one point.
        weights = [chance.choice([-1, 0, 1]) for _ in range(count)]
        if not any(weights):
            weights[0] = 1
        rows.append([(k, float(w)) for k, w in enumerate(weights) if w])
        value = sum(w * x for w, x in zip(weights, inside, strict=True))
        levels.append(float(value - (chance.choice([0, 0, 1]) if i >= equal else 0)))
    pull = np.array([chance.choice([1.0, 0.25]) for _ in range(count)])
    target = np.array([float(chance.randint(-4, 4)) for _ in range(count)])

    active = NearestSet(rows, levels, equal, pull.tolist(), target.tolist()).found()

    best = nearest_of_all(rows, levels, equal, pull, target)
    ours = point_of(rows, levels, pull, target, active)
    assert ours == pytest.approx(best, abs=1e-8)


def test_constraints_that_exclude_each_other_have_no_point():
    rows = [[(0, 1.0)], [(0, -1.0)]]

    with pytest.raises(ArithmeticError, match="exclude"):
        NearestSet(rows, [1.0, 0.0], 0, [1.0], [5.0]).found()


def test_of_equations_that_say_the_same_one_is_taken():
    rows = [[(0, 1.0), (1, 1.0)], [(0, 2.0), (1, 2.0)], [(0, 1.0)]]

    active = NearestSet(rows, [3.0, 6.0, 2.5], 2, [1.0, 1.0], [0.0, 0.0]).found()

    assert active == [0, 2]


def test_rounding_of_a_dependent_row_is_no_contradiction():
    rows = [[(0, 1.0)], [(1, 1.0)], [(0, 1.0), (1, 1.0)]]
    levels = [0.1, 0.2, 0.1 + 0.2]

    active = NearestSet(rows, levels, 0, [1.0, 1.0], [-1.0, -1.0]).found()

    assert len(active) == 2
