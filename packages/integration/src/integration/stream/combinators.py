"""Streams made of streams.

All take and give `BatchStream`s: lists, one per read, in order. Those that need tasks
of their own are async context managers, so that none outlives its block.
"""

from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import partial
from typing import Generic, TypeVar, final

import trio

from integration.errors import IntegrationError, Sink, UnknownIndex
from integration.stream.channel import Tx
from integration.stream.exchange_stream import BatchStream
from integration.stream.tasks import with_tasks

__all__ = [
    "Indexer",
    "MergeEnd",
    "idle_timeout",
    "index_by",
    "items_of",
    "map_batches",
    "map_indexed",
    "merge",
    "partition_to",
    "tee_to",
]

T = TypeVar("T")
U = TypeVar("U")
K = TypeVar("K", bound=Hashable)

Indexer = Callable[[T], U]
"""Replaces a key by its index, or raises `UnknownIndex`."""


class MergeEnd(StrEnum):
    """When a merged stream ends."""

    ANY = "any"
    """With the first of its streams, as barter's does."""

    ALL = "all"
    """With the last."""


def map_batches(
    stream: BatchStream[T], function: Callable[[list[T]], list[U]]
) -> BatchStream[U]:
    """Pass every batch through a function; batches it empties are not delivered."""
    return _Mapped(stream, function)


def map_indexed(
    stream: BatchStream[T], indexer: Indexer[T, U]
) -> BatchStream[U | IntegrationError]:
    """Replace the keys of all items by indices.

    An item whose key is unknown becomes the `UnknownIndex` that `indexer` raised;
    error values pass as they are.
    """

    def index(item: T) -> U | IntegrationError:
        if isinstance(item, IntegrationError):
            return item
        try:
            return indexer(item)
        except UnknownIndex as error:
            return error

    return _Mapped(stream, lambda batch: [index(item) for item in batch])


def index_by(table: Mapping[K, int], entity: str) -> Indexer[K, int]:
    """Return an indexer that looks keys up in a table.

    Args:
        table: The index of each key.
        entity: What the keys are, for the error.
    """

    def look_up(key: K) -> int:
        try:
            return table[key]
        except KeyError:
            raise UnknownIndex(entity, str(key)) from None

    return look_up


def partition_to(
    sender: Tx[T], stream: BatchStream[T], predicate: Callable[[T], bool]
) -> BatchStream[T]:
    """Send the items that match away, and deliver the others.

    The stream ends when nobody receives what is sent.
    """
    return _Forwarded(sender, stream, predicate, keep=False)


def tee_to(
    sender: Tx[T], stream: BatchStream[T], predicate: Callable[[T], bool]
) -> BatchStream[T]:
    """Send the items that match, and deliver all.

    The stream ends when nobody receives what is sent.
    """
    return _Forwarded(sender, stream, predicate, keep=True)


async def items_of(stream: BatchStream[T]) -> AsyncIterator[T]:
    """Iterate over the single items of a stream until its end."""
    while True:
        try:
            batch = await stream.next_batch()
        except trio.EndOfChannel:
            return
        for item in batch:
            yield item


@asynccontextmanager
async def idle_timeout(
    stream: BatchStream[T],
    seconds: float,
    on_timeout: Callable[[], None] = lambda: None,
) -> AsyncIterator[BatchStream[T]]:
    """End a stream whose next batch does not come in time.

    Only time spent waiting counts: a consumer that is busy with the last batch is no
    proof of silence. One watchdog looks at a stamp; reading costs no timer.

    Args:
        stream: What to watch; it is closed when it was silent for too long.
        seconds: How long silence may last.
        on_timeout: Called once, before the stream ends.
    """
    watched = _Watched(stream)
    async with with_tasks(partial(watched.watch, seconds, on_timeout)):
        yield watched


@asynccontextmanager
async def merge(
    *streams: BatchStream[T], end: MergeEnd = MergeEnd.ANY
) -> AsyncIterator[BatchStream[T]]:
    """Merge streams: a batch at a time from each that has one, in turn.

    Each stream is read one batch ahead, no more: a slow consumer slows all streams
    down instead of filling memory, and a busy stream cannot starve a quiet one. A
    fault of one stream is raised once the batches before it are delivered.

    Args:
        streams: What to merge; closed by whoever opened them.
        end: Whether the merged stream ends with the first or the last of them.
    """
    merged = _Merged(streams, end)
    async with with_tasks(*(partial(merged.pump, n) for n in range(len(streams)))):
        yield merged


@final
class _Mapped(Generic[T, U]):
    def __init__(
        self, stream: BatchStream[T], function: Callable[[list[T]], list[U]]
    ) -> None:
        self._stream = stream
        self._function = function

    async def next_batch(self) -> list[U]:
        while True:
            batch = self._function(await self._stream.next_batch())
            if batch:
                return batch

    async def aclose(self) -> None:
        await self._stream.aclose()


@final
class _Forwarded(Generic[T]):
    def __init__(
        self,
        sender: Tx[T],
        stream: BatchStream[T],
        predicate: Callable[[T], bool],
        *,
        keep: bool,
    ) -> None:
        self._sender = sender
        self._stream = stream
        self._predicate = predicate
        self._keep = keep
        self._ended = False

    async def next_batch(self) -> list[T]:
        while not self._ended:
            batch = await self._stream.next_batch()
            kept = self._forward(batch)
            if kept:
                return kept
        raise trio.EndOfChannel

    async def aclose(self) -> None:
        await self._stream.aclose()

    def _forward(self, batch: list[T]) -> list[T]:
        kept: list[T] = []
        for item in batch:
            matches = self._predicate(item)
            if matches:
                try:
                    self._sender.send_nowait(item)
                except Sink:
                    self._ended = True
                    return kept
            if self._keep or not matches:
                kept.append(item)
        return kept


@final
class _Watched(Generic[T]):
    def __init__(self, stream: BatchStream[T]) -> None:
        self._stream = stream
        self._waiting_since: float | None = None
        self._timed_out = False
        self._reading = trio.Event()
        self._scope: trio.CancelScope | None = None

    async def next_batch(self) -> list[T]:
        if self._timed_out:
            await self._stream.aclose()
            raise trio.EndOfChannel
        self._waiting_since = trio.current_time()
        self._reading.set()
        # A scope without deadline: cheap, and the watchdog can end just this read.
        with trio.CancelScope() as self._scope:
            try:
                return await self._stream.next_batch()
            finally:
                self._waiting_since = None
        await self._stream.aclose()
        raise trio.EndOfChannel

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def watch(self, seconds: float, on_timeout: Callable[[], None]) -> None:
        """Sleep until silence could be too long, look, sleep again."""
        while not self._timed_out:
            if self._waiting_since is None:
                self._reading = trio.Event()
                await self._reading.wait()
                continue
            deadline = self._waiting_since + seconds
            if trio.current_time() < deadline:
                await trio.sleep_until(deadline)
                continue
            self._timed_out = True
            on_timeout()
            if self._scope is not None:
                self._scope.cancel()


@final
class _Merged(Generic[T]):
    def __init__(self, streams: tuple[BatchStream[T], ...], end: MergeEnd) -> None:
        self._streams = streams
        self._end = end
        self._slots: dict[int, list[T]] = {}
        self._taken = [trio.Event() for _ in streams]
        self._open = set(range(len(streams)))
        self._last = -1
        self._fault: Exception | None = None
        self._news = trio.lowlevel.ParkingLot()

    async def next_batch(self) -> list[T]:
        await trio.lowlevel.checkpoint()
        while not self._slots:
            if self._fault is not None:
                raise self._fault
            if self._ended():
                raise trio.EndOfChannel
            await self._news.park()
        # The next after the one served last, round and round.
        count = len(self._streams)
        number = min(self._slots, key=lambda n: (n - self._last - 1) % count)
        self._last = number
        self._taken[number].set()
        return self._slots.pop(number)

    async def aclose(self) -> None:
        for stream in self._streams:
            await stream.aclose()

    async def pump(self, number: int) -> None:
        """Read one stream ahead by one batch."""
        stream = self._streams[number]
        try:
            while True:
                batch = await stream.next_batch()
                self._taken[number] = trio.Event()
                self._slots[number] = batch
                self._news.unpark_all()
                await self._taken[number].wait()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            self._open.discard(number)
        except IntegrationError as error:
            self._fault = self._fault or error
        self._news.unpark_all()

    def _ended(self) -> bool:
        if self._end is MergeEnd.ANY:
            return len(self._open) < len(self._streams) or not self._streams
        return not self._open
