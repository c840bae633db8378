"""The contract of a sink, and the loop that feeds one."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import trio

from integration.stream.exchange_stream import BatchStream

__all__ = ["BatchSink", "pump"]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class BatchSink(Protocol[T_contra]):
    """Takes lists of items."""

    async def send_batch(self, items: Sequence[T_contra]) -> None:
        """Take items in order; they are safe at their destination when this returns.

        Raises:
            SocketError: Some may not have arrived.
        """
        ...

    async def aclose(self) -> None:
        """Close what the sink writes to."""
        ...


async def pump(
    stream: BatchStream[T],
    sink: BatchSink[T],
    *,
    keep: Callable[[T], bool] = lambda _: True,
) -> int:
    """Send everything a stream delivers to a sink, until the stream ends.

    The next batch is read when the sink has taken the last one, so that a slow sink
    slows the stream, and a source that commits on reading commits what is safe.

    Args:
        stream: Where batches come from.
        sink: Where they go.
        keep: Chooses items; all by default.

    Returns:
        How many items were sent.
    """
    sent = 0
    while True:
        try:
            batch = await stream.next_batch()
        except trio.EndOfChannel:
            return sent
        kept = [item for item in batch if keep(item)]
        if kept:
            await sink.send_batch(kept)
            sent += len(kept)
