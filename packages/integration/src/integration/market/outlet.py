"""Where the events of all connections wait for the consumer.

Putting is synchronous and never fails for lack of room, so that whoever changes a
book also queues the event of that change in the same breath: order in the queue is
the order of the changes. Bounds come from the other side: a connection asks for room
*before* it reads its socket. The queue therefore holds at most its capacity plus one
read per connection, and a slow consumer slows the venue by TCP.

Where that is unwanted, events may be merged once the capacity is reached (`conflate`):
of quotes, candles and rates the newest per instrument stays, updates of one book
become one; trades and reports are never merged and still find room up to twice the
capacity. Or the oldest may be dropped. All of it is counted, and a merged event says
how many it stands for.
"""

from collections import deque
from collections.abc import Collection, Hashable
from typing import Any, final

import msgspec
import trio

from integration.errors import Overload
from integration.market.reports import (
    BookResynced,
    BookStale,
    Reconnecting,
    StreamError,
    StreamEvent,
)
from integration.models import (
    Candle,
    FundingRate,
    IndexPrice,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
)
from integration.stream.channel import ChannelStats, OverloadPolicy

__all__ = ["Outlet"]

_LATEST = (OrderBookL1, Candle, FundingRate, MarkPrice, IndexPrice, OpenInterest)
"""Kinds of which a newer event makes an older one of its instrument superfluous."""


@final
class Outlet:
    """The queue between the connections and the consumer of a market stream.

    Args:
        capacity: events that may wait before connections stop reading.
        policy: what happens beyond that.

    Raises:
        ValueError: the capacity is not positive.
    """

    __slots__ = (
        "_capacity",
        "_closed",
        "_conflates",
        "_items",
        "_mergeable",
        "_policy",
        "_queue",
        "_room",
        "stats",
    )

    def __init__(
        self, capacity: int, policy: OverloadPolicy = OverloadPolicy.BLOCK
    ) -> None:
        if capacity < 1:
            msg = f"an outlet holds at least one event, was {capacity}"
            raise ValueError(msg)
        self.stats = ChannelStats()
        self._capacity = capacity
        self._policy = policy
        self._conflates = policy is OverloadPolicy.CONFLATE
        # Events; in boxes where one may take another's place.
        self._queue: deque[Any] = deque()
        self._mergeable: dict[Hashable, _Box] = {}
        self._items = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._closed: Exception | None = None

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether connections have to wait before they read."""
        waiting = len(self._queue)
        if self._policy is OverloadPolicy.BLOCK:
            return waiting >= self._capacity
        return self._policy is OverloadPolicy.CONFLATE and waiting >= 2 * self._capacity

    def put(self, events: Collection[StreamEvent]) -> None:
        """Queue events, in order; none after the stream was closed.

        Raises:
            Overload: the policy is `raise` and there is no room.
        """
        if self._closed is not None:
            # Whoever empties the queue slowly must come to the reason, not to these.
            return
        stats, queue = self.stats, self._queue
        if self._conflates:
            self._put_boxes(events)
        elif len(queue) + len(events) <= self._capacity:
            stats.sent += len(events)
            queue.extend(events)
        else:
            for event in events:
                stats.sent += 1
                if len(queue) < self._capacity or self._has_room(event):
                    queue.append(event)
        if queue:
            stats.high_water = max(stats.high_water, len(queue))
            self._items.unpark_all()

    def _put_boxes(self, events: Collection[StreamEvent]) -> None:
        queue = self._queue
        for event in events:
            self.stats.sent += 1
            if len(queue) < self._capacity or self._has_room(event):
                box = _Box(event)
                self._note(event, box)
                queue.append(box)

    def _has_room(self, event: StreamEvent) -> bool:
        """Apply the policy to an event that finds the queue full; False: disposed."""
        stats = self.stats
        stats.overloads += 1
        match self._policy:
            case OverloadPolicy.BLOCK:
                return True
            case OverloadPolicy.DROP_OLDEST:
                self._queue.popleft()
                stats.dropped += 1
                return True
            case OverloadPolicy.DROP_NEWEST:
                stats.dropped += 1
                return False
            case OverloadPolicy.CONFLATE:
                return not self._merge(event)
            case OverloadPolicy.RAISE:
                msg = f"{len(self._queue)} events wait: consume faster"
                raise Overload(msg, capacity=self._capacity)

    def _merge(self, event: StreamEvent) -> bool:
        box = self._mergeable.get(_key(event))
        if box is None:
            return False
        box.event = _merged(box.event, event)
        self.stats.conflated += 1
        return True

    def _note(self, event: StreamEvent, box: "_Box") -> None:
        """Remember what later events may be merged into, and what no longer may."""
        if isinstance(event, Reconnecting | StreamError):
            self._mergeable.clear()
            return
        key = _key(event)
        if key is not None:
            self._mergeable[key] = box
        elif isinstance(event, BookStale | BookResynced) or isinstance(
            event.kind, OrderBookSnapshot
        ):
            # Updates after an image must not be moved before it.
            book = (OrderBookUpdate, event.exchange, event.instrument)
            self._mergeable.pop(book, None)

    async def wait_room(self) -> None:
        """Wait until connections may read; returns at once if they may."""
        while self.full and self._closed is None:
            await self._room.park()

    async def take(self) -> list[StreamEvent]:
        """Wait for events and take all that wait.

        Raises:
            trio.EndOfChannel: the stream was closed and nothing waits.
            Exception: what the stream was closed with.
        """
        # The checkpoint comes first: cancelled here, nothing is lost.
        await trio.lowlevel.checkpoint()
        while not self._queue:
            if self._closed is not None:
                raise self._closed
            await self._items.park()
        return self.take_nowait()

    def take_nowait(self) -> list[StreamEvent]:
        """Take all that waits; nothing, if nothing does."""
        queue = self._queue
        taken = [box.event for box in queue] if self._conflates else list(queue)
        self._queue.clear()
        self._mergeable.clear()
        self.stats.received += len(taken)
        self._room.unpark_all()
        return taken

    def close(self, reason: Exception | None = None) -> None:
        """End the stream after what waits; the first reason counts."""
        if self._closed is None:
            self._closed = trio.EndOfChannel() if reason is None else reason
        self._items.unpark_all()
        self._room.unpark_all()


class _Box:
    """The place of an event in the queue; a merged event takes the same place."""

    __slots__ = ("event",)

    def __init__(self, event: StreamEvent) -> None:
        self.event = event


def _key(event: StreamEvent) -> Hashable:
    """Say what an event may be merged by; None: it stands for itself."""
    if not isinstance(event, MarketEvent):
        return None
    kind = event.kind
    if isinstance(kind, (*_LATEST, OrderBookUpdate)):
        return (type(kind), event.exchange, event.instrument)
    return None


def _merged(old: StreamEvent, new: StreamEvent) -> StreamEvent:
    assert isinstance(old, MarketEvent), "only market events have keys"  # noqa: S101  narrows the type
    assert isinstance(new, MarketEvent), "only market events have keys"  # noqa: S101  narrows the type
    count = old.conflated + new.conflated + 1
    earlier, later = old.kind, new.kind
    if isinstance(earlier, OrderBookUpdate) and isinstance(later, OrderBookUpdate):
        # The last word on a level counts, and dictionaries keep the last.
        bids = dict(earlier.bids) | dict(later.bids)
        asks = dict(earlier.asks) | dict(later.asks)
        later = msgspec.structs.replace(
            later,
            bids=list(bids.items()),
            asks=list(asks.items()),
            first_sequence=earlier.first_sequence,
            prev_sequence=earlier.prev_sequence,
        )
    return msgspec.structs.replace(new, kind=later, conflated=count)
