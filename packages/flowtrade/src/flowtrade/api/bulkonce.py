"""Bulk requests under an idempotency key: done once, in as many attempts as it takes.

What is remembered of one is bounded by its body: its fingerprint and the ids that were
made for it, before the first line is carried out, and its refusals, after the last.

Where the first attempt ended midway (the server stopped, say), the second does all
lines again: what it would make is there already and is left alone, and what is set once
more ends up the same, as the lines come in the same order. Nor do two attempts at the
same time disturb each other.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Protocol, TypeAlias

import msgspec

from flowtrade.core.operations import AddDemand, AddPortfolio, Operation
from flowtrade.core.records import as_then, demand_record, portfolio_record
from flowtrade.core.service import Service
from flowtrade.core.state import Bids, Kind
from flowtrade.errors import FlowtradeError, IdTaken
from flowtrade.models.demand import DemandRecord
from flowtrade.models.ids import Id
from flowtrade.models.portfolio import PortfolioRecord
from netcore.models import Timestamp

__all__ = ["MakesIds", "NewIds", "Records", "Result", "Then", "made_under", "retold"]

Result: TypeAlias = FlowtradeError | msgspec.Raw | None
"""A refusal, a refusal as it was told before, or None for what has happened."""


_KINDS: Final = {AddDemand: Kind.DEMAND, AddPortfolio: Kind.PORTFOLIO}


class MakesIds(Protocol):
    """What makes ids for lines that bring none."""

    def new_id(self, kind: Kind, app_data: bytes) -> Id:
        """Return the id of something to be made."""
        ...


class Records(Protocol):
    """Where the records of answers come from."""

    def demand(self, key: Id) -> DemandRecord:
        """Return a demand."""
        ...

    def portfolio(self, key: Id) -> PortfolioRecord:
        """Return a portfolio."""
        ...


class NewIds:
    """Makes the ids of one body, the same ones every time that it is read.

    Args:
        service: Makes them at first.
        known: Those that were made for this body before, in order.

    Attributes:
        made: Those that were not among these.
    """

    def __init__(self, service: MakesIds, known: Iterable[Id] = ()) -> None:
        self._service = service
        self._known = iter(known)
        self.made: list[Id] = []

    def new_id(self, kind: Kind, app_data: bytes) -> Id:
        """Return the id of something to be made; see `UseCases.new_id`."""
        known = next(self._known, None)
        if known is not None:
            return known
        self.made.append(self._service.new_id(kind, app_data))
        return self.made[-1]


class Then:
    """A bidder's bids as they were."""

    def __init__(self, bids: Bids) -> None:
        self._demands = {view.entity.id: view for view in bids.demands}
        self._portfolios = {view.entity.id: view for view in bids.portfolios}

    def demand(self, key: Id) -> DemandRecord:
        """Return a demand."""
        return as_then(demand_record(self._demands[key]))

    def portfolio(self, key: Id) -> PortfolioRecord:
        """Return a portfolio."""
        return as_then(portfolio_record(self._portfolios[key]))


class _Line(msgspec.Struct):
    line: int


_LINE: Final = msgspec.json.Decoder(_Line)


def retold(refusals: Iterable[str]) -> dict[int, msgspec.Raw]:
    """Return refusals that were remembered, by line."""
    return {_LINE.decode(text).line: msgspec.Raw(text.encode()) for text in refusals}


def made_under(
    service: Service,
    operations: Iterable[Operation],
    results: Iterable[Result],
    *,
    since: Timestamp,
    seen: set[tuple[Kind, Id]],
) -> Iterator[Result]:
    """Yield results, with what another attempt has made as what has happened.

    Args:
        service: Knows what there is.
        operations: Of this attempt.
        results: What became of each.
        since: When the first attempt began.
        seen: What lines before have made; of those that make the same, it was the
            first.
    """
    for operation, result in zip(operations, results, strict=True):
        if not isinstance(operation, AddDemand | AddPortfolio):
            yield result
            continue
        made = (_KINDS[type(operation)], operation.id)
        if result is None or (
            isinstance(result, IdTaken)
            and made not in seen
            and _is_made(service, operation, since)
        ):
            seen.add(made)
            result = None  # it has happened
        yield result


def _is_made(
    service: Service, operation: AddDemand | AddPortfolio, since: Timestamp
) -> bool:
    mirror = service.mirror
    view = (
        mirror.demand(operation.id)
        if isinstance(operation, AddDemand)
        else mirror.portfolio(operation.id)
    )
    if view is None:
        return False
    entity = view.entity
    same = (entity.owner, entity.app_data) == (operation.owner, operation.app_data)
    return same and entity.created > since
