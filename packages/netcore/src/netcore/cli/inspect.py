"""The command `netcore inspect`: what a recording holds, and how it was read."""

import argparse
from typing import Final

from netcore.cli.arguments import EXIT_TEXT, add_json, whole
from netcore.cli.exits import Exit
from netcore.cli.output import Output

__all__ = ["add_parser"]

_EPILOG: Final = (
    """\
FILE is the name of a recording (NAME of NAME_inbound.rec and its sisters), one of its
files, or any file of received bytes. Lists WebSocket frames or FIX messages; of
anything else, the reads. Header values that open doors are shown as ***.

examples:
  netcore inspect feed
  netcore inspect feed --summary
  netcore inspect feed --outbound
  netcore inspect feed --limit 20 --json | jq 'select(.event == "frame")'

exit code 1 tells that the recording is damaged or cut off, or a frame breaks the rules.

"""
    + EXIT_TEXT
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "inspect",
        help="list the frames of a recording, its reads and its damage",
        description="Look into a recording: frames, times, totals, damage.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a recording or file of bytes")
    parser.add_argument(
        "--outbound", action="store_true", help="what was sent, not what was received"
    )
    parser.add_argument(
        "--as",
        dest="kind",
        choices=("websocket", "fix", "raw"),
        help="what the bytes are, where the first ones do not tell",
    )
    parser.add_argument(
        "--summary", action="store_true", help="list nothing, only sum up"
    )
    parser.add_argument(
        "--limit", type=whole, metavar="N", help="list the first N only"
    )
    add_json(parser)
    parser.set_defaults(command=run)


def run(options: argparse.Namespace, output: Output) -> Exit:
    """Look into a recording; return FAILED if something is wrong with it."""
    from netcore.cli.inspection import Inspection, Kind
    from netcore.cli.inspectreport import InspectReport
    from netcore.cli.recording import INBOUND, OUTBOUND, RecordedReads, find_recording

    name, recorded = find_recording(options.file)
    direction = (OUTBOUND if options.outbound else INBOUND) if recorded else ""
    reads = RecordedReads(name, direction)
    kind = Kind.UNKNOWN if options.kind is None else Kind(options.kind)
    inspection = Inspection(outbound=options.outbound, kind=kind)
    limit = 0 if options.summary else options.limit
    report = InspectReport(output, limit=limit)
    for piece in reads:
        for found in inspection.feed(piece):
            report.show(found, inspection, piece.time_ns)
    for found in inspection.finish():
        report.show(found, inspection, None)
    return report.finish(reads, inspection)
