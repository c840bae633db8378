"""Data that a venue tells only when asked: subscriptions served by HTTP, not a stream.

To a consumer they look like the others: `open_market_streams` confirms them (by the
first answer), their events come out of the same queue, and they can be added and
ended at run time. Every topic is asked for once per `StreamConfig.poll_interval`,
through the venue's limiter; an answer that fails is reported (`StreamError`) and the
topic asked for again when it is due. A recording keeps the answers in its journal of
HTTP; a replay, which plays connections and the images of their books, passes them over.
"""

import heapq
import itertools
from collections.abc import Iterable, Sequence
from typing import final

import trio

from integration.errors import Deserialise, IntegrationError, Overload, Subscribe
from integration.market.config import FirstConnect, StreamConfig
from integration.market.connection import Confirmation, ConnectionStatus
from integration.market.connector import (
    UNREADABLE,
    Connector,
    Polled,
    Topic,
    connection_id,
)
from integration.market.outlet import Outlet
from integration.market.planner import ConnectionPlan, Wanted
from integration.market.reports import StreamError, StreamEvent
from integration.models import MarketDataInstrument, MarketEvent, Subscription
from integration.rest.client import RestClient

__all__ = ["Poller"]


@final
class Poller:
    """Asks for the polled topics of one exchange.

    Args:
        number: counts the connections of the stream.
        plan: what it carries at first.
        connector: how the venue speaks.
        config: the stream's.
        outlet: where events go.
        client: asks.
    """

    def __init__(
        self,
        number: int,
        plan: ConnectionPlan,
        connector: Connector,
        *,
        config: StreamConfig,
        outlet: Outlet,
        client: RestClient,
    ) -> None:
        self.exchange = plan.exchange
        self.name = connection_id(plan.exchange, number)
        self.url = plan.url
        self._answers = 0
        self._faults = 0
        self._connector = connector
        self._config = config
        self._outlet = outlet
        self._client = client
        self._wanted: dict[Topic, list[Subscription]] = {}
        self._confirmations: dict[Topic, Confirmation] = {}
        self._due: list[tuple[float, int, Topic]] = []
        self._order = itertools.count()
        self._changed = trio.Event()
        self._turn = trio.Lock()
        self.add(plan.wanted)

    def __repr__(self) -> str:
        return f"<Poller {self.name} {self.url}: {len(self._wanted)} topics>"

    @property
    def status(self) -> ConnectionStatus:
        """How it is at the moment."""
        return ConnectionStatus(
            name=self.name,
            exchange=self.exchange,
            url=self.url,
            up=True,
            topics=len(self._wanted),
            live_books=0,
            books=0,
            messages=self._answers,
            faults=self._faults,
            subscriptions=tuple(s for each in self._wanted.values() for s in each),
        )

    @property
    def confirmations(self) -> list[Confirmation]:
        """What is waited for, or was."""
        return list(self._confirmations.values())

    def add(self, wanted: Iterable[Wanted]) -> list[Confirmation]:
        """Carry more; a new topic is asked for at once.

        Returns:
            One wait per topic that was not carried yet.
        """
        new: list[Topic] = []
        for each in wanted:
            if each.topic not in self._wanted:
                new.append(each.topic)
                self._confirmations[each.topic] = Confirmation()
                self._ask_at(each.topic, float("-inf"))
            self._wanted.setdefault(each.topic, []).append(each.subscription)
        return [self._confirmations[topic] for topic in new]

    def drop(self, wanted: Iterable[Wanted]) -> list[MarketDataInstrument]:
        """Carry less; there are no books, so the list is empty."""
        for each in wanted:
            left = self._wanted.get(each.topic, [])
            if each.subscription in left:
                left.remove(each.subscription)
                if not left:
                    self._forget(each.topic, None)
        return []

    def _forget(self, topic: Topic, error: IntegrationError | None) -> None:
        self._wanted.pop(topic, None)
        self._confirmations.pop(topic).settle(error)

    def _ask_at(self, topic: Topic, due: float) -> None:
        heapq.heappush(self._due, (due, next(self._order), topic))
        self._changed.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(self._config.concurrent_images):
                nursery.start_soon(self._work)

    async def _work(self) -> None:
        while True:
            # One waits for the moment; the others wait for their turn to do so.
            async with self._turn:
                topic = await self._next()
            asked = trio.current_time()
            await self._poll(topic)
            if topic in self._wanted:
                self._ask_at(topic, asked + self._config.poll_interval)

    async def _next(self) -> Topic:
        while True:
            due = self._due[0][0] if self._due else float("inf")
            if due <= trio.current_time():
                topic = heapq.heappop(self._due)[2]
                if topic in self._wanted:
                    return topic
                continue  # it was ended meanwhile
            self._changed = trio.Event()
            with trio.move_on_at(due):
                await self._changed.wait()

    async def _poll(self, topic: Topic) -> None:
        try:
            polled = await self._ask(topic)
        except IntegrationError as error:
            self._failed(topic, error)
            return
        wanted = self._wanted.get(topic, ())
        self._answers += 1
        now = self._config.clock.now_ns()
        time = now if polled.time_exchange is None else polled.time_exchange
        self._emit(
            [
                MarketEvent(time, now, self.exchange, each.instrument, polled.kind)
                for each in wanted
            ]
        )
        if topic in self._confirmations:
            self._confirmations[topic].settle()

    async def _ask(self, topic: Topic) -> Polled:
        request = self._connector.poll_request(topic)
        assert request is not None, "the planner sends only polled topics here"  # noqa: S101  narrows the type
        response, _ = await self._client.execute(request)
        try:
            return self._connector.polled(topic, response)
        except UNREADABLE as error:
            raise Deserialise(str(error), repr(response)) from error

    def _failed(self, topic: Topic, error: IntegrationError) -> None:
        wanted: Sequence[Subscription] = self._wanted.get(topic, ())
        self._faults += 1
        now = self._config.clock.now_ns()
        self._emit(
            [StreamError(self.exchange, error, now, each.instrument) for each in wanted]
        )
        waiting = self._confirmations.get(topic)
        if waiting is None or not waiting.waiting:
            return
        if self._config.first_connect is FirstConnect.RAISE or not error.recoverable:
            refused = Subscribe(f"{self.exchange} refused {topic.id}: {error}")
            refused.__cause__ = error
            self._forget(topic, refused)

    def _emit(self, events: list[StreamEvent]) -> None:
        try:
            self._outlet.put(events)
        except Overload as error:
            # As for streams: being late is the consumer's fault, so it hears.
            self._outlet.close(error)
