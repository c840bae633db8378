"""One producer, many readers, each at its own pace.

The broadcaster keeps the latest items in a ring. A reader that falls further behind
than the ring is long is told how many it missed, in the place where they would have
come, and goes on with what is still there. Nobody waits for a slow reader, and no
reader's stream ends because it was slow.
"""

from collections import deque
from itertools import islice
from typing import Generic, Self, TypeAlias, TypeVar, final

import msgspec
import trio

__all__ = ["Broadcast", "BroadcastItem", "BroadcastReceiver", "Lagged"]

T = TypeVar("T")


class Lagged(msgspec.Struct, frozen=True):
    """Items were missed here: the reader was slower than the ring is long."""

    missed: int


BroadcastItem: TypeAlias = T | Lagged
"""What a reader of a broadcast gets."""


@final
class Broadcast(Generic[T]):
    """The sending side.

    Args:
        capacity: Items that are kept for readers that are behind.

    Raises:
        ValueError: The capacity is not positive.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a broadcast keeps at least one item, was {capacity}")
        self._ring: deque[T] = deque(maxlen=capacity)
        self._published = 0
        self._closed = False
        self._waiting = trio.lowlevel.ParkingLot()

    @property
    def published(self) -> int:
        """Items published so far."""
        return self._published

    def publish(self, *items: T) -> None:
        """Publish items to all readers; never waits.

        Raises:
            trio.ClosedResourceError: The broadcast was closed.
        """
        if self._closed:
            raise trio.ClosedResourceError("this broadcast was closed")
        self._ring.extend(items)
        self._published += len(items)
        self._waiting.unpark_all()

    def subscribe(self, *, replay: int = 0) -> "BroadcastReceiver[T]":
        """Return a reader of everything published from now on.

        Args:
            replay: Items of the past to begin with, as far as they are kept.
        """
        kept = min(replay, len(self._ring))
        return BroadcastReceiver(self, self._published - kept)

    def close(self) -> None:
        """End every reader's stream after what is published."""
        self._closed = True
        self._waiting.unpark_all()

    async def _since(self, position: int) -> tuple[int, list[T]]:
        """Wait for items from `position` on; return how many are lost, and the rest."""
        await trio.lowlevel.checkpoint()
        while position == self._published:
            if self._closed:
                raise trio.EndOfChannel
            await self._waiting.park()
        oldest = self._published - len(self._ring)
        missed = max(0, oldest - position)
        return missed, list(islice(self._ring, position + missed - oldest, None))


@final
class BroadcastReceiver(Generic[T]):
    """One reader: a stream of batches, and an async iterator of items."""

    def __init__(self, broadcast: Broadcast[T], position: int) -> None:
        self._broadcast = broadcast
        self._position = position
        self._pending: deque[BroadcastItem[T]] = deque()
        self._closed = False
        self.missed = 0
        """Items this reader has missed so far."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BroadcastItem[T]:
        if not self._pending:
            try:
                self._pending.extend(await self._read())
            except trio.EndOfChannel:
                raise StopAsyncIteration from None
        return self._pending.popleft()

    async def next_batch(self) -> list[BroadcastItem[T]]:
        """Wait for items and return all there are, a `Lagged` first if some are lost.

        Raises:
            trio.EndOfChannel: The broadcast was closed and all is read.
            trio.ClosedResourceError: This reader was closed.
        """
        if not self._pending:
            return await self._read()
        await trio.lowlevel.checkpoint()
        batch = list(self._pending)
        self._pending.clear()
        return batch

    async def aclose(self) -> None:
        """Stop reading."""
        self._closed = True
        self._pending.clear()
        await trio.lowlevel.checkpoint()

    async def _read(self) -> list[BroadcastItem[T]]:
        if self._closed:
            raise trio.ClosedResourceError("this reader was closed")
        # One task reads at a time, and nothing is awaited after this.
        missed, items = await self._broadcast._since(self._position)
        self._position += missed + len(items)
        self.missed += missed
        head: list[BroadcastItem[T]] = [Lagged(missed)] if missed else []
        return head + items
