"""Collecting writes until they are wanted on the wire.

For users who build a burst of orders piece by piece and want it to leave in one go.
The protocols of this package do not need it: they encode whole messages.
"""

from typing import final

from netcore.errors import BufferFull, StreamClosed
from netcore.info import ConnectionInfo
from netcore.stream.base import (
    RECEIVE_SIZE,
    Buffer,
    Stream,
    collected_bytes,
    flush_stream,
)
from netcore.stream.outbox import Outbox

__all__ = ["DEFAULT_SIZE", "BufferedStream"]

DEFAULT_SIZE = 65536
"""One send's worth."""


@final
class BufferedStream:
    """A stream whose `send` only collects; `flush` sends.

    Args:
        inner: The stream to send to.
        size: The most bytes that are collected.
    """

    __slots__ = ("_closed", "_inner", "_outbox")

    def __init__(self, inner: Stream, size: int = DEFAULT_SIZE) -> None:
        self._inner = inner
        self._outbox = Outbox(size)
        self._closed = False

    def __repr__(self) -> str:
        return f"<BufferedStream of {self.pending_bytes} bytes before {self._inner!r}>"

    @property
    def info(self) -> ConnectionInfo:
        """Whom the stream talks to."""
        return self._inner.info

    @property
    def buffered(self) -> bool:
        """Whether the stream below holds bytes to be received."""
        return self._inner.buffered

    @property
    def want_write(self) -> bool:
        """Whether the stream below waits to write."""
        return self._inner.want_write

    @property
    def pending_bytes(self) -> int:
        """How many bytes are collected, here and below."""
        return self._outbox.pending_bytes + collected_bytes(self._inner)

    def receive(self, limit: int = RECEIVE_SIZE, /) -> bytes | None:
        """Return what the stream below receives."""
        return self._inner.receive(limit)

    def send(self, data: Buffer, /) -> int:
        """Collect all of `data` and return its size.

        Raises:
            BufferFull: If it does not fit; nothing was collected then.
            StreamClosed: After `close`.
        """
        if self._closed:
            raise StreamClosed(f"send on a closed {self!r}")
        self._outbox.push(data)
        return memoryview(data).nbytes

    def flush(self) -> bool:
        """Send what was collected, here and below; return whether all was taken.

        Raises:
            NetError: What the stream below raises.
        """
        while True:
            before = self.pending_bytes
            done = self._fill_inner()
            if flush_stream(self._inner) and done:
                return True
            # Once more if a layer below was full and has room now.
            if not hasattr(self._inner, "flush") or self.pending_bytes >= before:
                return False

    def _fill_inner(self) -> bool:
        """Hand on what was collected here; return whether all was taken."""
        try:
            return self._outbox.flush(self._inner)
        except BufferFull:
            if not collected_bytes(self._inner):
                raise  # it will never fit
            return False

    def close(self) -> None:
        """Close the stream below; what was not flushed is dropped, never sent."""
        self._closed = True
        self._outbox.clear()
        self._inner.close()

    def fileno(self) -> int:
        """Return the descriptor of the stream below."""
        return self._inner.fileno()

    def connected(self) -> bool:
        """Return whether the stream below is connected."""
        return self._inner.connected()
