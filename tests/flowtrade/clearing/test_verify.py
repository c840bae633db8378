import ast
import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrade.clearing import Market, UnboundedMarket, clear, verify
from flowtrade.clearing.cli import outcome_to_builtins
from flowtrade.clearing.setaside import clear_others
from flowtrade.clearing.testing import Oddity, odd_auction

SEEDS = st.integers(0, 2**32)
SOLVABLE = st.sampled_from([*(o for o in Oddity if o is not Oddity.TANGLED)])


def batch_of(auction):
    clearing = clear(Market.from_auction(auction))
    # Through JSON, as a stored batch would come.
    return json.loads(json.dumps(outcome_to_builtins(clearing, full=True)))


@given(SEEDS, SOLVABLE)
@settings(max_examples=60)
def test_our_own_batches_pass(seed, oddity):
    auction = odd_auction(seed, oddity)
    try:
        outcome = batch_of(auction)
    except UnboundedMarket:
        return

    finding = verify.verify(auction, outcome)

    assert finding.failures == ()
    assert finding.is_optimal
    assert finding.gains == pytest.approx(outcome["gains"], rel=1e-9, abs=1e-9)


AUCTION = odd_auction(5, Oddity.CAPPED, orders=12)
OUTCOME = batch_of(AUCTION)


def trader(outcome):
    return max(
        outcome["portfolios"], key=lambda k: abs(outcome["portfolios"][k]["rate"])
    )


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (
            lambda o: o["portfolios"][trader(o)].update(
                rate=o["portfolios"][trader(o)]["rate"] * 1.001
            ),
            "does not balance",
        ),
        (
            lambda o: [
                row.update(price=row["price"] + 1.0) for row in o["products"].values()
            ],
            "is not its demands'",
        ),
        (
            lambda o: [row.update(rate=0.0) for row in o["portfolios"].values()],
            "higher gains",
        ),
        (
            lambda o: [
                row.update(rate=row["rate"] * 1e3) for row in o["portfolios"].values()
            ],
            "outside its curve",
        ),
    ],
)
def test_tampering_is_found_and_told(tamper, words):
    outcome = copy.deepcopy(OUTCOME)
    tamper(outcome)

    finding = verify.verify(AUCTION, outcome)

    assert not finding.is_optimal
    assert any(words in failure for failure in finding.failures)


def test_a_price_that_differs_by_nothing_counts_for_what_it_hides():
    curves = {
        "b": {"min_rate": 0, "max_rate": 1e9, "price": 100},
        "s": {"min_rate": -1e9, "max_rate": 0, "price": 100},
    }
    sides = {key: {"demand": {key: 1.0}, "basis": {"X": 1.0}} for key in curves}
    outcome = {
        "portfolios": {"b": {"rate": 1e9}, "s": {"rate": -1e9}},
        "products": {"X": {"price": 100.0}},
        "demands": {"b": {"price": 100.0}, "s": {"price": 100.0}},
    }
    auction = {"demand_curves": curves, "portfolios": sides}
    assert verify.verify(auction, outcome).is_optimal

    outcome["demands"]["b"]["price"] -= 1e-7
    finding = verify.verify(auction, outcome)

    assert finding.mismatch < 1e-8
    assert [text for text in finding.failures if "hide" in text] == list(
        finding.failures
    )
    assert not finding.is_optimal


def test_the_file_needs_numpy_and_nothing_else_of_ours():
    tree = ast.parse(Path(verify.__file__).read_text())

    imported = {
        name.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for name in node.names
    } | {
        node.module.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }

    standard = {"collections", "dataclasses", "itertools", "json", "math", "pathlib"}
    assert imported - standard <= {"numpy", "sys", "typing"}


def test_the_program_counts_bad_batches(tmp_path, capsys):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    spoilt = copy.deepcopy(OUTCOME)
    spoilt["portfolios"][trader(spoilt)]["rate"] *= 2.0
    good.write_text(json.dumps({"auction": AUCTION, "outcome": OUTCOME}))
    bad.write_text(json.dumps({"auction": AUCTION, "outcome": spoilt}))

    assert verify.main([str(good), str(bad)]) == 1

    assert "is_optimal=True" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["portfolios", "products", "demands"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_does_not_pass(part, value):
    field = "rate" if part == "portfolios" else "price"
    for key in OUTCOME[part]:
        outcome = copy.deepcopy(OUTCOME)
        if outcome[part][key][field] is None:
            continue
        outcome[part][key][field] = value

        assert not verify.verify(AUCTION, outcome).is_optimal


def lopsided():
    """A batch that was cleared without an order, whose weight is no weight."""
    auction = {
        "demand_curves": {
            "b": [{"rate": 0, "price": 58}, {"rate": 5, "price": 42}],
            "s": [{"rate": -5, "price": 58}, {"rate": 0, "price": 42}],
            "odd": [{"rate": 0, "price": 58}, {"rate": 5, "price": 42}],
        },
        "portfolios": {
            "b": {"demand": "b", "basis": "A"},
            "s": {"demand": "s", "basis": "A"},
            "odd": {"demand": {"odd": -1e-320}, "basis": {"A": 1.0}},
        },
    }
    clearing = clear_others(Market.from_auction(auction))
    return auction, outcome_to_builtins(clearing, full=True)


def test_a_batch_without_an_order_is_optimal_for_the_others():
    auction, outcome = lopsided()

    finding = verify.verify(auction, outcome)

    assert finding.is_optimal, finding.failures
    assert finding.set_aside == ("odd",)
    outcome["portfolios"]["odd"]["rate"] = 1.0
    assert verify.verify(auction, outcome).failures == (
        "portfolio odd takes no part but has a rate",
    )


@pytest.mark.parametrize(
    "claim",
    [
        {"portfolio": "b", "of": "b", "value": 1.0},
        {"portfolio": "b", "of": "b", "value": 1e-320},
        {"portfolio": "b", "of": "b", "number": "price", "value": 58.0},
        {"portfolio": "b", "of": "b", "number": "rate", "value": 5.0},
        {"portfolio": "b", "of": "A", "number": "basis_weight", "value": 1.0},
        {"portfolio": "b", "of": "b", "number": "unit_price", "value": 58.0},
        {"portfolio": "b", "of": "b", "number": "unit_rate", "value": 5.0},
        {"portfolio": "b", "of": "b", "value": None},
        {"portfolio": "odd", "of": "odd", "scale": 1e-319},
        {"portfolio": "odd", "of": "odd", "scale": 1e-316},
    ],
)
def test_nobody_is_set_aside_on_a_pretext(claim):
    auction, outcome = lopsided()
    (row,) = outcome["set_aside"]
    outcome["set_aside"].append({**row, **claim})
    for name in ("b", "odd"):
        outcome["portfolios"][name]["rate"] = 0.0
    outcome["portfolios"]["s"]["rate"] = 0.0

    words = "is set aside for a number that is not its, or not far out"
    assert (
        f"portfolio {claim['portfolio']} {words}"
        in verify.verify(auction, outcome).failures
    )


def test_who_is_not_in_the_auction_cannot_be_set_aside():
    auction, outcome = lopsided()
    outcome["set_aside"][0]["portfolio"] = "nobody"

    with pytest.raises(KeyError):
        verify.verify(auction, outcome)
