"""The table of all endpoints: the application, the description and the tests read it.

A route that is not here does not exist, and a route that is here says who may use it:
the matrix of rights in the tests is made from this table.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Final

import msgspec

from flowtrade.api import bids, bulk, events, market, meta, pages
from flowtrade.api.arrow import ARROW_STREAM
from flowtrade.models.batch import BatchPage, BatchRecord, BidderBatch
from flowtrade.models.demand import CreateDemand, CurveJson, DemandRecord
from flowtrade.models.page import Page
from flowtrade.models.portfolio import (
    CreatePortfolio,
    PatchPortfolio,
    PortfolioRecord,
    PositionRecord,
    TradeCap,
)
from flowtrade.models.product import (
    PartitionChild,
    ProductNode,
    ProductPage,
    ProductRecord,
)
from flowtrade.models.submission import Submission, SubmissionRecord

__all__ = ["Lane", "Query", "Right", "Route"]


class Right(StrEnum):
    """Who may use a route; the values are the methods of `Grant`."""

    PUBLIC = "public"
    CREATE = "can_create_bid"
    QUERY = "can_query_bid"
    READ = "can_read_bid"
    UPDATE = "can_update_bid"
    VIEW = "can_view_products"
    MANAGE = "can_manage_products"
    RUN = "can_run_batch"


class Lane(StrEnum):
    """How a route's handler is reached."""

    FRAMEWORK = "framework"
    HOT = "hot"
    """At once, where the request is a plain one (`flowtrade.api.front`). Its answer
    is an `Answer`, its path has no parameter but an id at its end."""


class Query(msgspec.Struct, frozen=True):
    """A parameter of the query."""

    name: str
    schema: dict[str, Any]
    text: str


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint.

    Attributes:
        method: In upper case.
        path: In Litestar's notation.
        handler: Answers; its docstring is the summary.
        right: Who may use it.
        reply: The type of the JSON reply, or a media type.
        status: Of success.
        body: The type of the JSON body, a list of media types, or None for no body.
        query: Parameters.
        errors: Statuses of its own beside those that follow from the rest.
        versioned: Whether the reply has an ETag.
        guarded: Whether it takes If-Match.
        once: Whether it takes Idempotency-Key.
        terse: Whether it takes `Prefer: return=minimal`.
        lane: How its handler is reached.
    """

    method: str
    path: str
    handler: Callable[[Any], Awaitable[Any]]
    right: Right
    reply: Any
    status: int = 200
    body: Any = None
    query: tuple[Query, ...] = ()
    errors: tuple[int, ...] = ()
    versioned: bool = False
    guarded: bool = False
    once: bool = False
    terse: bool = False
    lane: Lane = Lane.FRAMEWORK


_TIME: Final = {"type": "string", "format": "date-time"}
_AS_OF: Final = Query("as_of", _TIME, "The moment to read, by default the present.")
_PAGE: Final = (
    Query("before", _TIME, "Only values that began before this moment."),
    Query("after", _TIME, "Only values that began at this moment or later."),
    _AS_OF,
)
_EXPAND: Final = Query(
    "expand", {"type": "boolean"}, "Whether to express the basis in leaf products."
)
_RECENT: Final = Query(
    "recent",
    {"type": "integer", "minimum": 0, "maximum": 999_999},
    "A new client begins with so many past events, as far as they are kept.",
)
_STREAM: Final = "text/event-stream"

_DEMAND, _PORTFOLIO = "/demand/{demand_id:str}", "/portfolio/{portfolio_id:str}"
_PRODUCT = "/product/{product_id:str}"

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/demand",
        handler=bids.list_demands,
        right=Right.QUERY,
        reply=list[DemandRecord],
        query=(_AS_OF,),
    ),
    Route(
        method="POST",
        path="/demand",
        handler=bids.create_demand,
        lane=Lane.HOT,
        once=True,
        right=Right.CREATE,
        reply=DemandRecord,
        status=201,
        body=CreateDemand,
        errors=(409,),
        versioned=True,
    ),
    Route(
        method="GET",
        path=_DEMAND,
        handler=bids.get_demand,
        lane=Lane.HOT,
        right=Right.READ,
        reply=DemandRecord,
        query=(_AS_OF,),
        errors=(404,),
        versioned=True,
    ),
    Route(
        method="PUT",
        path=_DEMAND,
        handler=bids.put_curve,
        lane=Lane.HOT,
        right=Right.UPDATE,
        reply=DemandRecord,
        body=CurveJson,
        errors=(404,),
        versioned=True,
        guarded=True,
    ),
    Route(
        method="DELETE",
        path=_DEMAND,
        handler=bids.delete_demand,
        lane=Lane.HOT,
        right=Right.UPDATE,
        reply=DemandRecord,
        errors=(404,),
        versioned=True,
        guarded=True,
    ),
    Route(
        method="GET",
        path=f"{_DEMAND}/curve-history",
        handler=bids.get_curve_history,
        right=Right.READ,
        reply=Page,
        query=_PAGE,
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/portfolio",
        handler=bids.list_portfolios,
        right=Right.QUERY,
        reply=list[PortfolioRecord],
        query=(_AS_OF,),
    ),
    Route(
        method="POST",
        path="/portfolio",
        handler=bids.create_portfolio,
        lane=Lane.HOT,
        once=True,
        right=Right.CREATE,
        reply=PortfolioRecord,
        status=201,
        body=CreatePortfolio,
        errors=(409,),
        versioned=True,
    ),
    Route(
        method="GET",
        path=_PORTFOLIO,
        handler=bids.get_portfolio,
        lane=Lane.HOT,
        right=Right.READ,
        reply=PortfolioRecord,
        query=(_EXPAND, _AS_OF),
        errors=(404,),
        versioned=True,
    ),
    Route(
        method="PATCH",
        path=_PORTFOLIO,
        handler=bids.patch_portfolio,
        lane=Lane.HOT,
        right=Right.UPDATE,
        reply=PortfolioRecord,
        body=PatchPortfolio,
        errors=(404,),
        versioned=True,
        guarded=True,
    ),
    Route(
        method="DELETE",
        path=_PORTFOLIO,
        handler=bids.delete_portfolio,
        right=Right.UPDATE,
        reply=PortfolioRecord,
        errors=(404,),
        versioned=True,
        guarded=True,
    ),
    Route(
        method="GET",
        path=f"{_PORTFOLIO}/demand-history",
        handler=bids.get_demand_history,
        right=Right.READ,
        reply=Page,
        query=_PAGE,
        errors=(404,),
    ),
    Route(
        method="GET",
        path=f"{_PORTFOLIO}/product-history",
        handler=bids.get_product_history,
        right=Right.READ,
        reply=Page,
        query=_PAGE,
        errors=(404,),
    ),
    Route(
        method="GET",
        path=f"{_PORTFOLIO}/outcomes",
        handler=bids.get_portfolio_outcomes,
        right=Right.READ,
        reply=Page,
        query=_PAGE,
        errors=(404,),
    ),
    Route(
        method="GET",
        path=f"{_PORTFOLIO}/position",
        handler=bids.get_position,
        right=Right.READ,
        reply=PositionRecord,
        query=(_AS_OF,),
        errors=(404,),
    ),
    Route(
        method="PUT",
        path=f"{_PORTFOLIO}/cap",
        handler=bids.put_cap,
        right=Right.UPDATE,
        reply=PositionRecord,
        body=TradeCap,
        errors=(404,),
    ),
    Route(
        method="DELETE",
        path=f"{_PORTFOLIO}/cap",
        handler=bids.delete_cap,
        right=Right.UPDATE,
        reply=PositionRecord,
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/submission",
        handler=bids.get_submission,
        right=Right.CREATE,
        reply=SubmissionRecord,
        query=(_AS_OF,),
    ),
    Route(
        method="PUT",
        path="/submission",
        handler=bids.put_submission,
        lane=Lane.HOT,
        right=Right.CREATE,
        reply=SubmissionRecord,
        body=Submission,
        errors=(409,),
    ),
    Route(
        method="POST",
        path="/bulk",
        handler=bulk.post_bulk,
        right=Right.CREATE,
        reply="application/x-ndjson",
        body=f"application/x-ndjson, {ARROW_STREAM}",
        once=True,
        terse=True,
    ),
    Route(
        method="GET",
        path="/product",
        handler=market.list_products,
        right=Right.VIEW,
        reply=ProductPage,
        query=(
            Query("kind", {"type": "string"}, "Only products of this kind."),
            Query("from", _TIME, "Only products delivered from this moment on."),
            Query("thru", _TIME, "Only products delivered until this moment."),
            Query("leaves", {"type": "boolean"}, "Only products that are undivided."),
            Query("after", {"type": "string"}, "Only products made after this one."),
            _AS_OF,
        ),
        errors=(404,),
    ),
    Route(
        method="POST",
        path="/product",
        handler=market.create_product,
        once=True,
        right=Right.MANAGE,
        reply=ProductRecord,
        status=201,
        body=Any,
        errors=(409,),
    ),
    Route(
        method="GET",
        path=_PRODUCT,
        handler=market.get_product,
        right=Right.VIEW,
        reply=ProductRecord,
        query=(_AS_OF,),
        errors=(404,),
    ),
    Route(
        method="GET",
        path=f"{_PRODUCT}/tree",
        handler=market.get_product_tree,
        right=Right.VIEW,
        reply=list[ProductNode],
        query=(_AS_OF,),
        errors=(404,),
    ),
    Route(
        method="POST",
        path=_PRODUCT,
        handler=market.partition_product,
        once=True,
        right=Right.MANAGE,
        reply=list[ProductRecord],
        status=201,
        body=list[PartitionChild],
        errors=(403, 404, 409),
    ),
    Route(
        method="GET",
        path=f"{_PRODUCT}/outcomes",
        handler=market.get_product_outcomes,
        right=Right.VIEW,
        reply=Page,
        query=_PAGE,
        errors=(404,),
    ),
    Route(
        method="POST",
        path="/batch",
        handler=market.run_batch,
        once=True,
        right=Right.RUN,
        reply="text/plain",
        query=(
            Query(
                "dry_run",
                {"type": "boolean"},
                "Whether to answer what a batch would be, as JSON, and run none.",
            ),
        ),
        errors=(409, 422),
    ),
    Route(
        method="GET",
        path="/batch",
        handler=market.list_batches,
        right=Right.VIEW,
        reply=BatchPage,
        query=_PAGE,
    ),
    Route(
        method="GET",
        path="/batch/{as_of:str}",
        handler=market.get_batch,
        right=Right.VIEW,
        reply=BatchRecord,
        query=(_AS_OF,),
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/batch/{as_of:str}/bids",
        handler=market.get_batch_bids,
        right=Right.QUERY,
        reply=BidderBatch,
        query=(_AS_OF,),
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/updates",
        handler=events.market_updates,
        right=Right.PUBLIC,
        reply=_STREAM,
        query=(_RECENT,),
        errors=(400,),
    ),
    Route(
        method="GET",
        path=f"{_PRODUCT}/updates",
        handler=events.product_updates,
        right=Right.PUBLIC,
        reply=_STREAM,
        query=(_RECENT,),
        errors=(400, 404),
    ),
    Route(
        method="GET",
        path="/bidder/updates",
        handler=events.bidder_updates,
        right=Right.QUERY,
        reply=_STREAM,
        query=(_RECENT,),
    ),
    Route(
        method="GET",
        path="/health",
        handler=meta.health,
        right=Right.PUBLIC,
        reply=dict[str, str],
    ),
    Route(
        method="GET",
        path="/health/live",
        handler=meta.live,
        right=Right.PUBLIC,
        reply=dict[str, str],
    ),
    Route(
        method="GET",
        path="/health/ready",
        handler=meta.ready,
        right=Right.PUBLIC,
        reply=meta.Readiness,
        errors=(503,),
    ),
    Route(
        method="GET",
        path="/docs/api.json",
        handler=meta.openapi,
        right=Right.PUBLIC,
        reply=dict[str, Any],
    ),
    Route(
        method="GET",
        path="/docs",
        handler=pages.page,
        right=Right.PUBLIC,
        reply="text/html",
    ),
    Route(
        method="GET",
        path="/rapidoc",
        handler=pages.page,
        right=Right.PUBLIC,
        reply="text/html",
    ),
    Route(
        method="GET",
        path="/",
        handler=pages.page,
        right=Right.PUBLIC,
        reply="text/html",
    ),
    Route(
        method="GET",
        path="/static/{path:path}",
        handler=pages.file,
        right=Right.PUBLIC,
        reply="application/octet-stream",
        errors=(404,),
    ),
)
"""Every endpoint."""
