"""Many changes in one request: a body of lines in, a line of answer for each.

The body is JSON, one value a line, or an Arrow stream (`flowtrade.api.arrow`).

The lines are queued together and share commits, so ten thousand cost a few fsyncs;
each is still an operation of its own, with its own timestamp.

Whoever does not want the records back says `Prefer: return=minimal` (RFC 7240 §4.2):
making them is a third of the work.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Final, TypeAlias

import msgspec
import trio
from litestar import Response

from flowtrade.api.arrow import ARROW_STREAM, arrow_lines
from flowtrade.api.bulklines import read_line
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

_ENCODER: Final = msgspec.json.Encoder()
_MOST: Final = 2_000
"""Lines in one body: half of what may wait in the store's queue by default."""

_NDJSON: Final = "application/x-ndjson"
_CREATES = (AddDemand, AddPortfolio)
_Result: TypeAlias = DemandRecord | PortfolioRecord | RequestError | None

_SLICE: Final = 250
"""Lines after which others get their turn: about a millisecond."""


async def post_bulk(request: Api) -> Response[bytes]:
    """Carry out many changes of bids, one a line; answer one line for each."""
    token = bearer(request)
    declared = request.headers.get("content-type", "").partition(";")[0].strip()
    read = _READERS.get(declared.lower())
    if read is None:
        known = " or ".join(_READERS)
        raise UnsupportedMediaType(f"the body must be {known}, was {declared!r}")
    minimal = _minimal(request)
    lines = read(await request.body())
    context = context_of(request)
    bidder = (await context.authorizer.authorize(token)).can_create_bid()
    if bidder is None:
        raise Forbidden("this token may not place bids")
    read_lines: list[Operation | RequestError] = []
    while some := list(islice(lines, _SLICE)):
        read_lines += [_read(context.service, bidder, line) for line in some]
        await trio.lowlevel.checkpoint()
    results = await _carry_out(context.service, read_lines, records=not minimal)
    context.auto_solve()
    data = bytearray()
    for start in range(0, len(results), _SLICE):
        await trio.lowlevel.checkpoint()
        end = start + _SLICE
        pairs = zip(read_lines[start:end], results[start:end], strict=True)
        data += _ENCODER.encode_lines(
            [_answer(n, *pair) for n, pair in enumerate(pairs, start=start + 1)]
        )
    headers = {"Preference-Applied": "return=minimal"} if minimal else None
    return Response(bytes(data), media_type=_NDJSON, headers=headers)


def _minimal(request: Api) -> bool:
    wanted = request.headers.getall("prefer", [])
    return "return=minimal" in {
        part.partition(";")[0].strip().lower().replace(" ", "")
        for value in wanted
        for part in value.split(",")
    }


def _json_lines(body: bytes) -> Iterator[BulkLine | RequestError]:
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > _MOST:
        raise BadRequest(f"at most {_MOST} lines at once, was {len(lines)}")
    return map(read_line, lines)


_READERS: Final[Mapping[str, Callable[[bytes], Iterator[BulkLine | RequestError]]]] = {
    _NDJSON: _json_lines,
    ARROW_STREAM: partial(arrow_lines, most=_MOST),
}


async def _carry_out(
    service: Service, read: Sequence[Operation | RequestError], *, records: bool
) -> list[_Result]:
    operations = [item for item in read if not isinstance(item, RequestError)]
    done = iter(await service.execute_many(operations, records=records))
    return [item if isinstance(item, RequestError) else next(done) for item in read]


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
        case BulkSetCurve():
            curve = parse_curve(line.curve_data)
            return SetCurve(id=body_id(line.id), curve=curve, owner=bidder)
        case BulkCreateDemand():
            app_data = app_data_of(line.app_data)
            return AddDemand(
                id=_id(service, Kind.DEMAND, line.id, app_data),
                owner=bidder,
                app_data=app_data,
                curve=parse_curve(line.curve_data),
            )
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


def _answer(
    line: int, operation: Operation | RequestError, result: _Result
) -> BulkAnswer:
    if isinstance(result, RequestError):
        return BulkAnswer(
            line=line, status=status_of(result), code=result.code, detail=str(result)
        )
    status = 201 if isinstance(operation, _CREATES) else 200
    record = msgspec.UNSET if result is None else result
    return BulkAnswer(line=line, status=status, record=record)
