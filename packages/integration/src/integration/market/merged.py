"""A book that goes on as long as any of several lines' books does. Pure."""

from collections.abc import Sequence
from typing import final

import msgspec

from integration.market.books import BookState, OrderBook
from integration.market.reports import (
    BookResynced,
    BookStale,
    StaleReason,
    StreamError,
    StreamEvent,
)
from integration.market.sequencing import TIME_ORDER, ImageSource, SequenceRule
from integration.market.turns import Led, Lines, LinesDiffer, Numbers
from integration.models import (
    AmountUnit,
    Level,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    OrderBookUpdate,
)

__all__ = ["MergedBook"]

_COMPARED = 10
"""Levels per side of which two lines have to say the same at the same number: there is
nearly every change, and comparing them costs less than applying it."""


@final
class MergedBook(Led):
    """A book that goes on as long as any line's does.

    The lines' books have been changed already when their events come here, and each of
    them says whether it may be relied upon.

    Args:
        lines: whose books.
        instrument: which book.
        rule: how the venue orders it.
        max_depth: levels kept per side, as by the lines.

    Attributes:
        book: what consumers read.
    """

    __slots__ = (
        "_exchange",
        "_gaps",
        "_instrument",
        "_numbered",
        "_numbers",
        "_overlaps",
        "_reason",
        "_rule",
        "_stale_since",
        "_unit",
        "_until",
        "book",
    )

    def __init__(
        self,
        lines: Lines,
        instrument: MarketDataInstrument,
        *,
        rule: SequenceRule,
        max_depth: int | None,
    ) -> None:
        super().__init__(lines)
        self._exchange = lines.lines[0].keeper.exchange
        self._instrument = instrument
        self.book = OrderBook(self._exchange, instrument.name, max_depth=max_depth)
        self._rule = rule
        # Times order updates, but no time says which other one came before it.
        self._numbered = rule.sequenced and rule is not TIME_ORDER
        # What overlaps an image by HTTP is applied to it, so it names every level that
        # was touched. Elsewhere one that left and came back may not be named.
        self._overlaps = rule.images is ImageSource.HTTP
        self._numbers = Numbers(len(lines))
        self._unit = AmountUnit.BASE
        self._stale_since: int | None = None
        self._reason = StaleReason.GAP
        self._until: int | None = None
        self._gaps = 0

    def lost(self, line: int) -> None:
        """Expect nothing of a line any more."""
        # Not the lead: that is passed on by what becomes of the line's book.
        self._numbers.lost(line)

    def follows(self, line: int) -> bool:
        """Say whether a line's own book may be relied upon."""
        book = self._book(line)
        return book is not None and book.state is BookState.LIVE

    def _book(self, line: int) -> OrderBook | None:
        manager = self.lines.lines[line].keeper.managers.get(self._instrument)
        return None if manager is None else manager.book

    # What a line's book says

    def update(
        self, line: int, event: MarketEvent, update: OrderBookUpdate
    ) -> list[StreamEvent]:
        """Take an update that a line's own book took."""
        self._unit, time = update.amount_unit, event.time_received
        if self.book.state is not BookState.LIVE:
            return self._copy(line, event)
        last, number = self._last, update.sequence
        if last is None or number is None:
            return self._follow(line, event, update)
        if not self._numbers.newer(line, number, event):
            self.was_repeated(line, time, self._numbers.first_seen(number))
            return [] if self._agrees(line, number) else self._part(line, event)
        if number > last and self._continues(_before(update, number), last):
            return self._apply(line, event, update)
        if number > last and self._numbers.older(event):
            # The venue counts anew since, and this line has not heard of it yet.
            self.was_repeated(line, time)
            return []
        # A hole, an overlap or a new count: the line's book has it right.
        return self._copy(line, event)

    def _continues(self, before: int, last: int) -> bool:
        return before == last or (before < last and self._overlaps)

    def _agrees(self, line: int, number: int) -> bool:
        """Compare the best levels, if a line's book is exactly where this one is."""
        theirs, ours = self._book(line), self.book
        return (
            theirs is None
            or theirs.state is not BookState.LIVE
            or not theirs.sequence == number == ours.sequence
            or _alike(theirs, ours)
        )

    def _part(self, line: int, event: MarketEvent) -> list[StreamEvent]:
        """Rely on the venue's numbers no more; become a copy of one line's book."""
        self._numbered = False
        names = " and ".join(each.name for each in self.lines.lines)
        leader = self.lines.lines[line].name
        error = LinesDiffer(
            f"{names} give {self.book.sequence} to different books of "
            f"{self._instrument}; it follows {leader} alone from now on"
        )
        time = event.time_received
        told = StreamError(self._exchange, error, time, self._instrument)
        return [told, *self._copy(line, event)]

    def _follow(
        self, line: int, event: MarketEvent, update: OrderBookUpdate
    ) -> list[StreamEvent]:
        """Follow the leader, where no number says what comes next."""
        if self._instrument in self.lines.copied:
            return []
        led, time = self.leader, event.time_received
        if not self.leads(line, time):
            self.was_repeated(line, time)
            return []
        if self.leader != led:
            copied = self._copy(line, event)
            # A book that goes stale later in this batch leads nobody meanwhile.
            self.leader = line if copied else led
            return copied
        return self._apply(line, event, update)

    def _apply(
        self, line: int, event: MarketEvent, update: OrderBookUpdate
    ) -> list[StreamEvent]:
        self.book.apply_update(
            update.bids,
            update.asks,
            sequence=update.sequence,
            time_engine=update.time_engine,
            time_received=event.time_received,
        )
        self._numbers.took(line, update.sequence, event)
        self.was_first(line, event.time_received)
        return [event]

    def image(
        self, line: int, event: MarketEvent, image: OrderBookSnapshot
    ) -> list[StreamEvent]:
        """Take an image that a line's own book took."""
        self._unit, time = image.amount_unit, event.time_received
        if self.book.state is not BookState.LIVE:
            return self._show(line, event, image)
        last, number = self._last, image.sequence
        if last is None or number is None:
            if self._instrument not in self.lines.copied and self.leads(line, time):
                return self._show(line, event, image)
        elif self._newer(line, number, event):
            return self._show(line, event, image)
        since = None if number is None else self._numbers.first_seen(number)
        self.was_repeated(line, time, since)
        return []

    def _newer(self, line: int, number: int, event: MarketEvent) -> bool:
        if self._rule.images is not ImageSource.HTTP:
            new = self._numbers.newer(line, number, event)
            return new and not self._numbers.older(event)
        # An image by HTTP may be older than the stream and is stamped by us: only a
        # greater number says anything.
        return self._last is None or number > self._last

    @property
    def _last(self) -> int | None:
        return self._numbers.last if self._numbered else None

    def stale(self, line: int, report: BookStale) -> list[StreamEvent]:
        """Take a line's word that its own book is stale."""
        self.lines.figures[line].stale += 1
        led, self.leader = self.leader, None if self.leader == line else self.leader
        self.lost(line)
        if self.book.state is not BookState.LIVE:
            return []
        heir = next((n for n in range(len(self.lines)) if self.follows(n)), None)
        if heir is not None:
            if self._last is not None or led != line:
                return []
            self._lead(heir, report.time)
            return self._adopt(heir, report.time, report.time)
        last = self.book.sequence
        self.book.state = BookState.STALE
        self._stale_since, self._reason = report.time, report.reason
        self._until = last
        expected = report.expected
        if self._numbered and last is not None:
            expected = last + 1
        return [msgspec.structs.replace(report, last_sequence=last, expected=expected)]

    # What the consumer sees

    def _copy(self, line: int, event: MarketEvent) -> list[StreamEvent]:
        return self._adopt(line, event.time_exchange, event.time_received)

    def _adopt(self, line: int, exchanged: int, received: int) -> list[StreamEvent]:
        """Become what a line's book is; unless that is stale too, a moment later."""
        book = self._book(line)
        if book is None or book.state is not BookState.LIVE:
            return []
        image = msgspec.structs.replace(book.snapshot(), amount_unit=self._unit)
        event = MarketEvent(
            exchanged, received, self._exchange, self._instrument, image
        )
        self.lines.copied.add(self._instrument)
        return self._show(line, event, image)

    def _show(
        self, line: int, event: MarketEvent, image: OrderBookSnapshot
    ) -> list[StreamEvent]:
        book, time = self.book, event.time_received
        book.apply_snapshot(
            image.bids,
            image.asks,
            sequence=image.sequence,
            time_engine=image.time_engine,
            time_received=time,
        )
        book.state = BookState.LIVE
        self._numbers.took(line, image.sequence, event)
        self._lead(line, time)
        self.was_first(line, time)
        return [event, *self._resynced(time, image.sequence)]

    def _resynced(self, time: int, sequence: int | None) -> list[StreamEvent]:
        since, self._stale_since = self._stale_since, None
        if since is None:
            return []
        self._gaps += 1
        missed = None
        if self._numbered and self._until is not None and sequence is not None:
            first = self._until + 1
            missed = (first, sequence) if sequence >= first else None
        return [
            BookResynced(
                exchange=self._exchange,
                instrument=self._instrument,
                reason=self._reason,
                time=time,
                gap_ns=max(0, time - since),
                missed=missed,
                gaps=self._gaps,
            )
        ]


def _alike(theirs: OrderBook, ours: OrderBook) -> bool:
    """Compare the best levels of two books that are at the same number."""
    if (theirs.raw_bids(_COMPARED), theirs.raw_asks(_COMPARED)) == (
        ours.raw_bids(_COMPARED),
        ours.raw_asks(_COMPARED),
    ):
        return True
    # An image may spell a number in another way than the stream.
    bids, asks = theirs.bids(_COMPARED), theirs.asks(_COMPARED)
    our_bids, our_asks = ours.bids(_COMPARED), ours.asks(_COMPARED)
    if ours.max_depth is None:
        return (bids, asks) == (our_bids, our_asks)
    # What was cut is missing once it is among the best, until it changes: two books
    # that began at different times lack different levels, but share no false one.
    return _agree(bids, our_bids) and _agree(asks, our_asks)


def _agree(theirs: Sequence[Level], ours: Sequence[Level]) -> bool:
    amounts = {level.price: level.amount for level in ours}
    return all(
        amounts.get(level.price, level.amount) == level.amount for level in theirs
    )


def _before(update: OrderBookUpdate, number: int) -> int:
    """Return the id up to which a book must be for an update to follow."""
    if update.prev_sequence is not None:
        return update.prev_sequence
    if update.first_sequence is not None:
        return update.first_sequence - 1
    return number - 1
