"""One connection: requests in, an ASGI application's answers out.

Theory. One task reads, answers, and reads again; requests are answered where they are
read, without a task of their own. Sockets are tried first and waited for only if they
would block. What HTTP is, is `netcore.http`'s business, what ASGI is, that of
`flowtrade.serve.exchange`.

Plain requests go a shorter way: between two of them the bytes are shown to
`flowtrade.serve.incoming` first, and the request to the application's shortcut, if it
has one, which answers with bytes instead of ASGI's events.

Bodies are read whole before the application is called: the longest is bounded, and an
application that waits for half a body would hold a task for as long as its peer likes.
A response in pieces is the last of its connection.

An application that knows `flowtrade.ports.Connection` may push: hand over bytes that go
to the socket at once, from any task, so that an event to a thousand clients costs a
thousand sends and no task switch.
"""

import errno
import logging
import socket
import time
from collections import deque
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import contextmanager, suppress
from email.utils import formatdate
from enum import Enum
from functools import lru_cache
from typing import Any, Final, cast, final

import trio

from flowtrade.ports import Connection, PushAll
from flowtrade.serve.exchange import AsgiApp, Exchange
from flowtrade.serve.incoming import Incoming, Shortcut, read_plain
from netcore.http import (
    HttpProtocolError,
    HttpServerConnection,
    Limits,
    Request,
    encode_response,
)

__all__ = ["ServedConnection"]

_READ: Final = 65_536
_AHEAD: Final = 65_536
"""Bytes that are read while a request is being answered, to notice the peer's going;
more waits in the kernel."""

_WRITE: Final = 2**17
"""Bytes that are handed to the kernel at once: a megabyte takes it some
milliseconds, and others wait."""

_TURNS: Final = 16
"""Reads without a wait, after which other tasks have their turn."""

_PATIENCE: Final = 16
"""Answers after which a socket is tried again before it is waited for. A peer that has
just had its answer has seldom asked again; where it has, trying goes on."""

_PUSHED: Final = 2**20
"""Bytes that may wait for a client: more than any socket's buffers hold by default."""

_BEGUN: Final = 16_384
"""Bytes of a request in pieces that are kept to know where it ends: clients that send
head and body apart are as welcome on the short way with their next one."""

_HEAD_END: Final = b"\r\n\r\n"
_LINE_END: Final = b"\r\n"

_LINGER: Final = 1.0
"""Seconds that a peer gets to read the last answer and to close."""

_GONE: Final = frozenset(
    {errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN, errno.ETIMEDOUT, errno.ESHUTDOWN}
)

_BUG: Final = "a bug ended the answer to %s"

_log = logging.getLogger(__name__)


class _Phase(Enum):
    """What a connection is doing; tells which of its times counts."""

    IDLE = "idle"
    """Between requests, or in the head of one."""
    BODY = "body"
    ANSWER = "answer"


class _Framing(Enum):
    """How a response in pieces is told from its end."""

    CHUNKED = "chunked"
    BY_CLOSE = "by close"
    """To a client of HTTP/1.0, which knows no chunks."""


@final
class ServedConnection:
    """The port `Connection` over a socket that this owns.

    Args:
        sock: Non-blocking.
        app: Answers.
        limits: How much of a request is read.
        shortcut: Answers what it knows without ASGI.

    Attributes:
        client: The peer's address.
        server: Ours.
    """

    # Thousands of them are looked at one after the other.
    __slots__ = (
        "_ahead",
        "_app",
        "_callbacks",
        "_framing",
        "_head",
        "_http",
        "_limits",
        "_lost",
        "_outbox",
        "_patience",
        "_phase",
        "_plain",
        "_send",
        "_shortcut",
        "_since",
        "_socket",
        "_stopping",
        "_stuck",
        "_turns",
        "_waiting",
        "client",
        "server",
    )

    def __init__(
        self,
        sock: socket.socket,
        app: AsgiApp,
        limits: Limits,
        shortcut: Shortcut | None = None,
    ) -> None:
        self.client: Any = _address(sock.getpeername)
        self.server: Any = _address(sock.getsockname)
        self._phase = _Phase.IDLE
        self._since = trio.current_time()
        self._socket = sock
        self._send = sock.send
        self._app = app
        self._shortcut = shortcut
        self._limits = limits
        # What one read brings is answered before the next: its size is the limit.
        self._http = HttpServerConnection(limits, max_pipelined=_READ + _AHEAD)
        self._plain: Incoming | None = None
        self._ahead = bytearray()
        self._head = b""
        self._callbacks: dict[object, Callable[[], None]] = {}
        self._stopping = False
        self._lost = False
        self._framing: _Framing | None = None
        self._outbox: deque[bytes] = deque()
        self._waiting = 0
        self._turns = 0
        self._patience = 0
        self._stuck = trio.Event()

    # What applications may do: the port.

    def abort(self) -> None:
        """See `flowtrade.ports.Connection.abort`."""
        # Shutting down, not closing: a task may be waiting on the descriptor, and a
        # closed number could be another connection's by the time it wakes.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def on_stop(self, callback: Callable[[], None]) -> Iterator[None]:
        """See `flowtrade.ports.Connection.on_stop`."""
        key = object()
        self._callbacks[key] = callback
        try:
            if self._stopping:
                callback()
            yield
        finally:
            del self._callbacks[key]

    def push(self, data: bytes, *, most: int) -> bool:
        """See `flowtrade.ports.Connection.push`."""
        data = self._framed(data)
        sent = 0
        if not self._waiting:
            try:
                sent = self._send(data)
            except BlockingIOError:
                pass
            except OSError:  # it is gone; its task will notice
                return True
        return sent == len(data) or self._keep(data[sent:], most)

    @property
    def push_all(self) -> PushAll:
        """See `flowtrade.ports.Connection.push_all`."""
        return _push_all

    async def pump(self) -> None:
        """See `flowtrade.ports.Connection.pump`."""
        while True:
            await self._stuck.wait()
            await self.drain()
            self._stuck = trio.Event()

    async def drain(self) -> None:
        """See `flowtrade.ports.Connection.drain`."""
        while self._outbox:
            data = self._outbox[0]
            await self._send_all(data)
            # Not before: while it stands here, pushes queue up behind it.
            self._outbox.popleft()
            self._waiting -= len(data)

    # What an exchange does.

    async def respond(
        self, status: int, headers: Iterable[tuple[str, str]], body: bytes
    ) -> None:
        """Send a whole response."""
        headers = _with_date(headers)
        plain = self._plain
        if plain is None:
            data = self._http.respond(status, headers=headers, body=body)
        else:
            data = encode_response(status, headers=headers, body=body)
        await self._send_all(data)

    async def begin(
        self, request: Incoming, status: int, headers: Iterable[tuple[str, str]]
    ) -> None:
        """Send the head of a response in pieces, the last of this connection."""
        self._stopping = True
        self._framing = _Framing.BY_CLOSE
        if request.version != "1.0":
            self._framing = _Framing.CHUNKED
        await self._send_all(_head(status, headers, self._framing))

    async def send_piece(self, data: bytes, *, last: bool) -> None:
        """Send a piece of the body."""
        framed = self._framed(data) if data else b""
        if last and self._framing is _Framing.CHUNKED:
            framed += b"0\r\n\r\n"
        await self.drain()
        await self._send_all(framed)

    async def until_gone(self) -> None:
        """Wait for the peer to close the connection; what else it sends is kept."""
        while len(self._ahead) < _AHEAD:
            try:
                data = await self._receive()
            except OSError:
                return
            if not data:
                return
            self._ahead += data
        await trio.sleep_forever()  # a peer that floods is noticed when we send

    # What the server does.

    def stop(self) -> None:
        """End after the present request, and tell whoever asked for it."""
        self._stopping = True
        if self._phase is _Phase.IDLE:
            self.abort()
        for callback in tuple(self._callbacks.values()):
            callback()

    def overdue(self, now: float, *, head: float, idle: float, stall: float) -> bool:
        """Say whether the peer has kept us waiting for too long.

        Args:
            now: In trio's time.
            head: Seconds for the rest of a request's head once it has begun.
            idle: Seconds until it begins, and between requests.
            stall: Seconds in which some of a body must arrive.
        """
        waited = now - self._since
        match self._phase:
            case _Phase.IDLE:
                return waited > (head if self._head else idle)
            case _Phase.BODY:
                return waited > stall
            case _Phase.ANSWER:
                return False

    async def run(self) -> None:
        """Serve until either side ends the connection, then close it."""
        try:
            await self._serve()
        except OSError as error:
            if error.errno not in _GONE:
                raise
        finally:
            self._socket.close()

    async def _serve(self) -> None:
        # Of the request that is being read, what has come; b"" between two of them,
        # None where it is not known.
        begun: bytes | None = b""
        while self._http.closing is None and not self._stopping and not self._lost:
            data = await self._next()
            plain = read_plain(data, self._limits) if begun == b"" else None
            if plain is not None:
                await self._answer_plain(plain)
            else:
                requests = await self._read(data)
                if requests is None:
                    break
                if begun is not None:
                    begun = _still_begun(begun + data, requests)
            self._turns += 1
            if self._turns >= _TURNS:
                self._turns = 0
                await trio.lowlevel.checkpoint()
        await self._linger()

    async def _answer_plain(self, request: Incoming) -> None:
        """Answer a request that netcore has not seen."""
        self._phase, self._plain = _Phase.ANSWER, request
        found = None if self._shortcut is None else self._shortcut(request, self)
        if found is None:
            await self._answer(request)
        else:
            await self._take_shortcut(request, found)
        self._phase, self._plain = _Phase.IDLE, None
        self._since = trio.current_time()
        self._patience -= 1
        if self._patience > 0 and not (self._stopping or self._lost or self._ahead):
            await self._wait()

    async def _take_shortcut(self, request: Incoming, found: Awaitable[bytes]) -> None:
        try:
            data = await found
        except Exception:
            _log.exception(_BUG, request.method)
            self._stopping = True
            data = _head(500, (), _Framing.BY_CLOSE)
        else:
            data = _dated(data)
        await self._send_all(data)

    async def _read(self, data: bytes) -> list[Request] | None:
        """Let netcore read on, and answer what it has read; None at the end."""
        http = self._http
        try:
            requests = http.feed(data) if data else self._ended()
            for number, request in enumerate(requests, start=1):
                self._phase = _Phase.ANSWER
                await self._answer(Incoming.from_request(request))
                if self._stopping:
                    break
                if number % _TURNS == 0:  # a read may hold thousands
                    await trio.lowlevel.checkpoint()
            if http.fault is not None:
                raise http.fault
        except HttpProtocolError as fault:
            await self._send_all(_dated(http.respond_fault(fault)))
            return None
        self._note(data, done=bool(requests))
        if not requests and (interim := http.interim()):
            await self._send_all(interim)
        return requests

    async def _answer(self, request: Incoming) -> None:
        exchange = Exchange(self, request)
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
            exchange.check_answered()
        except Exception:
            # One peer's request is never the others' problem. An answer that was begun
            # stays without its end, which the connection's end tells.
            _log.exception(_BUG, request.method)
            self._stopping = True
            if exchange.untouched:
                await self._send_all(_head(500, (), _Framing.BY_CLOSE))

    def _ended(self) -> list[Request]:
        self._http.feed_eof()
        return []

    def _note(self, data: bytes, *, done: bool) -> None:
        """Note what the peer owes us next."""
        if done:
            self._phase, self._head = _Phase.IDLE, b""
        elif self._phase is _Phase.IDLE:
            if not self._head:
                self._since = trio.current_time()
            self._head += data
            if _HEAD_END not in self._head:
                self._head = self._head[-3:]  # an end may be cut anywhere
                return  # a head that trickles in is as late as one that does not
            self._phase, self._head = _Phase.BODY, b""
        self._since = trio.current_time()

    async def _linger(self) -> None:
        # Closing with unread bytes resets the connection, and the peer would lose the
        # answer that tells it what was wrong; so it gets a moment to read it.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            with trio.move_on_after(_LINGER):
                while await self._receive():
                    pass

    async def _next(self) -> bytes:
        if self._ahead:
            data, self._ahead = bytes(self._ahead), bytearray()
            return data
        return await self._receive()

    async def _receive(self) -> bytes:
        while True:
            try:
                return self._socket.recv(_READ)
            except BlockingIOError:
                self._patience = _PATIENCE
                await self._wait()

    async def _wait(self) -> None:
        self._turns = 0
        await trio.lowlevel.wait_readable(self._socket)

    async def _send_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self._lost:
            try:
                rest = rest[self._socket.send(rest[:_WRITE]) :]
                if rest:
                    await trio.lowlevel.checkpoint()
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                # An application hears of it by `receive`; what it sends goes nowhere.
                self._lost = True

    def _keep(self, data: bytes, most: int) -> bool:
        if len(self._outbox) >= most or self._waiting > _PUSHED:
            return False
        self._outbox.append(data)
        self._waiting += len(data)
        self._stuck.set()
        return True

    def _framed(self, data: bytes) -> bytes:
        if self._framing is _Framing.CHUNKED:
            return _chunk(data)
        return data


def _push_all(
    connections: Collection[Connection], data: bytes, *, most: int
) -> list[Connection]:
    """Push one piece to connections of this module.

    One flat loop: beside the system call there is nothing to call and nothing to make
    for a client that keeps up.
    """
    chunked = _Framing.CHUNKED
    framed = _chunk(data)
    size = len(framed)
    refusing: list[Connection] = []
    for connection in cast("Collection[ServedConnection]", connections):
        # With something waiting it may not overtake; without chunks it is not framed.
        if connection._waiting or connection._framing is not chunked:
            if not connection.push(data, most=most):
                refusing.append(connection)
            continue
        try:
            sent = connection._send(framed)
        except BlockingIOError:
            sent = 0
        except OSError:  # it is gone; its task will notice
            continue
        if sent != size and not connection._keep(framed[sent:], most):
            refusing.append(connection)
    return refusing


def _still_begun(data: bytes, requests: Sequence[Request]) -> bytes | None:
    """Return what of these bytes begins a request that has not come whole.

    Args:
        data: Begins where a request may begin.
        requests: Those that netcore has found in it.

    Returns:
        b"" if they were one request and nothing else, for certain; None if that is not
        known.
    """
    if not requests:
        return data if len(data) <= _BEGUN else None
    head = data.find(_HEAD_END) + len(_HEAD_END)
    whole = len(requests) == 1 and head + len(requests[0].body) == len(data)
    return b"" if whole else None


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _head(status: int, headers: Iterable[tuple[str, str]], framing: _Framing) -> bytes:
    """Return the head of a response in pieces, after which the connection ends."""
    headers = _with_date(headers)
    whole = encode_response(status, headers=headers, to_method="HEAD", close=True)
    chunked = framing is _Framing.CHUNKED
    line = b"Transfer-Encoding: chunked\r\n" if chunked else b""
    return whole.replace(b"Content-Length: 0\r\n", line)


def _with_date(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return headers with the time first (RFC 9110 §6.6.1), if they have none."""
    found = list(headers)
    if not any(
        len(name) == len("date") and name.lower() == "date" for name, _ in found
    ):
        found.insert(0, ("Date", _date()))
    return found


def _dated(response: bytes) -> bytes:
    """Return a whole response, which has no time, with the time first."""
    line, end, rest = response.partition(_LINE_END)
    return b"%b%bDate: %b%b%b" % (line, end, _date().encode(), end, rest)


def _date() -> str:
    return _date_of(int(time.time()))


@lru_cache(maxsize=1)
def _date_of(second: int) -> str:
    # Written once a second: of a short answer it would be a good part of the work.
    return formatdate(second, usegmt=True)


def _address(ask: Callable[[], Any]) -> Any:  # noqa: ANN401  # what sockets return
    try:
        return ask()[:2]
    except OSError:  # the peer was quicker
        return None
