"""Comparing live books with the venue's HTTP image, now and then.

Sequence numbers show that no message was lost, not that every message was understood.
An audit shows that: a second book is made from an image, fed the same updates until it
has the live book's sequence, and both tops are compared. Where they differ the live
book is called stale (`StaleReason.AUDIT`) and gets a new image like any other.

For venues whose images come by HTTP and whose updates are numbered; others send
checksums, or images with every message. `BookTrial` is pure, `BookAuditor` asks.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, final

import trio

from integration.errors import IntegrationError
from integration.market.books import BookState, OrderBook
from integration.market.connector import Connector, Image, Topic
from integration.market.images import ImageJob, ImageScheduler
from integration.market.keeper import BookKeeper
from integration.market.manager import BookManager
from integration.market.reports import BookStale, StaleReason, StreamEvent
from integration.market.sequencing import ImageSource
from integration.models import (
    ExchangeId,
    Level,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
)
from netcore.clock import Clock
from netcore.models import Model, Timestamp

__all__ = ["AuditReport", "BookAuditor", "BookTrial"]

_DEPTH: Final = 20
"""Levels compared per side: what an image's limit never cuts off."""
_REMEMBERED: Final = 1000


class AuditReport(Model, frozen=True):
    """One comparison.

    Attributes:
        exchange: whose book.
        instrument: which book.
        time: when they were compared, ns since epoch.
        sequence: of both books.
        levels: how many levels were compared.
        differing: those that differ, for people; empty if all is well.
    """

    exchange: ExchangeId
    instrument: MarketDataInstrument
    time: Timestamp
    sequence: int
    levels: int
    differing: tuple[str, ...] = ()


@final
class BookTrial:
    """One live book on trial.

    Args:
        manager: of the live book.
        connector: knows the venue's rule.
        depth: levels to compare per side.
    """

    def __init__(
        self, manager: BookManager, connector: Connector, *, depth: int = _DEPTH
    ) -> None:
        self._live = manager.book
        self._depth = depth
        self._witness = BookManager(
            manager.exchange, manager.instrument, rule=connector.rule
        )
        self._witness.image_requested()
        self._sworn = False

    @property
    def pending(self) -> bool:
        """Whether a verdict may come without another image.

        So it is until the image has come, and while it is ahead of the live book.
        """
        if not self._sworn:
            return True
        ours, theirs = self._live.sequence, self._witness.book.sequence
        return (
            self._witness.book.state is BookState.LIVE
            and ours is not None
            and theirs is not None
            and ours < theirs
        )

    def take(self, event: MarketEvent) -> None:
        """Let the witness have what the live book had, or the image."""
        self._sworn = self._sworn or isinstance(event.kind, OrderBookSnapshot)
        self._witness.handle(event)

    def verdict(self, time: Timestamp) -> AuditReport | None:
        """Compare; None while the books are not at the same sequence."""
        live, witness = self._live, self._witness.book
        sequence = live.sequence
        if (
            live.state is not BookState.LIVE
            or witness.state is not BookState.LIVE
            or sequence is None
            or sequence != witness.sequence
        ):
            return None
        ours, theirs = _top(live, self._depth), _top(witness, self._depth)
        return AuditReport(
            exchange=self._witness.exchange,
            instrument=self._witness.instrument,
            time=time,
            sequence=sequence,
            levels=sum(level is not None for level in theirs),
            differing=tuple(
                f"{_said(their)} at the venue, {_said(our)} here"
                for our, their in zip(ours, theirs, strict=True)
                if our != their
            ),
        )


def _top(book: OrderBook, depth: int) -> list[Level | None]:
    bids, asks = book.bids(depth), book.asks(depth)
    return [
        *bids,
        *([None] * (depth - len(bids))),
        *asks,
        *([None] * (depth - len(asks))),
    ]


def _said(level: Level | None) -> str:
    return "nothing" if level is None else f"{level.amount} @ {level.price}"


@final
class BookAuditor:
    """Audits the books of one connection, one after the other.

    Args:
        keeper: of the books.
        connector: how the venue speaks.
        images: fetches images, through the limiter, after those that are needed.
        interval: seconds between two audits.
        topic: returns the topic that feeds a book.
        emit: takes what a consumer must hear.
        clock: stamps reports.

    Attributes:
        reports: the latest comparisons.
        failed: images that could not be got.
    """

    def __init__(
        self,
        keeper: BookKeeper,
        connector: Connector,
        *,
        images: ImageScheduler,
        interval: float,
        topic: Callable[[BookManager], Topic],
        emit: Callable[[list[StreamEvent]], None],
        clock: Clock,
    ) -> None:
        self.reports: deque[AuditReport] = deque(maxlen=_REMEMBERED)
        self.failed = 0
        self._keeper = keeper
        self._connector = connector
        self._images = images
        self._interval = interval
        self._topic = topic
        self._emit = emit
        self._clock = clock
        self._turns: deque[BookManager] = deque()
        self._trials: dict[BookManager, BookTrial] = {}

    async def run(self) -> None:
        """Audit until cancelled."""
        while True:
            await trio.sleep(self._interval)
            manager = self._next()
            if manager is not None:
                self._begin(manager)

    def _next(self) -> BookManager | None:
        """Return the live book whose turn it is, if there is one.

        A trial under way is not begun anew: where images take longer than the interval
        none would ever come to its end.
        """
        known = self._keeper.managers.values()
        self._turns = deque(m for m in self._turns if m in known)
        self._turns.extend(m for m in known if m not in self._turns)
        for _ in range(len(self._turns)):
            manager = self._turns[0]
            self._turns.rotate(-1)
            trial = self._trials.get(manager)
            if trial is not None and trial.pending:
                continue
            auditable = manager.sequenced and manager.images is ImageSource.HTTP
            if auditable and manager.book.state is BookState.LIVE:
                return manager
        return None

    def _begin(self, manager: BookManager) -> None:
        trial = self._trials[manager] = BookTrial(manager, self._connector)

        def deliver(image: Image) -> None:
            self._image_came(manager, image)

        def failed(_: IntegrationError) -> None:
            self.failed += 1
            self._trials.pop(manager, None)

        depth = manager.book.max_depth
        job = ImageJob(
            request=self._connector.image_request(self._topic(manager), depth),
            urgent=False,
            wanted=lambda: self._trials.get(manager) is trial,
            deliver=deliver,
            failed=failed,
        )
        self._images.request(job)

    def _image_came(self, manager: BookManager, image: Image) -> None:
        now = self._clock.now_ns()
        time = image.time_exchange or now
        event = MarketEvent(time, now, manager.exchange, manager.instrument, image.book)
        self._trials[manager].take(event)
        self._judge(manager)

    def saw(self, events: Iterable[StreamEvent]) -> None:
        """Take what the consumer is given; call after the books have changed."""
        for event in events:
            if isinstance(event, BookStale):
                manager = self._keeper.managers.get(event.instrument)
                if manager is not None:
                    self._trials.pop(manager, None)
            elif isinstance(event, MarketEvent) and event.kind_name == "l2":
                manager = self._keeper.managers.get(event.instrument)
                if manager is not None and manager in self._trials:
                    self._trials[manager].take(event)
        for manager in list(self._trials):
            self._judge(manager)

    def _judge(self, manager: BookManager) -> None:
        # A verdict is told to the consumer, which brings us here for all other trials.
        trial = self._trials.get(manager)
        now = self._clock.now_ns()
        report = None if trial is None else trial.verdict(now)
        if report is None:
            return
        del self._trials[manager]
        self.reports.append(report)
        if report.differing:
            detail = "; ".join(report.differing[:3])
            stale = manager.invalidate(StaleReason.AUDIT, time=now, detail=detail)
            self._keeper.wanting[manager] = None
            self._emit([*stale])
