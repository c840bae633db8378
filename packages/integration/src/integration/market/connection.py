"""One planned connection, across all its reconnects.

Holds what a lost socket does not take along: the subscriptions, the books, what was
learned about silence, and who waits for confirmations. `run` reads through a
`ReconnectingSocket`, whose connections are `Relay`s of `Session`s: a relay changes
its session before the venue ends it, a reconnect begins with a new relay.
"""

import math
import random
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from enum import Enum
from typing import Protocol, final
from urllib.parse import urlsplit

import msgspec
import trio

from integration.errors import GaveUp, IntegrationError, Overload, Subscribe
from integration.market.audit import BookAuditor
from integration.market.books import BookState, OrderBook
from integration.market.config import FirstConnect, StreamConfig
from integration.market.connector import Connector, Topic, connection_id
from integration.market.health import SchemaWatch
from integration.market.images import ImageScheduler
from integration.market.keeper import BookKeeper
from integration.market.liveness import SilenceWatch
from integration.market.manager import BookManager
from integration.market.planner import ConnectionPlan, Wanted
from integration.market.relay import Overlap, Relay, Replays
from integration.market.reports import (
    Reconnecting,
    StaleReason,
    StreamError,
    StreamEvent,
)
from integration.market.session import Role, Session
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    SubKind,
    Subscription,
)
from integration.rest.limiter import RateLimiter
from integration.stream.mapping import socket_error
from integration.stream.reconnect import (
    Connected,
    ConnectError,
    ConnectErrorAction,
    ReconnectingSocket,
    ReconnectPolicy,
)
from integration.stream.reconnect import Reconnecting as _Lost
from netcore.errors import NetError
from netcore.models import Model
from netcore.stream.record import Recorder
from netcore.trio import open_websocket
from netcore.ws.frames import Opcode
from netcore.ws.heartbeat import Heartbeat

__all__ = [
    "Confirmation",
    "Connection",
    "ConnectionStatus",
    "EventSink",
    "Standing",
]

_ROTATION_SHARE = (0.9, 0.98)
"""Of a session's lifetime, drawn anew each time: 24 h end between 21:36 and 23:31."""

_ROTATION_PAUSE = 30.0
"""Seconds before a failed change is tried again; the old session serves meanwhile."""


class ConnectionStatus(Model, frozen=True):
    """How a connection is at the moment.

    Attributes:
        name: such as `binance_spot#0`.
        exchange: to whom.
        url: where.
        up: whether it is connected.
        topics: subscriptions that it carries.
        live_books: books that may be relied upon ...
        books: ... of so many.
        changes: how often it was changed for another since it was last lost.
        messages: messages since it was connected or changed.
        faults: those of them that could not be read.
        silence: seconds without data that would be suspicious; None: none are.
        subscriptions: what it carries.
    """

    name: str
    exchange: ExchangeId
    url: str
    up: bool
    topics: int
    live_books: int
    books: int
    changes: int = 0
    messages: int = 0
    faults: int = 0
    silence: float | None = None
    subscriptions: tuple[Subscription, ...] = ()


@final
class Confirmation:
    """Somebody's wait for the venue to confirm a topic."""

    __slots__ = ("_done", "_error")

    def __init__(self) -> None:
        self._done = trio.Event()
        self._error: IntegrationError | None = None

    @property
    def waiting(self) -> bool:
        """Whether the venue has not spoken yet."""
        return not self._done.is_set()

    def settle(self, error: IntegrationError | None = None) -> None:
        """End the wait, well or with an error; the first call counts."""
        if not self._done.is_set():
            self._error = error
            self._done.set()

    async def wait(self) -> None:
        """Wait for the venue's word.

        Raises:
            IntegrationError: it refused, or the connection was given up.
        """
        await self._done.wait()
        if self._error is not None:
            raise self._error


class EventSink(Protocol):
    """Where a connection's events go: the consumer's queue, or somebody before it."""

    @property
    def full(self) -> bool:
        """Whether to wait before reading."""
        ...

    def put(self, events: list[StreamEvent]) -> None:
        """Take events, in order; called as the books change."""
        ...

    async def wait_room(self) -> None:
        """Wait until there is room."""
        ...

    def close(self, reason: Exception | None = None) -> None:
        """End the stream after what waits."""
        ...


class Standing(Enum):
    """What depends on a connection."""

    ALONE = "alone"
    """Nothing else carries what it carries: if it cannot begin, it ends."""
    SPARED = "spared"
    """Others carry the same: it says that it could not begin, and goes on trying."""


@final
class Connection:
    """One connection of a market stream.

    Args:
        number: counts the connections of the stream.
        plan: what it carries at first.
        connector: how the venue speaks.
        config: the stream's.
        outlet: where events go.
        images: fetches images of this exchange, if it serves them by HTTP.
        limiter: bounds connection attempts.
        schema: looks for what the venue has added to its messages.
        standing: whether others carry the same.
    """

    def __init__(
        self,
        number: int,
        plan: ConnectionPlan,
        connector: Connector,
        *,
        config: StreamConfig,
        outlet: EventSink,
        images: ImageScheduler | None,
        limiter: RateLimiter,
        schema: SchemaWatch | None = None,
        standing: Standing = Standing.ALONE,
    ) -> None:
        self.exchange = plan.exchange
        self.name = connection_id(plan.exchange, number)
        self.url = plan.url
        self.connector = connector
        self.config = config
        self.outlet = outlet
        self.images = images
        self.schema = schema
        self.keeper = BookKeeper(plan.exchange)
        self.silence = SilenceWatch(config.silence)
        self.relay: Relay | None = None
        self.shadow: Session | None = None
        self.overlap = Overlap()
        self.replays = Replays()
        self._wanted: dict[Topic, list[Subscription]] = {}
        self._book_topics: dict[MarketDataInstrument, Topic] = {}
        self._confirmations: dict[Topic, Confirmation] = {}
        self._opened = 0
        self._ready = False
        self._ended: IntegrationError | None = None
        self._leave = trio.Event()
        self._rotating = trio.CancelScope()
        self._host = urlsplit(plan.url).netloc
        self._limiter = limiter
        self._standing = standing
        self.auditor = self._auditor()
        self._socket: ReconnectingSocket[StreamEvent | IntegrationError]
        self._socket = ReconnectingSocket(
            self._connect,
            policy=self._policy(config.policy),
            host=self._host,
            limiter=limiter,
        )
        self.add(plan.wanted)

    def __repr__(self) -> str:
        return f"<Connection {self.name} {self.url}: {len(self._wanted)} topics>"

    def _auditor(self) -> BookAuditor | None:
        if self.images is None or self.config.audit_interval is None:
            return None
        return BookAuditor(
            self.keeper,
            self.connector,
            images=self.images,
            interval=self.config.audit_interval,
            topic=self.book_topic,
            emit=self.emit,
            clock=self.config.clock,
        )

    @property
    def up(self) -> bool:
        """Whether it is connected."""
        return self.relay is not None

    @property
    def attempts(self) -> int:
        """Failed or unstable attempts since it was last stable."""
        return self._socket.attempts

    @property
    def books(self) -> dict[MarketDataInstrument, OrderBook]:
        """The books that are kept here."""
        return {i: manager.book for i, manager in self.keeper.managers.items()}

    @property
    def auditors(self) -> list[BookAuditor]:
        """Who compares its books with the venue's images, if anybody does."""
        return [] if self.auditor is None else [self.auditor]

    @property
    def statuses(self) -> list[ConnectionStatus]:
        """How it is at the moment, as the only one of its kind."""
        return [self.status]

    @property
    def status(self) -> ConnectionStatus:
        """How it is at the moment."""
        relay = self.relay
        stats = None if relay is None else relay.current.stats
        books = [manager.book for manager in self.keeper.managers.values()]
        return ConnectionStatus(
            name=self.name,
            exchange=self.exchange,
            url=self.url,
            up=self.up,
            topics=len(self._wanted),
            live_books=sum(book.state is BookState.LIVE for book in books),
            books=len(books),
            changes=0 if relay is None else relay.changes,
            messages=0 if stats is None else stats.messages,
            faults=0 if stats is None else stats.faults,
            silence=self.silence.limit,
            subscriptions=tuple(s for each in self._wanted.values() for s in each),
        )

    # What it carries

    @property
    def topics(self) -> tuple[Topic, ...]:
        """Everything subscribed to here."""
        return tuple(self._wanted)

    @property
    def room(self) -> int:
        """How many more topics the venue allows here."""
        return self.connector.limits.topics_per_connection - len(self._wanted)

    def instruments(self, topic: Topic) -> list[MarketDataInstrument]:
        """Return the instruments that a topic serves."""
        found = self.subscriptions(topic)
        return list(dict.fromkeys(s.instrument for s in found))

    def subscriptions(self, topic: Topic) -> Sequence[Subscription]:
        """Return what a topic serves."""
        return self._wanted.get(topic, ())

    @property
    def _sessions(self) -> list[Session]:
        return [] if self.relay is None else self.relay.sessions

    def _all_instruments(self) -> tuple[MarketDataInstrument, ...]:
        found = (s.instrument for wanted in self._wanted.values() for s in wanted)
        return tuple(dict.fromkeys(found))

    def managers(self, topic: Topic) -> list[BookManager]:
        """Return the managers of the books that a topic feeds."""
        managers = self.keeper.managers
        return [
            managers[instrument]
            for instrument in self.instruments(topic)
            if self._book_topics.get(instrument) == topic
        ]

    def keeps(self, manager: BookManager) -> bool:
        """Say whether a book is still kept here."""
        return self.keeper.managers.get(manager.instrument) is manager

    def book_topic(self, manager: BookManager) -> Topic:
        """Return the topic that feeds a book."""
        return self._book_topics[manager.instrument]

    def add(self, wanted: Iterable[Wanted]) -> dict[Topic, Confirmation]:
        """Carry more; asks the venue at once if a session is up.

        Returns:
            One wait per topic that was not carried yet.

        Raises:
            Subscribe: another topic feeds the same book already.
        """
        new: list[Topic] = []
        for each in wanted:
            subscription, topic = each.subscription, each.topic
            if subscription.kind is SubKind.ORDER_BOOKS_L2:
                self._keep_book(subscription, topic)
            if topic not in self._wanted:
                new.append(topic)
                self._confirmations[topic] = Confirmation()
                if self._ended is not None:
                    # Given up: nobody will ever ask the venue.
                    self._confirmations[topic].settle(self._ended)
            else:
                # It is on its way already: nobody need be asked for more of it.
                for session in self._sessions:
                    transformer, kind = session.transformer, subscription.kind
                    transformer.add(topic, subscription.instrument, kind=kind)
            self._wanted.setdefault(topic, []).append(subscription)
        for session in self._sessions:
            session.subscribe(new)
        return {topic: self._confirmations[topic] for topic in new}

    def _keep_book(self, subscription: Subscription, topic: Topic) -> None:
        instrument = subscription.instrument
        fed_by = self._book_topics.get(instrument)
        if fed_by is not None and fed_by != topic:
            msg = f"{instrument} has a book fed by {fed_by}: unsubscribe that first"
            raise Subscribe(msg)
        if fed_by is not None:
            return
        self._book_topics[instrument] = topic
        depth = self.connector.book_depth(subscription)
        self.keeper.add(
            BookManager(
                self.exchange,
                instrument,
                rule=self.connector.rule,
                checksum=self.connector.checksum(),
                max_depth=self.config.max_depth if depth is None else depth,
                buffer_limit=self.config.buffer_limit,
            )
        )

    def drop(self, wanted: Iterable[Wanted]) -> list[MarketDataInstrument]:
        """Carry less; return the instruments whose book is kept no longer."""
        gone: list[Topic] = []
        books: list[MarketDataInstrument] = []
        for each in wanted:
            subscription, topic = each.subscription, each.topic
            left = self._wanted.get(topic)
            if left is None or subscription not in left:
                continue
            left.remove(subscription)
            for session in self._sessions:
                session.transformer.forget(
                    topic, subscription.instrument, kind=subscription.kind
                )
            if not left:
                gone.append(topic)
                self._forget(topic)
            instrument = subscription.instrument
            if topic not in self._wanted and self._book_topics.get(instrument) == topic:
                books.append(instrument)
                del self._book_topics[instrument]
                self.keeper.remove(instrument)
        for session in self._sessions:
            session.unsubscribe(gone)
        return books

    def _forget(self, topic: Topic) -> None:
        self._wanted.pop(topic, None)
        self._confirmations.pop(topic, Confirmation()).settle()

    # What the session finds

    def confirmed(self, topic: Topic) -> None:
        """Note that the venue confirmed a topic."""
        if topic in self._confirmations:
            self._confirmations[topic].settle()
        self._ready = self._ready or not self._waiting

    def refused(self, topic: Topic, error: IntegrationError) -> None:
        """Note that the venue will not serve a topic."""
        waiting = self._confirmations.pop(topic, None)
        if waiting is not None:
            waiting.settle(error)
        for subscription in self._wanted.pop(topic, ()):
            if self._book_topics.get(subscription.instrument) == topic:
                del self._book_topics[subscription.instrument]
                self.keeper.remove(subscription.instrument)

    @property
    def _waiting(self) -> bool:
        return any(c.waiting for c in self._confirmations.values())

    @property
    def confirmations(self) -> dict[Topic, Confirmation]:
        """What is waited for, or was."""
        return dict(self._confirmations)

    def emit(self, events: list[StreamEvent]) -> None:
        """Queue events for the consumer; synchronous, in order."""
        try:
            self.outlet.put(events)
        except Overload as error:
            # The policy says that being late is a fault: the consumer's, so it hears.
            self.outlet.close(error)
        if self.auditor is not None:
            self.auditor.saw(events)

    def fail(self, error: IntegrationError) -> None:
        """End the present session, if there is one, for a reason that others found."""
        if self.relay is not None:
            self.relay.current.fail(error)

    async def wait_room(self) -> None:
        """Wait for the consumer; call the books stale if that takes too long."""
        with trio.move_on_after(self.config.stall_timeout) as scope:
            await self.outlet.wait_room()
        if scope.cancelled_caught:
            detail = f"the consumer took nothing for {self.config.stall_timeout:g} s"
            now = self.config.clock.now_ns()
            reason = StaleReason.OVERFLOW
            self.emit(self.keeper.invalidate(reason, time=now, detail=detail))
            await self.outlet.wait_room()
        # We did not listen: the venue was not silent.
        self.silence.started(trio.current_time())

    # Running

    async def run(self) -> GaveUp:
        """Connect, read and reconnect until cancelled or given up.

        Returns:
            Why it ended: the policy allows no further attempt.
        """
        async with trio.open_nursery() as nursery:
            if self.auditor is not None:
                nursery.start_soon(self.auditor.run)
            try:
                while True:
                    self._read(await self._socket.next_batch(), nursery)
            except GaveUp as error:
                self._gave_up(error)
                return error
            finally:
                await self._close()
                nursery.cancel_scope.cancel()

    def _read(self, batch: Sequence[object], nursery: trio.Nursery) -> None:
        events: list[StreamEvent] = []
        for update in batch:
            if type(update) is MarketEvent:
                events.append(update)
                continue
            match update:
                case Connected(socket=Relay() as relay):
                    self._begin(relay, nursery)
                case _Lost():
                    self._lost(update, events)
                case IntegrationError():
                    now = self.config.clock.now_ns()
                    events.append(StreamError(self.exchange, update, now))
                case _:
                    events.append(update)  # type: ignore[arg-type]  # all else is one
        self.emit(events)

    def _begin(self, relay: Relay, nursery: trio.Nursery) -> None:
        self.relay, session = relay, relay.current
        session.requests.greet(self.topics)
        session.subscribe(self.topics)
        nursery.start_soon(session.run)
        self._leave, self._rotating = trio.Event(), trio.CancelScope()
        nursery.start_soon(self._rotate, relay, nursery, self._rotating)

    def leave_soon(self) -> None:
        """Change to another connection: the venue asked for it."""
        self._leave.set()

    async def _rotate(
        self, relay: Relay, nursery: trio.Nursery, scope: trio.CancelScope
    ) -> None:
        """Change the relay's session before the venue ends it, again and again."""
        with scope:
            while True:
                with trio.move_on_after(self._lifetime()):
                    await self._leave.wait()
                self._leave = trio.Event()
                if not await self._rotated(relay, nursery):
                    await trio.sleep(_ROTATION_PAUSE)
                    self._leave.set()

    def _lifetime(self) -> float:
        """Return for how long a session is used; never twice the same.

        Connections that were opened together must not be changed together.
        """
        configured = self.config.lifetime
        lifetime = self.connector.limits.lifetime if configured is None else configured
        if lifetime is None:
            return math.inf
        return lifetime * random.uniform(*_ROTATION_SHARE)  # noqa: S311  spreads, hides nothing

    async def _rotated(self, relay: Relay, nursery: trio.Nursery) -> bool:
        await self._limiter.acquire(self._host, "connections")
        try:
            await relay.rotate(nursery)
        except (IntegrationError, NetError, OSError) as error:
            now = self.config.clock.now_ns()
            self.emit([StreamError(self.exchange, socket_error(error), now)])
            return False
        return True

    def once(self, events: list[StreamEvent]) -> list[StreamEvent]:
        """Return the events that have not been delivered already."""
        if self.connector.replays_trades:
            events = self.replays.once(events)
        if not self.overlap.active:
            return events
        return self.overlap.once(events, trio.current_time())

    def _lost(self, lost: _Lost, events: list[StreamEvent]) -> None:
        self.relay = None
        self.overlap.cancel()
        self._rotating.cancel()
        now = self.config.clock.now_ns()
        reason = str(lost.reason)
        events.append(
            Reconnecting(
                exchange=self.exchange,
                connection=self.name,
                reason=reason,
                time=now,
                attempt=lost.attempt,
                delay=lost.delay,
                instruments=tuple(
                    dict.fromkeys(
                        s.instrument for w in self._wanted.values() for s in w
                    )
                ),
            )
        )
        cause = StaleReason.DISCONNECTED
        events.extend(self.keeper.invalidate(cause, time=now, detail=reason))
        if not self._ready and self.config.first_connect is FirstConnect.RAISE:
            self._settle_all(lost.reason)

    def _gave_up(self, error: GaveUp) -> None:
        self.relay = None
        now = self.config.clock.now_ns()
        detail = str(error)
        events = self.keeper.invalidate(
            StaleReason.DISCONNECTED, time=now, detail=detail
        )
        self.emit([*events, StreamError(self.exchange, error, now)])
        cause = error.__cause__
        self._ended = cause if isinstance(cause, IntegrationError) else error
        self._settle_all(self._ended)

    def _settle_all(self, error: IntegrationError) -> None:
        for confirmation in self._confirmations.values():
            confirmation.settle(error)

    async def _close(self) -> None:
        """Say goodbye to the venue, even when cancelled, but not for long."""
        with (
            trio.move_on_after(1.0, shield=True),
            suppress(IntegrationError, OSError),
        ):
            await self._socket.aclose()

    async def _connect(self) -> Relay:
        return Relay(self, await self.open_session(Role.CURRENT))

    async def open_session(self, role: Role) -> Session:
        """Open a socket.

        Raises:
            NetError: no connection could be made.
        """
        stack = AsyncExitStack()
        try:
            recorder = self._recorder(role)
            if recorder is not None:
                stack.enter_context(recorder)
            websocket = await stack.enter_async_context(
                open_websocket(
                    self.url,
                    ssl_context=self.config.ssl_context,
                    recorder=recorder,
                    heartbeat=self._heartbeat(),
                )
            )
        except BaseException:
            await stack.aclose()
            raise
        return Session(self, stack, websocket=websocket, role=role)

    def _recorder(self, role: Role) -> Recorder | None:
        folder = self.config.recorder
        if folder is None:
            return None
        self._opened += 1
        name = f"{self.name.replace('#', '-')}-{self._opened:04d}"
        if role is Role.SHADOW:
            # Whoever plays it must know that nothing was lost when it took over.
            name += "-successor"
        return Recorder(folder / name, clock=self.config.clock)

    def _heartbeat(self) -> Heartbeat:
        ping, clock = self.connector.ping, self.config.clock
        if ping is None:
            return Heartbeat(
                interval=self.config.ping_interval, timeout=self.config.ping_timeout
            )
        return Heartbeat(
            interval=ping.interval,
            timeout=self.config.ping_timeout,
            message=lambda: ping.message(clock.now_ns()),
            opcode=Opcode.TEXT,
        )

    def _policy(self, policy: ReconnectPolicy) -> ReconnectPolicy:
        """Let the first attempt fail at once, if so configured."""
        retried = self.config.first_connect is FirstConnect.RETRY
        if retried or self._standing is Standing.SPARED:
            return policy
        later = policy.on_connect_error

        def decide(error: ConnectError) -> ConnectErrorAction:
            if not self._ready:
                return ConnectErrorAction.TERMINATE
            return later(error)

        return msgspec.structs.replace(policy, on_connect_error=decide)
