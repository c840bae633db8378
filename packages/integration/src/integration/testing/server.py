"""One listener for WebSocket and REST, over trio-websocket and h11.

The shell below the simulator: it accepts streams, reads a request's head, and hands
the stream either to trio-websocket (if the request wants to upgrade) or answers it
over h11. What is answered is decided by a `Handler`. It knows no dialect, no market.

Theory of operation. trio-websocket wants a stream from its first byte, so the head is
read into a `VenueStream` first and pushed back. That same stream is where connections
fail on purpose: it can go dead (`play_dead`), be dropped without a word (`drop`), or
carry bytes that are no WebSocket at all (`send_raw`). Writers take turns on it, since
trio-websocket's own lock does not know of raw bytes.

A connection that fails, for whatever reason, ends; the listener goes on.
"""

import errno
import logging
import ssl
from typing import Final, Protocol
from urllib.parse import parse_qsl

import h11
import trio
import trio_websocket

from integration.errors import IntegrationError
from integration.testing.dialect import HttpReply, HttpRequest, Session

__all__ = [
    "AddressInUseError",
    "CannotListenError",
    "Handler",
    "VenueListener",
    "VenueStream",
    "WebSocketPeer",
    "listening_url",
]

_log = logging.getLogger(__name__)

# h11's own default for a request's head (DEFAULT_MAX_INCOMPLETE_EVENT_SIZE).
_MAX_HEAD: Final = 16_384
# A client that says nothing for this long after connecting, or between two requests,
# is let go; nginx's keepalive_timeout is 75 s, its client_header_timeout 60 s.
_HEAD_TIMEOUT: Final = 60.0
_HANDSHAKE_TIMEOUT: Final = 10.0
_RECEIVE_SIZE: Final = 65_536
_END_OF_HEAD: Final = b"\r\n\r\n"


class CannotListenError(IntegrationError, OSError):
    """The address asked for cannot be listened on."""


class AddressInUseError(CannotListenError):
    """Somebody else listens there."""


class VenueStream(trio.abc.Stream):
    """A client's stream: looks ahead, takes turns, and fails on demand.

    Args:
        stream: TCP or TLS.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._ahead = bytearray()
        self._turn = trio.Lock()
        self._dead = False
        self._held: bytearray | None = None

    async def read_head(self) -> bytes | None:
        """Read up to the end of a request's head and keep it for `receive_some`.

        Returns:
            The head with what came along, or None if the peer closed first.

        Raises:
            h11.RemoteProtocolError: If the head is too long.
        """
        while _END_OF_HEAD not in self._ahead:
            if len(self._ahead) > _MAX_HEAD:
                raise h11.RemoteProtocolError("the head is too long", 431)
            chunk = await self._stream.receive_some(_RECEIVE_SIZE)
            if not chunk:
                return None
            self._ahead += chunk
        return bytes(self._ahead)

    def unread(self, data: bytes) -> None:
        """Give back bytes that belong to the next request."""
        self._ahead[:0] = data

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what was read ahead, then what comes."""
        if self._ahead:
            data = bytes(self._ahead[:max_bytes])
            del self._ahead[: len(data)]
            return data
        while True:
            data = bytes(await self._stream.receive_some(max_bytes))
            if not self._dead or not data:
                return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything, or nothing at all when playing dead; see `hold`."""
        if self._held is not None:
            self._held += data
            await trio.lowlevel.checkpoint()
            return
        async with self._turn:
            if not self._dead:
                await self._stream.send_all(data)

    def hold(self) -> None:
        """Collect what is sent from now on, until `release`."""
        self._held = bytearray()

    @property
    def held_bytes(self) -> int:
        """How much was collected."""
        return len(self._held or b"")

    async def release(self) -> None:
        """Send what was collected in one piece: one system call for many frames."""
        held, self._held = self._held, None
        if held:
            await self.send_all(held)

    async def send_raw(self, data: bytes) -> None:
        """Send bytes past the WebSocket layer, between two of its frames."""
        await self.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until sending might not block."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close politely."""
        await self._stream.aclose()

    def play_dead(self) -> None:
        """Neither send nor hear anything more; TCP stays up."""
        self._dead = True

    async def drop(self) -> None:
        """Close without TLS or WebSocket farewell."""
        await trio.aclose_forcefully(self._stream)


class WebSocketPeer:
    """An accepted WebSocket and the stream below it."""

    def __init__(
        self, socket: trio_websocket.WebSocketConnection, stream: VenueStream, peer: str
    ) -> None:
        self.socket = socket
        self.stream = stream
        self.peer = peer


class Handler(Protocol):
    """Decides what is answered."""

    @property
    def max_message_bytes(self) -> int:
        """Largest inbound WebSocket message."""
        ...

    def connect(self, path: str, query: str, peer: str) -> Session | HttpReply:
        """Open a session for a handshake, or refuse it."""
        ...

    def respond(self, request: HttpRequest) -> HttpReply:
        """Answer a request."""
        ...

    async def converse(self, peer: WebSocketPeer, session: Session) -> None:
        """Talk until the connection is over."""
        ...


class VenueListener:
    """Listens at one address; can stop listening and come back.

    Args:
        handler: Decides what is answered.
        host: Address to bind.
        port: 0 takes a free one and keeps it for every return.
        ssl_context: Serve TLS with it; None for plain TCP.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        self._handler = handler
        self._ssl_context = ssl_context
        self._scope: trio.CancelScope | None = None
        self._stopped = trio.Event()
        self._stopped.set()
        self._streams: set[VenueStream] = set()
        self.host = host
        self.port = port

    @property
    def listening(self) -> bool:
        """Whether new connections are accepted."""
        return self._scope is not None

    async def start(self, nursery: trio.Nursery) -> None:
        """Listen; connections live in the nursery, past any `stop`.

        Raises:
            AddressInUseError: If the address is taken.
            CannotListenError: If it cannot be bound for another reason.
        """
        listeners = await self._bind()
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()
        nursery.start_soon(self._accept, listeners, nursery, self._scope)

    async def stop(self) -> None:
        """Refuse new connections; returns when nobody listens any more."""
        if self._scope is not None:
            self._scope.cancel()
            self._scope = None
        await self._stopped.wait()

    async def drop_all(self) -> None:
        """Drop every open connection without a word, requests and WebSockets."""
        for stream in tuple(self._streams):
            await stream.drop()

    async def _bind(self) -> list[trio.abc.Listener[trio.abc.Stream]]:
        try:
            tcp = await trio.open_tcp_listeners(self.port, host=self.host)
        except OSError as error:
            where = f"{self.host} port {self.port}"
            if error.errno == errno.EADDRINUSE:
                raise AddressInUseError(
                    error.errno,
                    f"{where} is taken; stop who listens there or choose another "
                    "port (0: any free one)",
                ) from error
            raise CannotListenError(
                error.errno, f"cannot listen on {where}: {error.strerror}"
            ) from error
        self.port = tcp[0].socket.getsockname()[1]
        if self._ssl_context is None:
            return list(tcp)
        return [
            trio.SSLListener(one, self._ssl_context, https_compatible=True)
            for one in tcp
        ]

    async def _accept(
        self,
        listeners: list[trio.abc.Listener[trio.abc.Stream]],
        nursery: trio.Nursery,
        scope: trio.CancelScope,
    ) -> None:
        try:
            with scope:
                await trio.serve_listeners(
                    self._serve, listeners, handler_nursery=nursery
                )
        finally:
            for listener in listeners:
                await trio.aclose_forcefully(listener)
            self._stopped.set()

    async def _serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection; nothing it does may reach the listener."""
        peer, shaped = _peer(stream), VenueStream(stream)
        self._streams.add(shaped)
        try:
            await _Connection(self._handler, shaped, peer).run()
        except* (
            trio.BrokenResourceError,
            trio.ClosedResourceError,
            trio_websocket.ConnectionClosed,
            OSError,
        ) as group:
            _log.debug("%s went away: %r", peer, group)
        except* Exception:  # one client's fault must not end the others' feeds
            _log.exception("serving %s failed", peer)
        finally:
            self._streams.discard(shaped)
            await shaped.drop()


class _Connection:
    """Requests of one connection, until it upgrades or ends."""

    def __init__(self, handler: Handler, stream: VenueStream, peer: str) -> None:
        self._handler = handler
        self._stream = stream
        self._peer = peer

    async def run(self) -> None:
        http = h11.Connection(h11.SERVER)
        try:
            while True:
                head: bytes | None = None
                with trio.move_on_after(_HEAD_TIMEOUT):
                    head = await self._stream.read_head()
                if head is None:
                    return
                # A scout looks at the head only: if it asks for a WebSocket, the
                # bytes belong to trio-websocket, which has to read them itself.
                scout = h11.Connection(h11.SERVER)
                scout.receive_data(head)
                request = scout.next_event()
                http = h11.Connection(h11.SERVER)
                if isinstance(request, h11.Request) and _wants_websocket(request):
                    await self._upgrade(http, request)
                    return
                if not await self._respond(http):
                    return
        except h11.RemoteProtocolError as error:
            await self._refuse(http, error)

    async def _upgrade(self, http: h11.Connection, request: h11.Request) -> None:
        fault = _handshake_fault(request)
        if fault is not None:
            await self._next(http)
            await self._send(http, fault, head_only=False)
            return
        path, _, query = request.target.decode("ascii").partition("?")
        answer = self._handler.connect(path, query, self._peer)
        socket: trio_websocket.WebSocketConnection | None = None
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(_HANDSHAKE_TIMEOUT):
                proposal = await trio_websocket.wrap_server_stream(
                    nursery,
                    self._stream,
                    max_message_size=self._handler.max_message_bytes,
                    receive_buffer_size=_RECEIVE_SIZE,
                )
                if isinstance(answer, HttpReply):
                    await _reject(proposal, answer)
                else:
                    socket = await proposal.accept()
            if socket is not None and not isinstance(answer, HttpReply):
                peer = WebSocketPeer(socket, self._stream, self._peer)
                await self._handler.converse(peer, answer)
            nursery.cancel_scope.cancel()

    async def _respond(self, http: h11.Connection) -> bool:
        """Answer one request; True if another may follow."""
        request = await self._next(http)
        if not isinstance(request, h11.Request):
            return False
        while not isinstance(await self._next(http), h11.EndOfMessage):
            pass  # a body is read and ignored: no route takes one
        path, _, query = request.target.decode("ascii").partition("?")
        reply = self._handler.respond(
            HttpRequest(
                method=request.method.decode("ascii"),
                path=path,
                query=dict(parse_qsl(query, keep_blank_values=True)),
                peer=self._peer,
            )
        )
        await self._send(http, reply, head_only=request.method == b"HEAD")
        self._stream.unread(http.trailing_data[0])
        return http.our_state is not h11.MUST_CLOSE

    async def _next(self, http: h11.Connection) -> object:
        while True:
            event = http.next_event()
            if event is not h11.NEED_DATA:
                return event
            http.receive_data(await self._stream.receive_some(_RECEIVE_SIZE))

    async def _send(
        self, http: h11.Connection, reply: HttpReply, *, head_only: bool
    ) -> None:
        headers = [
            ("Content-Type", reply.content_type),
            ("Content-Length", str(len(reply.body))),
            *reply.headers,
        ]
        parts = [
            http.send(h11.Response(status_code=reply.status, headers=headers)),
            b"" if head_only else http.send(h11.Data(data=reply.body)),
            http.send(h11.EndOfMessage()),
        ]
        await self._stream.send_all(b"".join(part or b"" for part in parts))

    async def _refuse(
        self, http: h11.Connection, error: h11.RemoteProtocolError
    ) -> None:
        """Answer what is no HTTP request, where an answer is still possible."""
        if http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            reply = HttpReply(
                status=error.error_status_hint,
                body=b"",
                headers=(("Connection", "close"),),
                content_type="text/html",
            )
            await self._send(http, reply, head_only=False)


def _wants_websocket(request: h11.Request) -> bool:
    return any(
        name == b"upgrade" and value.lower() == b"websocket"
        for name, value in request.headers
    )


def _handshake_fault(request: h11.Request) -> HttpReply | None:
    """Check what trio-websocket would hang up on (RFC 6455 section 4.2.1)."""
    headers = dict(request.headers)
    versioned = headers.get(b"sec-websocket-version") == b"13"
    if request.method == b"GET" and versioned and b"sec-websocket-key" in headers:
        return None
    return HttpReply(
        status=400 if versioned else 426,
        body=b"",
        headers=(("Sec-WebSocket-Version", "13"), ("Connection", "close")),
        content_type="text/html",
    )


async def _reject(proposal: trio_websocket.WebSocketRequest, reply: HttpReply) -> None:
    headers = [("Content-Type", reply.content_type), *reply.headers]
    await proposal.reject(
        reply.status,
        extra_headers=[(n.encode("ascii"), v.encode("ascii")) for n, v in headers],
        body=reply.body or None,
    )


def _peer(stream: trio.abc.Stream) -> str:
    """Return the address that limits are counted against."""
    if isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    if isinstance(stream, trio.SocketStream):
        try:
            return str(stream.socket.getpeername()[0])
        except OSError:  # it left before it was looked at
            return "gone"
    return "unknown"


def listening_url(scheme: str, host: str, port: int) -> str:
    """Return a URL for an address; IPv6 addresses get their brackets."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
