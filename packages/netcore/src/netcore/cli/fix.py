"""The command `netcore fix`: a FIX log with names beside the numbers."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from netcore.cli.arguments import EXIT_TEXT, add_json, standard_input
from netcore.cli.exits import Exit
from netcore.cli.output import Output

__all__ = ["add_parser"]

_CHUNK: Final = 1 << 16

_EPILOG: Final = (
    """\
Fields may be parted by SOH (as on the wire), by |, by ; or by ^A. A log has one message
a line, with anything before it; raw streams have their messages wherever they are.
Passwords, signatures and raw data are shown as *** unless --secrets is given.

examples:
  netcore fix session.log
  netcore fix session.log --type D --type ExecutionReport
  tail -f session.log | netcore fix - --brief
  netcore fix feed_inbound.rec --json | jq 'select(.type == "W")'

exit code 1 tells that something was garbled or, with --check, invalid.

"""
    + EXIT_TEXT
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "fix",
        help="decode a FIX log",
        description="Decode FIX messages: names, meanings, groups, garbled bytes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a log; - for standard input")
    parser.add_argument(
        "--type",
        action="append",
        default=[],
        metavar="TYPE",
        help="only messages of that type, as code or name; repeatable",
    )
    parser.add_argument(
        "--brief", action="store_true", help="one line per message, no fields"
    )
    parser.add_argument(
        "--all", action="store_true", help="show the fields of header and trailer, too"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="say what is not as the FIX version wants it",
    )
    parser.add_argument(
        "--secrets", action="store_true", help="show passwords and signatures"
    )
    add_json(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace, output: Output) -> Exit:
    """Decode a log; return FAILED if something in it is garbled or invalid."""
    if options.file == "-":
        return _decode(options, output, standard_input().buffer)
    with Path(options.file).open("rb") as file:
        return _decode(options, output, file)


def _decode(options: argparse.Namespace, output: Output, file: IO[bytes]) -> Exit:
    from netcore.cli.fixlog import FixLog
    from netcore.cli.fixreport import FixReport

    log = FixLog()
    report = FixReport(
        output,
        types=options.type,
        brief=options.brief,
        envelope=options.all,
        check=options.check,
        secrets=options.secrets,
    )
    for chunk in _chunks(file):
        for entry in log.feed(chunk):
            report.show(entry)
    for entry in log.finish():
        report.show(entry)
    return report.finish(log.skipped)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield what comes as it comes: a pipe is not waited for until 64 KiB are there."""
    read = getattr(file, "read1", file.read)
    while chunk := read(_CHUNK):
        yield chunk
