import json
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrade.models.curve import (
    ConstantCurve,
    CurveError,
    CurveErrorKind,
    Point,
    PwlCurve,
    curve_to_builtins,
    parse_curve,
)


def pwl(*pairs):
    return [{"rate": rate, "price": price} for rate, price in pairs]


@pytest.mark.parametrize(
    ("value", "code", "index"),
    [
        ([], "pwl.empty", None),
        (pwl((math.nan, 1)), "pwl.nan", 0),
        (pwl((0, 1), (0, math.nan)), "pwl.nan", 1),
        (pwl((-math.inf, 1), (0, 1)), "pwl.infinity", 0),
        (pwl((0, math.inf)), "pwl.infinity", 0),
        (pwl((0, 10**400)), "pwl.infinity", 0),
        (pwl((5, 10), (0, 8), (10, 5)), "pwl.non_monotone", 1),
        (pwl((0, 10), (1, 8), (2, 8.5)), "pwl.non_monotone", 2),
        (pwl((1, 10), (5, 8)), "pwl.zero_trade", None),
        (pwl((-5, 10), (-1, 8)), "pwl.zero_trade", None),
        (pwl((1, 1)), "pwl.zero_trade", None),
        ([{"rate": 0}], "pwl.point", 0),
        ([{"rate": 0, "price": "1"}], "pwl.point", 0),
        ([{"rate": True, "price": 1}], "pwl.point", 0),
        ([[0, 1]], "pwl.point", 0),
        ({}, "constant.price", None),
        ({"min_rate": -1, "max_rate": 1}, "constant.price", None),
        ({"price": None}, "constant.price", None),
        ({"price": True}, "constant.price", None),
        ({"price": 1, "min_rate": "0"}, "constant.rate", None),
        ({"price": math.nan}, "constant.nan", None),
        ({"price": 1, "max_rate": math.nan}, "constant.nan", None),
        ({"price": math.inf}, "constant.infinite_price", None),
        ({"price": 1, "min_rate": 5, "max_rate": 10}, "constant.zero_trade", None),
        ({"price": 1, "min_rate": 1, "max_rate": -1}, "constant.zero_trade", None),
        ({"price": 1, "max_rate": -1}, "constant.zero_trade", None),
        (7.5, "curve.type", None),
        ("x", "curve.type", None),
        (True, "curve.type", None),
        (b"[]", "curve.type", None),
    ],
)
def test_a_bad_curve_is_refused_with_its_code_and_place(value, code, index):
    with pytest.raises(CurveError, match=code) as caught:
        parse_curve(value)

    assert caught.value.kind == code
    assert caught.value.kind is CurveErrorKind(code)
    assert caught.value.index == index


def test_rules_are_tried_in_order_so_that_the_first_broken_one_is_told():
    with pytest.raises(CurveError) as caught:
        parse_curve(pwl((3, 1), (2, math.nan)))

    assert caught.value.kind is CurveErrorKind.PWL_NAN


@pytest.mark.parametrize(
    "points",
    [
        [(0, 5)],
        [(0, 5), (0, 5)],
        [(-1, 9), (0, 9), (0, 4), (2, 4)],
        [(-0.0, 1), (1, -1e300)],
        [(-2, 4), (-1, 3), (1, 1), (2, 0)],
    ],
)
def test_repeated_vertical_flat_and_single_points_are_allowed(points):
    curve = parse_curve(pwl(*points))

    assert isinstance(curve, PwlCurve)
    assert [(p.rate, p.price) for p in curve.points] == points
    assert curve.domain == (points[0][0], points[-1][0])


def test_missing_and_null_bounds_are_infinite_and_unknown_keys_are_ignored():
    curve = parse_curve({"price": 10, "min_rate": None, "note": "mine"})

    assert curve == ConstantCurve(price=10.0)
    assert curve.domain == (-math.inf, math.inf)


def test_infinite_bounds_are_written_as_null_with_all_three_keys():
    written = curve_to_builtins(ConstantCurve(max_rate=0.0, price=7.0))

    assert written == {"min_rate": None, "max_rate": 0.0, "price": 7.0}


def test_none_and_curves_pass_through():
    curve = PwlCurve(points=(Point(rate=0.0, price=1.0),))

    assert parse_curve(None) is None
    assert curve_to_builtins(None) is None
    assert parse_curve(curve) is curve
    assert parse_curve([Point(rate=0.0, price=1.0)]) == curve


@given(
    st.lists(st.floats(0, 1e9), min_size=1, max_size=6),
    st.lists(st.floats(0, 1e9), min_size=6, max_size=6),
    st.floats(-1e9, 1e9),
    st.integers(0, 5),
)
def test_every_monotone_curve_survives_a_trip_through_json(steps, drops, top, zero):
    rates = [sum(steps[: i + 1]) for i in range(len(steps))]
    origin = rates[min(zero, len(rates) - 1)]
    prices = [top - sum(drops[:i]) for i in range(len(steps))]
    raw = pwl(*((r - origin, p) for r, p in zip(rates, prices, strict=True)))

    curve = parse_curve(json.loads(json.dumps(raw)))

    assert curve_to_builtins(curve) == raw
    assert parse_curve(curve_to_builtins(curve)) == curve


def test_the_models_stay_light():
    probe = (
        "import sys, flowtrade.models.curve, flowtrade.models.group\n"
        "heavy = {'numpy', 'scipy', 'trio', 'highspy', 'litestar', 'httpx'}\n"
        "print(*sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter, a constant program
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("\n", "")
    assert done.returncode == 0


def broken_rule(points):
    """The rules of a piecewise linear curve, told once more, one after the other."""
    if not points:
        return "pwl.empty", None
    for index, (rate, price) in enumerate(points):
        if math.isnan(rate) or math.isnan(price):
            return "pwl.nan", index
        if not (math.isfinite(rate) and math.isfinite(price)):
            return "pwl.infinity", index
        if index and not (
            points[index - 1][0] <= rate and price <= points[index - 1][1]
        ):
            return "pwl.non_monotone", index
    if points[0][0] > 0 or points[-1][0] < 0:
        return "pwl.zero_trade", None
    return None


odd = st.sampled_from(
    [math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, -1.0, 1.0, 1.7e308, -1.7e308]
)
rising = st.lists(st.tuples(odd, odd), max_size=5)
ordered = st.lists(st.tuples(odd, odd), max_size=5).map(
    lambda pairs: [
        (rate, -price)
        for rate, price in zip(
            sorted((p[0] for p in pairs), key=lambda x: (math.isnan(x), x)),
            sorted((p[1] for p in pairs), key=lambda x: (math.isnan(x), x)),
            strict=True,
        )
    ]
)


@given(rising | ordered)
def test_each_list_of_points_is_a_curve_or_breaks_the_rule_that_comes_first(points):
    try:
        curve = PwlCurve(points=tuple(Point(rate=r, price=p) for r, p in points))
    except CurveError as error:
        told = error.kind.value, error.index
    else:
        assert len(curve.points) == len(points)
        told = None

    assert told == broken_rule(points)
