"""What venues whose book comes over the stream have in common.

A subscriber of depth N sees the best N levels: a snapshot first, then what changed
among them. `BookWindow` keeps what subscribers of one depth know; every one of them
knows the same, since a snapshot shows the window as the last delta left it.
"""

import re
from abc import abstractmethod
from collections.abc import Iterable, Set
from copy import copy
from typing import ClassVar, Final

from integration.testing.book import DECIMALS, BookSide, Pair, PriceBook, format_units
from integration.testing.dialect import (
    Action,
    CloseWith,
    Dialect,
    HttpReply,
    Limits,
    MarketView,
    Session,
    SnapshotView,
)
from integration.testing.events import (
    CandleChanged,
    ContractTold,
    DepthChanged,
    DerivedEvent,
    MarketEvent,
    OtherMessage,
    PositionLiquidated,
    QuoteChanged,
    SymbolSpec,
    TradeDone,
)
from integration.testing.faults import (
    Malformed,
    MalformedForm,
    MessageKind,
    StreamMessage,
)
from integration.testing.limits import SlidingWindow

__all__ = [
    "BookWindow",
    "TopicDialect",
    "TopicSession",
    "decimals_of",
    "not_found",
    "spell",
]


def decimals_of(step: int) -> int:
    """Return how many decimals a grid of this step (in units) needs."""
    decimals = DECIMALS
    while decimals and step % 10 == 0:
        step //= 10
        decimals -= 1
    return decimals


def spell(value: int, decimals: int) -> str:
    """Write a value with the grid's decimals, or with as many as it takes."""
    if value < 0:
        return f"-{spell(-value, decimals)}"
    if value % 10 ** (DECIMALS - decimals):
        return format_units(value).rstrip("0")
    return format_units(value, decimals)


_BROKEN: Final = {
    MalformedForm.WRONG_TYPE: "{}",
    MalformedForm.NOT_A_NUMBER: '"NaN"',
}


class BookWindow:
    """The best `depth` levels, as their subscribers know them.

    Args:
        book: The published book.
        depth: Levels per side.
    """

    __slots__ = ("asks", "bids", "changed_ns", "depth", "sequence")

    def __init__(self, book: PriceBook, depth: int) -> None:
        self.depth = depth
        self.bids = dict(book.bids.top(depth))
        self.asks = dict(book.asks.top(depth))
        self.sequence = book.sequence
        self.changed_ns = 0

    def follow(
        self, book: PriceBook, *, tell_pushed_out: bool
    ) -> tuple[list[Pair], list[Pair]]:
        """Move to what the book shows now; return what changed, 0 for what is gone.

        Args:
            book: The published book.
            tell_pushed_out: Whether a level that still exists, but no longer among
                the best, is told as gone.
        """
        bids, asks = (
            _changes(old, side, self.depth, tell_pushed_out=tell_pushed_out)
            for old, side in ((self.bids, book.bids), (self.asks, book.asks))
        )
        self.bids = dict(book.bids.top(self.depth))
        self.asks = dict(book.asks.top(self.depth))
        return bids, asks


def _changes(
    old: dict[int, int], side: BookSide, depth: int, *, tell_pushed_out: bool
) -> list[Pair]:
    new = dict(side.top(depth))
    gone = [
        (price, 0)
        for price in old
        if price not in new and (tell_pushed_out or price not in side)
    ]
    return gone + [(p, amount) for p, amount in new.items() if old.get(p) != amount]


class TopicDialect(Dialect):
    """The exchange's side of a venue that sends books over the stream.

    A subclass spells; this class decides what is to be spelt, and when.

    Args:
        view: The exchange that speaks.
    """

    depths: ClassVar[tuple[int, ...]]
    """Depths of books on offer."""
    tells_pushed_out: ClassVar[bool] = True

    def __init__(self, view: MarketView) -> None:
        self.view = view
        self.natives = {self.native(spec): spec for spec in view.specs.values()}
        self._windows: dict[tuple[str, int], BookWindow] = {}
        self._quotes: dict[str, QuoteChanged] = {}
        self._connections = 0

    def connect(self, path: str, query: str) -> Session | HttpReply:
        """Open a session at `websocket_path`, and nowhere else."""
        del query
        return self.session() if path == self.websocket_path else not_found()

    # ---- what a subclass spells

    @abstractmethod
    def session(self) -> Session:
        """Return the venue's end of a new connection."""

    @abstractmethod
    def native(self, spec: SymbolSpec) -> str:
        """Return the venue's spelling of a symbol."""

    @abstractmethod
    def book_topic(self, spec: SymbolSpec, depth: int) -> str:
        """Return the topic of a book."""

    @abstractmethod
    def trade_topic(self, spec: SymbolSpec) -> str:
        """Return the topic of trades."""

    @abstractmethod
    def quote_topic(self, spec: SymbolSpec) -> str:
        """Return the topic of best bid and ask."""

    @abstractmethod
    def spell_trade(self, spec: SymbolSpec, event: TradeDone) -> str:
        """Spell a trade."""

    @abstractmethod
    def spell_quote(
        self, spec: SymbolSpec, event: QuoteChanged, before: QuoteChanged | None
    ) -> str:
        """Spell best bid and ask, or what changed since `before`."""

    @abstractmethod
    def spell_book(self, spec: SymbolSpec, window: BookWindow, time_ns: int) -> str:
        """Spell a whole window."""

    @abstractmethod
    def spell_delta(
        self,
        spec: SymbolSpec,
        window: BookWindow,
        event: DepthChanged,
        changes: tuple[list[Pair], list[Pair]],
    ) -> str:
        """Spell what changed in a window; moves `window.sequence`."""

    def spell_quiet(
        self, spec: SymbolSpec, window: BookWindow, event: DepthChanged
    ) -> str | None:
        """Spell what is told of a window that did not change, if anything."""
        del spec, window, event
        return None

    def note_trade(self, spec: SymbolSpec, event: TradeDone) -> None:
        """Remember a trade, for whoever asks for the last ones."""

    def on_tick(
        self, spec: SymbolSpec, event: DepthChanged, topics: Set[str]
    ) -> list[StreamMessage]:
        """Return what is due besides, such as heartbeats; called with each depth."""
        del spec, event, topics
        return []

    def derived(
        self, spec: SymbolSpec, event: DerivedEvent
    ) -> Iterable[tuple[str, str]]:
        """Spell what follows from trading, with the topic that it belongs to.

        Called whether anybody listens or not; a venue that has no such topics tells
        nothing.
        """
        del spec, event
        return ()

    def malformed(self, fault: Malformed) -> str | bytes:
        """Break the price of what could be the next change of the book."""
        spec = self.view.specs.get(fault.symbol)
        window = self._windows.get((fault.symbol, self.depths[0]))
        value = _BROKEN.get(fault.form)
        if spec is None or window is None or not window.bids or value is None:
            return super().malformed(fault)
        level = next(iter(window.bids.items()))
        after = window.sequence + 1
        event = DepthChanged(fault.symbol, self.view.clock_ns(), after, after, (), ())
        text = self.spell_delta(spec, copy(window), event, ([level], []))
        price = re.escape(spell(level[0], decimals_of(spec.tick)))
        return re.sub(f'"{price}"|\\b{price}\\b', value, text, count=1)

    # ---- what the sessions ask

    def next_connection(self) -> int:
        """Number the connections, so that their names can be told apart."""
        self._connections += 1
        return self._connections

    def window(self, spec: SymbolSpec, depth: int) -> BookWindow | None:
        """Return the window of a book, as its subscribers know it."""
        key = (spec.symbol, depth)
        if key not in self._windows:
            book = self.view.snapshot(spec.symbol, SnapshotView.PUBLISHED)
            if book is None:
                return None
            self._windows[key] = self.new_window(spec, book, depth)
        return self._windows[key]

    def new_window(self, spec: SymbolSpec, book: PriceBook, depth: int) -> BookWindow:
        """Begin a window nobody has seen yet."""
        del spec
        return BookWindow(book, depth)

    def last_quote(self, spec: SymbolSpec) -> QuoteChanged | None:
        """Return the last quote told, or one made of the published book."""
        if spec.symbol in self._quotes:
            return self._quotes[spec.symbol]
        book = self.view.snapshot(spec.symbol, SnapshotView.PUBLISHED)
        if book is None:
            return None
        bid, ask = book.bids.best or (0, 0), book.asks.best or (0, 0)
        return QuoteChanged(spec.symbol, self.view.clock_ns(), book.sequence, bid, ask)

    def millis(self, time_ns: int) -> int:
        """Return a time by the venue's clock, in milliseconds."""
        return (time_ns + self.view.skew_ns()) // 1_000_000

    # ---- Dialect

    def sequence(self, symbol: str) -> int | None:
        """Return the sequence of a book, where the venue counts by itself."""
        del symbol
        return None

    def publish(self, event: MarketEvent, topics: Set[str]) -> list[StreamMessage]:
        """Spell an event for those of `topics` it belongs to."""
        spec = self.view.specs[event.symbol]
        match event:
            case TradeDone():
                self.note_trade(spec, event)
                topic = self.trade_topic(spec)
                if topic not in topics:
                    return []
                text = self.spell_trade(spec, event)
                return [StreamMessage(topic, event.symbol, MessageKind.TRADE, text)]
            case QuoteChanged():
                before = self._quotes.get(event.symbol)
                self._quotes[event.symbol] = event
                topic = self.quote_topic(spec)
                if topic not in topics:
                    return []
                text = self.spell_quote(spec, event, before)
                return [StreamMessage(topic, event.symbol, MessageKind.QUOTE, text)]
            case DepthChanged():
                return [
                    *self._publish_depth(spec, event, topics),
                    *self.on_tick(spec, event, topics),
                ]
            case CandleChanged() | ContractTold() | PositionLiquidated():
                return [
                    StreamMessage(topic, event.symbol, MessageKind.OTHER, text)
                    for topic, text in self.derived(spec, event)
                    if topic in topics
                ]
            case OtherMessage():
                return []  # recorded messages of another venue's kinds

    def _publish_depth(
        self, spec: SymbolSpec, event: DepthChanged, topics: Set[str]
    ) -> list[StreamMessage]:
        book = self.view.snapshot(spec.symbol, SnapshotView.PUBLISHED)
        out: list[StreamMessage] = []
        for depth in self.depths:
            topic = self.book_topic(spec, depth)
            window = self._windows.get((spec.symbol, depth))
            if window is None or book is None:
                continue
            changes = window.follow(book, tell_pushed_out=self.tells_pushed_out)
            if any(changes):
                window.changed_ns = event.time_ns
                text: str | None = self.spell_delta(spec, window, event, changes)
            else:
                text = self.spell_quiet(spec, window, event)
            # A venue counts whoever listens: two of the same market count alike.
            if text is not None and topic in topics:
                message = StreamMessage(topic, spec.symbol, MessageKind.DEPTH, text)
                out.append(message)
        return out


class TopicSession(Session):
    """Subscriptions of one connection to such a venue.

    Args:
        limits: What it is allowed.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._rate = SlidingWindow(limits.messages_per_second, 1.0)
        self._now_s = 0.0
        self.subscribed: dict[str, None] = {}

    @property
    def topics(self) -> Set[str]:
        """What is subscribed to."""
        return self.subscribed.keys()

    def opened(self) -> list[Action]:
        """Most venues greet nobody."""
        return []

    def render(self, message: StreamMessage) -> str:
        """Payloads name their topic themselves."""
        return message.payload

    def receive(self, message: str | bytes, now_s: float) -> list[Action]:
        """Answer one inbound message."""
        self._now_s = now_s
        if not self._rate.hit(now_s):
            return [CloseWith(code=1008, reason="Too many requests")]
        if isinstance(message, bytes):
            message = message.decode("utf-8", "replace")
        return self.answer(message)

    @abstractmethod
    def answer(self, text: str) -> list[Action]:
        """Answer one request."""

    def has_room(self, topics: Iterable[str]) -> bool:
        """Whether so many more topics are allowed here."""
        wanted = self.subscribed.keys() | set(topics)
        return len(wanted) <= self._limits.streams_per_connection


def not_found() -> HttpReply:
    """Return 404 without a word."""
    return HttpReply(status=404, body=b"", content_type="text/html")
