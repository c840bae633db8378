"""Receiving a recording again, piece by piece as it came.

`netcore.stream.record` describes the files. Three ways to play them:

* as recorded (default): the same pieces at the same read attempts, would-blocks
  included, so that a single-threaded program does exactly the same again;
* `would_blocks=False`: the same pieces without the would-blocks, as fast as they are
  taken;
* `speed=1.0` (or any factor): each piece at its recorded distance from the first.
"""

import os
from pathlib import Path
from typing import IO, final

import msgspec

from netcore.clock import Clock, SystemClock
from netcore.errors import RecordingError, ReplayDivergence, StreamClosed
from netcore.info import ConnectionInfo
from netcore.models import Timestamp
from netcore.stream.base import RECEIVE_SIZE, Buffer
from netcore.stream.outbound import OutboundComparer
from netcore.stream.record import DEFAULT_NAME, PAIR, TIME

__all__ = ["ReplayStream"]

_INBOUND = "_inbound"
_READ_SIZE = 65536


class _Piece(msgspec.Struct, frozen=True):
    """What one read attempt brought; no data is the end."""

    attempt: int
    data: bytes
    time_ns: Timestamp | None


class _RecordedClock:
    """Shows the time of the piece that was received last."""

    __slots__ = ("now",)

    def __init__(self, now: Timestamp) -> None:
        self.now = now

    def now_ns(self) -> Timestamp:
        return self.now

    def monotonic_ns(self) -> int:
        return self.now


class _Reader:
    """The files of a recording, read one piece at a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._files: list[IO[bytes]] = []
        self._last = -1
        self._fault: RecordingError | None = None
        try:
            self._pairs = self.open("inbound_seq")
            self._inbound = self.open("inbound")
            self._whole = os.fstat(self._inbound.fileno()).st_size
            self._times: IO[bytes] | None = None
            if Path(f"{name}_inbound_time.rec").exists():
                self._times = self.open("inbound_time")
        except BaseException:
            self.close()
            raise

    @property
    def timed(self) -> bool:
        return self._times is not None

    def open(self, part: str) -> IO[bytes]:
        path = Path(f"{self._name}_{part}.rec")
        try:
            file = path.open("rb")
        except OSError as exc:
            raise RecordingError(f"cannot read {path}: {exc.strerror}") from exc
        self._files.append(file)
        return file

    def close(self) -> None:
        for file in self._files:
            file.close()

    def next(self) -> _Piece:
        """Return the next piece; at the end, the end again and again."""
        if self._fault is not None:
            raise self._fault.with_traceback(None)
        try:
            return self._next()
        except OSError as exc:
            self._fault = self._damage(f"cannot be read: {exc.strerror}")
            raise self._fault from exc
        except RecordingError as exc:
            self._fault = exc
            raise

    def _next(self) -> _Piece:
        ended_at = self._last + 1
        while raw := self._pairs.read(PAIR.size):
            if len(raw) < PAIR.size:
                raise self._damage("the sequence file ends in the middle of a pair")
            attempt, size = PAIR.unpack(raw)
            if attempt <= self._last:
                raise self._damage(f"attempt {attempt} comes after {self._last}")
            self._last = attempt
            if size:
                return _Piece(attempt, self._data(size), self._time())
            # The end, if no pair follows; else a read that brought nothing.
            ended_at = attempt
        return _Piece(ended_at, b"", None)

    def _data(self, size: int) -> bytes:
        # A damaged size may be beyond any memory.
        data = self._inbound.read(min(size, self._whole))
        if len(data) < size:
            raise self._damage(f"{size - len(data)} of a piece's {size} bytes are gone")
        return data

    def _time(self) -> Timestamp | None:
        if self._times is None:
            return None
        raw = self._times.read(TIME.size)
        if len(raw) < TIME.size:
            raise self._damage("a piece has no time")
        (time_ns,) = TIME.unpack(raw)
        return int(time_ns)

    def _damage(self, what: str) -> RecordingError:
        return RecordingError(
            f"the recording {self._name} is damaged after attempt {self._last}: {what}"
        )


@final
class ReplayStream:
    """A recording as a stream. What is sent is dropped, or compared.

    Args:
        name: Path of the recording without the files' suffixes.
        speed: Play by time: 1.0 as it was, 10.0 ten times as fast. None: by attempt.
        clock: What `speed` is measured with; also stamps recordings without times.
        would_blocks: Whether to return the recorded would-blocks; with `speed`, time
            alone decides.
        verify_outbound: Whether to compare what is sent with the recording; handshake
            keys and frame masks are left out of the comparison.
        info: Whom the stream claims to talk to.

    Raises:
        RecordingError: If a file is missing or damaged, or `speed` is given and the
            recording has no times.

    Attributes:
        replayed: True. A recorded handshake answers another key than ours, so
            whoever checks it skips that check for such a stream.
    """

    replayed = True

    def __init__(
        self,
        name: str | os.PathLike[str] = DEFAULT_NAME,
        *,
        speed: float | None = None,
        clock: Clock | None = None,
        would_blocks: bool = True,
        verify_outbound: bool = False,
        info: ConnectionInfo | None = None,
    ) -> None:
        if speed is not None and not speed > 0:
            raise ValueError(f"speed must be above 0, was {speed}")
        self._name = os.fspath(name)
        self._info = info or ConnectionInfo("replay", 0)
        self._pacer: Clock = clock or SystemClock()
        self._speed = speed
        self._would_blocks = would_blocks
        self._attempt = 0
        self._piece: _Piece | None = None
        self._rest = b""
        self._diverged: ReplayDivergence | None = None
        self._closed = False
        self._reader = _Reader(self._name)
        try:
            self._first_ns = self._check_first()
            self._comparer = self._make_comparer() if verify_outbound else None
        except BaseException:
            self.close()
            raise
        self._started_ns: int | None = None
        self._recorded_clock = _RecordedClock(self._first_ns)

    @classmethod
    def from_file(cls, inbound: str | os.PathLike[str]) -> "ReplayStream":
        """Return the replay of ``NAME_inbound.rec``, given as ``NAME_inbound``.

        Raises:
            RecordingError: If a file is missing or damaged.
            ValueError: If the path does not end so.
        """
        path = os.fspath(inbound).removesuffix(".rec")
        if not path.endswith(_INBOUND):
            raise ValueError(f"path must end with {_INBOUND}, was {path!r}")
        return cls(path.removesuffix(_INBOUND))

    def __repr__(self) -> str:
        return f"<ReplayStream {self._name!r} at attempt {self._attempt}>"

    @property
    def info(self) -> ConnectionInfo:
        """Whom the stream claims to talk to."""
        return self._info

    @property
    def clock(self) -> Clock:
        """Shows when the piece received last was recorded.

        Without recorded times, the clock given to the stream.
        """
        return self._recorded_clock if self._reader.timed else self._pacer

    @property
    def buffered(self) -> bool:
        """Whether the next `receive` returns, or raises, something."""
        if self._closed:
            return False
        if self._rest or self._diverged is not None:
            return True
        try:
            return self._is_due(self._peek())
        except RecordingError:
            return True

    @property
    def want_write(self) -> bool:
        """False."""
        return False

    def receive(self, limit: int = RECEIVE_SIZE, /) -> bytes | None:
        """Return the next piece, None for a recorded would-block, b"" at the end.

        A piece longer than `limit` comes in parts.

        Raises:
            RecordingError: Where the recording is damaged, after all before it.
            ReplayDivergence: After a send that was not as recorded.
            StreamClosed: After `close`.
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, was {limit}")
        self._check_usable()
        if not self._rest:
            piece = self._peek()
            due = self._is_due(piece)
            self._attempt += 1
            if not due:
                return None
            self._take(piece)
        part, self._rest = self._rest[:limit], self._rest[limit:]
        return part

    def send(self, data: Buffer, /) -> int:
        """Drop `data`, after comparing it if that was asked for; return its size.

        Raises:
            ReplayDivergence: If it is not what was recorded.
            StreamClosed: After `close`.
        """
        self._check_usable()
        octets = bytes(data)
        if self._comparer is not None:
            try:
                self._comparer.check(octets)
            except ReplayDivergence as exc:
                self._diverged = exc
                raise
        return len(octets)

    def verify_finished(self) -> None:
        """Check that everything recorded was sent, with `verify_outbound`.

        Raises:
            ReplayDivergence: If something is missing.
            StreamClosed: After `close`.
        """
        self._check_usable()
        if self._comparer is not None:
            self._comparer.finish()

    def close(self) -> None:
        """Close the files; may be called again."""
        self._closed = True
        self._reader.close()

    def fileno(self) -> int:
        """Return -1: there is nothing to wait on."""
        return -1

    def connected(self) -> bool:
        """Return True.

        Raises:
            StreamClosed: After `close`.
        """
        self._check_usable()
        return True

    def _check_usable(self) -> None:
        if self._closed:
            raise StreamClosed(f"{self!r} was closed before")
        if self._diverged is not None:
            raise self._diverged.with_traceback(None)

    def _check_first(self) -> Timestamp:
        """Return when the first piece came, 0 if that was not recorded."""
        first = self._peek()
        if self._speed is not None and not self._reader.timed:
            raise RecordingError(
                f"the recording {self._name} has no times; play it without speed"
            )
        return first.time_ns or 0

    def _make_comparer(self) -> OutboundComparer:
        outbound = self._reader.open("outbound")
        return OutboundComparer(lambda: outbound.read(_READ_SIZE))

    def _peek(self) -> _Piece:
        if self._piece is None:
            self._piece = self._reader.next()
        return self._piece

    def _take(self, piece: _Piece) -> None:
        if not piece.data:
            return  # the end stays
        self._piece = None
        self._rest = piece.data
        if piece.time_ns is not None:
            self._recorded_clock.now = piece.time_ns

    def _is_due(self, piece: _Piece) -> bool:
        if self._speed is None:
            return not self._would_blocks or self._attempt >= piece.attempt
        if piece.time_ns is None:
            return True  # the end has no time: at once after the last piece
        now = self._pacer.monotonic_ns()
        if self._started_ns is None:
            self._started_ns = now
        passed = (now - self._started_ns) * self._speed
        return passed >= piece.time_ns - self._first_ns
