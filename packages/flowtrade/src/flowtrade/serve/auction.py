"""The whole service in one nursery: store, use cases, schedule, server.

Whatever part fails takes the rest down and the exception out: a service that runs on
without auctions would be worse than none. The order of an end is the reverse of the
order of the beginning: the server first, the store last, so that nothing that was
taken is lost.
"""

import socket
from contextlib import nullcontext
from typing import final

import msgspec
import trio
from litestar import Litestar

from flowtrade.api import create_app
from flowtrade.api.front import shortcut_of
from flowtrade.api.timing import RequestTimes
from flowtrade.core.lead import Lead
from flowtrade.core.operations import Applied
from flowtrade.core.service import Service
from flowtrade.core.state import Changed
from flowtrade.hub import Hub
from flowtrade.ids import TimeOrderedIds
from flowtrade.ports import Authorizer, Clock, IdFactory, Solver, Store
from flowtrade.schedule import Grid, OnRequest, Schedule
from flowtrade.serve.collector import calm_collector
from flowtrade.serve.server import listen, serve
from flowtrade.settings import Settings
from flowtrade.store import open_store
from flowtrade.store.group import GroupStore
from netcore.clock import SystemClock

__all__ = ["Auction", "run_auction"]


@final
class Auction(msgspec.Struct, frozen=True, kw_only=True):
    """A running service.

    Attributes:
        url: Where it listens.
        service: The use cases.
        hub: The publisher.
        app: The application.
        schedule: The schedule, or None without one.
        lead: Whether this process runs the auctions, where several could.
        requests: How long requests took.
    """

    url: str
    service: Service
    hub: Hub
    app: Litestar
    schedule: Schedule | None
    lead: Lead | None = None
    requests: RequestTimes = msgspec.field(default_factory=RequestTimes)


async def run_auction(
    settings: Settings,
    *,
    authorizer: Authorizer,
    solver: Solver | None = None,
    clock: Clock | None = None,
    ids: IdFactory | None = None,
    store: Store | None = None,
    silence: float = 5.0,
    shutdown: trio.Event | None = None,
    task_status: trio.TaskStatus[Auction] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the service until `shutdown` is set, or until cancelled.

    Args:
        settings: All of them.
        authorizer: Turns bearer tokens into rights.
        solver: Clears; by default `flowtrade.core.solver.ClearingSolver`.
        clock: By default the system's.
        ids: By default `TimeOrderedIds`.
        store: Open, and its owner's to close; by default the one that the settings
            name.
        silence: Seconds without a sign of life after which a leader is replaced, where
            several processes share the store.
        shutdown: Begins an orderly stop.
        task_status: Gets the running service.

    Raises:
        AddressInUse: Another program listens on the port.
        InvalidRequest: The settings name no store or schedule we know.
        StoreFailed: The store cannot be opened.
    """
    clock = clock or SystemClock()
    shutdown = trio.Event() if shutdown is None else shutdown
    # The port first, so that one that is taken says so before anything is opened.
    with listen(settings.server.host, settings.server.port) as listening:
        async with (
            open_store(settings.store, clock=clock)
            if store is None
            else nullcontext(store)
        ) as store:
            hub = Hub(
                clock=clock,
                replay=settings.server.replay,
                queue=settings.server.queue,
            )
            service = Service(
                store=store,
                solver=solver or _default_solver(),
                clock=clock,
                ids=ids or TimeOrderedIds(),
                publisher=hub,
                settings=settings.auction_terms(),
            )
            await service.load()
            parts = _Parts(settings, service, authorizer, hub, clock)
            if isinstance(store, GroupStore):
                parts.contend(store, silence)
            with calm_collector():
                await parts.run(listening, shutdown, task_status)


@final
class _Parts:
    """What runs once the store is open and the mirror loaded."""

    def __init__(
        self,
        settings: Settings,
        service: Service,
        authorizer: Authorizer,
        hub: Hub,
        clock: Clock,
    ) -> None:
        auctioneer, grid = service.auctioneer, Grid.from_settings(settings.schedule)
        self.settings = settings
        self.service = service
        self.hub = hub
        self.on_request = OnRequest(auctioneer)
        self.lead: Lead | None = None
        self.requests = RequestTimes()
        self.schedule = (
            None if grid is None else Schedule(auctioneer, clock=clock, grid=grid)
        )
        self.app = create_app(
            service,
            authorizer,
            hub,
            clock=clock,
            settings=settings.server,
            schedule=self.schedule,
            request_batch=self.on_request.request,
            times=self.requests,
        )

    def contend(self, store: GroupStore, silence: float) -> None:
        """Run auctions only while this process leads, if another one could."""
        lock = store.open_lock(silence)
        if lock is None:
            return
        self.lead = Lead(store, self.service.auctioneer, lock)
        if self.settings.server.auto_solve:
            store.subscribe(self._solve_for_others)

    def _solve_for_others(self, applied: Applied) -> None:
        # Bids that another process has taken ask for a batch, too.
        bids = any(isinstance(change, Changed) for change in applied.changes)
        if applied.operation is None and bids:
            self.on_request.request()

    async def run(
        self,
        listening: socket.socket,
        shutdown: trio.Event,
        task_status: trio.TaskStatus[Auction],
    ) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.service.run)
            nursery.start_soon(self.on_request.run)
            if self.lead is not None:
                await nursery.start(self.lead.run)
            if self.schedule is not None:
                nursery.start_soon(self.schedule.run)
            async with trio.open_nursery() as serving:
                url = await serving.start(self._serve, listening, shutdown)
                task_status.started(self._running(url))
            self.hub.close()
            nursery.cancel_scope.cancel()

    async def _serve(
        self,
        listening: socket.socket,
        shutdown: trio.Event,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await serve(
            self.app,
            listening=listening,
            grace=self.settings.server.grace,
            # Twice: up to there the application refuses in the words of its API.
            body_limit=2 * self.settings.server.body_limit,
            shortcut=shortcut_of(self.app),
            shutdown=shutdown,
            task_status=task_status,
        )

    def _running(self, url: str) -> Auction:
        return Auction(
            url=url,
            service=self.service,
            hub=self.hub,
            app=self.app,
            schedule=self.schedule,
            lead=self.lead,
            requests=self.requests,
        )


def _default_solver() -> Solver:
    # Imported late: it loads numpy and HiGHS, which a host's own solver may not need.
    from flowtrade.core.solver import ClearingSolver

    return ClearingSolver()
