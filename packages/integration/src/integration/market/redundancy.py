"""Several connections that carry the same, as one: A/B lines.

Each line is a whole `Connection`, with its own socket, reconnects, rotation, ledger and
books; what they bring meets in a `FeedArbiter` before it reaches the consumer's queue.
A line that is lost costs the consumer nothing while another is up; one that stays
connected but falls silent on a stream is given up and connects anew.

Twice the connections, images and processor time is the price. Lines to different
addresses (`StreamConfig.line_url`) fail less often together.
"""

from collections.abc import Iterable, Sequence
from typing import final

import msgspec
import trio

from integration.errors import GaveUp, IntegrationError, WebSocket
from integration.market.arbitration import FeedArbiter
from integration.market.audit import BookAuditor
from integration.market.books import OrderBook
from integration.market.config import StreamConfig
from integration.market.connection import (
    Confirmation,
    Connection,
    ConnectionStatus,
    EventSink,
    Standing,
)
from integration.market.connector import Connector, Topic
from integration.market.health import SchemaWatch
from integration.market.images import ImageScheduler
from integration.market.planner import ConnectionPlan, Wanted
from integration.market.reports import StreamEvent
from integration.metric import Field, Float, Metric, Tag, UInt
from integration.models import ExchangeId, MarketDataInstrument
from integration.rest.limiter import RateLimiter
from netcore.models import Model, Timestamp

__all__ = ["AnyConfirmation", "LineStatus", "RedundantConnection", "line_metrics"]

_SILENCE = 1.5
"""Of the time in which a subscription has to be confirmed: a line that has not begun
is not silent."""


class LineStatus(Model, frozen=True):
    """What one line did, next to the others that carry the same.

    Attributes:
        name: such as `binance_spot#1`.
        exchange: to whom.
        up: whether it is connected.
        first: events that it brought first, and that were delivered.
        repeated: events that another had brought before.
        missed: trades and liquidations that only others brought.
        stale: how often a book of its own went stale.
        lag_p50_ms: how much later it was where another was first, in the middle ...
        lag_p99_ms: ... and at the 99th of 100; None if it never was.
    """

    name: str
    exchange: ExchangeId
    up: bool
    first: int
    repeated: int
    missed: int
    stale: int
    lag_p50_ms: float | None = None
    lag_p99_ms: float | None = None


def line_metrics(lines: Iterable[LineStatus], now_ns: Timestamp) -> list[Metric]:
    """Return `market_line` for each line."""
    found = []
    for line in lines:
        fields = [
            Field("up", UInt(int(line.up))),
            Field("first", UInt(line.first)),
            Field("repeated", UInt(line.repeated)),
            Field("missed", UInt(line.missed)),
            Field("stale", UInt(line.stale)),
        ]
        if line.lag_p50_ms is not None and line.lag_p99_ms is not None:
            fields.append(Field("lag_p50_ms", Float(line.lag_p50_ms)))
            fields.append(Field("lag_p99_ms", Float(line.lag_p99_ms)))
        tags = (Tag("exchange", line.exchange.value), Tag("line", line.name))
        found.append(Metric("market_line", now_ns // 1_000_000, tags, tuple(fields)))
    return found


@final
class AnyConfirmation:
    """A wait for the venue to confirm a topic on any of several lines."""

    __slots__ = ("_confirmations",)

    def __init__(self, confirmations: Sequence[Confirmation]) -> None:
        self._confirmations = confirmations

    async def wait(self) -> None:
        """Wait for the first confirmation.

        Raises:
            IntegrationError: every line was refused, or given up; the first one's.
        """
        errors: list[IntegrationError | None] = [None] * len(self._confirmations)
        confirmed = trio.CancelScope()

        async def listen(place: int) -> None:
            try:
                await self._confirmations[place].wait()
            except IntegrationError as error:
                errors[place] = error
            else:
                confirmed.cancel()

        with confirmed:
            async with trio.open_nursery() as nursery:
                for place in range(len(errors)):
                    nursery.start_soon(listen, place)
        if all(errors):
            raise next(error for error in errors if error is not None)


@final
class _Entry:
    """Where one line's events go: to the arbiter, and from there to the queue."""

    __slots__ = ("_group", "_line")

    def __init__(self, group: "RedundantConnection", line: int) -> None:
        self._group = group
        self._line = line

    @property
    def full(self) -> bool:
        return self._group.outlet.full

    def put(self, events: list[StreamEvent]) -> None:
        self._group.take(self._line, events)

    async def wait_room(self) -> None:
        await self._group.outlet.wait_room()

    def close(self, reason: Exception | None = None) -> None:
        self._group.outlet.close(reason)


@final
class RedundantConnection:
    """Lines that carry the same to one place, as if they were one connection.

    Args:
        number: counts the connections of the stream; the first line's.
        plan: what they carry at first.
        urls: where each line connects to; at least two.
        connector: how the venue speaks.
        config: the stream's.
        outlet: where events go.
        images: fetches images of this exchange, if it serves them by HTTP.
        limiter: bounds connection attempts, of all lines together.
        schema: looks for what the venue has added to its messages.

    Attributes:
        lines: the connections.
        outlet: as given.
    """

    def __init__(
        self,
        number: int,
        plan: ConnectionPlan,
        urls: Sequence[str],
        *,
        connector: Connector,
        config: StreamConfig,
        outlet: EventSink,
        images: ImageScheduler | None,
        limiter: RateLimiter,
        schema: SchemaWatch | None = None,
    ) -> None:
        self.exchange = plan.exchange
        self.url = plan.url
        self.outlet = outlet
        self._scope = trio.CancelScope()
        self.lines = [
            Connection(
                number + line,
                msgspec.structs.replace(plan, url=url),
                connector,
                config=config,
                outlet=_Entry(self, line),
                images=images,
                limiter=limiter,
                schema=schema,
                standing=Standing.SPARED,
            )
            for line, url in enumerate(urls)
        ]
        silence = _SILENCE * config.subscription_timeout
        self._arbiter = FeedArbiter(self.lines, rule=connector.rule, silence=silence)
        self._keep_books()

    def __repr__(self) -> str:
        return f"<RedundantConnection {', '.join(each.name for each in self.lines)}>"

    # How it is

    @property
    def names(self) -> tuple[str, ...]:
        """Of the lines."""
        return tuple(each.name for each in self.lines)

    @property
    def books(self) -> dict[MarketDataInstrument, OrderBook]:
        """The books that consumers read; the lines' own are nobody else's business."""
        return dict(self._arbiter.books)

    @property
    def auditors(self) -> list[BookAuditor]:
        """Who compares the lines' books with the venue's images."""
        return [auditor for each in self.lines for auditor in each.auditors]

    @property
    def statuses(self) -> list[ConnectionStatus]:
        """How each line is at the moment."""
        return [each.status for each in self.lines]

    @property
    def line_statuses(self) -> list[LineStatus]:
        """What each line did, next to the others."""
        found = []
        for number, line in enumerate(self.lines):
            figures = self._arbiter.figures[number]
            lag = figures.lag
            found.append(
                LineStatus(
                    name=line.name,
                    exchange=line.exchange,
                    up=line.up,
                    first=figures.first,
                    repeated=figures.repeated,
                    missed=self._arbiter.missed(number),
                    stale=figures.stale,
                    lag_p50_ms=lag.quantile(0.5) / 1e6 if lag.count else None,
                    lag_p99_ms=lag.quantile(0.99) / 1e6 if lag.count else None,
                )
            )
        return found

    # What it carries

    @property
    def topics(self) -> tuple[Topic, ...]:
        """Everything subscribed to on any line."""
        return tuple(dict.fromkeys(t for each in self.lines for t in each.topics))

    @property
    def room(self) -> int:
        """How many more topics the venue allows on every line."""
        return min(each.room for each in self.lines)

    @property
    def confirmations(self) -> dict[Topic, AnyConfirmation]:
        """What is waited for, or was."""
        return _any([each.confirmations for each in self.lines])

    def add(self, wanted: Iterable[Wanted]) -> dict[Topic, AnyConfirmation]:
        """Carry more, on every line.

        Returns:
            One wait per topic that was not carried yet.

        Raises:
            Subscribe: another topic feeds the same book already.
        """
        wanted = tuple(wanted)
        new = [each.add(wanted) for each in self.lines]
        self._keep_books()
        return _any(new)

    def _keep_books(self) -> None:
        for each in self.lines:
            for instrument, book in each.books.items():
                self._arbiter.keep(instrument, book.max_depth)

    def drop(self, wanted: Iterable[Wanted]) -> list[MarketDataInstrument]:
        """Carry less; return the instruments whose book is kept no longer."""
        wanted = tuple(wanted)
        found = [each.drop(wanted) for each in self.lines]
        # A line that was refused a topic may have less to give up than the others.
        kept = {instrument for each in self.lines for instrument in each.books}
        books = [
            instrument
            for instrument in dict.fromkeys(each for gone in found for each in gone)
            if instrument not in kept
        ]
        for instrument in books:
            self._arbiter.drop(instrument)
        left = self._instruments
        for each in wanted:
            if each.subscription.instrument not in left:
                self._arbiter.forget(each.subscription.instrument)
        return books

    @property
    def _instruments(self) -> set[MarketDataInstrument]:
        return {
            instrument
            for line in self.lines
            for topic in line.topics
            for instrument in line.instruments(topic)
        }

    # Running

    def take(self, line: int, events: list[StreamEvent]) -> None:
        """Pass on what is news of a line's events; called as its books change.

        Raises:
            Overload: the policy is `raise` and there is no room.
        """
        told = self._arbiter.take(line, events)
        if told:
            self.outlet.put(told)
        for silent in self._arbiter.silent:
            name, topics = self.lines[line].name, self.lines[line].topics
            if not set(topics).issubset(self.lines[silent].topics):
                # It was refused something: a new connection would not bring that.
                continue
            self.lines[silent].fail(
                WebSocket(f"brought nothing of a stream on which {name} brought much")
            )

    async def run(self) -> GaveUp:
        """Run every line until cancelled, ended, or all are given up.

        Returns:
            Why it ended: the last line's reason.
        """
        reasons: list[GaveUp] = []

        async def run(line: Connection) -> None:
            reasons.append(await line.run())

        with self._scope:
            async with trio.open_nursery() as nursery:
                for each in self.lines:
                    nursery.start_soon(run, each)
        if self._scope.cancelled_caught or not reasons:
            msg = f"{', '.join(self.names)} could not begin and was ended"
            return GaveUp(msg, attempts=max(each.attempts for each in self.lines))
        return reasons[-1]

    def end(self) -> None:
        """End every line: it could not begin, and nothing is wanted of it."""
        self._scope.cancel()


def _any(
    by_line: Sequence[dict[Topic, Confirmation]],
) -> dict[Topic, AnyConfirmation]:
    topics = dict.fromkeys(topic for each in by_line for topic in each)
    return {
        topic: AnyConfirmation([each[topic] for each in by_line if topic in each])
        for topic in topics
    }
