"""PostgreSQL as a `Database`, through synchronous psycopg in worker threads.

Several processes may write to one database. Every writing transaction first locks the
one row of `head`, so they happen one after the other, and timestamps grow in the order
of commits. Each ends with a notification, by which the others know that there is news.

Who runs the auctions is decided by an advisory lock on a connection of its own. The
server lets it go with the connection, so a killed process leaves none. A process that
stands still, or whose network is gone, keeps it: whoever finds the holder silent for
too long ends the holder's connection. That the old leader then stores nothing does not
depend on this, but on the epoch (`flowtrade.core.operations.TakeLead`).

Needs the extra `flowtrade[postgres]` (psycopg 3).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from re import compile as pattern
from typing import Any, Final, cast, final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from flowtrade.errors import SchemaMismatch
from flowtrade.store.schema import POSTGRES_STEPS
from flowtrade.store.sessions import Rows

__all__ = ["PostgresBell", "PostgresDatabase", "PostgresLock", "PostgresSession"]

_LEAD: Final = 0x464C5754  # "FLWT"; unique within one database, as advisory locks are
_MIGRATION: Final = _LEAD + 1
_IDLE: Final = "5s"
_CHANNEL: Final = "flowtrade"
_PARAMETER: Final = pattern(r":(\w+)")
_INSERT: Final = pattern(r"INSERT INTO (\w+) (\([\w, ]+\)) VALUES \([?, ]+\)")
_MANY: Final = 8
"""Rows from which on COPY takes less time than as many INSERTs, however short they
are; of 500 it takes a sixth."""

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

    @property
    def lands(self) -> bool:
        """See `flowtrade.store.sessions.Session`."""
        return False

    def execute(self, sql: str, parameters: Mapping[str, object] = _NOTHING) -> Rows:
        """See `flowtrade.store.sessions.Session`."""
        return self._connection.execute(_translate(sql), cast("Any", parameters))

    def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """See `flowtrade.store.sessions.Session`."""
        copy = _copy_of(sql) if len(rows) >= _MANY else None
        cursor = self._connection.cursor()
        if copy is None:
            # psycopg sends the rows without waiting for the answers in between.
            cursor.executemany(_translate(sql), rows)
            return
        with cursor.copy(copy) as stream:
            for row in rows:
                stream.write_row(row)

    def begin(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        self._connection.execute("BEGIN")
        self._connection.execute("SELECT 1 FROM head FOR UPDATE")

    def begin_snapshot(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def commit(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        self._connection.execute("SELECT pg_notify(%s, '')", [_CHANNEL])
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        with suppress(psycopg.Error):
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """See `flowtrade.store.sessions.Session`."""
        self._connection.close()


@final
class PostgresBell:
    """The port `Bell` over LISTEN.

    Args:
        connection: Its own.
        writer: The backend whose notifications are ours.
    """

    def __init__(self, connection: psycopg.Connection[Any], writer: int) -> None:
        self._connection = connection
        self._writer = writer
        connection.execute(f"LISTEN {_CHANNEL}")

    def fileno(self) -> int:
        """See `flowtrade.store.sessions.Bell`."""
        return self._connection.fileno()

    def rang(self) -> bool:
        """See `flowtrade.store.sessions.Bell`."""
        wire = self._connection.pgconn
        wire.consume_input()
        rang = False
        while (notification := wire.notifies()) is not None:
            rang = rang or notification.be_pid != self._writer
        return rang

    def close(self) -> None:
        """See `flowtrade.store.sessions.Bell`."""
        self._connection.close()


@final
class PostgresLock:
    """The port `Lock` over a session's advisory lock.

    Args:
        database: Where.
        silence: Seconds after which a holder that does not ask for it any more loses
            it to one that does.
    """

    def __init__(self, database: "PostgresDatabase", silence: float) -> None:
        self._database = database
        self._silence = silence
        self._connection: psycopg.Connection[Any] | None = None
        self.held = False

    def acquire(self) -> bool:
        """See `flowtrade.store.sessions.Lock`."""
        try:
            if self._connection is None:
                self._connection = self._database.connect()
            self.held = self._ask(self._connection)
        except psycopg.Error:
            # With the connection the lock is gone; the next call opens another one.
            self.close()
        return self.held

    def close(self) -> None:
        """See `flowtrade.store.sessions.Lock`."""
        self.held = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, connection: psycopg.Connection[Any]) -> bool:
        if self.held:  # a sign of life, which the server dates
            connection.execute("SELECT 1")
            return True
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", [_LEAD]).fetchone()
        if row is not None and row[0]:
            return True
        connection.execute(
            "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a "
            "JOIN pg_locks l ON l.pid = a.pid WHERE l.locktype = 'advisory' "
            "AND l.granted AND l.classid = 0 AND l.objid = %s AND l.objsubid = 1 "
            "AND l.database = (SELECT oid FROM pg_database "
            "WHERE datname = current_database()) "
            "AND a.state_change < clock_timestamp() - make_interval(secs => %s)",
            [_LEAD, self._silence],
        )
        return False


@final
class PostgresDatabase:
    """The port `Database` over one PostgreSQL database.

    Args:
        url: Of the database, such as `postgresql://user@host/name`. Tables are made
            in the first schema of its search path.
    """

    errors: tuple[type[Exception], ...] = (psycopg.Error,)
    shared = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._writer = 0

    @property
    def name(self) -> str:
        """See `flowtrade.store.sessions.Database`."""
        known = conninfo_to_dict(self._url)
        return f"postgresql://{known.get('host') or ''}/{known.get('dbname') or ''}"

    def open_writer(self) -> PostgresSession:
        """See `flowtrade.store.sessions.Database`."""
        connection = self.connect()
        try:
            # One process at a time; the lock goes with the transaction or session.
            connection.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION])
            _migrate(connection)
            connection.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATION])
            # A process that stands still between two statements keeps the row of
            # `head` locked, and all others waiting.
            connection.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE}'")
        except BaseException:
            connection.close()
            raise
        self._writer = connection.info.backend_pid
        return PostgresSession(connection)

    def open_reader(self) -> PostgresSession:
        """See `flowtrade.store.sessions.Database`."""
        return PostgresSession(self.connect())

    def open_bell(self) -> PostgresBell:
        """See `flowtrade.store.sessions.Database`."""
        return PostgresBell(self.connect(), self._writer)

    def open_lock(self, silence: float) -> PostgresLock:
        """See `flowtrade.store.sessions.Database`."""
        return PostgresLock(self, silence)

    def connect(self) -> psycopg.Connection[Any]:
        """Return a new connection in autocommit mode."""
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
    return _PARAMETER.sub(r"%(\1)s", sql.replace("?", "%s"))


@cache
def _copy_of(sql: str) -> Any:  # noqa: ANN401  # as above
    """Return the COPY that does what a plain INSERT does, None for any other."""
    found = _INSERT.fullmatch(sql)
    return None if found is None else f"COPY {found[1]} {found[2]} FROM STDIN"


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
