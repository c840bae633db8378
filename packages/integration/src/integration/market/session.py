"""One connection while it lives: what was asked, what was confirmed, what came.

A session is made for every connection that succeeds and ends with it; what outlives
it (books, subscriptions, learned silence) belongs to `integration.market.connection`.
Reading happens in the consumer's task through `next_batch`; `run` sends what waits to
be sent, at the venue's pace, and watches deadlines. Whoever finds the session at
fault calls `fail`: the socket is closed and the reader reports the reason.
"""

from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, final

import msgspec
import trio

from integration.errors import (
    InitialSnapshotMissing,
    IntegrationError,
    Maintenance,
    RateLimited,
    Subscribe,
    WebSocket,
)
from integration.market.acks import AckLedger
from integration.market.connector import Outgoing, Topic, VenueTransformer
from integration.market.images import ImageJob
from integration.market.manager import BookManager
from integration.market.notices import (
    Ack,
    Info,
    InfoAction,
    Notice,
    Refusal,
    Reply,
    TopicLost,
)
from integration.market.reports import StaleReason, StreamError, StreamEvent
from integration.market.sequencing import ImageSource
from integration.models import MarketEvent
from integration.protocols.websocket import WebSocketParser
from integration.stream.exchange_stream import ExchangeStream
from netcore.errors import NetError
from netcore.trio.websocket import TrioWebSocket
from netcore.ws.batch import Batch

if TYPE_CHECKING:
    from integration.market.connection import Connection

__all__ = ["Session"]

_REFETCH_PAUSE = 0.1
_LONGEST_REFETCH_PAUSE = 5.0
"""Seconds before an image that came too old is fetched again, doubled each time: a
venue whose images lag does not lag less for being asked in a loop."""


@final
class Session:
    """One live connection; a `BatchStream` of what consumers may see.

    Args:
        connection: whose.
        stack: closes the socket.
        websocket: the socket.
    """

    def __init__(
        self, connection: "Connection", stack: AsyncExitStack, websocket: TrioWebSocket
    ) -> None:
        self._connection = connection
        self._connector = connection.connector
        self._config = connection.config
        self._stack = stack
        self._websocket = websocket
        self._scope = trio.CancelScope()
        self._fault: IntegrationError | None = None
        self._ledger = AckLedger()
        self._requests: deque[Outgoing] = deque()
        self._leaving: dict[str, Topic] = {}
        self._changed = trio.Event()
        self._next_id = 1
        self._images_due: dict[BookManager, float] = {}
        self._refetches: dict[BookManager, int] = {}
        self.transformer: VenueTransformer[Any] = self._connector.transformer()
        parser: WebSocketParser[Any] = WebSocketParser(
            self.transformer.decode, heartbeats=self._connector.heartbeats
        )
        source = _Source(connection, websocket)
        self._stream: ExchangeStream[Any, Any, StreamEvent] = ExchangeStream(
            source, parser, self
        )
        self.stats = self._stream.stats
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

    def transform(self, message: Any, time_received: int) -> Sequence[StreamEvent]:  # noqa: ANN401  the venue's own union
        """Turn one message into what a consumer may see (see `Transformer`)."""
        notices: list[Notice] = []
        keeper = self._connection.keeper
        outputs = self.transformer.guarded(message, time_received)
        events = keeper.absorb(outputs, time_received, notices)
        for notice in notices:
            self._heed(notice, time_received, events)
        if keeper.wanting:
            self._get_images()
        return events

    # What the venue says besides data

    def _heed(self, notice: Notice, time: int, events: list[StreamEvent]) -> None:
        match notice:
            case Ack():
                self._confirmed(self._ledger.acknowledge(notice))
            case Refusal():
                self._refused(notice, time, events)
            case Reply(payload=payload):
                self._send(Outgoing(payload=payload))
            case Info(action=InfoAction.RECONNECT, code=code, message=message):
                said = " ".join(part for part in (code, message) if part)
                self.fail(WebSocket(f"the venue asked us to reconnect: {said}"))
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
            if self._leaving.pop(topic.id, None) is not None:
                continue
            self._connection.confirmed(topic)
            for manager in self._connection.managers(topic):
                if manager.wants_image:
                    self._connection.keeper.wanting[manager] = None
        self._signal()

    def _refused(self, refusal: Refusal, time: int, events: list[StreamEvent]) -> None:
        exchange = self._connection.exchange
        if isinstance(refusal.error, RateLimited | Maintenance):
            # It will pass: come back later.
            events.append(StreamError(exchange, refusal.error, time))
            error = Subscribe(
                f"{exchange} refused for now: {refusal.error}",
                retry_after=getattr(refusal.error, "retry_after", None),
            )
            error.__cause__ = refusal.error
            self.fail(error)
            return
        if not refusal.fatal:
            # A complaint, not a refusal; what is not confirmed in time still fails.
            events.append(StreamError(exchange, refusal.error, time))
            return
        topics = self._ledger.refuse(refusal)
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
            events.append(StreamError(exchange, refusal.error, time))
        self._signal()

    # Asking

    def subscribe(self, topics: Sequence[Topic]) -> None:
        """Ask for topics, within the venue's limits."""
        if not topics:
            return
        for topic in topics:
            self._leaving.pop(topic.id, None)
            self._connection.keeper.ignored.discard(topic.id)
            for instrument in self._connection.instruments(topic):
                self.transformer.add(topic, instrument)
            self._expect_images(topic)
        self._queue(
            self._connector.subscribe(
                topics, first_id=self._next_id, time=self._config.clock.now_ns()
            )
        )

    def greet(self, topics: Sequence[Topic]) -> None:
        """Send what the venue wants to hear before the first subscription."""
        for payload in self._connector.greeting(topics):
            self._send(Outgoing(payload=payload))

    def unsubscribe(self, topics: Sequence[Topic]) -> None:
        """Ask for no more of topics; what is still on its way is ignored."""
        if not topics:
            return
        self._ledger.forget(topic.id for topic in topics)
        for topic in topics:
            self.transformer.remove(topic)
            self._leaving[topic.id] = topic
            self._connection.keeper.ignored.add(topic.id)
        self._queue(self._leave(topics))

    def resubscribe(self, topics: Sequence[Topic]) -> None:
        """Leave topics and ask for them again, to get their images."""
        if not topics:
            return
        now = self._config.clock.now_ns()
        self._queue(self._leave(topics))
        self._queue(self._connector.subscribe(topics, first_id=self._next_id, time=now))
        for topic in topics:
            self._expect_images(topic)

    def _leave(self, topics: Sequence[Topic]) -> list[Outgoing]:
        requests = self._connector.unsubscribe(
            [self.transformer.bound(topic) for topic in topics],
            first_id=self._next_id,
            time=self._config.clock.now_ns(),
        )
        # Their confirmations are not waited for: nothing depends on them.
        return [msgspec.structs.replace(r, topics=()) for r in requests]

    def _queue(self, requests: Sequence[Outgoing]) -> None:
        self._next_id += len(requests)
        for request in requests:
            self._send(request)

    def _send(self, request: Outgoing) -> None:
        self._requests.append(request)
        self._signal()

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
        topic = self._connection.book_topic(manager)
        attempt = self._refetches.get(manager, 0)
        pause = _REFETCH_PAUSE * 2 ** (attempt - 1) if attempt else 0.0

        def failed(error: IntegrationError) -> None:
            self._image_failed(manager, error)

        def deliver(image: Any) -> None:  # noqa: ANN401  an Image
            self._image_came(manager, image)

        job = ImageJob(
            request=self._connector.image_request(topic, manager.book.max_depth),
            urgent=manager.was_live,
            wanted=lambda: not self.closed and self._connection.keeps(manager),
            deliver=deliver,
            failed=failed,
        )
        images = self._connection.images
        assert images is not None, "a venue with HTTP images has a REST URL"  # noqa: S101  narrows the type
        images.request(job, delay=min(pause, _LONGEST_REFETCH_PAUSE))

    def _image_came(self, manager: BookManager, image: Any) -> None:  # noqa: ANN401  an Image
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

    def _image_failed(self, manager: BookManager, error: IntegrationError) -> None:
        now = self._config.clock.now_ns()
        report = StreamError(manager.exchange, error, now, manager.instrument)
        self._connection.emit([report])

    # Beside the reading

    async def run(self) -> None:
        """Send and watch until the session is closed."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_requests)
                nursery.start_soon(self._watch)

    async def _send_requests(self) -> None:
        pace = 1 / self._connector.limits.messages_per_second
        while True:
            while not self._requests:
                await self._changed.wait()
                self._changed = trio.Event()
            request = self._requests.popleft()
            try:
                self._websocket.send_text(request.payload)
            except NetError:
                # The reader meets the same end and says why.
                return
            self._note_sent(request)
            await trio.sleep(pace)

    def _note_sent(self, request: Outgoing) -> None:
        topics = request.topics
        if not topics:
            return
        self._ledger.sent(
            request,
            expected=self._connector.expected_responses(topics),
            deadline=trio.current_time() + self._config.subscription_timeout,
        )

    def _signal(self) -> None:
        self._changed.set()

    async def _watch(self) -> None:
        while True:
            await trio.sleep_until(self._next_deadline())
            now = trio.current_time()
            if late := self._ledger.expired(now):
                names = ", ".join(topic.id for topic in late)
                seconds = self._config.subscription_timeout
                self.fail(Subscribe(f"not confirmed within {seconds:g} s: {names}"))
                return
            self._chase_images(now)
            silence = self._connection.silence
            deadline = silence.deadline
            if deadline is not None and deadline <= now:
                limit = silence.limit
                silence.suspected()
                self.fail(WebSocket(f"no data came for {limit:g} s"))
                return

    def _next_deadline(self) -> float:
        # Nothing may become due earlier than a timeout from now; looking again that
        # often is cheaper than being told of every change.
        soonest = trio.current_time() + min(
            self._config.subscription_timeout, self._config.image_timeout
        )
        known = [self._ledger.deadline, self._connection.silence.deadline]
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
                self._image_failed(manager, InitialSnapshotMissing(topic.id))
                again.append(topic)
        self.resubscribe(again)

    def fail(self, error: IntegrationError) -> None:
        """End the session for a reason; the first one counts."""
        if self._fault is None:
            self._fault = error
        self._websocket.abort()


class _Source:
    """The socket, read only while there is room for what comes."""

    __slots__ = ("_connection", "_websocket")

    def __init__(self, connection: "Connection", websocket: TrioWebSocket) -> None:
        self._connection = connection
        self._websocket = websocket

    async def read_batch(self) -> Batch:
        connection = self._connection
        if connection.outlet.full:
            await connection.wait_room()
        batch = await self._websocket.read_batch()
        connection.silence.heard(trio.current_time())
        return batch

    async def aclose(self) -> None:
        await self._websocket.aclose()
