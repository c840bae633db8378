"""A WebSocket for trio: `netcore.ws.WebSocket`, with waits where it would block.

There is no reader task and no queue: the consumer's own `await` reads the socket, so
nothing is buffered behind its back, a slow consumer slows the peer by TCP, and no
exception arrives wrapped in a group. Timers (heartbeat, close timeout) therefore run
in `read_batch`; a program that does not read does not answer pings either.
"""

import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, final

import trio

from netcore.errors import ConnectTimeout, HandshakeError, NetError
from netcore.stream.base import RECEIVE_SIZE, Buffer
from netcore.stream.outbox import DEFAULT_LIMIT
from netcore.stream.record import RecordedStream, Recorder
from netcore.trio.driver import TrioClock, TrioDriver
from netcore.trio.reading import MessageReader
from netcore.trio.streams import open_stream
from netcore.ws.batch import Batch
from netcore.ws.closing import CloseCode
from netcore.ws.connection import State
from netcore.ws.deflate import DeflateConfig
from netcore.ws.endpoint import WebSocketWatch
from netcore.ws.facade import WebSocketFacade
from netcore.ws.frames import Frame, Masking, Opcode
from netcore.ws.heartbeat import Heartbeat
from netcore.ws.options import WebSocketOptions, parse_ws_url
from netcore.ws.reader import DEFAULT_MAX_FRAME
from netcore.ws.websocket import WebSocket

__all__ = ["TRIO_CLOCK", "TrioWebSocket", "open_websocket"]

TRIO_CLOCK: Final = TrioClock()


@final
class TrioWebSocket(WebSocketFacade, MessageReader):
    """One end of an open WebSocket; `open_websocket` and `serve_websocket` make them.

    One task reads, any number send. Cancelling a read loses nothing: what was read is
    either returned or still in the stream.

    Args:
        websocket: The end below, its stream connected.
        spin: Seconds to keep trying before parking.
        budget: Seconds of work after which other tasks get their turn.
    """

    __slots__ = ("_batch", "_driver", "_idle", "_reading")

    def __init__(
        self, websocket: WebSocket, *, spin: float = 0.0, budget: float = 0.001
    ) -> None:
        super().__init__(websocket)
        self._driver = TrioDriver(WebSocketWatch(websocket), spin=spin, budget=budget)
        self._idle = trio.lowlevel.ParkingLot()
        self._reading: trio.lowlevel.Task | None = None
        self._batch: Iterator[Frame] = iter(())

    def __repr__(self) -> str:
        return f"<Trio{repr(self._websocket)[1:]}"

    # -- receiving -------------------------------------------------------------------

    async def read_batch(self) -> Batch:
        """Return the messages of the next read that completes any.

        Raises:
            ConnectionClosed: After the last message: the conversation is over.
            ProtocolError: Instead of it, once, if the peer broke the rules.
            trio.BusyResourceError: If another task is reading.
            trio.Cancelled: If the task is cancelled; no message is lost.
        """
        await self._driver.checkpoint()
        batch = self._websocket.read_batch()
        if batch is not None:
            return batch
        return await self._wait_batch()

    async def receive_frame(self) -> Frame:
        """Return the next message with its opcode.

        Where the end was opened with `frames`, the next frame. Do not mix with
        `read_batch`: a batch once begun is only continued here.

        Raises:
            NetError: As `read_batch` does.
        """
        frame = next(self._batch, None)
        while frame is None:
            self._batch = iter(await self.read_batch())
            frame = next(self._batch, None)
        return frame

    async def _wait_batch(self) -> Batch:
        """Spin, park and try until there is a batch."""
        if self._reading is not None:
            raise trio.BusyResourceError("another task is reading this WebSocket")
        self._reading = trio.lowlevel.current_task()
        try:
            while True:
                batch = await self._try_after_wait()
                if batch is not None:
                    return batch
        finally:
            self._reading = None
            self._idle.unpark_all()

    async def _try_after_wait(self) -> Batch | None:
        """Wait once and try once; nothing is awaited after the try."""
        websocket = self._websocket
        for _ in self._driver.turns():
            batch = websocket.read_batch()
            if batch is not None:
                return batch
        await self._driver.park(deadline_ns=websocket.deadline)
        return websocket.read_batch()

    # -- sending ---------------------------------------------------------------------

    def send_text(self, data: str | Buffer, *, fin: bool = True) -> None:
        """Send a text message, or a piece of one, without waiting.

        What the socket does not take at once waits in the outbox; `drain` waits for
        it, and so does whoever reads.

        Raises:
            BufferFull: If more would wait than the limit; nothing was sent.
            ConnectionClosed: If the conversation is over or the connection broke.
            ValueError: If a binary message is under way.
        """
        self._websocket.send_text(data, fin=fin)
        self._sent()

    def send_binary(self, data: Buffer, *, fin: bool = True) -> None:
        """Send a binary message, or a piece of one; as `send_text`.

        Raises:
            BufferFull: If more would wait than the limit; nothing was sent.
            ConnectionClosed: If the conversation is over or the connection broke.
            ValueError: If a text message is under way.
        """
        self._websocket.send_binary(data, fin=fin)
        self._sent()

    def send_many(
        self, messages: Iterable[str | Buffer], *, opcode: Opcode = Opcode.TEXT
    ) -> None:
        """Send several messages in one write, all or none; as `send_text`.

        Raises:
            BufferFull: If more would wait than the limit; nothing was sent.
            ConnectionClosed: If the conversation is over or the connection broke.
            ValueError: If a message begun with `fin=False` is under way.
        """
        self._websocket.send_many(messages, opcode=opcode)
        self._sent()

    def send_ping(self, payload: Buffer = b"") -> None:
        """Send a ping.

        Raises:
            BufferFull: If more would wait than the limit; nothing was sent.
            ConnectionClosed: If the conversation is over or the connection broke.
            ValueError: If the payload is longer than 125 bytes.
        """
        self._websocket.send_ping(payload)
        self._sent()

    def send_pong(self, payload: Buffer = b"") -> None:
        """Send a pong nobody asked for; as `send_ping`.

        Raises:
            BufferFull: If more would wait than the limit; nothing was sent.
            ConnectionClosed: If the conversation is over or the connection broke.
            ValueError: If the payload is longer than 125 bytes.
        """
        self._websocket.send_pong(payload)
        self._sent()

    async def drain(self, *, mark: int = 0) -> None:
        """Wait until at most `mark` bytes wait to be sent.

        Raises:
            ConnectionClosed: If the connection broke, so that they never will be.
            trio.Cancelled: If the task is cancelled; what waits keeps waiting.
        """
        await self._driver.checkpoint()
        websocket = self._websocket
        try:
            while websocket.pending_bytes > mark:
                websocket.flush()
                if websocket.pending_bytes > mark:
                    await self._driver.wait_writable()
            websocket.check_sending()
        finally:
            self._sent()

    def _sent(self) -> None:
        """See to it that somebody waits for the socket to take the rest."""
        if self._websocket.want_write:
            self._driver.wake_to_write()

    # -- handshake -------------------------------------------------------------------

    async def upgrade(self, deadline: float) -> None:
        """Shake hands, or at a server read the request; `open_websocket` does this.

        Args:
            deadline: When to give up, by trio's clock.

        Raises:
            HandshakeError: If the peer refused or broke the rules.
            ConnectTimeout: If the deadline passed.
            NetError: If the stream failed.
        """
        websocket = self._websocket
        await self._driver.checkpoint()
        with trio.move_on_at(deadline) as scope:
            websocket.read_batch()
            while _shaking(websocket):
                await self._driver.park(deadline_ns=websocket.deadline)
                websocket.read_batch()
        if scope.cancelled_caught:
            self._raise_refusal()
            raise ConnectTimeout(f"no upgrade by {self.info} in time")

    def _raise_refusal(self) -> None:
        """Raise a refusal whose body did not come to its end."""
        self.abort()
        try:
            self._websocket.read_batch()
        except HandshakeError as exc:
            if exc.status:
                raise

    # -- ending ----------------------------------------------------------------------

    async def aclose(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the conversation in order and give the socket back.

        Waits for the peer's close frame, for its end after a fault of its own, and
        for what is still unsent, each for the close timeout at most. Messages that
        come meanwhile are dropped. If the task is cancelled, the socket is closed at
        once. May be called again, and from a task other than the reading one.

        Args:
            code: Why; 1005 says nothing.
            reason: At most 123 bytes of UTF-8.

        Raises:
            ValueError: If the code must not be sent or the reason is too long.
            trio.Cancelled: If the task is cancelled.
        """
        self._websocket.close(code, reason)
        self._driver.wake()
        try:
            await self._driver.checkpoint()
            await self._await_end()
            while not self._websocket.finish():
                await self._driver.park(deadline_ns=self._websocket.deadline)
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the socket now, without a word; may be called again."""
        self._driver.closing()
        self._websocket.abort()

    async def _await_end(self) -> None:
        """Read, or let the reading task read, until the conversation is over."""
        while self._websocket.state is not State.CLOSED:
            if self._reading is not None:
                await self._idle.park()
                continue
            try:
                await self._wait_batch()
            except NetError:
                return


def _shaking(websocket: WebSocket) -> bool:
    return websocket.state is State.CONNECTING and websocket.request is None


@asynccontextmanager
async def open_websocket(
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
    spin: float = 0.0,
    budget: float = 0.001,
    read_size: int = RECEIVE_SIZE,
    outbox_limit: int = DEFAULT_LIMIT,
    connect_timeout: float = 10.0,
    close_timeout: float = 5.0,
) -> AsyncIterator[TrioWebSocket]:
    """Connect to a ws or wss URL; leaving the block closes in order.

    The code is 1000, or 1001 where the block is left by an exception.

    No task runs in the background, so exceptions come as they are, not in groups.

    Args:
        url: Where to.
        headers: Further header fields of the request.
        origin: The Origin header; programs need none.
        subprotocols: What to offer, best first.
        ssl_context: What to verify with, for wss.
        recorder: Writes down all bytes from the handshake on, in plain.
        masking: How to mask what is sent.
        validate_utf8: Whether text messages are checked.
        max_message_size: The most bytes of a received message.
        frames: Whether to deliver data frames as they come.
        deflate: How to compress if the server agrees, None not to offer it.
        heartbeat: How to keep the connection alive, None not to.
        spin: Seconds to keep trying before parking.
        budget: Seconds of work after which other tasks get their turn.
        read_size: The most bytes of one read.
        outbox_limit: The most bytes that may wait to be sent.
        connect_timeout: Seconds for name, connection, TLS and upgrade together.
        close_timeout: Seconds to wait for the server's close frame.

    Raises:
        InvalidURL: If `url` is none of a WebSocket.
        ConnectError: If no connection could be made (`ResolveError`,
            `ConnectTimeout` are such).
        TlsError: If the TLS handshake failed.
        HandshakeError: If the server refused the upgrade.
    """
    parts = parse_ws_url(url)
    options = WebSocketOptions(
        masking=masking,
        validate_utf8=validate_utf8,
        max_message_size=max_message_size,
        frames=frames,
        deflate=deflate,
        outbox_limit=outbox_limit,
        read_size=read_size,
        heartbeat=heartbeat,
        open_timeout=connect_timeout,
        close_timeout=close_timeout,
    )
    deadline = trio.current_time() + connect_timeout
    stream = await open_stream(
        url, ssl_context=ssl_context, connect_timeout=connect_timeout
    )
    if recorder is not None:
        stream = RecordedStream(stream, recorder)
    try:
        websocket = WebSocket(
            stream,
            parts.target,
            host=parts.authority,
            headers=headers,
            origin=origin,
            subprotocols=subprotocols,
            options=options,
            clock=TRIO_CLOCK,
        )
    except BaseException:
        stream.close()
        raise
    connection = TrioWebSocket(websocket, spin=spin, budget=budget)
    code = CloseCode.GOING_AWAY
    try:
        await connection.upgrade(deadline)
        yield connection
        code = CloseCode.NORMAL
    finally:
        await connection.aclose(code)
