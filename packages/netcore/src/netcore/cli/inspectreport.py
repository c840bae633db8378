"""Prints what an inspection finds."""

from collections.abc import Sequence
from typing import Any, Final, final

from netcore.cli.exits import Exit
from netcore.cli.fixlog import FixEntry
from netcore.cli.fixtext import headline
from netcore.cli.fixwords import message_name
from netcore.cli.frames import FrameSeen, opcode_name
from netcore.cli.inspection import Finding, FixSeen, HeadSeen, Inspection, Kind, RawSeen
from netcore.cli.measure import (
    Distribution,
    bars,
    decade_buckets,
    doubling_buckets,
    duration_text,
)
from netcore.cli.output import Output, json_payload, preview, printable, size_text
from netcore.cli.recording import Problem, RecordedReads
from netcore.ws.closing import decode_close
from netcore.ws.frames import Fault, Opcode

__all__ = ["InspectReport"]

_SECOND: Final = 1e9
_COLUMNS: Final = (
    f"{'number':>7}  {'time':>10}  {'offset':>9}  {'opcode':<12} "
    f"{'flags':<9} {'bytes':>8}  payload"
)


@final
class InspectReport:
    """What `netcore inspect` prints.

    Args:
        output: Where to.
        limit: How many findings to list, None for all.
    """

    def __init__(self, output: Output, *, limit: int | None = None) -> None:
        self._output = output
        self._limit = limit
        self._listed = 0
        self._columns = False

    def show(self, found: Finding, inspection: Inspection, time_ns: int | None) -> None:
        """Print one finding.

        Args:
            found: The finding.
            inspection: Where it comes from.
            time_ns: When the read returned that completed it.
        """
        self._listed += not isinstance(found, HeadSeen)
        if self._limit is not None and self._listed > self._limit:
            return
        if self._limit == 0:
            return
        if self._output.json:
            kind, members = _finding_json(found)
            self._output.event(kind, time_ns=time_ns, **members)
            return
        after = None
        if time_ns is not None and inspection.first_ns is not None:
            after = time_ns - inspection.first_ns
        time = "-" if after is None else f"{after / _SECOND:+.6f}"
        for line in self._lines(found, time):
            self._output.line(line)

    def finish(self, reads: RecordedReads, inspection: Inspection) -> Exit:
        """Print the totals; return FAILED if there are problems."""
        problems = [*reads.problems, *inspection.problems]
        if self._output.json:
            for problem in problems:
                self._output.event(
                    "problem",
                    file=problem.file,
                    offset=problem.offset,
                    text=problem.text,
                )
            self._output.event("summary", **_summary_json(reads, inspection))
        else:
            for line in _summary_lines(reads, inspection, problems):
                self._output.line(line)
        return Exit.FAILED if problems else Exit.DONE

    def _lines(self, found: Finding, time: str) -> list[str]:
        match found:
            case HeadSeen():
                return _head_lines(found)
            case FrameSeen():
                line = _frame_line(self._listed, time, found)
                first, self._columns = not self._columns, True
                return [_COLUMNS, line] if first else [line]
            case FixSeen(entry):
                if isinstance(entry, FixEntry):
                    text = headline(entry.message)
                else:
                    text = f"GARBLED {entry.size} bytes: {entry.cause}"
                return [f"{self._listed:>7}  {time:>10}  {entry.offset:>9}  {text}"]
            case RawSeen(offset, size, _, head):
                text = preview(head, more=size > len(head))
                row = f"{self._listed:>7}  {time:>10}  {offset:>9}  {size:>8}  {text}"
                return [row]


def _head_lines(found: HeadSeen) -> list[str]:
    lines = [f"{'':>7}  {printable(found.line, one_line=True)}"]
    lines += [f"{'':>7}    {name}: {value}" for name, value in found.headers]
    return lines


def _frame_line(number: int, time: str, frame: FrameSeen) -> str:
    flags = "".join(
        (
            "fin " if frame.fin else "",
            f"rsv{frame.rsv} " if frame.rsv else "",
            "mask" if frame.masked else "",
        )
    )
    text = (
        f"{number:>7}  {time:>10}  {frame.offset:>9}  {opcode_name(frame.opcode):<12} "
    )
    text += f"{flags:<9} {frame.size:>8}  {_payload_text(frame)}"
    return text.rstrip() + (f"  BROKEN: {frame.fault}" if frame.fault else "")


def _payload_text(frame: FrameSeen) -> str:
    if frame.opcode == Opcode.CLOSE:
        closing = decode_close(frame.head)
        if isinstance(closing, Fault):
            return closing.text
        return f"{closing.code} {printable(closing.reason, one_line=True)}"
    return preview(frame.head, more=len(frame.head) < frame.size)


def _finding_json(found: Finding) -> tuple[str, dict[str, Any]]:
    match found:
        case HeadSeen():
            return "head", {
                "offset": found.offset,
                "size": found.size,
                "line": found.line,
                "headers": found.headers,
            }
        case FrameSeen():
            return "frame", {
                "offset": found.offset,
                "opcode": opcode_name(found.opcode),
                "fin": found.fin,
                "rsv": found.rsv,
                "masked": found.masked,
                "size": found.size,
                "reads": [found.began, found.ended],
                "fault": found.fault,
                "head": json_payload(found.head),
            }
        case FixSeen(entry):
            if isinstance(entry, FixEntry):
                kind = entry.message.get(35, b"").decode("latin-1")
                name = message_name(kind)
                size = len(entry.message.raw)
                members = {"type": kind, "name": name, "size": size}
                return "message", {"offset": entry.offset, **members}
            members = {"size": entry.size, "cause": entry.cause}
            return "garbled", {"offset": entry.offset, **members}
        case RawSeen(offset, size, read, head):
            members = {"size": size, "read": read, "head": json_payload(head)}
            return "read", {"offset": offset, **members}


# -- totals --------------------------------------------------------------------------


def _summary_json(reads: RecordedReads, inspection: Inspection) -> dict[str, Any]:
    first, last = inspection.first_ns, inspection.last_ns
    return {
        "file": reads.path,
        "protocol": inspection.kind.value,
        "bytes": inspection.size,
        "messages": inspection.messages,
        "counts": inspection.counts,
        "reads": len(inspection.reads),
        "attempts": reads.attempts,
        "ended": reads.ended,
        "first_ns": first,
        "duration_ns": None if first is None or last is None else last - first,
        "message_bytes": inspection.sizes.summary(),
        "read_bytes": inspection.reads.summary(),
        "per_read": inspection.per_read.summary(),
        "gap_ns": inspection.gaps.summary(),
        "problems": len(reads.problems) + len(inspection.problems),
    }


def _summary_lines(
    reads: RecordedReads, inspection: Inspection, problems: Sequence[Problem]
) -> list[str]:
    counts = ", ".join(f"{count} {name}" for name, count in inspection.counts.items())
    lines = [
        f"{reads.path}: {inspection.kind.value}, {size_text(inspection.size)}, "
        f"{inspection.messages} messages{f' ({counts})' if counts else ''}"
    ]
    if reads.attempts is not None:
        idle = reads.attempts - len(inspection.reads) - bool(reads.ended)
        end = "the peer's end" if reads.ended else "no end recorded"
        lines.append(
            f"reads: {len(inspection.reads)}, would-blocks: {max(0, idle)}, {end}"
        )
    first, last = inspection.first_ns, inspection.last_ns
    if first is not None and last is not None:
        lines.append(f"time: {duration_text(last - first)} from first to last read")
    if inspection.kind in (Kind.WEBSOCKET, Kind.FIX):
        lines += _distribution("bytes of a message", inspection.sizes)
    if reads.attempts is not None:
        lines += _distribution("bytes of a read", inspection.reads)
        lines += _distribution("messages or frames of a read", inspection.per_read)
        lines += _distribution("time between reads", inspection.gaps, times=True)
    lines += ["", f"{len(problems)} problems" if problems else "no problems"]
    lines += [
        f"  {found.file} at byte {found.offset}: {found.text}" for found in problems
    ]
    return lines


def _distribution(
    title: str, values: Distribution, *, times: bool = False
) -> list[str]:
    if not len(values):
        return []
    text = duration_text if times else str
    edges = decade_buckets if times else doubling_buckets
    summary = values.summary()
    words = "  ".join(
        f"{name} {text(value)}" for name, value in summary.items() if name != "count"
    )
    return ["", f"{title}: {words}", *bars(values.buckets(edges), text)]
