"""The hub: every update encoded once, remembered for a while, handed to many.

Theory. `publish` turns an update into the bytes of a server-sent event, numbers it,
keeps it in a ring and gives it to each subscription of its topic: straight to the
clients' sockets, all in one call, where streams have handed over their connections
(`Subscription.divert`), else into a queue. It never waits: a subscription for which too
much is waiting is dropped, and its client will reconnect, name the last event it saw,
and be replayed the rest from the ring, as one piece. If the ring does not reach back so
far, the client is told so with a `gap` event: it must read the current state again.

Ids are one sequence over all topics and increase over restarts, because the sequence
starts at the clock's microseconds.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import final

import msgspec
import trio

from flowtrade.models.update import (
    EVENTS,
    BatchUpdate,
    BookUpdate,
    GapUpdate,
    Update,
)
from flowtrade.ports import Clock, Connection, PushAll, Topic
from flowtrade.sse import encode_event

__all__ = ["Hub", "Subscription", "SubscriptionState"]

_BATCH = EVENTS[BatchUpdate]


class SubscriptionState(Enum):
    """Whether a subscription still gets events."""

    OPEN = "open"
    DROPPED = "dropped"
    """Its queue was full: the client is too slow."""
    CLOSED = "closed"
    """The hub has closed: the service is stopping."""


class _Event(msgspec.Struct, frozen=True):
    seq: int
    topic: Topic
    name: str
    payload: bytes


@final
class _Audience:
    """Who listens to a topic.

    Attributes:
        told: Events so far.
        queued: Who takes events from a queue.
        direct: Whose connections get events at once, by how these are sent to all.
    """

    __slots__ = ("direct", "queued", "told")

    def __init__(self) -> None:
        self.told = 0
        self.queued: set[Subscription] = set()
        self.direct: dict[PushAll, dict[Connection, Subscription]] = {}

    def __len__(self) -> int:
        return len(self.queued) + sum(map(len, self.direct.values()))

    def __iter__(self) -> "Iterator[Subscription]":
        yield from self.queued
        for members in self.direct.values():
            yield from members.values()

    def forget(self, subscription: "Subscription") -> None:
        self.queued.discard(subscription)
        connection = subscription.connection
        if connection is not None:
            members = self.direct.get(connection.push_all, {})
            members.pop(connection, None)
            if not members:
                self.direct.pop(connection.push_all, None)


@final
class Subscription:
    """One client's queue of encoded events.

    Attributes:
        topic: What it listens to.
        state: Whether more can come.
        limit: How many events may wait.
        connection: Where events go at once, if anywhere.
    """

    __slots__ = (
        "_audience",
        "_on_drop",
        "_queue",
        "_wake",
        "connection",
        "limit",
        "state",
        "topic",
    )

    def __init__(
        self,
        topic: Topic,
        limit: int,
        on_drop: Callable[[], None] | None,
        audience: _Audience,
    ) -> None:
        self.topic = topic
        self.state = SubscriptionState.OPEN
        self.limit = limit
        self.connection: Connection | None = None
        self._audience = audience
        self._on_drop = on_drop
        self._queue: deque[bytes] = deque()
        self._wake = trio.Event()

    def __repr__(self) -> str:
        waiting = len(self._queue)
        return f"<Subscription {self.topic} {self.state.value}, {waiting} waiting>"

    @property
    def told(self) -> int:
        """How many events the topic has had; tells whether there were any since."""
        return self._audience.told

    async def receive(self) -> bytes:
        """Wait for events and return all that are queued, joined.

        Returns:
            Bytes for the wire; empty after the last, once the state is not OPEN. A
            dropped subscription ends at once: what it missed is replayed later.
        """
        while not self._queue and self.state is SubscriptionState.OPEN:
            await self._wake.wait()
        if self.state is SubscriptionState.DROPPED:
            return b""
        return self._take()

    @contextmanager
    def divert(self, connection: Connection) -> "Iterator[None]":
        """Push events to a connection inside the block, first those that are queued.

        Args:
            connection: One that has no room for an event drops the subscription.
        """
        if self._queue and not connection.push(self._take(), most=self.limit):
            self.drop()
        if self.state is not SubscriptionState.OPEN:
            yield
            return
        self._audience.queued.discard(self)
        self.connection = connection
        self._audience.direct.setdefault(connection.push_all, {})[connection] = self
        try:
            yield
        finally:
            self._audience.forget(self)
            self.connection = None
            if self.state is SubscriptionState.OPEN:
                self._audience.queued.add(self)

    async def ended(self) -> None:
        """Wait until no more can come."""
        while self.state is SubscriptionState.OPEN:
            await self._wake.wait()

    def put(self, payload: bytes) -> None:
        """Queue one event; drop the subscription if there is no room for it."""
        if self.state is not SubscriptionState.OPEN:
            return
        if len(self._queue) >= self.limit:
            self.drop()
        else:
            self._queue.append(payload)
            self._wake.set()
            self._wake = trio.Event()

    def drop(self) -> None:
        """End at once: the client is too slow."""
        self._end(SubscriptionState.DROPPED)
        if self._on_drop is not None:
            self._on_drop()

    def close(self) -> None:
        """Deliver what is queued and no more."""
        if self.state is SubscriptionState.OPEN:
            self._end(SubscriptionState.CLOSED)

    def _take(self) -> bytes:
        data = b"".join(self._queue)
        self._queue.clear()
        return data

    def _end(self, state: SubscriptionState) -> None:
        self.state = state
        self._wake.set()


@final
class Hub:
    """The port `Publisher`, and the place where streams subscribe.

    Args:
        clock: Where the sequence of ids starts.
        replay: Events kept for clients that reconnect.
        queue: Events that may wait for one client.

    Attributes:
        dropped: How many slow clients were dropped so far.
    """

    def __init__(self, *, clock: Clock, replay: int = 1024, queue: int = 256) -> None:
        self.dropped = 0
        self._seq = clock.now_ns() // 1_000
        self._ring: deque[_Event] = deque(maxlen=replay)
        self._forgotten = self._seq
        # Of each topic and name the last event, with those that continue it.
        self._latest: dict[tuple[Topic, str], list[_Event]] = {}
        self._queue_limit = queue
        self._audiences: dict[Topic, _Audience] = {}
        self._closed = False

    @property
    def clients(self) -> int:
        """How many subscriptions are open."""
        return sum(map(len, self._audiences.values()))

    def publish(self, topic: Topic, update: Update) -> None:
        """See `flowtrade.ports.Publisher.publish`."""
        self._seq += 1
        name = EVENTS[type(update)]
        event = _Event(self._seq, topic, name, _encode(name, update, self._seq))
        if len(self._ring) == self._ring.maxlen:
            self._forgotten = self._ring[0].seq
        self._ring.append(event)
        self._remember(event, update)
        audience = self._audiences.get(topic)
        if audience is not None:
            audience.told += 1
            self._tell(audience, event.payload)

    def _remember(self, event: _Event, update: Update) -> None:
        if isinstance(update, BookUpdate):  # a new client gets the whole of a book
            self._latest.setdefault((event.topic, _BATCH), []).append(event)
        else:
            self._latest[event.topic, event.name] = [event]

    def _tell(self, audience: _Audience, payload: bytes) -> None:
        slow: list[Subscription] = []
        for push_all, members in audience.direct.items():
            refusing = push_all(members, payload, most=self._queue_limit)
            slow += [members[connection] for connection in refusing]
        for subscription in slow:
            subscription.drop()
        for subscription in audience.queued:
            subscription.put(payload)
            if subscription.state is SubscriptionState.DROPPED:
                slow.append(subscription)
        for subscription in slow:
            self.dropped += 1
            self._forget(subscription)

    @contextmanager
    def subscribe(
        self,
        topic: Topic,
        *,
        last_id: int | None = None,
        recent: int = 0,
        on_drop: Callable[[], None] | None = None,
    ) -> Iterator[Subscription]:
        """Listen to a topic until the block ends.

        Args:
            topic: What to listen to.
            last_id: The last event the client saw, to be replayed what came after;
                None for a new client, which gets the latest event of each name.
            recent: A new client gets that many of the topic's last events instead,
                as far as they are remembered and its queue holds them.
            on_drop: Called when the client turns out too slow; its task may be stuck
                in a send, so it cannot notice by itself.
        """
        audience = self._audiences.setdefault(topic, _Audience())
        subscription = Subscription(topic, self._queue_limit, on_drop, audience)
        backlog = b"".join(self._backlog(topic, last_id, recent))
        if backlog:  # as one piece, however many events it is
            subscription.put(backlog)
        if self._closed:
            subscription.close()
        else:
            audience.queued.add(subscription)
        try:
            yield subscription
        finally:
            self._forget(subscription)

    def close(self) -> None:
        """End all subscriptions, now and later; what is queued is still delivered."""
        self._closed = True
        for audience in self._audiences.values():
            for subscription in tuple(audience):
                subscription.close()
        self._audiences.clear()

    def _backlog(
        self, topic: Topic, last_id: int | None, recent: int = 0
    ) -> list[bytes]:
        if last_id is None and recent > 0:
            room = min(recent, self._queue_limit - 1)
            return [e.payload for e in self._ring if e.topic == topic][-room:]
        if last_id is None:
            latest = [
                event
                for (of, _), events in self._latest.items()
                if of == topic
                for event in events
            ]
            return [event.payload for event in sorted(latest, key=lambda e: e.seq)]
        missed = [e.payload for e in self._ring if e.topic == topic and e.seq > last_id]
        if last_id < self._forgotten or len(missed) > self._queue_limit - 1:
            # Either we do not remember, or it is more than the client's queue holds.
            oldest = self._ring[0].seq if self._ring else None
            gap = GapUpdate(after=last_id, oldest=oldest)
            return [_encode("gap", gap, self._seq), *self._backlog(topic, None)]
        return missed

    def _forget(self, subscription: Subscription) -> None:
        audience = self._audiences.get(subscription.topic)
        if audience is None:
            return
        audience.forget(subscription)
        if not audience:
            del self._audiences[subscription.topic]


def _encode(name: str, update: Update, seq: int) -> bytes:
    return encode_event(name, msgspec.json.encode(update), event_id=seq)
