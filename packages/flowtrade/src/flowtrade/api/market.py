"""The endpoints of the market: products and batches."""

from typing import Annotated

import msgspec
from litestar import Response

from flowtrade.api.answering import json_answer, text_answer
from flowtrade.api.context import Api, Context, context_of
from flowtrade.api.large import large_answer
from flowtrade.api.problems import BadRequest
from flowtrade.api.reading import (
    app_data_of,
    as_of,
    bearer,
    body,
    flag,
    moment,
    once,
    path_id,
    window,
)
from flowtrade.core.service import ProductFilter
from flowtrade.errors import BatchFailed, Forbidden
from flowtrade.models.batch import BatchStatus
from flowtrade.models.product import PartitionChild
from flowtrade.models.time import parse_timestamp
from netcore.models import Timestamp

__all__ = [
    "create_product",
    "get_batch",
    "get_batch_bids",
    "get_product",
    "get_product_outcomes",
    "get_product_tree",
    "list_batches",
    "list_products",
    "partition_product",
    "run_batch",
]

_ANY: "msgspec.json.Decoder[object]" = msgspec.json.Decoder()
_CHILDREN = msgspec.json.Decoder(
    Annotated[list[PartitionChild], msgspec.Meta(max_length=10_000)]
)


async def create_product(request: Api) -> Response[bytes]:
    """Make a root product; the body is its app_data."""
    token = bearer(request)
    app_data = app_data_of(await body(request, _ANY))
    context = context_of(request)
    await _may_manage(context, token)
    record = await context.service.create_product(
        app_data, once=await once(request, "products")
    )
    return json_answer(record, status=201)


async def list_products(request: Api) -> Response[bytes]:
    """List products, by kind, by time of delivery, or only the undivided ones."""
    token = bearer(request)
    query = request.query_params
    context = context_of(request)
    wanted = ProductFilter(
        limit=context.settings.page_limit,
        kind=query.get("kind"),
        start=moment(request, "from"),
        thru=moment(request, "thru"),
        leaves=flag(request, "leaves"),
        after=query.get("after"),
        at=as_of(request),
    )
    await _may_view(context, token)
    return await large_answer(await context.service.list_products(wanted))


async def get_product(request: Api) -> Response[bytes]:
    """Read a product, now or as of some moment."""
    token = bearer(request)
    key = path_id(request, "product_id")
    at = as_of(request)
    context = context_of(request)
    # Of products, the right comes before the existence, as in the reference.
    await _may_view(context, token)
    service = context.service
    record = service.product(key) if at is None else service.history.product(key, at)
    return json_answer(record)


async def get_product_tree(request: Api) -> Response[bytes]:
    """Read a product with all it was divided into, parents before parts."""
    token = bearer(request)
    key = path_id(request, "product_id")
    at = as_of(request)
    context = context_of(request)
    await _may_view(context, token)
    return await large_answer(context.service.history.tree(key, at))


async def partition_product(request: Api) -> Response[bytes]:
    """Divide a product into others, once."""
    token = bearer(request)
    key = path_id(request, "product_id")
    children = await body(request, _CHILDREN)
    if not children:
        raise BadRequest("a product is divided into at least one part, was []")
    context = context_of(request)
    await _may_manage(context, token)
    records = await context.service.partition(
        key,
        [(app_data_of(child.app_data), child.ratio) for child in children],
        once=await once(request, "products"),
    )
    return json_answer(records, status=201)


async def get_product_outcomes(request: Api) -> Response[bytes]:
    """Read a page of a product's prices and volumes."""
    token = bearer(request)
    key = path_id(request, "product_id")
    context = context_of(request)
    wanted, at = window(request, context.settings.page_limit), as_of(request)
    await _may_view(context, token)
    history = context.service.history
    return json_answer(await history.product_outcomes(key, wanted, at))


async def run_batch(request: Api) -> Response[bytes]:
    """Run a batch now; the answer is its timestamp as text."""
    token = bearer(request)
    rehearse = flag(request, "dry_run")
    context = context_of(request)
    grant = await context.authorizer.authorize(token)
    if not grant.can_run_batch():
        raise Forbidden("this token may not run a batch")
    key = await once(request, "batches")
    if rehearse and key is not None:
        raise BadRequest("a dry run does nothing, so it takes no Idempotency-Key")
    if rehearse:
        return await large_answer(await context.service.auctioneer.rehearse())
    if key is None:
        record = await context.service.auctioneer.run_batch()
    else:
        record = await context.service.run_batch_once(key)
    if record.status is BatchStatus.FAILED:
        raise BatchFailed(
            f"batch {record.as_of} failed: {record.error}", orders=tuple(record.orders)
        )
    # The text is the timestamp alone; which orders and why is in the batch.
    aside = len(record.set_aside)
    headers = {"Flowtrade-Set-Aside": str(aside)} if aside else None
    return text_answer(record.as_of, headers=headers)


async def list_batches(request: Api) -> Response[bytes]:
    """Read a page of batches with their proofs."""
    token = bearer(request)
    context = context_of(request)
    wanted, at = window(request, context.settings.page_limit), as_of(request)
    await _may_view(context, token)
    return await large_answer(await context.service.history.batches(wanted, at))


async def get_batch(request: Api) -> Response[bytes]:
    """Read one batch: `latest`, or the batch of exactly this timestamp."""
    token = bearer(request)
    named, at = _named_batch(request), as_of(request)
    context = context_of(request)
    await _may_view(context, token)
    history = context.service.history
    if named is None:
        return await large_answer(await history.last_batch(at))
    return await large_answer(await history.batch(named, at))


async def get_batch_bids(request: Api) -> Response[bytes]:
    """Read what your own bids got in a batch, and what that was worth to you."""
    token = bearer(request)
    named, at = _named_batch(request), as_of(request)
    context = context_of(request)
    bidders = (await context.authorizer.authorize(token)).can_query_bid()
    if not bidders:
        raise Forbidden("this token is for no bidder")
    history = context.service.history
    if named is None:
        named = parse_timestamp((await history.last_batch(at)).as_of)
    return await large_answer(await history.bids(bidders, named, at))


def _named_batch(request: Api) -> Timestamp | None:
    name: str = request.path_params["as_of"]
    return None if name == "latest" else parse_timestamp(name)


async def _may_view(context: Context, token: str) -> None:
    grant = await context.authorizer.authorize(token)
    if not grant.can_view_products():
        raise Forbidden("this token may not see products")


async def _may_manage(context: Context, token: str) -> None:
    grant = await context.authorizer.authorize(token)
    if not grant.can_manage_products():
        raise Forbidden("this token may not manage products")
