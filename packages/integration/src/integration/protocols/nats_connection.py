"""A connection to a NATS server, on trio.

`NatsConnection` drives the codec of `integration.protocols.nats` and is a
`BatchSource`: one read of the socket is one batch. It answers the server's pings while
it reads, asks for life by pings of its own when nothing comes, and ends aloud.

Not here: clusters' gossip (use `ReconnectingSocket`), queues of replies.
"""

import ssl
from collections.abc import Iterable, Mapping, Sequence
from typing import Self, final

import trio

from integration.errors import Broker, Serialise
from integration.protocols.nats import (
    NatsAuth,
    NatsBatch,
    NatsCodec,
    NatsError,
    NatsFrame,
    NatsInfo,
    NatsSignal,
    broken,
    complaint,
    encode_connect,
    encode_publish,
    encode_subscribe,
    encode_unsubscribe,
)
from netcore.clock import Clock, SystemClock

__all__ = ["NatsConnection"]

_RECEIVE_SIZE = 65_536

_SEND_TIMEOUT = 5.0
"""Seconds for which the server may refuse to take a message."""

_PINGS = 2
"""Unanswered pings after which a connection is dead, as the server itself counts."""


@final
class NatsConnection:
    """A connection to one server; a `BatchSource` of its messages.

    Open it with `open`. One task reads, any number publish.

    Attributes:
        info: What the server said about itself, the latest.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        info: NatsInfo,
        codec: NatsCodec,
        clock: Clock | None = None,
        ping_interval: float = 30.0,
    ) -> None:
        self.info = info
        self._stream = stream
        self._codec = codec
        self._clock: Clock = SystemClock() if clock is None else clock
        self._ping_interval = ping_interval
        self._sending = trio.Lock()
        self._last_sid = 0
        self._unanswered = 0
        self._owed = 0
        self._pings = 0
        self._pongs = 0
        self._ready: NatsBatch | None = None

    @classmethod
    async def open(
        cls,
        host: str,
        port: int = 4222,
        *,
        auth: NatsAuth | None = None,
        ssl_context: ssl.SSLContext | None = None,
        name: str = "flowtrade",
        echo: bool = True,
        timeout: float = 5.0,  # noqa: ASYNC109 - covers several steps as one
        ping_interval: float = 30.0,
        clock: Clock | None = None,
    ) -> Self:
        """Connect, secure the connection if asked, and identify ourselves.

        Args:
            host: The server.
            port: Its port.
            auth: How we identify ourselves.
            ssl_context: What to verify the server with; None: no TLS, and a server
                that demands it is refused.
            name: What the server lists us as.
            echo: Whether we get what we publish ourselves.
            timeout: Seconds for all of it.
            ping_interval: Seconds of silence after which we ask for life; after two
                without answer the connection is given up.
            clock: What stamps batches.

        Raises:
            Broker: The server cannot be reached, or refuses us.
            Unauthorised: The server does not accept our identity.
        """
        with trio.move_on_after(timeout):
            try:
                stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
                try:
                    codec = NatsCodec()
                    info = await _first_info(stream, codec)
                    stream = await _secured(stream, info, ssl_context, host)
                    self = cls(stream, info, codec, clock, ping_interval)
                    await self._introduce(
                        encode_connect(info, auth, name=name, echo=echo)
                    )
                except BaseException:
                    await trio.aclose_forcefully(stream)
                    raise
            except (OSError, trio.BrokenResourceError) as error:
                raise Broker(
                    f"no connection to {host}:{port}: {error}", terminal=True
                ) from error
            return self
        raise Broker(f"no connection to {host}:{port} in {timeout} s", terminal=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def subscribe(self, *subjects: str, queue: str = "") -> list[int]:
        """Subscribe to subjects (`*` and `>` match) and return their numbers.

        Raises:
            Serialise: A subject that the protocol cannot carry.
            Broker: The connection is gone.
        """
        first = self._last_sid + 1
        sids = list(range(first, first + len(subjects)))
        pairs = zip(subjects, sids, strict=True)
        lines = [encode_subscribe(s, sid, queue=queue) for s, sid in pairs]
        self._last_sid += len(subjects)
        await self._send(b"".join(lines))
        return sids

    async def unsubscribe(self, sid: int, *, after: int = 0) -> None:
        """End a subscription, at once or after so many messages in all.

        Raises:
            Broker: The connection is gone.
        """
        await self._send(encode_unsubscribe(sid, after=after))

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish one message; it is with the operating system when this returns.

        Raises:
            Serialise: It is larger than the server takes, or cannot be carried.
            Broker: The connection is gone.
        """
        self._check_size(len(payload))
        await self._send(encode_publish(subject, payload, reply=reply, headers=headers))

    async def publish_many(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Publish messages in one write.

        Raises:
            Serialise: One is larger than the server takes; none is sent.
            Broker: The connection is gone.
        """
        lines = []
        for subject, payload in messages:
            self._check_size(len(payload))
            lines.append(encode_publish(subject, payload))
        await self._send(b"".join(lines))

    async def flush(self) -> None:
        """Wait until the server has read all that was published before.

        For connections that only publish: what comes meanwhile is thrown away.

        Raises:
            Broker: The connection is gone, or the server complained.
        """
        await self._ping()
        wanted = self._pings
        while self._pongs < wanted:
            batch = await self.read_batch()
            for frame in batch.frames:
                if isinstance(frame, NatsError):
                    raise complaint(frame.text)

    async def read_batch(self) -> NatsBatch:
        """Wait for a read that completes anything.

        Pings of the server are answered and are part of the batch too.

        Raises:
            Broker: The connection is gone, or the server silent in spite of pings.
        """
        await self._settle()
        while self._ready is None:
            data = await self._receive()
            received = self._clock.now_ns()
            frames = self._codec.feed(data)
            self._unanswered = 0
            if frames:
                # Kept until it is returned: cancelled while answering, nothing is lost.
                self._ready = NatsBatch(received, frames)
                self._note(frames)
                await self._settle()
        batch, self._ready = self._ready, None
        return batch

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def _receive(self) -> bytes:
        while True:
            with trio.move_on_after(self._ping_interval):
                try:
                    data = await self._stream.receive_some(_RECEIVE_SIZE)
                except trio.BrokenResourceError as error:
                    raise Broker(f"connection lost: {error}", terminal=True) from error
                if data:
                    return bytes(data)
                raise Broker("the server closed the connection", terminal=True)
            self._unanswered += 1
            if self._unanswered > _PINGS:
                silence = self._unanswered * self._ping_interval
                raise Broker(f"no sign of life for {silence} s", terminal=True)
            await self._ping()

    async def _ping(self) -> None:
        self._pings += 1
        await self._send(b"PING\r\n")

    def _note(self, frames: Sequence[NatsFrame]) -> None:
        """Remember what is to be answered, and what is new about the server."""
        self._owed += frames.count(NatsSignal.PING)
        self._pongs += frames.count(NatsSignal.PONG)
        for frame in frames:
            if type(frame) is NatsInfo:
                self.info = frame

    async def _settle(self) -> None:
        """Answer the pings that are not answered yet."""
        while self._owed:
            await self._send(b"PONG\r\n")
            self._owed -= 1

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            # Half a message would garble all that follow: a write once begun ends, or
            # the connection does.
            with trio.CancelScope(shield=True), trio.move_on_after(_SEND_TIMEOUT):
                try:
                    await self._stream.send_all(data)
                except trio.BrokenResourceError as error:
                    raise Broker(f"connection lost: {error}", terminal=True) from error
                return
            await trio.aclose_forcefully(self._stream)
            raise Broker("the server takes nothing any more", terminal=True)

    async def _introduce(self, connect: bytes) -> None:
        """Say who we are; the answer to a ping behind it proves that it was heard."""
        self._pings += 1
        await self._send(connect + b"PING\r\n")
        while True:
            data = await self._stream.receive_some(_RECEIVE_SIZE)
            if not data:
                raise Broker("the server closed the connection", terminal=True)
            frames = self._codec.feed(bytes(data))
            self._note(frames)
            await self._settle()
            for frame in frames:
                if isinstance(frame, NatsError):
                    raise complaint(frame.text)
            if NatsSignal.PONG in frames:
                return

    def _check_size(self, size: int) -> None:
        if size > self.info.max_payload:
            most = self.info.max_payload
            raise Serialise(f"a message of {size} bytes exceeds the server's {most}")


async def _first_info(stream: trio.abc.Stream, codec: NatsCodec) -> NatsInfo:
    while True:
        data = await stream.receive_some(_RECEIVE_SIZE)
        if not data:
            raise Broker("the server closed before it said INFO", terminal=True)
        frames = codec.feed(bytes(data))
        for frame in frames:
            if isinstance(frame, NatsError):
                # Too many connections, say: told at once behind INFO.
                raise complaint(frame.text)
        if frames:
            if isinstance(frames[0], NatsInfo):
                return frames[0]
            raise broken(f"INFO had to come first, was {frames[0]}")


async def _secured(
    stream: trio.abc.Stream,
    info: NatsInfo,
    ssl_context: ssl.SSLContext | None,
    host: str,
) -> trio.abc.Stream:
    """Change to TLS behind INFO, as the protocol has it."""
    if ssl_context is None:
        if info.tls_required:
            raise Broker("the server demands TLS; give an ssl_context", terminal=True)
        return stream
    if not (info.tls_required or info.tls_available):
        # Going on in plain text would show our identity to whoever strips TLS.
        raise Broker("TLS was asked for and the server has none", terminal=True)
    secured: trio.SSLStream[trio.abc.Stream] = trio.SSLStream(
        stream, ssl_context, server_hostname=host
    )
    await secured.do_handshake()
    return secured
