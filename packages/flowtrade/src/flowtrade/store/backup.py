"""A copy of a SQLite store, taken while a service writes to it.

SQLite's own online backup copies one consistent state; writers go on meanwhile. The
copy is checked, made durable and only then given its name, so that a file of that name
is always whole.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from flowtrade.errors import StoreFailed
from flowtrade.store.sqlite import APPLICATION_ID

__all__ = ["backup_sqlite"]


def backup_sqlite(source: Path, target: Path) -> int:
    """Copy a store; blocks until it is done.

    Args:
        source: A SQLite store.
        target: A file that does not exist yet.

    Returns:
        The copy's size in bytes.

    Raises:
        StoreFailed: The source is no store of ours, the target exists or cannot be
            written, or the copy is not intact. No file of that name is left then.
    """
    if target.exists():
        raise StoreFailed(f"{target} exists; a backup replaces nothing")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with closing(_open(source)) as original, closing(sqlite3.connect(part)) as copy:
            original.backup(copy)
            # The copy is a file of its own: no WAL beside it that could be lost.
            copy.execute("PRAGMA journal_mode = DELETE")
            (found,) = copy.execute("PRAGMA integrity_check").fetchone()
        if found != "ok":
            raise StoreFailed(f"the copy of {source} is not intact: {found}")
        _make_durable(part)
        os.link(part, target)  # refuses to replace, where a rename would
        _make_durable(target.parent)
        return target.stat().st_size
    except (sqlite3.Error, OSError) as error:
        raise StoreFailed(f"cannot copy {source} to {target}: {error}") from error
    finally:
        for left in (part, part.with_name(f"{part.name}-journal")):
            left.unlink(missing_ok=True)


def _open(source: Path) -> sqlite3.Connection:
    if not source.is_file():
        raise StoreFailed(f"there is no store {source}")
    connection = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if owner != APPLICATION_ID:
        connection.close()
        raise StoreFailed(f"{source} is no store of this program")
    return connection


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
