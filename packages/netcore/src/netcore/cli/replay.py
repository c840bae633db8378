"""The command `netcore replay`: play a recording to a terminal or to clients."""

import argparse
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from netcore.cli.arguments import EXIT_TEXT, add_json, positive, whole
from netcore.cli.exits import Exit, UsageFault
from netcore.cli.output import Output, json_payload, octets

if TYPE_CHECKING:
    from netcore.cli.playback import Recorded
    from netcore.cli.talk import Interrupts

__all__ = ["add_parser", "address", "replay"]

_EPILOG: Final = (
    """\
Without --serve the received messages are printed, as netcore ws prints them; of a FIX
recording one line per message, of anything else what each read brought.

With --serve every client that connects gets the recorded messages, in the recorded
order and, with --paced or --speed, at their recorded distances. They are framed anew:
pings and fragments are not played. Clients are served until Ctrl-C, or one with --once.
With --verify-outbound the one client's messages are held against those recorded: at the
first that differs, or if one is missing, the exit code is 1.

examples:
  netcore replay feed
  netcore replay feed --paced --json
  netcore replay feed --serve 127.0.0.1:8080 --speed 10
  netcore replay feed --serve 127.0.0.1:0 --after 1 --verify-outbound

"""
    + EXIT_TEXT
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "replay",
        help="print a recording's messages, or serve them",
        description="Replay a recording: print its messages or serve them to clients.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", metavar="PATH", help="the recording's name")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--paced", action="store_true", help="keep the recorded distances in time"
    )
    pace.add_argument(
        "--speed", type=positive, metavar="X", help="keep them, X times as fast"
    )
    parser.add_argument(
        "--count", type=whole, metavar="N", help="print the first N messages only"
    )
    parser.add_argument(
        "--serve", type=address, metavar="HOST:PORT", help="be a WebSocket server"
    )
    parser.add_argument(
        "--once", action="store_true", help="stop after the first client"
    )
    parser.add_argument(
        "--after",
        type=whole,
        default=0,
        metavar="N",
        help="begin when the client has sent N messages",
    )
    parser.add_argument(
        "--verify-outbound",
        action="store_true",
        help="compare what the client sends with the recording; implies --once",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="say nothing beside messages and errors"
    )
    add_json(parser)
    parser.set_defaults(command=run)


def address(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT`` or ``[IPv6]:PORT``."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, was {text!r}")
    return host, int(port)


def run(options: argparse.Namespace, output: Output) -> Exit:
    """Play until the recording's end."""
    from functools import partial

    import trio

    from netcore.cli.talk import run_interruptible

    trio.run(run_interruptible, partial(replay, options, output))
    return Exit.DONE


async def replay(
    options: argparse.Namespace, output: Output, interrupts: "Interrupts"
) -> None:
    """Play a recording as the options say."""
    from netcore.cli.inspection import Kind
    from netcore.cli.playback import look_at
    from netcore.cli.recording import find_recording

    name, found = find_recording(options.path)
    if not found:
        raise UsageFault(f"{name} is no recording: it has no {name}_inbound_seq.rec")
    recorded = look_at(name)
    speed = 1.0 if options.paced else options.speed
    if options.serve is not None:
        if recorded.kind is not Kind.WEBSOCKET:
            raise UsageFault(f"{name} is no recording of a WebSocket: it cannot serve")
        with interrupts.talking():
            await _serve(options, output, name, recorded, speed)
    elif options.verify_outbound or options.after or options.once:
        raise UsageFault("--verify-outbound, --after and --once need --serve")
    elif recorded.kind is Kind.WEBSOCKET:
        await _print_messages(options, output, name, recorded, speed)
    else:
        await _print_pieces(options, output, name, recorded, speed)


async def _print_messages(
    options: argparse.Namespace,
    output: Output,
    name: str,
    recorded: "Recorded",
    speed: float | None,
) -> None:
    from netcore.cli.playback import play_messages
    from netcore.cli.talk import ORDERLY, first_messages
    from netcore.cli.ws import MessagePrinter
    from netcore.errors import ConnectionClosed
    from netcore.ws import CloseCode

    printer = MessagePrinter(output, name)
    left = options.count
    async with aclosing(play_messages(name, recorded, speed=speed)) as batches:
        try:
            async for batch in batches:
                if left is not None:
                    batch = first_messages(batch, left)
                    left -= len(batch)
                printer.heard(batch)
                if left == 0:
                    return
        except ConnectionClosed as exc:
            if exc.code == CloseCode.ABNORMAL:
                output.note(f"{name} ends without a close frame")
                return
            printer.ended(exc.code, exc.reason, exc.initiated_by)
            if exc.code not in ORDERLY:
                raise


async def _print_pieces(
    options: argparse.Namespace,
    output: Output,
    name: str,
    recorded: "Recorded",
    speed: float | None,
) -> None:
    from netcore.cli.fixlog import FixLog
    from netcore.cli.fixreport import FixReport
    from netcore.cli.inspection import Kind
    from netcore.cli.playback import play_pieces

    log = FixLog(raw=True) if recorded.kind is Kind.FIX else None
    report = FixReport(output, brief=True)
    left = options.count
    async with aclosing(play_pieces(name, speed=speed)) as pieces:
        async for piece in pieces:
            found = [piece] if log is None else log.feed(piece)
            for one in found[:left]:
                if not isinstance(one, bytes):
                    report.show(one)
                elif output.json:
                    output.event("read", size=len(one), **json_payload(one))
                else:
                    output.line(octets(one))
            if left is not None:
                left -= min(left, len(found))
                if left == 0:
                    return
    for entry in log.finish() if log is not None else ():
        report.show(entry)


async def _serve(
    options: argparse.Namespace,
    output: Output,
    name: str,
    recorded: "Recorded",
    speed: float | None,
) -> None:
    from functools import partial

    from netcore.cli.playback import Stage
    from netcore.cli.talk import open_plain_nursery
    from netcore.trio import serve_websocket
    from netcore.ws import DeflateConfig, WebSocketOptions

    once = options.once or options.verify_outbound
    stage = Stage(
        name,
        recorded,
        speed=speed,
        after=options.after,
        verify=options.verify_outbound,
        clients=1 if once else None,
    )
    host, port = options.serve
    async with open_plain_nursery() as nursery:
        server = await nursery.start(
            partial(
                serve_websocket,
                stage.handle,
                port,
                host=host,
                decide=stage.decide,
                options=WebSocketOptions(deflate=DeflateConfig()),
            )
        )
        if output.json:
            output.event("listening", url=server.url)
        else:
            output.note(f"serving {name} at {server.url}")
        await stage.done.wait()
        nursery.cancel_scope.cancel()
    if stage.fault is not None:
        raise stage.fault
    if output.json:
        output.event("summary", clients=stage.served)
