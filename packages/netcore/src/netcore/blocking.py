"""WebSockets for scripts: calls that wait, with timeouts.

::

    from netcore import connect

    with connect("wss://venue.example/feed") as ws:
        ws.send_text('{"op":"subscribe"}')
        for payload in ws:
            ...

What may live here: `netcore.ws.WebSocket` with waits where it would block. For one
connection and one thread; programs with more use `netcore.service` or `netcore.trio`.

There is no thread behind it: pings are answered, heartbeats sent and the peer's close
agreed to inside these calls. A script that computes for minutes between two of them
looks dead to the peer.

**Ctrl-C.** The calls wait in the kernel with nothing in hand, so a `KeyboardInterrupt`
that a script survives has cost no message, and the next call goes on. It is heard at
once or, if it came just before the wait, within a second (`netcore.select` says why).
Leaving the `with` block by it closes in order, within the close timeout; a second
Ctrl-C cuts that short.

::

    RemoteError
    ├── ReceiveTimeout (TimeoutError)   the connection stays usable
    └── SendTimeout (TimeoutError)      what is left keeps waiting for its turn
"""

import ipaddress
import queue
import select
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Final, final

from netcore import dns
from netcore.errors import (
    ConnectError,
    ConnectionClosed,
    ConnectTimeout,
    HandshakeError,
    NetError,
    RemoteError,
    ResolveTimeout,
)
from netcore.info import Address, ConnectionInfo
from netcore.select import LONGEST_SLEEP, wait_ready
from netcore.stream.base import RECEIVE_SIZE, Buffer, Stream
from netcore.stream.outbox import DEFAULT_LIMIT
from netcore.stream.record import RecordedStream, Recorder
from netcore.stream.tcp import TcpStream
from netcore.stream.tls import TlsStream
from netcore.ws.batch import Batch
from netcore.ws.closing import ORDERLY, CloseCode
from netcore.ws.connection import State
from netcore.ws.deflate import DeflateConfig
from netcore.ws.facade import WebSocketFacade
from netcore.ws.frames import Frame, Masking, Opcode
from netcore.ws.heartbeat import Heartbeat
from netcore.ws.options import WebSocketOptions, parse_ws_url
from netcore.ws.reader import DEFAULT_MAX_FRAME
from netcore.ws.websocket import WebSocket

__all__ = ["BlockingWebSocket", "ReceiveTimeout", "SendTimeout", "connect"]

# RFC 8305 §5 "Connection Attempt Delay": 250 ms recommended.
_ATTEMPT_DELAY: Final = 0.25
# How often a stream without a descriptor (memory, recordings) is asked again.
_POLL_SECONDS: Final = 0.001
# What may come in while a send waits for the peer to read; more is left to TCP, whose
# full window is then the peer's problem and ends in `SendTimeout`.
_BACKLOG: Final = 16 << 20
# Pongs to keep while one of them is waited for.
_MOST_PONGS: Final = 64

_clock = time.monotonic


class ReceiveTimeout(RemoteError, TimeoutError):
    """Nothing came within the time a call was given; another call may go on."""


class SendTimeout(RemoteError, TimeoutError):
    """The peer did not take what was sent in time; the rest waits in its order."""


@final
class BlockingWebSocket(WebSocketFacade):
    """One end of an open WebSocket whose calls wait; `connect` makes it.

    Args:
        websocket: The end below, open.
        send_timeout: Seconds for the system to take what one call sends; None for
            ever.
    """

    def __init__(
        self, websocket: WebSocket, *, send_timeout: float | None = None
    ) -> None:
        super().__init__(websocket)
        self._send_timeout = send_timeout
        self._backlog: deque[Batch] = deque()
        self._backlog_bytes = 0
        self._frames: Iterator[Frame] = iter(())
        self._pings = 0
        self._pongs: deque[bytes] = deque(maxlen=_MOST_PONGS)

    def __repr__(self) -> str:
        return f"<Blocking{repr(self._websocket)[1:]}"

    def __enter__(self) -> "BlockingWebSocket":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(CloseCode.NORMAL if kind is None else CloseCode.GOING_AWAY)

    # -- receiving -------------------------------------------------------------------

    def read_batch(self, *, timeout: float | None = None) -> Batch:
        """Return the messages of the next read that completes any.

        Args:
            timeout: Seconds to wait; 0 only looks, None waits for ever.

        Raises:
            ReceiveTimeout: If nothing came in time; no message is lost.
            ConnectionClosed: After the last message: the conversation is over.
            ProtocolError: Instead of it, once, if the peer broke the rules.
            NetError: If the stream failed otherwise.
        """
        if self._backlog:
            batch = self._backlog.popleft()
            self._backlog_bytes -= sum(map(len, batch.payloads))
            return batch
        deadline = None if timeout is None else _clock() + timeout
        while (found := self._websocket.read_batch()) is None:
            left = _left(deadline)
            if left is not None and left <= 0:
                raise ReceiveTimeout(f"no message from {self.info} within {timeout} s")
            self._wait(left)
        return found

    def batches(self) -> Iterator[Batch]:
        """Yield batches until the conversation ends in order (1000 or 1001).

        Raises:
            ConnectionClosed: If it ends otherwise.
            ProtocolError: If the peer broke the rules.
        """
        while True:
            try:
                batch = self.read_batch()
            except ConnectionClosed as exc:
                if exc.code in ORDERLY:
                    return
                raise
            yield batch

    def __iter__(self) -> "BlockingWebSocket":
        return self

    def __next__(self) -> bytes:
        """Return the next message's payload; ends as `batches` does."""
        try:
            return self.receive()
        except ConnectionClosed as exc:
            if exc.code in ORDERLY:
                raise StopIteration from exc
            raise

    def receive_frame(self, *, timeout: float | None = None) -> Frame:
        """Return the next message with its opcode.

        Where the end was opened with `frames`, the next frame. Do not mix with
        `read_batch`: a batch once begun is only continued here.

        Raises:
            NetError: As `read_batch` does.
        """
        frame = next(self._frames, None)
        while frame is None:
            self._frames = iter(self.read_batch(timeout=timeout))
            frame = next(self._frames, None)
        return frame

    def receive(self, *, timeout: float | None = None) -> bytes:
        """Return the next message's payload; in all else as `receive_frame`."""
        return self.receive_frame(timeout=timeout).payload

    def receive_text(self, *, timeout: float | None = None) -> str:
        """Return the next message as text.

        Raises:
            UnicodeDecodeError: If it is not UTF-8, which can only be with
                `validate_utf8` off or a binary message.
            NetError: As `read_batch` does.
        """
        return self.receive_frame(timeout=timeout).text

    # -- sending ---------------------------------------------------------------------

    def send_text(self, data: str | Buffer, *, fin: bool = True) -> None:
        """Send a text message, or a piece of one; return when the system has it.

        What comes in meanwhile is kept for the next read.

        Raises:
            BufferFull: If it is longer than the outbox limit; nothing was sent.
            ConnectionClosed: If the conversation is over or the connection broke.
            SendTimeout: If the peer did not take it in time.
            ValueError: If a binary message is under way.
        """
        self._websocket.send_text(data, fin=fin)
        self._flush()

    def send_binary(self, data: Buffer, *, fin: bool = True) -> None:
        """Send a binary message, or a piece of one; in all else as `send_text`."""
        self._websocket.send_binary(data, fin=fin)
        self._flush()

    def send_many(
        self, messages: Iterable[str | Buffer], *, opcode: Opcode = Opcode.TEXT
    ) -> None:
        """Send several messages in one write; in all else as `send_text`."""
        self._websocket.send_many(messages, opcode=opcode)
        self._flush()

    def ping(self, *, timeout: float | None = None) -> float:
        """Send a ping, wait for its pong; return the seconds between.

        Messages that come meanwhile are kept for the next read.

        Raises:
            ReceiveTimeout: If no pong came in time.
            ConnectionClosed: If the conversation is over.
            NetError: As `read_batch` does.
        """
        self._pings += 1
        payload = b"netcore %d" % self._pings
        start = _clock()
        deadline = None if timeout is None else start + timeout
        self._websocket.send_ping(payload)
        self._flush()
        self._read_along()
        while payload not in self._pongs:
            left = _left(deadline)
            if left is not None and left <= 0:
                raise ReceiveTimeout(f"no pong from {self.info} within {timeout} s")
            self._wait(left)
            self._read_along()
        return _clock() - start

    def _flush(self) -> None:
        """Wait until the system took all, reading what the peer wants to be rid of."""
        websocket = self._websocket
        if not websocket.pending_bytes:
            return
        deadline = None
        if self._send_timeout is not None:
            deadline = _clock() + self._send_timeout
        while websocket.pending_bytes and not websocket.flush():
            left = _left(deadline)
            if left is not None and left <= 0:
                raise SendTimeout(
                    f"{self.info} did not take {websocket.pending_bytes} bytes within "
                    f"{self._send_timeout} s"
                )
            if self._backlog_bytes < _BACKLOG:
                self._read_along()
                self._wait(left)
            else:
                self._wait_writable(left)
        websocket.check_sending()

    def _read_along(self) -> None:
        """Read once and keep the messages and pongs."""
        batch = self._websocket.read_batch()
        if batch is not None:
            self._backlog.append(batch)
            self._backlog_bytes += sum(map(len, batch.payloads))
        self._pongs.extend(self._websocket.pongs)

    def _wait(self, seconds: float | None) -> None:
        """Wait until there may be something to do, at most `seconds`."""
        websocket = self._websocket
        if websocket.stream.fileno() < 0 and not websocket.buffered:
            time.sleep(_POLL_SECONDS)
        else:
            websocket.wait(seconds)

    def _wait_writable(self, seconds: float | None) -> None:
        descriptor = self._websocket.stream.fileno()
        if descriptor < 0:
            time.sleep(_POLL_SECONDS)
        else:
            wait_ready(descriptor, read=False, write=True, seconds=seconds)

    # -- ending ----------------------------------------------------------------------

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the conversation in order and give the socket back.

        Waits for the peer's close frame, for its end after a fault of its own, and
        for what is still unsent, each for the close timeout at most. Messages that
        come meanwhile are dropped. May be called again.

        Args:
            code: Why; 1005 says nothing.
            reason: At most 123 bytes of UTF-8.

        Raises:
            ValueError: If the code must not be sent or the reason is too long.
        """
        websocket = self._websocket
        websocket.close(code, reason)
        try:
            while websocket.state is not State.CLOSED and self._drop():
                self._wait(None)
            while not websocket.finish():
                self._wait(None)
        finally:
            websocket.abort()

    def _drop(self) -> bool:
        """Read once and drop it; return whether the conversation goes on."""
        try:
            self._websocket.read_batch()
        except NetError:
            return False
        return True

    def abort(self) -> None:
        """Close the socket now, without a word; may be called again."""
        self._websocket.abort()


def connect(
    url: str,
    *,
    headers: Iterable[tuple[str, str]] = (),
    origin: str | None = None,
    subprotocols: Sequence[str] = (),
    ssl_context: ssl.SSLContext | None = None,
    recorder: Recorder | None = None,
    masking: Masking = Masking.RANDOM,
    validate_utf8: bool = True,
    max_message_size: int = DEFAULT_MAX_FRAME,
    frames: bool = False,
    deflate: DeflateConfig | None = None,
    heartbeat: Heartbeat | None = None,
    read_size: int = RECEIVE_SIZE,
    outbox_limit: int = DEFAULT_LIMIT,
    connect_timeout: float = 10.0,
    send_timeout: float | None = None,
    close_timeout: float = 5.0,
) -> BlockingWebSocket:
    """Connect to a ws or wss URL and wait until the WebSocket is open.

    All addresses of a name are tried, a quarter of a second apart or as soon as one
    fails (RFC 8305), and the first that answers wins. Leaving a `with` block closes
    with 1000, or with 1001 where it is left by an exception.

    Args:
        url: Where to.
        headers: Further header fields of the request.
        origin: The Origin header; programs need none.
        subprotocols: What to offer, best first.
        ssl_context: What to verify with, for wss; one that verifies by default.
        recorder: Writes down all bytes from the handshake on, in plain.
        masking: How to mask what is sent.
        validate_utf8: Whether text messages are checked.
        max_message_size: The most bytes of a received message.
        frames: Whether to deliver data frames as they come.
        deflate: How to compress if the server agrees, None not to offer it.
        heartbeat: How to keep the connection alive, None not to.
        read_size: The most bytes of one read.
        outbox_limit: The most bytes of what one call sends.
        connect_timeout: Seconds for name, connection, TLS and upgrade together.
        send_timeout: Seconds for the system to take what one call sends; None for
            ever.
        close_timeout: Seconds to wait for the server's close frame.

    Raises:
        InvalidURL: If `url` is none of a WebSocket.
        ConnectError: If no connection could be made (`ResolveError`,
            `ConnectTimeout` are such).
        TlsError: If the TLS handshake failed.
        HandshakeError: If the server refused the upgrade.
        ValueError: If an argument has no place in an HTTP head.
    """
    parts = parse_ws_url(url)
    deadline = _clock() + connect_timeout
    stream: Stream = _dial(parts.info, deadline)
    try:
        if parts.secure:
            stream = TlsStream(stream, context=ssl_context)
            _finish_connecting(stream, deadline)
        if recorder is not None:
            stream = RecordedStream(stream, recorder)
        websocket = WebSocket(
            stream,
            parts.target,
            host=parts.authority,
            headers=headers,
            origin=origin,
            subprotocols=subprotocols,
            options=WebSocketOptions(
                masking=masking,
                validate_utf8=validate_utf8,
                max_message_size=max_message_size,
                frames=frames,
                deflate=deflate,
                outbox_limit=outbox_limit,
                read_size=read_size,
                heartbeat=heartbeat,
                # Later than our own deadline, which knows a refusal from silence.
                open_timeout=connect_timeout + 1,
                close_timeout=close_timeout,
            ),
        )
        _upgrade(websocket, deadline)
    except BaseException:
        stream.close()
        raise
    return BlockingWebSocket(websocket, send_timeout=send_timeout)


# -- connecting ----------------------------------------------------------------------


def _dial(info: ConnectionInfo, deadline: float) -> Stream:
    """Return the stream to the first address of a host that answers.

    Raises:
        ConnectError: If there is none, or it took too long.
    """
    race = _Race(info, _look_up(info, deadline))
    try:
        return race.run(deadline)
    finally:
        race.close()


def _look_up(info: ConnectionInfo, deadline: float) -> list[Address]:
    """Return the addresses of a host.

    The system's resolver cannot be given a time limit, so it is asked in a thread
    that is left alone where it takes too long.

    Raises:
        ResolveError: If there are none.
        ResolveTimeout: If the answer did not come in time.
    """
    if _is_numeric(info.host):
        return dns.resolve(info.host, info.port)
    answers: queue.SimpleQueue[list[Address] | NetError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(dns.resolve(info.host, info.port))
        except NetError as exc:
            answers.put(exc)

    threading.Thread(target=ask, name="netcore-resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.0, deadline - _clock()))
    except queue.Empty:
        raise ResolveTimeout(f"no address of {info.host} in time") from None
    if isinstance(answer, NetError):
        raise answer
    return answer


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@final
class _Race:
    """Attempts at the addresses of a host, of which one may win (RFC 8305)."""

    def __init__(self, info: ConnectionInfo, addresses: Sequence[Address]) -> None:
        self._info = info
        self._waiting = deque(addresses)
        self._running: list[tuple[Address, TcpStream]] = []
        self._errors: list[tuple[Address, NetError]] = []
        self._next = _clock()

    def run(self, deadline: float) -> Stream:
        """Return the first stream that stands; it is not the race's any more."""
        while True:
            self._start()
            for place, (address, stream) in enumerate(self._running):
                try:
                    connected = stream.connected()
                except NetError as exc:
                    stream.close()
                    self._fail(address, exc)
                    del self._running[place]
                    break
                if connected:
                    del self._running[place]
                    return stream
            else:
                self._wait(deadline)

    def close(self) -> None:
        """Give the losers back."""
        for _, stream in self._running:
            stream.close()

    def _start(self) -> None:
        """Begin with the next address if it is due."""
        while self._waiting and (not self._running or _clock() >= self._next):
            address = self._waiting.popleft()
            self._next = _clock() + _ATTEMPT_DELAY
            try:
                stream = TcpStream.connect(self._info, address)
            except NetError as exc:
                self._fail(address, exc)
            else:
                self._running.append((address, stream))

    def _fail(self, address: Address, error: NetError) -> None:
        self._errors.append((address, error))
        self._next = _clock()

    def _wait(self, deadline: float) -> None:
        """Wait for an attempt to end or the next to begin."""
        now = _clock()
        if not self._running:
            raise self._defeat()
        if now >= deadline:
            raise ConnectTimeout(f"no connection to {self._info} in time")
        until = min(deadline, self._next) if self._waiting else deadline
        poll = select.poll()
        for _, stream in self._running:
            poll.register(stream.fileno(), select.POLLOUT)
        poll.poll(max(0.0, min(until - now, LONGEST_SLEEP)) * 1000)

    def _defeat(self) -> NetError:
        if len(self._errors) == 1:
            return self._errors[0][1]
        causes = "; ".join(f"{address}: {error}" for address, error in self._errors)
        last = self._errors[-1][1]
        error = ConnectError(
            f"cannot connect to {self._info}, no address answered: {causes}",
            errno=getattr(last, "errno", None),
        )
        error.__cause__ = last
        return error


def _finish_connecting(stream: Stream, deadline: float) -> None:
    """Wait until `stream` has shaken hands.

    Raises:
        ConnectTimeout: If it took too long.
        NetError: If it failed.
    """
    while not stream.connected():
        left = deadline - _clock()
        if left <= 0:
            raise ConnectTimeout(f"no TLS handshake with {stream.info} in time")
        if not stream.buffered:
            write = stream.want_write
            wait_ready(stream.fileno(), read=not write, write=write, seconds=left)


def _upgrade(websocket: WebSocket, deadline: float) -> None:
    """Shake hands.

    Raises:
        HandshakeError: If the server refused.
        ConnectTimeout: If it took too long.
        NetError: If the stream failed.
    """
    websocket.read_batch()
    while websocket.state is State.CONNECTING:
        left = deadline - _clock()
        if left <= 0:
            raise _refusal(websocket)
        websocket.wait(left)
        websocket.read_batch()


def _refusal(websocket: WebSocket) -> NetError:
    """Return the refusal whose body did not come to its end, or that time is up."""
    info = websocket.info
    websocket.abort()
    try:
        websocket.read_batch()
    except HandshakeError as exc:
        if exc.status:
            return exc
    except NetError:
        pass
    return ConnectTimeout(f"no upgrade by {info} in time")


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else deadline - _clock()
