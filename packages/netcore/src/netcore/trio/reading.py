"""Reading messages in loops, whatever brings the batches.

What may live here: what follows from `read_batch` and `receive_frame` alone.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Self

from netcore.errors import ConnectionClosed
from netcore.ws.batch import Batch
from netcore.ws.closing import ORDERLY
from netcore.ws.frames import Frame

__all__ = ["MessageReader"]


class MessageReader:
    """The base of what delivers messages to a task."""

    __slots__ = ()

    @abstractmethod
    async def read_batch(self) -> Batch:
        """Return the messages of the next read that completes any."""

    @abstractmethod
    async def receive_frame(self) -> Frame:
        """Return the next message with its opcode."""

    async def batches(self) -> AsyncIterator[Batch]:
        """Yield batches until the conversation ends in order (1000 or 1001).

        Raises:
            ConnectionClosed: If it ends otherwise.
            NetError: As `read_batch` does.
        """
        while True:
            try:
                batch = await self.read_batch()
            except ConnectionClosed as exc:
                if exc.code in ORDERLY:
                    return
                raise
            yield batch

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next message's payload; ends as `batches` does."""
        try:
            frame = await self.receive_frame()
        except ConnectionClosed as exc:
            if exc.code in ORDERLY:
                raise StopAsyncIteration from exc
            raise
        return frame.payload

    async def receive_text(self) -> str:
        """Return the next message as text.

        Raises:
            UnicodeDecodeError: If it is not UTF-8: a binary message, or one that was
                not checked.
            NetError: As `read_batch` does.
        """
        return (await self.receive_frame()).text
