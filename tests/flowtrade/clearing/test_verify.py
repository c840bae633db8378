import ast
import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrade.clearing import Market, UnboundedMarket, clear, verify
from flowtrade.clearing.cli import outcome_to_builtins
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
