"""The description that is checked in is the one the service serves."""

import json
from pathlib import Path

import pytest

pytest.importorskip("cyclopts")

from flowtrade.cli import main

CHECKED_IN = Path(__file__).parents[3] / "docs" / "openapi.json"


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_the_checked_in_description_is_up_to_date(capsys):
    assert run("schema") == 0

    # If this fails on purpose: flowtrade schema docs/openapi.json
    assert capsys.readouterr().out == CHECKED_IN.read_text()


def test_it_is_written_to_a_file(tmp_path):
    output = tmp_path / "openapi.json"

    assert run("schema", output) == 0

    assert json.loads(output.read_text())["openapi"].startswith("3.1")


def test_a_folder_that_is_missing_is_named(tmp_path, capsys):
    assert run("schema", tmp_path / "none" / "openapi.json") == 2

    assert "openapi.json: No such file" in capsys.readouterr().err
