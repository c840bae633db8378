"""Lines of a bulk request as JSON: decoded once, straight into curves.

Most lines carry a curve that keeps all rules. Such a line is decoded into points and
made a curve without any value in between. Whatever does not fit (an unknown key, a
wrong type, another operation) is read again the plain way, which knows what to say
about it; so both ways must accept the same lines with the same values, which is a
property under test. So is a line with more colons than it has names that are known: it
may name a member twice (`flowtrade.api.names`).
"""

import math
from typing import Any, Final, TypeAlias

import msgspec

from flowtrade.api.names import check_names
from flowtrade.api.problems import BadRequest
from flowtrade.errors import InvalidRequest, RequestError
from flowtrade.models.bulk import BulkCreateDemand, BulkLine, BulkSetCurve
from flowtrade.models.curve import ConstantCurve, Curve, CurveError, Point, PwlCurve
from flowtrade.models.ids import Id
from netcore.models import Model

__all__ = ["read_line", "read_line_plainly"]


class _Constant(msgspec.Struct, frozen=True, kw_only=True):
    """A constant curve; unknown keys are ignored, as everywhere in curves."""

    price: float
    min_rate: float | None = None
    max_rate: float | None = None


_Curve: TypeAlias = tuple[Point, ...] | _Constant | None


class _SetCurve(Model, frozen=True, kw_only=True, tag_field="op", tag="set_curve"):
    id: Id
    curve_data: _Curve


class _CreateDemand(
    Model, frozen=True, kw_only=True, tag_field="op", tag="create_demand"
):
    id: Id | msgspec.UnsetType = msgspec.UNSET
    app_data: Any
    curve_data: _Curve


_QUICK: Final = msgspec.json.Decoder(_SetCurve | _CreateDemand)
_PLAIN: msgspec.json.Decoder[BulkLine] = msgspec.json.Decoder(BulkLine)


def read_line(text: bytes) -> BulkLine | RequestError:
    """Read one line; a curve in the result is checked already.

    Returns:
        The line, or why it is none.
    """
    try:
        line = _QUICK.decode(text)
        data = line.curve_data
        curve = PwlCurve(points=data) if type(data) is tuple else _other(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, CurveError):
        return read_line_plainly(text)
    names = 2 * len(data) if type(data) is tuple else _names(curve)
    if type(line) is _SetCurve:
        if text.count(b":") == names + 3:  # `op`, `id` and `curve_data`
            return BulkSetCurve(id=line.id, curve_data=curve)
    elif text.count(b":") == names + (3 if line.id is msgspec.UNSET else 4):
        return BulkCreateDemand(id=line.id, app_data=line.app_data, curve_data=curve)
    return read_line_plainly(text)


def read_line_plainly(text: bytes) -> BulkLine | RequestError:
    """Read one line of any kind; curves in it are JSON values, not checked."""
    try:
        line = _PLAIN.decode(text)
        check_names(text, line, tags=1)
    except BadRequest as error:
        return error
    except msgspec.ValidationError as error:
        if "out of range" in str(error):  # no number of ours; as in a body of one value
            return BadRequest(f"the line cannot be read: {error}")
        return InvalidRequest(str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return BadRequest(f"the line cannot be read: {error}")
    return line


def _names(curve: Curve | None) -> int:
    """Return how many names it has in JSON if it says no more than it must."""
    return 0 if curve is None else 1 + sum(map(math.isfinite, curve.domain))


def _other(data: _Constant | None) -> Curve | None:
    if data is None:
        return None
    bounds = {
        name: bound
        for name in ("min_rate", "max_rate")
        if (bound := getattr(data, name)) is not None
    }
    return ConstantCurve(price=data.price, **bounds)
