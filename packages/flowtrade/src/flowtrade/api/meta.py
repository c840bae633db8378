"""The endpoints about the service itself: health and description."""

import msgspec
from litestar import Response

from flowtrade.api.answering import json_answer
from flowtrade.api.context import Api, context_of

__all__ = ["Readiness", "health", "live", "openapi", "ready"]


class Readiness(msgspec.Struct, kw_only=True):
    """The reply of `GET /health/ready`."""

    status: str
    checks: dict[str, bool]


async def health(request: Api) -> Response[bytes]:
    """Say that the service answers."""
    return json_answer({"status": "ok"})


async def live(request: Api) -> Response[bytes]:
    """Say that the event loop turns."""
    return json_answer({"status": "ok"})


async def ready(request: Api) -> Response[bytes]:
    """Say whether requests can be served and auctions happen: 200 or 503."""
    context = context_of(request)
    service = context.service
    checks = {
        "mirror": service.ready,
        "store": service.healthy,
        "solver": service.auctioneer.able,
    }
    if context.schedule is not None:
        checks["schedule"] = not context.schedule.late
    good = all(checks.values())
    answer = Readiness(status="ok" if good else "unavailable", checks=checks)
    return json_answer(answer, status=200 if good else 503)


async def openapi(request: Api) -> Response[bytes]:
    """Serve the OpenAPI description."""
    document: bytes = request.app.state["openapi"]
    return Response(document, media_type="application/json")
