"""From frames to messages: fragments, compression, UTF-8, limits (RFC 6455 §5.4-5.6).

What may live here: the order in which data frames may come, and what they add up to.
Control frames pass through untouched; what they mean is `netcore.ws.connection`'s.

Most reads bring nothing but whole messages, and `MessageReader.feed` returns them as
the `FrameReader` gave them. A read with anything else goes through `_merge`, which
walks payloads and marks in their order, holds at most one fragmented message, and
stops at the first fault or close frame.
"""

from typing import TYPE_CHECKING, Final, final

from netcore.ws.closing import CloseCode
from netcore.ws.deflate import Deflate
from netcore.ws.frames import Fault, Mark, Opcode, Role
from netcore.ws.reader import FrameReader, Partial
from netcore.ws.utf8 import Utf8Check

if TYPE_CHECKING:
    from netcore.ws.batch import Head

__all__ = ["MessageReader"]

_NOT_UTF8: Final = Fault(CloseCode.INVALID_DATA, "a text message that is not UTF-8")
_INTERRUPTED: Final = Fault(
    CloseCode.PROTOCOL_ERROR, "a new data frame within a fragmented message"
)
_UNSTARTED: Final = Fault(
    CloseCode.PROTOCOL_ERROR, "a continuation of no fragmented message"
)
_NO_PROBE: Final = Utf8Check()


@final
class _Assembly:
    """A fragmented or compressed message under way.

    Attributes:
        opcode: What its first frame said.
        compressed: Whether its first frame had the extension's bit.
        data: What came of it, expanded; stays empty where frames are delivered.
        size: Bytes that came of it, expanded.
        utf8: The check of a text's pieces.
    """

    __slots__ = ("compressed", "data", "opcode", "size", "utf8")

    def __init__(self, opcode: Opcode, *, compressed: bool) -> None:
        self.opcode = opcode
        self.compressed = compressed
        self.data = bytearray()
        self.size = 0
        self.utf8 = Utf8Check()


@final
class MessageReader:
    """Turns received bytes into messages.

    After each `feed`:

    Attributes:
        opcode: The opcode of what was delivered, where `heads` is None.
        heads: Opcode and fin of each piece delivered, where they differ.
        controls: The control frames, in order; a close frame is the last one.
        fault: The rule that the peer broke, after which nothing is read any more.

    Args:
        role: Our role.
        validate_utf8: Whether text is checked.
        max_message_size: The most bytes of a message, expanded.
        frames: Whether to deliver data frames as they come.
        deflate: The codec of an agreed compression.
    """

    __slots__ = (
        "_deflate",
        "_frames",
        "_max",
        "_message",
        "_probe",
        "_probed",
        "_reader",
        "_validate",
        "controls",
        "fault",
        "heads",
        "opcode",
    )

    def __init__(
        self,
        role: Role,
        *,
        validate_utf8: bool,
        max_message_size: int,
        frames: bool,
        deflate: Deflate | None,
    ) -> None:
        self._reader = FrameReader(
            role, max_frame_size=max_message_size, extended=deflate is not None
        )
        self._validate = validate_utf8
        self._max = max_message_size
        self._frames = frames
        self._deflate = deflate
        self._message: _Assembly | None = None
        self._probed: Partial | None = None
        self._probe = _NO_PROBE
        self.opcode = Opcode.TEXT
        self.heads: list[Head] | None = None
        self.controls: list[Mark] = []
        self.fault: Fault | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages (or data frames) that `data` completes."""
        reader = self._reader
        payloads = reader.feed(data)
        if (
            reader.marks
            or reader.fault is not None
            or self._message is not None
            or (self._validate and not self._check(payloads))
        ):
            return self._merge(payloads)
        if self.controls:
            self.controls = []
        opcode = reader.uniform
        if opcode is None:
            self.heads = [(opcode, True) for opcode in reader.opcodes()]
        else:
            self.opcode = opcode
            self.heads = None
        return payloads

    # -- text ------------------------------------------------------------------------

    def _check(self, payloads: list[bytes]) -> bool:
        """Return whether all text so far is UTF-8."""
        if not all(map(bytes.isascii, payloads)):
            for opcode, payload in zip(self._reader.opcodes(), payloads, strict=True):
                if opcode is Opcode.TEXT and not _is_utf8(payload):
                    return False
        return self._probe_partial()

    def _probe_partial(self) -> bool:
        """Return whether the text of the frame under way can still become UTF-8.

        §8.1 lets a fault wait for the message's end; failing fast spares both ends
        the rest of it.
        """
        partial = self._reader.partial
        if partial is None:
            return True
        if partial is not self._probed:
            self._probed = partial
            self._probe = self._new_probe(partial) or _NO_PROBE
        if self._probe is _NO_PROBE:
            return True
        return self._probe.feed(self._reader.fresh(), final=False)

    def _new_probe(self, partial: Partial) -> Utf8Check | None:
        """Return a check for the frame under way, None if it is no plain text."""
        message = self._message
        if partial.opcode == Opcode.TEXT and message is None:
            return None if partial.rsv1 else Utf8Check()
        if partial.opcode != Opcode.CONTINUATION or message is None:
            return None
        if message.opcode is not Opcode.TEXT or message.compressed:
            return None
        return message.utf8.copy()

    # -- anything unusual ------------------------------------------------------------

    def _merge(self, payloads: list[bytes]) -> list[bytes]:
        """Walk payloads and marks in order; return what may be delivered."""
        reader = self._reader
        opcodes = reader.opcodes()
        delivered: list[bytes] = []
        heads: list[Head] = []
        self.heads = heads
        self.controls = []
        start = 0
        for mark in reader.marks:
            for place in range(start, mark.place):
                self._whole(opcodes[place], payloads[place], delivered)
            start = mark.place
            if self.fault is None:
                self._mark(mark, delivered)
            if self.fault is not None or mark.opcode == Opcode.CLOSE:
                return delivered
        for place in range(start, len(payloads)):
            self._whole(opcodes[place], payloads[place], delivered)
        if self.fault is None:
            self.fault = reader.fault
        if self.fault is None and self._outgrown():
            self.fault = self._too_big()
        if self.fault is None and self._validate and not self._probe_partial():
            self.fault = _NOT_UTF8
        return delivered

    def _outgrown(self) -> bool:
        """Return whether the fragment under way says that it passes the limit.

        Waiting for it would hold as much as the limit once more.
        """
        partial, message = self._reader.partial, self._message
        return (
            partial is not None
            and message is not None
            and partial.opcode == Opcode.CONTINUATION
            and not (message.compressed or self._frames)
            and message.size + partial.size > self._max
        )

    def _too_big(self) -> Fault:
        text = f"a message above the limit of {self._max} bytes"
        return Fault(CloseCode.TOO_BIG, text)

    def _whole(self, opcode: Opcode, payload: bytes, delivered: list[bytes]) -> None:
        """Deliver a message in one frame, unless something is wrong."""
        if self.fault is not None:
            return
        if self._message is not None:
            self.fault = _INTERRUPTED
        elif self._validate and opcode is Opcode.TEXT and not _is_utf8(payload):
            self.fault = _NOT_UTF8
        else:
            self._deliver(opcode, payload, delivered, fin=True)

    def _deliver(
        self, opcode: Opcode, payload: bytes, delivered: list[bytes], *, fin: bool
    ) -> None:
        delivered.append(payload)
        if self.heads is not None:
            self.heads.append((opcode, fin))

    def _mark(self, mark: Mark, delivered: list[bytes]) -> None:
        """Act on a frame that is not a whole message."""
        if mark.opcode >= Opcode.CLOSE:
            self.controls.append(mark)
            return
        message = self._begin_or_continue(mark)
        if message is None:
            return
        self._message = None if mark.fin else message
        piece = self._piece(message, mark)
        if piece is None:
            return
        if self._frames:
            self._deliver(Opcode(mark.opcode), piece, delivered, fin=mark.fin)
            return
        if mark.fin and not message.data:
            self._deliver(message.opcode, piece, delivered, fin=True)
            return
        message.data += piece
        if mark.fin:
            self._deliver(message.opcode, bytes(message.data), delivered, fin=True)

    def _begin_or_continue(self, mark: Mark) -> _Assembly | None:
        """Return the message that a data frame belongs to, None after a fault."""
        message = self._message
        if mark.opcode == Opcode.CONTINUATION:
            if message is None:
                self.fault = _UNSTARTED
            return message
        if message is not None:
            self.fault = _INTERRUPTED
            return None
        return _Assembly(Opcode(mark.opcode), compressed=mark.rsv1)

    def _piece(self, message: _Assembly, mark: Mark) -> bytes | None:
        """Return a fragment's expanded and checked bytes, None after a fault."""
        room = self._max if self._frames else self._max - message.size
        piece: bytes | Fault = mark.payload
        if message.compressed and self._deflate is not None:
            piece = self._deflate.expand(mark.payload, room, fin=mark.fin)
        if not isinstance(piece, bytes):
            self.fault = piece
            return None
        if len(piece) > room:
            self.fault = self._too_big()
            return None
        message.size += len(piece)
        if (
            self._validate
            and message.opcode is Opcode.TEXT
            and not message.utf8.feed(piece, final=mark.fin)
        ):
            self.fault = _NOT_UTF8
            return None
        return piece


def _is_utf8(payload: bytes) -> bool:
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
