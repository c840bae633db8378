"""A stream within the program: what one end sends, the other receives.

For tests, and to put a protocol's two halves back to back. Nothing is scheduled:
bytes are there as soon as `send` returns.
"""

from typing import final

from netcore.errors import ConnectionLost, StreamClosed
from netcore.info import ConnectionInfo
from netcore.stream.base import RECEIVE_SIZE, Buffer

__all__ = ["DEFAULT_CAPACITY", "MemoryStream", "memory_stream_pair"]

DEFAULT_CAPACITY = 65536
"""Bytes that fit between the ends, as small as a socket's usual buffer."""


class _Pipe:
    """One direction."""

    __slots__ = ("capacity", "data", "read_closed", "write_closed")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.data = bytearray()
        self.read_closed = False
        self.write_closed = False


@final
class MemoryStream:
    """One end of a pair made by `memory_stream_pair`."""

    __slots__ = ("_incoming", "_info", "_outgoing")

    def __init__(self, incoming: _Pipe, outgoing: _Pipe, info: ConnectionInfo) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._info = info

    def __repr__(self) -> str:
        return f"<MemoryStream to {self._info}>"

    @property
    def info(self) -> ConnectionInfo:
        """Whom the stream talks to, as the pair was told."""
        return self._info

    @property
    def buffered(self) -> bool:
        """Whether bytes, or the end, are there to be received."""
        pipe = self._incoming
        return not pipe.read_closed and (bool(pipe.data) or pipe.write_closed)

    @property
    def want_write(self) -> bool:
        """False: there is nothing to wait for."""
        return False

    def receive(self, limit: int = RECEIVE_SIZE, /) -> bytes | None:
        """Return up to `limit` bytes, None if there are none yet, b"" at the end.

        Raises:
            StreamClosed: After `close`.
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, was {limit}")
        pipe = self._incoming
        if pipe.read_closed:
            raise StreamClosed(f"receive on a closed {self!r}")
        if pipe.data:
            piece = bytes(pipe.data[:limit])
            del pipe.data[:limit]
            return piece
        return b"" if pipe.write_closed else None

    def send(self, data: Buffer, /) -> int:
        """Return how many bytes fitted.

        Raises:
            ConnectionLost: If the other end was closed.
            StreamClosed: After `close`.
        """
        pipe = self._outgoing
        if pipe.write_closed:
            raise StreamClosed(f"send on a closed {self!r}")
        if pipe.read_closed:
            raise ConnectionLost(f"the other end of {self!r} was closed")
        room = pipe.capacity - len(pipe.data)
        with memoryview(data) as view, view.cast("B") as octets, octets[:room] as part:
            pipe.data += part
            return len(part)

    def close(self) -> None:
        """End both directions; the other end still receives what was sent."""
        self._outgoing.write_closed = True
        self._incoming.read_closed = True
        self._incoming.data.clear()

    def fileno(self) -> int:
        """Return -1."""
        return -1

    def connected(self) -> bool:
        """Return True.

        Raises:
            StreamClosed: After `close`.
        """
        if self._incoming.read_closed:
            raise StreamClosed(f"{self!r} was closed")
        return True


def memory_stream_pair(
    *, capacity: int = DEFAULT_CAPACITY
) -> tuple[MemoryStream, MemoryStream]:
    """Return two streams that talk to each other.

    Args:
        capacity: Bytes that fit between them in each direction, at least 1.
    """
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1, was {capacity}")
    there, back = _Pipe(capacity), _Pipe(capacity)
    client = MemoryStream(back, there, ConnectionInfo("memory.server", 0))
    server = MemoryStream(there, back, ConnectionInfo("memory.client", 0))
    return client, server
