"""The shell: a matching engine served over HTTP and WebSocket, with faults on demand.

All state is changed synchronously: a request is answered, and what it caused is
queued for the private streams, without a checkpoint in between.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import ClassVar, Self, final
from urllib.parse import parse_qsl

import trio

from integration.execution.matching import MatchingEngine
from integration.models import (
    MarketDataInstrument,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
)
from integration.rest.testing import LoopbackServer, Received, loopback_server, response
from integration.testing.private.binance import BinancePrivate
from integration.testing.private.bybit import BybitPrivate
from integration.testing.private.dialect import (
    PrivateDialect,
    PrivateFault,
    PrivateRequest,
    PrivateSession,
    Reply,
)
from netcore.clock import Clock, SystemClock
from netcore.errors import NetError
from netcore.models import Timestamp
from netcore.trio import TrioWebSocket, serve_websocket

__all__ = ["PrivateVenue"]

_MS = 1_000_000

_MESSAGE_FAULTS = (PrivateFault.DUPLICATE_EVENT, PrivateFault.MALFORMED_EVENT)


@final
class PrivateVenue:
    """A venue's private side on loopback; an async context manager.

    Args:
        engine: What orders meet; drained by the venue from now on.
        dialect: `binance_spot` or `bybit`.
        keys: Secret and user of each API key.
        clock: The venue's time, before skew.

    Attributes:
        requests: How often each `METHOD path` was asked for.

    Raises:
        KeyError: There is no such dialect.
    """

    DIALECTS: ClassVar[Mapping[str, type[PrivateDialect]]] = {
        kind.name: kind for kind in (BinancePrivate, BybitPrivate)
    }

    def __init__(
        self,
        engine: MatchingEngine,
        *,
        dialect: str,
        keys: Mapping[str, tuple[str, str]],
        clock: Clock | None = None,
    ) -> None:
        self.engine = engine
        self.requests: Counter[str] = Counter()
        self._dialect = self.DIALECTS[dialect](engine, keys)
        self._clock: Clock = SystemClock() if clock is None else clock
        self._skew_ns = 0
        self._faults: Counter[PrivateFault] = Counter()
        self._streams: dict[PrivateSession, TrioWebSocket] = {}
        self._listening: dict[PrivateSession, trio.CancelScope] = {}
        self._changed = trio.Event()
        self._entered: AbstractAsyncContextManager[None] | None = None
        self._http: LoopbackServer | None = None
        self._stream_url = ""

    # Life

    async def __aenter__(self) -> Self:
        self._entered = self._open()
        await self._entered.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if self._entered is None:
            raise RuntimeError("the venue was never entered")
        return await self._entered.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_websocket, self._converse, 0)
            self._stream_url = server.url
            async with loopback_server(self._answer) as self._http:
                try:
                    yield
                except Exception as error:
                    failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    @property
    def rest_url(self) -> str:
        """Base URL of REST."""
        if self._http is None:
            raise RuntimeError("the venue is not open")
        return self._http.url

    @property
    def stream_base(self) -> str:
        """Base URL of WebSockets, without a path."""
        return self._stream_url

    @property
    def stream_url(self) -> str:
        """URL of the private stream."""
        return self._stream_url + self._dialect.stream_path

    # What happens

    def now_ns(self) -> Timestamp:
        """Return the venue's time, skew included."""
        return self._clock.now_ns() + self._skew_ns

    def skew(self, offset_ms: int) -> None:
        """Set how far the venue's clock is off."""
        self._skew_ns = offset_ms * _MS

    def on_book(
        self,
        instrument: MarketDataInstrument,
        kind: OrderBookSnapshot | OrderBookUpdate | OrderBookL1,
    ) -> None:
        """Let the market display something."""
        self.engine.on_book(instrument, kind, self.now_ns())
        self.publish()

    def on_trade(self, instrument: MarketDataInstrument, trade: PublicTrade) -> None:
        """Let the market trade."""
        self.engine.on_trade(instrument, trade, self.now_ns())
        self.publish()

    def inject(self, fault: PrivateFault, count: int = 1) -> None:
        """Let a fault strike: at once, or the next `count` times it can."""
        match fault:
            case PrivateFault.DROP_STREAM:
                for socket in self._streams.values():
                    socket.abort()
                self._streams.clear()
            case PrivateFault.MUTE_STREAM:
                for session in tuple(self._streams):
                    self._listening.pop(session).cancel()
                self._streams.clear()
            case PrivateFault.EXPIRE_STREAM:
                for session, socket in self._streams.items():
                    _send(socket, self._dialect.farewell(session, self.now_ns()))
            case PrivateFault.FORGET_KEY:
                self._dialect.forget_keys()
            case _:
                self._faults[fault] += count

    async def wait_streams(self, count: int) -> None:
        """Wait until exactly `count` private streams know whose they are."""
        while sum(s.user is not None for s in self._streams) != count:
            await self._changed.wait()

    def publish(self) -> None:
        """Tell the private streams what the engine has done."""
        events = defaultdict(list)
        for user, event in self.engine.drain():
            events[user].append(event)
        for session, socket in self._streams.items():
            mine = events.get(session.user or "")
            if mine:
                _send(socket, self._shaped(self._dialect.spell(session, mine)))

    def _shaped(self, messages: list[bytes]) -> list[bytes]:
        shaped = []
        for message in messages:
            if self._strikes(PrivateFault.MALFORMED_EVENT):
                shaped.append(message[: len(message) // 2])
                continue
            shaped.append(message)
            if self._strikes(PrivateFault.DUPLICATE_EVENT):
                shaped.append(message)
        return shaped

    def _strikes(self, fault: PrivateFault) -> bool:
        if not self._faults[fault]:
            return False
        self._faults[fault] -= 1
        return True

    # REST

    async def _answer(self, received: Received, stream: trio.SocketStream) -> None:
        request = _parsed(received)
        self.requests[f"{request.method} {request.path}"] += 1
        reply = self._reply(request)
        self.publish()
        if reply is None:
            await trio.aclose_forcefully(stream)
            return
        await stream.send_all(response(reply.status, reply.body, dict(reply.headers)))

    def _reply(self, request: PrivateRequest) -> Reply | None:
        """Carry out a request; None drops the connection."""
        if self._strikes(PrivateFault.RATE_LIMIT):
            return self._dialect.turned_away()
        changes = self._dialect.changes(request)
        if changes and self._strikes(PrivateFault.LOSE_REQUEST):
            return None
        if not changes and self._strikes(PrivateFault.LOSE_QUERY):
            return None
        reply = self._dialect.respond(request, self.now_ns())
        if not changes or reply.status != 200:
            return reply
        if self._strikes(PrivateFault.LOSE_ANSWER):
            return None
        if self._strikes(PrivateFault.SERVER_ERROR):
            return Reply(503, b"<html>overloaded</html>")
        if self._strikes(PrivateFault.TIMEOUT_CODE):
            return self._dialect.timed_out()
        return reply

    # Streams

    async def _converse(self, socket: TrioWebSocket) -> None:
        target = "" if socket.request is None else socket.request.target
        session = PrivateSession(target.partition("?")[0])
        self._dialect.opened(session)
        self._streams[session] = socket
        self._notice()
        try:
            with trio.CancelScope() as self._listening[session]:
                await self._listen(session, socket)
            await trio.sleep_forever()  # muted: hold the connection, say nothing
        except NetError:
            pass  # it left, or was dropped
        finally:
            self._streams.pop(session, None)
            self._listening.pop(session, None)
            self._notice()

    async def _listen(self, session: PrivateSession, socket: TrioWebSocket) -> None:
        while True:
            for frame in await socket.read_batch():
                now = self.now_ns()
                _send(socket, self._dialect.receive(session, frame.payload, now))
                self._notice()

    def _notice(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _parsed(received: Received) -> PrivateRequest:
    path, _, query = received.target.decode("ascii").partition("?")
    return PrivateRequest(
        method=received.method,
        path=path,
        query=query,
        params=dict(parse_qsl(query, keep_blank_values=True)),
        headers=received.headers,
        body=received.content,
    )


def _send(socket: TrioWebSocket, messages: list[bytes]) -> None:
    for message in messages:
        try:
            socket.send_text(message)
        except NetError:
            return  # it has just gone
