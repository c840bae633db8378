"""The wire format of RFC 6455 §5: opcodes, roles, masks, and encoding one frame.

What may live here: the words the other modules of this package share, and
`encode_frame`. Splitting received bytes into frames is `netcore.ws.reader`; whether a
frame is allowed at this point of a conversation is `netcore.ws.connection`'s to judge.
"""

from enum import Enum, IntEnum
from struct import Struct
from typing import Final, NamedTuple, final

import msgspec

from netcore.stream.base import Buffer
from netcore.ws.masking import apply_mask

__all__ = [
    "Fault",
    "Frame",
    "Mark",
    "Masking",
    "Opcode",
    "Role",
    "encode_frame",
]

MAX_CONTROL: Final = 125
"""The most bytes in a control frame (RFC 6455 §5.5)."""


class Opcode(IntEnum):
    """What a frame is (RFC 6455 §11.8)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class Role(Enum):
    """Which end of the connection we are; only clients mask (RFC 6455 §5.1)."""

    CLIENT = "client"
    SERVER = "server"


class Masking(Enum):
    """How a client masks what it sends.

    RANDOM follows the RFC. ZERO sets the mask bit with a key of zeros, which every
    server accepts and which saves the XOR (0.5 to 1.2 µs). It gives up what masks are
    for: that hostile page content cannot steer the bytes an intermediary sees
    (RFC 6455 §10.3). Use it only over TLS to a venue you trust.
    """

    RANDOM = "random"
    ZERO = "zero"


@final
class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame, or one message that arrived as one or several frames.

    Attributes:
        opcode: What it is.
        fin: Whether it ends its message.
        payload: The unmasked bytes.
    """

    opcode: Opcode
    fin: bool
    payload: bytes

    @property
    def text(self) -> str:
        """The payload as text.

        Raises:
            UnicodeDecodeError: If it is not UTF-8, which can only be where the
                connection was told not to check.
        """
        return self.payload.decode()


class Fault(NamedTuple):
    """A broken rule: the close code to answer with, and which rule."""

    code: int
    text: str


class Mark(NamedTuple):
    """A frame that is not simply one whole data message.

    Attributes:
        place: How many payloads were delivered before it.
        opcode: What it is, not yet an `Opcode`.
        fin: Whether it ends its message.
        rsv1: Whether the extension's bit was set.
        payload: The unmasked bytes.
    """

    place: int
    opcode: int
    fin: bool
    rsv1: bool
    payload: bytes


# -- sending -------------------------------------------------------------------------

FIN: Final = 0x80
RSV1: Final = 0x40
MASKED: Final = 0x80
LENGTH_16: Final = 126
LENGTH_64: Final = 127
MAX_16: Final = 0xFFFF

_HEAD_7 = Struct(">BB").pack
_HEAD_16 = Struct(">BBH").pack
_HEAD_64 = Struct(">BBQ").pack
_KEYED_7 = Struct(">BBI").pack
_KEYED_16 = Struct(">BBHI").pack
_KEYED_64 = Struct(">BBQI").pack


def encode_frame(
    opcode: int,
    payload: Buffer,
    *,
    fin: bool = True,
    rsv1: bool = False,
    key: int | None = None,
) -> bytes:
    """Return the bytes of one frame, ready for one send.

    Args:
        opcode: An `Opcode`; it is not checked against the payload.
        payload: The unmasked bytes.
        fin: Whether the frame ends its message.
        rsv1: Whether to set the bit that marks a compressed message.
        key: A client's masking key as an integer, None for a server's frame.
    """
    first = (FIN if fin else 0) | (RSV1 if rsv1 else 0) | opcode
    size = len(payload)
    if key is None:
        if size < LENGTH_16:
            return _HEAD_7(first, size) + payload
        if size <= MAX_16:
            return _HEAD_16(first, LENGTH_16, size) + payload
        return _HEAD_64(first, LENGTH_64, size) + payload
    if key:
        payload = apply_mask(payload, key)
    if size < LENGTH_16:
        return _KEYED_7(first, MASKED | size, key) + payload
    if size <= MAX_16:
        return _KEYED_16(first, MASKED | LENGTH_16, size, key) + payload
    return _KEYED_64(first, MASKED | LENGTH_64, size, key) + payload
