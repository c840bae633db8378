"""WebSocket messages into typed values: one rule per kind of message.

=============== ==============================================================
Text            the decoder's value, or `Deserialise`; plain-text heartbeats
                (`pong` on OKX and BitMEX) become `ApplicationAdmin` before that
Binary          decompressed if so asked, then as Text
Ping, Pong      `ProtocolAdmin`: netcore answers pings by itself
Close           `Terminated`, which ends the stream
Continuation    nothing: netcore puts messages together
Exception       what it means to a stream (`stream.mapping`)
=============== ==============================================================

Payloads are decoded from bytes, so that UTF-8 is checked once, by the decoder. The
parsers are pure; `connect` is the only function here that does I/O.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Generic, Protocol, TypeVar, final

import msgspec

from integration.errors import (
    UNDECODABLE,
    Deserialise,
    DeserialiseBinary,
    DeserialiseProtobuf,
    SocketError,
    Terminated,
)
from integration.message import (
    Admin,
    AdminKind,
    ApplicationAdmin,
    Payload,
    ProtocolAdmin,
)
from integration.stream.mapping import socket_error
from integration.stream.parser import BatchLike, Parsed, StreamParser
from netcore import errors as net
from netcore.trio import AdaptedWebSocket, TrioWebSocket
from netcore.ws import Batch, Frame, Opcode

__all__ = [
    "Decode",
    "MessageCounts",
    "WebSocketParser",
    "WebSocketProtobufParser",
    "WebSocketSource",
    "WsParser",
    "connect",
    "is_websocket_disconnected",
    "process_binary",
    "process_close_frame",
    "process_frame",
    "process_ping",
    "process_pong",
    "process_text",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
SocketT = TypeVar("SocketT", TrioWebSocket, AdaptedWebSocket)

MAX_MESSAGE = 16 * 2**20
"""Bytes of a message, the same limit as netcore's."""


class Decode(Protocol[T_co]):
    """Makes a value of a message's bytes.

    `msgspec.json.Decoder(T).decode` is one, as is msgpack's; so is any function for
    another encoding (SBE, protobuf, FIX).
    """

    def __call__(self, data: bytes, /) -> T_co:
        """Return the value.

        Raises:
            ValueError: The bytes are not such a value (msgspec's errors are one).
        """
        ...


class MessageCounts:
    """How many messages of each kind came, for those who watch liveness."""

    __slots__ = (
        "binary",
        "close",
        "error",
        "frame",
        "heartbeat",
        "ping",
        "pong",
        "text",
    )

    def __init__(self) -> None:
        self.text = 0
        self.binary = 0
        self.ping = 0
        self.pong = 0
        self.close = 0
        self.frame = 0
        self.heartbeat = 0
        self.error = 0

    @property
    def total(self) -> int:
        """All messages of any kind: each proves that the connection lives."""
        return sum(getattr(self, name) for name in self.__slots__)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)}" for name in self.__slots__)
        return f"MessageCounts({fields})"


def process_text(payload: bytes, decode: Decode[T]) -> T | Deserialise:
    """Decode the bytes of a text message."""
    try:
        return decode(payload)
    except UNDECODABLE as error:
        return _undecodable(payload, error)


def process_binary(payload: bytes, decode: Decode[T]) -> T | DeserialiseBinary:
    """Decode a binary message; its bytes are kept as they came."""
    try:
        return decode(payload)
    except UNDECODABLE as error:
        return _caused(DeserialiseBinary(str(error), payload), error)


def process_ping(payload: bytes) -> ProtocolAdmin:
    """Return a ping as administrative traffic; netcore has answered it."""
    return ProtocolAdmin(AdminKind.PING, payload)


def process_pong(payload: bytes) -> ProtocolAdmin:
    """Return a pong as administrative traffic."""
    return ProtocolAdmin(AdminKind.PONG, payload)


def process_close_frame(payload: bytes) -> Terminated:
    """Return what a close frame says (RFC 6455 §5.5.1: two bytes code, then text)."""
    if len(payload) < 2:
        return Terminated(_NO_CODE)
    code = int.from_bytes(payload[:2], "big")
    return Terminated(code, payload[2:].decode("utf-8", "replace"))


def process_frame(payload: bytes) -> None:
    """Ignore a raw frame: it is a part of a message that comes as a whole."""
    del payload


_NO_CODE = 1005
"""RFC 6455 §7.1.5: the code of a close frame without one."""


class WebSocketParser(StreamParser[Frame, T], Generic[T]):
    """Decodes text and binary messages into one type; counts all kinds.

    Args:
        decoder: A msgspec decoder, or any function from bytes to a value.
        heartbeats: Plain texts by which the venue shows life.
        inflate: Undoes the venue's own compression of binary messages (see
            `integration.inflate`); None: there is none.
        max_message: Bytes (after inflating) beyond which a message is refused.
    """

    def __init__(
        self,
        decoder: msgspec.json.Decoder[T] | msgspec.msgpack.Decoder[T] | Decode[T],
        *,
        heartbeats: Sequence[bytes] = (b"ping", b"pong"),
        inflate: Callable[[bytes], bytes] | None = None,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self.counts = MessageCounts()
        self._decode: Decode[T] = decoder if callable(decoder) else decoder.decode
        self._heartbeats = frozenset(heartbeats)
        self._longest = max(map(len, heartbeats), default=0)
        self._inflate = inflate
        self._max_message = max_message

    def parse(self, frame: Frame) -> Parsed[T] | None:
        """Decode one message, or treat another frame as the module's table says."""
        payload = frame.payload
        match frame.opcode:
            case Opcode.TEXT:
                return self._text(payload)
            case Opcode.BINARY:
                return self._binary(payload)
            case Opcode.PING:
                self.counts.ping += 1
                return process_ping(payload)
            case Opcode.PONG:
                self.counts.pong += 1
                return process_pong(payload)
            case Opcode.CLOSE:
                self.counts.close += 1
                return process_close_frame(payload)
            case _:
                self.counts.frame += 1
                process_frame(payload)
                return None

    def parse_batch(self, batch: BatchLike[Frame]) -> Sequence[Parsed[T]]:
        """Decode one read's messages; batches of text alone take a shorter way."""
        if not isinstance(batch, Batch) or batch.heads is not None:
            return super().parse_batch(batch)
        if batch.opcode is not Opcode.TEXT:
            return [self._binary(payload) for payload in batch.payloads]
        return self._texts(batch.payloads)

    def parse_error(self, error: Exception) -> SocketError:
        """Return what an exception of the connection means to the stream."""
        self.counts.error += 1
        fault = socket_error(error)
        return fault if fault is error else _caused(fault, error)

    def _texts(self, payloads: Sequence[bytes]) -> list[Parsed[T]]:
        """Decode text messages; `_text` for many, without a call for each."""
        decode, shortest, longest = self._decode, self._longest, self._max_message
        parsed: list[Parsed[T]] = []
        append = parsed.append
        plain = 0
        for payload in payloads:
            if not shortest < len(payload) <= longest:
                append(self._text(payload))
                continue
            plain += 1
            try:
                append(decode(payload))
            except UNDECODABLE as error:
                append(_undecodable(payload, error))
        self.counts.text += plain
        return parsed

    def _text(self, payload: bytes) -> T | Admin | Deserialise:
        size = len(payload)
        if size <= self._longest and payload in self._heartbeats:
            self.counts.heartbeat += 1
            return ApplicationAdmin(AdminKind.HEARTBEAT, payload)
        self.counts.text += 1
        if size > self._max_message:
            return _too_large(size, self._max_message, payload)
        return process_text(payload, self._decode)

    def _binary(self, payload: bytes) -> T | DeserialiseBinary | Admin:
        self.counts.binary += 1
        if self._inflate is not None:
            try:
                payload = self._inflate(payload)
            except ValueError as error:
                return _caused(DeserialiseBinary(str(error), payload), error)
            if len(payload) <= self._longest and payload in self._heartbeats:
                self.counts.heartbeat += 1
                return ApplicationAdmin(AdminKind.HEARTBEAT, payload)
        if len(payload) > self._max_message:
            size = len(payload)
            return DeserialiseBinary(_size_words(size, self._max_message), payload)
        return process_binary(payload, self._decode)


class WebSocketProtobufParser(StreamParser[Frame, T], Generic[T]):
    """Decodes binary messages; text messages say nothing to a protobuf feed.

    Args:
        decode: The generated class's `FromString`, or the like. It may raise anything
            of its library's making.
    """

    def __init__(self, decode: Decode[T]) -> None:
        self.counts = MessageCounts()
        self._decode = decode

    def parse(self, frame: Frame) -> Parsed[T] | None:
        """Decode one message."""
        match frame.opcode:
            case Opcode.TEXT:
                self.counts.text += 1
                return None
            case Opcode.BINARY:
                self.counts.binary += 1
                return self._binary(frame.payload)
            case _:
                return _control(frame, self.counts)

    def _binary(self, payload: bytes) -> T | DeserialiseProtobuf:
        try:
            return self._decode(payload)
        # protobuf's DecodeError is no ValueError, and its package is not ours.
        except Exception as error:
            return _caused(DeserialiseProtobuf(str(error), payload), error)


@final
class WsParser(StreamParser[Frame, Payload[bytes]]):
    """Decodes nothing: payloads as bytes, all else as administrative traffic."""

    def __init__(self) -> None:
        self.counts = MessageCounts()

    def parse(self, frame: Frame) -> Parsed[Payload[bytes]] | None:
        """Wrap one message."""
        match frame.opcode:
            case Opcode.TEXT:
                self.counts.text += 1
                return Payload(frame.payload)
            case Opcode.BINARY:
                self.counts.binary += 1
                return Payload(frame.payload)
            case Opcode.CLOSE:
                self.counts.close += 1
                return ProtocolAdmin(AdminKind.CLOSE, frame.payload)
            case Opcode.PING | Opcode.PONG:
                return _control(frame, self.counts)
            case _:
                self.counts.frame += 1
                return Payload(frame.payload)


@final
class WebSocketSource(Generic[SocketT]):
    """An open WebSocket that is closed by a call, not by the end of a block.

    `connect` makes one. It reads as `ExchangeStream` wants it to.

    A WebSocket that `open_websocket` opened is closed with the source. One that was
    lent by `adapt_websocket` is not: what was sent leaves, then its owner has it back.

    Attributes:
        socket: The WebSocket itself, for those who send on it.
        read_batch: Its method of that name.
    """

    __slots__ = ("_stack", "read_batch", "socket")

    def __init__(self, socket: SocketT, stack: AsyncExitStack) -> None:
        self.socket: SocketT = socket
        # The bound method itself: one call less per read.
        self.read_batch = socket.read_batch
        self._stack = stack

    async def aclose(self) -> None:
        """Close the conversation in order, or give it back; may be called again."""
        await self._stack.aclose()


async def connect(
    opening: AbstractAsyncContextManager[SocketT],
) -> WebSocketSource[SocketT]:
    """Open a WebSocket that outlives the calling block.

    The task that calls this also closes the source.

    Args:
        opening: What `netcore.trio.open_websocket(url, ...)` returns; or, for a
            connection of trio-websocket that there is already, what
            `netcore.trio.adapt_websocket(connection)` returns.

    Raises:
        TlsError: The venue's certificate is not accepted.
        DnsError: The venue's name did not resolve.
        WebSocket: There is no connection, or the venue refused the upgrade.
    """
    async with AsyncExitStack() as stack:
        try:
            socket = await stack.enter_async_context(opening)
        except (net.NetError, OSError) as error:
            raise socket_error(error) from error
        return WebSocketSource(socket, stack.pop_all())
    raise AssertionError("the stack swallows no exception")


def is_websocket_disconnected(error: BaseException) -> bool:
    """Say whether an error means that the connection is gone, not just one message."""
    if isinstance(error, SocketError):
        return error.terminal
    return isinstance(
        error,
        net.ConnectionClosed
        | net.ConnectionLost
        | net.StreamClosed
        | net.TruncatedStream
        | OSError,
    )


def _control(frame: Frame, counts: MessageCounts) -> Parsed[Any] | None:
    match frame.opcode:
        case Opcode.PING:
            counts.ping += 1
            return process_ping(frame.payload)
        case Opcode.PONG:
            counts.pong += 1
            return process_pong(frame.payload)
        case Opcode.CLOSE:
            counts.close += 1
            return process_close_frame(frame.payload)
        case _:
            counts.frame += 1
            return None


Fault = TypeVar("Fault", bound=SocketError)


def _caused(fault: Fault, cause: BaseException) -> Fault:
    """Chain a fault that is yielded, not raised, to what caused it."""
    fault.__cause__ = cause
    return fault


def _undecodable(payload: bytes, error: Exception) -> Deserialise:
    # Not UTF-8 ends here too; replacing keeps the rest of the text readable.
    return _caused(Deserialise(str(error), payload.decode("utf-8", "replace")), error)


def _size_words(size: int, limit: int) -> str:
    return f"a message of {size} bytes exceeds the limit of {limit}"


def _too_large(size: int, limit: int, payload: bytes) -> Deserialise:
    # The whole payload is what must not be kept: the start identifies it.
    start = payload[: Deserialise.shown].decode("utf-8", "replace")
    return Deserialise(_size_words(size, limit), start)
