"""The command `integration replay`: a recorded folder, played again offline."""

import argparse
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, final

import msgspec

from integration.cli.arguments import kind, new_parser
from integration.cli.output import as_json, event_json, event_text, write, write_json
from integration.models import (
    Candle,
    FundingRate,
    IndexPrice,
    Liquidation,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    SubKind,
)
from netcore.cli.arguments import positive
from netcore.cli.exits import Exit, UsageFault

if TYPE_CHECKING:
    from typing import TypeAlias

    from integration.market.reports import StreamEvent
    from integration.replay import BookSummary, Replay, ReplayReport
    from integration.sinks.parquet import ParquetSink
    from netcore.cli.talk import Interrupts

    _Sink: TypeAlias = "_JsonLines | ParquetSink"

__all__ = ["add_parser"]

_EPILOG: Final = """\
Everything goes through the same decoders, sequence rules and checksums as when it was
live, with the recorded times: gaps, stale books, checksum faults and outages are
printed where they happened. At the end comes what the recording holds and the top of
every book. Fast as it can unless --paced or --speed asks for the recorded pace.

examples:
  integration replay run
  integration replay run --kind trades --json | jq .kind.price
  integration replay run --quiet --check
  integration replay run --sink parquet:tables --quiet
  integration replay run --speed 10
"""

_SENT_TOGETHER: Final = 4096
"""Events given to a sink at once: it makes each batch durable."""

_MODELS: Final[dict[type, SubKind]] = {
    PublicTrade: SubKind.PUBLIC_TRADES,
    OrderBookL1: SubKind.ORDER_BOOKS_L1,
    OrderBookSnapshot: SubKind.ORDER_BOOKS_L2,
    OrderBookUpdate: SubKind.ORDER_BOOKS_L2,
    Liquidation: SubKind.LIQUIDATIONS,
    Candle: SubKind.CANDLES,
    FundingRate: SubKind.FUNDING_RATES,
    MarkPrice: SubKind.MARK_PRICES,
    IndexPrice: SubKind.INDEX_PRICES,
    OpenInterest: SubKind.OPEN_INTEREST,
}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "replay",
        summary="play a recorded folder again, offline",
        epilog=_EPILOG,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--kind",
        action="append",
        default=[],
        type=kind,
        metavar="KIND",
        help="only these: trades, l1, l2, ...; reports always; repeatable",
    )
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--paced", action="store_const", const=1.0, dest="speed", help="as it was"
    )
    pace.add_argument(
        "--speed", type=positive, metavar="X", help="X times as fast as it was"
    )
    parser.add_argument(
        "--sink",
        type=_sink_spec,
        metavar="parquet:DIR|jsonl:FILE",
        help="write the market events there, too",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="print the summary, no events"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit with 1 unless the recording is whole and every book is live",
    )
    parser.set_defaults(command=run, speed=None)


def _sink_spec(text: str) -> tuple[str, Path]:
    name, _, path = text.partition(":")
    if name not in {"parquet", "jsonl"} or not path:
        raise argparse.ArgumentTypeError(
            f"expected parquet:DIR or jsonl:FILE, was {text!r}"
        )
    return name, Path(path)


def run(options: argparse.Namespace) -> Exit:
    """Play the folder."""
    import trio

    from integration.recording import RecordingFault
    from integration.replay import replay_session
    from netcore.cli.talk import run_interruptible

    replay = replay_session(options.folder)

    async def work(_: "Interrupts") -> None:
        sink = await _open_sink(options.sink)
        try:
            await _play(replay, options, sink)
        finally:
            if sink is not None:
                with trio.CancelScope(shield=True):
                    await sink.aclose()

    try:
        trio.run(run_interruptible, work)
    except RecordingFault:
        # What was played until then is told all the same.
        _show(replay.report, options)
        raise
    report = replay.report
    _show(report, options)
    return Exit.FAILED if options.check and not report.whole else Exit.DONE


async def _play(
    replay: "Replay", options: argparse.Namespace, sink: "_Sink | None"
) -> None:
    """Print what is wanted, at the wanted pace."""
    import trio

    show = None if options.quiet else _printer(json=as_json(options))
    pace = None if options.speed is None else _Pace(options.speed)
    waiting: list[MarketEvent] = []
    try:
        for moment in replay:
            if pace is not None:
                await trio.sleep(pace.wait(moment.time_ns))
            kept = [event for event in moment.events if _wanted(event, options.kind)]
            if show is not None:
                show(kept)
            if sink is not None:
                waiting += [event for event in kept if isinstance(event, MarketEvent)]
                if len(waiting) >= _SENT_TOGETHER:
                    taken, waiting = waiting, []
                    await sink.send_batch(taken)
            # So that Ctrl-C is heard between two reads.
            await trio.lowlevel.checkpoint()
    finally:
        # What was played is written, whatever ended it: damage, or Ctrl-C.
        if sink is not None and waiting:
            with trio.CancelScope(shield=True):
                await sink.send_batch(waiting)


def _wanted(event: "StreamEvent", kinds: Collection[SubKind]) -> bool:
    if not kinds or not isinstance(event, MarketEvent):
        return True
    return _MODELS[type(event.kind)] in kinds


@final
class _Pace:
    """Turns recorded times into waits."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._start: tuple[int, float] | None = None

    def wait(self, time_ns: int) -> float:
        """Return the seconds until a recorded moment is due."""
        now = time.monotonic()
        if self._start is None:
            self._start = time_ns, now
        first_ns, began = self._start
        return max(0.0, began + (time_ns - first_ns) / 1e9 / self._speed - now)


def _printer(*, json: bool) -> "_Show":
    if json:
        return lambda events: write_json(map(event_json, events))

    def show(events: "Sequence[StreamEvent]") -> None:
        if events:
            write("\n".join(map(event_text, events)))

    return show


class _Show(Protocol):
    """Prints events."""

    def __call__(self, events: "Sequence[StreamEvent]", /) -> None: ...


# Sinks


class _JsonLines:
    """A file of JSON lines as a `BatchSink`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    async def send_batch(self, items: Sequence[MarketEvent]) -> None:
        """Write events, one line each."""
        import trio

        await trio.lowlevel.checkpoint()
        self._file.writelines(
            msgspec.json.encode(event_json(item)) + b"\n" for item in items
        )

    async def aclose(self) -> None:
        """Finish the file."""
        import trio

        self._file.close()
        await trio.lowlevel.checkpoint()


async def _open_sink(
    spec: tuple[str, Path] | None,
) -> "_Sink | None":
    if spec is None:
        return None
    name, path = spec
    if name == "parquet":
        from integration.sinks.parquet import ParquetSink

        return await ParquetSink.open(path)
    try:
        return _JsonLines(path.open("xb"))
    except OSError as error:
        raise UsageFault(f"--sink {path}: {error.strerror}") from error


# The end


def _show(report: "ReplayReport", options: argparse.Namespace) -> None:
    if as_json(options):
        body: dict[str, Any] = msgspec.to_builtins(report)
        write_json([{"event": "summary", "whole": report.whole, **body}])
        return
    counts = ", ".join(f"{n} {name}" for name, n in report.events.items())
    write(f"{counts or 'no events'}; {report.messages} messages in {report.sessions}")
    for line in _complaints(report):
        write(f"  {line}")
    for book in report.books:
        write(f"  {_top(book)}")


def _complaints(report: "ReplayReport") -> list[str]:
    lines = [f"{n} stale: {reason}" for reason, n in report.stale.items()]
    if report.resynced:
        lines.append(f"{report.resynced} resynced, {report.missed} changes missed")
    if report.outages:
        lines.append(f"{report.outages} outages")
    lines.extend(f"{n} faults: {name}" for name, n in report.faults.items())
    lines.extend(f"{n} HTTP {s}" for s, n in report.http.items() if s != "200")
    if report.stopped_ns is None:
        lines.append("the recording was cut off")
    return lines


def _top(book: "BookSummary") -> str:
    bid, ask = (
        "-" if side is None else f"{side[1]} @ {side[0]}"
        for side in (book.best_bid, book.best_ask)
    )
    name = f"{book.exchange} {book.instrument}"
    return f"{name} {book.state} {book.sequence or ''}: {bid} | {ask}"
