"""FIX sessions under trio: connect to a venue, or be one.

`FixConnection` with waits where it would block. There is no reader task and no queue:
the consumer's own `await` reads the socket and keeps the session's time, so a program
that stops asking for events stops sending heartbeats, and is noticed.
"""

import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, final

import msgspec
import trio

from netcore.clock import Clock
from netcore.errors import NetError
from netcore.fix.acceptor import Acceptor, Visitor
from netcore.fix.client import FixConnection
from netcore.fix.events import Event
from netcore.fix.fields import FieldValue, Message
from netcore.fix.session import FixSession
from netcore.info import ConnectionInfo
from netcore.stream.base import RECEIVE_SIZE, Stream
from netcore.stream.outbox import DEFAULT_LIMIT
from netcore.stream.tls import TlsStream
from netcore.trio.driver import TrioClock, TrioDriver
from netcore.trio.streams import adopt_socket, finish_connecting, open_stream

__all__ = ["FixServer", "TrioFixConnection", "open_fix", "serve_fix"]

_logger = logging.getLogger("netcore.fix")

_CLOCK: Final = TrioClock()

# Until the first message says who it is; the same as a session's logon_timeout.
_VISIT_SECONDS = 10.0
# A counterparty that reconnects at once may be heard before the end of its last
# connection is.
_RELEASE_SECONDS = 0.5
_MAX_CONNECTIONS = 900


@final
class TrioFixConnection:
    """A session with a connection; `open_fix` and `serve_fix` make them.

    One task receives, any number send. Iterating yields events until the session has
    ended; the last one says how.

    Args:
        connection: The connection below, its stream connected.
        spin: Seconds to keep trying before parking.
        budget: Seconds of work after which other tasks get their turn.
    """

    __slots__ = ("_connection", "_driver", "_events")

    def __init__(
        self, connection: FixConnection, *, spin: float = 0.0, budget: float = 0.001
    ) -> None:
        self._connection = connection
        self._driver = TrioDriver(connection, spin=spin, budget=budget)
        self._events: list[Event] = []

    def __repr__(self) -> str:
        return f"<Trio{repr(self._connection)[1:]}"

    @property
    def session(self) -> FixSession:
        """The session."""
        return self._connection.session

    @property
    def info(self) -> ConnectionInfo:
        """Whom it talks to."""
        return self._connection.info

    @property
    def closed(self) -> bool:
        """Whether the session has ended and all it had to say was sent."""
        return self._connection.closed

    @property
    def pending_bytes(self) -> int:
        """Bytes that the socket has not taken yet."""
        return self._connection.pending_bytes

    async def receive(self) -> list[Event]:
        """Wait for events; return them, or nothing once the session has ended.

        Raises:
            StoreError: If the session's store failed.
            trio.BusyResourceError: If another task is receiving.
            trio.Cancelled: If the task is cancelled; no event is lost.
        """
        connection, driver = self._connection, self._driver
        await driver.checkpoint()
        while True:
            events = connection.poll()
            for _ in driver.turns() if not events else ():
                events = connection.poll()
                if events:
                    break
            if events or connection.closed:
                return events
            await driver.park(deadline_ns=connection.deadline)

    def __aiter__(self) -> "TrioFixConnection":
        return self

    async def __anext__(self) -> Event:
        if not self._events:
            self._events = (await self.receive())[::-1]
        if not self._events:
            raise StopAsyncIteration
        return self._events.pop()

    def send(
        self,
        kind: str,
        body: Sequence[tuple[int, FieldValue]],
        *,
        header: Sequence[tuple[int, FieldValue]] = (),
    ) -> int:
        """Send an application message without waiting; return its MsgSeqNum.

        Raises:
            BufferFull: If too much waits already; nothing was numbered or queued.
            NotLoggedOn: If the session is not active.
            EncodeError: If a field cannot be sent.
        """
        number = self._connection.send(kind, body, header=header)
        self._sent()
        return number

    def business_reject(
        self,
        message: Message,
        *,
        reason: int = 3,
        text: str | None = None,
        more: Sequence[tuple[int, FieldValue]] = (),
    ) -> int:
        """Refuse an application message for what it says; as the session's.

        Raises:
            BufferFull: If too much waits already.
            NotLoggedOn: If the session is not active.
        """
        number = self._connection.business_reject(
            message, reason=reason, text=text, more=more
        )
        self._sent()
        return number

    def logout(self, text: str = "") -> None:
        """Say goodbye; the events end when the counterparty has answered."""
        self._connection.logout(text)
        self._driver.wake()

    async def drain(self, *, mark: int = 0) -> None:
        """Wait until at most `mark` bytes wait to be sent.

        Somebody has to receive meanwhile: that is what sends the rest.

        Raises:
            trio.Cancelled: If the task is cancelled; what waits keeps waiting.
        """
        await self._driver.checkpoint()
        while self._connection.pending_bytes > mark and not self._connection.closed:
            await self._driver.wait_writable()
            await trio.lowlevel.checkpoint()

    async def aclose(self, text: str = "") -> None:
        """Log out, wait for the answer as long as the session allows, and close.

        Events that come meanwhile are dropped (application messages among them are
        not committed to the store and come again). When cancelled, the Logout is
        sent as far as the socket takes it, and the stream closed.
        """
        connection = self._connection
        try:
            connection.logout(text)
            while not connection.closed:
                await self.receive()
        except NetError as exc:
            _logger.debug("%r failed while closing: %s", self, exc)
        finally:
            self.abort()

    def abort(self) -> None:
        """Give the stream back at once."""
        self._driver.closing()
        self._connection.close()

    def _sent(self) -> None:
        if self._connection.want_write:
            self._driver.wake_to_write()


@contextlib.asynccontextmanager
async def open_fix(
    target: str | ConnectionInfo,
    session: FixSession,
    *,
    ssl_context: ssl.SSLContext | None = None,
    connect_timeout: float = 10.0,
    spin: float = 0.0,
    budget: float = 0.001,
    outbox_limit: int = DEFAULT_LIMIT,
    clock: Clock = _CLOCK,
) -> AsyncIterator[TrioFixConnection]:
    """Connect `session` to a venue; log out and close at the end.

    The first event is `LoggedOn`, or a `SessionError` if the venue refuses.

    Args:
        target: `tcp://host:port`, `tls://host:port`, or where to connect to.
        session: An initiator's, without a connection at the moment.
        ssl_context: For TLS; one that verifies by default.
        connect_timeout: Seconds for connecting and the TLS handshake.
        spin: Seconds to keep trying before parking.
        budget: Seconds of work after which other tasks get their turn.
        outbox_limit: The most bytes that may wait for a slow venue.
        clock: The session's time.

    Raises:
        ConnectError: If the connection could not be made.
        TlsError: If the handshake failed.
    """
    stream = await open_stream(
        target, ssl_context=ssl_context, connect_timeout=connect_timeout
    )
    below = FixConnection(session, stream, clock=clock, outbox_limit=outbox_limit)
    connection = TrioFixConnection(below, spin=spin, budget=budget)
    try:
        yield connection
    finally:
        await connection.aclose()


# -- the other side ------------------------------------------------------------------

Handler = Callable[[TrioFixConnection], Awaitable[None]]


@final
class FixServer(msgspec.Struct, frozen=True):
    """Where a started server listens.

    Attributes:
        addresses: Host and port of each listening socket.
    """

    addresses: tuple[tuple[str, int], ...]

    @property
    def port(self) -> int:
        """The first socket's port."""
        return self.addresses[0][1]


async def serve_fix(
    handler: Handler,
    acceptor: Acceptor,
    port: int,
    *,
    host: str | None = "127.0.0.1",
    ssl_context: ssl.SSLContext | None = None,
    max_connections: int = _MAX_CONNECTIONS,
    clock: Clock = _CLOCK,
    task_status: trio.TaskStatus[FixServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections until cancelled; each session is handled in its own task.

    When `handler` returns, the session is logged out and the connection closed. An
    exception of it closes the connection and is logged: one counterparty must not
    end the others.

    Args:
        handler: Talks to one counterparty.
        acceptor: The sessions there are.
        port: 0 for any free one.
        host: The address to listen at; None for all.
        ssl_context: A server's context with its certificate; None for plain TCP.
        max_connections: The most at a time; further ones are closed at once.
        clock: The sessions' time.
        task_status: Told when it listens.

    Raises:
        OSError: If it cannot listen there.
    """
    listeners = await trio.open_tcp_listeners(port, host=host)
    server = _Server(handler, acceptor, ssl_context, max_connections, clock)
    names = tuple(listener.socket.getsockname()[:2] for listener in listeners)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, server.handle, listeners)
        task_status.started(FixServer(names))


@final
class _Server:
    """What all connections of a server share."""

    def __init__(
        self,
        handler: Handler,
        acceptor: Acceptor,
        ssl_context: ssl.SSLContext | None,
        max_connections: int,
        clock: Clock,
    ) -> None:
        self._handler = handler
        self._acceptor = acceptor
        self._ssl_context = ssl_context
        self._left = max_connections
        self._clock = clock
        self._released = trio.lowlevel.ParkingLot()

    async def handle(self, accepted: trio.SocketStream) -> None:
        """Serve one connection; raises only what ends the server."""
        if self._left < 1:
            _logger.warning("too many connections: one was turned away")
            await trio.aclose_forcefully(accepted)
            return
        try:
            stream: Stream = adopt_socket(accepted)
        except NetError as exc:  # its peer has reset it while it waited for us
            _logger.info("a connection was gone before it was served: %s", exc)
            return
        self._left -= 1
        try:
            await self._serve(stream)
        except NetError as exc:
            _logger.info("a connection was refused or failed: %s", exc)
        finally:
            self._left += 1
            stream.close()

    async def _serve(self, stream: Stream) -> None:
        deadline = trio.current_time() + _VISIT_SECONDS
        if self._ssl_context is not None:
            stream = TlsStream(stream, self._ssl_context, server_side=True)
        found = None
        with trio.move_on_at(deadline):
            await finish_connecting(stream)
            found = await self._identify(stream)
        if found is None:
            stream.close()
            return
        session, received = found
        below = FixConnection(session, stream, clock=self._clock, received=received)
        connection = TrioFixConnection(below)
        try:
            await self._call(connection)
        finally:
            self._acceptor.release(session)
            self._released.unpark_all()

    async def _identify(self, stream: Stream) -> tuple[FixSession, bytes]:
        """Read until the first message says whose session this is, and take it."""
        visitor, driver = self._acceptor.visit(), TrioDriver(stream)
        try:
            session = await _first_message(stream, driver, visitor)
            with trio.move_on_after(_RELEASE_SECONDS):
                while self._acceptor.taken(session.config.id):
                    await self._released.park()
            self._acceptor.take(session, self._clock.now_ns())
        except BaseException:
            driver.closing()
            stream.close()
            raise
        return session, visitor.received

    async def _call(self, connection: TrioFixConnection) -> None:
        try:
            await self._handler(connection)
        except NetError as exc:
            _logger.info("%r failed: %s", connection, exc)
        except Exception:
            _logger.exception("the handler of %r failed", connection)
        finally:
            await connection.aclose()


async def _first_message(
    stream: Stream, driver: TrioDriver, visitor: Visitor
) -> FixSession:
    while True:
        await driver.checkpoint()
        data = stream.receive(RECEIVE_SIZE)
        if data is None:
            await driver.park()
            continue
        session = visitor.feed(data) if data else visitor.feed_eof()
        if session is not None:
            return session
