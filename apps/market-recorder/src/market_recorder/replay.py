"""Reading recordings back: what is in them, their events, and a copy to serve.

All three go through the same parts as a live feed (`integration.market.playback`), so
what is said of a recording is what a consumer would have seen.
"""

import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import trio

from integration.market.playback import Playback
from integration.market.reports import StreamError, StreamEvent
from integration.models import ExchangeId, MarketEvent
from market_recorder.archive import Archive, ArchiveError, Message
from netcore.models import Model, Timestamp

__all__ = ["BookSummary", "Summary", "events", "export", "play", "summarise"]


class BookSummary(Model, frozen=True):
    """A book at the end of a recording."""

    instrument: str
    state: str
    sequence: int | None
    bids: int
    asks: int
    best_bid: str | None
    best_ask: str | None


class Summary(Model, frozen=True):
    """What a recording holds.

    Attributes:
        exchange: Where it was recorded.
        started_ns: When the first message came; None if none did.
        ended_ns: When the last message came.
        complete: Whether the recorder ended in order.
        sessions: Messages per WebSocket session.
        http: HTTP responses per status.
        bytes: Payload bytes.
        events: Normalised events per kind, and what the streams said of themselves.
        books: Books at the end.
    """

    exchange: ExchangeId
    started_ns: Timestamp | None
    ended_ns: Timestamp | None
    complete: bool
    sessions: dict[str, int]
    http: dict[str, int]
    bytes: int
    events: dict[str, int]
    books: tuple[BookSummary, ...]


class _Player:
    """Plays each session through its own parts; images go where they are waited for.

    A new session of a connection begins with nothing, as a live one does.
    """

    def __init__(self, exchange: ExchangeId) -> None:
        self._exchange = exchange
        self.playbacks: dict[str, Playback] = {}

    def feed(self, message: Message) -> list[StreamEvent]:
        if message.session != "http":
            playback = self.playbacks.get(message.session)
            if playback is None:
                playback = self.playbacks[message.session] = Playback(self._exchange)
            return playback.feed(message.payload, message.time_ns)
        if message.symbol is None or not self.playbacks:
            return []
        latest = next(reversed(self.playbacks.values()))
        return latest.feed_image(
            message.payload, message.time_ns, symbol=message.symbol
        )


def events(archive: Archive) -> Iterator[tuple[Message, list[StreamEvent]]]:
    """Yield each message with the events that a consumer would have seen.

    Raises:
        ArchiveError: Where the recording is damaged.
    """
    player = _Player(archive.manifest.exchange)
    for message in archive.messages():
        yield message, player.feed(message)


def summarise(archive: Archive) -> Summary:
    """Read a whole recording and say what it holds.

    Raises:
        ArchiveError: Where the recording is damaged.
    """
    player = _Player(archive.manifest.exchange)
    sessions, kinds = dict.fromkeys(archive.sessions, 0), Counter[str]()
    first: Timestamp | None = None
    last: Timestamp | None = None
    size = 0
    for message in archive.messages():
        first, last = message.time_ns if first is None else first, message.time_ns
        size += len(message.payload)
        if message.session in sessions:
            sessions[message.session] += 1
        kinds.update(_kind(event) for event in player.feed(message))
    statuses = Counter(str(entry.status) for entry in archive.http_entries())
    return Summary(
        exchange=archive.manifest.exchange,
        started_ns=first,
        ended_ns=last,
        complete=archive.manifest.ended_ns is not None,
        sessions=sessions,
        http=dict(statuses),
        bytes=size,
        events=dict(sorted(kinds.items())),
        books=_books(player),
    )


def _kind(event: StreamEvent) -> str:
    return event.kind_name if isinstance(event, MarketEvent) else type(event).__name__


def _books(player: _Player) -> tuple[BookSummary, ...]:
    latest: dict[str, BookSummary] = {}
    for playback in player.playbacks.values():
        for instrument, book in playback.books.items():
            bid, ask = book.best_bid, book.best_ask
            latest[str(instrument)] = BookSummary(
                instrument=str(instrument),
                state=str(book.state),
                sequence=book.sequence,
                bids=book.bid_count,
                asks=book.ask_count,
                best_bid=None if bid is None else str(bid.price),
                best_ask=None if ask is None else str(ask.price),
            )
    return tuple(latest.values())


def _plain(event: StreamEvent) -> dict[str, Any]:
    """Return an event as JSON's own types."""
    if isinstance(event, StreamError):
        return {
            "event": "StreamError",
            "exchange": event.exchange,
            "time": event.time,
            "error": str(event.error),
        }
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return {"event": _kind(event), **fields}


async def play(archive: Archive, out: IO[bytes], *, speed: float = 0.0) -> int:
    """Write a recording's events as JSON lines, at its own pace or faster.

    Args:
        archive: What to play.
        out: Where to; every message's lines are flushed before the next is waited
            for.
        speed: Recorded seconds per second; 0 as fast as they can be written.

    Returns:
        How many events were written.

    Raises:
        ArchiveError: Where the recording is damaged.
        ValueError: If the speed is negative or not a number.
    """
    if not speed >= 0:
        raise ValueError(f"speed must be 0 or more, was {speed}")
    written, began, first = 0, trio.current_time(), None
    for message, found in events(archive):
        first = message.time_ns if first is None else first
        if speed:
            await trio.sleep_until(began + (message.time_ns - first) / 1e9 / speed)
        else:
            await trio.lowlevel.checkpoint()
        for event in found:
            out.write(msgspec.json.encode(_plain(event)) + b"\n")
            written += 1
        if speed:
            out.flush()
    out.flush()
    return written


def export(archive: Archive, path: Path) -> int:
    """Copy a recording into one gzip file of lines that exchange-sim plays.

    Returns:
        How many lines were written.

    Raises:
        ArchiveError: If it is of another venue, damaged, or the file exists or cannot
            be written.
    """
    if archive.manifest.exchange is not ExchangeId.BINANCE_SPOT:
        raise ArchiveError(
            f"{archive.folder}: exchange-sim plays binance_spot, "
            f"this was recorded at {archive.manifest.exchange}"
        )
    lines = 0
    try:
        # Level 6 is zlib's own choice; no name and no time: equal content, equal files.
        with (
            path.open("xb") as raw,
            gzip.GzipFile("", "wb", 6, raw, mtime=0) as file,
        ):
            for message in archive.messages():
                file.write(b"%d %b\n" % (message.time_ns, _line(message)))
                lines += 1
    except OSError as error:
        raise ArchiveError(f"{path}: {error.strerror}") from error
    return lines


def _line(message: Message) -> bytes:
    """An HTTP image does not name its symbol, so it gets an envelope that does."""
    if message.session != "http":
        return message.payload
    stream = (message.symbol or "").lower().encode()
    return b'{"stream":"%b@snapshot","data":%b}' % (stream, message.payload)
