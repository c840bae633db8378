"""The files of a recording, read for looking at them: damage is found, not raised.

`netcore.stream.replay` plays a recording and stops where it is damaged; here the
damage is the finding. Also other files of received bytes are read, as one read each.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, final

import msgspec

from netcore.cli.exits import UsageFault
from netcore.stream.record import PAIR, TIME

__all__ = ["INBOUND", "OUTBOUND", "Piece", "Problem", "RecordedReads", "find_recording"]

INBOUND: Final = "inbound"
OUTBOUND: Final = "outbound"
_SUFFIXES: Final = tuple(
    f"_{part}{end}"
    for part in ("inbound_seq", "inbound_time", "inbound", "outbound")
    for end in (".rec", "")
)
_CHUNK: Final = 1 << 16


@final
class Piece(msgspec.Struct, frozen=True):
    """What one read brought.

    Attributes:
        number: Of the read, among those that brought something.
        offset: Where its first byte stands in the file.
        data: The bytes.
        time_ns: When, None if that was not recorded.
        attempt: Of the read, would-blocks included; None if that was not recorded.
    """

    number: int
    offset: int
    data: bytes
    time_ns: int | None = None
    attempt: int | None = None


@final
class Problem(msgspec.Struct, frozen=True):
    """Something that is not as it should be.

    Attributes:
        file: Which file.
        offset: At which byte of it.
        text: What.
    """

    file: str
    offset: int
    text: str


def find_recording(path: str) -> tuple[str, bool]:
    """Return (name, True) for a recording, (path, False) for a file of bytes.

    Args:
        path: The name of a recording, one of its files, or any other file.

    Raises:
        UsageFault: If there is neither.
    """
    for name in (path, *(path.removesuffix(end) for end in _SUFFIXES)):
        if Path(f"{name}_inbound_seq.rec").is_file():
            return name, True
    if Path(path).is_file():
        return path, False
    raise UsageFault(
        f"{path}: neither a recording ({path}_inbound_seq.rec) nor a file is there"
    )


@final
class RecordedReads:
    """The reads of one direction of a recording, or of a plain file.

    Iterate once; what follows is complete after that.

    Args:
        name: The recording's name or the file's path.
        direction: `INBOUND`, `OUTBOUND`, or "" for a plain file. Writes were not
            recorded one by one, so outbound bytes come in pieces of no meaning.

    Attributes:
        problems: The damage found.
        attempts: Read attempts, would-blocks included; None where not recorded.
        ended: Whether the peer's end was recorded; None where it could not be.
    """

    def __init__(self, name: str, direction: str) -> None:
        self._name = name
        self.path = f"{name}_{direction}.rec" if direction else name
        self._paired = direction == INBOUND
        self.problems: list[Problem] = []
        self.attempts: int | None = 0 if self._paired else None
        self.ended: bool | None = False if self._paired else None
        self._offset = 0
        self._number = 0

    def __iter__(self) -> Iterator[Piece]:
        with Path(self.path).open("rb") as data:
            if not self._paired:
                yield from self._plain(data)
                return
            pairs = Path(f"{self._name}_inbound_seq.rec")
            times = Path(f"{self._name}_inbound_time.rec")
            with pairs.open("rb") as pair_file:
                if times.is_file():
                    with times.open("rb") as time_file:
                        yield from self._pieces(data, pair_file, time_file)
                else:
                    yield from self._pieces(data, pair_file, None)

    def _plain(self, data: IO[bytes]) -> Iterator[Piece]:
        while chunk := data.read(_CHUNK):
            yield Piece(self._number, self._offset, chunk)
            self._number += 1
            self._offset += len(chunk)

    def _pieces(
        self, data: IO[bytes], pairs: IO[bytes], times: IO[bytes] | None
    ) -> Iterator[Piece]:
        last = -1
        for attempt, size in self._pairs(pairs):
            if attempt <= last:
                self._problem(
                    pairs, f"attempt {attempt} comes after {last}", -PAIR.size
                )
            last = attempt
            self.ended = size == 0
            if not size:
                continue
            piece = data.read(size)
            if len(piece) < size:
                self._problem(
                    data,
                    f"{size - len(piece)} of the {size} bytes of read {self._number} "
                    "are gone",
                )
            time_ns = None if times is None else self._time(times)
            if piece:
                yield Piece(self._number, self._offset, piece, time_ns, attempt)
            self._number += 1
            self._offset += len(piece)
        self.attempts = last + 1
        self._check_rest(data, "are counted by no read")
        if times is not None:
            self._check_rest(times, "belong to no read")

    def _pairs(self, pairs: IO[bytes]) -> Iterator[tuple[int, int]]:
        while raw := pairs.read(PAIR.size):
            if len(raw) < PAIR.size:
                self._problem(
                    pairs,
                    f"ends in the middle of a pair ({len(raw)} of {PAIR.size} bytes)",
                    -len(raw),
                )
                return
            attempt, size = PAIR.unpack(raw)
            yield attempt, size

    def _time(self, times: IO[bytes]) -> int | None:
        raw = times.read(TIME.size)
        if len(raw) < TIME.size:
            if not any(found.file == times.name for found in self.problems):
                self._problem(times, f"read {self._number} has no time", -len(raw))
            return None
        (time_ns,) = TIME.unpack(raw)
        return int(time_ns)

    def _check_rest(self, file: IO[bytes], text: str) -> None:
        start = file.tell()
        rest = file.seek(0, 2) - start
        if rest > 0:
            self.problems.append(Problem(file.name, start, f"{rest} bytes {text}"))

    def _problem(self, file: IO[bytes], text: str, back: int = 0) -> None:
        self.problems.append(Problem(file.name, file.tell() + back, text))
