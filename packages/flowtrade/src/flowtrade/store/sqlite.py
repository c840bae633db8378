"""SQLite as a `Database`: one file, WAL, everything acknowledged is on the disk.

A lock beside the file keeps a second process from writing to it: it would not see our
mirror, nor we its changes. The lock is the kernel's, so a killed process leaves none.
"""

import fcntl
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Final, NoReturn, final

from flowtrade.errors import SchemaMismatch, StoreFailed
from flowtrade.store.schema import SQLITE_STEPS
from flowtrade.store.sessions import Rows

__all__ = ["SqliteDatabase", "SqliteSession"]

APPLICATION_ID: Final = 0x464C5754  # "FLWT", so that `file` and we know it

_NOTHING: Final[Mapping[str, object]] = {}

_WIDTHS: Final = (128, 16)
"""Rows in one statement: a row of a wide one costs a third less than a statement of its
own, and the interpreter is let go of, and waited for, once instead of for each row."""


@final
class SqliteSession:
    """The port `Session` over a connection in autocommit mode."""

    def __init__(self, connection: sqlite3.Connection, lock: int | None = None) -> None:
        self._connection = connection
        self._lock = lock

    @property
    def lost(self) -> bool:
        """Never: the file is here, and a failed commit has not happened."""
        return False

    @property
    def lands(self) -> bool:
        """See `flowtrade.store.sessions.Session`."""
        return True

    def execute(self, sql: str, parameters: Mapping[str, object] = _NOTHING) -> Rows:
        """See `flowtrade.store.sessions.Session`."""
        return self._connection.execute(sql, parameters)

    def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """See `flowtrade.store.sessions.Session`."""
        begun = 0
        for width in _WIDTHS:
            wide = _widened(sql, width)
            while begun + width <= len(rows):
                values = chain.from_iterable(rows[begun : begun + width])
                self._connection.execute(wide, tuple(values))
                begun += width
        if begun < len(rows):
            self._connection.executemany(sql, rows[begun:])

    def begin(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        self._connection.execute("BEGIN IMMEDIATE")

    def begin_snapshot(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        self._connection.execute("BEGIN")

    def commit(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        with suppress(sqlite3.Error):  # some errors have rolled back already
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        self._connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@final
class SqliteDatabase:
    """The port `Database` over one file.

    Args:
        path: The file; made if missing.
        synchronous: `FULL` keeps acknowledged operations through a power failure,
            `NORMAL` only through a crash of the process.
    """

    errors: tuple[type[Exception], ...] = (sqlite3.Error,)
    shared = False

    def __init__(self, path: Path, *, synchronous: str = "FULL") -> None:
        self._path = path
        self._synchronous = synchronous

    @property
    def name(self) -> str:
        """See `flowtrade.store.sessions.Database`."""
        return str(self._path)

    def open_writer(self) -> SqliteSession:
        """See `flowtrade.store.sessions.Database`."""
        lock = self._acquire()
        try:
            connection = self._connect()
        except BaseException:
            os.close(lock)
            raise
        session = SqliteSession(connection, lock)
        try:
            _migrate(connection)
            # Only a statement that writes finds out that the file may not be written.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE head SET last_timestamp = last_timestamp")
            connection.execute("ROLLBACK")
        except BaseException:
            session.close()
            raise
        return session

    def open_reader(self) -> SqliteSession:
        """See `flowtrade.store.sessions.Database`."""
        return SqliteSession(self._connect())

    def open_bell(self) -> NoReturn:
        """Never asked for: nobody else writes."""
        raise NotImplementedError

    def open_lock(self, silence: float) -> NoReturn:
        """Never asked for: nobody else could lead."""
        raise NotImplementedError

    def _acquire(self) -> int:
        try:
            lock = os.open(
                f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
            )
        except OSError as error:
            raise StoreFailed(f"cannot open {self._path}: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StoreFailed(
                f"another process serves {self._path}; stop it first"
            ) from error
        return lock

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        for pragma in (
            "journal_mode = WAL",
            f"synchronous = {self._synchronous}",
            "foreign_keys = ON",
            "busy_timeout = 5000",
            "temp_store = MEMORY",
            # Pages in the WAL before it is written back: 16 MB instead of 4. What is
            # changed again meanwhile is written back once, and each time costs two
            # fsyncs; 256 waiting clients get an eighth more changes a second.
            "wal_autocheckpoint = 4000",
            # The WAL is cut back to this after a checkpoint; the anchor's value.
            "journal_size_limit = 27103364",
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection


@cache
def _widened(sql: str, rows: int) -> str:
    """Return an INSERT of one row as one of so many; there are few different ones."""
    start = sql.index("VALUES ") + len("VALUES ")
    end = sql.index(")", start) + 1
    return sql[:start] + ", ".join([sql[start:end]] * rows) + sql[end:]


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring a file up to the newest schema.

    `user_version` counts the steps applied, `application_id` says whose file it is.

    Raises:
        SchemaMismatch: The file is another program's, or of a newer version of ours.
    """
    owner = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    if owner not in (0, APPLICATION_ID) or (owner == 0 and _has_tables(connection)):
        raise SchemaMismatch("the file is a database of another program; name another")
    if version > len(SQLITE_STEPS):
        raise SchemaMismatch(
            f"the store has schema {version}, this program knows {len(SQLITE_STEPS)}; "
            "upgrade the program"
        )
    for number, step in enumerate(SQLITE_STEPS[version:], start=version + 1):
        # executescript commits what is open first, so the step brings its own bounds.
        connection.executescript(
            f"BEGIN IMMEDIATE; {step}; PRAGMA user_version = {number}; "
            f"PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _has_tables(connection: sqlite3.Connection) -> bool:
    (count,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return bool(count)
