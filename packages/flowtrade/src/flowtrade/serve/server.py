"""Serve an ASGI application over HTTP/1.1 on trio, with anycorn's protocol engine.

Theory. anycorn parses and writes HTTP; the loop around it is ours, for four reasons
that its own `serve` does not give:

- An exception of one connection ends that connection and is logged, never the server.
- Running out of file descriptors makes the server wait, not fail.
- A peer that stops reading is cut off: anycorn shields its sends from cancellation, so
  only the socket itself can end them. TCP_USER_TIMEOUT does it after a while, and at
  the end of a stop `ServedConnection.abort` does it at once.
- A stop has an order: no new connections; endless responses are told to end; what is
  in flight gets `grace` seconds; the rest is cut off.

Only names of anycorn that have no underscore are used; the version is pinned to a
minor release, and `tests/flowtrade/serve` covers each of the four.
"""

import errno
import logging
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final, TypeAlias, final

import anyio
import anyio.abc
import trio
from anycorn.config import Config
from anycorn.tcp_server import TCPServer
from anycorn.typing import ConnectionState
from anycorn.utils import wrap_app
from anycorn.worker_context import WorkerContext

from flowtrade.errors import AddressInUse
from flowtrade.ports import CONNECTION
from flowtrade.serve.connection import ServedConnection

__all__ = ["listen", "serve"]

_log = logging.getLogger(__name__)

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[Any]]
_Send: TypeAlias = Callable[[Any], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

_BACKLOG: Final = 1024
_MAX_CONNECTIONS: Final = 10_000
_IDLE: Final = 20
"""Seconds a connection may be open without a complete request head (slow senders of
headers) or between two requests."""

_BODY_STALL: Final = 30.0
"""Seconds in which some of an announced body must arrive."""

_WRITE_STALL_MS: Final = 30_000
"""Milliseconds that sent bytes may stay unacknowledged before Linux ends the
connection (TCP_USER_TIMEOUT, tcp(7)); accepted sockets inherit it."""

_OUT_OF_DESCRIPTORS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
)
_GONE_BEFORE_ACCEPTED: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
    }
)
"""Errors of a connection that accept(2) passes on; the man page says to go on."""
_ACCEPT_PAUSE: Final = 0.1  # trio.serve_listeners waits as long


async def serve(
    app: AsgiApp,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    listening: socket.socket | None = None,
    shutdown: trio.Event | None = None,
    grace: float = 1.5,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown` is set and the stop is complete, or until cancelled.

    Args:
        app: An ASGI 3 application. Its lifespan is not run: whatever it needs is
            owned by the nursery that calls this.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        listening: A socket from `listen`, instead of host and port.
        shutdown: Begins an orderly stop.
        grace: Seconds that requests in flight get during the stop.
        task_status: Gets the base URL, such as `http://127.0.0.1:8080`.

    Raises:
        AddressInUse: Another program listens there.
        OSError: The address cannot be used for another reason.
    """
    listening = listen(host, port) if listening is None else listening
    shutdown = trio.Event() if shutdown is None else shutdown
    server = _Server(app)
    async with (
        await anyio.abc.SocketListener.from_socket(listening) as listener,
        trio.open_nursery() as connections,
    ):
        try:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(server.accept_from, listener, connections)
                url = _url(listening)
                _log.info("listening on %s", url)
                task_status.started(url)
                await shutdown.wait()
                accepting.cancel_scope.cancel()
            await listener.aclose()
            await server.drain(grace)
        finally:
            # Also when cancelled: sends are shielded, and only this frees them.
            server.abort()
            connections.cancel_scope.cancel()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        AddressInUse: Another program listens there.
        OSError: The address cannot be used for another reason.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(host, port) from error
        raise
    listening.setblocking(False)
    with suppress(AttributeError, OSError):  # Linux only
        listening.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _WRITE_STALL_MS
        )
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


@final
class _Server:
    """The connections of one listening socket."""

    def __init__(self, app: AsgiApp) -> None:
        self._config = _config()
        self._context = WorkerContext(None)
        self._state = ConnectionState({})
        self._app = app
        self._connections: set[ServedConnection] = set()
        self._all_gone = trio.Event()

    async def accept_from(
        self, listener: anyio.abc.SocketListener, nursery: trio.Nursery
    ) -> None:
        while True:
            try:
                stream = await listener.accept()
            except anyio.BrokenResourceError as error:
                # anyio's name for any error of accept(2); the cause tells.
                number = getattr(error.__cause__, "errno", None)
                if number in _GONE_BEFORE_ACCEPTED:
                    continue
                if number not in _OUT_OF_DESCRIPTORS:
                    raise
                _log.error("cannot accept connections: %s", error.__cause__)
                await trio.sleep(_ACCEPT_PAUSE)
                continue
            if len(self._connections) >= _MAX_CONNECTIONS:
                await stream.aclose()
                continue
            nursery.start_soon(self._serve, stream)

    async def drain(self, grace: float) -> None:
        """Ask all connections to end, and wait for it."""
        await self._context.terminated.set()  # idle connections close by themselves
        for connection in tuple(self._connections):
            connection.stop()
        with trio.move_on_after(grace):
            while self._connections:
                self._all_gone = trio.Event()
                await self._all_gone.wait()

    def abort(self) -> None:
        """Cut off whatever is left."""
        for connection in self._connections:
            connection.abort()

    async def _serve(self, stream: anyio.abc.SocketStream) -> None:
        raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610  # anyio's, not Django's
        connection = ServedConnection(raw)
        self._connections.add(connection)
        app = _extend(self._app, connection)
        server = TCPServer(
            wrap_app(app, 0, "asgi"), self._config, self._context, self._state, stream
        )
        try:
            await server.run()
        except Exception:
            # One peer's connection is never the others' problem.
            _log.exception("a connection failed")
        finally:
            self._connections.discard(connection)
            if not self._connections:
                self._all_gone.set()


def _extend(app: AsgiApp, connection: ServedConnection) -> AsgiApp:
    """Return `app` with the connection at hand, and bodies that must keep coming."""

    async def extended(scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("extensions", {})[CONNECTION] = connection
            receive = _Body(receive, connection).receive
        await app(scope, receive, send)

    return extended


@final
class _Body:
    """Receives a body, and ends a connection whose body stops coming."""

    def __init__(self, receive: _Receive, connection: ServedConnection) -> None:
        self._receive = receive
        self._connection = connection
        self._complete = False

    async def receive(self) -> Any:  # noqa: ANN401  # ASGI events are dictionaries
        if self._complete:  # what comes next is the peer's going, at any time
            return await self._receive()
        event: Any = {"type": "http.disconnect"}
        with trio.move_on_after(_BODY_STALL) as scope:
            event = await self._receive()
        if scope.cancelled_caught:
            self._connection.abort()
        self._complete = not event.get("more_body", False)
        return event


def _config() -> Config:
    config = Config()
    config.errorlog = _log
    config.accesslog = None
    config.include_server_header = False
    config.keep_alive_timeout = _IDLE
    config.keep_alive_max_requests = 1_000_000
    return config


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
