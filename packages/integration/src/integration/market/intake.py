"""What a connection does with every message: decode, transform, sort what comes of it.

The hottest loop of the house, so it is one loop: a message's text is still in the
processor's cache when its book is changed, and a trade takes two calls from its bytes
to the list of events; one for all trades in a row where the venue's spelling is known
(`integration.market.shapes`) and something was compiled. All that is rare (faults,
notices) goes through `BookKeeper.sort`, which says what happens; this module only keeps
the order. Pure: reads no clock, waits for nothing.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, final

from integration.errors import UNDECODABLE, Deserialise
from integration.market.connector import (
    FAULTY,
    UnknownChannelError,
    VenueTransformer,
    fault_of,
)
from integration.market.keeper import BookKeeper
from integration.market.notices import Notice, Output, Pong
from integration.market.reports import StreamEvent
from integration.models import MarketEvent, OrderBookSnapshot, OrderBookUpdate

__all__ = ["Heed", "Intake", "Spoilt"]

Heed: TypeAlias = Callable[[Notice, int, list[StreamEvent]], None]
"""Acts upon a notice: is given when its message came and the events so far, to which
it may add."""

Spoilt: TypeAlias = Callable[[Deserialise, int, list[StreamEvent]], None]
"""The same for a message that could not be decoded."""


@final
class Intake:
    """Takes the messages of one connection to events.

    Args:
        transformer: the connection's.
        keeper: of its books.
        heed: what the venue says besides data goes here, between the events of the
            messages before and after it.
        spoilt: what could not be decoded goes here; by default to the keeper, which
            reports it.
    """

    __slots__ = ("_heed", "_keeper", "_spoilt", "_transformer")

    def __init__(
        self,
        transformer: VenueTransformer[Any],
        keeper: BookKeeper,
        heed: Heed,
        *,
        spoilt: Spoilt | None = None,
    ) -> None:
        self._transformer = transformer
        self._keeper = keeper
        self._heed = heed
        self._spoilt = self._reported if spoilt is None else spoilt

    def read(self, payloads: Iterable[bytes], time: int) -> list[StreamEvent]:
        """Return what a consumer may see of messages, in their order.

        Args:
            payloads: one message each, as the venue spelled it.
            time: when they were received, ns since epoch.
        """
        events: list[StreamEvent] = []
        scanner = self._transformer.scanner
        if scanner is None:
            self._plainly(payloads, time, events)
            return events
        messages = payloads if type(payloads) is list else list(payloads)
        place, end = 0, len(messages)
        while (place := scanner.scan(messages, place, time=time, events=events)) < end:
            self._plainly((messages[place],), time, events)
            place += 1
        return events

    def _plainly(
        self, payloads: Iterable[bytes], time: int, events: list[StreamEvent]
    ) -> None:
        append, depth = events.append, self._keeper.depth
        decode, transform = self._transformer.decode, self._transformer.transform
        handlers = self._transformer.handlers
        outputs: Iterable[Output]
        for payload in payloads:
            try:
                message = decode(payload)
            except UNDECODABLE as error:
                self._undecodable(payload, error, time, events)
                continue
            try:
                outputs = handlers.get(type(message), transform)(message, time)
            except FAULTY as error:
                outputs = (fault_of(error, message),)
            for output in outputs:
                # What `BookKeeper.sort` begins with, without a call for each trade.
                if type(output) is MarketEvent:
                    kind = type(output.kind)
                    if kind is OrderBookUpdate or kind is OrderBookSnapshot:
                        depth(output, events)
                    else:
                        append(output)
                else:
                    self._sort((output,), time, events)

    def take(self, outputs: Iterable[Output], time: int) -> list[StreamEvent]:
        """Return what a consumer may see of outputs that were made elsewhere."""
        events: list[StreamEvent] = []
        self._sort(outputs, time, events)
        return events

    def _sort(
        self, outputs: Iterable[Output], time: int, events: list[StreamEvent]
    ) -> None:
        for output in outputs:
            notices: list[Notice] = []
            self._keeper.sort(output, time, events=events, notices=notices)
            for notice in notices:
                self._heed(notice, time, events)

    def _undecodable(
        self, payload: bytes, error: Exception, time: int, events: list[StreamEvent]
    ) -> None:
        transformer = self._transformer
        if payload in transformer.heartbeats:
            self._sort((Pong(),), time, events)
        elif isinstance(error, UnknownChannelError):
            self._sort(transformer.unidentified(error.channel, ""), time, events)
        else:
            fault = Deserialise(str(error), payload)
            fault.__cause__ = error
            self._spoilt(fault, time, events)

    def _reported(
        self, fault: Deserialise, time: int, events: list[StreamEvent]
    ) -> None:
        self._sort((fault,), time, events)
