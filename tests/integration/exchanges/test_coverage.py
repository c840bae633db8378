"""No published row, recording or signer is left out."""

import re
from pathlib import Path

import pytest

from integration.signing.recipes import RECIPES

TESTS = Path(__file__).resolve().parents[1]
WIRE = TESTS.parents[1] / "../shared/data/wire"
OTHERS = {
    "checksums": "market/test_checksums.py",
    "execution": "execution/test_vectors.py",
    "sequences": "market/test_sequencing.py",
    "signing": "signing/test_vectors.py",
    "symbols": "exchanges/test_symbols.py",
}
"""Files that are no venue's, and the module that runs all of their rows."""

needs_vectors = pytest.mark.skipif(not WIRE.exists(), reason=f"{WIRE} absent")


def named(pattern):
    """Every name that a venue's test module claims."""
    texts = [path.read_text() for path in TESTS.glob("exchanges/test_*.py")]
    found = [hit for text in texts for hit in re.findall(pattern, text, re.MULTILINE)]
    return {name for hit in found for name in re.findall(r'"([\w-]+)"', hit)}


@needs_vectors
def test_every_file_of_rows_is_run_by_a_module():
    files = {path.stem for path in WIRE.glob("*.json")}

    assert files == named(r"^EXCHANGE = VECTORS = (.*)$") | set(OTHERS)
    for stem, module in OTHERS.items():
        assert f"{stem}.json" in (TESTS / module).read_text(), module


@needs_vectors
def test_every_recorded_session_is_replayed_and_mutated():
    files = {path.stem for path in WIRE.glob("replay/*.json")}

    assert files == named(r"^REPLAYS = (\(.*\))$")
    mutations = (TESTS / "exchanges/test_replay_mutations.py").read_text()
    # Nothing numbers or sums up what Coinbase sends: no loss of it can show.
    unguarded = {name for name in files if name not in mutations}
    assert unguarded <= {"coinbase_nu-gbp", "bitstamp_ethusd"}


def test_every_recipe_is_tried_on_a_server_that_checks_signatures():
    text = (TESTS / "signing/test_wire.py").read_text()

    assert {name for name in RECIPES if name not in text} == set()
