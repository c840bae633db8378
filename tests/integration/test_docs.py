"""The guide's programs run, and its commands are commands."""

import re
from pathlib import Path

import pytest

from integration.cli.shell import parser

PAGE = Path(__file__).resolve().parents[2] / "docs/integration.md"


@pytest.fixture
def text():
    if not PAGE.exists():
        pytest.skip("the guide is not beside the tests")
    return PAGE.read_text()


def test_the_programs_of_the_guide_run(text):
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) == 3
    names = {"__name__": "guide"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102  our own page


def test_the_commands_of_the_guide_can_be_parsed(text):
    commands = re.findall(r"^    integration (.*)$", text, re.M)
    assert len(commands) >= 6
    for command in commands:
        parser().parse_args(command.split())
