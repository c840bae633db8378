"""PostgreSQL as a `Database`, through synchronous psycopg in the writer's thread.

An advisory lock, held by the writing session, keeps a second process from writing: it
would not see our mirror, nor we its changes. The server lets it go with the session,
so a killed process leaves none.

Needs the extra `flowtrade[postgres]` (psycopg 3).
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Final, cast, final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from flowtrade.errors import SchemaMismatch, StoreFailed
from flowtrade.store.schema import POSTGRES_STEPS
from flowtrade.store.sessions import Rows

__all__ = ["PostgresDatabase", "PostgresSession"]

_LOCK: Final = 0x464C5754  # "FLWT"; unique within one database, as advisory locks are
_PATIENCE: Final = "2s"
_PARAMETER: Final = re.compile(r":(\w+)")
_NOTHING: Final[Mapping[str, object]] = {}


@final
class PostgresSession:
    """The port `Session` over a connection in autocommit mode."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @property
    def lost(self) -> bool:
        """See `flowtrade.store.sessions.Session`."""
        return self._connection.closed

    def execute(self, sql: str, parameters: Mapping[str, object] = _NOTHING) -> Rows:
        """See `flowtrade.store.sessions.Session`."""
        return self._connection.execute(_translate(sql), cast("Any", parameters))

    def begin(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        self._connection.execute("BEGIN")

    def begin_snapshot(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def commit(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        with suppress(psycopg.Error):
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        self._connection.close()


@final
class PostgresDatabase:
    """The port `Database` over one PostgreSQL database.

    Args:
        url: Of the database, such as `postgresql://user@host/name`. Tables are made
            in the first schema of its search path.
    """

    errors: tuple[type[Exception], ...] = (psycopg.Error,)

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def name(self) -> str:
        """See `flowtrade.store.sessions.Database`."""
        known = conninfo_to_dict(self._url)
        return f"postgresql://{known.get('host') or ''}/{known.get('dbname') or ''}"

    def open_writer(self) -> PostgresSession:
        """See `flowtrade.store.sessions.Database`."""
        connection = self._connect()
        try:
            self._acquire(connection)
            _migrate(connection)
        except BaseException:
            connection.close()
            raise
        return PostgresSession(connection)

    def open_reader(self) -> PostgresSession:
        """See `flowtrade.store.sessions.Database`."""
        return PostgresSession(self._connect())

    def _acquire(self, connection: psycopg.Connection[Any]) -> None:
        # Waits a little: the server notices the end of a killed process's session
        # some milliseconds after the process.
        connection.execute(f"SET lock_timeout = '{_PATIENCE}'")
        try:
            connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        except psycopg.errors.LockNotAvailable as error:
            raise StoreFailed(
                f"another process serves {self.name}; stop it first"
            ) from error
        connection.execute("RESET lock_timeout")

    def _connect(self) -> psycopg.Connection[Any]:
        # Keep-alives find a dead server within a minute rather than in hours.
        return psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=10,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
            application_name="flowtrade",
        )


@cache
def _translate(sql: str) -> Any:  # noqa: ANN401  # psycopg wants a literal type
    return _PARAMETER.sub(r"%(\1)s", sql)


def _migrate(connection: psycopg.Connection[Any]) -> None:
    """Bring a database up to the newest schema.

    Raises:
        SchemaMismatch: It is of a newer version of ours.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS flowtrade_schema (version INTEGER NOT NULL)"
    )
    row = connection.execute("SELECT max(version) FROM flowtrade_schema").fetchone()
    version = int(row[0]) if row is not None and row[0] is not None else 0
    if version > len(POSTGRES_STEPS):
        raise SchemaMismatch(
            f"the store has schema {version}, this program knows "
            f"{len(POSTGRES_STEPS)}; upgrade the program"
        )
    for number, step in enumerate(POSTGRES_STEPS[version:], start=version + 1):
        with connection.transaction():
            connection.execute(cast("Any", step))
            connection.execute("INSERT INTO flowtrade_schema VALUES (%s)", [number])
