"""The Litestar application: the table of routes, wired to the parts behind it."""

from collections.abc import Callable
from functools import cache

import msgspec
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from flowtrade.api.context import Context
from flowtrade.api.openapi import describe
from flowtrade.api.pages import Pages
from flowtrade.api.problems import EXCEPTION_HANDLERS
from flowtrade.api.routes import ROUTES, Route
from flowtrade.core.service import Service
from flowtrade.hub import Hub
from flowtrade.ports import Authorizer, Clock
from flowtrade.schedule import Schedule
from flowtrade.settings import ServerSettings

__all__ = ["create_app"]

_CORS = CORSConfig(
    allow_origins=["*"],
    allow_methods=["*"],
    # A star does not cover Authorization in browsers (Fetch standard), so by name.
    allow_headers=[
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "If-Match",
        "Last-Event-ID",
    ],
    expose_headers=["ETag", "Retry-After", "WWW-Authenticate"],
)


def create_app(
    service: Service,
    authorizer: Authorizer,
    hub: Hub,
    *,
    clock: Clock,
    settings: ServerSettings | None = None,
    schedule: Schedule | None = None,
    request_batch: Callable[[], None] | None = None,
) -> Litestar:
    """Return the ASGI application.

    Args:
        service: The use cases; loaded by whoever owns it.
        authorizer: Turns bearer tokens into rights.
        hub: Where streams subscribe; the service publishes there.
        clock: For the end of a token's stream.
        settings: Limits.
        schedule: For readiness, or None where nothing is scheduled.
        request_batch: Asks for a batch soon, for `settings.auto_solve`.
    """
    settings = settings or ServerSettings()
    context = Context(
        service=service,
        authorizer=authorizer,
        hub=hub,
        clock=clock,
        settings=settings,
        schedule=schedule,
        request_batch=request_batch,
    )
    state = State({"openapi": _document(), "pages": _pages()})
    context.install(state)
    return Litestar(
        route_handlers=[*map(_handler, ROUTES)],
        cors_config=_CORS,
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,  # the process configures logging once
        openapi_config=None,
        request_max_body_size=settings.body_limit,
        state=state,
    )


def _handler(route: Route) -> HTTPRouteHandler:
    # One function may answer several routes, so each gets its own handler around it.
    decorate = HTTPRouteHandler(
        route.path,
        http_method=route.method,  # type: ignore[arg-type]  # a Literal upstream
        status_code=route.status,
        name=f"{route.method} {route.path}",
        opt={"right": route.right},
    )
    return decorate(route.handler)


# Made once: they are the same for every application of the process.


@cache
def _document() -> bytes:
    return msgspec.json.encode(describe(ROUTES))


@cache
def _pages() -> Pages:
    return Pages()
