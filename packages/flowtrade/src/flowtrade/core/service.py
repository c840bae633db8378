"""The use cases: every request of the API is one call here.

The service turns requests into operations, hands them to the store, and answers from
the mirror. It decides nothing that two requests could race about (that is
`flowtrade.core.operations`) and knows nothing of tokens: the caller has checked the
rights.

Reads of the present come from the mirror; reads of the past are `Service.history`.
What is asked for stands in `flowtrade.core.bidding`, `flowtrade.core.catalogue` and
`flowtrade.core.reference`, and what is repeated in `flowtrade.core.repeats`; here is
what holds them together.
"""

from typing import final

import trio

from flowtrade.core.auction import Auctioneer
from flowtrade.core.bidding import Bidding, DraftDemand, DraftPortfolio
from flowtrade.core.catalogue import Catalogue, ProductFilter
from flowtrade.core.history import History
from flowtrade.core.mirror import Mirror
from flowtrade.core.operations import Applied
from flowtrade.core.reference import References
from flowtrade.core.repeats import Repeats
from flowtrade.ports import Clock, IdFactory, Listener, Publisher, Solver, Store
from flowtrade.settings import AuctionSettings

__all__ = ["DraftDemand", "DraftPortfolio", "ProductFilter", "Service"]


@final
class Service(Bidding, Catalogue, References, Repeats):
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
        self._reference_times = {}
        self._dirty = set()
        self._product_listeners = []
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
        """Load the mirror, then publish what happens elsewhere until cancelled.

        That is reference prices, and batches that other processes run. Prices that
        arrive within `settings.coalesce` seconds go out as one update.
        """
        if not self.ready:
            await self.load()
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.auctioneer.tell_others)
            await self._tell_references()

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with every applied operation; see `Store.subscribe`."""
        self._store.subscribe(listener)

    def _follow(self, applied: Applied) -> None:
        if self._early is not None:
            self._early.append(applied)
        else:
            self.mirror.apply(applied.timestamp, applied.changes)
            if self._product_listeners:
                self._tell_products(applied)
