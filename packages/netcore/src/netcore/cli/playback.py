"""A recording as a conversation again: played to a printer, or to a client.

What may live here: what `netcore replay` does with the streams; its options and words
are in `netcore.cli.replay`.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Final, final

import msgspec
import trio

from netcore.cli.inspection import Kind, sniff
from netcore.errors import ConnectionClosed, RemoteError
from netcore.stream.replay import ReplayStream
from netcore.trio import Accept, TrioClock, TrioWebSocket
from netcore.ws import (
    Batch,
    CloseCode,
    DeflateConfig,
    Frame,
    Request,
    Role,
    ServerHandshake,
    WebSocket,
    WebSocketOptions,
    WsConnection,
)
from netcore.ws.handshake import MAX_HEAD, HeadReader, header_tokens

__all__ = [
    "ClientDiverged",
    "Expected",
    "Recorded",
    "Stage",
    "look_at",
    "play_messages",
    "play_pieces",
    "recorded_messages",
]

_POLL: Final = 0.001
_CHUNK: Final = 1 << 16


class ClientDiverged(RemoteError):
    """A client sent something else than the recorded one did."""


@final
class Recorded(msgspec.Struct, frozen=True):
    """What the beginning of a recording tells.

    Attributes:
        kind: What it is a recording of.
        upgraded: Whether it begins with frames, the handshake left out.
        subprotocol: What the handshake settled on.
    """

    kind: Kind
    upgraded: bool = False
    subprotocol: str | None = None


def look_at(name: str) -> Recorded:
    """Return what the recording `name` is.

    Raises:
        OSError: If its file cannot be read.
    """
    with Path(f"{name}_inbound.rec").open("rb") as file:
        data = file.read(MAX_HEAD + 4)
    kind = sniff(data[:16], outbound=False)
    if kind is not Kind.WEBSOCKET or not data.startswith(b"HTTP/1."):
        return Recorded(kind, upgraded=True)
    try:
        head = HeadReader().feed(data)
    except ValueError:
        head = None  # playing it will say what is wrong
    if head is None:
        return Recorded(kind)
    chosen = header_tokens(head[1], "sec-websocket-protocol")
    return Recorded(kind, subprotocol=chosen[0] if chosen else None)


async def play_messages(
    name: str, recorded: Recorded, *, speed: float | None
) -> AsyncGenerator[Batch, None]:
    """Yield the batches of a recorded WebSocket as they came, until it ends.

    Args:
        name: The recording.
        recorded: What it is.
        speed: 1.0 for the recorded pace; None for as fast as they are taken.

    Raises:
        ConnectionClosed: At the recorded end; code 1006 where no close was recorded.
        RecordingError: Where the recording is damaged.
        NetError: Where what was recorded breaks the rules.
    """
    stream = ReplayStream(
        name, speed=speed, would_blocks=False, clock=TrioClock() if speed else None
    )
    options = WebSocketOptions(deflate=DeflateConfig(), open_timeout=1e6)
    clock = TrioClock()
    if recorded.upgraded:
        ws = WebSocket.open(stream, options=options, clock=clock)
    else:
        offered = [] if recorded.subprotocol is None else [recorded.subprotocol]
        ws = WebSocket(stream, subprotocols=offered, options=options, clock=clock)
    connection = TrioWebSocket(ws)
    try:
        while True:
            yield await connection.read_batch()
    finally:
        connection.abort()


async def play_pieces(name: str, *, speed: float | None) -> AsyncGenerator[bytes, None]:
    """Yield the recorded pieces of any conversation, until its end.

    Raises:
        RecordingError: Where the recording is damaged.
    """
    stream = ReplayStream(
        name, speed=speed, would_blocks=False, clock=TrioClock() if speed else None
    )
    try:
        while (data := stream.receive()) != b"":
            if data is None:
                await trio.sleep(_POLL)
            else:
                yield data
                await trio.lowlevel.checkpoint()
    finally:
        stream.close()


# -- serving -------------------------------------------------------------------------


def recorded_messages(name: str) -> Iterator[Frame]:
    """Yield the messages that the recorded client sent.

    Raises:
        NetError: Where what it sent breaks the rules of WebSockets.
        OSError: If the file cannot be read.
    """
    with Path(f"{name}_outbound.rec").open("rb") as file:
        start = file.read(4)
        file.seek(0)
        shaking = start == b"GET "
        connection = WsConnection(
            Role.SERVER,
            handshake=ServerHandshake() if shaking else None,
            deflate=DeflateConfig(),
        )
        while data := file.read(_CHUNK):
            yield from _sent(connection, data)
    if connection.close_code not in (None, CloseCode.NO_STATUS, CloseCode.NORMAL):
        error = connection.end()
        if not isinstance(error, ConnectionClosed):
            raise error


def _sent(connection: WsConnection, data: bytes) -> Iterator[Frame]:
    batch = connection.feed(data)
    if connection.request is not None and connection.agreement is None:
        connection.accept()
    while batch is not None or connection.held:
        yield from batch or ()
        batch = connection.feed(b"")


@final
class Expected:
    """What a client should send, and whether it does.

    Args:
        messages: What the recorded client sent.
    """

    def __init__(self, messages: Iterator[Frame]) -> None:
        self._messages = list(messages)
        self._place = 0

    @property
    def missing(self) -> int:
        """How many messages are still to come."""
        return len(self._messages) - self._place

    def check(self, frame: Frame) -> None:
        """Compare the client's next message.

        Raises:
            ClientDiverged: If it is not the recorded one.
        """
        number = self._place + 1
        if self._place == len(self._messages):
            raise ClientDiverged(
                f"the client's message {number} was not recorded: it sent "
                f"{number - 1} then"
            )
        expected = self._messages[self._place]
        if (expected.opcode, expected.payload) != (frame.opcode, frame.payload):
            raise ClientDiverged(
                f"the client's message {number} differs: {_words(frame)} was sent, "
                f"{_words(expected)} was recorded"
            )
        self._place = number


def _words(frame: Frame) -> str:
    shown = frame.payload[:60]
    more = "..." if len(frame.payload) > len(shown) else ""
    return f"{frame.opcode.name.lower()} {shown!r}{more}"


@final
class Stage:
    """Plays a recording to every client that connects.

    Args:
        name: The recording.
        recorded: What it is.
        speed: As in `play_messages`.
        after: Messages that a client has to send before the play begins.
        verify: Whether to hold what clients send against the recording.
        clients: After how many clients the stage is done; None for never.

    Attributes:
        done: Set when the last client is gone, or one has diverged.
        fault: What ended it, None if all went well.
        served: How many clients have been served.
    """

    def __init__(
        self,
        name: str,
        recorded: Recorded,
        *,
        speed: float | None = None,
        after: int = 0,
        verify: bool = False,
        clients: int | None = None,
    ) -> None:
        self._name = name
        self._recorded = recorded
        self._speed = speed
        self._after = after
        self._verify = verify
        self._clients = clients
        self.done = trio.Event()
        self.fault: Exception | None = None
        self.served = 0

    def decide(self, request: Request) -> Accept:
        """Agree on what the recorded handshake agreed on."""
        chosen = self._recorded.subprotocol
        return Accept(chosen if chosen in request.subprotocols else None)

    async def handle(self, ws: TrioWebSocket) -> None:
        """Play to one client."""
        expected = Expected(recorded_messages(self._name)) if self._verify else None
        performance = _Performance(ws, expected, self._after)
        batches = play_messages(self._name, self._recorded, speed=self._speed)
        try:
            await performance.run(batches)
        except Exception as exc:
            self.fault = self.fault or exc
            await ws.aclose(CloseCode.INTERNAL_ERROR, "the play ended early")
        self.served += 1
        if self.served == self._clients or (self._verify and self.fault is not None):
            self.done.set()


@final
class _Performance:
    """One play of the recording to one client."""

    def __init__(
        self, ws: TrioWebSocket, expected: Expected | None, after: int
    ) -> None:
        self._ws = ws
        self._expected = expected
        self._heard = 0
        self._after = after
        self._changed = trio.Event()
        self._fault: Exception | None = None

    async def run(self, batches: AsyncGenerator[Batch, None]) -> None:
        """Play and listen at the same time, until both are done."""
        end: ConnectionClosed | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, nursery.cancel_scope)
            try:
                end = await self._play(batches)
                await self._wait_for_rest()
            except Exception as exc:
                self._fault = self._fault or exc
            nursery.cancel_scope.cancel()
        if self._fault is not None:
            raise self._fault
        if end is not None:
            await self._ws.aclose(*_own_words(end))

    async def _play(self, batches: AsyncGenerator[Batch, None]) -> ConnectionClosed:
        """Send the recorded messages; return how the recording ends."""
        while self._heard < self._after:
            await self._changed.wait()
        async with aclosing(batches):
            while True:
                try:
                    batch = await anext(batches)
                except ConnectionClosed as exc:
                    return exc
                for frame in batch:
                    self._ws.send_many([frame.payload], opcode=frame.opcode)
                await self._ws.drain()

    async def _wait_for_rest(self) -> None:
        """Wait for what the client still has to send."""
        while self._expected is not None and self._expected.missing:
            await self._changed.wait()

    async def _listen(self, scope: trio.CancelScope) -> None:
        """Take what the client sends; its end ends the play."""
        try:
            while True:
                frame = await self._ws.receive_frame()
                if self._expected is not None:
                    self._expected.check(frame)
                self._heard += 1
                self._changed.set()
                self._changed = trio.Event()
        except ConnectionClosed as exc:
            missing = 0 if self._expected is None else self._expected.missing
            if missing:
                self._fault = ClientDiverged(
                    f"the client left with {missing} of its recorded messages unsent"
                )
                self._fault.__cause__ = exc
        except Exception as exc:
            self._fault = exc
        scope.cancel()


def _own_words(end: ConnectionClosed) -> tuple[int, str]:
    """Return the close that tells a client what the recorded one was told."""
    if end.code in (CloseCode.ABNORMAL, CloseCode.NO_STATUS):
        return CloseCode.NORMAL, ""
    return end.code, end.reason
