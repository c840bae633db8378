import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrade.clearing import InvalidMarket
from flowtrade.clearing.arrays import Ragged, offsets
from flowtrade.clearing.columns import Curves, canonical_rows, check_curves
from flowtrade.clearing.segments import disaggregate


def curves(*points):
    lengths = np.array([len(curve) for curve in points], np.int64)
    flat = [pair for curve in points for pair in curve]
    return Curves(
        offsets(lengths),
        np.array([r for r, _ in flat], float),
        np.array([p for _, p in flat], float),
    )


def pieces(*points):
    found = disaggregate(curves(*points))
    return [
        list(
            zip(
                found.low[a:b].tolist(),
                found.high[a:b].tolist(),
                found.top[a:b].tolist(),
                found.bottom[a:b].tolist(),
                strict=True,
            )
        )
        for a, b in zip(found.ptr[:-1], found.ptr[1:], strict=True)
    ]


INF = np.inf


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], []),
        ([(0, 5)], []),
        # The specification's example: one line through four points.
        ([(-2, 4), (-1, 3), (1, 1), (2, 0)], [(-2, 2, 4, 0)]),
        # Pieces are shifted so that they contain 0, and no further.
        ([(-3, 9), (-1, 8), (2, 3)], [(-2, 0, 9, 8), (-1, 2, 8, 3)]),
        ([(0, 9), (1, 7), (4, 6)], [(0, 1, 9, 7), (0, 3, 7, 6)]),
        # Vertical steps and repeated points have no width.
        ([(0, 9), (2, 8), (2, 8), (2, 5), (4, 4)], [(0, 2, 9, 8), (0, 2, 5, 4)]),
        # A kink that is also repeated stays a kink.
        ([(0, 9), (1, 8), (1, 8), (2, 4)], [(0, 1, 9, 8), (0, 1, 8, 4)]),
        ([(-INF, 7), (0, 7)], [(-INF, 0, 7, 7)]),
        ([(-INF, 7), (INF, 7)], [(-INF, INF, 7, 7)]),
        ([(-INF, 7), (5, 7)], [(-INF, 5, 7, 7)]),
    ],
)
def test_a_curve_falls_into_the_expected_pieces(points, expected):
    assert pieces(points) == [expected]


def test_curves_do_not_run_into_each_other():
    first, second = [(0, 9), (1, 8)], [(0, 8), (1, 7), (3, 1)]

    assert pieces(first, [], second) == [
        [(0, 1, 9, 8)],
        [],
        [(0, 1, 8, 7), (0, 2, 7, 1)],
    ]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8),
    st.integers(0, 7),
)
def test_pieces_have_the_curves_area_and_domain(steps, zero):
    rates = np.cumsum([r for r, _ in steps])
    rates = rates - rates[min(zero, len(rates) - 1)]
    prices = 40 - np.cumsum([p for _, p in steps])
    found = disaggregate(curves(list(zip(rates, prices, strict=True))))

    assert (found.low <= 0).all()
    assert (found.high >= 0).all()
    assert found.low.sum() == rates[0]
    assert found.high.sum() == rates[-1]
    area = float(np.sum((found.high - found.low) * (found.top + found.bottom) / 2))
    assert area == pytest.approx(float(np.trapezoid(prices, rates)))
    assert (np.diff(found.top) <= 0).all()
    assert (found.bottom <= found.top).all()


def test_slope_and_intercept_of_infinite_and_steep_pieces_are_finite():
    found = disaggregate(curves([(-INF, 7), (0, 7)], [(0, 10), (1e-300, 0)]))

    assert found.slope().tolist() == [0.0, pytest.approx(1e301)]
    assert found.intercept().tolist() == [7.0, 10.0]


@pytest.mark.parametrize(
    ("points", "code"),
    [
        ([(0, np.nan)], "pwl.nan"),
        ([(np.nan, 1)], "pwl.nan"),
        ([(0, INF)], "pwl.infinity"),
        ([(-INF, 2), (0, 1)], "pwl.infinity"),
        ([(1, 2), (0, 1)], "pwl.non_monotone"),
        ([(0, 1), (1, 2)], "pwl.non_monotone"),
        ([(1, 1), (2, 1)], "pwl.zero_trade"),
        ([(-2, 1), (-1, 1)], "pwl.zero_trade"),
    ],
)
def test_columns_that_break_a_rule_are_refused_by_number(points, code):
    with pytest.raises(InvalidMarket) as caught:
        check_curves(curves([(0, 1)], points))

    assert caught.value.code == code
    assert caught.value.where == "demand 1"


def test_rows_are_sorted_summed_and_freed_of_zeros():
    rows = Ragged(
        np.array([0, 3, 3, 5]), np.array([2, 0, 2, 1, 1]), np.array([1, 3, 1, 2, -2.0])
    )

    found = canonical_rows(rows, 3, what="basis")

    assert [found.take_row(i) for i in range(3)] == [[(0, 3.0), (2, 2.0)], [], []]


@pytest.mark.parametrize(
    ("index", "weight", "code"),
    [(3, 1.0, "group.id"), (-1, 1.0, "group.id"), (0, INF, "group.weight")],
)
def test_rows_out_of_range_or_not_finite_are_refused(index, weight, code):
    rows = Ragged(np.array([0, 1]), np.array([index]), np.array([weight]))

    with pytest.raises(InvalidMarket) as caught:
        canonical_rows(rows, 3, what="basis")

    assert caught.value.code == code
