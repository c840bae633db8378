import runpy
from pathlib import Path

EXAMPLE = runpy.run_path(
    str(Path(__file__).resolve().parents[2] / "examples/running_volume.py")
)


async def test_the_volume_runs(capsys):
    assert await EXAMPLE["main"]() == [0.0, 1.5, 3.5]
    assert capsys.readouterr().out == "0.0\n1.5\n3.5\n"
