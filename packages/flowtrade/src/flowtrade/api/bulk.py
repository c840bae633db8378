"""Many changes in one request: a body of lines in, a line of answer for each.

The body is JSON, one value a line, or an Arrow stream (`flowtrade.api.arrow`).

The lines are queued together and share commits, so ten thousand cost a few fsyncs;
each is still an operation of its own, with its own timestamp.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

import msgspec
from litestar import Response

from flowtrade.api.arrow import ARROW_STREAM, arrow_lines
from flowtrade.api.context import Api, context_of
from flowtrade.api.problems import BadRequest, UnsupportedMediaType, status_of
from flowtrade.api.reading import app_data_of, bearer, body_id, group_of
from flowtrade.core.operations import (
    AddDemand,
    AddPortfolio,
    Operation,
    SetCurve,
    SetGroups,
)
from flowtrade.core.service import Service
from flowtrade.core.state import Group, Kind
from flowtrade.errors import Forbidden, InvalidRequest, RequestError
from flowtrade.models.bulk import (
    BulkAnswer,
    BulkCreateDemand,
    BulkCreatePortfolio,
    BulkLine,
    BulkSetCurve,
    BulkSetGroups,
)
from flowtrade.models.curve import CurveError, parse_curve
from flowtrade.models.demand import DemandRecord
from flowtrade.models.group import GroupError
from flowtrade.models.ids import Id
from flowtrade.models.portfolio import PortfolioRecord

__all__ = ["post_bulk"]

_LINE: "msgspec.json.Decoder[BulkLine]" = msgspec.json.Decoder(BulkLine)
_MOST: Final = 2_000
"""Lines in one body: half of what may wait in the store's queue by default."""

_NDJSON: Final = "application/x-ndjson"
_CREATES = (AddDemand, AddPortfolio)
_Result: TypeAlias = DemandRecord | PortfolioRecord | RequestError


async def post_bulk(request: Api) -> Response[bytes]:
    """Carry out many changes of bids, one a line; answer one line for each."""
    token = bearer(request)
    declared = request.headers.get("content-type", "").partition(";")[0].strip()
    read = _READERS.get(declared.lower())
    if read is None:
        known = " or ".join(_READERS)
        raise UnsupportedMediaType(f"the body must be {known}, was {declared!r}")
    lines = read(await request.body())
    context = context_of(request)
    bidder = (await context.authorizer.authorize(token)).can_create_bid()
    if bidder is None:
        raise Forbidden("this token may not place bids")
    results = await _carry_out(context.service, bidder, lines)
    context.auto_solve()
    answers = [_answer(n, *result) for n, result in enumerate(results, start=1)]
    data = b"".join(msgspec.json.encode(answer) + b"\n" for answer in answers)
    return Response(data, media_type=_NDJSON)


def _json_lines(body: bytes) -> list[BulkLine | RequestError]:
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > _MOST:
        raise BadRequest(f"at most {_MOST} lines at once, was {len(lines)}")
    return [_json_line(line) for line in lines]


def _json_line(text: bytes) -> BulkLine | RequestError:
    try:
        return _LINE.decode(text)
    except msgspec.ValidationError as error:
        return InvalidRequest(str(error))
    except (msgspec.DecodeError, RecursionError) as error:
        return BadRequest(f"the line cannot be read: {error}")


_READERS: Final[Mapping[str, Callable[[bytes], list[BulkLine | RequestError]]]] = {
    _NDJSON: _json_lines,
    ARROW_STREAM: partial(arrow_lines, most=_MOST),
}


async def _carry_out(
    service: Service, bidder: Id, lines: list[BulkLine | RequestError]
) -> list[tuple[Operation | None, _Result]]:
    read = [_read(service, bidder, line) for line in lines]
    operations = [item for item in read if not isinstance(item, RequestError)]
    done = iter(await service.execute_many(operations))
    return [
        (None, item) if isinstance(item, RequestError) else (item, next(done))
        for item in read
    ]


def _read(
    service: Service, bidder: Id, line: BulkLine | RequestError
) -> Operation | RequestError:
    if isinstance(line, RequestError):
        return line
    try:
        return _operation(service, bidder, line)
    except (CurveError, GroupError) as error:
        return InvalidRequest(str(error))
    except RequestError as error:
        return error


def _operation(service: Service, bidder: Id, line: BulkLine) -> Operation:
    match line:
        case BulkCreateDemand():
            app_data = app_data_of(line.app_data)
            return AddDemand(
                id=_id(service, Kind.DEMAND, line.id, app_data),
                owner=bidder,
                app_data=app_data,
                curve=parse_curve(line.curve_data),
            )
        case BulkSetCurve():
            curve = parse_curve(line.curve_data)
            return SetCurve(id=body_id(line.id), curve=curve, owner=bidder)
        case BulkCreatePortfolio():
            app_data = app_data_of(line.app_data)
            return AddPortfolio(
                id=_id(service, Kind.PORTFOLIO, line.id, app_data),
                owner=bidder,
                app_data=app_data,
                demand=group_of(line.demand),
                basis=group_of(line.basis),
            )
        case BulkSetGroups():
            return SetGroups(
                id=body_id(line.id),
                demand=_kept(line.demand),
                basis=_kept(line.basis),
                owner=bidder,
            )


def _id(
    service: Service, kind: Kind, chosen: Id | msgspec.UnsetType, app_data: bytes
) -> Id:
    if chosen is msgspec.UNSET:
        return service.new_id(kind, app_data)
    return body_id(chosen)


def _kept(value: object) -> Group | None:
    return None if value is None else group_of(value)


def _answer(line: int, operation: Operation | None, result: _Result) -> BulkAnswer:
    if isinstance(result, RequestError):
        return BulkAnswer(
            line=line, status=status_of(result), code=result.code, detail=str(result)
        )
    status = 201 if isinstance(operation, _CREATES) else 200
    return BulkAnswer(line=line, status=status, record=result)
