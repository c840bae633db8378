"""The contract between a transport's messages and typed values.

A parser is pure: bytes and their kind in, a value out. It decodes, counts and
recognises administrative traffic; it knows no venue and never waits.
"""

from typing import Protocol, TypeVar

from integration.errors import SocketError
from integration.message import Admin

__all__ = ["StreamParser"]

Frame_contra = TypeVar("Frame_contra", contravariant=True)
Output_co = TypeVar("Output_co", covariant=True)


class StreamParser(Protocol[Frame_contra, Output_co]):
    """Decodes what a transport delivers, one frame at a time."""

    def parse(self, frame: Frame_contra) -> Output_co | Admin | SocketError | None:
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
