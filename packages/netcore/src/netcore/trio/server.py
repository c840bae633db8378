"""Serve WebSockets under trio: accept, shake hands, hand over.

A small server for tests, simulators and venues' own side of a feed. It answers upgrade
requests and nothing else of HTTP.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, final

import msgspec
import trio

from netcore.errors import NetError
from netcore.stream.base import Stream
from netcore.stream.tls import TlsStream
from netcore.trio.streams import adopt_socket, finish_connecting
from netcore.trio.websocket import TRIO_CLOCK, TrioWebSocket
from netcore.ws.closing import CloseCode
from netcore.ws.handshake import Request
from netcore.ws.options import DEFAULT_OPTIONS, WebSocketOptions
from netcore.ws.websocket import WebSocket

__all__ = ["Accept", "Refuse", "WebSocketServer", "serve_websocket"]

_logger = logging.getLogger("netcore.trio")

Handler = Callable[[TrioWebSocket], Awaitable[None]]


@final
class Accept(msgspec.Struct, frozen=True):
    """Complete the upgrade.

    Attributes:
        subprotocol: One that the client offered, or None.
        headers: Further header fields of the answer.
    """

    subprotocol: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@final
class Refuse(msgspec.Struct, frozen=True):
    """Do not upgrade.

    Attributes:
        status: An HTTP status of 300 to 599.
        headers: Further header fields of the answer.
        body: What to tell the client.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


Decide = Callable[[Request], Accept | Refuse]


@final
class WebSocketServer(msgspec.Struct, frozen=True):
    """Where a started server listens.

    Attributes:
        addresses: Host and port of each listening socket.
        secure: Whether it speaks TLS.
    """

    addresses: tuple[tuple[str, int], ...]
    secure: bool = False

    @property
    def port(self) -> int:
        """The first socket's port."""
        return self.addresses[0][1]

    @property
    def url(self) -> str:
        """A URL of the first socket, without path."""
        host, port = self.addresses[0]
        scheme = "wss" if self.secure else "ws"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


_ACCEPT: Final = Accept()

# Connections beyond this many are turned away; a process has 1024 descriptors where
# nobody raised the limit (getrlimit(2)).
_MAX_CONNECTIONS: Final = 900


def _accept_any(request: Request) -> Accept:
    """Take every client, without a subprotocol."""
    del request
    return _ACCEPT


async def serve_websocket(
    handler: Handler,
    port: int,
    *,
    host: str | None = "127.0.0.1",
    ssl_context: ssl.SSLContext | None = None,
    decide: Decide = _accept_any,
    options: WebSocketOptions = DEFAULT_OPTIONS,
    spin: float = 0.0,
    budget: float = 0.001,
    max_connections: int = _MAX_CONNECTIONS,
    task_status: trio.TaskStatus[WebSocketServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept WebSockets until cancelled; each is handled in a task of its own.

    When `handler` returns, its connection is closed with 1000; when the server is
    cancelled, with 1001. When the connection
    fails under it, nothing else happens. Any other exception of it closes the
    connection with 1011 and is logged: one client must not end the others.

    Start it by `await nursery.start(serve_websocket, handler, 0)`, which returns a
    `WebSocketServer`.

    Args:
        handler: Talks to one client.
        port: 0 for any free one.
        host: The address to listen at; None for all.
        ssl_context: A server's context with its certificate; None for plain ws.
        decide: Looks at a request and accepts or refuses it.
        options: How the connections behave.
        spin: As in `open_websocket`.
        budget: As in `open_websocket`.
        max_connections: The most at a time; further ones are closed at once.
        task_status: Told when it listens.

    Raises:
        OSError: If it cannot listen there.
    """
    listeners = await trio.open_tcp_listeners(port, host=host)
    server = _Server(
        handler,
        ssl_context=ssl_context,
        decide=decide,
        options=options,
        spin=spin,
        budget=budget,
        max_connections=max_connections,
    )
    names = tuple(listener.socket.getsockname()[:2] for listener in listeners)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, server.handle, listeners)
        task_status.started(WebSocketServer(names, ssl_context is not None))


@final
class _Server:
    """What all connections of a server share."""

    def __init__(
        self,
        handler: Handler,
        *,
        ssl_context: ssl.SSLContext | None,
        decide: Decide,
        options: WebSocketOptions,
        spin: float,
        budget: float,
        max_connections: int,
    ) -> None:
        self._handler = handler
        self._ssl_context = ssl_context
        self._decide = decide
        self._options = options
        self._spin = spin
        self._budget = budget
        self._left = max_connections

    async def handle(self, accepted: trio.SocketStream) -> None:
        """Serve one connection; raises only what ends the server."""
        if self._left < 1:
            _logger.warning("too many connections: one was turned away")
            await trio.aclose_forcefully(accepted)
            return
        self._left -= 1
        try:
            stream: Stream = adopt_socket(accepted)
            await self._serve(stream)
        except NetError as exc:
            _logger.debug("a connection failed: %s", exc)
        finally:
            self._left += 1

    async def _serve(self, stream: Stream) -> None:
        deadline = trio.current_time() + self._options.open_timeout
        if self._ssl_context is not None:
            stream = TlsStream(stream, self._ssl_context, server_side=True)
        with trio.move_on_at(deadline) as scope:
            await finish_connecting(stream)
        if scope.cancelled_caught:
            return
        websocket = WebSocket.serve(stream, options=self._options, clock=TRIO_CLOCK)
        connection = TrioWebSocket(websocket, spin=self._spin, budget=self._budget)
        try:
            await connection.upgrade(deadline)
            if self._answer(websocket):
                await self._call(connection)
        except BaseException as exc:
            if _is_cancellation(exc):
                websocket.close(CloseCode.GOING_AWAY, "the server stops")
            raise
        finally:
            await connection.aclose()

    def _answer(self, websocket: WebSocket) -> bool:
        """Accept or refuse; return whether it was accepted."""
        request = websocket.request
        if request is None:
            return False
        match self._decide(request):
            case Accept(subprotocol, headers):
                websocket.accept(subprotocol=subprotocol, headers=headers)
                return True
            case Refuse(status, headers, body):
                websocket.reject(status, headers=headers, body=body)
                return False

    async def _call(self, connection: TrioWebSocket) -> None:
        try:
            await self._handler(connection)
        except NetError as exc:
            _logger.debug("%r failed: %s", connection, exc)
        except Exception:
            _logger.exception("the handler of %r failed", connection)
            await connection.aclose(CloseCode.INTERNAL_ERROR, "internal error")


def _is_cancellation(error: BaseException) -> bool:
    """Whether a task was cancelled; one with a nursery may say so in a group."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)
