"""Bulk requests as Apache Arrow: the lines of `flowtrade.models.bulk` as columns.

An IPC stream with a column `op` (text) and, as far as the operations in it need them,

    id         text: the demand or portfolio; null lets the service choose
    app_data   text: JSON; null for null
    curve      list of {rate, price} (float64); null withdraws
    constant   {min_rate, max_rate, price} (float64) instead of a curve
    demand     map of text to float64; null keeps, empty clears
    basis      likewise

Columns of other names are refused. Needs the extra `flowtrade[arrow]`.

A batch of nothing but curves through points is taken by columns; any other one row by
row, as JSON would be. Both ways say the same of the same rows.
"""

import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flowtrade.api.problems import BadRequest, UnsupportedMediaType
from flowtrade.errors import InvalidRequest, RequestError
from flowtrade.models.bulk import BulkCreateDemand, BulkLine, BulkSetCurve
from flowtrade.models.curve import Point, PwlCurve

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Floats = NDArray[np.float64]

__all__ = ["ARROW_STREAM", "arrow_lines", "import_arrow"]

ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"
"""Registered with IANA for Arrow's IPC streaming format."""

_COLUMNS: Final = frozenset(
    {"op", "id", "app_data", "curve", "constant", "demand", "basis"}
)


_CURVES: Final = frozenset({"set_curve", "create_demand"})

_ROWS: Final = 1_000
"""Rows that are read at once: less than a millisecond."""

_Points = PwlCurve | tuple[Point, ...]


def arrow_lines(data: bytes, *, most: int) -> Iterator[BulkLine | RequestError]:
    """Read the rows of a stream.

    Args:
        data: The body.
        most: Rows at most.

    Returns:
        For each row its operation, or why it is none; made as they are asked for.

    Raises:
        BadRequest: It is no such stream, has unknown columns or too many rows; or,
            while rows are asked for, a map in it has a key twice.
        UnsupportedMediaType: This server has no Arrow.
    """
    # That it is a stream and not too long is found out before the first row.
    batches = _batches(data, most)
    return (line for batch in batches for line in _lines_of(batch))


def import_arrow() -> None:
    """Import what `arrow_lines` needs, if it is there; it does so itself otherwise."""
    with suppress(ModuleNotFoundError):
        for name in ("pyarrow.ipc", "pyarrow.compute"):
            importlib.import_module(name)


def _batches(data: bytes, limit: int) -> list[Any]:
    most = limit
    try:
        from pyarrow import ipc
    except ModuleNotFoundError as error:
        raise UnsupportedMediaType(
            "this server reads no Arrow; it needs flowtrade[arrow]"
        ) from error
    found: list[Any] = []
    with _readable(), ipc.open_stream(data) as stream:
        unknown = set(stream.schema.names) - _COLUMNS
        if unknown or "op" not in stream.schema.names:
            raise BadRequest(
                f"the columns must be op and some of {', '.join(sorted(_COLUMNS))}"
                f", was {', '.join(stream.schema.names)}"
            )
        for batch in stream:
            most -= batch.num_rows
            if most < 0:
                raise BadRequest(f"at most {limit} rows at once")
            batch.validate(full=True)
            found.append(batch)
    return found


@contextmanager
def _readable() -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    # Arrow's own errors are ValueErrors and OSErrors; a key given twice is a KeyError.
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise BadRequest(f"no readable Arrow stream: {error}") from error


def _lines_of(batch: Any) -> Iterator[BulkLine | RequestError]:  # noqa: ANN401  # pyarrow has no types
    for start in range(0, batch.num_rows, _ROWS):
        some = batch.slice(start, _ROWS)
        with _readable():
            lines = _by_columns(some)
            if lines is None:
                lines = _by_rows(some)
        yield from lines


def _by_rows(batch: Any) -> list[BulkLine | RequestError]:  # noqa: ANN401  # pyarrow has no types
    return [_line(row) for row in batch.to_pylist(maps_as_pydicts="strict")]


def _by_columns(batch: Any) -> list[BulkLine | RequestError] | None:  # noqa: ANN401  # pyarrow has no types
    """Return the rows of a batch of curves, or None for any other batch."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    constant = columns.get("constant")
    if constant is not None and constant.null_count < len(constant):
        return None
    operations = columns["op"].to_pylist()
    if not _CURVES.issuperset(operations) or "id" not in columns:
        return None
    curves = _curves(columns.get("curve"))
    if curves is None:
        return None
    texts = columns["app_data"].to_pylist() if "app_data" in columns else None
    rows = zip(
        operations,
        columns["id"].to_pylist(),
        texts or [None] * len(operations),
        curves,
        strict=True,
    )
    return [
        BulkSetCurve(id=key, curve_data=curve)
        if operation == "set_curve" and type(key) is str
        else _curve_line(operation, key, text, curve)
        for operation, key, text, curve in rows
    ]


def _curves(column: Any) -> list[_Points | None] | None:  # noqa: ANN401  # pyarrow has no types
    """Return the curves of a column of lists of points without holes, or None."""
    import pyarrow as pa

    if column is None or not pa.types.is_list(column.type):
        return None
    if column.type.value_type != _point_type():
        return None
    points = column.flatten()
    rates, prices = points.flatten()
    if points.null_count or rates.null_count or prices.null_count:
        return None
    rates, prices = rates.to_numpy(), prices.to_numpy()
    made = [
        Point(rate=rate, price=price)
        for rate, price in zip(rates.tolist(), prices.tolist(), strict=True)
    ]
    lengths = column.value_lengths().to_pylist()
    ends = list(accumulate(length or 0 for length in lengths))
    sound = _sound(rates, prices, [0, *ends])
    found: list[_Points | None] = []
    for length, end, is_sound in zip(lengths, ends, sound, strict=True):
        if length is None:
            found.append(None)
            continue
        some = tuple(made[end - length : end])
        # Whoever makes the operation finds out what is wrong with it, in its turn.
        found.append(_curve_through(some) if is_sound else some)
    return found


def _sound(rates: "_Floats", prices: "_Floats", edges: Sequence[int]) -> list[bool]:
    """Say which points between two edges keep the rules of a curve: all at once.

    The rules, and how NaN and infinity break them, are those of `PwlCurve`.
    """
    import numpy as np

    bounds = np.array(edges)
    filled = np.flatnonzero(np.diff(bounds))
    sound = np.zeros(len(edges) - 1, bool)
    if not len(filled):
        return sound.tolist()
    first, last = bounds[filled], bounds[filled + 1] - 1
    steps = np.ones(len(rates), bool)
    steps[1:] = (rates[:-1] <= rates[1:]) & (prices[:-1] >= prices[1:])
    steps[first] = True
    sound[filled] = (
        np.logical_and.reduceat(steps, first)
        & (-math.inf < rates[first])
        & (rates[first] <= 0.0)
        & (rates[last] >= 0.0)
        & (rates[last] < math.inf)
        & (-math.inf < prices[last])
        & (prices[first] < math.inf)
    )
    return sound.tolist()


def _curve_through(points: tuple[Point, ...]) -> PwlCurve:
    """Return the curve through points that keep its rules, unchecked."""
    curve = _copy(_ANY_CURVE)
    msgspec.structs.force_setattr(curve, "points", points)
    return curve


# What `copy.copy` calls in the end, in a fifth of the time; it checks nothing.
_copy: Final[Callable[[PwlCurve], PwlCurve]] = PwlCurve.__copy__  # type: ignore[attr-defined]  # every Struct has it
_ANY_CURVE: Final = PwlCurve(points=(Point(rate=0.0, price=0.0),))


@cache
def _point_type() -> Any:  # noqa: ANN401  # pyarrow has no types
    import pyarrow as pa

    return pa.struct([("rate", pa.float64()), ("price", pa.float64())])


def _curve_line(
    operation: str,
    key: object,
    text: Any,  # noqa: ANN401  # pyarrow has no types
    curve: _Points | None,
) -> BulkLine | RequestError:
    if key is not None and not isinstance(key, str):
        return _line({"op": operation, "id": key})
    if operation == "set_curve":
        if key is None:
            return _line({"op": operation})
        return BulkSetCurve(id=key, curve_data=curve)
    data = None
    try:
        if text is not None:
            data = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return InvalidRequest(str(error))
    made = msgspec.UNSET if key is None else key
    return BulkCreateDemand(id=made, app_data=data, curve_data=curve)


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
    if "curve" not in row and "constant" not in row and row["op"] == "set_curve":
        return {}  # a table without curves withdraws none
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
