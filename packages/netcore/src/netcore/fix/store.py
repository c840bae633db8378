"""What a FIX session must not forget: its two counters and what it has sent.

A store holds the number of the next outgoing message, the number expected next, and
the application messages sent since the last reset, for resending. Session messages
are not kept: their numbers are filled by SequenceReset-GapFill.

`MemoryStore` forgets with the process; `FileStore` survives it. Its file is a log::

    FLOWFIX1                                   8 bytes, once
    crc32 · kind · number · size · payload     17 bytes and the payload, repeated

All integers are little-endian; the CRC covers everything behind it. A record is the
fact that an application message was sent (with its bytes), that a number was used up
by a session message, that a number is expected now, or that both counters began again
at 1. Nothing is ever written over, so a crash can only leave a record at the *end*
unfinished: that tail is cut off on opening. Damage anywhere else is an error, since
guessing sequence numbers means losing or repeating orders. A reset begins a new file,
renamed over the old one.

The index from numbers to places in the file is made in memory on opening.
"""

import contextlib
import enum
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, final, runtime_checkable

from netcore.fix.errors import StoreDamaged, StoreError

__all__ = ["FileStore", "Fsync", "MemoryStore", "Store"]


@runtime_checkable
class Store(Protocol):
    """What a session asks of its memory."""

    @property
    def next_outgoing(self) -> int:
        """MsgSeqNum of the next message to send."""
        ...

    @property
    def next_expected(self) -> int:
        """MsgSeqNum that the counterparty's next message should have."""
        ...

    def record(self, number: int, message: bytes | None) -> None:
        """Note that `number` is used; the next outgoing one is the one after it.

        Args:
            number: At least `next_outgoing`.
            message: An application message as encoded, None for one of the session.
        """
        ...

    def expect(self, number: int) -> None:
        """Set the number expected next."""
        ...

    def messages(self, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Yield the application messages of `first` to `last`, by their number."""
        ...

    def reset(self) -> None:
        """Begin again: both counters at 1, no messages."""
        ...

    def flush(self) -> None:
        """Make what was noted as durable as the store promises."""
        ...

    def close(self) -> None:
        """Flush and let go of resources; the store cannot be used after that."""
        ...


@final
class MemoryStore:
    """Remembers as long as the process lives.

    Args:
        limit: The most application messages to keep; older ones are gap-filled when
            they are asked for. None keeps all.
    """

    __slots__ = ("_limit", "_messages", "_next_expected", "_next_outgoing")

    def __init__(self, *, limit: int | None = None) -> None:
        self._limit = limit
        self._messages: dict[int, bytes] = {}
        self._next_outgoing = 1
        self._next_expected = 1

    def __repr__(self) -> str:
        return _describe(self, len(self._messages))

    @property
    def next_outgoing(self) -> int:
        """MsgSeqNum of the next message to send."""
        return self._next_outgoing

    @property
    def next_expected(self) -> int:
        """MsgSeqNum that the counterparty's next message should have."""
        return self._next_expected

    def record(self, number: int, message: bytes | None) -> None:
        """Note that `number` is used, and the application message that used it.

        Raises:
            StoreError: If `number` is already used.
        """
        _check_unused(number, self._next_outgoing)
        self._next_outgoing = number + 1
        if message is not None:
            self._messages[number] = message
            if self._limit is not None and len(self._messages) > self._limit:
                del self._messages[next(iter(self._messages))]

    def expect(self, number: int) -> None:
        """Set the number expected next."""
        self._next_expected = number

    def messages(self, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Yield the application messages of `first` to `last`, by their number."""
        for number in range(first, min(last, self._next_outgoing - 1) + 1):
            message = self._messages.get(number)
            if message is not None:
                yield number, message

    def reset(self) -> None:
        """Begin again: both counters at 1, no messages."""
        self._messages.clear()
        self._next_outgoing = self._next_expected = 1

    def flush(self) -> None:
        """Do nothing: there is nothing to make durable."""

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


class Fsync(enum.Enum):
    """When a `FileStore` waits for the disk."""

    NEVER = "never"
    """Written bytes survive the process, not the machine."""

    FLUSH = "flush"
    """Before any message leaves: a message that was sent is known after a power cut.
    Costs a disk write per group of messages sent."""


class _Kind(enum.IntEnum):
    APPLICATION = 1
    SESSION = 2
    EXPECTED = 3


_MAGIC = b"FLOWFIX1"
_HEAD = struct.Struct("<IBQI")
_COVERED = struct.Struct("<BQI")
# More than any message a parser lets through; a larger size is damage.
_MAX_PAYLOAD = 1 << 28


@final
class FileStore:
    """Remembers in one append-only file.

    The file is locked, so that two processes cannot hold one session.

    Args:
        path: The file; it is made where there is none.
        fsync: When to wait for the disk.

    Raises:
        StoreError: If it cannot be opened, is no such file, or is in use.
        StoreDamaged: If a record before the end does not check.
    """

    __slots__ = (
        "_end",
        "_file",
        "_fsync",
        "_index",
        "_next_expected",
        "_next_outgoing",
        "_noted_expected",
        "_path",
        "_unsynced",
    )

    def __init__(self, path: str | Path, *, fsync: Fsync = Fsync.NEVER) -> None:
        self._path = Path(path)
        self._fsync = fsync
        self._index: dict[int, tuple[int, int]] = {}
        self._next_outgoing = 1
        self._next_expected = 1
        self._noted_expected = 1
        self._unsynced = False
        self._end = len(_MAGIC)
        self._file = self._open()

    def __repr__(self) -> str:
        return _describe(self, len(self._index))

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def next_outgoing(self) -> int:
        """MsgSeqNum of the next message to send."""
        return self._next_outgoing

    @property
    def next_expected(self) -> int:
        """MsgSeqNum that the counterparty's next message should have."""
        return self._next_expected

    def record(self, number: int, message: bytes | None) -> None:
        """Note that `number` is used, and the application message that used it.

        Raises:
            StoreError: If `number` is already used, or the file cannot be written.
        """
        _check_unused(number, self._next_outgoing)
        if message is None:
            self._append(_Kind.SESSION, number, b"")
        else:
            place = self._append(_Kind.APPLICATION, number, message)
            self._index[number] = (place + _HEAD.size, len(message))
        self._next_outgoing = number + 1

    def expect(self, number: int) -> None:
        """Set the number expected next; `flush` writes it down."""
        self._next_expected = number

    def messages(self, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Yield the application messages of `first` to `last`, by their number.

        Raises:
            StoreError: If the file cannot be read.
        """
        for number in range(first, min(last, self._next_outgoing - 1) + 1):
            place = self._index.get(number)
            if place is not None:
                yield number, self._read(*place)

    def reset(self) -> None:
        """Begin again with a new file: both counters at 1, no messages.

        Raises:
            StoreError: If the file cannot be written.
        """
        fresh = self._path.with_name(self._path.name + ".new")
        with self._mapped("reset"):
            file = _create(fresh)
            _lock(file, fresh)
            os.replace(fresh, self._path)
            if self._fsync is not Fsync.NEVER:
                _sync_folder(self._path.parent)
        self._file.close()
        self._file = file
        self._end = len(_MAGIC)
        self._unsynced = False
        self._index.clear()
        self._next_outgoing = self._next_expected = self._noted_expected = 1

    def flush(self) -> None:
        """Hand everything to the system, and with `Fsync.FLUSH` to the disk.

        Raises:
            StoreError: If that fails.
        """
        if self._next_expected != self._noted_expected:
            # One record for all messages since the last flush: only the last counts.
            self._append(_Kind.EXPECTED, self._next_expected, b"")
            self._noted_expected = self._next_expected
        with self._mapped("write"):
            self._file.flush()
            if self._unsynced and self._fsync is Fsync.FLUSH:
                os.fdatasync(self._file.fileno())
        self._unsynced = False

    def close(self) -> None:
        """Flush and close the file; later calls do nothing.

        Raises:
            StoreError: If what was noted cannot be written.
        """
        if not self._file.closed:
            try:
                self.flush()
            finally:
                self._file.close()

    # -- the file --------------------------------------------------------------------

    def _open(self) -> BinaryIO:
        with self._mapped("open"):
            if not self._path.exists():
                file = _create(self._path)
                _lock(file, self._path)
                return file
            file = self._path.open("r+b")
        try:
            _lock(file, self._path)
            with self._mapped("read"):
                self._load(file)
        except BaseException:
            file.close()
            raise
        return file

    def _load(self, file: BinaryIO) -> None:
        """Replay the log and cut off an unfinished record at its end."""
        size = os.fstat(file.fileno()).st_size
        magic = file.read(len(_MAGIC))
        if magic != _MAGIC:
            if not _MAGIC.startswith(magic):
                raise StoreError(f"{self._path} is no FIX store (begins {magic!r})")
            file.seek(0)
            file.write(_MAGIC)
        offset = len(_MAGIC)
        while offset + _HEAD.size <= size:
            crc, kind, number, length = _HEAD.unpack(file.read(_HEAD.size))
            end = offset + _HEAD.size + length
            payload = file.read(length) if length <= _MAX_PAYLOAD else b""
            covered = _COVERED.pack(kind, number, length) + payload
            if len(payload) != length or zlib.crc32(covered) != crc:
                self._check_tail(file, offset, end, size)
                break
            self._apply(kind, number, offset + _HEAD.size, length)
            offset = end
        file.seek(offset)
        file.truncate()
        self._end = offset

    def _check_tail(self, file: BinaryIO, offset: int, end: int, size: int) -> None:
        """Tell a record that a crash cut short from damage.

        Cut short is one that reaches the end of the file or past it, and one that
        only zeros follow (a file system that had grown the file, but not yet
        written it).
        """
        file.seek(offset + _HEAD.size)
        if end < size and file.read().strip(b"\0"):
            raise StoreDamaged(str(self._path), offset, "a record does not check")

    def _apply(self, kind: int, number: int, place: int, length: int) -> None:
        if kind == _Kind.EXPECTED:
            self._next_expected = self._noted_expected = number
        elif kind in {_Kind.APPLICATION, _Kind.SESSION}:
            self._next_outgoing = number + 1
            if kind == _Kind.APPLICATION:
                self._index[number] = (place, length)
        else:
            raise StoreError(
                f"{self._path} has a record of kind {kind}; a newer version wrote it"
            )

    def _append(self, kind: _Kind, number: int, payload: bytes) -> int:
        covered = _COVERED.pack(kind, number, len(payload)) + payload
        with self._mapped("write"):
            self._file.write(zlib.crc32(covered).to_bytes(4, "little") + covered)
        # A number expected that is lost with the power means only that messages come
        # again, so it waits for no disk.
        self._unsynced |= kind is not _Kind.EXPECTED
        place = self._end
        self._end += _HEAD.size + len(payload)
        return place

    def _read(self, place: int, length: int) -> bytes:
        with self._mapped("read"):
            self._file.flush()
            message = os.pread(self._file.fileno(), length, place)
        if len(message) != length:
            raise StoreDamaged(str(self._path), place, "the file was cut")
        return message

    @contextlib.contextmanager
    def _mapped(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as exc:
            raise StoreError(f"cannot {doing} {self._path}: {exc}") from exc


def _create(path: Path) -> BinaryIO:
    file = path.open("w+b")
    file.write(_MAGIC)
    file.flush()
    return file


def _lock(file: BinaryIO, path: Path) -> None:
    if sys.platform == "win32":
        return  # An open file cannot be opened for writing twice there anyway.
    import fcntl

    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        file.close()
        raise StoreError(f"{path} is in use by another session") from exc


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_unused(number: int, next_outgoing: int) -> None:
    if number < next_outgoing:
        raise StoreError(f"number {number} was used; the next is {next_outgoing}")


def _describe(store: Store, kept: int) -> str:
    return (
        f"<{type(store).__name__} next outgoing {store.next_outgoing}, expected "
        f"{store.next_expected}, {kept} messages>"
    )
