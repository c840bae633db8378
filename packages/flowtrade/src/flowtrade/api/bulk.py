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
from flowtrade.api.bulkonce import (
    MakesIds,
    NewIds,
    Records,
    Result,
    Then,
    made_under,
    retold,
)
from flowtrade.api.context import Api, context_of
from flowtrade.api.problems import BadRequest, UnsupportedMediaType, status_of
from flowtrade.api.reading import app_data_of, bearer, body_id, group_of, once
from flowtrade.core.operations import (
    AddDemand,
    AddPortfolio,
    Once,
    Operation,
    SetCurve,
    SetGroups,
)
from flowtrade.core.service import Service
from flowtrade.core.state import Group, Kind, Repeated
from flowtrade.core.turns import Turns
from flowtrade.errors import (
    FlowtradeError,
    Forbidden,
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
from netcore.models import Timestamp

__all__ = ["post_bulk"]

_ENCODER: Final = msgspec.json.Encoder()
_MOST: Final = 40_000
"""Lines in one body: what ten megabytes hold of them."""

_NDJSON: Final = "application/x-ndjson"
_CREATES: Final = (AddDemand, AddPortfolio)
_Line: TypeAlias = BulkLine | RequestError
_Refused: TypeAlias = RequestError | CurveError | GroupError

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
    refused: dict[int, _Refused]

    @property
    def end(self) -> int:
        """The number of the line after the last one."""
        return self.first + len(self.operations) + len(self.refused)

    @property
    def carried(self) -> Iterator[int]:
        """The numbers of the lines that are operations."""
        return (n for n in range(self.first, self.end) if n not in self.refused)


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
    key = await once(request, bidder)
    records: Records = service
    told: Timestamp | None = None
    if key is None:
        pieces = await _read_all(service, bidder, lines)
        results = await _carry_out(service, pieces)
    else:
        pieces, results, told = await _carry_out_once(
            service, bidder, key, lines, partial(read, body)
        )
        if told is not None and not minimal:
            records = Then(await service.history.own(bidder, told))
    if told is None:
        context.auto_solve()
    data = bytearray()
    turns = Turns()
    # From the last, so that each is let go of in its turn.
    pieces.reverse()
    results.reverse()
    while pieces:
        data += _answers(None if minimal else records, pieces.pop(), results.pop())
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
    ids: MakesIds, bidder: Id, lines: Iterator[BulkLine | RequestError]
) -> list[_Piece]:
    turns, pieces, first = Turns(), list[_Piece](), 1
    while some := list(islice(lines, _PIECE)):
        pieces.append(_read_piece(ids, bidder, some, first=first))
        first += len(some)
        await turns.give_way()
    return pieces


async def _carry_out_once(
    service: Service,
    bidder: Id,
    key: Once,
    lines: Iterator[_Line],
    again: Callable[[], Iterator[_Line]],
) -> tuple[list[_Piece], list[Sequence[Result]], Timestamp | None]:
    """Carry out under a key, or go on, or find what was told before.

    Args:
        service: Carries out.
        bidder: Whose bids they are.
        key: Under which it happens once.
        lines: Of the body.
        again: Begins to read the body once more.

    Returns:
        The lines, what became of them, and, if that was told before, when.
    """
    ids = NewIds(service)
    pieces = await _read_all(ids, bidder, lines)
    begun = await service.begin(key, tuple(ids.made))
    told: Repeated | None = None
    if begun.before is not None:
        ids = NewIds(service, begun.before.ids)
        pieces = await _read_all(ids, bidder, again())
        told = await service.finished(key, begun)
    if told is None:
        results = await _carry_out(service, pieces)
        refusals = await _look_over(service, pieces, results, since=begun.at)
        if refusals is None:
            return pieces, results, None  # not the end: the next attempt goes on
        told = await service.finish(key, begun, tuple(refusals))
        if told is None:
            return pieces, results, None
    before = retold(told.ids)
    again_told = [[before.get(line) for line in piece.carried] for piece in pieces]
    return pieces, [*again_told], told.timestamp


async def _look_over(
    service: Service,
    pieces: Sequence[_Piece],
    results: list[Sequence[Result]],
    *,
    since: Timestamp,
) -> list[str] | None:
    """Take what another attempt has made for ours, in place.

    Returns:
        The refusals as they are told, or None if the store has failed midway.
    """
    seen, turns, refusals = set[tuple[Kind, Id]](), Turns(), list[str]()
    for number, piece in enumerate(pieces):
        some = list(
            made_under(
                service, piece.operations, results[number], since=since, seen=seen
            )
        )
        results[number] = some
        for line, result in zip(piece.carried, some, strict=True):
            if isinstance(result, ServiceError):
                return None
            if isinstance(result, FlowtradeError):
                refusals.append(_ENCODER.encode(_refusal(line, result)).decode())
        await turns.give_way()
    return refusals


async def _carry_out(
    service: Service, pieces: Sequence[_Piece]
) -> list[Sequence[Result]]:
    """Return what became of each piece's operations; None for what has happened."""
    results: list[Sequence[Result]] = []
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
    ids: MakesIds,
    bidder: Id,
    lines: Sequence[BulkLine | RequestError],
    *,
    first: int,
) -> _Piece:
    operations: list[Operation] = []
    refused: dict[int, _Refused] = {}
    plain = are_canonical(list(_ids(lines)))
    for number, line in enumerate(lines, start=first):
        made = (plain and _plain_operation(bidder, line)) or _read(ids, bidder, line)
        if isinstance(made, RequestError | CurveError | GroupError):
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
    ids: MakesIds, bidder: Id, line: BulkLine | RequestError
) -> Operation | _Refused:
    if isinstance(line, RequestError):
        return line
    try:
        return _operation(ids, bidder, line)
    except (CurveError, GroupError, RequestError) as error:
        return error


def _operation(ids: MakesIds, bidder: Id, line: BulkLine) -> Operation:
    match line:
        case BulkSetCurve():
            curve = parse_curve(line.curve_data)
            return SetCurve(id=body_id(line.id), curve=curve, owner=bidder)
        case BulkCreateDemand():
            app_data = app_data_of(line.app_data)
            return AddDemand(
                id=_id(ids, Kind.DEMAND, line.id, app_data),
                owner=bidder,
                app_data=app_data,
                curve=parse_curve(line.curve_data),
            )
        case BulkCreatePortfolio():
            app_data = app_data_of(line.app_data)
            return AddPortfolio(
                id=_id(ids, Kind.PORTFOLIO, line.id, app_data),
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
    ids: MakesIds, kind: Kind, chosen: Id | msgspec.UnsetType, app_data: bytes
) -> Id:
    if chosen is msgspec.UNSET:
        return ids.new_id(kind, app_data)
    return body_id(chosen)


def _kept(value: object) -> Group | None:
    return None if value is None else group_of(value)


def _answers(
    records: Records | None, piece: _Piece, results: Sequence[Result]
) -> bytes:
    """Return the lines of answer to a piece; with records if there are any."""
    if records is None and not piece.refused and not any(results):
        # What most pieces come to. As the encoder has it, in a fifth of the time.
        return b"".join(
            [
                b'{"line":%d,"status":%d}\n'
                % (number, 201 if type(operation) in _CREATES else 200)
                for number, operation in enumerate(piece.operations, piece.first)
            ]
        )
    pairs = zip(piece.operations, results, strict=True)
    answers: list[BulkAnswer | msgspec.Raw] = []
    for number in range(piece.first, piece.end):
        error = piece.refused.get(number)
        if error is not None:
            answers.append(_refusal(number, error))
            continue
        operation, result = next(pairs)
        if isinstance(result, msgspec.Raw):
            answers.append(result)
            continue
        if result is not None:
            answers.append(_refusal(number, result))
            continue
        status = 201 if isinstance(operation, _CREATES) else 200
        record = msgspec.UNSET if records is None else _record(records, operation)
        answers.append(BulkAnswer(line=number, status=status, record=record))
    return _ENCODER.encode_lines(answers)


def _refusal(line: int, error: FlowtradeError | _Refused) -> BulkAnswer:
    if isinstance(error, CurveError | GroupError):
        # By the rule that is broken, as where it is the whole body.
        code = error.kind.value if isinstance(error, CurveError) else error.code
        return BulkAnswer(line=line, status=422, code=code, detail=str(error))
    return BulkAnswer(
        line=line, status=status_of(error), code=error.code, detail=str(error)
    )


def _record(records: Records, operation: Operation) -> DemandRecord | PortfolioRecord:
    if isinstance(operation, AddDemand | SetCurve):
        return records.demand(operation.id)
    assert isinstance(operation, AddPortfolio | SetGroups)  # noqa: S101  # no others here
    return records.portfolio(operation.id)
