"""Split bytes, cut anywhere, into the frames of RFC 6455 §5.2.

What may live here: `FrameReader` and its tables. It judges the format of single frames
(reserved bits, masks, lengths); their order is `netcore.ws.connection`'s business.

**How the reader is fast in plain Python.** A flood of market data is a long row of
final, unfragmented frames of one opcode, so only these deserve speed. Their headers
are four (or two) bytes that differ in the length alone, hence::

    payload = read(length_of[read(4)])

over a `BytesIO` of what the socket gave: two calls into C and one dict lookup do what
unpacking, comparing, adding and slicing would do, in 0.6 of the time. An unknown
header is a `KeyError`, and leads to `_unusual`, which knows all of the format, learns
the length if the frame was a regular one, and hands control frames, fragments and
faults on as *marks*.

Two loops exist, because a frame below 126 bytes has a header of two bytes: one reads
four bytes at once and is left at the first short frame, the other reads two and two.
After a short frame the reader stays with the second loop for a while.

**Where a compiler was.** `netcore.ws._speedups.split` takes the place of both loops. It
stops where they would, so all the rest is the same code; `netcore.ws.speedups` tells
which is in use.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Final, final

from netcore.ws import _speedups
from netcore.ws.frames import (
    FIN,
    LENGTH_16,
    LENGTH_64,
    MASKED,
    MAX_16,
    MAX_CONTROL,
    RSV1,
    Fault,
    Mark,
    Opcode,
    Role,
)
from netcore.ws.masking import apply_mask, rotate_key
from netcore.ws.speedups import COMPILED

__all__ = ["DEFAULT_MAX_FRAME", "FrameReader", "Partial"]

DEFAULT_MAX_FRAME: Final = 16 << 20
"""16 MiB. Books of thousands of levels stay below 1 MiB; 16 is Autobahn's largest."""

_LONG: Final = -1
"""In a table of two-byte headers: a 16-bit length follows."""

# Lengths learnt per table. Market data shows a few thousand; the limit keeps a peer
# that sends every length from filling memory (16384 entries are about 2.5 MB).
_MOST_LEARNT: Final = 16384

# After a short frame, so many feeds use the loop for both kinds of header.
_MIXED_FEEDS: Final = 64

# Reads below this many bytes are looked at for being a single frame.
_SMALL: Final = 4096

_Split = Callable[[bytes, int, int, int, list[bytes]], int]

_DATA_OPCODES: Final = (Opcode.TEXT, Opcode.BINARY)
_CONTROL: Final = 0x8
_KNOWN: Final = frozenset(Opcode)


class _Lengths:
    """What the headers of regular frames of one opcode say, as tables.

    Attributes:
        four: Four-byte header -> length from 126 to 65535, learnt.
        two: Two-byte header -> length up to 125, or `_LONG`.
        extended: The two length bytes after a `_LONG` header -> length, learnt.
        first: The first byte of all these headers.
        limit: The longest payload that is regular.
    """

    __slots__ = ("extended", "first", "four", "limit", "opcode", "two")

    def __init__(self, opcode: Opcode, *, masked: bool, limit: int) -> None:
        self.opcode = opcode
        self.limit = limit
        self.first = first = FIN | opcode
        bit = MASKED if masked else 0
        self.four: dict[bytes, int] = {}
        self.extended: dict[bytes, int] = {}
        self.two = {
            bytes((first, bit | size)): size for size in range(min(limit, 125) + 1)
        }
        if limit >= LENGTH_16:
            self.two[bytes((first, bit | LENGTH_16))] = _LONG

    def learn(self, header: bytes, size: int) -> None:
        """Let the loops know the header of a regular frame of `size` bytes."""
        if LENGTH_16 <= size <= min(MAX_16, self.limit):
            if len(self.four) < _MOST_LEARNT:
                self.four[header] = size
            if len(self.extended) < _MOST_LEARNT:
                self.extended[header[2:]] = size


def _tables(*, masked: bool, limit: int) -> dict[int, _Lengths]:
    return {op: _Lengths(op, masked=masked, limit=limit) for op in _DATA_OPCODES}


# Connections whose limit no 16-bit length can pass share what was learnt.
_SHARED: Final = {
    masked: _tables(masked=masked, limit=MAX_16) for masked in (False, True)
}


class Partial:
    """A frame whose header is complete and whose payload is not.

    Attributes:
        opcode: As in `Mark`.
        fin: As in `Mark`.
        rsv1: As in `Mark`.
        size: Bytes of the whole payload.
        key: The masking key, 0 if none.
        data: The bytes that arrived, unmasked. Grown by appending, so that a frame
            in any number of pieces costs its size; never allocated ahead, since a
            header can promise what never comes.
        seen: How many of them `FrameReader.fresh` handed out.
    """

    __slots__ = ("data", "fin", "key", "opcode", "rsv1", "seen", "size")

    def __init__(
        self, opcode: int, size: int, data: bytes, *, fin: bool, rsv1: bool, key: int
    ) -> None:
        self.opcode = opcode
        self.fin = fin
        self.rsv1 = rsv1
        self.size = size
        self.key = key
        self.data = bytearray(apply_mask(data, key))
        self.seen = 0

    @property
    def missing(self) -> int:
        """How many bytes of the payload are still to come."""
        return self.size - len(self.data)

    def add(self, piece: bytes) -> None:
        """Take the next bytes of the payload."""
        if self.key:
            piece = apply_mask(piece, rotate_key(self.key, len(self.data)))
        self.data += piece


@final
class FrameReader:
    """Splits bytes, cut anywhere, into frames; the module tells how.

    After each `feed`:

    Attributes:
        payloads: Payloads of the whole (final, uncompressed) data messages, in order.
        marks: The frames of any other kind, with their places between the payloads.
        switches: (index, opcode) wherever the payloads' opcode changes.
        opcode: The opcode of the payloads up to the first switch.
        partial: The frame under way, None between frames.
        fault: The rule that the peer broke, after which nothing is read any more.

    Args:
        role: Our role; the frames read are the other one's.
        max_frame_size: The longest payload to accept; a longer one is a fault 1009 as
            soon as its header is seen.
        extended: Whether the reserved bit 1 may be set on data frames, because an
            extension was agreed on.
        compiled: Whether to use `_speedups.split`, which is slow where it was not
            built.
    """

    __slots__ = (
        "_buffer",
        "_extended",
        "_lengths",
        "_masked",
        "_max",
        "_mixed",
        "_split",
        "_tables",
        "_tail",
        "fault",
        "marks",
        "opcode",
        "partial",
        "payloads",
        "switches",
    )

    def __init__(
        self,
        role: Role,
        *,
        max_frame_size: int = DEFAULT_MAX_FRAME,
        extended: bool = False,
        compiled: bool = COMPILED,
    ) -> None:
        self._split = _speedups.split if compiled else None
        self._masked = role is Role.SERVER
        self._max = max_frame_size
        self._extended = extended
        self._tables = (
            _SHARED[self._masked]
            if max_frame_size >= MAX_16
            else _tables(masked=self._masked, limit=max_frame_size)
        )
        self._lengths = self._tables[Opcode.TEXT]
        self._mixed = 0
        self._tail = b""
        self.partial: Partial | None = None
        self.payloads: list[bytes] = []
        self.marks: list[Mark] = []
        self.switches: list[tuple[int, Opcode]] = []
        self.opcode = Opcode.TEXT
        self.fault: Fault | None = None

    @property
    def uniform(self) -> Opcode | None:
        """The opcode of all payloads, None if they differ."""
        switches = self.switches
        if not switches:
            return self.opcode
        return switches[0][1] if len(switches) == 1 and not switches[0][0] else None

    def opcodes(self) -> list[Opcode]:
        """Return the opcode of each payload."""
        opcodes: list[Opcode] = []
        current = self.opcode
        for place, opcode in self.switches:
            opcodes += [current] * (place - len(opcodes))
            current = opcode
        return opcodes + [current] * (len(self.payloads) - len(opcodes))

    def fresh(self) -> bytes:
        """Return the bytes of the frame under way that were not returned before."""
        partial = self.partial
        if partial is None:
            return b""
        data = bytes(memoryview(partial.data)[partial.seen :])
        partial.seen = len(partial.data)
        return data

    def feed(self, data: bytes) -> list[bytes]:
        """Split what came next; return `payloads`.

        Never raises for what the peer sent: see `fault`.
        """
        payloads: list[bytes] = []
        self.payloads = payloads
        self.marks = []
        self.switches = []
        lengths = self._lengths
        self.opcode = lengths.opcode
        if self.fault is not None:
            return payloads
        place = 0
        if self._tail:
            data = self._tail + data
            self._tail = b""
        elif self.partial is None and len(data) < _SMALL and not self._masked:
            place = self._at_once(data)
            if place == len(data):
                return payloads
        buffer = BytesIO(data)
        buffer.seek(place)
        if self.partial is not None and not self._resume(self.partial, buffer):
            return payloads
        walk = self._walk_masked if self._masked else self._walk
        while walk(buffer) and self._unusual(buffer):
            pass
        return payloads

    # -- regular frames --------------------------------------------------------------

    def _at_once(self, data: bytes) -> int:
        """Read `data` if it is one regular frame; return how much was read.

        An answer mostly is one. Half the time of the loops, whose end is an exception.
        """
        lengths = self._lengths
        if self._split is not None:
            return self._split(data, 0, lengths.first, lengths.limit, self.payloads)
        if lengths.four.get(data[:4]) == len(data) - 4:
            self.payloads.append(data[4:])
        elif lengths.two.get(data[:2]) == len(data) - 2:
            self.payloads.append(data[2:])
        else:
            return 0
        return len(data)

    def _walk(self, buffer: BytesIO) -> bool:
        """Read regular frames; return whether something else comes next."""
        if self._split is not None:
            return self._walk_compiled(self._split, buffer)
        if self._mixed:
            self._mixed -= 1
            return self._walk_mixed(buffer)
        read = buffer.read
        length_of = self._lengths.four
        payloads = self.payloads
        size = 0
        try:
            while True:
                size = length_of[read(4)]
                payloads.append(read(size))
        except KeyError as unknown:
            return self._stop(buffer, unknown.args[0], size)

    def _walk_compiled(self, split: _Split, buffer: BytesIO) -> bool:
        """Do as `_walk`, with `_speedups.split`."""
        lengths = self._lengths
        data = buffer.getvalue()  # the bytes it was made of, not a copy
        place = split(data, buffer.tell(), lengths.first, lengths.limit, self.payloads)
        size = lengths.four.get(data[place : place + 4])
        if size is not None:  # it would have been taken if all of it were there
            self._keep(data[place + 4 :], size, 0)
            return False
        buffer.seek(place)
        return True

    def _walk_mixed(self, buffer: BytesIO) -> bool:
        """Do as `_walk`, for headers of two and of four bytes."""
        read = buffer.read
        lengths = self._lengths
        length_of = lengths.two
        extended = lengths.extended
        payloads = self.payloads
        size = 0
        try:
            while True:
                size = length_of[read(2)]
                if size < 0:
                    size = extended[read(2)]
                payloads.append(read(size))
        except KeyError as unknown:
            header = unknown.args[0]
            if size < 0:
                buffer.seek(-2 - len(header), 1)
                return True
            return self._stop(buffer, header, size)

    def _walk_masked(self, buffer: BytesIO) -> bool:
        """Do as `_walk_mixed`, for a client's frames."""
        read = buffer.read
        lengths = self._lengths
        length_of = lengths.two
        extended = lengths.extended
        append = self.payloads.append
        while True:
            start = buffer.tell()
            size = length_of.get(read(2))
            if size is not None and size < 0:
                size = extended.get(read(2))
            key = read(4)
            if size is None or len(key) < 4:
                buffer.seek(start)
                return True
            payload = read(size)
            if len(payload) < size:
                self._keep(payload, size, int.from_bytes(key, "big"))
                return False
            append(apply_mask(payload, int.from_bytes(key, "big")))

    def _stop(self, buffer: BytesIO, header: bytes, size: int) -> bool:
        """Put an unknown header back, or keep the frame that the data ended in."""
        if header:
            buffer.seek(-len(header), 1)
            return True
        # At the end of the data `read` gave what there was, which may be too little.
        if size and len(self.payloads[-1]) < size:
            self._keep(self.payloads.pop(), size, 0)
        return False

    def _keep(self, data: bytes, size: int, key: int) -> None:
        opcode = self._lengths.opcode
        self.partial = Partial(opcode, size, data, fin=True, rsv1=False, key=key)

    # -- everything else -------------------------------------------------------------

    def _unusual(self, buffer: BytesIO) -> bool:
        """Read one frame of any kind; return whether to go on."""
        header = buffer.read(2)
        if len(header) < 2:
            self._tail = header
            return False
        first, second = header
        size = second & 0x7F
        fault = self._judge(first, second, size)
        if fault is not None:
            self.fault = fault
            return False
        longer = {LENGTH_16: 2, LENGTH_64: 8}.get(size, 0)
        extension = buffer.read(longer + (4 if self._masked else 0))
        if len(extension) < longer + (4 if self._masked else 0):
            self._tail = header + extension
            return False
        if longer:
            size = int.from_bytes(extension[:longer], "big")
            fault = self._judge_length(size, longer)
        if fault is None and size > self._max:
            fault = Fault(
                1009, f"a frame of {size} bytes is above the limit of {self._max}"
            )
        if fault is not None:
            self.fault = fault
            return False
        opcode = first & 0x0F
        key = int.from_bytes(extension[longer:], "big") if self._masked else 0
        fin, rsv1 = first >= FIN, bool(first & RSV1)
        if fin and not rsv1 and opcode in self._tables:
            self._regular(opcode, header + extension[:longer], size)
        data = buffer.read(size)
        if len(data) < size:
            self.partial = Partial(opcode, size, data, fin=fin, rsv1=rsv1, key=key)
            return False
        self._deliver(opcode, apply_mask(data, key), fin=fin, rsv1=rsv1)
        return True

    def _regular(self, opcode: int, header: bytes, size: int) -> None:
        """Prepare the loops for more frames like this one."""
        lengths = self._tables[opcode]
        if lengths is not self._lengths:
            self._lengths = lengths
        if len(header) == 4:
            lengths.learn(header, size)
        elif size < LENGTH_16:
            self._mixed = _MIXED_FEEDS

    def _resume(self, partial: Partial, buffer: BytesIO) -> bool:
        """Go on with the frame under way; return whether it is complete."""
        missing = partial.missing
        piece = buffer.read(missing)
        partial.add(piece)
        if len(piece) < missing:
            return False
        self.partial = None
        payload = bytes(partial.data)
        self._deliver(partial.opcode, payload, fin=partial.fin, rsv1=partial.rsv1)
        return True

    def _deliver(self, opcode: int, payload: bytes, *, fin: bool, rsv1: bool) -> None:
        if not fin or rsv1 or opcode not in self._tables:
            self.marks.append(Mark(len(self.payloads), opcode, fin, rsv1, payload))
            return
        last = self.switches[-1][1] if self.switches else self.opcode
        if opcode != last:
            self.switches.append((len(self.payloads), Opcode(opcode)))
        self.payloads.append(payload)

    def _judge(self, first: int, second: int, size: int) -> Fault | None:
        """Return what is wrong with the first two bytes of a frame."""
        opcode = first & 0x0F
        reserved = first & 0x70
        if reserved and not (
            reserved == RSV1 and self._extended and opcode in _DATA_OPCODES
        ):
            return Fault(
                1002, f"reserved bits {reserved >> 4:03b} set without a reason"
            )
        if opcode not in _KNOWN:
            return Fault(1002, f"opcode {opcode} is not defined")
        if opcode & _CONTROL:
            if first < FIN:
                return Fault(1002, f"a fragmented {Opcode(opcode).name} frame")
            if size > MAX_CONTROL:
                return Fault(1002, f"a {Opcode(opcode).name} frame above 125 bytes")
        if (second >= MASKED) is not self._masked:
            who = (
                "a client's frame without" if self._masked else "a server's frame with"
            )
            return Fault(1002, f"{who} a mask")
        return None

    def _judge_length(self, size: int, longer: int) -> Fault | None:
        """Return what is wrong with an extended length (RFC 6455 §5.2)."""
        if size >> 63:
            return Fault(1002, "a length with its highest bit set")
        if size < (LENGTH_16 if longer == 2 else MAX_16 + 1):
            return Fault(1002, f"length {size} is not in its shortest form")
        return None
