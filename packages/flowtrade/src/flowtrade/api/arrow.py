"""Bulk requests as Apache Arrow: the lines of `flowtrade.models.bulk` as columns.

An IPC stream with a column `op` (text) and, as far as the operations in it need them,

    id         text: the demand or portfolio; null lets the service choose
    app_data   text: JSON; null for null
    curve      list of {rate, price} (float64); null withdraws
    constant   {min_rate, max_rate, price} (float64) instead of a curve
    demand     map of text to float64; null keeps, empty clears
    basis      likewise

Columns of other names are refused. Needs the extra `flowtrade[arrow]`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from flowtrade.api.problems import BadRequest, UnsupportedMediaType
from flowtrade.errors import InvalidRequest, RequestError
from flowtrade.models.bulk import BulkLine

__all__ = ["ARROW_STREAM", "arrow_lines"]

ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"
"""Registered with IANA for Arrow's IPC streaming format."""

_COLUMNS: Final = frozenset(
    {"op", "id", "app_data", "curve", "constant", "demand", "basis"}
)


def arrow_lines(data: bytes, *, most: int) -> list[BulkLine | RequestError]:
    """Read the rows of a stream.

    Args:
        data: The body.
        most: Rows at most.

    Returns:
        For each row its operation, or why it is none.

    Raises:
        BadRequest: It is no such stream, has unknown columns or too many rows.
        UnsupportedMediaType: This server has no Arrow.
    """
    rows = _rows(data, most)
    return [_line(row) for row in rows]


def _rows(data: bytes, most: int) -> Iterator[Mapping[str, Any]]:
    try:
        import pyarrow as pa
        from pyarrow import ipc
    except ModuleNotFoundError as error:
        raise UnsupportedMediaType(
            "this server reads no Arrow; it needs flowtrade[arrow]"
        ) from error
    found: list[Mapping[str, Any]] = []
    try:
        with ipc.open_stream(data) as stream:
            unknown = set(stream.schema.names) - _COLUMNS
            if unknown or "op" not in stream.schema.names:
                raise BadRequest(
                    f"the columns must be op and some of {', '.join(sorted(_COLUMNS))}"
                    f", was {', '.join(stream.schema.names)}"
                )
            for batch in stream:
                if len(found) + batch.num_rows > most:
                    raise BadRequest(f"at most {most} rows at once")
                batch.validate(full=True)
                found += batch.to_pylist(maps_as_pydicts="strict")
    # Arrow's own errors are ValueErrors and OSErrors; a key given twice is a KeyError.
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise BadRequest(f"no readable Arrow stream: {error}") from error
    return iter(found)


def _line(row: Mapping[str, Any]) -> BulkLine | RequestError:
    shape = _SHAPES.get(row["op"] or "")
    if shape is None:
        return InvalidRequest(f"op is one of {', '.join(_SHAPES)}, was {row['op']!r}")
    try:
        line: BulkLine = msgspec.convert({"op": row["op"], **shape(row)}, BulkLine)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return InvalidRequest(str(error))
    return line


def _identity(row: Mapping[str, Any]) -> dict[str, Any]:
    # Absent lets the service choose one; where it must be given, its lack is told.
    return {} if row.get("id") is None else {"id": row["id"]}


def _app_data(row: Mapping[str, Any]) -> dict[str, Any]:
    text = row.get("app_data")
    return {"app_data": None if text is None else msgspec.json.decode(text)}


def _curve(row: Mapping[str, Any]) -> dict[str, Any]:
    constant = row.get("constant")
    if constant is not None and row.get("curve") is not None:
        raise ValueError("a row has a curve or a constant, not both")
    return {"curve_data": row.get("curve") if constant is None else constant}


def _groups(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row.get(name) for name in ("demand", "basis")}


_SHAPES: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "create_demand": lambda row: {**_identity(row), **_app_data(row), **_curve(row)},
    "set_curve": lambda row: {**_identity(row), **_curve(row)},
    "create_portfolio": lambda row: {
        **_identity(row),
        **_app_data(row),
        **_groups(row),
    },
    "set_groups": lambda row: {**_identity(row), **_groups(row)},
}
