"""A mock exchange behind `ExecutionClient`: matching, latency, a clock of its choice.

`MockExchange` is fed by `integration.market`: every event of `open_market_streams`
or of a recording goes to `on_market`. Two ways of time:

* *live*: give it a clock. Requests arrive after the latency of the model, on trio's
  clock, and meet the book as it is then;
* *replay*: give it none. Time is what market events say (`time_received`), or what
  `advance` is told; clients that wait for an answer wait for that time to come. The
  same recording and the same seed give the same fills.

A request is executed when it *arrives*, and its answer travels back: a client that
gives up waiting has not undone anything, as at a venue. What matches is
`execution.matching`; nothing here knows a wire (that is `integration.testing`).
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Generic, Self, TypeVar, final

import trio

from integration.errors import Overload, Sink
from integration.execution.errors import OrderError
from integration.execution.matching import Fees, Margin, MatchingEngine, Queue
from integration.execution.models import (
    AccountEvent,
    AccountSnapshot,
    AssetBalance,
    Order,
    OrderRequestCancel,
    OrderRequestOpen,
    Trade,
)
from integration.execution.rules import check_order
from integration.market.reports import BookResynced, BookStale, StreamEvent
from integration.models import (
    AssetNameInternal,
    ExchangeId,
    FundingRate,
    Instrument,
    InstrumentNameInternal,
    MarketEvent,
    MarkPrice,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
)
from netcore.clock import NANOSECONDS, Clock, to_ns
from netcore.models import Timestamp

__all__ = ["LatencyModel", "MockAccountStream", "MockClient", "MockExchange"]

R = TypeVar("R")

_CAPACITY = 100_000
"""Events that may wait for a consumer of an account stream."""


@final
class LatencyModel:
    """How long a message takes to the exchange, and back.

    Args:
        out: Seconds to the exchange, at least.
        back: Seconds back, at least.
        jitter: Mean of an exponential delay on top of each, in seconds.
        rng: Where chance comes from; a fixed seed if None, for repeatable runs.

    Raises:
        ValueError: A time is negative.
    """

    def __init__(
        self,
        out: float = 0.0,
        back: float = 0.0,
        *,
        jitter: float = 0.0,
        rng: random.Random | None = None,
    ) -> None:
        if min(out, back, jitter) < 0:
            raise ValueError(f"times are not negative, were {out}, {back}, {jitter}")
        self._out, self._back, self._jitter = out, back, jitter
        # Delays of a simulation: chance need not be secret.
        self._rng = rng or random.Random(0)  # noqa: S311 - as above

    def out_ns(self) -> int:
        """Return the nanoseconds of one way to the exchange."""
        return self._sample(self._out)

    def back_ns(self) -> int:
        """Return the nanoseconds of one way back."""
        return self._sample(self._back)

    def _sample(self, least: float) -> int:
        extra = self._rng.expovariate(1 / self._jitter) if self._jitter else 0.0
        return to_ns(least + extra)


@final
class _Errand(Generic[R]):
    """A request on its way: done when it arrives, whoever still waits for it."""

    __slots__ = ("_action", "error", "result")

    def __init__(self, action: Callable[[Timestamp], R]) -> None:
        self._action = action
        self.result: R | None = None
        self.error: OrderError | None = None

    def run(self, now: Timestamp) -> None:
        try:
            self.result = self._action(now)
        except OrderError as error:
            self.error = error


@final
class MockExchange:
    """An exchange in this process, for any number of users.

    Args:
        exchange: Which venue it stands for.
        instruments: What is traded, each with its terms: spot, linear perpetuals.
        deposits: What users have at first, by user and asset.
        fees: What fills cost.
        queue: Where resting orders join those displayed.
        latency: How long messages take; none if None.
        clock: Live time; None for the time of the market's events.
        margin: What positions in perpetuals are backed by.

    Raises:
        Unsupported: An instrument is neither spot nor a linear perpetual.
        ValueError: An instrument is not of this exchange.
    """

    def __init__(
        self,
        exchange: ExchangeId,
        instruments: Iterable[Instrument],
        deposits: Mapping[str, Mapping[AssetNameInternal, Decimal]],
        *,
        fees: Fees | None = None,
        queue: Queue = Queue.BACK,
        latency: LatencyModel | None = None,
        clock: Clock | None = None,
        margin: Margin | None = None,
    ) -> None:
        self.engine = MatchingEngine(
            exchange, instruments, deposits, fees=fees, queue=queue, margin=margin
        )
        self._latency = LatencyModel() if latency is None else latency
        self._clock = clock
        self._time: Timestamp = 0 if clock is None else clock.now_ns()
        self._arrivals: list[tuple[Timestamp, int, _Errand[Order]]] = []
        self._order = itertools.count()
        self._streams: list[MockAccountStream] = []
        self._moved = trio.Event()

    def __repr__(self) -> str:
        return (
            f"MockExchange({self.engine.exchange}, time_ns={self._time}, "
            f"{len(self._arrivals)} requests on their way)"
        )

    @property
    def time_ns(self) -> Timestamp:
        """The exchange's time; in replay, that of the last event."""
        return self._time

    def client(self, user: str) -> "MockClient":
        """Return what a user trades with.

        Raises:
            KeyError: Nobody of this name has deposited anything.
        """
        if user not in self.engine.accounts.users:
            raise KeyError(user)
        return MockClient(self, user)

    # Moving

    def on_market(self, event: StreamEvent) -> None:
        """Take an event of the market; requests that arrived before it come first.

        A stale book halts its instrument until it is resynced.

        Raises:
            InvalidLevel: A level is malformed; the book is unchanged.
        """
        match event:
            case MarketEvent(time_received=now, instrument=instrument, kind=kind):
                self.advance(now)
                if isinstance(kind, PublicTrade):
                    self.engine.on_trade(instrument, kind, self._time)
                elif isinstance(
                    kind, OrderBookSnapshot | OrderBookUpdate | OrderBookL1
                ):
                    self.engine.on_book(instrument, kind, self._time)
                elif isinstance(kind, MarkPrice):
                    self.engine.on_mark(instrument, kind.price, self._time)
                elif isinstance(kind, FundingRate):
                    self.engine.on_funding(instrument, kind, self._time)
            case BookStale(time=now, instrument=instrument, reason=reason):
                self.advance(now)
                self.engine.halt(instrument, f"its book is stale ({reason})")
            case BookResynced(time=now, instrument=instrument):
                self.advance(now)
                self.engine.resume(instrument, self._time)
            case _:
                return
        self._deliver()

    def advance(self, until_ns: Timestamp) -> None:
        """Move time on: what arrives until then is executed when it arrives.

        An earlier time than the present does nothing: feeds of several connections
        overtake each other by a little.
        """
        while self._arrivals and self._arrivals[0][0] <= until_ns:
            at, _, errand = heapq.heappop(self._arrivals)
            self._time = max(self._time, at)
            errand.run(self._time)
            self._deliver()
        self._time = max(self._time, until_ns)
        self._moved.set()
        self._moved = trio.Event()

    def now_ns(self) -> Timestamp:
        """Return the present: the clock's if there is one, else the market's."""
        if self._clock is not None:
            self._time = max(self._time, self._clock.now_ns())
        return self._time

    async def until(self, at_ns: Timestamp) -> None:
        """Wait for a time: the clock's, or until the market has moved there."""
        await trio.lowlevel.checkpoint()
        if self._clock is not None:
            wait = (at_ns - self._clock.now_ns()) / NANOSECONDS
            if wait > 0:
                await trio.sleep(wait)
            self.advance(max(at_ns, self._clock.now_ns()))
            return
        while self._time < at_ns:
            await self._moved.wait()
        self.advance(at_ns)

    async def errand(self, action: Callable[[Timestamp], Order]) -> Order:
        """Send a request and wait for its answer.

        Raises:
            OrderError: The exchange said no.
        """
        errand = _Errand(action)
        arrival = self.now_ns() + self._latency.out_ns()
        heapq.heappush(self._arrivals, (arrival, next(self._order), errand))
        await self.until(arrival)
        await self.until(self.now_ns() + self._latency.back_ns())
        if errand.error is not None:
            raise errand.error
        assert errand.result is not None, "an errand has run by its arrival"  # noqa: S101  narrows the type; `advance` ran it
        return errand.result

    # Telling

    def _deliver(self) -> None:
        for user, event in self.engine.drain():
            for stream in self._streams:
                if stream.user == user:
                    stream.offer(event, self._time + self._latency.back_ns())

    def attach(self, stream: "MockAccountStream") -> None:
        """Tell a stream from now on; `MockClient.account_stream` does this."""
        self._streams.append(stream)

    def detach(self, stream: "MockAccountStream") -> None:
        """Tell a stream no more; may be called again."""
        if stream in self._streams:
            self._streams.remove(stream)


@final
class MockAccountStream:
    """A user's events as they reach the user; see `AccountStream`."""

    def __init__(self, exchange: MockExchange, user: str) -> None:
        self.user = user
        self._exchange = exchange
        self._events: deque[tuple[Timestamp, AccountEvent]] = deque()
        self._news = trio.Event()
        self._closed = False
        self._overflowed = False

    def offer(self, event: AccountEvent, at_ns: Timestamp) -> None:
        """Take an event that arrives at a time; never before one sent earlier."""
        if len(self._events) >= _CAPACITY:
            self._overflowed = True
            return
        last = self._events[-1][0] if self._events else at_ns
        self._events.append((max(at_ns, last), event))
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AccountEvent:
        await self._wait()
        return self._take()

    async def next_batch(self) -> list[AccountEvent]:
        """Wait for events; return all that have arrived.

        Raises:
            Overload: More waited than a stream holds; what waited was delivered.
            Sink: The stream is closed.
        """
        await self._wait()
        batch = [self._take()]
        now = self._exchange.now_ns()
        while self._events and self._events[0][0] <= now:
            batch.append(self._take())
        return batch

    async def _wait(self) -> None:
        while not self._events:
            if self._closed:
                raise Sink("the account stream is closed")
            if self._overflowed:
                raise Overload(
                    "the account stream was read too slowly; open another and begin "
                    "with its snapshot",
                    capacity=_CAPACITY,
                )
            self._news = trio.Event()
            await self._news.wait()
        await self._exchange.until(self._events[0][0])

    def _take(self) -> AccountEvent:
        return self._events.popleft()[1]

    async def aclose(self) -> None:
        """Hear no more; what waits can still be read."""
        self._closed = True
        self._exchange.detach(self)
        self._news.set()
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


@final
class MockClient:
    """One user's access to a mock exchange; an `ExecutionClient`."""

    def __init__(self, exchange: MockExchange, user: str) -> None:
        self._venue = exchange
        self._user = user
        self._instruments = {i.name_internal: i for i in exchange.engine.instruments}

    @property
    def exchange(self) -> ExchangeId:
        """Which venue the mock stands for."""
        return self._venue.engine.exchange

    async def account_snapshot(self) -> AccountSnapshot:
        """Return balances, open orders and positions."""
        await self._venue.until(self._venue.now_ns())
        return self._snapshot()

    def account_stream(self) -> MockAccountStream:
        """Return a stream that begins with a snapshot of now."""
        stream = MockAccountStream(self._venue, self._user)
        now = self._venue.now_ns()
        stream.offer(AccountEvent(self.exchange, now, self._snapshot(), now), now)
        self._venue.attach(stream)
        return stream

    async def open_order(self, request: OrderRequestOpen) -> Order:
        """Place an order (see `ExecutionClient`)."""
        instrument = self._instruments.get(request.key.instrument)
        if instrument is not None:
            check_order(request, instrument)
        engine, user = self._venue.engine, self._user
        return await self._venue.errand(lambda now: engine.place(user, request, now))

    async def cancel_order(self, request: OrderRequestCancel) -> Order:
        """Cancel an order (see `ExecutionClient`)."""
        engine, user = self._venue.engine, self._user
        return await self._venue.errand(lambda now: engine.cancel(user, request, now))

    async def fetch_open_orders(
        self, instruments: Sequence[InstrumentNameInternal] | None = None
    ) -> tuple[Order, ...]:
        """Return orders that rest."""
        await self._venue.until(self._venue.now_ns())
        orders = self._venue.engine.open_orders(self._user)
        return tuple(o for o in orders if _wanted(o.key.instrument, instruments))

    async def fetch_balances(self) -> tuple[AssetBalance, ...]:
        """Return balances."""
        await self._venue.until(self._venue.now_ns())
        return self._venue.engine.balances(self._user)

    async def fetch_trades(
        self,
        since: Timestamp,
        instruments: Sequence[InstrumentNameInternal] | None = None,
    ) -> tuple[Trade, ...]:
        """Return fills at or after a time."""
        await self._venue.until(self._venue.now_ns())
        trades = self._venue.engine.trades(self._user, since)
        return tuple(t for t in trades if _wanted(t.instrument, instruments))

    async def aclose(self) -> None:
        """Do nothing but let others run: there is no connection."""
        await trio.lowlevel.checkpoint()

    def _snapshot(self) -> AccountSnapshot:
        engine = self._venue.engine
        return AccountSnapshot.of(
            self.exchange,
            engine.balances(self._user),
            engine.open_orders(self._user),
            engine.positions(self._user),
        )


def _wanted(
    name: InstrumentNameInternal, names: Sequence[InstrumentNameInternal] | None
) -> bool:
    return names is None or name in names
