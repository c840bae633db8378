"""One book and everything that keeps it true: sequence, checksum, reports.

`BookManager` takes the events of one instrument's depth stream, in wire order, and
returns what a consumer may see. It decides through a `BookSequencer`, changes the
book, verifies checksums, and says when it needs an image. It does not fetch or
subscribe: whoever owns the connection reads `wants_image` and acts.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias, final

from integration.errors import InvalidLevel
from integration.market.books import BookState, OrderBook
from integration.market.reports import BookResynced, BookStale, StaleReason
from integration.market.sequencing import (
    BookSequencer,
    Drained,
    ImageSource,
    Outcome,
    SequenceRule,
)
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    OrderBookUpdate,
)

__all__ = ["BookEvent", "BookManager", "Checksum"]

Checksum: TypeAlias = Callable[[OrderBook], int | None]
"""Computes a venue's checksum of a book; None if it cannot be known yet."""

BookEvent: TypeAlias = MarketEvent | BookStale | BookResynced

_DEFAULT_BUFFER_LIMIT = 4096  # as in sequencing; restated for the signature


class _Image(StrEnum):
    """Whether an image is needed, and whether somebody is getting it."""

    NONE = "none"
    WANTED = "wanted"
    REQUESTED = "requested"


@final
class BookManager:
    """Keeps one order book true, or says that it is not.

    Args:
        exchange: whose book.
        instrument: which book.
        rule: how the venue orders its updates.
        checksum: computes the venue's checksum, where it sends one.
        max_depth: levels kept per side; None keeps all.
        buffer_limit: updates kept while an image is on its way.
        check_crossed: treat a crossed book as a loss; by default on venues whose
            numbers show no loss, where it is the only sign.

    Attributes:
        book: what consumers read.
        last_outcome: what became of the last message; `GAP` also if its checksum
            failed, a level of it was malformed, or what had waited for it did not
            follow: whenever the book could not be relied upon after it.
        gaps: how often the book has been resynced.
    """

    __slots__ = (
        "_check_crossed",
        "_checksum",
        "_image",
        "_missed",
        "_sequencer",
        "_stale_reason",
        "_stale_since",
        "book",
        "exchange",
        "gaps",
        "instrument",
        "last_outcome",
    )

    def __init__(
        self,
        exchange: ExchangeId,
        instrument: MarketDataInstrument,
        *,
        rule: SequenceRule,
        checksum: Checksum | None = None,
        max_depth: int | None = None,
        buffer_limit: int = _DEFAULT_BUFFER_LIMIT,
        check_crossed: bool | None = None,
    ) -> None:
        self.exchange = exchange
        self.instrument = instrument
        self.book = OrderBook(exchange, instrument.name, max_depth=max_depth)
        self.last_outcome: Outcome | None = None
        self.gaps = 0
        self._sequencer: BookSequencer[MarketEvent] = BookSequencer(
            rule, buffer_limit=buffer_limit
        )
        self._checksum = checksum
        unguarded = not rule.sequenced or rule.silent_losses
        self._check_crossed = unguarded if check_crossed is None else check_crossed
        self._image = _Image.WANTED
        self._stale_since: int | None = None
        self._stale_reason = StaleReason.GAP
        self._missed: tuple[int, int | None] | None = None

    @property
    def images(self) -> ImageSource:
        """Where an image has to come from."""
        return self._sequencer.rule.images

    @property
    def sequenced(self) -> bool:
        """Whether the venue numbers its updates."""
        return self._sequencer.rule.sequenced

    @property
    def wants_image(self) -> bool:
        """Whether an image is needed and nobody is getting one yet."""
        return self._image is _Image.WANTED

    @property
    def awaits_image(self) -> bool:
        """Whether an image is needed, whoever is getting it."""
        return self._image is not _Image.NONE

    @property
    def was_live(self) -> bool:
        """Whether the book had been live before: it is served first."""
        return self._stale_since is not None

    def image_requested(self) -> None:
        """Note that somebody is getting an image."""
        self._image = _Image.REQUESTED

    def image_failed(self) -> None:
        """Note that getting the image failed: it is wanted again."""
        if self._image is _Image.REQUESTED:
            self._image = _Image.WANTED

    def handle(self, event: MarketEvent) -> list[BookEvent]:
        """Take one event of the depth stream; return what a consumer may see.

        Args:
            event: its kind is an `OrderBookSnapshot` or an `OrderBookUpdate`.

        Raises:
            TypeError: another kind of event.
        """
        kind = event.kind
        if isinstance(kind, OrderBookUpdate):
            return self._update(event, kind)
        if isinstance(kind, OrderBookSnapshot):
            return self._snapshot(event, kind)
        msg = f"a book is made of snapshots and updates, was {type(kind).__name__}"
        raise TypeError(msg)

    def joins(self, event: MarketEvent) -> bool:
        """Say whether the book could go on with this event; changes nothing.

        A book that is not live joins anything: it needs an image anyway.
        """
        if not isinstance(event.kind, OrderBookUpdate):
            return True
        return self._sequencer.joins(event.kind)

    # Updates

    def _update(self, event: MarketEvent, update: OrderBookUpdate) -> list[BookEvent]:
        last = self._sequencer.last
        outcome = self.last_outcome = self._sequencer.on_update(update, event)
        if outcome is Outcome.APPLY:
            return self._apply(event, update)
        if outcome is Outcome.GAP:
            return self._gap(event, update, last)
        if outcome is Outcome.OVERFLOW and self._image is not _Image.REQUESTED:
            self._image = _Image.WANTED
        self.book.state = self._sequencer.state
        return []

    def _apply(self, event: MarketEvent, update: OrderBookUpdate) -> list[BookEvent]:
        book = self.book
        try:
            book.apply_update(
                update.bids,
                update.asks,
                sequence=update.sequence,
                time_engine=update.time_engine,
                time_received=event.time_received,
            )
        except InvalidLevel as error:
            return self._lost(event.time_received, StaleReason.INVALID, str(error))
        return self._verified(event, update.checksum)

    def _verified(self, event: MarketEvent, checksum: int | None) -> list[BookEvent]:
        """Pass the event on if the book agrees with the venue after it."""
        if checksum is not None and self._checksum is not None:
            ours = self._checksum(self.book)
            if ours is not None and ours != checksum:
                detail = f"the venue's checksum is {checksum}, ours was {ours}"
                return self._lost(event.time_received, StaleReason.CHECKSUM, detail)
        if self._check_crossed and self.book.crossed:
            detail = f"{self.book.best_bid} reached {self.book.best_ask}"
            return self._lost(event.time_received, StaleReason.CROSSED, detail)
        return [event]

    def verify(self, checksum: int, time: int) -> list[BookEvent]:
        """Compare with a checksum that came in a message of its own.

        Ignored unless the book is live: there is nothing to compare with.
        """
        if self.book.state is not BookState.LIVE or self._checksum is None:
            return []
        ours = self._checksum(self.book)
        if ours is None or ours == checksum:
            return []
        detail = f"the venue's checksum is {checksum}, ours was {ours}"
        return self._lost(time, StaleReason.CHECKSUM, detail)

    def _gap(
        self, event: MarketEvent, update: OrderBookUpdate, last: int | None
    ) -> list[BookEvent]:
        expected = self._sequencer.expected
        received = update.first_sequence
        if received is None:
            received = update.sequence
        self._missed = None if expected is None else (expected, _lost_until(update))
        return self._stale(
            BookStale(
                exchange=self.exchange,
                instrument=self.instrument,
                reason=StaleReason.GAP,
                time=event.time_received,
                last_sequence=last,
                expected=expected,
                received=received,
                detail=(
                    f"the update {received}..{update.sequence} "
                    f"(previous {update.prev_sequence}) does not follow {last}"
                ),
            )
        )

    # Images

    def _snapshot(
        self, event: MarketEvent, snapshot: OrderBookSnapshot
    ) -> list[BookEvent]:
        book = self.book
        decision = self._sequencer.on_snapshot(snapshot)
        self.last_outcome = decision.outcome
        if decision.outcome is Outcome.REFETCH:
            self._image = _Image.WANTED
            return []
        try:
            book.apply_snapshot(
                snapshot.bids,
                snapshot.asks,
                sequence=snapshot.sequence,
                time_engine=snapshot.time_engine,
                time_received=event.time_received,
            )
        except InvalidLevel as error:
            return self._lost(event.time_received, StaleReason.INVALID, str(error))
        self._image = _Image.NONE
        book.state = BookState.LIVE
        events = self._verified(event, snapshot.checksum)
        if book.state is not BookState.LIVE:
            return events
        events.extend(self._resynced(event.time_received, snapshot.sequence))
        events.extend(self._drain(decision.drain))
        return events

    def _drain(self, drain: tuple[Drained[MarketEvent], ...]) -> list[BookEvent]:
        """Go on with what waited for the image, until something is wrong with it."""
        events: list[BookEvent] = []
        for i, drained in enumerate(drain):
            update, waited = drained.update, drained.context
            assert waited is not None, "every buffered update came with its event"  # noqa: S101  narrows the type
            if drained.outcome is Outcome.APPLY:
                events.extend(self._apply(waited, update))
            elif drained.outcome is Outcome.GAP:
                events.extend(self._gap(waited, update, self.book.sequence))
            if self.book.state is not BookState.LIVE:
                # The rest waits for the next image; a stale book passes nothing on.
                for later in drain[i + 1 :]:
                    self._sequencer.on_update(later.update, later.context)
                break
        return events

    def _resynced(self, time: int, sequence: int | None) -> list[BookEvent]:
        since = self._stale_since
        if since is None:
            return []
        self.gaps += 1
        missed = None
        if self._missed is not None:
            first, until = self._missed
            last = sequence if until is None else until
            # Nothing was lost if the update merely overlapped the one before.
            missed = None if last is None or last < first else (first, last)
        self._stale_since = self._missed = None
        report = BookResynced(
            exchange=self.exchange,
            instrument=self.instrument,
            reason=self._stale_reason,
            time=time,
            gap_ns=max(0, time - since),
            missed=missed,
            gaps=self.gaps,
        )
        return [report]

    # Losses

    def invalidate(
        self, reason: StaleReason, *, time: int, detail: str = ""
    ) -> list[BookEvent]:
        """Mark the book stale for a reason that lies outside of its messages.

        Idempotent: a book that is stale or was never live reports nothing more, but
        wants a new image and forgets what was buffered.
        """
        return self._lost(time, reason, detail)

    def _lost(self, time: int, reason: StaleReason, detail: str) -> list[BookEvent]:
        last = self.book.sequence
        self._sequencer.invalidate()
        # How far the loss goes is known when the next image comes.
        self._missed = None if last is None else (last + 1, None)
        return self._stale(
            BookStale(
                exchange=self.exchange,
                instrument=self.instrument,
                reason=reason,
                time=time,
                last_sequence=last,
                expected=None if last is None else last + 1,
                detail=detail,
            )
        )

    def _stale(self, report: BookStale) -> list[BookEvent]:
        was_live = self.book.state is BookState.LIVE
        if self.last_outcome is not None:
            self.last_outcome = Outcome.GAP
        self._image = _Image.WANTED
        if was_live:
            self._stale_since = report.time
            self._stale_reason = report.reason
        if was_live or self._stale_since is not None:
            self.book.state = BookState.STALE
        return [report] if was_live else []


def _lost_until(update: OrderBookUpdate) -> int | None:
    """Return the last id that was lost before `update`, where its ids tell."""
    if update.prev_sequence is not None:
        return update.prev_sequence
    if update.first_sequence is not None:
        return update.first_sequence - 1
    return None if update.sequence is None else update.sequence - 1
