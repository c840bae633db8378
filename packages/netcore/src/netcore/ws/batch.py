"""What one read of a socket brought: the messages, and when.

Values only; how they come about is `netcore.ws.connection`'s.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar, final

import msgspec

from netcore.models import Timestamp
from netcore.ws.frames import Frame, Opcode

__all__ = ["Batch", "Decoder", "Head", "mixed_batch"]

Head = tuple[Opcode, bool]
"""Opcode and fin of something delivered."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Decoder(Protocol[T_co]):
    """What turns a payload into a value, such as a `msgspec.json.Decoder`."""

    def decode(self, payload: bytes, /) -> T_co:
        """Return the value that `payload` stands for."""
        ...


@final
class Batch(msgspec.Struct, frozen=True):
    """The messages that one read completed, in order; never empty.

    `batch.payloads` is the fast way in; iterating makes a `Frame` of each message
    (about 80 ns more).

    Attributes:
        timestamp_ns: When the read returned, the same for all.
        payloads: The messages' bytes, independent of the read's buffer.
        opcode: What the messages are, TEXT or BINARY, where `heads` is None.
        heads: (opcode, fin) of each message where they differ, else None. `fin` is
            false only for the fragments of a connection that was asked for frames.
    """

    timestamp_ns: Timestamp
    payloads: list[bytes]
    opcode: Opcode = Opcode.TEXT
    heads: list[Head] | None = None

    def __len__(self) -> int:
        return len(self.payloads)

    def __iter__(self) -> Iterator[Frame]:
        if self.heads is None:
            for payload in self.payloads:
                yield Frame(self.opcode, True, payload)
        else:
            for (opcode, fin), payload in zip(self.heads, self.payloads, strict=True):
                yield Frame(opcode, fin, payload)

    @property
    def opcodes(self) -> Sequence[Opcode]:
        """The opcode of each message."""
        if self.heads is None:
            return [self.opcode] * len(self.payloads)
        return [opcode for opcode, _ in self.heads]

    def decode(self, decoder: Decoder[T]) -> list[T]:
        """Return the value of every payload.

        Raises:
            Exception: What `decoder` raises for the first payload it refuses.
        """
        decode = decoder.decode
        return [decode(payload) for payload in self.payloads]


def mixed_batch(
    timestamp_ns: Timestamp, payloads: list[bytes], heads: list[Head]
) -> Batch:
    """Return a batch, without `heads` if they are all the same after all."""
    first = heads[0]
    if first[1] and heads.count(first) == len(heads):
        return Batch(timestamp_ns, payloads, first[0])
    return Batch(timestamp_ns, payloads, first[0], heads)
