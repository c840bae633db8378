"""Recorded Binance spot market data as a source for the simulator.

Two formats are read. *Lines*: one message per line, `<receive time, ns> <raw JSON>`,
plain or gzip, with combined-stream envelopes or bare payloads, and at least one REST
depth snapshot per symbol that has depth events; a snapshot names no symbol, so it is
either its file's only one or stands in `{"stream":"<symbol>@snapshot","data":...}`
(our own convention, written by market-recorder). *Session*: one JSON object with
`symbol` and `messages`, each `{"t": seconds, "transport": "ws"|"http", "raw": ...}`.

Theory of operation. Opening a recording reads it once from end to end: every line is
decoded, so whatever is wrong with it is said then, with file and line, and not in the
middle of a session. What this survey keeps is small: the snapshots, the runs of
contiguous update ids, first and last times and ids. Playing reads the files again,
line by line, so memory does not grow with the recording.

The source keeps its own book, by the procedure Binance documents for clients: a
snapshot, then every diff after it. The first snapshot is looked up ahead of the
position, so that whoever asks at the very start gets an answer; where the recording
itself lost messages (update ids jump), the next snapshot is taken in the same way.

Looping. The second round continues the first: ids and times are shifted behind those
of the round before, and one bridging depth event turns the book of the end into the
book of the beginning. A client sees contiguous ids and never a crossed book.

No socket, no clock, no dialect lives here.
"""

import gzip
import heapq
import math
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec

from integration.errors import IntegrationError
from integration.testing.book import BookSide, Pair, PriceBook, to_units
from integration.testing.events import (
    DepthChanged,
    DirectEvent,
    MarketEvent,
    OtherMessage,
    QuoteChanged,
    SymbolSpec,
    TradeDone,
)
from netcore.errors import RecordingError as NetRecordingError
from netcore.models import Timestamp

__all__ = ["RecordedMarket", "RecordingError"]

_GZIP_MAGIC: Final = b"\x1f\x8b"  # RFC 1952 section 2.3.1
# Between two rounds of a loop; the venue's clocks count milliseconds.
_ROUND_GAP_NS: Final = 1_000_000
# Longest quote assets first, for splitting a symbol into its two assets.
_QUOTES: Final = ("FDUSD", "USDT", "USDC", "TUSD", "BUSD", "BTC", "ETH", "BNB", "EUR")


class RecordingError(IntegrationError, NetRecordingError):
    """A recording cannot be read or cannot be played.

    Attributes:
        file: The recording.
        line: Line (or message, in a session) counted from 1; None for the whole file.
        reason: What is wrong.
    """

    def __init__(self, file: Path, line: int | None, reason: str) -> None:
        where = f"{file}" if line is None else f"{file}, line {line}"
        super().__init__(f"{where}: {reason}")
        self.file = file
        self.line = line
        self.reason = reason


# ---- what stands on a line

_Levels: TypeAlias = list[tuple[str, str]]


class _Probe(msgspec.Struct):
    """Enough of any message to see what it is."""

    stream: str | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    e: str | None = None
    u: int | None = None
    s: str | None = None
    last_update_id: int | None = msgspec.field(default=None, name="lastUpdateId")


class _Depth(msgspec.Struct):
    s: str
    U: int
    u: int
    b: _Levels
    a: _Levels


class _Trade(msgspec.Struct):
    s: str
    t: int
    p: str
    q: str
    m: bool
    b: int | None = None
    a: int | None = None


class _Ticker(msgspec.Struct):
    u: int
    s: str
    b: str
    B: str
    a: str
    A: str


class _Snapshot(msgspec.Struct):
    last_update_id: int = msgspec.field(name="lastUpdateId")
    bids: _Levels
    asks: _Levels


class _Message(msgspec.Struct):
    t: Decimal
    transport: str
    raw: msgspec.Raw


class _Session(msgspec.Struct):
    symbol: str
    messages: list[_Message]


_probe = msgspec.json.Decoder(_Probe)
_depth = msgspec.json.Decoder(_Depth)
_trade = msgspec.json.Decoder(_Trade)
_ticker = msgspec.json.Decoder(_Ticker)
_snapshot = msgspec.json.Decoder(_Snapshot)
_session = msgspec.json.Decoder(_Session)


class _Book(msgspec.Struct, frozen=True):
    """A snapshot out of the recording."""

    line: int
    symbol: str | None
    sequence: int
    bids: tuple[Pair, ...]
    asks: tuple[Pair, ...]


_Item: TypeAlias = DirectEvent | _Book


def _pairs(levels: _Levels) -> tuple[Pair, ...]:
    return tuple((to_units(price), to_units(amount)) for price, amount in levels)


def _parse(raw: bytes, time_ns: Timestamp, line: int) -> _Item | None:
    """Decode one message; None for what is no market data (answers to requests).

    Raises:
        ValueError: If it is not valid (msgspec's errors are ValueErrors).
    """
    stream, probe = "", _probe.decode(raw)
    if isinstance(probe.data, msgspec.Raw):
        stream, raw = probe.stream or "", bytes(probe.data)
        probe = _probe.decode(raw)
    named, _, channel = stream.partition("@")
    if probe.last_update_id is not None and channel in {"", "snapshot"}:
        return _parse_snapshot(raw, line, named.upper() or None)
    if probe.e == "depthUpdate":
        return _parse_depth(raw, time_ns)
    if probe.e == "trade":
        return _parse_trade(raw, time_ns)
    if probe.e is None and probe.u is not None and probe.s is not None:
        return _parse_quote(raw, time_ns)
    if not stream:
        return None
    return OtherMessage(probe.s or named.upper(), time_ns, stream, raw.decode())


def _parse_snapshot(raw: bytes, line: int, symbol: str | None) -> _Book:
    shot = _snapshot.decode(raw)
    return _Book(
        line=line,
        symbol=symbol,
        sequence=shot.last_update_id,
        bids=_pairs(shot.bids),
        asks=_pairs(shot.asks),
    )


def _parse_depth(raw: bytes, time_ns: Timestamp) -> DepthChanged:
    depth = _depth.decode(raw)
    return DepthChanged(
        symbol=depth.s,
        time_ns=time_ns,
        first_id=depth.U,
        last_id=depth.u,
        bids=_pairs(depth.b),
        asks=_pairs(depth.a),
        raw=raw.decode(),
    )


def _parse_trade(raw: bytes, time_ns: Timestamp) -> TradeDone:
    trade = _trade.decode(raw)
    return TradeDone(
        symbol=trade.s,
        time_ns=time_ns,
        trade_id=trade.t,
        price=to_units(trade.p),
        amount=to_units(trade.q),
        buyer_is_maker=trade.m,
        buyer_order=trade.b,
        seller_order=trade.a,
        raw=raw.decode(),
    )


def _parse_quote(raw: bytes, time_ns: Timestamp) -> QuoteChanged:
    quote = _ticker.decode(raw)
    return QuoteChanged(
        symbol=quote.s,
        time_ns=time_ns,
        update_id=quote.u,
        bid=(to_units(quote.b), to_units(quote.B)),
        ask=(to_units(quote.a), to_units(quote.A)),
        raw=raw.decode(),
    )


# ---- files


def _read_lines(path: Path) -> Iterator[tuple[int, Timestamp, bytes]]:
    """Yield line number, time and JSON of a recording in lines."""
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == _GZIP_MAGIC
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                stamp, _, raw = line.partition(b" ")
                if not raw.strip():
                    if stamp.strip():
                        raise RecordingError(
                            path, number, "expected '<time in ns> <JSON>'"
                        )
                    continue
                if not stamp.isdigit():
                    raise RecordingError(
                        path, number, f"the time must be digits, was {stamp[:40]!r}"
                    )
                yield number, int(stamp), raw.strip()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecordingError(path, None, f"cannot be read: {reason}") from error


def _read_session(path: Path) -> tuple[str, list[tuple[int, Timestamp, bytes]]]:
    """Return symbol and messages of a recording in one JSON object."""
    try:
        session = _session.decode(path.read_bytes())
        return session.symbol, [
            (number, int(message.t * 1_000_000_000), bytes(message.raw))
            for number, message in enumerate(session.messages, 1)
        ]
    except OSError as error:
        raise RecordingError(path, None, f"cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, InvalidOperation, OverflowError) as error:
        raise RecordingError(path, None, f"not a session: {error}") from error


class _File:
    """One recording on disk; iterating decodes it from the start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                head = file.read(1)
        except OSError as error:
            raise RecordingError(
                path, None, f"cannot be read: {error.strerror}"
            ) from error
        if not head:
            raise RecordingError(path, None, "is empty")
        self.symbol: str | None = None
        self._messages: list[tuple[int, Timestamp, bytes]] | None = None
        if head == b"{":
            self.symbol, self._messages = _read_session(path)

    def __iter__(self) -> Iterator[tuple[int, Timestamp, _Item]]:
        """Yield line, time (never falling) and what stands there."""
        latest = 0
        messages = self._messages
        for line, stamp, raw in (
            _read_lines(self.path) if messages is None else messages
        ):
            latest = max(latest, stamp)
            try:
                item = _parse(raw, latest, line)
            except ValueError as error:
                raise RecordingError(
                    self.path, line, f"not a market message: {error}"
                ) from error
            if item is not None:
                yield line, latest, item


# ---- the survey


class _Survey:
    """What one pass over all files says about each symbol."""

    def __init__(self, files: Sequence[_File]) -> None:
        self.snapshots: dict[str, list[_Book]] = {}
        self.symbols: dict[str, None] = {}
        self.trade_ids: dict[str, tuple[int, int]] = {}
        self.start_ns = self.end_ns = 0
        self._last_id: dict[str, int] = {}
        self._runs: dict[str, list[tuple[Path, int, int, int]]] = {}
        for file in files:
            self._read(file)
        if not self.symbols:
            raise RecordingError(files[0].path, None, "holds no market data")
        for symbol in self._runs:
            self._check_runs(symbol)

    def _read(self, file: _File) -> None:
        symbols: dict[str, None] = {}
        nameless: list[_Book] = []
        for line, time_ns, item in file:
            self.start_ns = min(self.start_ns or time_ns, time_ns)
            self.end_ns = max(self.end_ns, time_ns)
            if isinstance(item, _Book):
                if item.symbol is None:
                    nameless.append(item)
                else:
                    self._keep(item.symbol, [item])
                continue
            symbols[item.symbol] = None
            if isinstance(item, DepthChanged):
                self._follow(file.path, line, item)
            elif isinstance(item, TradeDone):
                first, last = self.trade_ids.get(item.symbol, (item.trade_id,) * 2)
                self.trade_ids[item.symbol] = (
                    min(first, item.trade_id),
                    max(last, item.trade_id),
                )
        self.symbols |= symbols
        if nameless:
            line = nameless[0].line
            self._keep(file.symbol or self._owner(file.path, line, symbols), nameless)

    def _keep(self, symbol: str, books: list[_Book]) -> None:
        self.symbols[symbol] = None
        self.snapshots.setdefault(symbol, []).extend(books)

    def _owner(self, path: Path, line: int, symbols: dict[str, None]) -> str:
        """A bare REST snapshot names no symbol: it must be the file's only one."""
        if len(symbols) == 1:
            return next(iter(symbols))
        raise RecordingError(
            path,
            line,
            "a REST snapshot names no symbol, so its file must hold one symbol, "
            f"has {list(symbols)}; put each symbol into its own file, or the snapshot "
            'into {"stream":"<symbol>@snapshot","data":...}',
        )

    def _follow(self, path: Path, line: int, depth: DepthChanged) -> None:
        last = self._last_id.get(depth.symbol)
        if last is None or depth.first_id > last + 1:
            self._runs.setdefault(depth.symbol, []).append(
                (path, line, depth.first_id, depth.last_id)
            )
        self._last_id[depth.symbol] = max(last or 0, depth.last_id)

    def _check_runs(self, symbol: str) -> None:
        """Every run of contiguous ids needs a snapshot to start from."""
        books = self.snapshots.get(symbol, [])
        runs = self._runs[symbol]
        for index, (path, line, first_id, _) in enumerate(runs):
            after = runs[index + 1][2] if index + 1 < len(runs) else math.inf
            if not any(first_id - 1 <= book.sequence < after for book in books):
                raise RecordingError(
                    path,
                    line,
                    f"no REST depth snapshot of {symbol} fits the depth events from "
                    f"update id {first_id} on: without one the book is unknown",
                )

    def spec(self, symbol: str) -> SymbolSpec:
        """Describe a symbol as far as the recording tells."""
        quote = next((q for q in _QUOTES if symbol.endswith(q)), "")
        books = self.snapshots.get(symbol)
        levels = [*books[0].bids, *books[0].asks] if books else []
        return SymbolSpec(
            symbol=symbol,
            base=symbol.removesuffix(quote),
            quote=quote,
            # The grid of a recording is the coarsest that every level lies on.
            tick=math.gcd(*(price for price, _ in levels)) or 1,
            lot=math.gcd(*(amount for _, amount in levels)) or 1,
            price=levels[0][0] if levels else 0,
        )


# ---- playing


class _Round(msgspec.Struct):
    """What one time round the loop adds to times and ids."""

    number: int = 0
    time_ns: int = 0
    update_ids: dict[str, int] = {}
    trade_ids: dict[str, int] = {}


class RecordedMarket:
    """A recording, or several merged by time, as a `MarketSource`.

    Args:
        paths: Files in either format; see the module's docstring.
        loop: Start again at the end, for ever.

    Raises:
        RecordingError: If a file cannot be read or played; the whole of every file
            is checked here.
        ValueError: If no path is given.
    """

    def __init__(self, paths: Sequence[Path], *, loop: bool = False) -> None:
        if not paths:
            raise ValueError("a recording needs at least one file, none was given")
        self._files = [_File(path) for path in paths]
        self._loop = loop
        self._survey = survey = _Survey(self._files)
        self._specs = MappingProxyType(
            {symbol: survey.spec(symbol) for symbol in survey.symbols}
        )
        self._time_ns = survey.start_ns - 1
        self._books: dict[str, PriceBook] = {}
        self._ahead: dict[str, deque[_Book]] = {}
        for symbol, books in survey.snapshots.items():
            self._ahead[symbol] = deque(books)
            first = self._ahead[symbol].popleft()
            self._books[symbol] = PriceBook(
                symbol, first.sequence, bids=first.bids, asks=first.asks
            )
        self._round = _Round()
        self._events = self._play()
        self._next = next(self._events, None)

    def __repr__(self) -> str:
        return f"RecordedMarket({', '.join(self._specs)}; time_ns={self._time_ns})"

    @property
    def specs(self) -> Mapping[str, SymbolSpec]:
        """Instruments by venue symbol, in the order of the files."""
        return self._specs

    @property
    def start_ns(self) -> Timestamp:
        """Just before the first message's receive time."""
        return self._survey.start_ns - 1

    @property
    def time_ns(self) -> Timestamp:
        """Position: receive time of the last message played, or later."""
        return self._time_ns

    @property
    def finished(self) -> bool:
        """Whether the last message was played (never when looping)."""
        return self._next is None

    def book(self, symbol: str) -> PriceBook | None:
        """Return the book at the position (not a copy), or None if unknown."""
        return self._books.get(symbol)

    def settled(self, until_ns: Timestamp) -> Timestamp:
        """Return `until_ns`: the book follows the recorded depth events themselves."""
        return until_ns

    def advance(self, until_ns: Timestamp) -> list[MarketEvent]:
        """Play up to and including `until_ns`.

        Raises:
            ValueError: If `until_ns` lies before `time_ns`.
            RecordingError: If a file changed since it was opened.
        """
        if until_ns < self._time_ns:
            raise ValueError(
                f"time does not run backwards: at {self._time_ns}, was {until_ns}"
            )
        events: list[MarketEvent] = []
        while self._next is not None and self._next.time_ns <= until_ns:
            event: DirectEvent | None = self._next
            if isinstance(event, DepthChanged):
                event = self._follow(event)
            if event is not None:
                events.append(event)
            self._next = next(self._events, None)
        self._time_ns = until_ns
        return events

    # ---- below: order of call

    def _play(self) -> Iterator[DirectEvent]:
        while True:
            streams = [self._items(file) for file in self._files]
            yield from heapq.merge(*streams, key=lambda event: event.time_ns)
            if not self._loop:
                return
            yield from self._wind_back()

    def _items(self, file: _File) -> Iterator[DirectEvent]:
        for _, _, item in file:
            if isinstance(item, _Book):
                continue
            yield item if not self._round.number else self._shift(item)

    def _shift(self, event: DirectEvent) -> DirectEvent:
        """Move an event into the present round; it can no longer be sent raw."""
        now, offsets = event.time_ns + self._round.time_ns, self._round
        if isinstance(event, OtherMessage):
            return msgspec.structs.replace(event, time_ns=now)
        if isinstance(event, TradeDone):
            trade_id = event.trade_id + offsets.trade_ids.get(event.symbol, 0)
            return msgspec.structs.replace(
                event, time_ns=now, trade_id=trade_id, raw=None
            )
        shift = offsets.update_ids.get(event.symbol, 0)
        if isinstance(event, QuoteChanged):
            return msgspec.structs.replace(
                event, time_ns=now, update_id=event.update_id + shift, raw=None
            )
        return msgspec.structs.replace(
            event,
            time_ns=now,
            first_id=event.first_id + shift,
            last_id=event.last_id + shift,
            raw=None,
        )

    def _follow(self, depth: DepthChanged) -> DepthChanged | None:
        """Apply a depth event to our book; None for one that nobody should see.

        In the first round everything recorded is published as it is, even what
        precedes the snapshot: dropping that is the client's part. In later rounds
        the bridge has told it already, and the event that straddles the snapshot is
        cut so that ids stay contiguous (amounts are absolute, so it stays true).
        """
        book, looped = self._books[depth.symbol], self._round.number > 0
        if depth.first_id > book.sequence + 1:
            self._jump(book, depth.first_id)
        if depth.last_id <= book.sequence:
            return None if looped else depth
        if looped and depth.first_id <= book.sequence:
            depth = msgspec.structs.replace(depth, first_id=book.sequence + 1)
        book.apply(depth.last_id, depth.bids, depth.asks)
        return depth

    def _jump(self, book: PriceBook, first_id: int) -> None:
        """The recording lost messages here: go on from its next snapshot."""
        shift = self._round.update_ids.get(book.symbol, 0)
        ahead = self._ahead[book.symbol]
        while ahead:
            found = ahead.popleft()
            if found.sequence + shift >= first_id - 1:
                book.bids = _side(found.bids, best_is_highest=True)
                book.asks = _side(found.asks, best_is_highest=False)
                book.sequence = found.sequence + shift
                return
        raise AssertionError("the survey found a snapshot for every run")

    def _wind_back(self) -> Iterator[DirectEvent]:
        """Begin the next round: one bridging event per book."""
        survey = self._survey
        turn = survey.end_ns - survey.start_ns + _ROUND_GAP_NS
        number = self._round.number + 1
        updates: dict[str, int] = {}
        bridges: list[DirectEvent] = []
        for symbol, books in survey.snapshots.items():
            first, book = books[0], self._books[symbol]
            updates[symbol] = book.sequence + 1 - first.sequence
            bridges.append(
                DepthChanged(
                    symbol=symbol,
                    time_ns=survey.start_ns + number * turn,
                    first_id=book.sequence + 1,
                    last_id=book.sequence + 1,
                    bids=_difference(book.bids, first.bids),
                    asks=_difference(book.asks, first.asks),
                )
            )
            self._ahead[symbol] = deque(books[1:])
        self._round = _Round(
            number=number,
            time_ns=number * turn,
            update_ids=updates,
            trade_ids={
                symbol: number * (last - first + 1)
                for symbol, (first, last) in survey.trade_ids.items()
            },
        )
        yield from bridges


def _side(levels: Sequence[Pair], *, best_is_highest: bool) -> BookSide:
    side = BookSide(best_is_highest=best_is_highest)
    for price, amount in levels:
        side.set(price, amount)
    return side


def _difference(now: BookSide, then: Sequence[Pair]) -> tuple[Pair, ...]:
    """Return the changes that turn one side of a book into another."""
    target = dict(then)
    gone = [(price, 0) for price, _ in now if price not in target]
    changed = [(p, a) for p, a in target.items() if now.amount(p) != a]
    return tuple(gone + changed)
