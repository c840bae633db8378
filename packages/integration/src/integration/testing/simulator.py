"""The simulated exchange: a market source, a dialect, a listener, and their faults.

Two pacings. *Real time*: `await sim.run(speed=1.0)` moves the market with the clock
until the source is finished. *Lockstep*: `await sim.advance(until_ns)` publishes
everything up to that market time and returns; nothing moves in between, so that a
program run against the same seed can be repeated bit for bit. `sequence(symbol)` and
`final_book(symbol)` then say what a client must have reached.

Theory of operation. All state is changed by one task at a time, without a checkpoint
in between: moving the market, spelling its events and queueing them for the clients
is one synchronous step. The HTTP snapshot shows the *live* book, which in real time
may be ahead of the last depth message, as at the venue; the *published* book is what
depth messages add up to. In lockstep the market only ever stops where both agree.
"""

import heapq
import itertools
import logging
import ssl
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from types import TracebackType
from typing import Final, TypeAlias

import trio

from integration.errors import IntegrationError
from integration.testing.book import BookImage, PriceBook
from integration.testing.client import Client, ClientState
from integration.testing.dialect import (
    CloseWith,
    Dialect,
    HttpReply,
    HttpRequest,
    Limits,
    MarketView,
    Session,
    SnapshotView,
)
from integration.testing.dialects.binance_futures import BinanceFutures
from integration.testing.dialects.binance_spot import BinanceSpot
from integration.testing.dialects.bybit import BybitLinear, BybitSpot
from integration.testing.dialects.kraken_v2 import KrakenV2
from integration.testing.dialects.okx import Okx
from integration.testing.events import (
    DepthChanged,
    MarketEvent,
    MarketSource,
    SymbolSpec,
)
from integration.testing.faults import (
    BadChecksum,
    ClockSkew,
    Disconnect,
    Duplicate,
    Fault,
    Gap,
    HalfOpen,
    Malformed,
    MessageFaults,
    Oversized,
    RateLimit,
    Refuse,
    Reorder,
    Restart,
    ScheduledFault,
    ShutdownNotice,
    SilentStop,
    StaleSnapshot,
    oversized_payload,
)
from integration.testing.limits import SlidingWindow
from integration.testing.server import (
    Handler,
    VenueListener,
    WebSocketPeer,
    listening_url,
)
from netcore.models import Model, Timestamp

__all__ = ["DIALECTS", "SimulatedExchange", "SimulatorStats", "UnknownDialectError"]

_log = logging.getLogger(__name__)

_Dialect: TypeAlias = type[BinanceSpot | BybitSpot | BybitLinear | Okx | KrakenV2]

_KINDS: Final[tuple[_Dialect, ...]] = (
    BinanceSpot,
    BinanceFutures,
    BybitSpot,
    BybitLinear,
    KrakenV2,
    Okx,
)
DIALECTS: Final[Mapping[str, _Dialect]] = {kind.name: kind for kind in _KINDS}
"""Dialects by exchange id."""

# How often the market moves in real time: a tenth of the depth interval, so that
# trades and quotes are not late by more than a network would make them.
_TICK_S: Final = 0.01
# Market time per step when speed does not matter.
_STRIDE_NS: Final = 100_000_000
_MS: Final = 1_000_000


_Planned: TypeAlias = Callable[[], Awaitable[None]]


class UnknownDialectError(IntegrationError, ValueError):
    """No such dialect is spoken."""


class SimulatorStats(Model, frozen=True):
    """Counters since the start."""

    events: int
    messages: int
    connections: int
    requests: int
    slow_clients: int


class SimulatedExchange(MarketView, Handler):
    """A local exchange; an async context manager.

    Args:
        source: Where events come from; belongs to this exchange from now on.
        dialect: Exchange id of the venue to speak like.
        host: Address to listen on; loopback unless you know why not.
        port: 0 takes a free one.
        ssl_context: Serve TLS with it.
        faults: What goes wrong, and when.
        limits: What clients are allowed; None: what the venue's documents say.

    Raises:
        UnknownDialectError: If the dialect is not in `DIALECTS`.
    """

    def __init__(
        self,
        source: MarketSource,
        *,
        dialect: str = "binance_spot",
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        faults: Sequence[ScheduledFault] = (),
        limits: Limits | None = None,
    ) -> None:
        if dialect not in DIALECTS:
            raise UnknownDialectError(
                f"unknown dialect {dialect!r}; known: {', '.join(DIALECTS)}"
            )
        self._source = source
        self._limits = limits or DIALECTS[dialect].limits
        self._dialect: Dialect = DIALECTS[dialect](self)
        self._secure = ssl_context is not None
        self._listener = VenueListener(
            self, host=host, port=port, ssl_context=ssl_context
        )
        self._nursery: trio.Nursery | None = None
        self._entered: AbstractAsyncContextManager[None] | None = None
        self._clients: list[Client] = []
        self._wanted: frozenset[str] = frozenset()
        self._changed = trio.Event()
        self._moving = trio.Lock()
        self._time_ns = source.time_ns
        self._published: dict[str, PriceBook] = {}
        for symbol in source.specs:
            book = source.book(symbol)
            if book is not None:
                self._published[symbol] = book.copy()
        self._message_faults = MessageFaults()
        self._skew_ns = 0
        self._turned_away: list[RateLimit] = []
        self._stale: dict[str, list[PriceBook]] = {}
        self._connections: dict[str, SlidingWindow] = {}
        self._order = itertools.count()
        self._agenda: list[tuple[Timestamp, int, _Planned]] = []
        for entry in faults:
            at_ns = source.start_ns + entry.after_ms * _MS
            self._plan(at_ns, partial(self.inject, entry.fault))
        self._counts = dict.fromkeys(SimulatorStats.__struct_fields__, 0)

    def __repr__(self) -> str:
        return (
            f"SimulatedExchange({self._dialect.name}, {self.rest_url}, "
            f"{len(self._clients)} clients, time_ns={self._time_ns})"
        )

    # ---- life

    async def __aenter__(self) -> "SimulatedExchange":
        self._entered = self._open()
        await self._entered.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        entered, self._entered = self._entered, None
        if entered is None:
            raise RuntimeError("the exchange was never entered")
        return await entered.__aexit__(kind, value, trace)

    async def serve(
        self,
        *,
        task_status: trio.TaskStatus["SimulatedExchange"] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled: `sim = await nursery.start(sim.serve)`.

        Raises:
            AddressInUseError: If the port is taken.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await self._listener.start(nursery)
                task_status.started(self)
                await trio.sleep_forever()
            finally:
                self._nursery = None

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await self._listener.start(nursery)
                yield
            except Exception as error:
                failure = error
            finally:
                self._nursery = None
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    # ---- where it is, how far it is

    @property
    def port(self) -> int:
        """The port listened on; stays the same over a restart."""
        return self._listener.port

    @property
    def websocket_url(self) -> str:
        """URL of the plain WebSocket endpoint."""
        scheme = "wss" if self._secure else "ws"
        base = listening_url(scheme, self._listener.host, self.port)
        return f"{base}{self._dialect.websocket_path}"

    @property
    def rest_url(self) -> str:
        """Base URL of the REST routes, without a trailing slash."""
        scheme = "https" if self._secure else "http"
        return listening_url(scheme, self._listener.host, self.port)

    @property
    def time_ns(self) -> Timestamp:
        """Market time reached."""
        return self._time_ns

    @property
    def finished(self) -> bool:
        """Whether the source has nothing more to say."""
        return self._source.finished

    @property
    def stats(self) -> SimulatorStats:
        """Counters since the start."""
        return SimulatorStats(**self._counts)

    def sequence(self, symbol: str) -> int:
        """Return the sequence of a client's book that has all published depth.

        It is the last update id, or what the venue counts instead (Bybit's `u` of 50
        levels). Kraken sends none; there it only says how far the market is.

        Raises:
            KeyError: If the symbol has no book.
        """
        own = self._dialect.sequence(symbol)
        return self._published[symbol].sequence if own is None else own

    def final_book(self, symbol: str) -> BookImage:
        """Return the book that published depth adds up to.

        Raises:
            KeyError: If the symbol has no book.
        """
        return self._published[symbol].image()

    @property
    def clients(self) -> int:
        """How many WebSocket clients are connected."""
        return len(self._clients)

    async def wait_subscribed(self, *topics: str) -> None:
        """Wait until every topic (in the dialect's spelling) has a subscriber."""
        while not self._wanted.issuperset(topics):
            await self._changed.wait()

    async def wait_clients(self, count: int) -> None:
        """Wait until exactly `count` WebSocket clients are connected."""
        while len(self._clients) != count:
            await self._changed.wait()

    # ---- moving

    async def run(self, speed: float = 1.0) -> None:
        """Move the market with the clock until the source is finished.

        Args:
            speed: Market seconds per second; 0: as fast as clients can follow.

        Raises:
            ValueError: If the speed is negative or not a number.
            trio.BusyResourceError: If something else moves the market.
        """
        if not speed >= 0:
            raise ValueError(f"speed must be 0 or more, was {speed}")
        with self._exclusively():
            if speed == 0:
                await self._run_flat_out()
            else:
                await self._run_paced(speed)

    async def advance(self, until_ns: Timestamp) -> int:
        """Publish everything up to a market time and return.

        The market stops at the last time up to `until_ns` at which all depth is
        published. What is sent is queued for the clients, in order; a client whose
        queue is full is waited for.

        Returns:
            How many market events were published.

        Raises:
            ValueError: If `until_ns` lies before `time_ns`.
            trio.BusyResourceError: If something else moves the market.
        """
        if until_ns < self._time_ns:
            raise ValueError(
                f"time does not run backwards: at {self._time_ns}, was {until_ns}"
            )
        with self._exclusively():
            before = self._counts["events"]
            await self._move(until_ns, patient=True, settle=True)
            await trio.lowlevel.checkpoint()
            return self._counts["events"] - before

    async def drain(self) -> None:
        """Wait until everything queued is with the kernel, or its client is gone."""
        for client in tuple(self._clients):
            await client.wait_drained()

    async def wait_read(self) -> None:
        """Wait until every client has read everything queued for it, or is gone.

        It is asked by a ping behind the last message, which a client answers in turn;
        one that is half-open answers nothing and is waited for until it is let go.
        """
        async with trio.open_nursery() as nursery:
            for client in self._clients:
                nursery.start_soon(client.wait_read)

    async def inject(self, fault: Fault) -> None:
        """Let a fault strike now."""
        match fault:
            case Refuse():
                await self._stop_listening(fault.duration_ms)
            case Restart():
                await self._stop_listening(fault.downtime_ms)
                await self._listener.drop_all()
                await self.wait_clients(0)
            case _:
                self._strike(fault)
                await trio.lowlevel.checkpoint()

    # ---- moving, below

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        try:
            self._moving.acquire_nowait()
        except trio.WouldBlock:
            raise trio.BusyResourceError(
                "the market is being moved by another run() or advance()"
            ) from None
        try:
            yield
        finally:
            self._moving.release()

    async def _run_paced(self, speed: float) -> None:
        began, origin = trio.current_time(), self._time_ns
        while not self._source.finished:
            await trio.sleep(_TICK_S)
            elapsed = (trio.current_time() - began) * speed
            await self._move(origin + int(elapsed * 1e9), patient=False, settle=False)

    async def _run_flat_out(self) -> None:
        while not self._source.finished:
            await self._move(self._time_ns + _STRIDE_NS, patient=True, settle=False)
            await trio.lowlevel.checkpoint()

    async def _move(self, until_ns: Timestamp, *, patient: bool, settle: bool) -> None:
        """Publish up to a time, stopping for every planned fault on the way."""
        while self._agenda and self._agenda[0][0] <= until_ns:
            at_ns, _, action = heapq.heappop(self._agenda)
            await self._publish_until(
                max(at_ns, self._time_ns), patient=patient, settle=settle
            )
            await action()
        await self._publish_until(until_ns, patient=patient, settle=settle)

    async def _publish_until(
        self, until_ns: Timestamp, *, patient: bool, settle: bool
    ) -> None:
        while self._time_ns < until_ns:
            # Strides keep the live book from running far ahead of what is queued.
            step_ns = min(until_ns, self._time_ns + _STRIDE_NS)
            target = self._source.settled(step_ns) if settle else step_ns
            for event in self._source.advance(max(target, self._source.time_ns)):
                if patient:
                    await self._wait_for_slow()
                self._publish(event)
            self._time_ns = step_ns

    async def _wait_for_slow(self) -> None:
        for client in tuple(self._clients):
            if client.full:
                await client.wait_room()

    def _publish(self, event: MarketEvent) -> None:
        """Spell one event and queue it for everybody who wants it."""
        if isinstance(event, DepthChanged):
            book = self._published[event.symbol]
            if event.last_id > book.sequence:
                book.apply(event.last_id, event.bids, event.asks)
        messages = self._message_faults.shape(
            self._dialect.publish(event, self._wanted)
        )
        for message in messages:
            for client in self._clients:
                client.offer(message)
        self._counts["events"] += 1
        self._counts["messages"] += len(messages)

    # ---- faults

    def _plan(self, at_ns: Timestamp, action: _Planned) -> None:
        heapq.heappush(self._agenda, (at_ns, next(self._order), action))

    def _strike(self, fault: Fault) -> None:
        """Carry out a fault that needs no waiting."""
        match fault:
            case Gap() | Duplicate() | Reorder() | BadChecksum():
                self._message_faults.arm(fault)
            case Malformed():
                self._tell_everybody(self._dialect.malformed(fault))
            case Oversized():
                self._tell_everybody(oversized_payload(fault))
            case SilentStop():
                self._fall_silent(fault.duration_ms)
            case HalfOpen():
                for client in self._clients:
                    client.play_dead()
            case Disconnect():
                self._everybody_leaves(CloseWith(code=fault.code, reason=fault.reason))
            case ShutdownNotice():
                notice = self._dialect.shutdown_notice()
                if notice is not None:
                    self._tell_everybody(notice)
            case RateLimit():
                self._turned_away.extend([fault] * fault.count)
            case StaleSnapshot():
                book = self._source.book(fault.symbol)
                if book is not None:
                    self._stale[fault.symbol] = [book.copy()] * fault.count
            case ClockSkew():
                self._skew_ns = fault.offset_ms * _MS

    def _tell_everybody(self, payload: str | bytes) -> None:
        for client in self._clients:
            client.push(payload)

    def _everybody_leaves(self, farewell: CloseWith) -> None:
        for client in self._clients:
            client.leave(farewell)

    def _fall_silent(self, duration_ms: int | None) -> None:
        silenced = [c for c in self._clients if c.state is ClientState.FED]
        for client in silenced:
            client.state = ClientState.SILENT

        async def speak_again() -> None:
            for client in silenced:
                if client.state is ClientState.SILENT:
                    client.state = ClientState.FED
            await trio.lowlevel.checkpoint()

        if duration_ms is not None:
            self._plan(self._time_ns + duration_ms * _MS, speak_again)

    async def _stop_listening(self, duration_ms: int | None) -> None:
        await self._listener.stop()
        if duration_ms is not None:
            self._plan(self._time_ns + duration_ms * _MS, self._listen_again)

    async def _listen_again(self) -> None:
        if self._nursery is not None and not self._listener.listening:
            await self._listener.start(self._nursery)

    # ---- MarketView: what the dialect sees

    @property
    def specs(self) -> Mapping[str, SymbolSpec]:
        """Instruments by venue symbol."""
        return self._source.specs

    @property
    def limits(self) -> Limits:
        """What clients are allowed."""
        return self._limits

    def clock_ns(self) -> Timestamp:
        """Return the venue's clock: market time and what it is off by."""
        return self._time_ns + self._skew_ns

    def skew_ns(self) -> int:
        """Return how much the venue's clock is off."""
        return self._skew_ns

    def snapshot(self, symbol: str, view: SnapshotView) -> PriceBook | None:
        """Return a book to read at once, or None where there is none."""
        if view is SnapshotView.PUBLISHED:
            return self._published.get(symbol)
        stale = self._stale.get(symbol)
        return stale.pop() if stale else self._source.book(symbol)

    # ---- Handler: what the listener asks

    @property
    def max_message_bytes(self) -> int:
        """Largest inbound WebSocket message."""
        return self._limits.max_message_bytes

    def connect(self, path: str, query: str, peer: str) -> Session | HttpReply:
        """Open a session, if the address has not opened too many."""
        window = self._connections.setdefault(
            peer,
            SlidingWindow(self._limits.connections, self._limits.connections_window_s),
        )
        if not window.hit(trio.current_time()):
            return self._dialect.turn_away(429, int(self._limits.connections_window_s))
        return self._dialect.connect(path, query)

    def respond(self, request: HttpRequest) -> HttpReply:
        """Answer an HTTP request."""
        self._counts["requests"] += 1
        if self._turned_away:
            fault = self._turned_away.pop()
            return self._dialect.turn_away(fault.status, fault.retry_after)
        return self._dialect.respond(request, trio.current_time())

    async def converse(self, peer: WebSocketPeer, session: Session) -> None:
        """Keep a client until its connection is over."""
        client = Client(peer, session, self._limits, on_change=self._notice)
        self._clients.append(client)
        self._counts["connections"] += 1
        self._notice()
        try:
            await client.converse()
        finally:
            self._clients.remove(client)
            self._counts["slow_clients"] += client.was_slow
            self._notice()

    def _notice(self) -> None:
        """Clients or subscriptions changed."""
        self._wanted = frozenset().union(*(c.session.topics for c in self._clients))
        self._changed.set()
        self._changed = trio.Event()
