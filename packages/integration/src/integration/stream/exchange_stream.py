"""The pillar of streaming: read, parse, transform, a batch at a time.

::

    source.read_batch() -> parser.parse_batch() -> transformer.transform() -> buffer
        (awaits)               (pure)                  (pure)

The only place that waits is the read. Nothing is awaited between a read and the
moment its outputs lie in the buffer, so a cancelled consumer loses nothing: an output
is either delivered or still there. One checkpoint is paid per read, never per
message, because it costs four times as much as decoding a trade (measured).

Faults of single messages are outputs; an exception means that the connection is over.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NoReturn, Protocol, Self, TypeAlias, TypeVar

import trio

from integration.errors import DataError, IntegrationError, SocketError
from integration.message import Admin
from integration.stream.mapping import socket_error
from integration.stream.parser import BatchLike, StreamParser
from integration.stream.transformer import Transformer
from netcore.errors import NetError

__all__ = ["BatchSource", "BatchStream", "ExchangeStream", "StreamStats"]

Frame = TypeVar("Frame")
Frame_co = TypeVar("Frame_co", covariant=True)
Input = TypeVar("Input")
Output = TypeVar("Output")


Whole: TypeAlias = Callable[
    [BatchLike[Frame]], Sequence[Output | IntegrationError] | None
]
"""Makes outputs of a batch as a whole; None: not of this one."""

_NO_MESSAGE = (Admin, SocketError)
"""What a parser can return beside a message; named once, not built per message."""


class BatchSource(Protocol[Frame_co]):
    """A transport that delivers batches; `netcore.trio.TrioWebSocket` is one."""

    async def read_batch(self) -> BatchLike[Frame_co]:
        """Wait for the next read that completes anything.

        Raises:
            NetError: The connection is over (`ConnectionClosed`) or broke.
            SocketError: The same, from a source of this package.
            trio.EndOfChannel: The source has come to its regular end.
        """
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


class BatchStream(Protocol[Output]):
    """A stream that delivers lists: what streams and combinators have in common."""

    async def next_batch(self) -> list[Output]:
        """Wait for outputs; never returns an empty list.

        Raises:
            trio.EndOfChannel: The stream has come to its regular end.
            IntegrationError: The stream is over because of a fault.
        """
        ...

    async def aclose(self) -> None:
        """Close the stream and what it reads from."""
        ...


class StreamStats:
    """What went through a stream so far.

    Attributes:
        batches: Reads that completed anything.
        messages: Messages that were transformed.
        outputs: What transformers made of them, faults included.
        faults: Frames that did not decode.
        admin: Administrative frames.
        last_received: When the latest read returned, ns since epoch; 0 if none did.
    """

    __slots__ = (
        "admin",
        "batches",
        "faults",
        "last_received",
        "messages",
        "outputs",
    )

    def __init__(self) -> None:
        self.batches = 0
        self.messages = 0
        self.outputs = 0
        self.faults = 0
        self.admin = 0
        self.last_received = 0

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)}" for name in self.__slots__)
        return f"StreamStats({fields})"


class ExchangeStream(Generic[Frame, Input, Output]):
    """A source read through a parser and a transformer.

    Iterate with `async for` for single outputs, or take lists with `next_batch`: one
    list per read is what the rest of the house is built on. Both may be mixed. One
    task reads at a time.

    Args:
        source: Where batches come from; closed with the stream.
        parser: What decodes their frames.
        transformer: What makes outputs of the messages.
        initial: Outputs that are served before anything is read.
        on_admin: Gets administrative traffic and when it came; must not wait.
        whole: Makes outputs of a whole batch, parser and transformer in one; gets it
            before they do, and returns None to leave it to them.
    """

    def __init__(
        self,
        source: BatchSource[Frame],
        parser: StreamParser[Frame, Input],
        transformer: Transformer[Input, Output],
        *,
        initial: Iterable[Output | IntegrationError] = (),
        on_admin: Callable[[Admin, int], None] | None = None,
        whole: Whole[Frame, Output] | None = None,
    ) -> None:
        self.stats = StreamStats()
        self._source = source
        self._parser = parser
        self._transformer = transformer
        self._on_admin = on_admin
        self._whole = whole
        self._buffer: deque[Output | IntegrationError] = deque(initial)
        self._fault: IntegrationError | trio.EndOfChannel | None = None

    @property
    def source(self) -> BatchSource[Frame]:
        """Where batches come from, for those who send on the same connection."""
        return self._source

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Output | IntegrationError:
        if not self._buffer:
            try:
                await self._fill()
            except trio.EndOfChannel:
                raise StopAsyncIteration from None
        return self._buffer.popleft()

    async def next_batch(self) -> list[Output | IntegrationError]:
        """Wait for the outputs of the next read that has any.

        Outputs that wait already are returned first, all of them.

        Raises:
            trio.EndOfChannel: The source has come to its regular end.
            Terminated: The peer closed the connection.
            WebSocket: The connection broke.
            SocketError: Another terminal fault, or the transformer's own.
            DataError: The transformer's own.
        """
        if self._buffer:
            # The checkpoint comes first: cancelled here, the buffer keeps everything.
            await trio.lowlevel.checkpoint()
        else:
            await self._fill()
        batch = list(self._buffer)
        self._buffer.clear()
        return batch

    async def aclose(self) -> None:
        """Close the source. Outputs that wait can still be taken."""
        await self._source.aclose()

    async def _fill(self) -> None:
        """Read until the buffer holds something."""
        while not self._buffer:
            if self._fault is not None:
                await trio.lowlevel.checkpoint()
                self._fail(self._fault)
            try:
                batch = await self._source.read_batch()
            except (NetError, OSError, trio.BrokenResourceError) as error:
                self._fault = socket_error(error)
                raise self._fault from error
            except (SocketError, trio.EndOfChannel) as error:
                self._fault = error
                raise
            if self._whole is None or not self._absorb_whole(batch, self._whole):
                self._absorb(batch)

    def _absorb_whole(
        self,
        batch: BatchLike[Frame],
        whole: Whole[Frame, Output],
    ) -> bool:
        outputs = whole(batch)
        if outputs is None:
            return False
        self._buffer.extend(outputs)
        stats = self.stats
        stats.batches += 1
        stats.outputs += len(outputs)
        stats.last_received = batch.timestamp_ns
        return True

    def _absorb(self, batch: BatchLike[Frame]) -> None:
        stats, buffer = self.stats, self._buffer
        received = batch.timestamp_ns
        transform = self._transformer.transform
        before = len(buffer)
        messages = 0
        try:
            for item in self._parser.parse_batch(batch):
                if not isinstance(item, _NO_MESSAGE):
                    messages += 1
                    buffer.extend(transform(item, received))
                elif isinstance(item, Admin):
                    self._administer(item, received)
                elif item.terminal:
                    self._fault = item
                    break
                else:
                    stats.faults += 1
                    buffer.append(item)
        except (SocketError, DataError) as fault:
            self._fault = fault
        stats.batches += 1
        stats.messages += messages
        stats.outputs += len(buffer) - before
        stats.last_received = received

    def _administer(self, admin: Admin, received: int) -> None:
        self.stats.admin += 1
        if self._on_admin is not None:
            self._on_admin(admin, received)

    @staticmethod
    def _fail(fault: Exception) -> NoReturn:
        raise fault
