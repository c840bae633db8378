import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import sparse

from flowtrade.clearing import Market, clear
from flowtrade.clearing.lp import Direction, SmallProgram, plane_ranges

ENDS = st.sampled_from([0.0, 0.5, 1.0, 2.5, float("inf")])
WEIGHTS = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0])


@given(st.lists(st.tuples(WEIGHTS, WEIGHTS, ENDS, ENDS), min_size=1, max_size=7))
def test_two_columns_have_the_ranges_that_linear_programs_find(rows):
    pytest.importorskip("highspy")
    rows = [row for row in rows if row[0] or row[1]]
    assume(rows)
    matrix = np.array([row[:2] for row in rows])
    lower, upper = -np.array([r[2] for r in rows]), np.array([r[3] for r in rows])

    low, high = plane_ranges(matrix, lower, upper)

    program = SmallProgram(sparse.csc_array(matrix), lower, upper)
    expected_low = [program.extreme(i, Direction.LOWEST) for i in range(2)]
    expected_high = [program.extreme(i, Direction.HIGHEST) for i in range(2)]
    assert low.tolist() == pytest.approx(expected_low, abs=1e-9)
    assert high.tolist() == pytest.approx(expected_high, abs=1e-9)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_a_set_is_measured_in_its_own_units(scale):
    matrix = np.array([[1.0, 1.0], [1.0, -1.0]])
    ends = np.array([2.0, 4.0]) * scale

    low, high = plane_ranges(matrix, -ends, ends)

    assert low == pytest.approx([-3 * scale, -3 * scale], rel=1e-12)
    assert high == pytest.approx([3 * scale, 3 * scale], rel=1e-12)


def test_a_market_with_two_open_prices_publishes_their_corners():
    # Worth of A + B is between 4 and 9, of A alone at least 1, of B at least 2.
    auction = {
        "demand_curves": {
            "bid": {"min_rate": 0, "max_rate": 1, "price": 4},
            "offer": {"min_rate": -1, "max_rate": 0, "price": 9},
            "a": {"min_rate": 0, "max_rate": 1, "price": 1},
            "b": {"min_rate": 0, "max_rate": 1, "price": 2},
        },
        "portfolios": {
            "bid": {"demand": "bid", "basis": ["A", "B"]},
            "offer": {"demand": "offer", "basis": ["A", "B"]},
            "a": {"demand": "a", "basis": "A"},
            "b": {"demand": "b", "basis": "B"},
        },
    }

    products = clear(Market.from_auction(auction)).products

    assert (products["A"].price_min, products["A"].price_max) == (1.0, 7.0)
    assert (products["B"].price_min, products["B"].price_max) == (2.0, 8.0)
    assert products["A"].price + products["B"].price == pytest.approx(9.0)


def test_an_end_beyond_the_box_of_small_bounds_is_the_end():
    """A bound of 1e-5 sets the scale, one of 22.5 the range: no box is the answer."""
    pytest.importorskip("highspy")
    matrix = np.array([[1.0, 0.0, -1.0], [0.0, 2.0, -1.0], [0.0, 1.0, -1.0]])
    lower = np.array([-np.inf, -np.inf, 0.0])
    upper = np.array([1.25e-5, 22.5, 0.0])

    program = SmallProgram(sparse.csc_array(matrix), lower, upper)

    highest = [program.extreme(i, Direction.HIGHEST) for i in range(3)]
    assert highest == pytest.approx([22.5000125, 22.5, 22.5], rel=1e-9)
    assert program.extreme(0, Direction.LOWEST) == -np.inf
