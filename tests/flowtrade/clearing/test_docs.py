"""The guide's examples run as they stand, one after the other."""

import re
from pathlib import Path

import pytest

from flowtrade import cli

GUIDE = Path(__file__).parents[3] / "docs" / "clearing.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_block_of_the_guide_runs():
    text = GUIDE.read_text()
    names: dict[str, object] = {}

    blocks = list(BLOCK.finditer(text))
    for block in blocks:
        line = text.count("\n", 0, block.start()) + 1
        source = "\n" * line + block.group(1)
        exec(compile(source, str(GUIDE), "exec"), names)  # noqa: S102 - our own text

    assert len(blocks) == 9


def test_every_command_of_the_guide_is_one():
    pytest.importorskip("cyclopts")
    app = cli.make_app()

    named = set(re.findall(r"^    flowtrade (\w+)", GUIDE.read_text(), re.MULTILINE))

    assert named == {"solve", "verify", "export", "generate", "bench"}
    assert named <= set(app)
