"""The frames of a recorded WebSocket, with their places, however broken.

`netcore.ws.reader` serves a live connection: it judges, and stops at the first fault.
Whoever looks into a recording wants to see the frame that is wrong, where it stands,
and what came after it; so this walk reads headers alone and passes no judgement but
`fault`. Pure, and of constant memory: of a payload only its beginning is kept.
"""

from typing import Final, final

import msgspec

from netcore.ws.frames import MAX_CONTROL, Opcode
from netcore.ws.masking import apply_mask

__all__ = ["FrameSeen", "FrameWalk", "Unfinished", "opcode_name"]

_KEPT: Final = 256
"""Bytes of a payload to keep for a preview."""
_LONGER: Final = {126: 2, 127: 8}
_KNOWN: Final = frozenset(Opcode)
_DATA: Final = (Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY)
_MASK_SIZE: Final = 4


def opcode_name(opcode: int) -> str:
    """Return the RFC's word for an opcode, or its number."""
    try:
        return Opcode(opcode).name.lower()
    except ValueError:
        return f"opcode {opcode}"


@final
class FrameSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One frame, complete.

    Attributes:
        offset: Where its header begins.
        opcode: Of RFC 6455 §11.8, or undefined.
        fin: Whether it ends its message.
        rsv: The reserved bits as a number; 4 is a compressed message's.
        masked: Whether a mask key was sent.
        size: Bytes of the payload.
        began: The number of the read that brought its first byte.
        ended: The number of the read that brought its last byte.
        head: The beginning of the unmasked payload, or all of it.
        fault: The rule it breaks, "" for none.
    """

    offset: int
    opcode: int
    fin: bool
    rsv: int
    masked: bool
    size: int
    began: int
    ended: int
    head: bytes
    fault: str = ""


@final
class Unfinished(msgspec.Struct, frozen=True):
    """A frame that the bytes end in.

    Attributes:
        offset: Where its header begins.
        have: Bytes of it that are there, header included.
        need: Bytes it should have; 0 if not even its header is whole.
    """

    offset: int
    have: int
    need: int


class _Header(msgspec.Struct, frozen=True):
    offset: int
    began: int
    first: int
    masked: bool
    size: int
    length: int
    key: int
    shortest: bool


@final
class FrameWalk:
    """Takes the bytes after the handshake as they were read; returns their frames.

    Args:
        masked: Whether the frames are a client's, which must be masked.
        offset: Where the first byte stands in the file.
        compressed: Whether an extension may set the first reserved bit.
        keep: Bytes of each payload to keep.

    Attributes:
        lost: Why reading stopped, "" while it goes on. A header that cannot be one
            means that the place of the next frame is unknown.
    """

    def __init__(
        self,
        *,
        masked: bool,
        offset: int = 0,
        compressed: bool = False,
        keep: int = _KEPT,
    ) -> None:
        self._masked = masked
        self._allowed = 4 if compressed else 0
        self._keep = keep
        self._offset = offset
        self._began = 0
        self._held = bytearray()
        self._header: _Header | None = None
        self._head = bytearray()
        self._left = 0
        self._fragmented = False
        self.lost = ""

    def feed(self, data: bytes, read: int = 0) -> list[FrameSeen]:
        """Return the frames that `data` completes.

        Args:
            data: What one read brought.
            read: The number of that read.
        """
        frames: list[FrameSeen] = []
        view = memoryview(data)
        while not self.lost:
            if self._header is None:
                taken = self._take_header(view, read)
                view = view[taken:]
                if self._header is None:
                    break
            view = self._take_payload(view)
            if self._left:
                break
            frames.append(self._finish(self._header, read))
        return frames

    @property
    def offset(self) -> int:
        """Where the frame under way, or the next one, begins."""
        return self._offset

    @property
    def unfinished(self) -> Unfinished | None:
        """The frame under way, None between frames and after the place was lost."""
        header = self._header
        if self.lost:
            return None
        if header is not None:
            need = header.length + header.size
            return Unfinished(header.offset, need - self._left, need)
        if self._held:
            return Unfinished(self._offset, len(self._held), 0)
        return None

    def _take_header(self, view: memoryview, read: int) -> int:
        """Move bytes of the header from `view`; return how many."""
        taken = 0
        held = self._held
        while (need := _header_length(held)) > len(held):
            piece = view[taken : taken + need - len(held)]
            if not piece:
                return taken
            if not held:
                self._began = read
            held += piece
            taken += len(piece)
        self._open(bytes(held))
        return taken

    def _open(self, header: bytes) -> None:
        first, second = header[0], header[1]
        masked = bool(second & 0x80)
        longer = _LONGER.get(second & 0x7F, 0)
        size = int.from_bytes(header[2 : 2 + longer], "big") if longer else second
        size &= (1 << 63) - 1 if longer else 0x7F
        key = int.from_bytes(header[2 + longer :], "big") if masked else 0
        least = {0: 0, 2: 126, 8: 1 << 16}[longer]
        if first & 0x0F not in _KNOWN or (longer == 8 and header[2] & 0x80):
            self.lost = (
                f"no frame begins with {header.hex(' ')}; what follows is not read"
            )
            return
        self._header = _Header(
            offset=self._offset,
            began=self._began,
            first=first,
            masked=masked,
            size=size,
            length=len(header),
            key=key,
            shortest=size >= least,
        )
        self._held.clear()
        self._left = size

    def _take_payload(self, view: memoryview) -> memoryview:
        piece = view[: self._left]
        room = self._keep - len(self._head)
        if room > 0:
            self._head += piece[:room]
        self._left -= len(piece)
        return view[len(piece) :]

    def _finish(self, header: _Header, read: int) -> FrameSeen:
        head = apply_mask(bytes(self._head), header.key)
        frame = FrameSeen(
            offset=header.offset,
            opcode=header.first & 0x0F,
            fin=bool(header.first & 0x80),
            rsv=header.first >> 4 & 7,
            masked=header.masked,
            size=header.size,
            began=header.began,
            ended=read,
            head=bytes(head),
            fault=self._judge(header),
        )
        if frame.opcode in _DATA:
            self._fragmented = not frame.fin
        self._offset += header.length + header.size
        self._header = None
        self._head.clear()
        return frame

    def _judge(self, header: _Header) -> str:
        """Return the first rule of RFC 6455 §5 that a frame breaks."""
        opcode, fin = header.first & 0x0F, header.first & 0x80
        rsv = header.first >> 4 & 7
        if rsv & ~self._allowed:
            return f"reserved bits {rsv:03b} without an extension for them"
        if opcode not in _DATA and not fin:
            return "a control frame is fragmented"
        if opcode not in _DATA and header.size > MAX_CONTROL:
            return f"a control frame has more than {MAX_CONTROL} bytes"
        if header.masked is not self._masked:
            return "a server masked" if header.masked else "a client did not mask"
        if not header.shortest:
            return "the length is not in its shortest form"
        if opcode == Opcode.CONTINUATION and not self._fragmented:
            return "a continuation of nothing"
        if opcode in (Opcode.TEXT, Opcode.BINARY) and self._fragmented:
            return "a new message inside a fragmented one"
        return ""


def _header_length(held: bytearray) -> int:
    """Return how many bytes the header has, as far as `held` tells."""
    if len(held) < 2:
        return 2
    masked = _MASK_SIZE if held[1] & 0x80 else 0
    return 2 + _LONGER.get(held[1] & 0x7F, 0) + masked
