"""The books of one connection: sorts a transformer's outputs to where they belong.

Events of depth streams go through their book's manager; other events pass; notices
that concern books (checksums, lost messages) are acted upon; the rest is handed back
for whoever owns the connection. Pure: reads no clock, waits for nothing.
"""

from collections.abc import Iterable
from typing import final

from integration.errors import IntegrationError, Unidentifiable
from integration.market.books import OrderBook
from integration.market.manager import BookManager
from integration.market.notices import (
    BookChecksum,
    ConnectionGap,
    LevelLost,
    Notice,
    Output,
)
from integration.market.reports import StaleReason, StreamError, StreamEvent
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    OrderBookUpdate,
)

__all__ = ["BookKeeper"]


@final
class BookKeeper:
    """Keeps the books of one connection.

    Args:
        exchange: put into reports.

    Attributes:
        exchange: as given.
        managers: one per instrument whose book is kept.
        wanting: managers found to want an image, in order; the owner empties it.
        ignored: subscriptions that were left: their last messages are no errors.
    """

    __slots__ = ("exchange", "ignored", "managers", "wanting")

    def __init__(self, exchange: ExchangeId) -> None:
        self.exchange = exchange
        self.managers: dict[MarketDataInstrument, BookManager] = {}
        self.wanting: dict[BookManager, None] = {}
        self.ignored: set[str] = set()

    def add(self, manager: BookManager) -> OrderBook:
        """Keep another book."""
        self.managers[manager.instrument] = manager
        return manager.book

    def remove(self, instrument: MarketDataInstrument) -> None:
        """Keep a book no longer."""
        manager = self.managers.pop(instrument, None)
        if manager is not None:
            self.wanting.pop(manager, None)

    def absorb(
        self, outputs: Iterable[Output], time: int, notices: list[Notice]
    ) -> list[StreamEvent]:
        """Turn outputs of a transformer into what a consumer may see.

        Args:
            outputs: in wire order.
            time: when their message was received, ns since epoch.
            notices: gets what is left for the owner of the connection, in order.
        """
        events: list[StreamEvent] = []
        for output in outputs:
            self.sort(output, time, events=events, notices=notices)
        return events

    def sort(
        self,
        output: Output,
        time: int,
        *,
        events: list[StreamEvent],
        notices: list[Notice],
    ) -> None:
        """Put one output where it belongs (see `absorb`)."""
        if type(output) is MarketEvent:
            kind = type(output.kind)
            if kind is OrderBookUpdate or kind is OrderBookSnapshot:
                self.depth(output, events)
            else:
                events.append(output)
        elif isinstance(output, IntegrationError):
            self._fault(output, time, events)
        else:
            # mypy does not narrow a union by `type(x) is`.
            self._notice(output, time, notices, events)  # type: ignore[arg-type]

    def depth(self, event: MarketEvent, events: list[StreamEvent]) -> None:
        """Let the book of an event's instrument have it; no book, no event."""
        manager = self.managers.get(event.instrument)
        if manager is not None:
            events.extend(manager.handle(event))
            if manager.wants_image:
                self.wanting[manager] = None

    def _fault(
        self, error: IntegrationError, time: int, events: list[StreamEvent]
    ) -> None:
        if isinstance(error, Unidentifiable) and error.subscription_id in self.ignored:
            return
        events.append(StreamError(self.exchange, error, time))

    def _notice(
        self,
        notice: Notice,
        time: int,
        notices: list[Notice],
        events: list[StreamEvent],
    ) -> None:
        match notice:
            case BookChecksum(instrument=instrument, checksum=checksum):
                if (manager := self.managers.get(instrument)) is not None:
                    events.extend(manager.verify(checksum, time))
                    self._note_want(manager)
            case LevelLost(instrument=instrument, detail=detail):
                if (manager := self.managers.get(instrument)) is not None:
                    reason = StaleReason.UNKNOWN_LEVEL
                    events.extend(manager.invalidate(reason, time=time, detail=detail))
                    self._note_want(manager)
            case ConnectionGap(expected=expected, received=received):
                detail = f"message {expected} had to come next, was {received}"
                reason = StaleReason.CONNECTION_GAP
                events.extend(self.invalidate(reason, time=time, detail=detail))
                self.wanting.update(dict.fromkeys(self.managers.values()))
            case _:
                notices.append(notice)

    def _note_want(self, manager: BookManager) -> None:
        if manager.wants_image:
            self.wanting[manager] = None

    def invalidate(
        self, reason: StaleReason, *, time: int, detail: str = ""
    ) -> list[StreamEvent]:
        """Mark every book stale."""
        events: list[StreamEvent] = []
        for manager in self.managers.values():
            events.extend(manager.invalidate(reason, time=time, detail=detail))
        return events
