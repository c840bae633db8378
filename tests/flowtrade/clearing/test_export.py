import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrade.clearing import Market, UnboundedMarket, clear
from flowtrade.clearing.export import Dialect, export_lp, export_mps

DATA = Path(__file__).resolve().parents[3] / "../shared/data/auctions"


def load(name):
    return json.loads((DATA / name).read_text()) if DATA.exists() else []


EXPORTS = load("exports.json")
INPUTS = {case["id"]: case for case in load("cases.json")["cases"]} if EXPORTS else {}
VALID = [c for c in INPUTS.values() if c["expect"]["status"] != "invalid"]


def test_the_expected_exports_are_there():
    if not EXPORTS:
        pytest.skip(f"{DATA} absent: no export was compared")

    assert len(EXPORTS) > 5


@pytest.mark.parametrize("expected", EXPORTS, ids=lambda e: e["case"])
def test_the_anchor_dialect_is_the_anchors_byte_for_byte(expected):
    market = Market.from_auction(INPUTS[expected["case"]]["input"])

    assert export_lp(market, dialect=Dialect.ANCHOR) == expected["lp"]
    assert export_mps(market, dialect=Dialect.ANCHOR) == expected["mps"]


def solved_by_highs(path):
    highspy = pytest.importorskip("highspy")
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("qp_regularization_value", 1e-12)
    assert highs.readModel(str(path)) == highspy.HighsStatus.kOk
    highs.run()
    return highs.getModelStatus().name, abs(highs.getInfo().objective_function_value)


def is_degenerate(case):
    # HiGHS' active set neither ends on some singular cases nor bears huge numbers.
    return case["group"] in {"scale", "rates"} or "weights" in case["id"]


@pytest.mark.parametrize("case", VALID, ids=lambda c: c["id"])
@pytest.mark.parametrize("kind", ["lp", "mps"])
def test_a_reader_elsewhere_finds_the_same_gains(case, kind, tmp_path):
    market = Market.from_auction(case["input"])
    if not market.columns.portfolios or not market.product_ids:
        pytest.skip("an empty program: readers differ on whether it is one")
    if is_degenerate(case):
        pytest.skip("beyond the other solver, not beyond the file")
    path = tmp_path / f"auction.{kind}"
    path.write_text(export_lp(market) if kind == "lp" else export_mps(market))

    status, gains = solved_by_highs(path)

    if case["expect"]["status"] == "unbounded":
        with pytest.raises(UnboundedMarket):
            clear(market)
        assert status in {"kUnbounded", "kUnboundedOrInfeasible"}
    else:
        assert gains == pytest.approx(clear(market).gains, rel=1e-6, abs=1e-6)


UUIDS = ["0197c2f4-9d1e-8abc-9def-0123456789ab", "0197c2f4-9d1e-8abc-9def-0123456789ac"]


@pytest.mark.parametrize("kind", ["lp", "mps"])
def test_ids_no_reader_takes_are_rewritten_and_stay_distinct(kind, tmp_path):
    buy, sell = UUIDS
    market = Market.from_auction(
        {
            "demand_curves": {
                buy: [{"rate": 0, "price": 10}, {"rate": 1, "price": 5}],
                sell: {"max_rate": 0, "price": 7},
                "a b": None,
                "a-b": None,
                "é" * 300: None,
            },
            "portfolios": {
                buy: {"demand": buy, "basis": "pro duct"},
                sell: {"demand": [sell], "basis": "pro duct"},
                "a b": {"demand": "a b", "basis": "pro-duct"},
                "a-b": {"demand": ["a-b", "é" * 300], "basis": "pro-duct"},
            },
        }
    )
    path = tmp_path / f"auction.{kind}"
    path.write_text(export_lp(market) if kind == "lp" else export_mps(market))

    status, gains = solved_by_highs(path)

    assert status == "kOptimal"
    # The unlimited seller would be fixed at 0 by the anchor's way of writing it.
    assert gains == pytest.approx(0.9)


def test_a_null_curve_is_exported_as_a_row_without_pieces():
    market = Market.from_auction(
        {
            "demand_curves": {"off": None},
            "portfolios": {"x": {"demand": "off", "basis": "A"}},
        }
    )

    text = export_lp(market, dialect=Dialect.ANCHOR)

    assert "  d_off: 1 x_x = 0\n" in text
    assert text.startswith("Maximize\n  gft: 0\n")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_plain_decimals_that_read_back_the_same(price):
    market = Market.from_auction(
        {
            "demand_curves": {"d": {"min_rate": -1, "max_rate": 1, "price": price}},
            "portfolios": {"x": {"demand": "d", "basis": "A"}},
        }
    )

    written = re.search(r"gft: (\S+) y_d_0", export_lp(market))[1]

    assert float(written) == price
    assert "e" not in written.lower()
    assert not written.endswith(".0")


KEYWORDS = ["", " ", "free", "End", "inf", "-inf", "Bounds", "e9", "1e5", "x_1", "a:b"]
KEYWORDS += [
    "st",
    "subject to",
    "Maximize",
    "RHS",
    "ENDATA",
    "*",
    "$",
    "\\",
    "gft",
    "ü",
]
IDS = st.one_of(st.sampled_from(KEYWORDS), st.text(max_size=300))


@pytest.mark.parametrize("kind", ["lp", "mps"])
@given(
    st.lists(IDS, min_size=4, max_size=4, unique=True),
    st.lists(IDS, min_size=4, max_size=4, unique=True),
    st.lists(IDS, min_size=2, max_size=2, unique=True),
)
@settings(max_examples=60)
def test_any_ids_are_read_elsewhere(tmp_path_factory, kind, demands, names, products):
    a, b, c, d = demands
    market = Market.from_auction(
        {
            "demand_curves": {
                a: [{"rate": 0, "price": 10}, {"rate": 1, "price": 5}],
                b: {"max_rate": 0, "price": 7},
                c: {"min_rate": 0, "max_rate": 2, "price": 4},
                d: [{"rate": -2, "price": 3}, {"rate": 0, "price": 1}],
            },
            "portfolios": {
                name: {"demand": {demand: 1.0}, "basis": {products[i // 2]: 1.0}}
                for i, (name, demand) in enumerate(zip(names, demands, strict=True))
            },
        }
    )
    path = tmp_path_factory.getbasetemp() / f"ids.{kind}"
    path.write_text(export_lp(market) if kind == "lp" else export_mps(market))

    status, gains = solved_by_highs(path)

    assert status == "kOptimal"
    assert gains == pytest.approx(clear(market).gains, rel=1e-9)
