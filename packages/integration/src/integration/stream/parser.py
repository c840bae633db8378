"""The contract between a transport's messages and typed values.

A parser is pure: bytes and their kind in, a value out. It decodes, counts and
recognises administrative traffic; it knows no venue and never waits.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias, TypeVar

from integration.errors import SocketError
from integration.message import Admin

__all__ = ["BatchLike", "Parsed", "StreamParser"]

Frame_contra = TypeVar("Frame_contra", contravariant=True)
Frame_co = TypeVar("Frame_co", covariant=True)
Output = TypeVar("Output")
Output_co = TypeVar("Output_co", covariant=True)

Parsed: TypeAlias = Output | Admin | SocketError
"""What a parser makes of a frame: a message, administrative traffic, or a fault."""


class BatchLike(Protocol[Frame_co]):
    """What one read of a transport completed; `netcore.ws.Batch` is one."""

    @property
    def timestamp_ns(self) -> int:
        """When the read returned, ns since epoch."""
        ...

    def __iter__(self) -> Iterator[Frame_co]:
        """Iterate over the frames in order."""
        ...


class StreamParser(Protocol[Frame_contra, Output_co]):
    """Decodes what a transport delivers; subclass it and write `parse`."""

    def parse(self, frame: Frame_contra) -> Parsed[Output_co] | None:
        """Decode one frame.

        Args:
            frame: What the transport delivered: for a WebSocket, something with
                `opcode` and `payload`.

        Returns:
            The decoded message; or `Admin` for administrative traffic; or an error
            *value* for a bad frame (a `terminal` one ends the stream); or None if
            there is nothing to say.
        """
        ...

    def parse_batch(
        self, batch: BatchLike[Frame_contra]
    ) -> Sequence[Parsed[Output_co]]:
        """Decode what one read completed, in order.

        Override it where a whole batch decodes faster than its frames one by one.
        """
        parsed = map(self.parse, batch)
        return [item for item in parsed if item is not None]
