"""Serve an ASGI application over HTTP/1.1 on trio.

Theory. The loop that accepts, one task for each connection, and one that looks for
peers that keep us waiting.

- An exception of one connection ends that connection and is logged, never the server.
- Running out of file descriptors makes the server wait, not fail.
- A peer that stops reading is cut off by TCP_USER_TIMEOUT, and at the end of a stop at
  once; one that stops writing, by the look at all connections once a second.
- A stop has an order: no new connections; endless responses are told to end; what is
  in flight gets `grace` seconds; the rest is cut off.

There are no WebSockets and no HTTP/2 here: a request to upgrade is answered as if it
had not asked (RFC 9110 §7.8), TLS and HTTP/2 are a proxy's business.
"""

import errno
import logging
import socket
from contextlib import suppress
from typing import Final, final

import trio

from flowtrade.errors import AddressInUse, CannotListen
from flowtrade.serve.connection import ServedConnection
from flowtrade.serve.exchange import AsgiApp
from flowtrade.serve.incoming import Shortcut
from netcore.http import Limits

__all__ = ["listen", "serve"]

_log = logging.getLogger(__name__)

_BACKLOG: Final = 1024
_MAX_CONNECTIONS: Final = 10_000
_HEAD: Final = 5.0
"""Seconds in which a request's head must be complete once it has begun (slow senders of
headers)."""

_IDLE: Final = 75.0
"""Seconds a connection may be open before its first request or between two: longer than
the pauses of a proxy's pool, which would send its next request into a closing one."""

_BODY_STALL: Final = 30.0
"""Seconds in which some of an announced body must arrive."""

_WRITE_STALL_MS: Final = 30_000
"""Milliseconds that sent bytes may stay unacknowledged before Linux ends the
connection (TCP_USER_TIMEOUT, tcp(7)); accepted sockets inherit it."""

_LOOK: Final = 1.0
"""Seconds between two looks for peers that keep us waiting."""

_BODY_LIMIT: Final = 16 * 2**20
"""Bytes of a body at which reading stops unless something else is said."""

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
    body_limit: int = _BODY_LIMIT,
    shortcut: Shortcut | None = None,
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
        body_limit: Bytes of a body at which reading stops; an application that wants
            to refuse long ones in its own words needs a lower limit of its own.
        shortcut: Is shown each plain request before the application is.
        task_status: Gets the base URL, such as `http://127.0.0.1:8080`.

    Raises:
        AddressInUse: Another program listens there.
        CannotListen: The address cannot be used for another reason.
    """
    listening = listen(host, port) if listening is None else listening
    shutdown = trio.Event() if shutdown is None else shutdown
    server = _Server(app, body_limit, shortcut)
    async with trio.open_nursery() as connections:
        try:
            with listening:
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(server.accept_from, listening, connections)
                    accepting.start_soon(server.look)
                    url = _url(listening)
                    _log.info("listening on %s", url)
                    task_status.started(url)
                    await shutdown.wait()
                    accepting.cancel_scope.cancel()
            await server.drain(grace)
        finally:
            server.abort()
            connections.cancel_scope.cancel()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        AddressInUse: Another program listens there.
        CannotListen: The address cannot be used for another reason.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(host, port) from error
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise CannotListen(host, port, reason) from error
    except (OverflowError, UnicodeError) as error:  # no port, no name of a host
        raise CannotListen(host, port, str(error)) from error
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

    def __init__(
        self, app: AsgiApp, body_limit: int, shortcut: Shortcut | None
    ) -> None:
        self._app = app
        self._shortcut = shortcut
        self._limits = Limits(max_body=body_limit)
        self._connections: set[ServedConnection] = set()
        self._all_gone = trio.Event()

    async def accept_from(
        self, listening: socket.socket, nursery: trio.Nursery
    ) -> None:
        while True:
            await trio.lowlevel.wait_readable(listening)
            try:
                # As many as there are: each costs a system call instead of a wait.
                while True:
                    self._take(listening.accept()[0], nursery)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in _GONE_BEFORE_ACCEPTED:
                    continue
                if error.errno not in _OUT_OF_DESCRIPTORS:
                    raise
                _log.error("cannot accept connections: %s", error)
                await trio.sleep(_ACCEPT_PAUSE)

    async def look(self) -> None:
        """Cut off, once a second, the peers that have kept us waiting for too long."""
        while True:
            await trio.sleep(_LOOK)
            now = trio.current_time()
            for connection in tuple(self._connections):
                if connection.overdue(now, head=_HEAD, idle=_IDLE, stall=_BODY_STALL):
                    connection.abort()

    async def drain(self, grace: float) -> None:
        """Ask all connections to end, and wait for it."""
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

    def _take(self, sock: socket.socket, nursery: trio.Nursery) -> None:
        if len(self._connections) >= _MAX_CONNECTIONS:
            sock.close()
            return
        sock.setblocking(False)
        connection = ServedConnection(sock, self._app, self._limits, self._shortcut)
        self._connections.add(connection)
        nursery.start_soon(self._serve, connection)

    async def _serve(self, connection: ServedConnection) -> None:
        try:
            await connection.run()
        except Exception:
            # One peer's connection is never the others' problem.
            _log.exception("a connection failed")
        finally:
            self._connections.discard(connection)
            if not self._connections:
                self._all_gone.set()


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
