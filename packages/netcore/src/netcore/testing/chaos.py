"""Streams that behave as badly as a network may.

`ScriptedStream` plays a script and knows nobody; `ChaosStream` sits over any stream
and cuts what passes. Both take what a protocol claims to survive: would-blocks at any
moment, single bytes, partial writes, faults.
"""

import random
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import final

from netcore.errors import NetError, StreamClosed
from netcore.info import ConnectionInfo
from netcore.stream.base import (
    RECEIVE_SIZE,
    Buffer,
    Stream,
    collected_bytes,
    flush_stream,
)

__all__ = ["ChaosStream", "ScriptedStream", "Step", "random_sizes"]

Step = bytes | None | BaseException
"""What one receive does: bring bytes, the end (b""), nothing (None), or raise."""


def random_sizes(
    seed: int, *, most: int = 20, would_block: float = 0.3
) -> Iterator[int]:
    """Yield endless sizes for `ChaosStream`: 0, or 1 to `most`.

    Args:
        seed: The same seed yields the same sizes.
        most: The greatest.
        would_block: How often 0 comes, below 1.
    """
    generator = random.Random(seed)  # noqa: S311 -- not for secrets
    while True:
        blocks = generator.random() < would_block
        yield 0 if blocks else generator.randint(1, most)


@final
class ChaosStream:
    """Another stream, through which less passes at a time than could.

    Args:
        inner: The stream below.
        receive: For each receive how many bytes may come; 0 is a would-block.
        send: For each send how many bytes may go; 0 is a would-block.

    When sizes run out, everything passes.
    """

    def __init__(
        self,
        inner: Stream,
        *,
        receive: Iterable[int] = (),
        send: Iterable[int] = (),
    ) -> None:
        self.inner = inner
        self._receives = iter(receive)
        self._sends = iter(send)
        self._over = False  # an end or a fault that was seen stays
        self._refused = 0

    def __repr__(self) -> str:
        return f"<ChaosStream over {self.inner!r}>"

    @property
    def info(self) -> ConnectionInfo:
        """Whom the stream below talks to."""
        return self.inner.info

    @property
    def buffered(self) -> bool:
        """Whether the stream below holds bytes."""
        return self.inner.buffered

    @property
    def want_write(self) -> bool:
        """Whether the stream below waits to write."""
        return self.inner.want_write

    def receive(self, limit: int = RECEIVE_SIZE, /) -> bytes | None:
        """Return as much as the script lets pass."""
        if limit < 1:
            raise ValueError(f"limit must be at least 1, was {limit}")
        size = next(self._receives, limit)
        if size == 0 and not self._over:
            self.inner.connected()  # raises what a real would-block would not hide
            return None
        with self._noting_faults():
            data = self.inner.receive(min(limit, size) or limit)
        self._over = self._over or data == b""
        return data

    def send(self, data: Buffer, /) -> int:
        """Send as much as the script lets pass."""
        octets = memoryview(data).cast("B")
        size = next(self._sends, len(octets))
        if size == 0 and not self._over:
            self.inner.connected()
            return 0
        part = octets[: max(size, self._refused) or None]
        with self._noting_faults():
            taken = self.inner.send(part)
        # What a stream has seen and not taken it must see again (rule 3): TLS has
        # encrypted it by then.
        self._refused = len(part) - taken
        return taken

    @property
    def pending_bytes(self) -> int:
        """How many bytes layers below have collected."""
        return collected_bytes(self.inner)

    def flush(self) -> bool:
        """Send what layers below have collected; return whether all was taken."""
        return flush_stream(self.inner)

    @contextmanager
    def _noting_faults(self) -> Iterator[None]:
        try:
            yield
        except NetError:
            self._over = True
            raise

    def close(self) -> None:
        """Close the stream below."""
        self.inner.close()

    def fileno(self) -> int:
        """Return the descriptor of the stream below."""
        return self.inner.fileno()

    def connected(self) -> bool:
        """Return whether the stream below is connected."""
        return self.inner.connected()


@final
class ScriptedStream:
    """A stream that does what a script says and notes what is sent.

    Args:
        incoming: What the receives do, in order; bytes longer than a receive's limit
            come in parts. Then every receive would block.
        takes: How many bytes each send takes, 0 for a would-block; then all.
        connecting: How often `connected` says False before it says True.
        info: Whom the stream claims to talk to.

    Attributes:
        sent: All bytes taken.
        closed: Whether `close` was called.
    """

    def __init__(
        self,
        incoming: Iterable[Step] = (),
        *,
        takes: Iterable[int] = (),
        connecting: int = 0,
        info: ConnectionInfo | None = None,
    ) -> None:
        self.sent = bytearray()
        self.closed = False
        self._info = info or ConnectionInfo("scripted", 0)
        self._steps: deque[Step] = deque(incoming)
        self._takes = iter(takes)
        self._connecting = connecting

    def __repr__(self) -> str:
        return f"<ScriptedStream with {len(self._steps)} steps>"

    @property
    def info(self) -> ConnectionInfo:
        """Whom the stream claims to talk to."""
        return self._info

    @property
    def buffered(self) -> bool:
        """Whether the script goes on."""
        return not self.closed and not self._connecting and bool(self._steps)

    @property
    def want_write(self) -> bool:
        """Whether it is connecting."""
        return not self.closed and self._connecting > 0

    def feed(self, *steps: Step) -> None:
        """Append to the script."""
        self._steps.extend(steps)

    def receive(self, limit: int = RECEIVE_SIZE, /) -> bytes | None:
        """Do the next step; the end and a fault are never left again."""
        if limit < 1:
            raise ValueError(f"limit must be at least 1, was {limit}")
        if not self.connected() or not self._steps:
            return None
        step = self._steps[0]
        if isinstance(step, BaseException):
            raise step
        if step == b"":
            return b""
        self._steps.popleft()
        if step is not None and len(step) > limit:
            self._steps.appendleft(step[limit:])
            step = step[:limit]
        return step

    def send(self, data: Buffer, /) -> int:
        """Take as much as the script says."""
        if not self.connected():
            return 0
        octets = memoryview(data).cast("B")
        part = octets[: next(self._takes, len(octets))]
        self.sent += part
        return len(part)

    def close(self) -> None:
        """Note it."""
        self.closed = True

    def fileno(self) -> int:
        """Return -1."""
        return -1

    def connected(self) -> bool:
        """Return False as often as the script says, then True."""
        if self.closed:
            raise StreamClosed(f"{self!r} was closed before")
        if self._connecting:
            self._connecting -= 1
            return False
        return True
