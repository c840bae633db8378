"""`market-recorder`: record an exchange's bytes, look at them, play them back."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import cyclopts
import msgspec
import trio
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from integration.errors import IntegrationError
from integration.program import (
    EXIT_USAGE,
    complain,
    configure_logging,
    run_program,
)
from integration.recording import RecordingFault
from integration.replay import ReplayReport, replay_session
from market_recorder.record import OptionError, RecordOptions, record
from market_recorder.show import export, play
from netcore.errors import NetError

__all__ = ["app", "main"]

T = TypeVar("T")

_NAME = "market-recorder"
_USAGE = (OptionError, RecordingFault)
_RUN = (IntegrationError, NetError)

app = App(
    name=_NAME,
    help="Record an exchange's raw market data and play it back.",
    result_action="return_value",
    default_parameter=Parameter(negative=(), show_default=False),
)


def _words(_type: type, tokens: tuple[cyclopts.Token, ...]) -> tuple[str, ...]:
    """Read words separated by commas, in one or several arguments."""
    return tuple(w for token in tokens for w in token.value.split(",") if w)


Words = Annotated[tuple[str, ...], Parameter(converter=_words, n_tokens=1)]


@app.command(name="record")
def record_command(
    *,
    out: Path,
    exchange: str = "binance_spot",
    instruments: Words = ("btc_usdt",),
    kinds: Words = ("public_trades", "order_books_l1", "order_books_l2"),
    duration: float | None = None,
    websocket_url: str | None = None,
    rest_url: str | None = None,
    tls_ca: Path | None = None,
    json: bool | None = None,
) -> int:
    """Record until SIGINT or SIGTERM, or for a time.

    Args:
        out: Folder to record into; new or empty.
        exchange: Exchange id (default binance_spot).
        instruments: Such as btc_usdt,eth_usdt_perpetual (default btc_usdt).
        kinds: Such as public_trades,order_books_l2 (default these and order_books_l1).
        duration: Seconds to record from when all is subscribed; by default until asked
            to stop.
        websocket_url: Record from here instead, such as from a local exchange.
        rest_url: Fetch images of books from here instead.
        tls_ca: Trust this authority (PEM) instead of the system's.
        json: Log JSON lines; by default unless stderr is a terminal.
    """
    configure_logging(json=json)
    options = RecordOptions(
        out=out,
        exchange=exchange,
        instruments=instruments,
        kinds=kinds,
        duration=duration,
        websocket_url=websocket_url,
        rest_url=rest_url,
        tls_ca=tls_ca,
    )

    async def run(stop: trio.Event) -> None:
        await record(options, stop)

    return run_program(_NAME, run, usage_errors=_USAGE, run_errors=_RUN)


@app.command(name="inspect")
def inspect_command(folder: Path, *, json: bool = False) -> int:
    """Say what a recording holds.

    Args:
        folder: As written by `record`.
        json: Print JSON; by default a table.
    """
    configure_logging()

    async def run(stop: trio.Event) -> None:
        report = await _unless_stopped(lambda: _inspected(folder), stop)
        if report is None:
            return
        if json:
            sys.stdout.write(msgspec.json.encode(_plain(report)).decode() + "\n")
        else:
            Console().print(_table(report))

    return run_program(_NAME, run, usage_errors=_USAGE, run_errors=_RUN)


@app.command(name="play")
def play_command(folder: Path, *, speed: str = "max") -> int:
    """Write a recording's normalised events to stdout, as JSON lines.

    Args:
        folder: As written by `record`.
        speed: Recorded seconds per second (1 is its own pace); by default "max".
    """
    configure_logging()

    async def run(stop: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when, stop, nursery.cancel_scope)
            try:
                await play(folder, sys.stdout.buffer, speed=_speed(speed))
            except BrokenPipeError:
                # The reader has seen enough (`play ... | head`). Python would flush
                # stdout at exit and complain again.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            nursery.cancel_scope.cancel()

    return run_program(_NAME, run, usage_errors=_USAGE, run_errors=(*_RUN, OSError))


@app.command(name="export")
def export_command(folder: Path, out: Path) -> int:
    """Copy a recording into one file that `exchange-sim --recording` plays.

    Args:
        folder: As written by `record`.
        out: File to write (gzip); must not exist.
    """
    configure_logging()

    async def run(stop: trio.Event) -> None:
        await _unless_stopped(lambda: export(folder, out), stop)

    return run_program(_NAME, run, usage_errors=_USAGE, run_errors=_RUN)


def main() -> None:
    """Run the command line and exit."""
    try:
        code = app(exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        complain(_NAME, error)
        sys.exit(EXIT_USAGE)
    sys.exit(code if isinstance(code, int) else 0)


async def _cancel_when(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()


async def _unless_stopped(work: Callable[[], T], stop: trio.Event) -> T | None:
    """Do long work in a thread; None if asked to stop meanwhile."""
    result: T | None = None
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when, stop, nursery.cancel_scope)
        try:
            result = await trio.to_thread.run_sync(work, abandon_on_cancel=True)
        except (IntegrationError, NetError) as error:
            failure = error  # raised outside the nursery, which would wrap it
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result


def _speed(text: str) -> float:
    try:
        speed = 0.0 if text == "max" else float(text)
    except ValueError as error:
        raise OptionError(f'--speed must be a number or "max", was {text!r}') from error
    if not 0 <= speed < float("inf"):
        raise OptionError(f"--speed must be a number from 0, was {text}")
    return speed


def _inspected(folder: Path) -> ReplayReport:
    """Play a recording to its end and say what it holds."""
    replay = replay_session(folder)
    for _ in replay:
        pass
    return replay.report


def _plain(report: ReplayReport) -> dict[str, Any]:
    """Return a report as JSON's own types, with what is to be known of it at once."""
    complete = {"complete": report.stopped_ns is not None, "whole": report.whole}
    return {**complete, **msgspec.to_builtins(report)}


def _table(report: ReplayReport) -> Table:
    """Show a report as rows of name and value."""
    table = Table(title="recording", show_header=False)
    if report.last_ns is not None:
        seconds = (report.last_ns - report.started_ns) / 1e9
        table.add_row("duration", f"{seconds:.3f} s")
    complete = report.stopped_ns is not None
    table.add_row("complete", "yes" if complete else "no: it was cut off")
    table.add_row("payload", f"{report.bytes:,} bytes")
    table.add_row("messages", f"{report.messages:,} in {report.sessions} sessions")
    for name, count in (*report.events.items(), *report.faults.items()):
        table.add_row(name, f"{count:,}")
    if report.outages:
        table.add_row("outages", f"{report.outages:,}")
    for reason, count in report.stale.items():
        table.add_row(f"book stale: {reason}", f"{count:,}")
    for status, count in report.http.items():
        table.add_row(f"HTTP {status}", f"{count:,}")
    for book in report.books:
        bid, ask = (
            "-" if side is None else side[0] for side in (book.best_bid, book.best_ask)
        )
        size = f"{book.bids} bids, {book.asks} asks, sequence {book.sequence}"
        name = f"{book.exchange} {book.instrument}"
        table.add_row(name, f"{book.state}, {bid} / {ask}, {size}")
    return table


if __name__ == "__main__":
    main()
