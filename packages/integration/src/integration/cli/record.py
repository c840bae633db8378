"""The command `integration record`: market streams into a folder, byte for byte."""

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from integration.cli.arguments import (
    TARGETS,
    add_end,
    add_urls,
    new_parser,
    run_until_told,
    stream_config,
    subscriptions_of,
)
from integration.cli.output import as_json, event_text, note, write, write_json
from integration.models import MarketEvent
from netcore.cli.exits import Exit
from netcore.cli.output import size_text

if TYPE_CHECKING:
    from integration.market.reports import StreamEvent

__all__ = ["add_parser"]

_EPILOG: Final = (
    TARGETS
    + """\
DIR is new or empty. It gets recording.json (what was asked for, which connection
carried it, when it began and ended), http.jsonl (every HTTP answer) and the raw bytes
of every connection with their times. Records until --count, --seconds, Ctrl-C or
SIGTERM, then says goodbye to the venues and prints a summary.

examples:
  integration record binance_spot:btc/usdt:l2 binance_spot:btc/usdt --folder run
  integration record okx:btc/usdt:l2 --folder run --seconds 3600
  integration replay run
"""
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = new_parser(
        commands,
        "record",
        summary="record market streams into a folder",
        epilog=_EPILOG,
    )
    parser.add_argument("targets", nargs="+", metavar="TARGET")
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR")
    add_end(parser, what="events")
    add_urls(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> Exit:
    """Record until the end."""
    subscriptions = subscriptions_of(options.targets)
    tally = _Tally(options)

    async def work() -> None:
        from integration.recording import open_recording

        config = stream_config(options)
        async with open_recording(
            options.folder, subscriptions, config=config
        ) as recording:
            tally.begin()
            while not tally.enough:
                tally.take(await recording.streams.next_batch())

    try:
        run_until_told(work, seconds=options.seconds)
    finally:
        tally.finish()
    return Exit.DONE


class _Tally:
    """Counts what is recorded, and says what was."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._events: Counter[str] = Counter()
        self._reports: Counter[str] = Counter()
        self._began: float | None = None

    @property
    def enough(self) -> bool:
        """Whether as many events came as were wanted."""
        count = self._options.count
        return count is not None and self._events.total() >= count

    def begin(self) -> None:
        """Start the clock."""
        self._began = time.monotonic()
        note(f"recording to {self._options.folder}; Ctrl-C ends it")

    def take(self, events: "list[StreamEvent]") -> None:
        """Count events; tell what the streams say of themselves."""
        for event in events:
            if isinstance(event, MarketEvent):
                self._events[event.kind_name] += 1
            else:
                self._reports[type(event).__name__] += 1
                note(event_text(event))

    def finish(self) -> None:
        """Print the summary, if anything was recorded."""
        if self._began is None:
            return
        row = self._row(time.monotonic() - self._began)
        if as_json(self._options):
            write_json([row])
            return
        counts = ", ".join(f"{n} {name}" for name, n in self._events.items())
        write(
            f"{row['folder']}: {counts or 'no events'}; {size_text(row['bytes'])} in "
            f"{row['sessions']} sessions, {row['seconds']} s"
        )
        for name, number in self._reports.items():
            write(f"  {number} {name}")

    def _row(self, seconds: float) -> dict[str, Any]:
        folder: Path = self._options.folder
        return {
            "event": "summary",
            "folder": str(folder),
            "events": dict(self._events),
            "reports": dict(self._reports),
            "sessions": len(list(folder.glob("*_inbound.rec"))),
            "bytes": sum(p.stat().st_size for p in folder.glob("*_inbound.rec")),
            "seconds": round(seconds, 3),
        }
