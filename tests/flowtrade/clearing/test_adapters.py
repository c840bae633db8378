"""The small programs through which outside suites reach the clearing."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from flowtrade.clearing.generate import generate

ADAPTERS = Path(__file__).resolve().parents[2] / "adapters"


def load(name):
    spec = importlib.util.spec_from_file_location(name, ADAPTERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name, *arguments, text=""):
    done = subprocess.run(  # noqa: S603 - our own interpreter and file
        [sys.executable, str(ADAPTERS / f"{name}.py"), *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def order(price, low, high):
    return {"min_rate": low, "max_rate": high, "price": price}


def auction(bid, ask):
    return {
        "demand_curves": {"b": bid, "s": ask},
        "portfolios": {
            "b": {"demand": "b", "basis": "A"},
            "s": {"demand": "s", "basis": "A"},
        },
    }


def test_solve_survives_lines_that_are_no_auction():
    hopeless = auction(order(8, 0, 1), order(6, -1, 0))
    hopeless["portfolios"]["b"]["basis"] = {"A": 1e-320}
    good = auction(order(8, 0, 1), order(6, -1, 0))
    lines = ["{", "[" * 100_000, "7", json.dumps(hopeless), json.dumps(good)]
    command = [sys.executable, "-W", "ignore", str(ADAPTERS / "solve.py")]

    done = subprocess.run(  # noqa: S603 - our own interpreter and file
        command, input="\n".join(lines), capture_output=True, text=True, check=True
    )

    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(a["status"], a.get("error")) for a in answers] == [
        ("invalid", "auction.json"),
        ("invalid", "auction.json"),
        ("invalid", "auction.type"),
        ("failed", "uncertified"),
        ("solved", None),
    ]


def test_solve_answers_line_by_line():
    solved = auction(order(8, 0, 1), order(6, -1, 0))
    unbounded = auction(order(8, 0, None), order(6, None, 0))
    invalid = auction(order(8, 1, 2), order(6, -1, 0))
    lines = "\n".join(map(json.dumps, (solved, unbounded, invalid)))

    first, second, third = run("solve", text=lines + "\n\n")

    assert first["status"] == "solved"
    assert first["gains"] == pytest.approx(2.0)
    assert first["products"] == {"A": {"price": pytest.approx(7.0), "rate": 1.0}}
    assert second["status"] == "unbounded"
    assert (third["status"], third["error"]) == ("invalid", "constant.zero_trade")


def test_solve_exports_as_the_anchor_does():
    module = load("solve")
    task = auction(order(8, 0, 1), order(6, None, 0))

    assert b"  y_s_0 <= 0\n" in module.export_lp(task)
    assert b" MI BND    y_s_0\n" in module.export_mps(task)


def test_qp_gives_x_or_none():
    solve = load("qp").solve
    eye = sparse.csc_matrix(np.eye(2))
    rhs = np.array([1.0, 2.0])

    x = solve(eye, -rhs, eye, np.zeros(2), np.array([0.5, 5.0]), 5.0)

    assert x == pytest.approx([0.5, 2.0])
    assert solve(eye, -rhs, eye, np.ones(2), np.zeros(2), 5.0) is None


def save(path, market, *, shift=0.0):
    columns = market.columns
    np.savez(
        path,
        portfolio_ptr=columns.basis.ptr,
        product_idx=columns.basis.idx,
        product_w=columns.basis.weight,
        demand_ptr=columns.usage.ptr,
        demand_idx=columns.usage.idx,
        demand_w=columns.usage.weight,
        curve_ptr=columns.curves.ptr,
        rate=columns.curves.rate,
        price=columns.curves.price + shift,
        n_products=columns.products,
    )


def test_market_bench_prints_seconds_residuals_and_memory(tmp_path):
    market = generate("mixed", 200, 10, seed=1)
    save(tmp_path / "one.npz", market)
    save(tmp_path / "two.npz", market, shift=0.5)

    (result,) = run(
        "market_bench", str(tmp_path / "one.npz"), "--warm", str(tmp_path / "two.npz")
    )

    assert result["status"] == result["warm"]["status"] == "certified"
    assert max(result["residuals"].values()) < 1e-9
    assert result["seconds"]["total"] > 0.0
    assert result["peak_rss_bytes"] > 10**7
    assert result["warm"]["digest"] != result["digest"]


def test_market_bench_tells_of_what_it_cannot_solve_in_one_line(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    bench = load("market_bench").main
    file = str(tmp_path / "one.npz")
    save(file, generate("mixed", 20, 3, seed=1))
    with np.load(file) as arrays:
        np.savez(tmp_path / "odd.npz", **{**arrays, "rate": arrays["rate"] * np.nan})
        np.savez(tmp_path / "less.npz", rate=arrays["rate"])
    whole = (tmp_path / "one.npz").read_bytes()
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "cut.npz").write_bytes(whole[:200])

    codes = [
        bench(arguments)
        for arguments in (
            [],
            [file, "--warm"],
            [str(tmp_path / "odd.npz")],
            [str(tmp_path / "less.npz")],
            [str(tmp_path / "empty.npz")],
            [str(tmp_path / "cut.npz")],
            [file, "--warm", str(tmp_path / "none.npz")],
        )
    ]

    out, err = capsys.readouterr()
    assert codes == [2, 2, 1, 1, 1, 1, 1]
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == [
        "usage",
        "usage",
        "InvalidMarket",
        "ValueError",
        "EOFError",
        "BadZipFile",
        "FileNotFoundError",
    ]
