"""Writing down what a stream receives and sends.

A recording NAME is up to four files; all numbers are unsigned 64-bit little-endian:

``NAME_inbound.rec``
    the received bytes, one piece after the other;
``NAME_inbound_seq.rec``
    for each piece the number of the read attempt that brought it and its size; the
    numbers start at 0 and count every attempt, so a missing one was a would-block;
    a last pair of size 0 says at which attempt the peer's end was seen;
``NAME_outbound.rec``
    the sent bytes;
``NAME_inbound_time.rec``
    the wall clock after each piece, in nanoseconds since 1970.

The first three are those of the Rust library boomnet and can be exchanged with it;
the fourth is ours. Recording sits above TLS, ``RecordedStream(TlsStream(…), …)``, so
the files hold plaintext, credentials included. Keep them where you keep your keys.

Files are only appended, bytes before the pairs that count them: after a crash a
recording is whole up to the last flush.
"""

import os
import struct
from pathlib import Path
from types import TracebackType
from typing import IO, Self, final

from netcore.clock import Clock, SystemClock
from netcore.errors import RecordingError
from netcore.info import ConnectionInfo
from netcore.models import Timestamp
from netcore.stream.base import (
    RECEIVE_SIZE,
    Buffer,
    Stream,
    clock_of,
    collected_bytes,
    flush_stream,
)

__all__ = ["DEFAULT_NAME", "PAIR", "TIME", "RecordedStream", "Recorder"]

DEFAULT_NAME = "plain"
PAIR = struct.Struct("<QQ")
"""Attempt number, byte count."""
TIME = struct.Struct("<Q")
"""Nanoseconds since 1970-01-01T00:00:00Z."""

# Beyond this the pieces are written though fewer than `flush_every` came.
_FLUSH_BYTES = 1 << 20


@final
class Recorder:
    """The writer of one recording; a context manager.

    Args:
        name: Path of the recording without the files' suffixes.
        clock: Where the pieces' times come from; by default the clock of the stream
            that is recorded, so that recording a replay keeps its times.
        flush_every: Pieces to collect before writing; 1 writes each at once.
        overwrite: Whether to replace an older recording of that name.

    Raises:
        RecordingError: If a file cannot be made, or exists and `overwrite` is false.
    """

    def __init__(
        self,
        name: str | os.PathLike[str] = DEFAULT_NAME,
        *,
        clock: Clock | None = None,
        flush_every: int = 64,
        overwrite: bool = False,
    ) -> None:
        if flush_every < 1:
            raise ValueError(f"flush_every must be at least 1, was {flush_every}")
        self.name = os.fspath(name)
        self.clock: Clock = clock or SystemClock()
        self._given = clock is not None
        self._last_ns: Timestamp | None = None
        self._flush_every = flush_every
        self._attempts = 0
        self._pieces = 0
        self._waiting = 0
        # In the order of writing: the pairs come last, they make the rest count.
        self._files: dict[str, IO[bytes]] = {}
        self._buffers = {
            "inbound": bytearray(),
            "outbound": bytearray(),
            "inbound_time": bytearray(),
            "inbound_seq": bytearray(),
        }
        self._inbound = self._buffers["inbound"]
        self._outbound = self._buffers["outbound"]
        self._times = self._buffers["inbound_time"]
        self._pairs = self._buffers["inbound_seq"]
        mode = "wb" if overwrite else "xb"
        try:
            for part in self._buffers:
                path = Path(f"{self.name}_{part}.rec")
                self._files[part] = path.open(mode)
        except OSError as exc:
            made = list(self._files)
            self._close_files()
            for part in made if mode == "xb" else ():
                Path(f"{self.name}_{part}.rec").unlink()
            hint = "; choose another name" if isinstance(exc, FileExistsError) else ""
            raise RecordingError(
                f"cannot record to {self.name}: {exc.strerror} ({exc.filename}){hint}"
            ) from exc

    def __repr__(self) -> str:
        return f"<Recorder {self.name!r}: {self._pieces} pieces>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def attempts(self) -> int:
        """Read attempts so far, those that would have blocked included."""
        return self._attempts

    @property
    def pieces(self) -> int:
        """Pieces received so far."""
        return self._pieces

    @property
    def last_ns(self) -> Timestamp | None:
        """When the last piece came, as it was written down; None before the first."""
        return self._last_ns

    def follow(self, clock: Clock) -> None:
        """Take the times from `clock` if none was given at the beginning."""
        if not self._given:
            self.clock = clock

    def inbound(self, data: bytes | None) -> None:
        """Note one read attempt and what it brought: None nothing, b"" the end.

        Raises:
            RecordingError: If the files cannot be written.
        """
        attempt = self._attempts
        self._attempts += 1
        if data is None:
            return
        self._pairs += PAIR.pack(attempt, len(data))
        if not data:
            return
        self._inbound += data
        self._last_ns = self.clock.now_ns()
        self._times += TIME.pack(self._last_ns)
        self._pieces += 1
        self._waiting += 1
        if self._waiting >= self._flush_every or len(self._inbound) >= _FLUSH_BYTES:
            self.flush()

    def outbound(self, data: Buffer) -> None:
        """Note sent bytes.

        Raises:
            RecordingError: If the files cannot be written.
        """
        self._outbound += data
        if len(self._outbound) >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was collected.

        Raises:
            RecordingError: If the files cannot be written, or are closed.
        """
        self._waiting = 0
        for part, buffer in self._buffers.items():
            if not buffer:
                continue
            file = self._files.get(part)
            if file is None:
                raise RecordingError(f"the recording {self.name} was closed before")
            try:
                file.write(buffer)
                file.flush()
            except OSError as exc:
                raise RecordingError(
                    f"cannot write {self.name}_{part}.rec: {exc.strerror}"
                ) from exc
            buffer.clear()

    def close(self) -> None:
        """Write what was collected and close the files; may be called again.

        Raises:
            RecordingError: If the files cannot be written; they are closed all the
                same.
        """
        try:
            if self._files:
                self.flush()
        finally:
            self._close_files()

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()


@final
class _PieceClock:
    """Shows when the last piece was received, as the recording will show it again."""

    __slots__ = ("_recorder",)

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def now_ns(self) -> Timestamp:
        last_ns = self._recorder.last_ns
        return self._recorder.clock.now_ns() if last_ns is None else last_ns

    def monotonic_ns(self) -> int:
        return self._recorder.clock.monotonic_ns()


@final
class RecordedStream:
    """A stream whose bytes in both directions are written down.

    A recording that cannot be written never costs a received byte: the fault is
    raised by the call after the one that met it.

    Args:
        inner: The stream to record; above TLS.
        recorder: Where to; closed with the stream.
    """

    __slots__ = ("_clock", "_fault", "_inner", "recorder")

    def __init__(self, inner: Stream, recorder: Recorder) -> None:
        self._inner = inner
        self.recorder = recorder
        recorder.follow(clock_of(inner))
        self._clock = _PieceClock(recorder)
        self._fault: RecordingError | None = None

    def __repr__(self) -> str:
        return f"<RecordedStream {self.recorder.name!r} of {self._inner!r}>"

    @property
    def info(self) -> ConnectionInfo:
        """Whom the stream talks to."""
        return self._inner.info

    @property
    def buffered(self) -> bool:
        """Whether the stream below holds bytes, or a fault waits to be told."""
        return self._inner.buffered or self._fault is not None

    @property
    def want_write(self) -> bool:
        """Whether the stream below waits to write."""
        return self._inner.want_write

    @property
    def clock(self) -> Clock:
        """The clock to stamp received bytes with.

        It shows the time written down with the last piece: what is stamped with it is
        stamped with the same time when the recording is played.
        """
        return self._clock

    def receive(self, limit: int = RECEIVE_SIZE, /) -> bytes | None:
        """Return what the stream below receives, after noting it.

        Raises:
            RecordingError: If an earlier piece could not be written.
        """
        self._raise_fault()
        data = self._inner.receive(limit)
        try:
            self.recorder.inbound(data)
        except RecordingError as exc:
            self._fault = exc
        return data

    def send(self, data: Buffer, /) -> int:
        """Send through the stream below and note what it took.

        Raises:
            RecordingError: If an earlier piece could not be written.
        """
        self._raise_fault()
        taken = self._inner.send(data)
        if taken:
            try:
                self.recorder.outbound(memoryview(data).cast("B")[:taken])
            except RecordingError as exc:
                self._fault = exc
        return taken

    @property
    def pending_bytes(self) -> int:
        """How many bytes layers below have collected."""
        return collected_bytes(self._inner)

    def flush(self) -> bool:
        """Send what layers below have collected; return whether all was taken."""
        return flush_stream(self._inner)

    def close(self) -> None:
        """Close the stream below, then the recording.

        Raises:
            RecordingError: If the last pieces could not be written.
        """
        self._inner.close()
        self.recorder.close()

    def fileno(self) -> int:
        """Return the descriptor of the stream below."""
        return self._inner.fileno()

    def connected(self) -> bool:
        """Return whether the stream below is connected."""
        return self._inner.connected()

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault.with_traceback(None)
