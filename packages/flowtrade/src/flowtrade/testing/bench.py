"""A whole service without a socket: parts wired as in production, requests by call.

async with open_bench() as bench:
    async with bench.client("can_view_products=true") as client:
        response = await client.get("/product")
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast, final

import httpx
import msgspec
import trio
from litestar import Litestar

from flowtrade.api import create_app
from flowtrade.auth import FormAuthorizer
from flowtrade.core.service import Service
from flowtrade.hub import Hub
from flowtrade.ids import DataIds
from flowtrade.ports import Authorizer, Clock, IdFactory, Solver
from flowtrade.schedule import OnRequest
from flowtrade.settings import Settings
from flowtrade.store import open_store
from flowtrade.testing.doubles import FixedSolver
from netcore.clock import ManualClock

__all__ = ["Bench", "open_bench"]


@final
class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a service under test.

    Attributes:
        clock: The clock of store and service.
        service: The use cases.
        hub: The publisher.
        app: The application.
    """

    clock: Clock
    service: Service
    hub: Hub
    app: Litestar

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        """Return a client of the application, with a bearer token or without."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(cast("Any", self.app)),  # narrower ASGI types
            base_url="http://bench",
            headers=headers,
        )


@asynccontextmanager
async def open_bench(
    settings: Settings | None = None,
    *,
    authorizer: Authorizer | None = None,
    ids: IdFactory | None = None,
    solver: Solver | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Bench]:
    """Open a service: form tokens, ids from app_data, no real solver, a still clock.

    Args:
        settings: By default a store in memory.
        authorizer: By default rights are read from the token.
        ids: By default ids are read from app_data.
        solver: By default a `FixedSolver`.
        clock: By default a `ManualClock`.
    """
    settings = settings or Settings()
    clock = clock or ManualClock()
    hub = Hub(clock=clock, replay=settings.server.replay, queue=settings.server.queue)
    async with open_store(settings.store, clock=clock) as store:
        service = Service(
            store=store,
            solver=solver or FixedSolver(),
            clock=clock,
            ids=ids or DataIds(),
            publisher=hub,
            settings=settings.auction,
        )
        on_request = OnRequest(service.auctioneer)
        app = create_app(
            service,
            authorizer or FormAuthorizer(),
            hub,
            clock=clock,
            settings=settings.server,
            request_batch=on_request.request,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run)
            nursery.start_soon(on_request.run)
            yield Bench(clock=clock, service=service, hub=hub, app=app)
            nursery.cancel_scope.cancel()
