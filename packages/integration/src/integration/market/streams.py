"""Market streams: subscriptions in, events and true books out.

    async with open_market_streams(subscriptions, config=StreamConfig()) as streams:
        async for event in streams: ...

The planner groups subscriptions into connections within the venues' limits; each
connection is one task that reads, transforms and keeps books; HTTP images come
through one scheduler per exchange; all events meet in one bounded queue, from which
the consumer takes lists (`next_batch`) or single events. A book changes in the same
breath in which its event is queued, so a book is never behind the events taken and at
most a queue's length ahead of them.

One nursery owns everything: leaving the block ends every task and connection.
"""

from collections import deque
from collections.abc import (
    AsyncIterator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager
from typing import Self, TypeAlias, final
from urllib.parse import urlsplit

import trio

from integration.exchanges.registry import connector_for
from integration.market.audit import AuditReport
from integration.market.books import OrderBook
from integration.market.config import StreamConfig
from integration.market.connection import (
    Confirmation,
    Connection,
    ConnectionStatus,
)
from integration.market.connector import Connector
from integration.market.health import SchemaWatch
from integration.market.images import ImageScheduler
from integration.market.outlet import Outlet
from integration.market.planner import ConnectionPlan, Wanted, plan
from integration.market.polling import Poller
from integration.market.redundancy import (
    AnyConfirmation,
    LineStatus,
    RedundantConnection,
)
from integration.market.reports import StreamEvent
from integration.models import ExchangeId, MarketDataInstrument, Subscription
from integration.rest.client import RestClient
from integration.rest.limiter import BucketSpec, RateLimiter
from integration.rest.signer import PublicNoHeaders
from integration.rest.transport import HttpTransport
from integration.stream.channel import ChannelStats

__all__ = ["Books", "MarketStreams", "SubscriptionHandle", "open_market_streams"]


@final
class Books(Mapping[tuple[str, str], OrderBook]):
    """The books of a stream, by exchange and instrument.

    The instrument is a `MarketDataInstrument` or its name: `books["binance_spot",
    "btc_usdt_spot"]`. A book is there from its subscription on; its `state` says
    whether it may be relied upon.
    """

    __slots__ = ("_books",)

    def __init__(self) -> None:
        self._books: dict[tuple[str, str], OrderBook] = {}

    def __getitem__(
        self, key: tuple[str, str] | tuple[str, MarketDataInstrument]
    ) -> OrderBook:
        exchange, instrument = key
        try:
            return self._books[str(exchange), str(instrument)]
        except KeyError:
            known = ", ".join(f"{e} {i}" for e, i in self._books) or "none"
            msg = f"no book of {instrument} at {exchange}; books are: {known}"
            raise KeyError(msg) from None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._books)

    def __len__(self) -> int:
        return len(self._books)

    def __repr__(self) -> str:
        return f"Books({', '.join(map(repr, self._books.values()))})"


@final
class SubscriptionHandle:
    """What `subscribe` gave; give it back to `unsubscribe`."""

    __slots__ = ("_parts", "subscriptions")

    def __init__(self, parts: "list[_Part]") -> None:
        self._parts = parts
        self.subscriptions: tuple[Subscription, ...] = tuple(
            wanted.subscription for _, part in parts for wanted in part.wanted
        )

    def __repr__(self) -> str:
        return f"SubscriptionHandle({', '.join(map(str, self.subscriptions))})"


_Carrier: TypeAlias = Connection | RedundantConnection
_Part: TypeAlias = tuple[_Carrier | Poller, ConnectionPlan]
"""What carries a part of a subscription."""


class _Venue:
    """What the connections to one exchange share."""

    __slots__ = ("client", "connector", "images", "limiter", "schema")

    def __init__(self, exchange: ExchangeId, config: StreamConfig) -> None:
        self.connector = connector_for(exchange)
        limits = self.connector.limits
        rest_url = config.rest_url.get(exchange, self.connector.rest_url)
        buckets = {
            ("*", "connections"): BucketSpec(
                limits.connections, limits.connections_period
            )
        }
        if rest_url is not None:
            host = urlsplit(rest_url).netloc
            buckets[host, "default"] = BucketSpec(limits.rest_weight)
        self.limiter = RateLimiter(buckets, feedback=self.connector.rest_feedback)
        self.schema: SchemaWatch | None = None
        if config.schema_sample is not None:
            decode = self.connector.transformer().decode
            every = config.schema_sample
            self.schema = SchemaWatch(exchange, decode, every=every)
        self.client: RestClient | None = None
        self.images: ImageScheduler | None = None
        parser = self.connector.rest_parser
        if rest_url is not None and parser is not None:
            self.client = RestClient(
                rest_url,
                PublicNoHeaders(),
                parser(),
                transport=_transport(config),
                limiter=self.limiter,
                clock=config.clock,
            )
            self.images = ImageScheduler(
                self.connector, self.client, concurrency=config.concurrent_images
            )


def _transport(config: StreamConfig) -> HttpTransport | None:
    """Return what sends requests; None lets the client choose."""
    if config.http_transport is not None or config.ssl_context is None:
        return config.http_transport
    # The one use of httpx outside its seam: only its own constructor takes a context.
    import httpx

    from integration.rest.httpx_transport import HttpxTransport

    pool = httpx.AsyncHTTPTransport(verify=config.ssl_context, trust_env=False)
    return HttpxTransport(pool, clock=config.clock)


@final
class MarketStreams:
    """The streams of some subscriptions; `open_market_streams` makes it.

    Iterate, or take lists with `next_batch`; both may be mixed. One task consumes.

    Attributes:
        books: every book that is kept.
    """

    def __init__(self, nursery: trio.Nursery, config: StreamConfig) -> None:
        self.books = Books()
        self._config = config
        self._nursery = nursery
        self._outlet = Outlet(config.capacity, config.overload)
        self._venues: dict[ExchangeId, _Venue] = {}
        self._connections: list[_Carrier] = []
        self._pollers: dict[ExchangeId, Poller] = {}
        self._opened = 0
        self._buffer: deque[StreamEvent] = deque()

    def __repr__(self) -> str:
        return (
            f"<MarketStreams: {len(self._connections)} connections, "
            f"{len(self.books)} books, {len(self._outlet)} events wait>"
        )

    @property
    def stats(self) -> ChannelStats:
        """What went through the queue to the consumer."""
        return self._outlet.stats

    @property
    def connections(self) -> list[ConnectionStatus]:
        """How every connection is at the moment; for people and for metrics."""
        sockets = [s for connection in self._connections for s in connection.statuses]
        return sockets + [poller.status for poller in self._pollers.values()]

    @property
    def lines(self) -> list[LineStatus]:
        """What each of several lines did, next to the others; none without lines."""
        return [s for each in self._redundant for s in each.line_statuses]

    @property
    def redundant(self) -> tuple[tuple[str, ...], ...]:
        """Names of the connections that carry the same."""
        return tuple(each.names for each in self._redundant)

    @property
    def _redundant(self) -> list[RedundantConnection]:
        return [c for c in self._connections if isinstance(c, RedundantConnection)]

    @property
    def audits(self) -> list[AuditReport]:
        """The latest comparisons of books with the venues' images, oldest first."""
        found = [
            report
            for connection in self._connections
            for auditor in connection.auditors
            for report in auditor.reports
        ]
        return sorted(found, key=lambda report: report.time)

    # Consuming

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        if not self._buffer:
            try:
                self._buffer.extend(await self._take())
            except trio.EndOfChannel:
                raise StopAsyncIteration from None
        return self._buffer.popleft()

    async def next_batch(self) -> list[StreamEvent]:
        """Wait for events; return all that wait, in order.

        Raises:
            trio.EndOfChannel: every subscription was ended.
            IntegrationError: every connection was given up, or the queue overflowed
                with the policy `raise`.
        """
        if not self._buffer:
            return await self._take()
        await trio.lowlevel.checkpoint()
        batch = list(self._buffer)
        self._buffer.clear()
        return batch

    async def _take(self) -> list[StreamEvent]:
        batch = await self._outlet.take()
        monitor = self._config.monitor
        if monitor is not None:
            monitor.delivered(batch, self._config.clock.now_ns())
        return batch

    # Subscribing

    async def subscribe(self, *subscriptions: Subscription) -> SubscriptionHandle:
        """Subscribe to more, and wait until the venues have confirmed it.

        Cancelled while it waits, the subscription is withdrawn.

        Raises:
            SubscriptionsEmpty: nothing was given.
            Unsupported: an exchange has no connector.
            UnsupportedSubscription: a venue does not offer it.
            Subscribe: a venue refused, or did not confirm in time.
            SocketError: a connection could not be made.
        """
        parts: list[_Part] = []
        waits: list[Confirmation | AnyConfirmation] = []
        try:
            for part in self._planned(subscriptions):
                if part.polled:
                    poller, polls = self._poll(part)
                    waits.extend(polls)
                    parts.append((poller, part))
                    continue
                connection = self._with_room(part)
                if connection is None:
                    connection = self._open(part)
                    waits.extend(connection.confirmations.values())
                else:
                    waits.extend(connection.add(part.wanted).values())
                parts.append((connection, part))
                self._show_books(connection)
            for wait in waits:
                await wait.wait()
        except BaseException:
            self._withdraw(parts)
            for carrier, _ in parts:
                if isinstance(carrier, RedundantConnection) and not carrier.topics:
                    # One that stands alone has ended itself.
                    carrier.end()
            raise
        return SubscriptionHandle(parts)

    async def unsubscribe(self, handle: SubscriptionHandle) -> None:
        """End subscriptions; their books disappear. May be called again."""
        self._withdraw(handle._parts)
        await trio.lowlevel.checkpoint()

    def _planned(self, subscriptions: Iterable[Subscription]) -> list[ConnectionPlan]:
        return plan(
            subscriptions,
            connector_for=connector_for,
            websocket_url=self._config.websocket_url,
            rest_url=self._config.rest_url,
        )

    def _poll(self, part: ConnectionPlan) -> tuple[Poller, list[Confirmation]]:
        """Ask for what is on no stream; one poller an exchange does it."""
        poller = self._pollers.get(part.exchange)
        if poller is not None:
            return poller, poller.add(part.wanted)
        venue = self._venue(part.exchange)
        assert venue.client is not None, "what is polled has a REST URL"  # noqa: S101  narrows the type
        poller = self._pollers[part.exchange] = Poller(
            self._opened,
            part,
            venue.connector,
            config=self._config,
            outlet=self._outlet,
            client=venue.client,
        )
        self._opened += 1
        self._nursery.start_soon(poller.run)
        return poller, poller.confirmations

    def _with_room(self, part: ConnectionPlan) -> _Carrier | None:
        """Find a connection to the same place that can carry more."""
        for connection in self._connections:
            if connection.url == part.url and connection.room >= len(part.topics):
                return connection
        return None

    def _open(self, part: ConnectionPlan) -> _Carrier:
        venue, number, config = self._venue(part.exchange), self._opened, self._config
        self._opened += config.lines
        connection: _Carrier
        if config.lines == 1:
            connection = Connection(
                number,
                part,
                venue.connector,
                config=config,
                outlet=self._outlet,
                images=venue.images,
                limiter=venue.limiter,
                schema=venue.schema,
            )
        else:
            connection = RedundantConnection(
                number,
                part,
                self._line_urls(part, venue.connector),
                connector=venue.connector,
                config=config,
                outlet=self._outlet,
                images=venue.images,
                limiter=venue.limiter,
                schema=venue.schema,
            )
        self._connections.append(connection)
        self._nursery.start_soon(self._run, connection)
        return connection

    def _line_urls(self, part: ConnectionPlan, connector: Connector) -> list[str]:
        """Return where each line connects to; the first to where the plan says."""
        topic = part.topics[0]  # all of a plan share one endpoint
        further = self._config.line_url.get(part.exchange, ())
        urls = [part.url, *(connector.endpoint(topic, base) for base in further)]
        urls += [part.url] * self._config.lines
        return urls[: self._config.lines]

    def _venue(self, exchange: ExchangeId) -> _Venue:
        venue = self._venues.get(exchange)
        if venue is None:
            venue = self._venues[exchange] = _Venue(exchange, self._config)
            if venue.images is not None:
                self._nursery.start_soon(venue.images.run)
        return venue

    async def _run(self, connection: _Carrier) -> None:
        reason = await connection.run()
        self._connections.remove(connection)
        if not self._connections and not self._pollers:
            # Nothing will ever come again; what waits can still be taken.
            self._outlet.close(reason)

    def _show_books(self, connection: _Carrier) -> None:
        for instrument, book in connection.books.items():
            self.books._books[connection.exchange.value, str(instrument)] = book

    def _withdraw(self, parts: list[_Part]) -> None:
        for connection, part in parts:
            wanted: tuple[Wanted, ...] = part.wanted
            for instrument in connection.drop(wanted):
                key = (connection.exchange.value, str(instrument))
                self.books._books.pop(key, None)

    async def aclose_transports(self) -> None:
        """Close what fetches images, unless the caller brought it."""
        for venue in self._venues.values():
            if venue.client is not None and self._config.http_transport is None:
                await venue.client.aclose()


@asynccontextmanager
async def open_market_streams(
    subscriptions: Iterable[Subscription], *, config: StreamConfig | None = None
) -> AsyncIterator[MarketStreams]:
    """Open market streams; every subscription is confirmed when the block begins.

    Args:
        subscriptions: what to stream; repeated ones count once.
        config: how; the defaults suit a live venue.

    Yields:
        The streams. An exception of the block comes out as it is, not in a group.

    Raises:
        SubscriptionsEmpty: nothing was given.
        Unsupported: an exchange has no connector.
        UnsupportedSubscription: a venue does not offer it.
        Subscribe: a venue refused, or did not confirm in time.
        SocketError: a connection could not be made (with `first_connect="raise"`).
    """
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        streams = MarketStreams(nursery, config or StreamConfig())
        try:
            await streams.subscribe(*subscriptions)
            yield streams
        except Exception as error:
            failure = error
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await streams.aclose_transports()
    if failure is not None:
        raise failure
