"""A plain file as a stream: what is in it comes in, what goes out is dropped.

For feeding a protocol with captured bytes. A recording with its would-blocks and
times is a `netcore.stream.replay.ReplayStream`.
"""

import os
from typing import final

from netcore.errors import RecordingError, StreamClosed
from netcore.info import ConnectionInfo
from netcore.stream.base import RECEIVE_SIZE, Buffer

__all__ = ["FileStream"]


@final
class FileStream:
    """The bytes of one file.

    Args:
        path: The file.
        chunk: The most bytes that one `receive` returns, small by default so that
            messages get cut as they are on a network.
        info: Whom the stream claims to talk to.

    Raises:
        RecordingError: If the file cannot be opened.
    """

    __slots__ = ("_chunk", "_file", "_info")

    def __init__(
        self,
        path: str | os.PathLike[str],
        chunk: int = 256,
        *,
        info: ConnectionInfo | None = None,
    ) -> None:
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1, was {chunk}")
        try:
            self._file = open(path, "rb")  # noqa: SIM115 -- closed by `close`
        except OSError as exc:
            raise RecordingError(f"cannot read {path}: {exc.strerror}") from exc
        self._chunk = chunk
        self._info = info or ConnectionInfo("file", 0)

    def __repr__(self) -> str:
        return f"<FileStream {self._file.name}>"

    @property
    def info(self) -> ConnectionInfo:
        """Whom the stream claims to talk to."""
        return self._info

    @property
    def buffered(self) -> bool:
        """True until closed: there are always bytes, or the end."""
        return not self._file.closed

    @property
    def want_write(self) -> bool:
        """False."""
        return False

    def receive(self, limit: int = RECEIVE_SIZE, /) -> bytes | None:
        """Return the next bytes of the file, b"" at its end; never None.

        Raises:
            RecordingError: If the file cannot be read.
            StreamClosed: After `close`.
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, was {limit}")
        self._check_open()
        try:
            return self._file.read(min(limit, self._chunk))
        except OSError as exc:
            raise RecordingError(
                f"cannot read {self._file.name}: {exc.strerror}"
            ) from exc

    def send(self, data: Buffer, /) -> int:
        """Drop `data` and return its size.

        Raises:
            StreamClosed: After `close`.
        """
        self._check_open()
        return memoryview(data).nbytes

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def fileno(self) -> int:
        """Return -1: a file is always ready."""
        return -1

    def connected(self) -> bool:
        """Return True.

        Raises:
            StreamClosed: After `close`.
        """
        self._check_open()
        return True

    def _check_open(self) -> None:
        if self._file.closed:
            raise StreamClosed(f"{self!r} was closed before")
