"""The endpoints of bidders: demands, portfolios and whole submissions.

Each reads header, path, query and body, then asks for the rights, then acts. Of a
demand or portfolio named in the path, its existence comes before the right to it
(404, then 401), as in the reference; ids carry 56 random bits, so that this tells
nothing to who has none.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec
from litestar import Response

from flowtrade.api.answering import json_answer, record_answer
from flowtrade.api.context import Api, Context, context_of
from flowtrade.api.large import large_answer
from flowtrade.api.reading import (
    app_data_of,
    as_of,
    bearer,
    body,
    body_curve,
    body_id,
    expected_version,
    flag,
    group_of,
    once,
    path_id,
    window,
)
from flowtrade.core.history import History
from flowtrade.core.service import DraftDemand, DraftPortfolio
from flowtrade.core.state import Group
from flowtrade.errors import Forbidden
from flowtrade.models.curve import Curve, parse_curve
from flowtrade.models.demand import CreateDemand
from flowtrade.models.ids import Id
from flowtrade.models.page import Page
from flowtrade.models.portfolio import CreatePortfolio, PatchPortfolio, TradeCap
from flowtrade.models.submission import (
    Submission,
    SubmittedDemand,
    SubmittedPortfolio,
)
from flowtrade.ports import Grant, Window
from netcore.models import Timestamp

__all__ = [
    "create_demand",
    "create_portfolio",
    "delete_cap",
    "delete_demand",
    "delete_portfolio",
    "get_curve_history",
    "get_demand",
    "get_demand_history",
    "get_portfolio",
    "get_portfolio_outcomes",
    "get_position",
    "get_product_history",
    "get_submission",
    "list_demands",
    "list_portfolios",
    "patch_portfolio",
    "put_cap",
    "put_curve",
    "put_submission",
]

_ReadPage: TypeAlias = Callable[
    [History, Id, Window, Timestamp | None], Awaitable[Page]
]

_CREATE_DEMAND = msgspec.json.Decoder(CreateDemand)
_CREATE_PORTFOLIO = msgspec.json.Decoder(CreatePortfolio)
_PATCH_PORTFOLIO = msgspec.json.Decoder(PatchPortfolio)
_CAP = msgspec.json.Decoder(TradeCap)
_SUBMISSION = msgspec.json.Decoder(Submission)


async def create_demand(request: Api) -> Response[bytes]:
    """Make a demand."""
    token = bearer(request)
    new = await body(request, _CREATE_DEMAND)
    curve = parse_curve(new.curve_data)
    context = context_of(request)
    bidder = _creator(await context.authorizer.authorize(token))
    record = await context.service.create_demand(
        bidder, app_data_of(new.app_data), curve, once=await once(request, bidder)
    )
    return record_answer(record, version=record.valid_from, status=201)


async def list_demands(request: Api) -> Response[bytes]:
    """List the active demands of the bidders that the token names."""
    token, at = bearer(request), as_of(request)
    context = context_of(request)
    bidders = _queried(await context.authorizer.authorize(token))
    return await large_answer(await context.service.list_demands(bidders, at))


async def get_demand(request: Api) -> Response[bytes]:
    """Read a demand, now or as of some moment."""
    token = bearer(request)
    key = path_id(request, "demand_id")
    at = as_of(request)
    context = context_of(request)
    await _may_read(context, token, context.service.demand_owner, key)
    if at is None:
        record = context.service.demand(key)
    else:
        record = await context.service.history.demand(key, at)
    return record_answer(record, version=record.valid_from)


async def put_curve(request: Api) -> Response[bytes]:
    """Replace a demand's curve."""
    token = bearer(request)
    key = path_id(request, "demand_id")
    curve = await body_curve(request)
    return await _set_curve(request, token, key, curve)


async def delete_demand(request: Api) -> Response[bytes]:
    """Withdraw a demand's curve."""
    token = bearer(request)
    return await _set_curve(request, token, path_id(request, "demand_id"), None)


async def get_curve_history(request: Api) -> Response[bytes]:
    """Read a page of a demand's curves; periods without one are left out."""
    token = bearer(request)
    key = path_id(request, "demand_id")
    context = context_of(request)
    wanted, at = window(request, context.settings.page_limit), as_of(request)
    await _may_read(context, token, context.service.demand_owner, key)
    return json_answer(await context.service.history.curves(key, wanted, at))


async def create_portfolio(request: Api) -> Response[bytes]:
    """Make a portfolio."""
    token = bearer(request)
    new = await body(request, _CREATE_PORTFOLIO)
    demand, basis = group_of(new.demand), group_of(new.basis)
    context = context_of(request)
    bidder = _creator(await context.authorizer.authorize(token))
    record = await context.service.create_portfolio(
        bidder,
        app_data_of(new.app_data),
        demand=demand,
        basis=basis,
        once=await once(request, bidder),
    )
    context.auto_solve()
    return record_answer(record, version=record.valid_from, status=201)


async def list_portfolios(request: Api) -> Response[bytes]:
    """List the non-empty portfolios of the bidders that the token names."""
    token, at = bearer(request), as_of(request)
    context = context_of(request)
    bidders = _queried(await context.authorizer.authorize(token))
    return await large_answer(await context.service.list_portfolios(bidders, at))


async def get_portfolio(request: Api) -> Response[bytes]:
    """Read a portfolio, now or as of some moment."""
    token = bearer(request)
    key = path_id(request, "portfolio_id")
    expand, at = flag(request, "expand"), as_of(request)
    context = context_of(request)
    await _may_read(context, token, context.service.portfolio_owner, key)
    service = context.service
    if at is None:
        named = record = service.portfolio(key)
        if expand:
            record = service.portfolio(key, expand=True)
    else:
        named = record = await service.history.portfolio(key, at)
        if expand:
            record = await service.history.portfolio(key, at, expand=True)
    # What a change would replace: a division of products makes no new groups.
    return record_answer(record, version=named.valid_from)


async def patch_portfolio(request: Api) -> Response[bytes]:
    """Replace one or both groups of a portfolio."""
    token = bearer(request)
    key = path_id(request, "portfolio_id")
    patch = await body(request, _PATCH_PORTFOLIO)
    # Null keeps a group; what clears it is an empty list or map.
    demand = None if patch.demand is None else group_of(patch.demand)
    basis = None if patch.basis is None else group_of(patch.basis)
    context = context_of(request)
    await _may_update(context, token, context.service.portfolio_owner, key)
    record = await context.service.set_groups(
        key, demand=demand, basis=basis, expected=expected_version(request)
    )
    context.auto_solve()
    return record_answer(record, version=record.valid_from)


async def delete_portfolio(request: Api) -> Response[bytes]:
    """Empty both groups of a portfolio."""
    token = bearer(request)
    key = path_id(request, "portfolio_id")
    context = context_of(request)
    await _may_update(context, token, context.service.portfolio_owner, key)
    record = await context.service.set_groups(
        key, demand={}, basis={}, expected=expected_version(request)
    )
    context.auto_solve()
    return record_answer(record, version=record.valid_from)


async def get_demand_history(request: Api) -> Response[bytes]:
    """Read a page of a portfolio's demand groups."""
    return await _portfolio_page(request, History.demands)


async def get_product_history(request: Api) -> Response[bytes]:
    """Read a page of a portfolio's bases, as the bidder named them."""
    return await _portfolio_page(request, History.bases)


async def get_portfolio_outcomes(request: Api) -> Response[bytes]:
    """Read a page of a portfolio's prices and rates."""
    return await _portfolio_page(request, History.portfolio_outcomes)


async def get_position(request: Api) -> Response[bytes]:
    """Read what a portfolio has traded, and how much it may."""
    token = bearer(request)
    key = path_id(request, "portfolio_id")
    at = as_of(request)
    context = context_of(request)
    await _may_read(context, token, context.service.portfolio_owner, key)
    if at is None:
        return json_answer(context.service.position(key))
    return json_answer(await context.service.position_at(key, at))


async def put_cap(request: Api) -> Response[bytes]:
    """Limit what a portfolio may trade in total."""
    token = bearer(request)
    key = path_id(request, "portfolio_id")
    cap = await body(request, _CAP)
    return await _set_cap(request, token, key, cap)


async def delete_cap(request: Api) -> Response[bytes]:
    """Take the limits of a portfolio's trade away."""
    token = bearer(request)
    return await _set_cap(request, token, path_id(request, "portfolio_id"), None)


async def get_submission(request: Api) -> Response[bytes]:
    """Read all active bids of the token's bidder."""
    token, at = bearer(request), as_of(request)
    context = context_of(request)
    bidder = _creator(await context.authorizer.authorize(token))
    return await large_answer(await context.service.submission(bidder, at))


async def put_submission(request: Api) -> Response[bytes]:
    """Replace all bids of the token's bidder in one transaction."""
    token = bearer(request)
    wanted = await body(request, _SUBMISSION)
    demands = [_draft_demand(entry) for entry in wanted.demands]
    portfolios = [_draft_portfolio(entry) for entry in wanted.portfolios]
    context = context_of(request)
    bidder = _creator(await context.authorizer.authorize(token))
    record = await context.service.submit(bidder, demands, portfolios)
    context.auto_solve()
    return await large_answer(record)


async def _set_curve(
    request: Api, token: str, key: Id, curve: Curve | None
) -> Response[bytes]:
    context = context_of(request)
    expected = expected_version(request)
    await _may_update(context, token, context.service.demand_owner, key)
    record = await context.service.set_curve(key, curve, expected=expected)
    context.auto_solve()
    return record_answer(record, version=record.valid_from)


async def _set_cap(
    request: Api, token: str, key: Id, cap: TradeCap | None
) -> Response[bytes]:
    context = context_of(request)
    await _may_update(context, token, context.service.portfolio_owner, key)
    record = await context.service.set_cap(key, cap)
    context.auto_solve()
    return json_answer(record)


async def _portfolio_page(request: Api, read: _ReadPage) -> Response[bytes]:
    token = bearer(request)
    key = path_id(request, "portfolio_id")
    context = context_of(request)
    wanted, at = window(request, context.settings.page_limit), as_of(request)
    await _may_read(context, token, context.service.portfolio_owner, key)
    return json_answer(await read(context.service.history, key, wanted, at))


def _creator(grant: Grant) -> Id:
    bidder = grant.can_create_bid()
    if bidder is None:
        raise Forbidden("this token may not place bids")
    return bidder


def _queried(grant: Grant) -> tuple[Id, ...]:
    bidders = grant.can_query_bid()
    if not bidders:
        raise Forbidden("this token may not list bids")
    return bidders


async def _may_read(
    context: Context, token: str, owner_of: Callable[[Id], Id], key: Id
) -> None:
    # An invalid token learns nothing; a valid one may learn that the id exists.
    grant = await context.authorizer.authorize(token)
    if not grant.can_read_bid(owner_of(key)):
        raise Forbidden("this token may not read this bid")


async def _may_update(
    context: Context, token: str, owner_of: Callable[[Id], Id], key: Id
) -> None:
    grant = await context.authorizer.authorize(token)
    if not grant.can_update_bid(owner_of(key)):
        raise Forbidden("this token may not change this bid")


def _draft_demand(entry: SubmittedDemand) -> DraftDemand:
    unset = entry.curve_data is msgspec.UNSET
    return DraftDemand(
        id=_optional_id(entry.id),
        app_data=_optional_data(entry.app_data),
        curve=msgspec.UNSET if unset else parse_curve(entry.curve_data),
    )


def _draft_portfolio(entry: SubmittedPortfolio) -> DraftPortfolio:
    return DraftPortfolio(
        id=_optional_id(entry.id),
        app_data=_optional_data(entry.app_data),
        demand=_optional_group(entry.demand),
        basis=_optional_group(entry.basis),
    )


def _optional_id(key: Id | msgspec.UnsetType) -> Id | None:
    return None if key is msgspec.UNSET else body_id(key)


def _optional_data(value: object) -> bytes | None:
    return None if value is msgspec.UNSET else app_data_of(value)


def _optional_group(value: object) -> Group | msgspec.UnsetType:
    return msgspec.UNSET if value is msgspec.UNSET else group_of(value)
