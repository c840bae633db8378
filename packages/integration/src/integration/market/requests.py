"""What one connection asks of its venue: queued, paced, and waited for.

Asking is synchronous: a request is queued and its topics are noted. `run` sends at
the venue's pace; a request's deadline starts when it is sent, not when it is queued.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, final

import msgspec
import trio

from integration.market.acks import AckLedger
from integration.market.config import StreamConfig
from integration.market.connector import (
    Connector,
    Outgoing,
    Topic,
    VenueTransformer,
)
from netcore.errors import NetError
from netcore.trio.websocket import TrioWebSocket

__all__ = ["Requests"]


@final
class Requests:
    """The requests of one connection.

    Args:
        connector: spells them.
        config: timeouts and clock.
        websocket: takes them.
        transformer: knows what the venue calls a topic on this connection.

    Attributes:
        ledger: what is not confirmed yet.
    """

    def __init__(
        self,
        connector: Connector,
        config: StreamConfig,
        *,
        websocket: TrioWebSocket,
        transformer: VenueTransformer[Any],
    ) -> None:
        self.ledger = AckLedger()
        self._connector = connector
        self._config = config
        self._websocket = websocket
        self._transformer = transformer
        self._waiting: deque[Outgoing] = deque()
        self._some = trio.Event()
        self._next_id = 1

    @property
    def settled(self) -> bool:
        """Whether everything was sent, and everything sent was answered."""
        return not self._waiting and not len(self.ledger)

    def greet(self, topics: Sequence[Topic]) -> None:
        """Say what the venue wants to hear before the first subscription."""
        for payload in self._connector.greeting(topics):
            self.say(payload)

    def say(self, payload: bytes) -> None:
        """Send something that needs no confirmation."""
        self._queue((Outgoing(payload=payload),))

    def subscribe(self, topics: Sequence[Topic]) -> None:
        """Ask for topics, within the venue's limits."""
        if topics:
            now = self._config.clock.now_ns()
            self._queue(
                self._connector.subscribe(topics, first_id=self._next_id, time=now)
            )

    def leave(self, topics: Sequence[Topic]) -> None:
        """Ask for no more of topics; nothing depends on the confirmation."""
        if not topics:
            return
        self.ledger.forget(topic.id for topic in topics)
        named = [self._transformer.bound(topic) for topic in topics]
        made = self._connector.unsubscribe(
            [topic for topic in named if topic is not None],
            first_id=self._next_id,
            time=self._config.clock.now_ns(),
        )
        self._queue([msgspec.structs.replace(request, topics=()) for request in made])

    def _queue(self, requests: Iterable[Outgoing]) -> None:
        for request in requests:
            self._next_id += 1
            self._waiting.append(request)
        self._some.set()

    async def run(self) -> None:
        """Send until cancelled, or until the connection is over."""
        pace = 1 / self._connector.limits.messages_per_second
        while True:
            while not self._waiting:
                self._some = trio.Event()
                await self._some.wait()
            request = self._waiting.popleft()
            try:
                self._websocket.send_text(request.payload)
            except NetError:
                # The reader meets the same end and says why.
                return
            self._note_sent(request)
            await trio.sleep(pace)

    def _note_sent(self, request: Outgoing) -> None:
        topics = request.topics
        if topics:
            self.ledger.sent(
                request,
                expected=self._connector.expected_responses(topics),
                deadline=trio.current_time() + self._config.subscription_timeout,
            )
