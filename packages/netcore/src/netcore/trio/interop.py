"""A connection of trio-websocket behind the interface of `TrioWebSocket`.

For programs that have such a connection already (an ASGI server's, a proxy's, an
older module's) and want to give it to code written for ours. trio-websocket is not
needed to import this: the connection is known by its methods.

What the other library does stays as it is: its reader task, its queue, a new object
for every message. So a batch has one message, stamped when it was handed over, and
text is decoded and encoded again; where speed matters, open the WebSocket with
`netcore.trio.open_websocket`.

`send_text` and its like do not wait in our interface and do in theirs, so a task of
the adapter sends in their stead; hence the `async with`.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, Protocol, final

import trio

from netcore.errors import BufferFull, ConnectionClosed, NetError
from netcore.stream.base import Buffer
from netcore.stream.outbox import DEFAULT_LIMIT
from netcore.trio.reading import MessageReader
from netcore.ws.batch import Batch
from netcore.ws.closing import CloseCode
from netcore.ws.connection import State
from netcore.ws.frames import MAX_CONTROL, Frame, Opcode

__all__ = ["AdaptedWebSocket", "CloseReasonLike", "WebSocketLike", "adapt_websocket"]


class CloseReasonLike(Protocol):
    """Why a connection is closing or closed."""

    @property
    def code(self) -> int:
        """The close code, 1006 if the connection broke."""
        ...

    @property
    def reason(self) -> str | None:
        """The words beside it."""
        ...


class WebSocketLike(Protocol):
    """What is used of a `trio_websocket.WebSocketConnection`."""

    @property
    def closed(self) -> CloseReasonLike | None:
        """Why the connection is closing or closed, None while it is open."""
        ...

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol both ends speak."""
        ...

    async def get_message(self) -> str | bytes:
        """Return the next message; raise if the connection is closed."""
        ...

    async def send_message(self, message: str | bytes) -> None:
        """Send a message; raise if the connection is closed."""
        ...

    async def ping(self, payload: bytes | None = None) -> None:
        """Send a ping and wait for its pong."""
        ...

    async def pong(self, payload: bytes | None = None) -> None:
        """Send a pong."""
        ...

    async def aclose(self, code: int = 1000, reason: str | None = None) -> None:
        """Close in order."""
        ...


class _Queued(NamedTuple):
    """A message, or a pong, that waits to be sent."""

    opcode: Opcode
    payload: bytes


@asynccontextmanager
async def adapt_websocket(
    connection: WebSocketLike,
    *,
    outbox_limit: int = DEFAULT_LIMIT,
    close_timeout: float = 5.0,
) -> AsyncIterator["AdaptedWebSocket"]:
    """Lend a connection of trio-websocket to code written for `TrioWebSocket`.

    Leaving the block waits until what was sent has left, `close_timeout` seconds at
    most. It does not close the connection, which is its owner's; `aclose` does.
    Exceptions come as they are, not in groups.

    Args:
        connection: Open; nobody else reads from it meanwhile.
        outbox_limit: The most bytes that may wait to be sent.
        close_timeout: Seconds for what waits when the block or the connection ends.
    """
    fault: Exception | None = None
    async with trio.open_nursery() as nursery:
        adapted = AdaptedWebSocket(
            connection, nursery, outbox_limit=outbox_limit, close_timeout=close_timeout
        )
        try:
            yield adapted
            await adapted.settle()
        except Exception as exc:
            fault = exc
        nursery.cancel_scope.cancel()
    if fault is not None:
        raise fault


@final
class AdaptedWebSocket(MessageReader):
    """What `adapt_websocket` gives: the interface of `TrioWebSocket`.

    One task reads, any number send. Cancelling a read loses no message.

    Args:
        connection: The connection below.
        nursery: Where the sending task lives.
        outbox_limit: The most bytes that may wait to be sent.
        close_timeout: Seconds for what waits when the connection is closed.
    """

    def __init__(
        self,
        connection: WebSocketLike,
        nursery: trio.Nursery,
        *,
        outbox_limit: int,
        close_timeout: float,
    ) -> None:
        self._connection = connection
        self._nursery = nursery
        self._limit = outbox_limit
        self._close_timeout = close_timeout
        self._queue: deque[_Queued] = deque()
        self._pending = 0
        self._piece: _Queued | None = None
        self._fault: Exception | None = None
        self._changed = trio.Event()
        self._closing = False
        self._told = False
        nursery.start_soon(self._pump)

    def __repr__(self) -> str:
        return f"<AdaptedWebSocket of {self._connection!r}, {self.state.value}>"

    @property
    def connection(self) -> WebSocketLike:
        """The connection below."""
        return self._connection

    @property
    def state(self) -> State:
        """How far the conversation is."""
        if self._connection.closed is not None:
            return State.CLOSED
        return State.CLOSING if self._closing else State.OPEN

    @property
    def close_code(self) -> int | None:
        """Why it is over, None before that."""
        reason = self._connection.closed
        return None if reason is None else reason.code

    @property
    def close_reason(self) -> str:
        """The words beside `close_code`."""
        reason = self._connection.closed
        return "" if reason is None else reason.reason or ""

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol both ends speak, None if none was agreed on."""
        return self._connection.subprotocol

    @property
    def pending_bytes(self) -> int:
        """Bytes of messages that the connection has not taken yet."""
        return self._pending

    # -- receiving -------------------------------------------------------------------

    async def read_batch(self) -> Batch:
        """Return the next message, as a batch of one.

        Raises:
            ConnectionClosed: After the last message: the conversation is over.
            trio.Cancelled: If the task is cancelled; no message is lost.
        """
        try:
            message = await self._connection.get_message()
        except Exception as exc:
            raise self._mapped(exc) from exc
        now = time.time_ns()
        if isinstance(message, str):
            return Batch(now, [message.encode()], Opcode.TEXT)
        return Batch(now, [bytes(message)], Opcode.BINARY)

    async def receive_frame(self) -> Frame:
        """Return the next message with its opcode.

        Raises:
            ConnectionClosed: As `read_batch` does.
        """
        (frame,) = await self.read_batch()
        return frame

    # -- sending ---------------------------------------------------------------------

    def send_text(self, data: str | Buffer, *, fin: bool = True) -> None:
        """Send a text message without waiting.

        Pieces (`fin=False`) are put together here and sent as one frame.

        Args:
            data: Text, or its UTF-8 bytes.
            fin: Whether the message ends here.

        Raises:
            BufferFull: If more would wait than the limit; nothing was queued.
            ConnectionClosed: If the conversation is over.
            UnicodeDecodeError: If the message is not UTF-8.
            ValueError: If a binary message is under way.
        """
        payload = data.encode() if isinstance(data, str) else bytes(data)
        self._send(Opcode.TEXT, payload, fin=fin)

    def send_binary(self, data: Buffer, *, fin: bool = True) -> None:
        """Send a binary message without waiting; in all else as `send_text`."""
        self._send(Opcode.BINARY, bytes(data), fin=fin)

    def send_many(
        self, messages: Iterable[str | Buffer], *, opcode: Opcode = Opcode.TEXT
    ) -> None:
        """Send several messages, all or none; in all else as `send_text`.

        Raises:
            ValueError: If a message begun with `fin=False` is under way.
        """
        queued = [
            _Queued(opcode, m.encode() if isinstance(m, str) else bytes(m))
            for m in messages
        ]
        if self._piece is not None:
            raise ValueError(
                f"a {self._piece.opcode.name} message is under way; end it"
            )
        self._enqueue(queued)

    def send_ping(self, payload: Buffer = b"") -> None:
        """Send a ping; the connection below waits for its pong by itself.

        Raises:
            ConnectionClosed: If the conversation is over.
            ValueError: If the payload is longer than 125 bytes.
        """
        self._check_control(payload)
        self._nursery.start_soon(self._ping, bytes(payload))

    def send_pong(self, payload: Buffer = b"") -> None:
        """Send a pong nobody asked for, in its order among the messages.

        Raises:
            BufferFull: If more would wait than the limit; nothing was queued.
            ConnectionClosed: If the conversation is over.
            ValueError: If the payload is longer than 125 bytes.
        """
        self._check_control(payload)
        self._enqueue([_Queued(Opcode.PONG, bytes(payload))])

    async def drain(self, *, mark: int = 0) -> None:
        """Wait until at most `mark` bytes wait to be sent.

        Raises:
            ConnectionClosed: If the connection broke, so that they never will be.
            trio.Cancelled: If the task is cancelled; what waits keeps waiting.
        """
        await trio.lowlevel.checkpoint()
        while self._queue and (self._pending > mark or not mark):
            await self._changed.wait()
        self._check_fault()

    async def settle(self) -> None:
        """Wait until all has left, or cannot any more, or time is up.

        Raises:
            Exception: What a send failed with, if that is no end of the connection
                and no call has raised it yet.
        """
        if self._told:
            return
        with trio.move_on_after(self._close_timeout), suppress(NetError):
            await self.drain()

    async def aclose(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the connection in order, after what waits has left.

        Args:
            code: Why.
            reason: At most 123 bytes of UTF-8.

        Raises:
            trio.Cancelled: If the task is cancelled.
        """
        self._closing = True
        await self.settle()
        await self._connection.aclose(code, reason or None)

    def _send(self, opcode: Opcode, payload: bytes, *, fin: bool) -> None:
        piece = self._piece
        if piece is not None and piece.opcode is not opcode:
            raise ValueError(
                f"a {piece.opcode.name} message is under way; end it with fin=True "
                f"before a {opcode.name} one"
            )
        whole = _Queued(opcode, payload if piece is None else piece.payload + payload)
        if fin:
            self._enqueue([whole])
            self._piece = None
        else:
            self._check_room(len(whole.payload))
            self._piece = whole

    def _enqueue(self, queued: list[_Queued]) -> None:
        size = sum(len(one.payload) for one in queued)
        self._check_room(size)
        for one in queued:
            if one.opcode is Opcode.TEXT:
                one.payload.decode()  # the connection below wants a str
        self._queue += queued
        self._pending += size
        self._tell()

    def _check_room(self, size: int) -> None:
        self._check_open()
        if self._pending + size > self._limit:
            raise BufferFull(self._pending, size, self._limit)

    def _check_control(self, payload: Buffer) -> None:
        self._check_open()
        if len(payload) > MAX_CONTROL:
            raise ValueError(
                f"a ping or pong has at most {MAX_CONTROL} bytes, was {len(payload)}"
            )

    def _check_open(self) -> None:
        self._check_fault()
        if self._closing or self._connection.closed is not None:
            raise self._end()

    def _check_fault(self) -> None:
        if self._fault is not None:
            self._told = True
            raise self._fault.with_traceback(None)

    # -- tasks -----------------------------------------------------------------------

    def _tell(self) -> None:
        """Wake who waits for the queue to change."""
        self._changed.set()
        self._changed = trio.Event()

    async def _pump(self) -> None:
        """Send what is queued, one after the other."""
        try:
            while True:
                while not self._queue:
                    await self._changed.wait()
                await self._deliver(self._queue[0])
                self._pending -= len(self._queue.popleft().payload)
                self._tell()
        except Exception as exc:
            self._fault = self._mapped(exc)
            self._fault.__cause__ = exc
            self._queue.clear()
            self._pending = 0
            self._tell()

    async def _deliver(self, queued: _Queued) -> None:
        match queued.opcode:
            case Opcode.PONG:
                await self._connection.pong(queued.payload)
            case Opcode.TEXT:
                await self._connection.send_message(queued.payload.decode())
            case _:
                await self._connection.send_message(queued.payload)

    async def _ping(self, payload: bytes) -> None:
        # Whoever reads or sends learns of a connection that is gone; and a payload
        # that is on its way already does what this ping was to do.
        with suppress(Exception):
            await self._connection.ping(payload or None)

    def _mapped(self, error: Exception) -> Exception:
        """Return our word for what the connection below raised."""
        if self._connection.closed is not None:
            return self._end()
        if type(error).__name__ == "ConnectionClosed":
            return ConnectionClosed(
                CloseCode.ABNORMAL, "the connection ended without a close frame"
            )
        return error

    def _end(self) -> ConnectionClosed:
        code = self.close_code
        by = "local" if self._closing else ""
        if code is None:
            return ConnectionClosed(CloseCode.NORMAL, "", by)
        if not by and code != CloseCode.ABNORMAL:
            by = "remote"
        return ConnectionClosed(code, self.close_reason, by)
