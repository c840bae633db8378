"""Equations in whole numbers: exact, or told to contradict each other."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from flowtrade.clearing.rational import binary_places, solve_exactly, whole

COEFFICIENTS = st.integers(-5, 5)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FLOATS, min_size=1, max_size=5))
def test_every_float_is_a_whole_number_of_small_enough_units(values):
    places = binary_places(values)

    for value in values:
        assert Fraction(whole(value, places), 2**places) == Fraction(value)


@given(
    st.lists(st.lists(COEFFICIENTS, min_size=4, max_size=4), max_size=5),
    st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4),
)
def test_a_known_solution_satisfies_every_equation(rows, truth):
    exact = [Fraction(value) for value in truth]
    places = binary_places(truth)
    equations = [
        [
            *(value << places for value in row),
            int(sum(a * b for a, b in zip(row, exact, strict=True)) * 2**places),
        ]
        for row in rows
    ]

    found = solve_exactly(equations, truth)

    assert found is not None
    above, below = found
    assert below > 0
    for row, equation in zip(rows, equations, strict=True):
        total = sum(a * b for a, b in zip(row, above, strict=True))
        assert (total << places) == equation[-1] * below


def test_what_is_left_open_is_taken_as_given():
    # x + y = 3, and z in no equation: y and z are the later ones.
    assert solve_exactly([[1, 1, 0, 3]], [7.0, 0.25, -2.0]) == ([11, 1, -8], 4)


def test_equations_that_contradict_each_other_have_no_solution():
    assert solve_exactly([[1, 1, 2], [2, 2, 5]], [0.0, 0.0]) is None
    assert solve_exactly([[0, 0, 1]], [0.0, 0.0]) is None


def test_no_equations_leave_everything_as_it_is():
    assert solve_exactly([], [0.5, 3.0]) == ([1, 6], 2)
