"""The use cases: every request of the API is one call here.

The service turns requests into operations, hands them to the store, and answers from
the mirror. It decides nothing that two requests could race about (that is
`flowtrade.core.operations`) and knows nothing of tokens: the caller has checked the
rights.

Reads of the present come from the mirror; reads of the past are `Service.history`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import final

import msgspec
import trio

from flowtrade.core.auction import Auctioneer
from flowtrade.core.history import History
from flowtrade.core.mirror import Mirror
from flowtrade.core.operations import (
    AddDemand,
    AddPortfolio,
    AddProduct,
    Applied,
    DemandEntry,
    NewProduct,
    Once,
    Operation,
    PartitionProduct,
    PortfolioEntry,
    SetCap,
    SetCurve,
    SetGroups,
    Submit,
)
from flowtrade.core.records import (
    as_then,
    demand_record,
    portfolio_record,
    product_record,
)
from flowtrade.core.state import (
    Added,
    DemandView,
    Entity,
    Group,
    Kind,
    PortfolioView,
    Repeated,
)
from flowtrade.errors import InvalidRequest, NotFound, RequestError
from flowtrade.ids import product_terms
from flowtrade.models.curve import Curve
from flowtrade.models.demand import DemandRecord
from flowtrade.models.ids import Id
from flowtrade.models.portfolio import PortfolioRecord, PositionRecord, TradeCap
from flowtrade.models.product import ProductPage, ProductRecord
from flowtrade.models.submission import SubmissionRecord
from flowtrade.models.time import TimeError, format_timestamp, parse_timestamp
from flowtrade.models.update import ReferenceUpdate
from flowtrade.ports import Clock, IdFactory, Listener, Publisher, Solver, Store
from flowtrade.settings import AuctionSettings
from netcore.models import Timestamp

__all__ = ["DraftDemand", "DraftPortfolio", "ProductFilter", "Service"]


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


class ProductFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which products to list.

    Attributes:
        kind: Only products of this kind, compared as text.
        start: Only products delivered from this moment on or later.
        thru: Only products delivered until this moment or earlier.
        leaves: Only products that are not divided.
        after: Only products made after this one.
        limit: At most so many.
    """

    limit: int
    kind: str | None = None
    start: Timestamp | None = None
    thru: Timestamp | None = None
    leaves: bool = False
    after: Id | None = None


@final
class Service:
    """The auction service between its ports.

    Start `run` in the nursery that owns the service: it loads the mirror and then
    tells reference prices. Until it has started, nothing else may be called.

    Args:
        store: Open already.
        solver: Clears.
        clock: For times that no operation has, such as those of ids.
        ids: Makes ids.
        publisher: Is told what happened.
        settings: Of the auctions.

    Attributes:
        mirror: The current state, for reading.
        history: The past, for reading.
        auctioneer: Runs batches.
    """

    def __init__(
        self,
        *,
        store: Store,
        solver: Solver,
        clock: Clock,
        ids: IdFactory,
        publisher: Publisher,
        settings: AuctionSettings | None = None,
    ) -> None:
        self._settings = settings or AuctionSettings()
        self._store = store
        self._clock = clock
        self._ids = ids
        self._publisher = publisher
        self.mirror = Mirror()
        self.history = History(store, self.mirror)
        self._early: list[Applied] | None = []
        store.subscribe(self._follow)
        self.auctioneer = Auctioneer(
            store=store,
            mirror=self.mirror,
            solver=solver,
            publisher=publisher,
            settings=self._settings,
        )
        self._reference_times: dict[Id, Timestamp] = {}
        self._dirty: set[Id] = set()
        self._product_listeners: list[Callable[[Id, bytes], None]] = []
        self._news = trio.Event()

    @property
    def ready(self) -> bool:
        """Whether the mirror is loaded."""
        return self._early is None

    @property
    def healthy(self) -> bool:
        """Whether the store's last write succeeded."""
        return self._store.healthy

    async def load(self) -> None:
        """Load the mirror from the store; call once, before anything else."""
        snapshot = await self._store.snapshot()
        self.mirror.load(snapshot)
        early, self._early = self._early or [], None
        for applied in early:  # operations since, if somebody was quicker than us
            if applied.timestamp > snapshot.at:
                self.mirror.apply(applied.timestamp, applied.changes)

    async def run(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Load the mirror, then publish reference prices until cancelled.

        Prices that arrive within `settings.coalesce` seconds go out as one update.
        """
        if not self.ready:
            await self.load()
        task_status.started()
        while True:
            await self._news.wait()
            self._news = trio.Event()
            self.publish_reference()
            await trio.sleep(self._settings.coalesce)

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
        if (repeated := _repeated(applied)) is None:
            return self.demand(key)
        return as_then(await self.history.demand(repeated.ids[0], repeated.timestamp))

    async def set_curve(
        self, key: Id, curve: Curve | None, *, expected: Timestamp | None = None
    ) -> DemandRecord:
        """Replace a demand's curve; None withdraws it.

        Args:
            key: The demand.
            curve: Its new curve.
            expected: The `valid_from` that the caller last saw, or None for any.

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
        if (repeated := _repeated(applied)) is None:
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
        expected: Timestamp | None = None,
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

    # Many at once.

    def new_id(self, kind: Kind, app_data: bytes) -> Id:
        """Return the id of something to be made.

        Raises:
            InvalidRequest: The application does not accept this app_data.
        """
        now = self._clock.now_ns()
        match kind:
            case Kind.DEMAND:
                return self._ids.demand_id(app_data, now)
            case Kind.PORTFOLIO:
                return self._ids.portfolio_id(app_data, now)
            case Kind.PRODUCT:
                return self._ids.product_id(app_data, now)

    async def execute_many(
        self, operations: Sequence[Operation]
    ) -> list[DemandRecord | PortfolioRecord | RequestError]:
        """Carry out changes of bids in order; a refused one does not stop the rest.

        Args:
            operations: Each of a demand or a portfolio.

        Returns:
            For each, the record as it stands after all of them, or the refusal.
        """
        results = await self._store.execute_many(operations)
        return [
            result if isinstance(result, RequestError) else self._record(result)
            for result in results
        ]

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
        position = self.mirror.positions.get(key)
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
        applied = await self._store.execute(operation)
        return self._submission(bidder, applied.timestamp)

    def submission(self, bidder: Id) -> SubmissionRecord:
        """Return a bidder's active bids."""
        return self._submission(bidder, self.mirror.at)

    # Products.

    async def create_product(
        self, app_data: bytes, *, once: Once | None = None
    ) -> ProductRecord:
        """Make a root product; `once` as for `create_demand`.

        Raises:
            InvalidRequest: The application does not accept this app_data.
            IdTaken: The product exists already.
        """
        new = NewProduct(id=self.new_id(Kind.PRODUCT, app_data), app_data=app_data)
        applied = await self._store.execute(AddProduct(product=new, once=once))
        if (repeated := _repeated(applied)) is None:
            return self.product(new.id)
        return self.history.product(repeated.ids[0], repeated.timestamp)

    async def partition(
        self,
        key: Id,
        children: Sequence[tuple[bytes, float]],
        *,
        once: Once | None = None,
    ) -> list[ProductRecord]:
        """Divide a product into others, once.

        Args:
            key: The product.
            children: app_data and ratio of each part.
            once: As for `create_demand`.

        Raises:
            InvalidRequest: There is no part, or an app_data is not accepted.
            NotFound: There is no such product.
            AlreadyPartitioned: It is divided already.
            IdTaken: A part exists already.
        """
        if not children:
            raise InvalidRequest("a product is divided into at least one part")
        if key not in self.mirror.products:
            raise NotFound("product", key)
        parts = tuple(
            NewProduct(id=self.new_id(Kind.PRODUCT, data), app_data=data, ratio=ratio)
            for data, ratio in children
        )
        applied = await self._store.execute(
            PartitionProduct(parent=key, children=parts, once=once)
        )
        if (repeated := _repeated(applied)) is None:
            return [self.product(part.id) for part in parts]
        return [self.history.product(part, repeated.timestamp) for part in repeated.ids]

    def product(self, key: Id) -> ProductRecord:
        """Return a product.

        Raises:
            NotFound: There is no such product.
        """
        return product_record(self._product(key), self.mirror.products)

    def products(self, wanted: ProductFilter) -> ProductPage:
        """List products in order of making."""
        chosen: list[ProductRecord] = []
        for product in self._products_after(wanted.after):
            if not self._matches(product, wanted):
                continue
            if len(chosen) == wanted.limit:
                return ProductPage(results=chosen, more=chosen[-1].id)
            chosen.append(product_record(product, self.mirror.products))
        return ProductPage(results=chosen)

    def watch_products(self, listener: Callable[[Id, bytes], None]) -> None:
        """Call `listener` with id and app_data of every product made from now on.

        Whoever makes it, here or in another process on the same store.
        """
        self._product_listeners.append(listener)

    # Reference prices.

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with every applied operation; see `Store.subscribe`."""
        self._store.subscribe(listener)

    def set_reference(self, product: Id, price: float, time: Timestamp) -> None:
        """Take in a reference price, such as an exchange's mid.

        It is stored with the next batch, breaks ties between prices the auction
        leaves open, and is published. An older price than the one known is ignored.

        Raises:
            NotFound: There is no such product.
            InvalidRequest: The price is no finite number.
        """
        self._product(product)
        if not abs(price) < float("inf"):  # false for NaN, too
            raise InvalidRequest(f"a reference price is finite, was {price}")
        if time < self._reference_times.get(product, time):
            return
        self._reference_times[product] = time
        self.auctioneer.reference[product] = price
        self._dirty.add(product)
        self._news.set()

    def clear_reference(self, product: Id, time: Timestamp) -> None:
        """Forget a reference price whose source may not be believed any more.

        Batches carry none until there is a new one, and the public stream says null.

        Raises:
            NotFound: There is no such product.
        """
        self._product(product)
        if self.auctioneer.reference.pop(product, None) is None:
            return
        self._reference_times[product] = max(
            time, self._reference_times.get(product, time)
        )
        self._dirty.add(product)
        self._news.set()

    def publish_reference(self) -> None:
        """Publish the reference prices that changed since the last call, if any."""
        if not self._dirty:
            return
        known = self.auctioneer.reference
        mids = {key: known.get(key) for key in sorted(self._dirty)}
        time = max(self._reference_times[key] for key in mids)
        self._dirty.clear()
        update = ReferenceUpdate(time=format_timestamp(time), mids=mids)
        self._publisher.publish(("market", ""), update)

    # Inside.

    def _follow(self, applied: Applied) -> None:
        if self._early is not None:
            self._early.append(applied)
        else:
            self.mirror.apply(applied.timestamp, applied.changes)
            if self._product_listeners:
                self._tell_products(applied)

    def _tell_products(self, applied: Applied) -> None:
        for change in applied.changes:
            if isinstance(change, Added) and change.entity.kind is Kind.PRODUCT:
                for listener in self._product_listeners:
                    listener(change.entity.id, change.entity.app_data)

    def _record(self, applied: Applied) -> DemandRecord | PortfolioRecord:
        operation = applied.operation
        if isinstance(operation, AddDemand | SetCurve):
            return self.demand(operation.id)
        assert isinstance(operation, AddPortfolio | SetGroups)  # noqa: S101  # as documented
        return self.portfolio(operation.id)

    def _demand(self, key: Id) -> DemandView:
        view = self.mirror.demand(key)
        if view is None:
            raise NotFound("demand", key)
        return view

    def _portfolio(self, key: Id) -> PortfolioView:
        view = self.mirror.portfolio(key)
        if view is None:
            raise NotFound("portfolio", key)
        return view

    def _product(self, key: Id) -> Entity:
        product = self.mirror.products.get(key)
        if product is None:
            raise NotFound("product", key)
        return product

    def _products_after(self, key: Id | None) -> Iterator[Entity]:
        products = iter(self.mirror.products)
        if key is not None:
            self._product(key)
            for product in products:
                if product.id == key:
                    break
        return products

    def _matches(self, product: Entity, wanted: ProductFilter) -> bool:
        if wanted.leaves and self.mirror.products.parts(product.id):
            return False
        terms = product_terms(product.app_data)
        return (
            (wanted.kind is None or str(terms.kind) == wanted.kind)
            and _not_before(terms.start, wanted.start)
            and _not_after(terms.thru, wanted.thru)
        )

    def _submission(self, bidder: Id, at: Timestamp) -> SubmissionRecord:
        return SubmissionRecord(
            as_of=format_timestamp(at),
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


def _repeated(applied: Applied) -> Repeated | None:
    change = applied.changes[0]
    return change if isinstance(change, Repeated) else None


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


def _not_before(text: str | None, bound: Timestamp | None) -> bool:
    return bound is None or ((moment := _moment(text)) is not None and moment >= bound)


def _not_after(text: str | None, bound: Timestamp | None) -> bool:
    return bound is None or ((moment := _moment(text)) is not None and moment <= bound)


def _moment(text: str | None) -> Timestamp | None:
    try:
        return None if text is None else parse_timestamp(text)
    except TimeError:  # app_data is the application's; what is no time matches none
        return None
