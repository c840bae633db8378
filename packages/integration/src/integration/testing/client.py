"""One connected client of the simulated exchange: its queue and its tasks.

What lives here: how messages wait for a client, how a slow one is let go, and what
the venue does on a connection of its own accord (pings, old age). What is said is the
session's business (`integration.testing.dialect`).

A client's queue is bounded. In real time a full queue ends the connection with 1008,
as venues do; in lockstep and at maximum speed the market waits for the client
instead, for a bounded time.
"""

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from enum import Enum

import trio
import trio_websocket

from integration.testing.dialect import Action, CloseWith, Limits, Send, Session
from integration.testing.faults import StreamMessage
from integration.testing.server import WebSocketPeer

__all__ = ["Client", "ClientState"]

_log = logging.getLogger(__name__)

# RFC 6455 section 7.4.1: never on the wire, only a name for "no close frame came".
_ABNORMAL = 1006
# Frames are sent together up to this many bytes; trio-websocket alone would make one
# system call, and the client one wake-up, of each.
_PIECE = 65_536


class ClientState(Enum):
    """What a client gets."""

    FED = "fed"
    SILENT = "silent"
    """Data are lost on their way; answers and pings arrive (see `SilentStop`)."""
    DEAD = "dead"
    """Half-open: nothing is sent or heard (see `HalfOpen`)."""
    LEAVING = "leaving"
    """A close is queued; nothing else is any more."""


class Client:
    """A client and what waits for it.

    Args:
        peer: The accepted WebSocket.
        session: Its subscriptions.
        limits: How much may wait, and for how long.
        on_change: Called when subscriptions may have changed.
    """

    def __init__(
        self,
        peer: WebSocketPeer,
        session: Session,
        limits: Limits,
        *,
        on_change: Callable[[], None],
    ) -> None:
        self.session = session
        self.was_slow = False
        self._on_change = on_change
        self.state = ClientState.FED
        self._peer = peer
        self._limits = limits
        self._queue: deque[str | bytes | CloseWith] = deque()
        self._filled = trio.Event()
        self._drained = trio.Event()
        self._drained.set()
        self._room = trio.Event()
        self._room.set()
        self._seen_off = trio.Event()
        self._over = trio.Event()
        self._at_once = False

    def __repr__(self) -> str:
        return f"Client({self._peer.peer}, {self.state.value}, {len(self._queue)} wait)"

    # ---- what the simulator calls

    @property
    def full(self) -> bool:
        """Whether no further message has room."""
        return len(self._queue) >= self._limits.queue_messages

    def offer(self, message: StreamMessage) -> None:
        """Queue a message if it is subscribed to; a full queue ends the client."""
        if self.state is ClientState.FED and message.topic in self.session.topics:
            self.push(self.session.render(message))

    def push(self, item: str | bytes) -> None:
        """Queue text, or raw bytes to go past the WebSocket layer."""
        if self.state in {ClientState.LEAVING, ClientState.DEAD}:
            return
        if self.full:
            self._leave_slow()
            return
        self._queue.append(item)
        self._wake()

    def leave(self, farewell: CloseWith) -> None:
        """Close after the message being written; what waits is dropped."""
        if self.state is not ClientState.LEAVING:
            self._queue.clear()
            self._say_goodbye(farewell)

    def play_dead(self) -> None:
        """Go half-open; see `HalfOpen`."""
        if self.state is not ClientState.LEAVING:
            self.state = ClientState.DEAD
            self._queue.clear()
            self._peer.stream.play_dead()

    async def wait_room(self) -> None:
        """Wait until a message has room; a client that stalls is let go."""
        with trio.move_on_after(self._limits.stall_s) as patience:
            while self.full and self.state is not ClientState.LEAVING:
                if self._room.is_set():
                    self._room = trio.Event()
                await self._room.wait()
        if patience.cancelled_caught:
            self._leave_slow()

    def _leave_slow(self) -> None:
        self.was_slow = True
        self.leave(CloseWith(code=1008, reason="Client is too slow"))

    async def wait_drained(self) -> None:
        """Wait until everything queued was handed to the kernel, or the client left."""
        await self._drained.wait()

    async def wait_read(self) -> None:
        """Wait until the peer has read everything queued, or the client left.

        A ping goes out behind the last message; whoever answers pings in turn has read
        up to there when its pong comes (RFC 6455 section 5.5.3).
        """
        await self.wait_drained()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._await_pong, nursery.cancel_scope)
            await self._over.wait()
            nursery.cancel_scope.cancel()

    async def _await_pong(self, scope: trio.CancelScope) -> None:
        with contextlib.suppress(trio_websocket.ConnectionClosed):
            await self._peer.socket.ping()
            scope.cancel()

    # ---- the connection's life

    async def converse(self) -> None:
        """Talk until either side ends it."""
        self._obey(self.session.opened())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, nursery.cancel_scope)
                nursery.start_soon(self._write, nursery.cancel_scope)
                nursery.start_soon(self._ping)
                nursery.start_soon(self._age)
                nursery.start_soon(self._see_off, nursery.cancel_scope)
        finally:
            self.state = ClientState.LEAVING
            self._queue.clear()
            self._room.set()
            self._drained.set()
            self._over.set()

    async def _read(self, scope: trio.CancelScope) -> None:
        try:
            while True:
                message = await self._peer.socket.get_message()
                self._obey(self.session.receive(message, trio.current_time()))
                self._on_change()
        except trio_websocket.ConnectionClosed as error:
            _log.debug("%s closed: %r", self._peer.peer, error.reason)
        # Our own close ends reading, too, but is not over before it is answered.
        if self.state is not ClientState.LEAVING:
            scope.cancel()

    def _obey(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    self.push(action.text)
                case CloseWith():
                    self._say_goodbye(action)

    def _say_goodbye(self, farewell: CloseWith) -> None:
        """Close after everything that waits; whoever does not take that is dropped."""
        if self.state is not ClientState.LEAVING:
            self._at_once = farewell.code == _ABNORMAL or self.state is ClientState.DEAD
            self.state = ClientState.LEAVING
            self._queue.append(farewell)
            self._room.set()
            self._seen_off.set()
            self._wake()

    async def _see_off(self, scope: trio.CancelScope) -> None:
        """End a connection that is told to leave, whether it listens or not."""
        await self._seen_off.wait()
        if not self._at_once:
            await trio.sleep(2 * self._limits.close_timeout_s)
        await self._peer.stream.drop()
        scope.cancel()

    async def _write(self, scope: trio.CancelScope) -> None:
        try:
            while True:
                while not self._queue:
                    self._drained.set()
                    self._filled = trio.Event()
                    await self._filled.wait()
                await self._write_waiting()
                farewell = self._queue[0] if self._queue else None
                if isinstance(farewell, CloseWith):
                    await self._close(farewell)
                    break
        except (trio_websocket.ConnectionClosed, trio.BrokenResourceError):
            pass  # the reader says so
        scope.cancel()

    async def _write_waiting(self) -> None:
        """Write what waits, up to a close, in one piece as far as sizes allow."""
        stream, socket = self._peer.stream, self._peer.socket
        stream.hold()
        try:
            while self._queue and stream.held_bytes < _PIECE:
                item = self._queue[0]
                if isinstance(item, CloseWith):
                    break
                self._queue.popleft()
                if isinstance(item, bytes):
                    await stream.send_raw(item)
                else:
                    await socket.send_message(item)
        finally:
            await stream.release()
        if not self.full:
            self._room.set()

    async def _close(self, farewell: CloseWith) -> None:
        if self._at_once:
            await trio.sleep_forever()  # until `_see_off` has dropped the stream
        with trio.move_on_after(self._limits.close_timeout_s):
            await self._peer.socket.aclose(farewell.code, farewell.reason)

    async def _ping(self) -> None:
        """Ping as the venue does; silence ends the connection."""
        while True:
            await trio.sleep(self._limits.ping_interval_s)
            payload = str(int(trio.current_time() * 1000)).encode()
            with trio.move_on_after(self._limits.pong_timeout_s) as patience:
                try:
                    await self._peer.socket.ping(payload)
                except trio_websocket.ConnectionClosed:
                    return
            if patience.cancelled_caught:
                if self.state is not ClientState.DEAD:
                    self.leave(CloseWith(code=1008, reason="Pong timeout"))
                return

    async def _age(self) -> None:
        await trio.sleep(self._limits.lifetime_s)
        self.leave(CloseWith(code=1001, reason="Connection is too old"))

    def _wake(self) -> None:
        self._drained = trio.Event() if self._drained.is_set() else self._drained
        self._filled.set()
