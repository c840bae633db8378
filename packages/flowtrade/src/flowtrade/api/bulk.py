"""Many changes in one request: a body of lines in, a line of answer for each.

The body is JSON, one value a line, or an Arrow stream (`flowtrade.api.arrow`).

The lines are queued together and share commits, so ten thousand cost a few fsyncs;
each is still an operation of its own, with its own timestamp. All are read before the
first is carried out, so a body that cannot be read changes nothing; then they go to the
store some thousand at a time, so that a long body leaves room in its queue, and others
have their turn between the pieces.

Nearly all lines of long bodies are new demands or changed curves, with ids as they are
stored and curves that are checked already: for these an operation is made at once.

Whoever does not want the records back says `Prefer: return=minimal` (RFC 7240 §4.2):
making them is a third of the work.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from itertools import chain, islice
from typing import Final, TypeAlias

import msgspec
import trio
from litestar import Response

from flowtrade.api.arrow import ARROW_STREAM, arrow_lines, import_arrow
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
from flowtrade.core.turns import Turns
from flowtrade.errors import (
    FlowtradeError,
    Forbidden,
    InvalidRequest,
    RequestError,
    ServiceError,
)
from flowtrade.models.bulk import (
    BulkAnswer,
    BulkCreateDemand,
    BulkCreatePortfolio,
    BulkLine,
    BulkSetCurve,
    BulkSetGroups,
)
from flowtrade.models.curve import CurveError, PwlCurve, parse_curve
from flowtrade.models.demand import DemandRecord
from flowtrade.models.group import GroupError
from flowtrade.models.ids import Id, are_canonical
from flowtrade.models.portfolio import PortfolioRecord

__all__ = ["post_bulk"]

_ENCODER: Final = msgspec.json.Encoder()
_MOST: Final = 40_000
"""Lines in one body: what ten megabytes hold of them."""

_NDJSON: Final = "application/x-ndjson"
_CREATES: Final = (AddDemand, AddPortfolio)
_Result: TypeAlias = FlowtradeError | None

_PIECE: Final = 250
"""Lines that are read, or answered, at once: less than half a millisecond."""

_WINDOW: Final = 8
"""Pieces that are handed to the store at once: half of what may wait in its queue by
default."""


class _Piece(msgspec.Struct, frozen=True):
    """Some lines, read.

    Attributes:
        first: The number of the first one.
        operations: What is to be carried out.
        refused: By its number, each line of which there is nothing to be.
    """

    first: int
    operations: list[Operation]
    refused: dict[int, RequestError]

    @property
    def end(self) -> int:
        """The number of the line after the last one."""
        return self.first + len(self.operations) + len(self.refused)


async def post_bulk(request: Api) -> Response[bytes]:
    """Carry out many changes of bids, one a line; answer one line for each."""
    token = bearer(request)
    declared = request.headers.get("content-type", "").partition(";")[0].strip()
    read = _READERS.get(declared.lower())
    if read is None:
        known = " or ".join(_READERS)
        raise UnsupportedMediaType(f"the body must be {known}, was {declared!r}")
    minimal = _minimal(request)
    if declared.lower() == ARROW_STREAM and "pyarrow.compute" not in sys.modules:
        # Once; it takes some hundredths of a second.
        await trio.to_thread.run_sync(import_arrow)
    body = await request.body()
    await trio.lowlevel.checkpoint()  # to take in a long one was a turn of its own
    lines = read(body)
    context = context_of(request)
    service = context.service
    bidder = (await context.authorizer.authorize(token)).can_create_bid()
    if bidder is None:
        raise Forbidden("this token may not place bids")
    pieces = await _read_all(service, bidder, lines)
    results = await _carry_out(service, pieces)
    context.auto_solve()
    data = bytearray()
    turns = Turns()
    # From the last, so that each is let go of in its turn.
    pieces.reverse()
    results.reverse()
    while pieces:
        data += _answers(None if minimal else service, pieces.pop(), results.pop())
        await turns.give_way()
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
    if body.count(b"\n") >= _MOST:
        count = sum(1 for line in BytesIO(body) if line.strip())
        if count > _MOST:
            raise BadRequest(f"at most {_MOST} lines at once, was {count}")
    # Cut as they are read: tens of thousands are too many to be cut at once.
    lines = (line.removesuffix(b"\n") for line in BytesIO(body) if line.strip())
    return map(read_line, lines)


_READERS: Final[Mapping[str, Callable[[bytes], Iterator[BulkLine | RequestError]]]] = {
    _NDJSON: _json_lines,
    ARROW_STREAM: partial(arrow_lines, most=_MOST),
}


async def _read_all(
    service: Service, bidder: Id, lines: Iterator[BulkLine | RequestError]
) -> list[_Piece]:
    turns, pieces, first = Turns(), list[_Piece](), 1
    while some := list(islice(lines, _PIECE)):
        pieces.append(_read_piece(service, bidder, some, first=first))
        first += len(some)
        await turns.give_way()
    return pieces


async def _carry_out(
    service: Service, pieces: Sequence[_Piece]
) -> list[Sequence[_Result]]:
    """Return what became of each piece's operations; None for what has happened."""
    results: list[Sequence[_Result]] = []
    for start in range(0, len(pieces), _WINDOW):
        window = [piece.operations for piece in pieces[start : start + _WINDOW]]
        try:
            done = await service.execute_many(list(chain.from_iterable(window)))
        except ServiceError as error:
            if start == 0:
                raise
            # Some has happened already, and is answered for; the rest has not.
            rest = pieces[start:]
            return [*results, *([error] * len(piece.operations) for piece in rest)]
        answers = iter(done)
        results += [list(islice(answers, len(piece))) for piece in window]
    return results


def _read_piece(
    service: Service,
    bidder: Id,
    lines: Sequence[BulkLine | RequestError],
    *,
    first: int,
) -> _Piece:
    operations: list[Operation] = []
    refused: dict[int, RequestError] = {}
    plain = are_canonical(list(_ids(lines)))
    for number, line in enumerate(lines, start=first):
        made = (plain and _plain_operation(bidder, line)) or _read(
            service, bidder, line
        )
        if isinstance(made, RequestError):
            refused[number] = made
        else:
            operations.append(made)
    return _Piece(first, operations, refused)


def _ids(lines: Iterable[BulkLine | RequestError]) -> Iterator[Id]:
    for line in lines:
        kind = type(line)
        if kind is BulkSetCurve or kind is BulkCreateDemand:
            key = line.id  # type: ignore[union-attr]  # both have one
            if key is not msgspec.UNSET:
                yield key


def _plain_operation(bidder: Id, line: BulkLine | RequestError) -> Operation | None:
    """Return the operation of a line with a canonical id and a curve, or None."""
    if type(line) is BulkSetCurve:
        curve = line.curve_data
        if type(curve) is PwlCurve:
            return SetCurve(id=line.id, curve=curve, owner=bidder)
    elif type(line) is BulkCreateDemand and line.id is not msgspec.UNSET:
        curve = line.curve_data
        if type(curve) is PwlCurve:
            data = line.app_data
            data = b"null" if data is None else app_data_of(data)
            return AddDemand(id=line.id, owner=bidder, app_data=data, curve=curve)
    return None


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


def _answers(
    service: Service | None, piece: _Piece, results: Sequence[_Result]
) -> bytes:
    """Return the lines of answer to a piece; with records where there is a service."""
    if service is None and not piece.refused and not any(results):
        # What most pieces come to. As the encoder has it, in a fifth of the time.
        return b"".join(
            [
                b'{"line":%d,"status":%d}\n'
                % (number, 201 if type(operation) in _CREATES else 200)
                for number, operation in enumerate(piece.operations, piece.first)
            ]
        )
    pairs = zip(piece.operations, results, strict=True)
    answers: list[BulkAnswer] = []
    for number in range(piece.first, piece.end):
        error = piece.refused.get(number)
        if error is not None:
            answers.append(_refusal(number, error))
            continue
        operation, result = next(pairs)
        if result is not None:
            answers.append(_refusal(number, result))
            continue
        status = 201 if isinstance(operation, _CREATES) else 200
        record = msgspec.UNSET if service is None else _record(service, operation)
        answers.append(BulkAnswer(line=number, status=status, record=record))
    return _ENCODER.encode_lines(answers)


def _refusal(line: int, error: FlowtradeError) -> BulkAnswer:
    return BulkAnswer(
        line=line, status=status_of(error), code=error.code, detail=str(error)
    )


def _record(service: Service, operation: Operation) -> DemandRecord | PortfolioRecord:
    if isinstance(operation, AddDemand | SetCurve):
        return service.demand(operation.id)
    assert isinstance(operation, AddPortfolio | SetGroups)  # noqa: S101  # no others here
    return service.portfolio(operation.id)
