"""What the SQL stores need from a database: a connection, and how to get one.

Everything here is called in worker threads, one thread at a time for each session, and
knows no trio. SQL is written once, with parameters as `:name`, or as `?` where one
statement has many rows; a session translates.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from flowtrade.ports import Lock

__all__ = ["Bell", "Database", "Rows", "Session"]


class Rows(Protocol):
    """The result of a query."""

    def fetchone(self) -> Any:  # noqa: ANN401  # rows have the columns of their query
        """Return the next row, or None."""
        ...

    def __iter__(self) -> Iterator[Any]: ...


class Session(Protocol):
    """One connection."""

    @property
    def lost(self) -> bool:
        """Whether the connection is gone, so that a commit's fate is unknown."""
        ...

    @property
    def lands(self) -> bool:
        """Whether it has the table `landed`, where versions wait for their places."""
        ...

    def execute(self, sql: str, parameters: Mapping[str, object] = ...) -> Rows:
        """Run one statement."""
        ...

    def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run one statement for each row."""
        ...

    def begin(self) -> None:
        """Begin a transaction that writes; no other one begins until it has ended."""
        ...

    def begin_snapshot(self) -> None:
        """Begin a transaction that reads one state of the database."""
        ...

    def commit(self) -> None:
        """Make the transaction durable."""
        ...

    def rollback(self) -> None:
        """End the transaction without its changes; never raises."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Bell(Protocol):
    """Rings when another process has committed."""

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when it rings."""
        ...

    def rang(self) -> bool:
        """Take what has come; say whether another process has committed."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class Database(Protocol):
    """How to reach one store."""

    @property
    def shared(self) -> bool:
        """Whether several processes may write to it at the same time."""
        ...

    @property
    def name(self) -> str:
        """What people know it by; without passwords."""
        ...

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its driver raises."""
        ...

    def open_writer(self) -> Session:
        """Open the one connection that writes, with the newest schema.

        Raises:
            SchemaMismatch: The database is not ours, or newer than this program.
            StoreFailed: It cannot be opened, or another process writes to it and it
                is not shared.
        """
        ...

    def open_reader(self) -> Session:
        """Open a connection for reading."""
        ...

    def open_bell(self) -> Bell:
        """Open a connection that tells of other processes' commits, if it is shared."""
        ...

    def open_lock(self, silence: float) -> Lock:
        """Open a connection that may hold the right to lead, if it is shared.

        Args:
            silence: Seconds without a sign of life after which a holder loses it.
        """
        ...
