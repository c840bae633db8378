"""The command `netcore record`: write a WebSocket down as it comes."""

import argparse
import time
from typing import TYPE_CHECKING, Final, final

from netcore.cli.arguments import EXIT_TEXT, add_connection, add_json, add_messages
from netcore.cli.exits import Exit
from netcore.cli.output import Output, printable, size_text

if TYPE_CHECKING:
    from netcore.cli.talk import Interrupts
    from netcore.stream.record import Recorder
    from netcore.trio import TrioWebSocket
    from netcore.ws import Batch

__all__ = ["Tally", "add_parser", "record"]

_EPILOG: Final = (
    """\
Writes PATH_inbound.rec, PATH_inbound_seq.rec, PATH_outbound.rec, PATH_inbound_time.rec.
They hold everything above TLS, credentials included: keep them like your keys.
Records until --count, --duration, the peer's close, Ctrl-C or SIGTERM; then closes the
WebSocket in order.

examples:
  netcore record wss://venue.example/feed feed --send '{"op":"subscribe"}'
  netcore record wss://venue.example/feed feed --duration 3600 --silence 60 --quiet
  netcore inspect feed
  netcore replay feed

"""
    + EXIT_TEXT
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "record",
        help="record a WebSocket session",
        description="Record a WebSocket session, byte for byte with its times.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_connection(parser)
    parser.add_argument("path", metavar="PATH", help="the recording's name")
    add_messages(parser)
    add_json(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace, output: Output) -> Exit:
    """Record until the end."""
    from functools import partial

    import trio

    from netcore.cli.talk import run_interruptible

    trio.run(run_interruptible, partial(record, options, output))
    return Exit.DONE


async def record(
    options: argparse.Namespace, output: Output, interrupts: "Interrupts"
) -> None:
    """Record a session and print what was recorded, also after a failure."""
    from functools import partial

    from netcore.cli.talk import converse, open_url, plan_of, race, recording

    with recording(options.path, overwrite=options.overwrite) as recorder:
        if recorder is None:
            raise AssertionError("a path makes a recorder")
        tally = Tally(output, options.url, options.path, recorder)
        try:
            await race(
                partial(
                    converse,
                    open_url(options, recorder),
                    plan_of(options),
                    tally,
                    interrupts=interrupts,
                ),
                tally.show,
            )
        finally:
            tally.finish()


@final
class Tally:
    """Counts what is recorded, and shows it as it grows.

    Args:
        output: Where to.
        url: Whom the conversation is with.
        path: The recording's name.
        recorder: What records.
    """

    def __init__(
        self, output: Output, url: str, path: str, recorder: "Recorder"
    ) -> None:
        self._output = output
        self._url = url
        self._path = path
        self._recorder = recorder
        self._began: float | None = None
        self._messages = 0
        self._bytes = 0
        self._end: tuple[int | None, str, str] = (None, "", "")

    def opened(self, ws: "TrioWebSocket") -> None:
        """Start the clock."""
        self._began = time.monotonic()
        self._output.note(f"recording {self._url} to {self._path}_*.rec")

    def heard(self, batch: "Batch") -> None:
        """Count messages."""
        self._messages += len(batch)
        self._bytes += sum(map(len, batch.payloads))

    def said(self, payload: bytes, *, binary: bool) -> None:
        """Do nothing: what is sent is in the recording."""

    def closed(self, code: int | None, reason: str, by: str) -> None:
        """Keep how it ended; the first to say so knows why."""
        if self._end[0] is None:
            self._end = code, reason, by

    async def show(self) -> None:
        """Show the count every second where somebody watches."""
        import trio

        while True:
            await trio.sleep(1)
            if self._output.watched and self._began is not None:
                self._output.progress(self._words())

    def finish(self) -> None:
        """Print what was recorded, if anything was."""
        if self._began is None:
            return
        code, reason, by = self._end
        if self._output.json:
            self._output.event(
                "summary",
                path=self._path,
                messages=self._messages,
                bytes=self._bytes,
                reads=self._recorder.pieces,
                attempts=self._recorder.attempts,
                seconds=round(time.monotonic() - self._began, 3),
                code=code,
                reason=reason,
                by=by,
            )
            return
        if self._output.watched:
            self._output.progress("")
        words = f" {printable(reason, one_line=True)!r}" if reason else ""
        end = f", closed{f' by {by}' if by else ''} with code {code}{words}"
        self._output.line(f"{self._words()}{end if code is not None else ''}")

    def _words(self) -> str:
        passed = time.monotonic() - (self._began or 0.0)
        return (
            f"{self._messages} messages, {size_text(self._bytes)} in "
            f"{self._recorder.pieces} reads, {passed:.1f} s"
        )
