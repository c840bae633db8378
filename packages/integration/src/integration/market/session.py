"""One connection while it lives: what was confirmed, what came, what is missing.

A session is made for every connection that succeeds and ends with it; what outlives
it (books, subscriptions, learned silence) belongs to `integration.market.connection`.
Reading happens in the consumer's task through `next_batch`; `run` sends and watches
beside it. Whoever finds the session at fault calls `fail`: the socket is closed and
the reader reports the reason.

A session is CURRENT, and its messages change the books; or it is a SHADOW that is to
succeed the current one (`integration.market.relay`): it subscribes and listens, but
what it hears is only kept, because the books still follow the current one.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from enum import Enum
from typing import TYPE_CHECKING, Any, final

import trio

from integration.errors import (
    Deserialise,
    InitialSnapshotMissing,
    IntegrationError,
    Maintenance,
    Overload,
    RateLimited,
    Subscribe,
    WebSocket,
)
from integration.market.backoff import doubled
from integration.market.connector import Image, Topic, VenueTransformer
from integration.market.images import ImageJob
from integration.market.intake import Intake
from integration.market.manager import BookManager
from integration.market.notices import (
    Ack,
    Info,
    InfoAction,
    Notice,
    Output,
    Refusal,
    Reply,
    TopicLost,
)
from integration.market.reports import StaleReason, StreamError, StreamEvent
from integration.market.requests import Requests
from integration.market.sequencing import ImageSource
from integration.models import MarketEvent
from integration.protocols.websocket import WebSocketParser
from integration.stream.exchange_stream import ExchangeStream
from integration.stream.parser import BatchLike
from netcore.trio.websocket import TrioWebSocket
from netcore.ws.batch import Batch
from netcore.ws.frames import Opcode

if TYPE_CHECKING:
    from integration.market.connection import Connection

__all__ = ["Role", "Session"]

_REFETCH_PAUSE = 0.1
_LONGEST_REFETCH_PAUSE = 5.0
"""Seconds before an image that came too old is fetched again, doubled each time: a
venue whose images lag does not lag less for being asked in a loop."""

_SHADOW_LIMIT = 100_000
"""Outputs that a shadow keeps: a second of the busiest connection we know, tenfold."""


class Role(Enum):
    """Whether what a session hears counts yet."""

    SHADOW = "shadow"
    CURRENT = "current"


@final
class Session:
    """One live connection; a `BatchStream` of what consumers may see.

    Args:
        connection: whose.
        stack: closes the socket.
        websocket: the socket.
        role: whether it is the one to listen to.

    Attributes:
        role: as given, until `promote`.
        requests: what it asks of the venue.
        transformer: reads its messages.
    """

    def __init__(
        self,
        connection: "Connection",
        stack: AsyncExitStack,
        *,
        websocket: TrioWebSocket,
        role: Role,
    ) -> None:
        self.role = role
        self._connection = connection
        self._connector = connection.connector
        self._config = connection.config
        self._stack = stack
        self._websocket = websocket
        self._scope = trio.CancelScope()
        self._fault: IntegrationError | None = None
        self._images_due: dict[BookManager, float] = {}
        self._refetches: dict[BookManager, int] = {}
        self._kept: list[tuple[Output, int]] = []
        self._confirming = trio.CancelScope()
        self.transformer: VenueTransformer[Any] = self._connector.transformer()
        self.requests = Requests(
            self._connector,
            self._config,
            websocket=websocket,
            transformer=self.transformer,
        )
        parser: WebSocketParser[Any] = WebSocketParser(
            self.transformer.decode, heartbeats=self._connector.heartbeats
        )
        source = _Source(connection, websocket, self)
        self._stream: ExchangeStream[Any, Any, StreamEvent] = ExchangeStream(
            source, parser, self, whole=self._whole
        )
        self._intake = Intake(
            self.transformer, connection.keeper, self._heed, spoilt=self._spoilt
        )
        self.stats = self._stream.stats
        if role is Role.CURRENT:
            connection.silence.started(trio.current_time())

    # Reading

    async def next_batch(self) -> list[StreamEvent | IntegrationError]:
        """Wait for the next events (see `BatchStream`)."""
        try:
            return await self._stream.next_batch()
        except IntegrationError as error:
            # It is over: waiting for a goodbye would only delay the next connection.
            self._websocket.abort()
            if self._fault is not None:
                raise self._fault from error
            raise

    async def aclose(self) -> None:
        """Close the socket and stop what runs beside it."""
        self._scope.cancel()
        await self._stack.aclose()

    @property
    def closed(self) -> bool:
        """Whether this session is over."""
        return self._scope.cancel_called

    def _whole(self, batch: BatchLike[Any]) -> list[StreamEvent] | None:
        """Take a read's messages in one go, unless they are of a rarer kind."""
        if (
            self.role is Role.SHADOW
            or not isinstance(batch, Batch)
            or batch.heads is not None
            or batch.opcode is not Opcode.TEXT
        ):
            return None
        self.stats.messages += len(batch.payloads)
        events = self._intake.read(batch.payloads, batch.timestamp_ns)
        if self._connection.schema is not None:
            new = self._connection.schema.look(batch.payloads)
            exchange, time = self._connection.exchange, batch.timestamp_ns
            events.extend(StreamError(exchange, drift, time) for drift in new)
        return self._seen(events)

    def _spoilt(
        self, fault: Deserialise, _time: int, events: list[StreamEvent]
    ) -> None:
        self.stats.faults += 1
        # Not an event yet: whether it ends the connection is its policy's to say.
        events.append(fault)  # type: ignore[arg-type]

    def transform(self, message: Any, time_received: int) -> Sequence[StreamEvent]:  # noqa: ANN401  the venue's own union
        """Turn one message into what a consumer may see (see `Transformer`)."""
        outputs = self.transformer.guarded(message, time_received)
        if self.role is Role.SHADOW:
            for output in outputs:
                self._overhear(output, time_received)
            return ()
        return self._seen(self._intake.take(outputs, time_received))

    def _seen(self, events: list[StreamEvent]) -> list[StreamEvent]:
        if self._connection.keeper.wanting:
            self._get_images()
        return self._connection.once(events)

    # Succeeding another session

    async def listen_until_confirmed(self) -> None:
        """Read, as a shadow, until the venue has confirmed all that was asked for.

        Raises:
            IntegrationError: it did not, or the connection was lost.
        """
        with self._confirming:
            while True:
                await self.next_batch()

    async def listen_for(self, seconds: float) -> None:
        """Read, as a shadow, for so long.

        Raises:
            IntegrationError: the connection was lost.
        """
        with trio.move_on_after(seconds):
            while True:
                await self.next_batch()

    def joined(self) -> bool:
        """Say whether every live book goes on where what was kept begins.

        A book of which nothing was kept yet has not shown that it does: what the
        other connection still has on its way may be older than this one.
        """
        first: dict[BookManager, MarketEvent] = {}
        managers = self._connection.keeper.managers
        for output, _ in self._kept:
            if isinstance(output, MarketEvent) and output.kind_name == "l2":
                manager = managers.get(output.instrument)
                if manager is not None:
                    first.setdefault(manager, output)
        return all(
            manager in first and manager.joins(first[manager])
            for manager in managers.values()
            if manager.sequenced and not manager.awaits_image
        )

    def _overhear(self, output: Output, time: int) -> None:
        """Keep what counts once this session is promoted; heed what concerns it."""
        match output:
            case Ack():
                self._confirmed(self.requests.ledger.acknowledge(output))
                if self.requests.settled:
                    self._confirming.cancel()
            case Reply(payload=payload):
                self.requests.say(payload)
            case Refusal(error=error):
                self.fail(error)
            case Info(action=InfoAction.RECONNECT | InfoAction.RESUBSCRIBE):
                self.fail(WebSocket("the venue asked a new connection to leave"))
            case _ if len(self._kept) >= _SHADOW_LIMIT:
                msg = f"a new connection brought {_SHADOW_LIMIT} messages too early"
                self.fail(Overload(msg, capacity=_SHADOW_LIMIT))
            case _:
                self._kept.append((output, time))

    def promote(self) -> list[StreamEvent]:
        """Become the current session; return what was kept and is news."""
        self.role = Role.CURRENT
        self._connection.silence.started(trio.current_time())
        kept, self._kept = self._kept, []
        self._take_over_images()
        return [
            event
            for output, time in kept
            for event in self._seen(self._intake.take((output,), time))
        ]

    def _take_over_images(self) -> None:
        """Fetch what the other session was fetching: it is closed before it comes."""
        keeper = self._connection.keeper
        for manager in keeper.managers.values():
            if manager.images is ImageSource.HTTP and manager.awaits_image:
                manager.image_failed()
                keeper.wanting[manager] = None
        if keeper.wanting:
            self._get_images()

    # What the venue says besides data

    def _heed(self, notice: Notice, time: int, events: list[StreamEvent]) -> None:
        match notice:
            case Ack():
                self._confirmed(self.requests.ledger.acknowledge(notice))
            case Refusal():
                self._refused(notice, time, events)
            case Reply(payload=payload):
                self.requests.say(payload)
            case Info(action=InfoAction.RECONNECT):
                self._connection.leave_soon()
            case Info(action=InfoAction.RESUBSCRIBE, message=message):
                reason = StaleReason.REQUESTED
                keeper = self._connection.keeper
                events.extend(keeper.invalidate(reason, time=time, detail=message))
                self.resubscribe(self._connection.topics)
            case TopicLost(topic=name, error=error):
                events.append(StreamError(self._connection.exchange, error, time))
                lost = [t for t in self._connection.topics if t.id == name]
                self.resubscribe(lost)
            case Info(action=InfoAction.PAUSE):
                self._connection.silence.started(trio.current_time())
            case _:
                pass

    def _confirmed(self, topics: Sequence[Topic]) -> None:
        for topic in topics:
            self._connection.confirmed(topic)
            if self.role is Role.CURRENT:
                self._want_images(topic)

    def _want_images(self, topic: Topic) -> None:
        for manager in self._connection.managers(topic):
            if manager.wants_image:
                self._connection.keeper.wanting[manager] = None

    def _refused(self, refusal: Refusal, time: int, events: list[StreamEvent]) -> None:
        exchange = self._connection.exchange
        if isinstance(refusal.error, RateLimited | Maintenance):
            # It will pass: come back later.
            events.append(StreamError(exchange, refusal.error, time))
            error = Subscribe(
                f"{exchange} refused for now: {refusal.error}",
                retry_after=refusal.error.retry_after,
            )
            error.__cause__ = refusal.error
            self.fail(error)
            return
        topics = self.requests.ledger.refuse(refusal) if refusal.fatal else []
        for topic in topics:
            error = Subscribe(f"{exchange} refused {topic.id}: {refusal.error}")
            error.__cause__ = refusal.error
            events.extend(
                StreamError(exchange, error, time, instrument)
                for instrument in self._connection.instruments(topic)
            )
            self.transformer.remove(topic)
            self._connection.refused(topic, error)
        if not topics:
            # A complaint about nothing that is asked for at the moment.
            events.append(StreamError(exchange, refusal.error, time))

    # Asking

    def subscribe(self, topics: Sequence[Topic]) -> None:
        """Ask for topics and expect their messages."""
        for topic in topics:
            self._connection.keeper.ignored.discard(topic.id)
            for each in self._connection.subscriptions(topic):
                self.transformer.add(topic, each.instrument, kind=each.kind)
            if self.role is Role.CURRENT:
                self._expect_images(topic)
        self.requests.subscribe(topics)

    def unsubscribe(self, topics: Sequence[Topic]) -> None:
        """Ask for no more of topics; what is still on its way is ignored."""
        self.requests.leave(topics)
        for topic in topics:
            self.transformer.remove(topic)
            self._connection.keeper.ignored.add(topic.id)

    def resubscribe(self, topics: Sequence[Topic]) -> None:
        """Leave topics and ask for them again, to get their images."""
        self.requests.leave(topics)
        self.requests.subscribe(topics)
        for topic in topics:
            self._expect_images(topic)

    def _expect_images(self, topic: Topic) -> None:
        due = trio.current_time() + self._config.image_timeout
        for manager in self._connection.managers(topic):
            if manager.images is not ImageSource.HTTP:
                manager.image_requested()
                self._images_due[manager] = due

    # Images

    def _get_images(self) -> None:
        """See to it that every book that wants an image gets one."""
        wanting = list(self._connection.keeper.wanting)
        self._connection.keeper.wanting.clear()
        again: list[Topic] = []
        for manager in wanting:
            if not manager.wants_image:
                continue
            manager.image_requested()
            match manager.images:
                case ImageSource.HTTP:
                    self._fetch(manager)
                case ImageSource.STREAM:
                    again.append(self._connection.book_topic(manager))
                case ImageSource.EVERY_MESSAGE:
                    pass
        self.resubscribe(again)

    def _fetch(self, manager: BookManager) -> None:
        connection = self._connection
        topic = connection.book_topic(manager)
        attempt = self._refetches.get(manager, 0)
        longest = _LONGEST_REFETCH_PAUSE
        pause = doubled(_REFETCH_PAUSE, attempt - 1, longest=longest) if attempt else 0

        def failed(error: IntegrationError) -> None:
            connection.emit([self._image_fault(manager, error)])

        def deliver(image: Image) -> None:
            self._image_came(manager, image)

        job = ImageJob(
            request=self._connector.image_request(topic, manager.book.max_depth),
            urgent=manager.was_live,
            # Two sessions that change places may both have asked: one image is enough.
            wanted=lambda: (
                not self.closed and connection.keeps(manager) and manager.awaits_image
            ),
            deliver=deliver,
            failed=failed,
        )
        assert connection.images is not None, "a venue of HTTP images has a REST URL"  # noqa: S101  narrows the type
        connection.images.request(job, delay=pause)

    def _image_came(self, manager: BookManager, image: Image) -> None:
        now = self._config.clock.now_ns()
        event = MarketEvent(
            image.time_exchange or now,
            now,
            manager.exchange,
            manager.instrument,
            image.book,
        )
        keeper = self._connection.keeper
        events = keeper.absorb((event,), now, [])
        if manager in keeper.wanting:
            self._refetches[manager] = self._refetches.get(manager, 0) + 1
            self._get_images()
        else:
            self._refetches.pop(manager, None)
        self._connection.emit(events)

    def _image_fault(
        self, manager: BookManager, error: IntegrationError
    ) -> StreamError:
        now = self._config.clock.now_ns()
        return StreamError(manager.exchange, error, now, manager.instrument)

    # Beside the reading

    async def run(self) -> None:
        """Send and watch until the session is closed."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.requests.run)
                nursery.start_soon(self._watch)

    async def _watch(self) -> None:
        while True:
            await trio.sleep_until(self._next_deadline())
            now = trio.current_time()
            if late := self.requests.ledger.expired(now):
                names = ", ".join(topic.id for topic in late)
                seconds = self._config.subscription_timeout
                self.fail(Subscribe(f"not confirmed within {seconds:g} s: {names}"))
                return
            if self.role is Role.SHADOW:
                continue
            self._chase_images(now)
            if self._silent(now):
                return

    def _next_deadline(self) -> float:
        # Nothing may become due earlier than a timeout from now; looking again that
        # often is cheaper than being told of every change.
        soonest = trio.current_time() + min(
            self._config.subscription_timeout, self._config.image_timeout
        )
        known = [self.requests.ledger.deadline]
        if self.role is Role.CURRENT:
            known.append(self._connection.silence.deadline)
            known.extend(self._images_due.values())
        return min([soonest, *(at for at in known if at is not None)])

    def _chase_images(self, now: float) -> None:
        """Ask again for images on the stream that did not come."""
        again = []
        for manager, due in list(self._images_due.items()):
            if not manager.awaits_image or not self._connection.keeps(manager):
                del self._images_due[manager]
            elif due <= now:
                topic = self._connection.book_topic(manager)
                missing = InitialSnapshotMissing(topic.id)
                self._connection.emit([self._image_fault(manager, missing)])
                again.append(topic)
        self.resubscribe(again)

    def _silent(self, now: float) -> bool:
        """Give the session up if its data have been absent for suspiciously long."""
        silence = self._connection.silence
        deadline, limit = silence.deadline, silence.limit
        if deadline is None or deadline > now:
            return False
        silence.suspected()
        self.fail(WebSocket(f"no data came for {limit:g} s"))
        return True

    def fail(self, error: IntegrationError) -> None:
        """End the session for a reason; the first one counts."""
        if self._fault is None:
            self._fault = error
        self._websocket.abort()

    def hush(self) -> None:
        """Wake the reader of a session that another one succeeds."""
        self._websocket.abort()


class _Source:
    """The socket, read only while there is room for what comes."""

    __slots__ = ("_connection", "_session", "_websocket")

    def __init__(
        self, connection: "Connection", websocket: TrioWebSocket, session: Session
    ) -> None:
        self._connection = connection
        self._websocket = websocket
        self._session = session

    async def read_batch(self) -> Batch:
        connection, session = self._connection, self._session
        if session.role is Role.CURRENT and connection.outlet.full:
            await connection.wait_room()
        batch = await self._websocket.read_batch()
        if session.role is Role.CURRENT:
            connection.silence.heard(trio.current_time())
        return batch

    async def aclose(self) -> None:
        await self._websocket.aclose()
