"""The programs that documentation and examples show do what they say."""

import re
import runpy
from decimal import Decimal
from pathlib import Path

from integration.execution import OrderState

ROOT = Path(__file__).resolve().parents[3]


async def test_the_program_of_the_page_runs():
    text = (ROOT / "docs/execution.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {"__name__": "docs.execution"}
    exec(compile(program, "docs/execution.md", "exec"), names)  # noqa: S102 - our own page

    order, fills = await names["main"]()

    assert order.state is OrderState.OPEN
    assert [(f.price, f.quantity) for f in fills] == [(98, Decimal("0.5"))]


async def test_the_example_trades_and_its_assets_add_up_to_nothing(capsys):
    example = runpy.run_path(str(ROOT / "examples/execution_mock.py"))

    sums = await example["main"](40)

    assert sums == {"btc": 0, "usdt": 0}
    said = capsys.readouterr().out
    assert int(said.split()[0]) > 0, "nothing was filled: the example shows nothing"
