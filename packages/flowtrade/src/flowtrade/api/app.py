"""The Litestar application: the table of routes, wired to the parts behind it."""

from collections.abc import Callable
from functools import cache
from typing import cast

import msgspec
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from flowtrade.api.context import Context
from flowtrade.api.front import Front
from flowtrade.api.methods import Methods
from flowtrade.api.openapi import describe
from flowtrade.api.pages import Pages
from flowtrade.api.problems import EXCEPTION_HANDLERS
from flowtrade.api.request import Api
from flowtrade.api.routes import ROUTES, Route
from flowtrade.api.timing import RequestTimes
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
        "Prefer",
    ],
    expose_headers=["ETag", "Preference-Applied", "Retry-After", "WWW-Authenticate"],
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
    times: RequestTimes | None = None,
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
        times: Where requests are counted.
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
    app = Litestar(
        route_handlers=[*map(_handler, ROUTES)],
        request_class=Api,
        cors_config=_CORS,
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,  # the process configures logging once
        openapi_config=None,
        request_max_body_size=settings.body_limit,
        state=state,
    )
    app.asgi_handler = Front(
        Methods(app.asgi_handler, ROUTES),
        [(route, _registered(app, route)) for route in ROUTES],
        RequestTimes() if times is None else times,
    )
    return app


def _handler(route: Route) -> HTTPRouteHandler:
    # One function may answer several routes, so each gets its own handler around it.
    decorate = HTTPRouteHandler(
        route.path,
        http_method=route.method,  # type: ignore[arg-type]  # a Literal upstream
        status_code=route.status,
        name=_name(route),
        opt={"right": route.right},
    )
    return decorate(route.handler)


def _registered(app: Litestar, route: Route) -> HTTPRouteHandler:
    # Not the one that was given: an application keeps copies, which it completes.
    found = app.get_handler_index_by_name(_name(route))
    assert found is not None  # noqa: S101  # it is in the table
    return cast("HTTPRouteHandler", found["handler"])


def _name(route: Route) -> str:
    return f"{route.method} {route.path}"


# Made once: they are the same for every application of the process.


@cache
def _document() -> bytes:
    return msgspec.json.encode(describe(ROUTES))


@cache
def _pages() -> Pages:
    return Pages()
