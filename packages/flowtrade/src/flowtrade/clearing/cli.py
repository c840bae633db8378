"""The offline tool's commands as plain functions: files in, files out.

The command line proper parses arguments and calls these. `-` is standard input or
output. Every function returns an exit code: 0 done, 1 the answer is not proven or the
check failed, 2 the input is no valid auction, 3 the auction is refused.
"""

import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import msgspec

from flowtrade.clearing.errors import (
    InvalidMarket,
    MissingExtra,
    UnboundedMarket,
    Uncertified,
)
from flowtrade.clearing.export import Dialect, export_lp, export_mps
from flowtrade.clearing.generate import KINDS, generate
from flowtrade.clearing.market import Market
from flowtrade.clearing.outcome import Clearing
from flowtrade.clearing.setaside import clear_others
from flowtrade.clearing.solve import clear
from flowtrade.clearing.verify import verify
from flowtrade.models.clearing import SolverMode

__all__ = [
    "ExitCode",
    "auction_to_builtins",
    "bench_markets",
    "export_auction",
    "generate_auction",
    "outcome_to_builtins",
    "solve_auction",
    "verify_batch",
]

_FORMATS: dict[str, Callable[..., str]] = {"lp": export_lp, "mps": export_mps}


_UNREADABLE = (OSError, ValueError, RecursionError)
"""No file, no text, no JSON, or JSON nested beyond reason."""


class ExitCode(IntEnum):
    """What a command tells its caller."""

    DONE = 0
    FAILED = 1
    INVALID = 2
    REFUSED = 3


def solve_auction(
    source: str = "-",
    output: str = "-",
    *,
    mode: SolverMode = SolverMode.AUTO,
    full: bool = False,
    set_aside: bool = False,
    time_limit: float = 60.0,
    plot: str | None = None,
) -> ExitCode:
    """Clear an auction file.

    Args:
        source: Auction in JSON.
        output: Outcome in JSON: portfolios and products with price and rate.
        mode: Who may solve it.
        full: Also write demands, ranges, reasons, certificate, report and the
            auction itself: a batch that `verify_batch` can check.
        set_aside: Go on without orders whose numbers are far out of scale, where
            nothing can be certified with them; the outcome names them.
        time_limit: Seconds.
        plot: File to draw products and rates to, such as `clearing.png`; needs the
            extra `flowtrade[plots]`.
    """
    auction, market = _load(source)
    if market is None:
        return ExitCode.INVALID
    solve = clear_others if set_aside else clear
    try:
        clearing = solve(market, mode=mode, time_limit=time_limit)
    except UnboundedMarket as error:
        _complain(error)
        return ExitCode.REFUSED
    except Uncertified as error:
        _complain(error)
        return ExitCode.FAILED
    if clearing.set_aside:
        names = ", ".join(one.portfolio for one in clearing.set_aside)
        _complain(f"set aside, for numbers far out of scale: {names}")
    outcome = outcome_to_builtins(clearing, full=full)
    code = _write(output, {"auction": auction, "outcome": outcome} if full else outcome)
    if code is not ExitCode.DONE or plot is None:
        return code
    return _draw(plot, market, clearing)


def verify_batch(source: str = "-") -> ExitCode:
    """Check a batch written by `solve_auction(full=True)`, trusting none of it."""
    try:
        batch = json.loads(_read(source))
    except _UNREADABLE as error:
        _complain(f"{source} is no JSON: {error}")
        return ExitCode.INVALID
    try:
        finding = verify(batch["auction"], batch["outcome"])
    except (KeyError, TypeError, ValueError) as error:
        _complain(f"no complete batch: {error!r}")
        return ExitCode.INVALID
    fields = finding.__dataclass_fields__
    # What is no number is told as none: JSON has no word for it.
    report = {name: _finite(getattr(finding, name)) for name in fields}
    written = _write("-", report)
    return written if written or finding.is_optimal else ExitCode.FAILED


def export_auction(
    source: str = "-",
    output: str = "-",
    *,
    file_format: str | None = None,
    dialect: Dialect = Dialect.READABLE,
) -> ExitCode:
    """Write an auction for other solvers.

    Args:
        source: Auction in JSON.
        output: File to write.
        file_format: `lp` or `mps`; by default the extension of the output tells.
        dialect: Whose conventions to follow.
    """
    wanted = (file_format or Path(output).suffix.removeprefix(".")).lower()
    if wanted not in _FORMATS:
        _complain(f"unable to infer the format from {output!r}: name lp or mps")
        return ExitCode.INVALID
    _, market = _load(source)
    if market is None:
        return ExitCode.INVALID
    return _emit(output, _FORMATS[wanted](market, dialect=dialect))


def generate_auction(
    kind: str,
    orders: int,
    products: int,
    output: str = "-",
    *,
    seed: int = 0,
) -> ExitCode:
    """Write a realistic auction.

    Args:
        kind: A kind of market, see `flowtrade.clearing.generate.KINDS`.
        orders: Number of portfolios.
        products: Number of products.
        output: File to write.
        seed: The same seed gives the same auction.
    """
    if kind not in KINDS:
        _complain(f"no kind {kind!r}; there are {', '.join(KINDS)}")
        return ExitCode.INVALID
    if min(orders, products) < 1:
        _complain(f"orders and products must be positive, were {orders} and {products}")
        return ExitCode.INVALID
    market = generate(kind, orders, products, seed=seed)
    return _write(output, auction_to_builtins(market))


def bench_markets(
    kind: str, orders: int, products: int, *, seeds: int = 3, output: str = "-"
) -> ExitCode:
    """Time the clearing of generated markets.

    Args:
        kind: A kind of market.
        orders: Number of portfolios.
        products: Number of products.
        seeds: Markets to solve.
        output: Medians in JSON.
    """
    if kind not in KINDS:
        _complain(f"no kind {kind!r}; there are {', '.join(KINDS)}")
        return ExitCode.INVALID
    if min(orders, products, seeds) < 1:
        _complain("orders, products and seeds must be positive")
        return ExitCode.INVALID
    totals: list[float] = []
    unbounded = 0
    phases: dict[str, list[float]] = {}
    worst = 0.0
    for seed in range(seeds):
        market = generate(kind, orders, products, seed=seed)
        start = time.perf_counter()
        try:
            clearing = clear(market, time_limit=600.0)
        except UnboundedMarket:
            unbounded += 1
            continue
        except Uncertified as error:
            _complain(error)
            return ExitCode.FAILED
        totals.append(time.perf_counter() - start)
        worst = max(worst, clearing.certificate.worst)
        for phase, seconds in clearing.report.seconds.items():
            phases.setdefault(phase, []).append(seconds)
    return _write(
        output,
        {
            "market": f"{kind} {orders}x{products}",
            "markets": len(totals),
            "unbounded": unbounded,
            "seconds": statistics.median(totals) if totals else None,
            "phases": {
                name: statistics.median(times) for name, times in phases.items()
            },
            "worst": worst,
        },
    )


def outcome_to_builtins(clearing: Clearing, *, full: bool = False) -> dict[str, Any]:
    """An outcome as JSON-ready values.

    Args:
        clearing: The answer.
        full: Everything, not only prices and rates of portfolios and products.
    """
    groups = {"portfolios": clearing.portfolios, "products": clearing.products}
    aside: dict[str, Any] = {}
    if clearing.set_aside:
        aside["set_aside"] = msgspec.to_builtins(list(clearing.set_aside))
    if not full:
        rows_of = {
            name: {
                key: {"price": row.price, "rate": row.rate} for key, row in rows.items()
            }
            for name, rows in groups.items()
        }
        return rows_of | aside
    return {
        "status": clearing.status.value,
        "gains": clearing.gains,
        "digest": clearing.digest,
        **{name: msgspec.to_builtins(dict(rows)) for name, rows in groups.items()},
        "demands": msgspec.to_builtins(dict(clearing.demands)),
        "certificate": msgspec.to_builtins(clearing.certificate),
        "report": msgspec.to_builtins(clearing.report),
        **aside,
    }


def auction_to_builtins(market: Market) -> dict[str, Any]:
    """A market as an auction file's values."""
    columns = market.columns
    curves: dict[str, Any] = {}
    ptr = columns.curves.ptr.tolist()
    rates, prices = columns.curves.rate.tolist(), columns.curves.price.tolist()
    for d, name in enumerate(market.demand_ids):
        if columns.known[d]:
            part = slice(ptr[d], ptr[d + 1])
            curves[name] = _curve(rates[part], prices[part])
    usage, basis = columns.usage, columns.basis
    portfolios = {
        name: {
            "demand": _weights(usage.take_row(j), market.demand_ids),
            "basis": _weights(basis.take_row(j), market.product_ids),
        }
        for j, name in enumerate(market.portfolio_ids)
    }
    return {"demand_curves": curves, "portfolios": portfolios}


def _draw(path: str, market: Market, clearing: Clearing) -> ExitCode:
    from flowtrade.clearing.plots import plot_clearing

    try:
        plot_clearing(market, clearing).savefig(path)
    except (MissingExtra, ValueError) as error:  # ValueError: no such format
        _complain(error)
        return ExitCode.INVALID
    return ExitCode.DONE


def _curve(rates: list[float], prices: list[float]) -> object:
    if not rates:
        return None
    infinite = float("inf")
    if rates[0] == -infinite or rates[-1] == infinite:
        low, high = rates[0], rates[-1]
        return {
            "min_rate": None if low == -infinite else low,
            "max_rate": None if high == infinite else high,
            "price": prices[0],
        }
    return [{"rate": r, "price": p} for r, p in zip(rates, prices, strict=True)]


def _weights(row: list[tuple[int, float]], names: Sequence[str]) -> dict[str, float]:
    return {names[i]: weight for i, weight in row}


def _load(source: str) -> tuple[object, Market | None]:
    try:
        auction = json.loads(_read(source))
        return auction, Market.from_auction(auction)
    except _UNREADABLE as error:
        _complain(f"{source} is no JSON: {error}")
    except InvalidMarket as error:
        _complain(f"{error.code}: {error}")
    return None, None


def _read(source: str) -> str:
    return (
        sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    )


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _write(output: str, value: object) -> ExitCode:
    return _emit(output, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _emit(output: str, text: str) -> ExitCode:
    try:
        if output == "-":
            sys.stdout.write(text)
        else:
            Path(output).write_text(text, encoding="utf-8")
    except (OSError, UnicodeError) as error:
        _complain(f"{output} cannot be written: {error}")
        return ExitCode.INVALID
    return ExitCode.DONE


def _complain(problem: object) -> None:
    sys.stderr.write(f"{problem}\n")
