"""What was sent, freed of what chance put into it: a pure comparer.

Two runs of the same client never send the same bytes over a WebSocket: the handshake
holds a random key (RFC 6455 §4.1) and every frame a random mask (§5.3). The
`Normaliser` takes both out, so that what is left is what the program decided. Streams
that do not begin with a WebSocket handshake pass unchanged.

Nothing here knows the rest of the WebSocket protocol, and a broken frame is no error:
it differs, or it does not.
"""

import enum
import re
from collections.abc import Callable
from typing import final

from netcore.errors import ReplayDivergence

__all__ = ["Normaliser", "OutboundComparer"]

_METHOD = b"GET "
_HEAD_END = b"\r\n\r\n"
_MAX_HEAD = 16384  # the limit of netcore's own handshake
_KEY = re.compile(rb"(?im)^(Sec-WebSocket-Key:[ \t]*)[^\r\n]*")

_MASKED = 0x80
_LENGTH = 0x7F
_LENGTH_16 = 126
_LENGTH_64 = 127
_MASK_SIZE = 4


class _Part(enum.Enum):
    HEAD = enum.auto()
    RAW = enum.auto()
    FRAME = enum.auto()
    PAYLOAD = enum.auto()


@final
class Normaliser:
    """Turns sent bytes, cut anywhere, into bytes that two runs can share.

    The handshake's key value becomes ``*``; each frame becomes its header without
    the mask key, followed by the unmasked payload.
    """

    def __init__(self) -> None:
        self._part = _Part.HEAD
        self._held = bytearray()
        self._left = 0
        self._mask = bytes(_MASK_SIZE)

    def feed(self, data: bytes) -> bytes:
        """Return as much as is certain after `data`."""
        self._held += data
        out = bytearray()
        while self._step(out):
            pass
        return bytes(out)

    def _step(self, out: bytearray) -> bool:
        """Move one part from what is held to `out`; return whether to go on."""
        match self._part:
            case _Part.HEAD:
                return self._head(out)
            case _Part.RAW:
                out += self._held
                self._held.clear()
                return False
            case _Part.FRAME:
                return self._frame(out)
            case _Part.PAYLOAD:
                return self._payload(out)

    def _head(self, out: bytearray) -> bool:
        held = self._held
        start = bytes(held[: len(_METHOD)])
        # Searched no further than the limit, so that cuts make no difference.
        end = held.find(_HEAD_END, 0, _MAX_HEAD)
        if not _METHOD.startswith(start) or (end < 0 and len(held) >= _MAX_HEAD):
            self._part = _Part.RAW
            return True
        if end < 0:
            return False
        end += len(_HEAD_END)
        head, found = _KEY.subn(rb"\1*", bytes(held[:end]))
        out += head
        del held[:end]
        self._part = _Part.FRAME if found else _Part.RAW
        return True

    def _frame(self, out: bytearray) -> bool:
        held = self._held
        if len(held) < 2:
            return False
        masked, length = held[1] & _MASKED, held[1] & _LENGTH
        extended = {_LENGTH_16: 2, _LENGTH_64: 8}.get(length, 0)
        header = 2 + extended
        size = header + (_MASK_SIZE if masked else 0)
        if len(held) < size:
            return False
        if extended:
            length = int.from_bytes(held[2:header], "big")
        out += held[:header]
        self._mask = bytes(held[header:size]) if masked else bytes(_MASK_SIZE)
        self._left = length
        del held[:size]
        self._part = _Part.PAYLOAD if length else _Part.FRAME
        return True

    def _payload(self, out: bytearray) -> bool:
        piece = bytes(self._held[: self._left])
        if not piece:
            return False
        out += _unmask(piece, self._mask)
        del self._held[: len(piece)]
        self._left -= len(piece)
        turn = len(piece) % _MASK_SIZE
        self._mask = self._mask[turn:] + self._mask[:turn]
        if not self._left:
            self._part = _Part.FRAME
        return True


@final
class OutboundComparer:
    """Compares what is sent with what was recorded, byte by normalised byte.

    Args:
        read: Returns the next recorded bytes, b"" at their end.
    """

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._sent = Normaliser()
        self._recorded = Normaliser()
        self._expected = bytearray()
        self._ended = False
        self._offset = 0

    def check(self, data: bytes) -> None:
        """Compare the next sent bytes.

        Raises:
            ReplayDivergence: At the first byte that differs or was not recorded.
        """
        got = self._sent.feed(data)
        self._fill(len(got))
        expected = self._expected
        if not expected.startswith(got):
            self._diverge(got)
        del expected[: len(got)]
        self._offset += len(got)

    def finish(self) -> None:
        """Check that all that was recorded has been sent.

        Raises:
            ReplayDivergence: If something is missing.
        """
        self._fill(1)
        if self._expected:
            raise ReplayDivergence(self._offset, "recorded bytes were never sent")

    def _fill(self, size: int) -> None:
        while len(self._expected) < size and not self._ended:
            data = self._read()
            self._ended = not data
            self._expected += self._recorded.feed(data)

    def _diverge(self, got: bytes) -> None:
        expected = self._expected
        same = next(
            (i for i, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b),
            len(expected),
        )
        if same == len(expected):
            text = f"{len(got) - same} bytes were sent that were not recorded"
        else:
            text = f"0x{got[same]:02x} was sent, 0x{expected[same]:02x} was recorded"
        raise ReplayDivergence(self._offset + same, text)


def _unmask(data: bytes, mask: bytes) -> bytes:
    """Return `data` XORed with the repeated `mask` (RFC 6455 §5.3)."""
    size = len(data)
    repeated = (mask * (size // _MASK_SIZE + 1))[:size]
    value = int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")
    return value.to_bytes(size, "big")
