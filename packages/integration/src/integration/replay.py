"""A recorded folder played again, through the same parts as when it was live.

Frames become payloads, payloads go through the venue's transformer to the books with
their sequencing and checksums, exactly as in `integration.market.session`; what comes
out is what a consumer of the live streams saw, with the recorded times. Nothing is
opened, no clock is read, nobody waits: the same folder gives the same events, always.

    replay = replay_session(Path("folder"))
    for moment in replay:
        moment.events
    replay.books, replay.report

Theory of operation. Each connection of the recording is a `_Line`: the books and
whatever else outlives a socket. Its sessions follow each other in time. A session that
ends without a successor is an outage (`Reconnecting`, books stale); one whose successor
was recorded beside it is succeeded make-before-break, as by `market.relay`. HTTP images
go to the book whose request they answer. Lines that carried the same meet in a
`FeedArbiter` as they did. What a folder cannot tell, how often an image
was asked for in vain or a connection attempted, is not made up.
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import msgspec

from integration.errors import IntegrationError
from integration.exchanges.registry import connector_for
from integration.market.arbitration import FeedArbiter
from integration.market.books import BookState, OrderBook
from integration.market.connector import UNREADABLE, Connector, Topic, VenueTransformer
from integration.market.intake import Intake
from integration.market.keeper import BookKeeper
from integration.market.manager import BookManager
from integration.market.notices import (
    Ack,
    Info,
    InfoAction,
    Notice,
    Output,
    Refusal,
    Reply,
    TopicLost,
)
from integration.market.relay import Overlap, Replays
from integration.market.reports import (
    BookResynced,
    BookStale,
    Reconnecting,
    StaleReason,
    StreamError,
    StreamEvent,
)
from integration.models import (
    ExchangeId,
    MarketEvent,
    SubKind,
    Subscription,
)
from integration.recording import (
    INBOUND,
    MANIFEST,
    HttpEntry,
    Manifest,
    RecordingFault,
    RecordingFolder,
)
from integration.rest.prepared import prepare
from netcore.errors import NetError, RecordingError
from netcore.models import Model, Timestamp
from netcore.stream.record import TIME
from netcore.stream.replay import ReplayStream
from netcore.ws.batch import Batch
from netcore.ws.frames import Opcode
from netcore.ws.websocket import WebSocket

__all__ = ["BookSummary", "Moment", "Replay", "ReplayReport", "replay_session"]

_SUCCESSOR: Final = "-successor"
_DATA: Final = (Opcode.TEXT, Opcode.BINARY)
_UNHEARD: Final = (Ack, Refusal, Info, Reply)
"""What concerns a session alone: a successor has dealt with it before it counts."""


class Moment(msgspec.Struct, frozen=True):
    """What one read brought.

    Attributes:
        time_ns: When it was received, ns since the epoch.
        connection: On which connection, such as `binance_spot#0`.
        events: What a consumer saw of it; never empty.
    """

    time_ns: Timestamp
    connection: str
    events: list[StreamEvent]


class BookSummary(Model, frozen=True):
    """A book at the end.

    Attributes:
        exchange: Whose.
        instrument: Its name.
        state: Whether it could be relied upon.
        sequence: Of the last change.
        bids: How many levels.
        asks: How many levels.
        best_bid: Price and amount as the venue spelled them; None if there is none.
        best_ask: As `best_bid`.
    """

    exchange: ExchangeId
    instrument: str
    state: BookState
    sequence: int | None
    bids: int
    asks: int
    best_bid: tuple[str, str] | None
    best_ask: tuple[str, str] | None


class ReplayReport(Model, frozen=True):
    """What a recording holds, as far as it has been played.

    Attributes:
        started_ns: When the run began.
        stopped_ns: When it was decided to end; None: it was cut off.
        last_ns: When the last message came; None if none did.
        sessions: WebSocket sessions played.
        messages: Messages in them.
        bytes: Of their payloads.
        http: HTTP responses by status.
        events: Market events by kind.
        faults: Errors by class.
        outages: How often a connection was lost.
        stale: How often a book became stale, by reason: `gap`, `checksum`, ...
        resynced: How often one became live again.
        missed: Ids that never reached a book, summed up where ids say so.
        books: The books at the end.
    """

    started_ns: Timestamp
    stopped_ns: Timestamp | None
    last_ns: Timestamp | None
    sessions: int
    messages: int
    bytes: int
    http: dict[str, int]
    events: dict[str, int]
    faults: dict[str, int]
    outages: int
    stale: dict[str, int]
    resynced: int
    missed: int
    books: tuple[BookSummary, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing was lost, misread or cut off, and every book is live."""
        return (
            self.stopped_ns is not None
            and not (self.stale or self.faults or self.outages)
            and all(book.state is BookState.LIVE for book in self.books)
        )


# What a folder holds, in the order of time


class _Begin(msgspec.Struct, frozen=True):
    """A session's first byte came."""

    time_ns: Timestamp
    session: str


class _Read(msgspec.Struct, frozen=True):
    """A read of a session completed messages."""

    time_ns: Timestamp
    session: str
    batch: Batch


class _End(msgspec.Struct, frozen=True):
    """Nothing more of a session was recorded.

    `lost`: it broke, or the peer ended it; else the recording was stopped.
    """

    time_ns: Timestamp
    session: str
    reason: str
    lost: bool
    successor: bool


_Item: TypeAlias = _Begin | _Read | _End | HttpEntry


def _session_items(
    folder: RecordingFolder, session: str, following: str | None
) -> Iterator[_Item]:
    """Yield a session from its first byte to its end.

    Raises:
        RecordingFault: The recording is damaged.
    """
    name = folder.path / session
    yield _Begin(_first_time(name), session)
    reason = "the connection was closed"
    try:
        stream = ReplayStream(name, would_blocks=False)
    except RecordingError as error:
        raise RecordingFault(str(error)) from error
    try:
        with WebSocket(stream) as socket:
            while True:
                batch = socket.read_batch()
                if batch is not None:
                    yield _Read(batch.timestamp_ns, session, batch)
    except RecordingError as error:
        raise RecordingFault(str(error)) from error
    except NetError as error:
        reason = str(error)
    time_ns = stream.clock.now_ns()  # of the last byte, a farewell perhaps
    successor = following is not None and following.endswith(_SUCCESSOR)
    if successor:
        # Make before break: it was open, though quiet, when its successor began.
        time_ns = max(time_ns, _first_time(folder.path / str(following)) + 1)
    # The last session of a connection that was up was ended by us.
    lost = following is not None or _connection(session) in folder.manifest.down
    yield _End(time_ns, session, reason, lost, successor)


def _first_time(name: Path) -> Timestamp:
    path = Path(f"{name}_inbound_time.rec")
    try:
        with path.open("rb") as file:
            raw = file.read(TIME.size)
    except OSError as error:
        raise RecordingFault(f"{path}: {error.strerror}") from error
    if len(raw) < TIME.size:
        raise RecordingFault(f"{path}: the first piece has no time")
    return int(TIME.unpack(raw)[0])


# One connection


@final
class _Sitting:
    """One session as it is played: its transformer and what it kept as a shadow."""

    __slots__ = ("intake", "kept", "name", "transformer")

    def __init__(
        self, name: str, transformer: VenueTransformer[Any], intake: Intake
    ) -> None:
        self.name = name
        self.transformer = transformer
        self.intake = intake
        self.kept: list[tuple[Output, int]] = []


@final
class _Line:
    """A connection: its books, and the session that is listened to."""

    def __init__(self, name: str, exchange: ExchangeId, manifest: Manifest) -> None:
        self.name = name
        self.exchange = exchange
        self.connector: Connector = connector_for(exchange)
        self.keeper = BookKeeper(exchange)
        self.current: _Sitting | None = None
        self._shadow: _Sitting | None = None
        self._overlap = Overlap()
        self._replays = Replays()
        self._down = False
        self._manifest = manifest
        self._carried = manifest.carried(name, exchange)
        self._topics = [(s, self.connector.topic(s)) for s in self._carried]
        self._book_topics: dict[BookManager, Topic] = {}
        for subscription, topic in self._topics:
            if subscription.kind is SubKind.ORDER_BOOKS_L2:
                self._keep_book(subscription, topic)

    def _keep_book(self, subscription: Subscription, topic: Topic) -> None:
        if subscription.instrument in self.keeper.managers:
            return
        connector = self.connector
        depth = connector.book_depth(subscription)
        manager = BookManager(
            self.exchange,
            subscription.instrument,
            rule=connector.rule,
            checksum=connector.checksum(),
            max_depth=self._manifest.max_depth if depth is None else depth,
        )
        self.keeper.add(manager)
        self._book_topics[manager] = topic

    @property
    def up(self) -> bool:
        """Whether it is connected."""
        return self.current is not None

    def images(self) -> dict[str, BookManager]:
        """Return whose image the answer to a request is, by the request's URL."""
        if self.connector.rest_parser is None:
            return {}
        base = self._manifest.rest_url.get(self.exchange, self.connector.rest_url or "")
        return {
            prepare(base, self._image_request(manager)).url: manager
            for manager in self.keeper.managers.values()
        }

    def _image_request(self, manager: BookManager) -> Any:  # noqa: ANN401  a RestRequest of whatever the venue answers
        topic = self._book_topics[manager]
        return self.connector.image_request(topic, manager.book.max_depth)

    # Sessions

    def begin(self, session: str) -> None:
        """Begin a session; beside another one it is its successor's shadow."""
        sitting = self._sitting(session)
        if self.current is None:
            self.current = sitting
        else:
            self._shadow = sitting
            self._overlap.begin()

    def _sitting(self, session: str) -> _Sitting:
        transformer = self.connector.transformer()
        for subscription, topic in self._topics:
            transformer.add(topic, subscription.instrument, kind=subscription.kind)
        return _Sitting(
            session, transformer, Intake(transformer, self.keeper, self._heed)
        )

    def read(self, item: _Read) -> list[StreamEvent]:
        """Play what one read brought."""
        self._down = False
        payloads = _payloads(item.batch)
        if self._shadow is not None and item.session == self._shadow.name:
            _overhear(self._shadow, payloads, item.time_ns)
            return []
        if self.current is None or item.session != self.current.name:
            return []  # one that was succeeded, closing
        return self._once(
            self.current.intake.read(payloads, item.time_ns), item.time_ns
        )

    def _once(self, events: list[StreamEvent], time_ns: int) -> list[StreamEvent]:
        """Return what was not delivered before (see `Connection.once`)."""
        # Somebody got the images that were wanted: they come, or are asked for again.
        for manager in self.keeper.wanting:
            manager.image_requested()
        self.keeper.wanting.clear()
        if self.connector.replays_trades:
            events = self._replays.once(events)
        return self._overlap.once(events, time_ns / 1e9)

    def end(self, item: _End) -> list[StreamEvent]:
        """End a session: its successor takes over, or the connection is down."""
        if self._shadow is not None and item.session == self._shadow.name:
            self._shadow = None
            self._overlap.cancel()
            return []
        if self.current is None or item.session != self.current.name:
            return []
        if _stopped(item, self._manifest):
            return []  # a successor beside it had not taken over yet
        self.current, self._shadow = self._shadow, None
        if self.current is not None:
            return self._promoted(self.current, item.time_ns)
        if item.successor or not item.lost:
            return []
        return self._lost(item)

    def _promoted(self, sitting: _Sitting, time_ns: int) -> list[StreamEvent]:
        self._overlap.changed(time_ns / 1e9)
        kept, sitting.kept = sitting.kept, []
        return [
            event
            for output, time in kept
            for event in self._once(sitting.intake.take((output,), time), time)
        ]

    def _lost(self, item: _End) -> list[StreamEvent]:
        if self._down:
            return []  # an attempt failed: the outage was told before
        self._down = True
        self._overlap.cancel()
        told = Reconnecting(
            exchange=self.exchange,
            connection=self.name,
            reason=item.reason,
            time=item.time_ns,
            instruments=tuple(dict.fromkeys(s.instrument for s in self._carried)),
        )
        cause = StaleReason.DISCONNECTED
        stale = self.keeper.invalidate(cause, time=item.time_ns, detail=item.reason)
        self.keeper.wanting.clear()
        return [told, *stale]

    def _heed(self, notice: Notice, time: int, events: list[StreamEvent]) -> None:
        """Tell what `Session` tells; what it would have sent is sent already."""
        match notice:
            case Refusal(error=error) | TopicLost(error=error):
                events.append(StreamError(self.exchange, error, time))
            case Info(action=InfoAction.RESUBSCRIBE, message=message):
                reason = StaleReason.REQUESTED
                events.extend(self.keeper.invalidate(reason, time=time, detail=message))
            case _:
                pass

    # Images

    def awaits(self, manager: BookManager) -> bool:
        """Say whether an image may be of use."""
        return manager.awaits_image and self.up

    def image(self, entry: HttpEntry, manager: BookManager) -> list[StreamEvent]:
        """Play the answer to a request for a book's image."""
        if not self.awaits(manager) or entry.status >= 400:
            return []
        connector, time = self.connector, entry.time_ns
        request = self._image_request(manager)
        try:
            response = connector.rest_parser().parse(
                entry.status, {}, entry.content, request.response_type
            )
            image = connector.image(response)
        except IntegrationError as error:
            return [StreamError(self.exchange, error, time, manager.instrument)]
        except UNREADABLE as error:
            msg = f"{entry.url}: {error}"
            raise RecordingFault(msg) from error
        event = MarketEvent(
            image.time_exchange or time,
            time,
            self.exchange,
            manager.instrument,
            image.book,
        )
        return self._once(self.keeper.absorb((event,), time, []), time)


def _payloads(batch: Batch) -> list[bytes]:
    if batch.heads is None:
        return batch.payloads
    return [frame.payload for frame in batch if frame.opcode in _DATA]


def _overhear(shadow: _Sitting, payloads: Iterable[bytes], time: int) -> None:
    for payload in payloads:
        for output in shadow.transformer.feed(payload, time):
            if not isinstance(output, _UNHEARD):
                shadow.kept.append((output, time))


# The whole


@final
class Replay:
    """A recording that is played by iterating; once.

    Args:
        folder: What to play.

    Attributes:
        folder: As given.
        books: Every book, by exchange and name of the instrument; changes as the
            recording is played.

    Raises:
        RecordingFault: The recording is damaged.
    """

    def __init__(self, folder: RecordingFolder) -> None:
        self.folder = folder
        self.books: dict[tuple[ExchangeId, str], OrderBook] = {}
        self._lines: dict[str, _Line] = {}
        self._images: dict[str, list[tuple[_Line, BookManager]]] = {}
        self._arbiters: dict[str, tuple[FeedArbiter, int]] = {}
        self._tally = _Tally()
        self._by_session = {name: _connection(name) for name in folder.sessions}
        for connection in dict.fromkeys(self._by_session.values()):
            try:
                self._add(connection)
            except (IntegrationError, ValueError) as error:
                # What nobody can have asked for: the manifest is not what it was.
                msg = f"{folder.path / MANIFEST}: {connection}: {error}"
                raise RecordingFault(msg) from error
        for names in folder.manifest.redundant:
            self._merge([self._lines[name] for name in names if name in self._lines])
        self._moments = self._play()

    def __repr__(self) -> str:
        return f"<Replay {self.folder.path}: {len(self._lines)} connections>"

    def _add(self, connection: str) -> None:
        exchange = ExchangeId(connection.rpartition("#")[0])
        line = _Line(connection, exchange, self.folder.manifest)
        self._lines[connection] = line
        for url, manager in line.images().items():
            self._images.setdefault(url, []).append((line, manager))
        for instrument, manager in line.keeper.managers.items():
            self.books[exchange, str(instrument)] = manager.book

    def _merge(self, lines: list[_Line]) -> None:
        """Let several lines be told of as one."""
        if not lines:
            return
        # Nobody can be given up any more, however silent.
        arbiter = FeedArbiter(lines, rule=lines[0].connector.rule, silence=math.inf)
        for number, line in enumerate(lines):
            self._arbiters[line.name] = (arbiter, number)
            for instrument, manager in line.keeper.managers.items():
                arbiter.keep(instrument, manager.book.max_depth)
        for instrument, book in arbiter.books.items():
            self.books[lines[0].exchange, str(instrument)] = book

    def __iter__(self) -> Iterator[Moment]:
        return self._moments

    def _play(self) -> Iterator[Moment]:
        try:
            yield from self._moments_of_all()
            # Last, so that a changed byte costs nothing of what can be played.
            self.folder.check()
        except RecordingFault as fault:
            self._tally.faults[type(fault).__name__] += 1
            raise

    def _moments_of_all(self) -> Iterator[Moment]:
        for item in heapq.merge(*self._sources(), key=lambda item: item.time_ns):
            name, events = self._step(item)
            arbiter, number = self._arbiters.get(name, (None, 0))
            if arbiter is not None:
                events = arbiter.take(number, events)
            if events:
                self._tally.events(events)
                yield Moment(item.time_ns, name, events)

    def _sources(self) -> list[Iterator[_Item]]:
        names = list(self._by_session)
        sources: list[Iterator[_Item]] = [iter(self.folder.http_entries())]
        for number, name in enumerate(names):
            after = names[number + 1] if number + 1 < len(names) else None
            same = after and self._by_session[after] == self._by_session[name]
            sources.append(_session_items(self.folder, name, after if same else None))
        return sources

    def _step(self, item: _Item) -> tuple[str, list[StreamEvent]]:
        if isinstance(item, HttpEntry):
            self._tally.answered(item)
            # Of lines that asked for the same, the first that waits: any image will do.
            for line, manager in self._images.get(item.url, ()):
                if line.awaits(manager):
                    return line.name, line.image(item, manager)
            return "", []  # nobody's: nothing of it is an event
        line = self._lines[self._by_session[item.session]]
        match item:
            case _Begin():
                self._tally.sessions += 1
                line.begin(item.session)
                return line.name, []
            case _Read():
                self._tally.read(item)
                return line.name, line.read(item)
            case _End():
                return line.name, line.end(item)

    @property
    def report(self) -> ReplayReport:
        """What has been played so far."""
        manifest, tally = self.folder.manifest, self._tally
        return ReplayReport(
            started_ns=manifest.started_ns,
            stopped_ns=manifest.stopped_ns,
            last_ns=tally.last_ns,
            sessions=tally.sessions,
            messages=tally.messages,
            bytes=tally.bytes,
            http=dict(tally.http),
            events=dict(tally.kinds),
            faults=dict(tally.faults),
            outages=tally.outages,
            stale=dict(tally.stale),
            resynced=tally.resynced,
            missed=tally.missed,
            books=tuple(_summary(*each) for each in self.books.items()),
        )


@final
class _Tally:
    """Counts what is played."""

    def __init__(self) -> None:
        self.last_ns: Timestamp | None = None
        self.sessions = self.messages = self.bytes = 0
        self.outages = self.resynced = self.missed = 0
        self.http: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.stale: Counter[str] = Counter()

    def answered(self, entry: HttpEntry) -> None:
        self.http[str(entry.status)] += 1

    def read(self, item: _Read) -> None:
        self.last_ns = item.time_ns
        self.messages += len(item.batch)
        self.bytes += sum(map(len, item.batch.payloads))

    def events(self, events: Iterable[StreamEvent]) -> None:
        for event in events:
            match event:
                case MarketEvent():
                    self.kinds[event.kind_name] += 1
                case BookStale():
                    self.stale[event.reason] += 1
                case BookResynced():
                    self.resynced += 1
                    if event.missed is not None:
                        self.missed += event.missed[1] - event.missed[0] + 1
                case Reconnecting():
                    self.outages += 1
                case StreamError():
                    self.faults[type(event.error).__name__] += 1


def _stopped(item: _End, manifest: Manifest) -> bool:
    """Whether a session ended because the recording did: it was open until then."""
    return manifest.stopped_ns is not None and item.time_ns >= manifest.stopped_ns


def _connection(session: str) -> str:
    """Return the connection's name: `okx#0` of `okx-0-0001-successor`."""
    parts = session.removesuffix(_SUCCESSOR).rsplit("-", 2)
    known = [exchange.value for exchange in ExchangeId]
    if len(parts) != 3 or parts[0] not in known:
        msg = f"{session}{INBOUND}: not called <exchange>-<connection>-<session>"
        raise RecordingFault(msg)
    return f"{parts[0]}#{parts[1]}"


def _summary(key: tuple[ExchangeId, str], book: OrderBook) -> BookSummary:
    bids, asks = book.raw_bids(1), book.raw_asks(1)
    return BookSummary(
        exchange=key[0],
        instrument=key[1],
        state=book.state,
        sequence=book.sequence,
        bids=book.bid_count,
        asks=book.ask_count,
        best_bid=bids[0] if bids else None,
        best_ask=asks[0] if asks else None,
    )


def replay_session(folder: Path | RecordingFolder) -> Replay:
    """Open a recorded folder to be played.

    Args:
        folder: Its path, or the folder.

    Raises:
        RecordingFault: It is no recording, or is damaged.
        UnsupportedSubscription: It was made by a version that knew a kind of data
            which this one does not.
    """
    if isinstance(folder, Path):
        folder = RecordingFolder(folder)
    return Replay(folder)
