"""What every stream can do: bytes in, bytes out, never waiting.

A stream moves bytes between the program and something else: a socket, TLS over a
socket, a file, a recording, another part of the program. It knows no protocol and
starts no thread. Three kinds of driver use the same streams: the busy-polling
`netcore.service`, blocking loops over `select`, and `netcore.trio`.

**Rules** (`netcore.testing.check_stream` tests them):

1. No method waits. *Would block* is a value (None from `receive`, 0 from `send`), the
   peer's end is `b""`, everything else is an exception.
2. `receive` and `send` may be called at any time from the start on; while the stream
   is connecting or shaking hands they would block, and the call drives the handshake.
3. `send` takes a prefix and says how long it was. The rest, all of it, must be offered
   again before anything else; `netcore.stream.outbox.Outbox` keeps it.
4. If a `receive` would return something, either the descriptor is readable or
   `buffered` is true. So a driver parks only while `buffered` is false, and
   after waking reads until None (or `b""`): a selector does not see what a layer
   above the socket already holds.
5. Before `connected()` is true, a driver calls it when the descriptor is ready for
   what the stream waits for: writing if `want_write`, else reading; and at once while
   `buffered`.
6. `fileno()` is -1 where there is nothing to wait on (memory, files, recordings, and
   after `close`): such streams are asked again instead of waited for.
7. A fault is final: the same exception comes from every later call in that
   direction, so that nobody takes a broken stream for one that ended.
8. A stream that collects what it is sent has `flush` and `pending_bytes`, and every
   layer passes both on: flush the top of a stack. What a layer says of its own accord
   (a handshake, a close_notify) it flushes itself, unless bytes of the user wait
   before it.
"""

from typing import Protocol, runtime_checkable

from netcore.clock import Clock, SystemClock
from netcore.info import ConnectionInfo

__all__ = [
    "RECEIVE_SIZE",
    "Buffer",
    "Stream",
    "clock_of",
    "collected_bytes",
    "flush_stream",
]

RECEIVE_SIZE = 65536
"""Bytes of one read. Measured: 4 KiB wastes calls, 256 KiB wastes allocations."""

Buffer = bytes | bytearray | memoryview
"""What can be sent."""

_SYSTEM_CLOCK = SystemClock()


@runtime_checkable
class Stream(Protocol):
    """A two-way stream of bytes that never blocks; the module states the rules."""

    @property
    def info(self) -> ConnectionInfo:
        """Whom the stream talks to."""
        ...

    @property
    def buffered(self) -> bool:
        """Whether a `receive` or the handshake can go on without the descriptor."""
        ...

    @property
    def want_write(self) -> bool:
        """Whether the stream itself, not the user, waits to write."""
        ...

    def receive(self, limit: int = RECEIVE_SIZE, /) -> bytes | None:
        """Return up to `limit` bytes, None if that would block, b"" at the end.

        Args:
            limit: At least 1.

        Raises:
            RemoteError: If the connection failed, broke or was refused.
            StreamClosed: If `close` was called before.
        """
        ...

    def send(self, data: Buffer, /) -> int:
        """Return how many bytes of `data` the layer below took, 0 if it would block.

        Raises:
            RemoteError: If the connection failed, broke or was refused.
            StreamClosed: If `close` was called before.
        """
        ...

    def close(self) -> None:
        """Give everything back to the system; may be called again."""
        ...

    def fileno(self) -> int:
        """Return the descriptor to wait on, -1 if there is none."""
        ...

    def connected(self) -> bool:
        """Return whether bytes can flow; False while connecting or shaking hands.

        Raises:
            ConnectError: If the connection was refused.
            TlsError: If the handshake failed.
            StreamClosed: If `close` was called before.
        """
        ...


def clock_of(stream: Stream) -> Clock:
    """Return the clock to stamp received bytes with.

    A stream that brings bytes from another time, such as a recording, has an
    attribute `clock` for that; all others live now.
    """
    clock = getattr(stream, "clock", None)
    return clock if isinstance(clock, Clock) else _SYSTEM_CLOCK


def flush_stream(stream: Stream) -> bool:
    """Send what a stream, or a layer of it, has collected.

    Returns:
        Whether nothing is collected any more; True for streams that never collect.

    Raises:
        NetError: What sending raises.
    """
    flush = getattr(stream, "flush", None)
    return True if flush is None else bool(flush())


def collected_bytes(stream: Stream) -> int:
    """Return how many bytes a stream and its layers keep until they are flushed."""
    return int(getattr(stream, "pending_bytes", 0))
