import json
import subprocess
import sys

import pytest

pytest.importorskip("cyclopts")

from flowtrade.cli import main  # after the skip: it needs the extra

AUCTION = {
    "demand_curves": {
        "b": [{"rate": 0, "price": 10}, {"rate": 1, "price": 5}],
        "s": [{"rate": -1, "price": 7.5}, {"rate": 0, "price": 7.5}],
    },
    "portfolios": {
        "b": {"demand": "b", "basis": "A"},
        "s": {"demand": "s", "basis": "A"},
    },
}


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


@pytest.fixture
def auction(tmp_path):
    path = tmp_path / "auction.json"
    path.write_text(json.dumps(AUCTION))
    return path


def test_solve_writes_the_outcome(auction, tmp_path):
    output = tmp_path / "outcome.json"

    assert run("solve", auction, output) == 0

    assert json.loads(output.read_text())["products"]["A"]["price"] == 7.5


def test_a_full_batch_verifies_and_a_changed_one_does_not(auction, tmp_path):
    batch = tmp_path / "batch.json"
    assert run("solve", auction, batch, "--full") == 0
    assert run("verify", batch) == 0

    told = json.loads(batch.read_text())
    told["outcome"]["portfolios"]["b"]["rate"] = 0.9
    batch.write_text(json.dumps(told))

    assert run("verify", batch) == 1


def test_export_tells_the_format_by_the_extension(auction, tmp_path):
    output = tmp_path / "auction.lp"

    assert run("export", auction, output) == 0

    assert output.read_text().startswith("Maximize")


def test_generate_makes_an_auction_that_solve_takes(tmp_path):
    made = tmp_path / "made.json"

    assert run("generate", "mixed", "20", "3", made, "--seed", "1") == 0
    assert run("solve", made, tmp_path / "outcome.json") == 0


@pytest.mark.parametrize(
    "arguments",
    [["solve", "no-such-file.json"], ["dissolve"], ["solve", "--no-such-option"]],
)
def test_what_does_not_fit_is_code_2(arguments, capsys):
    assert run(*arguments) == 2

    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("slove", "did you mean solve?"),
        ("no-such-command", "there are solve, verify, export, generate"),
    ],
)
def test_a_command_that_is_none_is_named_without_loading_any(word, answer):
    script = (
        "import sys\n"
        "from flowtrade.cli import main\n"
        f"try: main([{word!r}])\n"
        "finally: print({'cyclopts', 'litestar', 'numpy', 'trio'} & {*sys.modules})"
    )
    done = subprocess.run(  # noqa: S603  # ourselves
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert f"flowtrade: no command {word!r}" in done.stderr
    assert answer in done.stderr
    assert done.stdout == "set()\n"


def test_options_without_a_command_are_the_parsers(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out
    assert run("--no-such-option") == 2
