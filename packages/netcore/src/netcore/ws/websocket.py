"""A WebSocket over any stream, without waiting.

What may live here: the meeting of a sans-I/O `WsConnection`, a `Stream`, an `Outbox`
and the timers. Nothing blocks but `wait`, which scripts call. Busy-polling services
call `read_batch` in turns; `netcore.trio` parks between the calls.

The way of a byte: `stream.receive` → `WsConnection.feed` → `Batch`. The way back:
`encode_frame` → `stream.send`, and what the stream does not take waits in the outbox,
in order, before everything that follows.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from ssl import SSLContext
from types import TracebackType
from typing import Final, final

from netcore.clock import Clock, SystemClock, to_ns
from netcore.errors import BufferFull, ConnectionClosed, HandshakeError, NetError
from netcore.info import Address, ConnectionInfo
from netcore.select import wait_ready
from netcore.stream.base import Buffer, Stream, clock_of
from netcore.stream.outbox import Outbox
from netcore.ws.batch import Batch
from netcore.ws.closing import CloseCode
from netcore.ws.connection import State, WsConnection
from netcore.ws.deflate import offer
from netcore.ws.frames import Frame, Opcode, Role
from netcore.ws.handshake import Agreement, ClientHandshake, Request, ServerHandshake
from netcore.ws.heartbeat import Beat, HeartbeatTimer
from netcore.ws.options import (
    DEFAULT_OPTIONS,
    WebSocketOptions,
    host_header,
    parse_ws_url,
)
from netcore.ws.transport import start_stream

__all__ = ["WebSocket"]

_SYSTEM_CLOCK: Final = SystemClock()
_CONNECTING, _CLOSED = State.CONNECTING, State.CLOSED  # 60 ns less at each use
_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY

# Pongs and the close frame wait in the connection while more than this is unsent.
_REPLY_MARK: Final = 65536
# What these may add to a full outbox: the handshake and 1024 pongs of 131 bytes.
_REPLY_ROOM: Final = 1 << 18
# A frame's header, and what deflate may add to data it cannot shorten (RFC 1951
# §3.2.4: 5 bytes a block).
_FRAME_ROOM: Final = 64
# Reads by which `finish` empties the receive buffer: closing a socket with unread
# bytes resets the connection, and the peer may lose our last words.
_MOST_DROPPED: Final = 64


class _Below(Enum):
    """Whether the stream is still ours."""

    LIVE = "live"
    CLOSED = "closed"


@final
class WebSocket:
    """One end of a WebSocket; by default a client's that still has to shake hands.

    The object owns the stream; `abort` (or leaving a `with` block) gives it back to
    the system whatever the state.

    Args:
        stream: Connected or still connecting.
        target: Path and query.
        host: The Host header; by default that of `stream.info`, with its port unless
            that is 80 or 443.
        headers: Further header fields of the request.
        origin: The Origin header.
        subprotocols: What to offer, best first.
        options: How it behaves.
        clock: For timers. Timestamps come from the stream's clock where it has one
            (recordings do), from this one otherwise.

    Raises:
        ValueError: If an argument has no place in an HTTP head.
    """

    __slots__ = (
        "_below",
        "_clock",
        "_connection",
        "_deadline",
        "_frames",
        "_now_ns",
        "_options",
        "_outbox",
        "_phase",
        "_read_size",
        "_send_fault",
        "_stream",
        "_timer",
    )

    def __init__(
        self,
        stream: Stream,
        target: str = "/",
        *,
        host: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        origin: str | None = None,
        subprotocols: Sequence[str] = (),
        options: WebSocketOptions = DEFAULT_OPTIONS,
        clock: Clock | None = None,
    ) -> None:
        handshake = ClientHandshake(
            host_header(stream.info) if host is None else host,
            target,
            headers=headers,
            origin=origin,
            subprotocols=subprotocols,
            extensions="" if options.deflate is None else offer(options.deflate),
            replayed=bool(getattr(stream, "replayed", False)),
        )
        self._start(stream, options.connection(Role.CLIENT, handshake), options, clock)

    def _start(
        self,
        stream: Stream,
        connection: WsConnection,
        options: WebSocketOptions,
        clock: Clock | None,
    ) -> None:
        self._stream = stream
        self._connection = connection
        self._options = options
        self._clock: Clock = _SYSTEM_CLOCK if clock is None else clock
        recorded = clock is None or hasattr(stream, "clock")
        self._now_ns = (clock_of(stream) if recorded else self._clock).now_ns
        self._outbox = Outbox(2 * options.outbox_limit + _REPLY_ROOM)
        self._read_size = options.read_size
        self._frames: Iterator[Frame] = iter(())
        self._timer: HeartbeatTimer | None = None
        self._deadline: int | None = None
        self._below = _Below.LIVE
        self._send_fault: NetError | None = None
        self._phase = State.CLOSED
        self._enter(connection.state)
        if connection.replying:
            self._reply()

    @classmethod
    def open(
        cls,
        stream: Stream,
        *,
        role: Role = Role.CLIENT,
        options: WebSocketOptions = DEFAULT_OPTIONS,
        clock: Clock | None = None,
    ) -> "WebSocket":
        """Return an end over a stream on which the upgrade is already done."""
        self = cls.__new__(cls)
        self._start(stream, options.connection(role, None), options, clock)
        return self

    @classmethod
    def serve(
        cls,
        stream: Stream,
        *,
        options: WebSocketOptions = DEFAULT_OPTIONS,
        clock: Clock | None = None,
    ) -> "WebSocket":
        """Return a server's end: read until `request` is there, then `accept`."""
        self = cls.__new__(cls)
        connection = options.connection(Role.SERVER, ServerHandshake())
        self._start(stream, connection, options, clock)
        return self

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        address: Address | None = None,
        ssl_context: SSLContext | None = None,
        headers: Iterable[tuple[str, str]] = (),
        origin: str | None = None,
        subprotocols: Sequence[str] = (),
        options: WebSocketOptions = DEFAULT_OPTIONS,
        clock: Clock | None = None,
    ) -> "WebSocket":
        """Start connecting to a ws or wss URL and return at once.

        Args:
            url: Where to.
            address: The numeric address to take; without it the name is looked up,
                which *blocks* unless it is numeric.
            ssl_context: For wss; one that verifies by default.
            headers: As in the class, like all that follow.
            origin: The Origin header.
            subprotocols: What to offer.
            options: How it behaves.
            clock: For timers.

        Raises:
            InvalidURL: If `url` is none of a WebSocket.
            ConnectError: If the system refuses at once.
        """
        parts = parse_ws_url(url)
        stream = start_stream(parts, address=address, ssl_context=ssl_context)
        try:
            return cls(
                stream,
                parts.target,
                host=parts.authority,
                headers=headers,
                origin=origin,
                subprotocols=subprotocols,
                options=options,
                clock=clock,
            )
        except BaseException:
            stream.close()
            raise

    def __repr__(self) -> str:
        role, state = self._connection.role.value, self._connection.state.value
        return f"<WebSocket {role} to {self._stream.info}, {state}>"

    def __enter__(self) -> "WebSocket":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    # -- what it is like now ---------------------------------------------------------

    @property
    def stream(self) -> Stream:
        """The stream below; reading or writing it breaks the conversation."""
        return self._stream

    @property
    def info(self) -> ConnectionInfo:
        """Whom it talks to."""
        return self._stream.info

    @property
    def state(self) -> State:
        """How far the conversation is."""
        return self._connection.state

    @property
    def closed(self) -> bool:
        """Whether the conversation is over."""
        return self._connection.state is State.CLOSED

    @property
    def close_code(self) -> int | None:
        """Why it is over: the peer's code, ours after its fault, 1006 if it broke."""
        return self._connection.close_code

    @property
    def close_reason(self) -> str:
        """The words beside `close_code`."""
        return self._connection.close_reason

    @property
    def request(self) -> Request | None:
        """The client's request, at a server; None until it is complete."""
        return self._connection.request

    @property
    def agreement(self) -> Agreement | None:
        """What the handshake settled: subprotocol, extensions, answer's headers."""
        return self._connection.agreement

    @property
    def pongs(self) -> list[bytes]:
        """Payloads of the pongs that the latest `read_batch` brought."""
        return self._connection.pongs

    @property
    def latency_ns(self) -> int | None:
        """How long the latest answered ping of the heartbeat took."""
        return None if self._timer is None else self._timer.latency_ns

    @property
    def pending_bytes(self) -> int:
        """Bytes that the stream has not taken yet."""
        return self._outbox.pending_bytes

    @property
    def want_write(self) -> bool:
        """Whether there is something to do once the stream can be written."""
        return self._outbox.pending_bytes > 0 or self._stream.want_write

    @property
    def buffered(self) -> bool:
        """Whether a read can bring something without the descriptor being ready."""
        return self._connection.held or self._stream.buffered

    @property
    def deadline(self) -> int | None:
        """When to call `read_batch` again at the latest, in monotonic nanoseconds."""
        return self._deadline

    # -- receiving -------------------------------------------------------------------

    def read_batch(self) -> Batch | None:
        """Return the messages that the next read completes, None if there are none.

        Makes one read at most. Answers pings, drives the handshake, the heartbeat and
        the outbox, so it is to be called whenever the stream is ready and by
        `deadline`.

        Raises:
            ConnectionClosed: After the last message: the conversation is over.
            ProtocolError: Instead of it, once, if the peer broke the rules.
            HandshakeError: Instead of it, once, if the upgrade was refused.
            NetError: Instead of it, once, if the stream failed before the upgrade.
        """
        connection = self._connection
        if self._outbox.pending_bytes:
            self.flush()
        data: bytes | None = b""
        if connection.held or self._phase is _CLOSED:
            batch = connection.feed(b"", self._now_ns())
        else:
            try:
                data = self._stream.receive(self._read_size)
            except NetError as exc:
                connection.lose(exc)
            batch = connection.feed(data, self._now_ns()) if data else None
            if data == b"":
                connection.feed_eof()
        if connection.replying:
            self._reply()
        if connection.state is not self._phase:
            self._enter(connection.state)
        if self._deadline is not None:
            self._keep_time(received=bool(data))
        if batch is None and self._phase is _CLOSED:
            self.finish()
            raise connection.end()
        return batch

    def receive_next(self) -> Frame | None:
        """Return the next message or, where frames were asked for, frame.

        Reads only when all of the last batch is used up.

        Raises:
            NetError: As `read_batch` does.
        """
        frame = next(self._frames, None)
        if frame is None:
            batch = self.read_batch()
            if batch is not None:
                self._frames = iter(batch)
                frame = next(self._frames)
        return frame

    def receive_text(self) -> str | None:
        """Return the next message as text, None if there is none yet.

        Raises:
            UnicodeDecodeError: If it is not UTF-8; it may be binary, or unchecked.
            NetError: As `read_batch` does.
        """
        frame = self.receive_next()
        return None if frame is None else frame.text

    # -- sending ---------------------------------------------------------------------

    def send_text(self, data: str | Buffer, *, fin: bool = True) -> None:
        """Send a text message, or a piece of one.

        What the stream does not take at once waits in the outbox. While connecting,
        messages wait for the handshake's end.

        Args:
            data: Text, or its UTF-8 bytes, which are not checked.
            fin: Whether the message ends here.

        Raises:
            BufferFull: If more would wait than `outbox_limit`; nothing was sent.
            ConnectionClosed: If the conversation is closing or closed, or the stream
                broke.
            ValueError: If a binary message is under way.
        """
        payload = data.encode() if isinstance(data, str) else data
        self._send(_TEXT, payload, fin=fin)

    def send_binary(self, data: Buffer, *, fin: bool = True) -> None:
        """Send a binary message, or a piece of one; in all else as `send_text`."""
        self._send(_BINARY, data, fin=fin)

    def send_many(
        self, messages: Iterable[str | Buffer], *, opcode: Opcode = Opcode.TEXT
    ) -> None:
        """Send several messages in one write, all or none.

        Args:
            messages: One message each.
            opcode: TEXT or BINARY for all.

        Raises:
            BufferFull: If more would wait than `outbox_limit`; nothing was sent.
            ConnectionClosed: As `send_text` does.
            ValueError: If a message begun with `fin=False` is under way.
        """
        payloads = [
            message.encode() if isinstance(message, str) else message
            for message in messages
        ]
        size = sum(len(payload) + _FRAME_ROOM for payload in payloads)
        self._check_room(size)
        self._write(self._connection.send_many(opcode, payloads))

    def send_ping(self, payload: Buffer = b"") -> None:
        """Send a ping; its pong shows in `pongs`.

        Raises:
            BufferFull: If more would wait than `outbox_limit`; nothing was sent.
            ConnectionClosed: If the conversation is not open.
            ValueError: If the payload is longer than 125 bytes.
        """
        self._check_room(len(payload))
        self._write(self._connection.ping(payload))

    def send_pong(self, payload: Buffer = b"") -> None:
        """Send a pong nobody asked for, as `send_ping`; pings are answered anyway."""
        self._check_room(len(payload))
        self._write(self._connection.pong(payload))

    def flush(self) -> bool:
        """Offer what waits to the stream; return whether nothing waits any more.

        A broken stream is not reported here but by the next `read_batch`, which
        first delivers what had come before.
        """
        try:
            if self._outbox.flush(self._stream):
                if self._connection.replying:
                    self._reply()
                return True
        except NetError as exc:
            self._stop_sending(exc)
        return False

    def check_sending(self) -> None:
        """Raise if the stream broke, so that sent messages may never arrive.

        Raises:
            ConnectionClosed: With the stream's error as its cause.
        """
        if self._send_fault is not None:
            raise ConnectionClosed(
                CloseCode.ABNORMAL, "the connection broke while sending"
            ) from self._send_fault

    def _stop_sending(self, fault: NetError) -> None:
        """Give up the way out; the way in may still hold the peer's last words."""
        self._send_fault = fault
        self._outbox.clear()

    def _send(self, opcode: Opcode, payload: Buffer, *, fin: bool) -> None:
        self._check_room(len(payload))
        self._write(self._connection.send(opcode, payload, fin=fin))

    def _check_room(self, size: int) -> None:
        """Refuse before anything is encoded: a compressor cannot be turned back."""
        pending = self._outbox.pending_bytes
        if self._phase is _CONNECTING:
            pending += self._connection.early_bytes
        if pending + size > self._options.outbox_limit:
            raise BufferFull(pending, size, self._options.outbox_limit)

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._send_fault is None:
            try:
                self._outbox.write(self._stream, data)
            except NetError as exc:
                self._stop_sending(exc)
        if self._send_fault is not None:
            self.check_sending()

    def _reply(self) -> None:
        """Send what the connection owes the peer, unless too much waits already."""
        if self._outbox.pending_bytes > _REPLY_MARK:
            return
        self._offer(self._connection.outgoing())

    def _offer(self, data: bytes) -> None:
        """Send what nobody waits for: a fault shows at the next send or read."""
        try:
            if self._send_fault is None:
                self._outbox.write(self._stream, data)
        except NetError as exc:
            self._stop_sending(exc)

    # -- handshake -------------------------------------------------------------------

    def accept(
        self,
        *,
        subprotocol: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Complete the upgrade that a client asked for in `request`.

        Raises:
            ValueError: If there is no such request, or an argument does not fit.
        """
        self._connection.accept(subprotocol=subprotocol, headers=headers)
        self._reply()
        self._enter(self._connection.state)

    def reject(
        self,
        status: int,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        """Refuse the upgrade; the conversation is CLOSED, `finish` it.

        Raises:
            ValueError: If there is nothing to refuse, or an argument does not fit.
        """
        self._connection.reject(status, headers=headers, body=body)
        self._reply()
        self._enter(self._connection.state)

    # -- ending ----------------------------------------------------------------------

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Ask the peer to close, or stop connecting.

        Then `read_batch` until it raises `ConnectionClosed`: when the peer agreed, or
        after `close_timeout`. Messages that come meanwhile are dropped. Does nothing
        if the conversation is closing or closed.

        Raises:
            ValueError: If the code must not be sent or the reason is too long.
        """
        data = self._connection.close(code, reason)
        if data:
            self._offer(data)
        if self._connection.state is not self._phase:
            self._enter(self._connection.state)

    def finish(self) -> bool:
        """Let the last words out and close the stream; return whether that is done.

        To be called, when the stream is ready, after the conversation's end. Usually
        done at once; after a fault of the peer its bytes are dropped until it hangs
        up or `close_timeout` passes, lest they reset the connection and the close
        frame with our reason be lost.
        """
        if self._below is _Below.CLOSED:
            return True
        if not self.flush() and self._outbox.pending_bytes and not self._late():
            return False
        if not self._drop_rest() and self._connection.lingers and not self._late():
            return False
        self.abort()
        return True

    def abort(self) -> None:
        """Close the stream now, whatever the state; may be called again."""
        self._below = _Below.CLOSED
        self._outbox.clear()
        self._stream.close()
        self._connection.feed_eof()
        self._phase = State.CLOSED
        self._timer = None
        self._deadline = None

    def _late(self) -> bool:
        deadline = self._deadline
        return deadline is None or self._clock.monotonic_ns() >= deadline

    def _drop_rest(self) -> bool:
        """Empty the receive buffer; return whether the peer has ended."""
        try:
            for _ in range(_MOST_DROPPED):
                data = self._stream.receive(self._read_size)
                if not data:
                    return data is not None
        except NetError:
            return True
        return False

    # -- time ------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> bool:
        """Block until there may be something to read; for scripts.

        Args:
            timeout: Seconds, None for ever.

        Returns:
            False if `timeout` passed first.
        """
        descriptor = self._stream.fileno()
        if self.buffered or descriptor < 0:
            return True
        limits = [] if timeout is None else [timeout]
        if self._deadline is not None:
            limits.append(max(0.0, self._deadline - self._clock.monotonic_ns()) / 1e9)
        least = min(limits, default=None)
        if wait_ready(descriptor, write=self.want_write, seconds=least):
            return True
        return timeout is None or least != timeout

    def _enter(self, state: State) -> None:
        """Start the timer of a state."""
        self._phase = state
        self._timer = None if state is not State.OPEN else self._timer
        now = self._clock.monotonic_ns()
        match state:
            case State.CONNECTING:
                self._deadline = now + to_ns(self._options.open_timeout)
            case State.OPEN:
                self._deadline = None
                if self._options.heartbeat is not None:
                    self._timer = HeartbeatTimer(self._options.heartbeat, now)
                    self._deadline = self._timer.deadline
            case State.CLOSING | State.CLOSED:
                self._deadline = now + to_ns(self._options.close_timeout)

    def _keep_time(self, *, received: bool) -> None:
        """Act on a deadline that has passed."""
        timer = self._timer
        now = self._clock.monotonic_ns()
        if timer is not None:
            if received:
                timer.alive = True
                for payload in self._connection.pongs:
                    timer.pong(payload, now)
            if now >= timer.deadline:
                self._beat(timer, now)
        elif self._deadline is not None and now >= self._deadline:
            self._expire()

    def _expire(self) -> None:
        match self._connection.state:
            case State.CONNECTING:
                self._connection.lose(
                    HandshakeError(
                        0,
                        message="no complete answer to the upgrade within "
                        f"{self._options.open_timeout} s",
                    )
                )
            case State.CLOSING:
                self._connection.feed_eof()
            case State.OPEN | State.CLOSED:
                return
        self._enter(self._connection.state)

    def _beat(self, timer: HeartbeatTimer, now: int) -> None:
        """Send the heartbeat that is due, or conclude that the peer is gone."""
        match timer.tick(now):
            case Beat.SEND:
                self._send_beat(timer, now)
            case Beat.EXPIRED:
                self._connection.give_up(
                    CloseCode.INTERNAL_ERROR,
                    "nothing came after a heartbeat within its timeout",
                )
                self._reply()
                self._enter(self._connection.state)
        if self._timer is not None:
            self._deadline = timer.deadline

    def _send_beat(self, timer: HeartbeatTimer, now: int) -> None:
        heartbeat = timer.heartbeat
        if heartbeat.opcode is not Opcode.PING and self._connection.mid_message:
            return  # it would become a piece of the user's message
        payload = heartbeat.make()
        try:
            if heartbeat.opcode is Opcode.PING:
                self.send_ping(payload)
            else:
                self._send(heartbeat.opcode, payload, fin=True)
        except (BufferFull, ConnectionClosed):
            # The peer takes nothing: the timeout it fails is the same one.
            pass
        timer.sent(payload, now)
