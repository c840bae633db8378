"""The use cases of bidders: demands, portfolios, caps and whole submissions.

The caller has checked the rights. What two requests could race about is decided by
`flowtrade.core.operations`.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from flowtrade.core.operations import (
    AddDemand,
    AddPortfolio,
    DemandEntry,
    Once,
    Operation,
    PortfolioEntry,
    SetCap,
    SetCurve,
    SetGroups,
    Submit,
)
from flowtrade.core.records import as_then, demand_record, portfolio_record
from flowtrade.core.state import Group, Kind
from flowtrade.core.usecase import UseCases, repeated_of
from flowtrade.errors import InvalidRequest, RequestError
from flowtrade.models.curve import Curve
from flowtrade.models.demand import DemandRecord
from flowtrade.models.ids import Id
from flowtrade.models.portfolio import PortfolioRecord, PositionRecord, TradeCap
from flowtrade.models.submission import SubmissionRecord
from flowtrade.models.time import format_timestamp
from netcore.models import Timestamp

__all__ = ["Bidding", "DraftDemand", "DraftPortfolio"]


_FEW: Final = 500
"""Bids, inactive ones too, that are listed in one go: some milliseconds."""


class DraftDemand(msgspec.Struct, frozen=True, kw_only=True):
    """A demand in a submission, checked; `id` None lets the service choose one."""

    id: Id | None
    app_data: bytes | None
    curve: Curve | msgspec.UnsetType | None


class DraftPortfolio(msgspec.Struct, frozen=True, kw_only=True):
    """A portfolio in a submission, checked."""

    id: Id | None
    app_data: bytes | None
    demand: Group | msgspec.UnsetType
    basis: Group | msgspec.UnsetType


class Bidding(UseCases):
    """What bidders ask for."""

    # Demands.

    async def create_demand(
        self,
        bidder: Id,
        app_data: bytes,
        curve: Curve | None,
        *,
        once: Once | None = None,
    ) -> DemandRecord:
        """Make a demand.

        Args:
            bidder: Its owner.
            app_data: The application's data.
            curve: Its curve.
            once: Asked for again under the same key, the first answer is repeated.

        Raises:
            InvalidRequest: The application does not accept this app_data.
            IdTaken: The id that app_data implies is in use.
            KeyReused: The key named another request.
        """
        key = self.new_id(Kind.DEMAND, app_data)
        applied = await self._store.execute(
            AddDemand(id=key, owner=bidder, app_data=app_data, curve=curve, once=once)
        )
        if (repeated := repeated_of(applied)) is None:
            return self.demand(key)
        return as_then(await self.history.demand(repeated.ids[0], repeated.timestamp))

    async def set_curve(
        self,
        key: Id,
        curve: Curve | None,
        *,
        expected: tuple[Timestamp, ...] | None = None,
    ) -> DemandRecord:
        """Replace a demand's curve; None withdraws it.

        Args:
            key: The demand.
            curve: Its new curve.
            expected: What the caller last saw as `valid_from`, or None for any.

        Raises:
            NotFound: There is no such demand.
            VersionMismatch: The curve has changed since.
        """
        await self._store.execute(SetCurve(id=key, curve=curve, expected=expected))
        return self.demand(key)

    def demand(self, key: Id) -> DemandRecord:
        """Return a demand as it stands.

        Raises:
            NotFound: There is no such demand.
        """
        return demand_record(self._demand(key))

    def demand_owner(self, key: Id) -> Id:
        """Return whose a demand is.

        Raises:
            NotFound: There is no such demand.
        """
        return self._demand(key).entity.owner

    def demands(self, bidders: Iterable[Id]) -> list[DemandRecord]:
        """Return these bidders' demands that have a curve, in order of making."""
        return [
            demand_record(view, attached=False)
            for bidder in dict.fromkeys(bidders)
            for view in self.mirror.demands_of(bidder)
            if view.curve.value is not None
        ]

    async def list_demands(
        self, bidders: Sequence[Id], at: Timestamp | None
    ) -> list[DemandRecord]:
        """Return these bidders' demands that have, or had, a curve.

        Args:
            bidders: Whose.
            at: When, or None for the present.
        """
        if at is None and self._are_few(bidders):
            return self.demands(bidders)
        return await self.history.active_demands(bidders, at)

    # Portfolios.

    async def create_portfolio(
        self,
        bidder: Id,
        app_data: bytes,
        *,
        demand: Group,
        basis: Group,
        once: Once | None = None,
    ) -> PortfolioRecord:
        """Make a portfolio; `once` as for `create_demand`.

        Raises:
            InvalidRequest: The application does not accept this app_data.
            IdTaken: The id that app_data implies is in use.
            UnknownReference: A demand is not the bidder's, or a product unknown.
        """
        key = self.new_id(Kind.PORTFOLIO, app_data)
        applied = await self._store.execute(
            AddPortfolio(
                id=key,
                owner=bidder,
                app_data=app_data,
                demand=demand,
                basis=basis,
                once=once,
            )
        )
        if (repeated := repeated_of(applied)) is None:
            return self.portfolio(key)
        return as_then(
            await self.history.portfolio(repeated.ids[0], repeated.timestamp)
        )

    async def set_groups(
        self,
        key: Id,
        *,
        demand: Group | None = None,
        basis: Group | None = None,
        expected: tuple[Timestamp, ...] | None = None,
    ) -> PortfolioRecord:
        """Replace one or both groups of a portfolio; None keeps, empty clears.

        Raises:
            NotFound: There is no such portfolio.
            UnknownReference: A demand is not the bidder's, or a product unknown.
            VersionMismatch: A group has changed since `expected`.
        """
        await self._store.execute(
            SetGroups(id=key, demand=demand, basis=basis, expected=expected)
        )
        return self.portfolio(key)

    def portfolio(self, key: Id, *, expand: bool = False) -> PortfolioRecord:
        """Return a portfolio as it stands.

        Args:
            key: The portfolio.
            expand: Whether to express its basis in today's leaf products.

        Raises:
            NotFound: There is no such portfolio.
        """
        tree = self.mirror.products if expand else None
        return portfolio_record(self._portfolio(key), tree=tree)

    def portfolio_owner(self, key: Id) -> Id:
        """Return whose a portfolio is.

        Raises:
            NotFound: There is no such portfolio.
        """
        return self._portfolio(key).entity.owner

    def portfolios(self, bidders: Iterable[Id]) -> list[PortfolioRecord]:
        """Return these bidders' portfolios that have a demand or a basis."""
        return [
            portfolio_record(view)
            for bidder in dict.fromkeys(bidders)
            for view in self.mirror.portfolios_of(bidder)
            if view.demand.value or view.basis.value
        ]

    async def list_portfolios(
        self, bidders: Sequence[Id], at: Timestamp | None
    ) -> list[PortfolioRecord]:
        """Return these bidders' portfolios that have, or had, a demand or a basis.

        Args:
            bidders: Whose.
            at: When, or None for the present.
        """
        if at is None and self._are_few(bidders):
            return self.portfolios(bidders)
        return await self.history.active_portfolios(bidders, at)

    # Many at once.

    async def execute_many(
        self, operations: Sequence[Operation]
    ) -> list[RequestError | None]:
        """Carry out changes of bids in order; a refused one does not stop the rest.

        Args:
            operations: Each of a demand or a portfolio.

        Returns:
            For each the refusal, or None for what has happened.
        """
        results = await self._store.execute_many(operations)
        return [
            result if isinstance(result, RequestError) else None for result in results
        ]

    # Caps.

    async def position_at(self, key: Id, at: Timestamp) -> PositionRecord:
        """Return what a portfolio had traded at a moment.

        Raises:
            NotFound: There was no such portfolio then.
        """
        return await self.history.position(key, at, unit=self._settings.rate_unit)

    async def set_cap(self, key: Id, cap: TradeCap | None) -> PositionRecord:
        """Limit what a portfolio may trade in total; None takes the limits away.

        Where any portfolio has limits, a batch's rates end when the next batch was
        due, even if that one comes late: nothing is traded in between.

        Raises:
            NotFound: There is no such portfolio.
            InvalidRequest: Nothing is scheduled, so a total implies no rate.
        """
        if cap is not None and self._settings.horizon is None:
            raise InvalidRequest(
                "trade caps need a schedule, or the setting auction.horizon"
            )
        await self._store.execute(SetCap(id=key, cap=cap))
        return self.position(key)

    def position(self, key: Id) -> PositionRecord:
        """Return what a portfolio has traded until now.

        Raises:
            NotFound: There is no such portfolio.
        """
        view = self._portfolio(key)
        now = max(self._clock.now_ns(), self.mirror.at)
        position = self.mirror.position(key)
        valid = position is not None and (
            position.until is None or now < position.until
        )
        return PositionRecord(
            id=key,
            as_of=format_timestamp(now),
            traded=self.mirror.traded(key, now) / self._settings.rate_unit,
            rate=position.rate if position is not None and valid else 0.0,
            cap=view.cap,
        )

    # Submissions.

    async def submit(
        self,
        bidder: Id,
        demands: Sequence[DraftDemand],
        portfolios: Sequence[DraftPortfolio],
    ) -> SubmissionRecord:
        """Replace all bids of a bidder in one transaction.

        Raises:
            InvalidRequest: A new entry lacks something, or an id is listed twice.
            IdTaken: An id is another bidder's, or app_data is given for an old one.
            UnknownReference: A demand is not the bidder's, or a product unknown.
        """
        operation = Submit(
            owner=bidder,
            demands=tuple(map(self._demand_entry, demands)),
            portfolios=tuple(map(self._portfolio_entry, portfolios)),
        )
        _check_unique("demand", [entry.id for entry in operation.demands])
        _check_unique("portfolio", [entry.id for entry in operation.portfolios])
        await self._store.execute(operation)
        return self._submission(bidder)

    async def submission(self, bidder: Id, at: Timestamp | None) -> SubmissionRecord:
        """Return a bidder's active bids.

        Args:
            bidder: Whose.
            at: When, or None for the present.
        """
        if at is None and self._are_few([bidder]):
            return self._submission(bidder)
        return await self.history.submission(bidder, at)

    # Inside.

    def _are_few(self, bidders: Sequence[Id]) -> bool:
        # The mirror answers in one go, so that nothing changes under the list. Where
        # that would take long, the store does beside the event loop.
        return sum(map(self.mirror.bids_of, dict.fromkeys(bidders))) <= _FEW

    def _submission(self, bidder: Id) -> SubmissionRecord:
        # As of what is shown: others may have shared the commit of who has just asked.
        return SubmissionRecord(
            as_of=format_timestamp(self.mirror.at),
            demands=[
                demand_record(view)
                for view in self.mirror.demands_of(bidder)
                if view.curve.value is not None
            ],
            portfolios=self.portfolios([bidder]),
        )

    def _demand_entry(self, draft: DraftDemand) -> DemandEntry:
        key = draft.id
        if key is None:
            key = self.new_id(Kind.DEMAND, _required(draft.app_data))
        return DemandEntry(id=key, app_data=draft.app_data, curve=draft.curve)

    def _portfolio_entry(self, draft: DraftPortfolio) -> PortfolioEntry:
        key = draft.id
        if key is None:
            key = self.new_id(Kind.PORTFOLIO, _required(draft.app_data))
        return PortfolioEntry(
            id=key, app_data=draft.app_data, demand=draft.demand, basis=draft.basis
        )


def _check_unique(kind: str, keys: Sequence[Id]) -> None:
    seen: set[Id] = set()
    for key in keys:
        if key in seen:
            raise InvalidRequest(f"the {kind} {key} is listed twice")
        seen.add(key)


def _required(app_data: bytes | None) -> bytes:
    if app_data is None:
        raise InvalidRequest("an entry without id is new and needs app_data")
    return app_data
