"""Reads of the past: pages of histories, and things as they were.

Every read is of one moment or one window of the store and changes nothing. Whether
the caller may read it has been decided before.
"""

from collections.abc import Iterable, Iterator
from typing import Final, cast, final

import msgspec

from flowtrade.core.mirror import Mirror
from flowtrade.core.records import (
    as_then,
    demand_record,
    more_before,
    page,
    portfolio_record,
    product_record,
)
from flowtrade.core.state import (
    Bids,
    DemandView,
    Entity,
    Group,
    Kind,
    Part,
    PortfolioView,
    Position,
    StoredBatch,
    Version,
)
from flowtrade.core.turns import Turns, in_turns
from flowtrade.errors import NotFound
from flowtrade.models.batch import (
    BatchPage,
    BatchRecord,
    BidderBatch,
    DemandAccount,
    PortfolioAccount,
)
from flowtrade.models.curve import Curve, utility
from flowtrade.models.demand import DemandRecord
from flowtrade.models.ids import Id
from flowtrade.models.page import Page
from flowtrade.models.portfolio import PortfolioRecord, PositionRecord, TradeCap
from flowtrade.models.product import ProductNode, ProductRecord
from flowtrade.models.submission import SubmissionRecord
from flowtrade.models.time import format_timestamp, parse_timestamp
from flowtrade.ports import Store, Window
from netcore.models import Timestamp

__all__ = ["History"]

_LAST: Final = 2**63 - 1


@final
class History:
    """The past of a service.

    Args:
        store: Where it is kept.
        mirror: The present, for the tree of products.
    """

    def __init__(self, store: Store, mirror: Mirror) -> None:
        self._store = store
        self._mirror = mirror

    async def curves(
        self, key: Id, window: Window, at: Timestamp | None = None
    ) -> Page:
        """Return a page of a demand's curves; inactive periods are left out.

        Args:
            key: The demand.
            window: Which part of the history.
            at: When it is read: what happened later is not seen. None for the present.

        Raises:
            NotFound: There was no such demand then.
        """
        return await self._page(Part.CURVE, key, window, at)

    async def demands(
        self, key: Id, window: Window, at: Timestamp | None = None
    ) -> Page:
        """Return a page of a portfolio's demand groups; `at` as for `curves`.

        Raises:
            NotFound: There was no such portfolio then.
        """
        return await self._page(Part.DEMAND, key, window, at)

    async def bases(self, key: Id, window: Window, at: Timestamp | None = None) -> Page:
        """Return a page of a portfolio's bases, as the bidder named them.

        `at` and what is raised are as for `demands`.
        """
        return await self._page(Part.BASIS, key, window, at)

    async def portfolio_outcomes(
        self, key: Id, window: Window, at: Timestamp | None = None
    ) -> Page:
        """Return a page of a portfolio's prices and rates; `at` as for `demands`."""
        return await self._outcomes(Kind.PORTFOLIO, key, window, at)

    async def product_outcomes(
        self, key: Id, window: Window, at: Timestamp | None = None
    ) -> Page:
        """Return a page of a product's prices and volumes; `at` as for `curves`.

        Raises:
            NotFound: There was no such product then.
        """
        if key not in self._mirror.products:
            raise NotFound("product", key)
        return await self._outcomes(Kind.PRODUCT, key, window, at)

    async def batches(self, window: Window, at: Timestamp | None = None) -> BatchPage:
        """Return a page of batches, newest first; `at` as for `curves`."""
        records = await self._store.batches(_one_more(_seen(window, at)))
        shown = records[: window.limit]
        return BatchPage(
            results=shown,
            more=more_before(
                [parse_timestamp(record.as_of) for record in shown],
                window,
                exists=len(records) > window.limit,
            ),
        )

    async def last_batch(self, at: Timestamp | None = None) -> BatchRecord:
        """Return the newest batch; `at` as for `curves`.

        Raises:
            NotFound: None had been run by then.
        """
        records = await self._store.batches(_seen(Window(limit=1), at))
        if not records:
            when = "yet" if at is None else f"by {format_timestamp(at)}"
            raise NotFound("batch", f"latest; none was run {when}")
        return records[0]

    async def batch(self, as_of: Timestamp, at: Timestamp | None = None) -> BatchRecord:
        """Return the batch of exactly this moment; `at` as for `curves`.

        Raises:
            NotFound: There is none, or was none then.
        """
        return (await self._stored(as_of, at)).record

    async def demand(self, key: Id, at: Timestamp) -> DemandRecord:
        """Return a demand as it was.

        Raises:
            NotFound: There was no such demand then.
        """
        view = await self._store.demand_at(key, at)
        if view is None:
            raise NotFound("demand", f"{key} at {format_timestamp(at)}")
        return demand_record(view)

    async def portfolio(
        self, key: Id, at: Timestamp, *, expand: bool = False
    ) -> PortfolioRecord:
        """Return a portfolio as it was.

        Raises:
            NotFound: There was no such portfolio then.
        """
        view = await self._store.portfolio_at(key, at)
        if view is None:
            raise NotFound("portfolio", f"{key} at {format_timestamp(at)}")
        # The whole tree of today: what happens after `at` bounds the validity.
        tree = self._mirror.products if expand else None
        return portfolio_record(view, tree=tree, at=at)

    async def active_demands(
        self, bidders: Iterable[Id], at: Timestamp | None
    ) -> list[DemandRecord]:
        """Return the demands of these bidders that had a curve, in order of making.

        Args:
            bidders: Whose.
            at: When; None for the present, as it is when this is called: what happens
                while they are read is not seen.
        """
        moment = self._mirror.at if at is None else at
        views = [
            view
            for bidder in dict.fromkeys(bidders)
            for view in (await self._store.bids_at(bidder, moment)).demands
        ]
        records = _active_demands(views, attached=False)
        return await in_turns(map(as_then, records) if at is None else records)

    async def active_portfolios(
        self, bidders: Iterable[Id], at: Timestamp | None
    ) -> list[PortfolioRecord]:
        """Return the portfolios of these bidders that had a demand or a basis.

        Args:
            bidders: Whose.
            at: As for `active_demands`.
        """
        moment = self._mirror.at if at is None else at
        views = [
            view
            for bidder in dict.fromkeys(bidders)
            for view in (await self._store.bids_at(bidder, moment)).portfolios
        ]
        records = _active_portfolios(views)
        return await in_turns(map(as_then, records) if at is None else records)

    async def submission(self, bidder: Id, at: Timestamp | None) -> SubmissionRecord:
        """Return a bidder's active bids as they were; `at` as for `active_demands`."""
        moment = self._mirror.at if at is None else at
        bids = await self._store.bids_at(bidder, moment)
        demands = _active_demands(bids.demands, attached=True)
        portfolios = _active_portfolios(bids.portfolios)
        if at is None:
            demands, portfolios = map(as_then, demands), map(as_then, portfolios)
        return SubmissionRecord(
            as_of=format_timestamp(moment),
            demands=await in_turns(demands),
            portfolios=await in_turns(portfolios),
        )

    async def own(self, bidder: Id, at: Timestamp) -> Bids:
        """Return all bids of a bidder as they were, inactive ones too."""
        return await self._store.bids_at(bidder, at)

    async def position(self, key: Id, at: Timestamp, *, unit: float) -> PositionRecord:
        """Return what a portfolio had traded until then.

        Args:
            key: The portfolio.
            at: When.
            unit: Seconds in the unit of time of quantities.

        Raises:
            NotFound: There was no such portfolio then.
        """
        if await self._store.portfolio_at(key, at) is None:
            raise NotFound("portfolio", f"{key} at {format_timestamp(at)}")
        position = await self._position(key, at)
        valid = position.until is None or at < position.until
        caps = await self._store.history(Part.CAP, key, _last_until(at))
        live = [cap for cap in caps if cap.valid_until is None or at < cap.valid_until]
        return PositionRecord(
            id=key,
            as_of=format_timestamp(at),
            traded=position.at(at) / unit,
            rate=position.rate if valid else 0.0,
            cap=cast("TradeCap", live[0].value) if live else None,
        )

    async def _position(self, key: Id, at: Timestamp) -> Position:
        last = await self._store.outcomes(Kind.PORTFOLIO, key, _last_until(at))
        stored = await self._store.batch(last[0].valid_from) if last else None
        if stored is None:  # it had been in no batch yet
            return Position(0.0, 0.0, at)
        return Position(
            stored.traded.get(key, 0.0),
            stored.portfolios[key].rate,
            stored.as_of,
            last[0].valid_until,
        )

    async def bids(
        self, bidders: Iterable[Id], as_of: Timestamp, at: Timestamp | None = None
    ) -> BidderBatch:
        """Return what these bidders' bids got in the batch of exactly this moment.

        `at` is as for `curves`.

        Raises:
            NotFound: There is no such batch, or was none then.
        """
        stored = await self._stored(as_of, at)
        portfolios: dict[Id, PortfolioAccount] = {}
        aside = {one.portfolio: one for one in stored.record.set_aside}
        rates: dict[Id, float] = {}
        curves: dict[Id, Curve | None] = {}
        turns = Turns()
        for bidder in dict.fromkeys(bidders):
            bids = await self._store.bids_at(bidder, as_of)
            for demand in bids.demands:
                curves[demand.entity.id] = cast("Curve | None", demand.curve.value)
            for view in bids.portfolios:
                result = stored.portfolios.get(view.entity.id)
                if result is None:
                    continue
                portfolios[view.entity.id] = PortfolioAccount(
                    price=result.price,
                    rate=result.rate,
                    payment=result.rate * (result.price or 0.0),
                    set_aside=aside.get(view.entity.id),
                )
                for key, weight in cast("Group", view.demand.value or {}).items():
                    rates[key] = rates.get(key, 0.0) + weight * result.rate
                await turns.give_way()
        demands: dict[Id, DemandAccount] = {}
        for key, rate in rates.items():
            demands[key] = _account(curves[key], rate)
            await turns.give_way()
        utility = sum(account.utility for account in demands.values())
        payment = sum(account.payment for account in portfolios.values())
        return BidderBatch(
            as_of=stored.record.as_of,
            seq=stored.record.seq,
            portfolios=portfolios,
            demands=demands,
            utility=utility,
            payment=payment,
            surplus=utility - payment,
        )

    def tree(self, key: Id, at: Timestamp | None) -> list[ProductNode]:
        """Return a product and all below it, parents before parts.

        Raises:
            NotFound: There was no such product then.
        """
        nodes = [
            ProductNode(
                id=product.id,
                app_data=msgspec.Raw(product.app_data),
                parent=product.parent if depth else None,
                depth=depth,
                ratio=ratio,
                leaf=leaf,
            )
            for product, depth, ratio, leaf in self._mirror.products.below(key, at)
        ]
        if not nodes:
            when = "" if at is None else f" at {format_timestamp(at)}"
            raise NotFound("product", f"{key}{when}")
        return nodes

    def product(self, key: Id, at: Timestamp) -> ProductRecord:
        """Return a product as it was.

        Raises:
            NotFound: There was no such product then.
        """
        product = self._mirror.products.get(key)
        if product is None or product.created > at:
            raise NotFound("product", f"{key} at {format_timestamp(at)}")
        return product_record(product, self._mirror.products, at)

    async def _stored(self, as_of: Timestamp, at: Timestamp | None) -> StoredBatch:
        if at is not None and as_of > at:
            when = f"{format_timestamp(as_of)} at {format_timestamp(at)}"
            raise NotFound("batch", when)
        stored = await self._store.batch(as_of)
        if stored is None:
            raise NotFound("batch", format_timestamp(as_of))
        return stored

    async def _page(
        self, part: Part, key: Id, window: Window, at: Timestamp | None
    ) -> Page:
        self._check_made(part.kind, key, at)
        wanted = _one_more(_seen(window, at))
        versions = await self._store.history(part, key, wanted)
        return page(versions, window, part=part, at=at)

    async def _outcomes(
        self, kind: Kind, key: Id, window: Window, at: Timestamp | None
    ) -> Page:
        self._check_made(kind, key, at)
        wanted = _one_more(_seen(window, at))
        versions = await self._store.outcomes(kind, key, wanted)
        if at is not None and versions:
            # Only the newest can end later: with the next batch, which nobody knew of,
            # or when it was said to at the outset.
            versions[0] = await self._outcome_then(versions[0], at)
        return page(versions, window, part=None)

    async def _outcome_then(self, version: Version, at: Timestamp) -> Version:
        if version.valid_until is None or version.valid_until <= at:
            return version
        stored = await self._store.batch(version.valid_from)
        assert stored is not None  # noqa: S101  # whose outcome it is
        return Version(version.valid_from, stored.expires, version.value)

    def _check_made(self, kind: Kind, key: Id, at: Timestamp | None) -> None:
        if at is None:
            return
        made = self._entity(kind, key)
        if made is None or made.created > at:
            raise NotFound(kind.name.lower(), f"{key} at {format_timestamp(at)}")

    def _entity(self, kind: Kind, key: Id) -> Entity | None:
        if kind is Kind.PRODUCT:
            return self._mirror.products.get(key)
        mirror = self._mirror
        view = mirror.demand(key) if kind is Kind.DEMAND else mirror.portfolio(key)
        return None if view is None else view.entity


def _active_demands(
    views: Iterable[DemandView], *, attached: bool
) -> Iterator[DemandRecord]:
    return (
        demand_record(view, attached=attached)
        for view in views
        if view.curve.value is not None
    )


def _active_portfolios(views: Iterable[PortfolioView]) -> Iterator[PortfolioRecord]:
    return (
        portfolio_record(view)
        for view in views
        if view.demand.value or view.basis.value
    )


def _account(curve: Curve | None, rate: float) -> DemandAccount:
    worth = 0.0 if curve is None else utility(curve, rate)
    return DemandAccount(rate=rate, utility=worth)


def _last_until(at: Timestamp) -> Window:
    # The bound is exclusive; of the very last moment there is no next one.
    return Window(limit=1, before=None if at >= _LAST else at + 1)


def _seen(window: Window, at: Timestamp | None) -> Window:
    """Return what of a window had begun by a moment."""
    if at is None or at >= _LAST or (window.before or _LAST) <= at:
        return window
    return msgspec.structs.replace(window, before=at + 1)


def _one_more(window: Window) -> Window:
    return msgspec.structs.replace(window, limit=window.limit + 1)
