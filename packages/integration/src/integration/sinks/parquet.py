"""Parquet as a sink: market events into files that any analysis tool reads.

A Parquet file can be read only once it is finished, so a crash would take what was
written to an unfinished one. Therefore events first go to a journal, an Arrow stream
that is made durable (fsync) with every batch; when a journal is full, or the sink
closes, it becomes a Parquet file under its final name and is deleted. Journals that a
crash left behind are turned into files when the folder is opened again. What a torn
write left at their end was never acknowledged; it is kept beside as `.torn`, in case
it was the disk that tore it.

    folder/public_trade/20261122T101500.000000001Z-000000.parquet
    folder/public_trade/000001.journal

Columns are those of `integration.sinks.rows`: times as timestamp[ns, UTC], prices and
amounts as decimal128(38, 18), exact. pyarrow comes with
`flowtrade-integration[parquet]`.
"""

import importlib
import logging
import os
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self, final

import trio

from integration.errors import LocalError, Unsupported
from integration.models.event import MarketEvent
from integration.sinks.rows import TABLES, Column, ColumnKind, Table, rows_by_table

__all__ = ["ParquetSink", "SinkFailed"]

_log = logging.getLogger(__name__)

_ROWS: Final = 1_000_000
_DIGITS: Final = (38, 18)
"""Digits in all and after the point: more than any venue uses."""


class SinkFailed(LocalError):
    """The disk refused, or a value does not fit its column."""

    recoverable = False


@final
class ParquetSink:
    """A folder as a `BatchSink`; open it with `open`.

    Args:
        folder: Where files go; one process at a time writes to it.
        arrow: The package pyarrow.
        rows: Rows in a file; a batch is never divided, so some more are possible.
        compression: Parquet's codec.
    """

    def __init__(
        self,
        folder: Path,
        arrow: Any,  # noqa: ANN401 - an optional package
        *,
        rows: int = _ROWS,
        compression: str = "zstd",
    ) -> None:
        self._folder = folder
        self._arrow = arrow
        self._rows = rows
        self._compression = compression
        self._journals: dict[str, _Journal] = {}
        self._turn = trio.Lock()

    @classmethod
    async def open(
        cls, folder: Path, *, rows: int = _ROWS, compression: str = "zstd"
    ) -> Self:
        """Open a folder, made if missing, and finish what a crash left behind.

        Args:
            folder: Where files go.
            rows: Rows after which a file is finished.
            compression: Parquet's codec.

        Raises:
            Unsupported: pyarrow is not installed.
            SinkFailed: The folder cannot be used.
        """
        try:
            arrow = importlib.import_module("pyarrow")
            importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise Unsupported(
                "this installation", "Parquet; install flowtrade-integration[parquet]"
            ) from error
        sink = cls(folder, arrow, rows=rows, compression=compression)
        await trio.to_thread.run_sync(sink._recover)  # our own
        return sink

    async def send_batch(self, items: Sequence[MarketEvent]) -> None:
        """Write events; they are durable when this returns.

        A cancellation is heeded when they are.

        Raises:
            SinkFailed: The disk refused, or an event has no table or a number that
                does not fit. Batches before are safe.
        """
        try:
            tables = rows_by_table(items)
        except KeyError as error:
            raise SinkFailed(f"events of {error} have no table") from error
        async with self._turn:
            await trio.to_thread.run_sync(self._write, list(tables.values()))

    async def aclose(self) -> None:
        """Finish all files.

        Raises:
            SinkFailed: The disk refused; the journals are kept for the next time.
        """
        with trio.CancelScope(shield=True):
            async with self._turn:
                await trio.to_thread.run_sync(self._finish_all)

    # In threads.

    def _recover(self) -> None:
        try:
            for table in TABLES.values():
                for path in sorted((self._folder / table.name).glob("*.journal")):
                    self._finish(path)
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkFailed(f"{self._folder} cannot be used: {error}") from error

    def _write(self, tables: list[tuple[Table, list[tuple[Any, ...]]]]) -> None:
        # All are converted before any is written: a value that does not fit any
        # column leaves every file as it was.
        batches = [(table, self._batch(table, rows)) for table, rows in tables]
        try:
            for table, batch in batches:
                journal = self._journals.get(table.name)
                if journal is None:
                    journal = self._open(table, batch.schema)
                journal.append(batch)
                if journal.rows >= self._rows:
                    del self._journals[table.name]
                    journal.close()
                    self._finish(journal.path)
        except (OSError, self._arrow.ArrowException) as error:
            raise SinkFailed(f"{self._folder}: {error}") from error

    def _open(self, table: Table, schema: Any) -> "_Journal":  # noqa: ANN401 - pyarrow
        folder = self._folder / table.name
        folder.mkdir(parents=True, exist_ok=True)
        taken = [int(path.stem) for path in folder.glob("*.journal")]
        path = folder / f"{max(taken, default=-1) + 1:06}.journal"
        journal = self._journals[table.name] = _Journal(self._arrow, path, schema)
        return journal

    def _finish_all(self) -> None:
        try:
            while self._journals:
                _, journal = self._journals.popitem()
                journal.close()
                self._finish(journal.path)
        except (OSError, self._arrow.ArrowException) as error:
            raise SinkFailed(f"{self._folder}: {error}") from error

    def _finish(self, path: Path) -> None:
        """Turn a journal into a Parquet file; an empty one into nothing."""
        batches, torn = _read_whole(self._arrow, path)
        if batches:
            data = self._arrow.Table.from_batches(batches)
            first = data.column("time_received")[0].value
            target = _free_name(path.parent, first)
            part = target.with_suffix(".part")
            self._arrow.parquet.write_table(
                data, str(part), compression=self._compression
            )
            _make_durable(part)
            part.replace(target)
            _make_durable(path.parent)
        if torn:
            _log.warning("%s ends in a torn write; kept as .torn", path)
            path.replace(path.with_suffix(".torn"))
        else:
            path.unlink()

    def _batch(self, table: Table, rows: list[tuple[Any, ...]]) -> Any:  # noqa: ANN401 - pyarrow
        arrow = self._arrow
        schema = _schema(arrow, table)
        columns = zip(*rows, strict=True)
        try:
            arrays = [
                arrow.array(list(values), type=field.type)
                for values, field in zip(columns, schema, strict=True)
            ]
        except (arrow.ArrowException, ValueError) as error:
            raise SinkFailed(f"{table.name}: a value does not fit: {error}") from error
        return arrow.RecordBatch.from_arrays(arrays, schema=schema)


class _Journal:
    """An Arrow stream on its way to becoming a file."""

    def __init__(self, arrow: Any, path: Path, schema: Any) -> None:  # noqa: ANN401 - pyarrow
        self.path = path
        self.rows = 0
        self._file = path.open("xb")
        self._writer = arrow.ipc.new_stream(self._file, schema)

    def append(self, batch: Any) -> None:  # noqa: ANN401 - pyarrow
        self._writer.write_batch(batch)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.rows += batch.num_rows

    def close(self) -> None:
        with closing(self._file):
            self._writer.close()


def _read_whole(arrow: Any, path: Path) -> tuple[list[Any], bool]:  # noqa: ANN401 - pyarrow
    """Return the batches that are whole, and whether a torn one follows them."""
    batches: list[Any] = []
    # Closed in order, a stream ends with a mark; after a crash it just ends, which
    # reads as an end, too, if it is between two batches.
    with path.open("rb") as file:
        try:
            with arrow.ipc.open_stream(file) as stream:
                for batch in stream:
                    batches.append(batch)  # noqa: PERF402  # kept when reading fails
        except (arrow.ArrowException, OSError, EOFError):
            return batches, True
    return batches, False


def _free_name(folder: Path, first: int) -> Path:
    seconds, rest = divmod(first, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC)
    stem = f"{moment:%Y%m%dT%H%M%S}.{rest:09}Z"
    number = 0
    while (path := folder / f"{stem}-{number:06}.parquet").exists():
        number += 1
    return path


def _schema(arrow: Any, table: Table) -> Any:  # noqa: ANN401 - pyarrow
    def field(column: Column) -> Any:  # noqa: ANN401 - pyarrow
        return arrow.field(
            column.name, _type(arrow, column.kind), nullable=not column.required
        )

    return arrow.schema([field(column) for column in table.columns])


def _type(arrow: Any, kind: ColumnKind) -> Any:  # noqa: ANN401 - pyarrow
    decimal = arrow.decimal128(*_DIGITS)
    level = arrow.struct([("price", decimal), ("amount", decimal)])
    return {
        ColumnKind.TIME: arrow.timestamp("ns", tz="UTC"),
        ColumnKind.INTEGER: arrow.int64(),
        ColumnKind.DECIMAL: decimal,
        ColumnKind.TEXT: arrow.string(),
        ColumnKind.FLAG: arrow.bool_(),
        ColumnKind.LEVELS: arrow.list_(level),
    }[kind]


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
