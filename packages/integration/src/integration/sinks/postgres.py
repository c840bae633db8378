"""PostgreSQL as a sink: market events into tables, a batch in one transaction.

Rows are copied (COPY), not inserted one by one. Tables are made when they are first
needed, one a kind of data (`integration.sinks.rows`); times are BIGINT nanoseconds,
because PostgreSQL's own times end at microseconds, prices and amounts are NUMERIC, so
exact, levels are JSONB pairs of text.

psycopg works in a thread; it comes with `flowtrade-integration[postgres]`.
"""

import importlib
import json
import re
from collections.abc import Sequence
from typing import Any, Final, Self, final

import trio

from integration.errors import Broker, LocalError, Unsupported
from integration.models.event import MarketEvent
from integration.rest.prepared import MASK
from integration.sinks.rows import ColumnKind, Table, rows_by_table

__all__ = ["PostgresSink", "table_statement"]

_PASSWORD: Final = re.compile(
    r"//[^/@:]*:(.+)@|\bpassword\s*=\s*(?:'([^']*)|([^\s&']+))", re.IGNORECASE
)
"""Where a password stands in a URL or in keywords and values, well-formed or not."""

_TYPES: Final = {
    ColumnKind.TIME: "BIGINT",
    ColumnKind.INTEGER: "BIGINT",
    ColumnKind.DECIMAL: "NUMERIC",
    ColumnKind.TEXT: "TEXT",
    ColumnKind.FLAG: "BOOLEAN",
    ColumnKind.LEVELS: "JSONB",
}


def table_statement(table: Table) -> str:
    """Return the statement that makes a table with its index by instrument and time."""
    columns = ", ".join(
        f'"{column.name}" {_TYPES[column.kind]}{" NOT NULL" if column.required else ""}'
        for column in table.columns
    )
    index = '("exchange", "instrument", "time_exchange")'
    return (
        f'CREATE TABLE IF NOT EXISTS "{table.name}" ({columns}); '
        f'CREATE INDEX IF NOT EXISTS "{table.name}_by_time" ON "{table.name}" {index}'
    )


@final
class PostgresSink:
    """A connection to a database as a `BatchSink`; open it with `open`.

    Args:
        connection: A psycopg connection in autocommit mode.
        module: The package, for its errors.
    """

    def __init__(
        self,
        connection: Any,  # noqa: ANN401 - a Connection of an optional package
        module: Any,  # noqa: ANN401 - the optional package
    ) -> None:
        self._connection = connection
        self._module = module
        self._made: set[str] = set()
        self._turn = trio.Lock()

    @classmethod
    async def open(cls, url: str, *, connect_timeout: float = 10.0) -> Self:
        """Connect.

        Args:
            url: Such as `postgresql://user@host/name`; tables are made in the first
                schema of its search path.
            connect_timeout: Seconds.

        Raises:
            Unsupported: psycopg is not installed.
            LocalError: The URL cannot be read.
            Broker: The database cannot be reached.
        """
        try:
            module = importlib.import_module("psycopg")
        except ImportError as error:
            raise Unsupported(
                "this installation",
                "PostgreSQL; install flowtrade-integration[postgres]",
            ) from error
        try:
            connection = await trio.to_thread.run_sync(
                lambda: module.connect(
                    url, autocommit=True, connect_timeout=max(2, round(connect_timeout))
                )
            )
        except module.ProgrammingError as error:
            # The cause is left out: it quotes the URL, password and all.
            said = _without_password(str(error), url)
            raise LocalError(f"the database's URL cannot be used: {said}") from None
        except module.Error as error:
            raise Broker(f"no connection to PostgreSQL: {error}") from error
        return cls(connection, module)

    async def send_batch(self, items: Sequence[MarketEvent]) -> None:
        """Write events; all or none of them are in the database afterwards.

        A cancellation is heeded when the transaction is through.

        Raises:
            LocalError: An event is of a kind that has no table; none is written.
            Broker: The database refused, or the connection is gone; none is written,
                unless it went while committing.
        """
        try:
            tables = rows_by_table(items)
        except KeyError as error:
            raise LocalError(f"events of {error} have no table") from error
        async with self._turn:
            await trio.to_thread.run_sync(self._write, list(tables.values()))

    async def aclose(self) -> None:
        """Close the connection."""
        with trio.CancelScope(shield=True):
            async with self._turn:
                await trio.to_thread.run_sync(self._connection.close)

    def _write(self, tables: list[tuple[Table, list[tuple[Any, ...]]]]) -> None:
        made = {table.name for table, _ in tables} - self._made
        try:
            with self._connection.transaction():
                for table, rows in tables:
                    if table.name in made:
                        self._connection.execute(table_statement(table))
                    self._copy(table, rows)
        except self._module.Error as error:
            raise Broker(
                f"PostgreSQL refused the batch: {error}",
                code=getattr(error, "sqlstate", None) or "",
                terminal=self._connection.closed,
            ) from error
        self._made |= made

    def _copy(self, table: Table, rows: list[tuple[Any, ...]]) -> None:
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        lists = [
            index
            for index, column in enumerate(table.columns)
            if column.kind is ColumnKind.LEVELS
        ]
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN') as copy,
        ):
            for row in rows:
                copy.write_row(_with_json(row, lists) if lists else row)


def _without_password(text: str, url: str) -> str:
    for password in filter(None, _PASSWORD.findall(url)):
        text = text.replace("".join(password), MASK)
    return text


def _with_json(row: tuple[Any, ...], lists: list[int]) -> list[Any]:
    changed = list(row)
    for index in lists:
        changed[index] = json.dumps([[str(p), str(a)] for p, a in row[index]])
    return changed
