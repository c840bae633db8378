"""The guide's blocks run, one after the other, and its names exist."""

import builtins
import re
from pathlib import Path

import pytest

import netcore.errors

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "netcore.md"

if not GUIDE.exists():
    pytest.skip("the guide is not beside the tests", allow_module_level=True)

TEXT = GUIDE.read_text()


def test_the_blocks_run_one_after_the_other():
    names: dict[str, object] = {"__name__": "guide"}

    for found in re.finditer(r"^```python\n(.*?)^```", TEXT, re.M | re.S):
        line = TEXT.count("\n", 0, found.start(1))
        code = "\n" * line + found.group(1)  # tracebacks name the guide's lines
        exec(compile(code, str(GUIDE), "exec"), names)  # noqa: S102 -- our own text

    assert names["got"] == ["first", "second"]


def test_every_error_the_guide_names_exists():
    named = set(re.findall(r"`([A-Z]\w*(?:Error|Full|Closed|Lost|Divergence))\b", TEXT))

    known = {*vars(netcore.errors), *vars(builtins)}
    missing = named - known
    assert named
    assert missing == set()


def test_every_heading_of_the_contents_exists():
    anchors = set(re.findall(r"\]\(#([\w-]+)\)", TEXT))
    headings = re.findall(r"^#+ (.+)$", TEXT, re.M)
    slugs = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings
    }

    assert anchors <= slugs
