"""The contract between a decoded message and what we make of it.

A transformer is pure: it may keep state (a running volume, a table of
subscriptions), it never waits, and it never sees a socket.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar

__all__ = ["Transformer"]

Input_contra = TypeVar("Input_contra", contravariant=True)
Output_co = TypeVar("Output_co", covariant=True)


class Transformer(Protocol[Input_contra, Output_co]):
    """Makes zero or more outputs of each message, in order."""

    def transform(
        self, message: Input_contra, time_received: int
    ) -> Iterable[Output_co]:
        """Transform one message.

        A fault that concerns only this message is an output like any other: put a
        `SocketError` or `DataError` instance where its event would have stood.

        Args:
            message: What the parser decoded.
            time_received: When its bytes were read from the socket, ns since epoch.

        Returns:
            The outputs, as a tuple or a list (`()` for none).

        Raises:
            SocketError: The stream cannot go on.
            DataError: The stream cannot go on.
        """
        ...
