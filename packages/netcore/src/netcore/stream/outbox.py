"""Bytes that a stream has not taken yet, in order and bounded.

Streams take what the kernel takes and queue nothing. Whoever writes whole messages
(WebSocket frames, HTTP requests, FIX messages) puts an `Outbox` in between, so that
no message is ever torn and a slow peer ends in `BufferFull`, not in a full memory.
"""

from collections import deque
from typing import final

from netcore.errors import BufferFull
from netcore.stream.base import Buffer, Stream

__all__ = ["DEFAULT_LIMIT", "Outbox"]

DEFAULT_LIMIT = 1 << 20
"""1 MiB: some thousand orders; whoever queues more has lost the peer."""

# A send of many small pieces costs a call each; of one huge one, a copy each.
_JOIN_BELOW = 65536


@final
class Outbox:
    """A queue of bytes before a stream.

    Args:
        limit: The most bytes that may wait.
    """

    __slots__ = ("_head", "_offset", "_pending", "_pieces", "limit")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, was {limit}")
        self.limit = limit
        self._pieces: deque[bytes] = deque()
        self._head = b""
        self._offset = 0
        self._pending = 0

    def __repr__(self) -> str:
        return f"<Outbox {self._pending} of {self.limit} bytes>"

    @property
    def pending_bytes(self) -> int:
        """How many bytes wait."""
        return self._pending

    def push(self, data: Buffer) -> None:
        """Queue `data` whole; a buffer that can change is copied.

        Raises:
            BufferFull: If it would exceed the limit; nothing is queued then.
        """
        size = memoryview(data).nbytes
        if self._pending + size > self.limit:
            raise BufferFull(self._pending, size, self.limit)
        if size:
            self._pieces.append(bytes(data))
            self._pending += size

    def flush(self, stream: Stream) -> bool:
        """Offer what waits to `stream`; return whether nothing waits any more.

        Raises:
            NetError: What the stream raises; what it did not take keeps waiting.
        """
        while self._pending:
            if self._offset == len(self._head):
                self._next_head()
            taken = stream.send(
                memoryview(self._head)[self._offset :] if self._offset else self._head
            )
            if not taken:
                return False
            self._offset += taken
            self._pending -= taken
        self._head, self._offset = b"", 0
        return True

    def write(self, stream: Stream, data: Buffer) -> bool:
        """Queue `data` behind what waits and flush; the same as both calls.

        Costs no queueing at all in the usual case that nothing waits and the
        stream takes everything.

        Raises:
            BufferFull: If it would exceed the limit; nothing is sent or queued then.
            NetError: What the stream raises.
        """
        if self._pending:
            self.push(data)
            return self.flush(stream)
        size = memoryview(data).nbytes
        if size > self.limit:
            raise BufferFull(0, size, self.limit)
        taken = stream.send(data)
        if taken == size:
            return True
        self._head, self._offset = bytes(data), taken
        self._pending = size - taken
        return False

    def clear(self) -> None:
        """Forget what waits, as after a lost connection."""
        self._pieces.clear()
        self._head, self._offset, self._pending = b"", 0, 0

    def _next_head(self) -> None:
        """Take the next piece, or as many small ones as fit into one send."""
        pieces = self._pieces
        head = pieces.popleft()
        if pieces and len(head) + len(pieces[0]) <= _JOIN_BELOW:
            joined = [head]
            size = len(head)
            while pieces and size + len(pieces[0]) <= _JOIN_BELOW:
                size += len(pieces[0])
                joined.append(pieces.popleft())
            head = b"".join(joined)
        self._head, self._offset = head, 0
