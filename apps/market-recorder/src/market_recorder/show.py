"""A recording as a user sees it: its events as lines, and a file for exchange-sim."""

import gzip
import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import trio

from integration.market.reports import StreamEvent
from integration.models import ExchangeId, MarketEvent
from integration.recording import HttpEntry, RecordingFault, RecordingFolder
from integration.replay import replay_session
from netcore.errors import NetError, RecordingError
from netcore.models import Timestamp
from netcore.stream.replay import ReplayStream
from netcore.ws.websocket import WebSocket

__all__ = ["export", "play"]


async def play(folder: Path, out: IO[bytes], *, speed: float = 0.0) -> int:
    """Write a recording's events as JSON lines, at its own pace or faster.

    Args:
        folder: What to play.
        out: Where to; with a speed, what is written is flushed before the next is
            waited for.
        speed: Recorded seconds per second; 0 as fast as they can be written.

    Returns:
        How many events were written.

    Raises:
        RecordingFault: It is no recording, or is damaged.
    """
    written, began, first = 0, trio.current_time(), None
    for moment in replay_session(folder):
        first = moment.time_ns if first is None else first
        if speed:
            await trio.sleep_until(began + (moment.time_ns - first) / 1e9 / speed)
        else:
            await trio.lowlevel.checkpoint()
        out.writelines(msgspec.json.encode(_plain(e)) + b"\n" for e in moment.events)
        written += len(moment.events)
        if speed:
            out.flush()
    out.flush()
    return written


def _plain(event: StreamEvent) -> dict[str, Any]:
    """Return an event as JSON's own types, its kind first."""
    kind = event.kind_name if isinstance(event, MarketEvent) else type(event).__name__
    # Errors are no values; their words are.
    return {"event": kind, **msgspec.to_builtins(event, enc_hook=str)}


def export(folder: Path, out: Path) -> int:
    """Copy a recording into one gzip file of lines that exchange-sim plays.

    Returns:
        How many lines were written.

    Raises:
        RecordingFault: It is no recording, of another venue or damaged, or the file
            exists or cannot be written.
    """
    recording = RecordingFolder(folder)
    others = {s.exchange for s in recording.manifest.subscriptions}
    if others != {ExchangeId.BINANCE_SPOT}:
        names = ", ".join(sorted(others))
        msg = f"{folder}: exchange-sim plays binance_spot, this was recorded at {names}"
        raise RecordingFault(msg)
    lines = 0
    try:
        # Level 6 is zlib's own choice; no name and no time: equal content, equal files.
        with (
            out.open("xb") as raw,
            gzip.GzipFile("", "wb", 6, raw, mtime=0) as file,
        ):
            for time_ns, line in _lines(recording):
                file.write(b"%d %b\n" % (time_ns, line))
                lines += 1
    except OSError as error:
        raise RecordingFault(f"{out}: {error.strerror}") from error
    return lines


def _lines(recording: RecordingFolder) -> Iterator[tuple[Timestamp, bytes]]:
    """Yield everything received, in the order of time."""
    sources = [_session_lines(recording.path / name) for name in recording.sessions]
    images = (
        (entry.time_ns, _image_line(entry))
        for entry in recording.http_entries()
        if entry.status < 400
    )
    yield from heapq.merge(*sources, images, key=lambda line: line[0])


def _session_lines(name: Path) -> Iterator[tuple[Timestamp, bytes]]:
    """Yield the messages of one WebSocket session."""
    try:
        with WebSocket(ReplayStream(name, would_blocks=False)) as socket:
            while True:
                batch = socket.read_batch()
                if batch is not None:
                    for payload in batch.payloads:
                        yield batch.timestamp_ns, bytes(payload)
    except RecordingError as error:
        raise RecordingFault(str(error)) from error
    except NetError:
        return  # its end, whatever it was


def _image_line(entry: HttpEntry) -> bytes:
    """An image does not name its symbol, so it gets an envelope that does."""
    (symbol,) = parse_qs(urlsplit(entry.url).query).get("symbol", ("",))
    envelope = b'{"stream":"%b@snapshot","data":%b}'
    return envelope % (symbol.lower().encode(), entry.content)
