"""The command `netcore ws`: talk to a WebSocket from a terminal or a pipe."""

import argparse
from typing import TYPE_CHECKING, Final, final

from netcore.cli.arguments import (
    EXIT_TEXT,
    add_connection,
    add_json,
    add_messages,
    seconds,
    standard_input,
)
from netcore.cli.exits import Exit
from netcore.cli.output import Output, json_line, json_payload, octets, printable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from netcore.cli.talk import Interrupts
    from netcore.trio import TrioWebSocket
    from netcore.ws import Batch, Frame

__all__ = ["MessagePrinter", "add_parser", "talk"]

_EPILOG: Final = (
    """\
Every line of standard input is sent as one message, every message received is printed.
Text goes out as it came, with control characters escaped on a terminal; binary messages
are shown as ASCII with \\xNN for other bytes.

When the input ends, messages are printed for one more second (--linger), or, with
--count or --duration, until that is reached. Use --no-input to send nothing and to
listen until the peer closes. Ctrl-C and SIGTERM close the WebSocket in order (exit code
0); a second one cuts that short.

examples:
  netcore ws ws://127.0.0.1:8080/echo
  netcore ws wss://venue.example/feed --send '{"op":"subscribe"}' --no-input --count 100
  echo '{"op":"ping"}' | netcore ws wss://venue.example/feed --count 1 --silence 5
  netcore ws wss://venue.example/feed --no-input --json --record feed
  netcore ws wss://127.0.0.1:8443/ --ca authority.pem --header 'X-Key: abc'

"""
    + EXIT_TEXT
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "ws",
        help="send and receive messages over a WebSocket",
        description="Send lines as messages over a WebSocket; print what comes back.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_connection(parser)
    add_messages(parser)
    parser.add_argument(
        "--no-input", action="store_true", help="read nothing from standard input"
    )
    parser.add_argument(
        "--linger",
        type=seconds,
        metavar="SECONDS",
        help="how long to listen after the input's end, or forever",
    )
    parser.add_argument("--record", metavar="PATH", help="record all bytes to PATH")
    add_json(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace, output: Output) -> Exit:
    """Talk until the end."""
    from functools import partial

    import trio

    from netcore.cli.talk import run_interruptible

    trio.run(run_interruptible, partial(talk, options, output))
    return Exit.DONE


async def talk(
    options: argparse.Namespace,
    output: Output,
    interrupts: "Interrupts",
    lines: "AsyncGenerator[bytes, None] | None" = None,
) -> None:
    """Hold the conversation.

    Args:
        options: Of the command.
        output: Where messages go.
        interrupts: How signals reach the conversation.
        lines: What to send instead of the lines of standard input.
    """
    from netcore.cli.lines import read_lines
    from netcore.cli.talk import converse, open_url, plan_of, recording

    if lines is None and not options.no_input:
        lines = read_lines(standard_input().fileno())
    with recording(options.record, overwrite=options.overwrite) as recorder:
        await converse(
            open_url(options, recorder),
            plan_of(options, linger=options.linger),
            MessagePrinter(output, options.url),
            interrupts=interrupts,
            lines=lines,
        )


@final
class MessagePrinter:
    """Prints a conversation: messages to standard output, the rest beside it.

    Args:
        output: Where to.
        url: Whom the conversation is with.
    """

    def __init__(self, output: Output, url: str) -> None:
        self._output = output
        self._url = url
        self._open = False

    def opened(self, ws: "TrioWebSocket") -> None:
        """Tell that the handshake succeeded, and what it settled."""
        self._open = True
        agreement = ws.agreement
        extensions = "" if agreement is None else agreement.extensions
        if self._output.json:
            self._output.event(
                "open", url=self._url, subprotocol=ws.subprotocol, extensions=extensions
            )
            return
        words = [f"connected to {self._url}"]
        if ws.subprotocol is not None:
            words.append(f"subprotocol {ws.subprotocol}")
        if extensions:
            words.append(extensions)
        self._output.note(printable(", ".join(words), one_line=True))

    def heard(self, batch: "Batch") -> None:
        """Print messages."""
        if self._output.json:
            time = batch.timestamp_ns
            self._output.lines(_message_json(frame, time) for frame in batch)
        else:
            self._output.lines(map(self._text, batch))

    def said(self, payload: bytes, *, binary: bool) -> None:
        """Tell programs what was sent; people have typed it."""
        if self._output.json:
            kind = "binary" if binary else "text"
            self._output.event("sent", type=kind, size=len(payload))

    def closed(self, code: int | None, reason: str, by: str) -> None:
        """Tell how it ended, once."""
        if self._open:
            self._open = False
            self.ended(code, reason, by)

    def ended(self, code: int | None, reason: str, by: str) -> None:
        """Tell how it ended."""
        if self._output.json:
            self._output.event("close", code=code, reason=reason, by=by)
            return
        words = f" {printable(reason, one_line=True)!r}" if reason else ""
        who = f" by {by}" if by else ""
        self._output.note(f"closed{who} with code {code}{words}")

    def _text(self, frame: "Frame") -> str:
        if frame.opcode.name == "BINARY":
            return octets(frame.payload)
        return printable(frame.text) if self._output.terminal else frame.text


def _message_json(frame: "Frame", time_ns: int) -> str:
    return json_line(
        "message",
        time_ns=time_ns,
        type=frame.opcode.name.lower(),
        size=len(frame.payload),
        **json_payload(frame.payload),
    )
