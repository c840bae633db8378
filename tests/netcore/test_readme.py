import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "packages" / "netcore" / "README.md"


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)


def test_the_examples_run_one_after_the_other():
    if not README.exists():
        pytest.skip("the package's README is not beside the tests")
    names: dict[str, object] = {"__name__": "readme"}

    for block in blocks():
        exec(compile(block, str(README), "exec"), names)  # noqa: S102 -- our own text

    assert names["feed"].got == b"tick"
