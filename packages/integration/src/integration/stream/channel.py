"""Bounded channels between tasks, with a stated policy for the moment they are full.

=============== ==============================================================
block           the sender waits: nothing is lost, the producer slows down
drop_oldest     the oldest item makes room: the newest matter most
drop_newest     the new item is not taken: what was promised is kept
conflate        one item per key, the newest: books and quotes
raise           `Overload`: being late is a fault
=============== ==============================================================

Every channel counts what its policy did. Items are handed over in lists wherever
possible: one hop per batch costs a tenth of one hop per item (measured).

Receiving ends with `trio.EndOfChannel` after the last sender has closed; sending to a
closed receiver raises `Sink`. All of it belongs to one trio run; `from_thread` is the
way out of it.
"""

import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from enum import StrEnum
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar, final

import msgspec
import trio

from integration.errors import Overload, Sink

__all__ = [
    "ChannelState",
    "ChannelStats",
    "Conflated",
    "DroppableSender",
    "OverloadPolicy",
    "Receiver",
    "Sender",
    "SyncReceiver",
    "Tx",
    "open_channel",
]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

_log = logging.getLogger(__name__)


class OverloadPolicy(StrEnum):
    """What happens to an item for which there is no room."""

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    CONFLATE = "conflate"
    RAISE = "raise"


class ChannelStats:
    """What went through a channel, and what its policy cost.

    Attributes:
        sent: Items that senders offered and the channel took.
        received: Items that receivers got.
        dropped: Items that were taken from, or never let into, a full channel.
        conflated: Items that were merged into a newer one of their key.
        overloads: Times the channel was found full.
        high_water: The most items that ever waited.
    """

    __slots__ = (
        "conflated",
        "dropped",
        "high_water",
        "overloads",
        "received",
        "sent",
    )

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.dropped = 0
        self.conflated = 0
        self.overloads = 0
        self.high_water = 0

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)}" for name in self.__slots__)
        return f"ChannelStats({fields})"


class Conflated(msgspec.Struct, Generic[T], frozen=True):
    """An item and how many older ones of its key it stands for."""

    item: T
    merged: int


class Tx(Protocol[T_contra]):
    """Anything that takes items at once."""

    def send_nowait(self, item: T_contra, /) -> None:
        """Take one item.

        Raises:
            Sink: Nobody will ever receive it.
            Overload: There is no room, and the policy says so.
        """
        ...


def open_channel(
    capacity: int,
    policy: OverloadPolicy = OverloadPolicy.BLOCK,
    *,
    key: Callable[[T], Hashable] | None = None,
    merge: Callable[[T, T], T] | None = None,
) -> tuple["Sender[T]", "Receiver[T]"]:
    """Open a bounded channel.

    Args:
        capacity: Items that may wait; for `conflate`, different keys.
        policy: What happens beyond that.
        key: For `conflate`: what items replace one another by.
        merge: For `conflate`: makes one item of the waiting and the new one. Without
            it the new one replaces the waiting one.

    Raises:
        ValueError: The capacity is not positive, or `key` and policy do not fit.
    """
    if capacity < 1:
        raise ValueError(f"a channel holds at least one item, was {capacity}")
    if (policy is OverloadPolicy.CONFLATE) != (key is not None):
        raise ValueError(f"`key` belongs to conflate, and only to it, was {policy}")
    store: _Store[T]
    if key is None:
        store = _Queue(capacity, policy)
    else:
        store = _Latest(capacity, key, merge or _newer)
    channel = _Channel(store)
    return Sender(channel), Receiver(channel)


@final
class Sender(Generic[T]):
    """The sending half; clone it for every further sender, and close each."""

    __slots__ = ("_channel", "_closed")

    def __init__(self, channel: "_Channel[T]") -> None:
        self._channel = channel
        self._closed = False
        channel.senders += 1

    @property
    def stats(self) -> ChannelStats:
        """What went through so far."""
        return self._channel.store.stats

    def clone(self) -> "Sender[T]":
        """Return another sender of the same channel."""
        self._check()
        return Sender(self._channel)

    def send_nowait(self, item: T, /) -> None:
        """Send one item without waiting; see `Tx`.

        Raises:
            Overload: The channel is full, and its policy is `block` or `raise`; or it
                conflates and has no room for another key.
            Sink: The receiver has closed.
        """
        self._check()
        if not self._channel.offer(item):
            raise self._channel.store.overload()

    async def send(self, item: T) -> None:
        """Send one item; waits only where the policy is `block`.

        Raises:
            Overload: As `send_nowait`, `block` excepted.
            Sink: The receiver has closed.
        """
        await self.send_batch((item,))

    async def send_batch(self, items: Iterable[T]) -> None:
        """Send items in order, with one checkpoint where there is room for all.

        Cancelled while it waits for room, those that found room are sent and the rest
        is not.

        Raises:
            Overload: As `send_nowait`, `block` excepted; items before it are sent.
            Sink: The receiver has closed.
        """
        self._check()
        await trio.lowlevel.checkpoint()
        for item in items:
            while not self._channel.offer(item):
                if self._channel.store.policy is not OverloadPolicy.BLOCK:
                    raise self._channel.store.overload()
                await self._channel.room.park()
                self._check()

    def close(self) -> None:
        """Stop sending; the channel ends with its last sender. May be repeated."""
        if self._closed:
            return
        self._closed = True
        self._channel.senders -= 1
        if not self._channel.senders:
            self._channel.items.unpark_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this sender was closed")
        if self._channel.receiver_closed:
            raise Sink("the receiver of this channel has closed")


@final
class Receiver(Generic[T]):
    """The receiving half: a stream of batches, and an async iterator of items."""

    __slots__ = ("_channel",)

    def __init__(self, channel: "_Channel[T]") -> None:
        self._channel = channel

    @property
    def stats(self) -> ChannelStats:
        """What went through so far."""
        return self._channel.store.stats

    def __len__(self) -> int:
        return len(self._channel.store)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def receive(self) -> T:
        """Wait for one item.

        Raises:
            trio.EndOfChannel: All senders have closed and nothing waits.
            trio.ClosedResourceError: This receiver was closed.
        """
        return (await self.receive_conflated(1))[0].item

    async def receive_batch(self, most: int | None = None) -> list[T]:
        """Wait for items and return all that wait, oldest first, at most `most`.

        Raises:
            trio.EndOfChannel: All senders have closed and nothing waits.
            trio.ClosedResourceError: This receiver was closed.
        """
        return [c.item for c in await self.receive_conflated(most)]

    async def next_batch(self) -> list[T]:
        """Wait for items and return all that wait (see `BatchStream`)."""
        return await self.receive_batch()

    async def receive_conflated(self, most: int | None = None) -> list[Conflated[T]]:
        """Wait for items, each with the number of older ones merged into it.

        Raises:
            trio.EndOfChannel: All senders have closed and nothing waits.
            trio.ClosedResourceError: This receiver was closed.
        """
        channel = self._channel
        # The checkpoint comes first: cancelled here, nothing is lost.
        await trio.lowlevel.checkpoint()
        while not len(channel.store):
            if channel.receiver_closed:
                raise trio.ClosedResourceError("this receiver was closed")
            if not channel.senders:
                raise trio.EndOfChannel
            await channel.items.park()
        return channel.take(len(channel.store) if most is None else most)

    def close(self) -> None:
        """Stop receiving: what waits is discarded, senders get `Sink`."""
        self._channel.close_receiver()

    async def aclose(self) -> None:
        """Close, as streams do."""
        self.close()
        await trio.lowlevel.checkpoint()

    def from_thread(
        self, *, trio_token: trio.lowlevel.TrioToken | None = None
    ) -> "SyncReceiver[T]":
        """Return an iterator for another thread, which blocks until items come.

        Args:
            trio_token: The run to receive in; needed in threads that trio did not
                start.
        """
        return SyncReceiver(self, trio_token)


@final
class SyncReceiver(Generic[T]):
    """Items of a channel in a thread outside the trio run. Blocks, never spins."""

    __slots__ = ("_pending", "_receiver", "_token")

    def __init__(
        self, receiver: Receiver[T], token: trio.lowlevel.TrioToken | None
    ) -> None:
        self._receiver = receiver
        self._token = token
        self._pending: deque[T] = deque()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """Return the next item.

        Raises:
            StopIteration: All senders have closed.
            Sink: The trio run has ended.
        """
        if not self._pending:
            try:
                batch = trio.from_thread.run(
                    self._receiver.receive_batch, trio_token=self._token
                )
            except trio.EndOfChannel:
                raise StopIteration from None
            except trio.RunFinishedError as error:
                raise Sink("the trio run that fed this channel has ended") from error
            self._pending.extend(batch)
        return self._pending.popleft()


class ChannelState(StrEnum):
    """Whether a droppable sender still sends."""

    ACTIVE = "active"
    DISABLED = "disabled"


@final
class DroppableSender(Generic[T]):
    """A sender for consumers that may go away: it warns once, then is silent.

    Args:
        sender: Where items go; None makes a disabled one.
        name: How the warning calls it.
    """

    __slots__ = ("_name", "_sender")

    def __init__(self, sender: Tx[T] | None, *, name: str = "channel") -> None:
        self._sender = sender
        self._name = name

    @property
    def state(self) -> ChannelState:
        """Whether items go anywhere."""
        return ChannelState.DISABLED if self._sender is None else ChannelState.ACTIVE

    def send(self, item: T) -> None:
        """Send one item, or do nothing if disabled.

        Raises:
            Overload: The receiver is alive but slow, and the policy says so.
        """
        if self._sender is None:
            return
        try:
            self._sender.send_nowait(item)
        except Sink:
            self.disable()
            _log.warning(
                "the receiver of %s has gone; nothing more is sent", self._name
            )

    def disable(self) -> None:
        """Stop sending for good."""
        sender, self._sender = self._sender, None
        if isinstance(sender, Sender):
            sender.close()


class _Store(Protocol[T]):
    """What waits in a channel, by one policy."""

    policy: OverloadPolicy
    stats: ChannelStats

    def __len__(self) -> int: ...
    def offer(self, item: T) -> bool:
        """Take an item as the policy says; False if that is for the caller to solve."""
        ...

    def pop(self) -> Conflated[T]:
        """Give the oldest item away."""
        ...

    def clear(self) -> None:
        """Forget all."""
        ...

    def overload(self) -> Overload:
        """Return the error for an offer that found no room."""
        ...


@final
class _Queue(Generic[T]):
    """First in, first out."""

    def __init__(self, capacity: int, policy: OverloadPolicy) -> None:
        self.policy = policy
        self.stats = ChannelStats()
        self._capacity = capacity
        self._items: deque[T] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, item: T) -> bool:
        stats, items = self.stats, self._items
        if len(items) >= self._capacity:
            stats.overloads += 1
            match self.policy:
                case OverloadPolicy.DROP_OLDEST:
                    items.popleft()
                    stats.dropped += 1
                case OverloadPolicy.DROP_NEWEST:
                    stats.dropped += 1
                    return True
                case _:
                    return False
        items.append(item)
        stats.sent += 1
        stats.high_water = max(stats.high_water, len(items))
        return True

    def pop(self) -> Conflated[T]:
        return Conflated(self._items.popleft(), 0)

    def clear(self) -> None:
        self._items.clear()

    def overload(self) -> Overload:
        return Overload(
            f"the channel is full: {self._capacity} items wait; receive faster, "
            f"enlarge it, or choose a policy that drops",
            capacity=self._capacity,
        )


@final
class _Latest(Generic[T]):
    """One item per key; a key keeps the place of its oldest item that waits."""

    policy = OverloadPolicy.CONFLATE

    def __init__(
        self,
        capacity: int,
        key: Callable[[T], Hashable],
        merge: Callable[[T, T], T],
    ) -> None:
        self.stats = ChannelStats()
        self._capacity = capacity
        self._key = key
        self._merge = merge
        self._items: dict[Hashable, tuple[T, int]] = {}

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, item: T) -> bool:
        stats, items, key = self.stats, self._items, self._key(item)
        waiting = items.get(key)
        if waiting is not None:
            old, merged = waiting
            items[key] = (self._merge(old, item), merged + 1)
            stats.conflated += 1
        elif len(items) >= self._capacity:
            stats.overloads += 1
            return False
        else:
            items[key] = (item, 0)
            stats.high_water = max(stats.high_water, len(items))
        stats.sent += 1
        return True

    def pop(self) -> Conflated[T]:
        # The oldest key first, so that busy keys cannot starve quiet ones.
        return Conflated(*self._items.pop(next(iter(self._items))))

    def clear(self) -> None:
        self._items.clear()

    def overload(self) -> Overload:
        return Overload(
            f"the channel is full: {self._capacity} keys wait; give it room for every "
            f"key there is",
            capacity=self._capacity,
        )


def _newer(old: T, new: T) -> T:
    del old
    return new


@final
class _Channel(Generic[T]):
    """What both halves share."""

    __slots__ = ("items", "receiver_closed", "room", "senders", "store")

    def __init__(self, store: _Store[T]) -> None:
        self.store = store
        self.senders = 0
        self.receiver_closed = False
        self.items = trio.lowlevel.ParkingLot()
        self.room = trio.lowlevel.ParkingLot()

    def offer(self, item: T) -> bool:
        taken = self.store.offer(item)
        if taken:
            self.items.unpark()
        return taken

    def take(self, most: int) -> list[Conflated[T]]:
        store = self.store
        taken = [store.pop() for _ in range(min(most, len(store)))]
        store.stats.received += len(taken)
        self.room.unpark(count=len(taken))
        return taken

    def close_receiver(self) -> None:
        self.receiver_closed = True
        self.store.clear()
        self.room.unpark_all()
        self.items.unpark_all()
