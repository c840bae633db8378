"""Portfolios: weighted demands over weighted products, and requests about them."""

from typing import Annotated, Any, TypeAlias

import msgspec

from flowtrade.models.ids import Id
from flowtrade.models.time import Rfc3339
from netcore.models import Model

__all__ = ["CreatePortfolio", "GroupJson", "PatchPortfolio", "PortfolioRecord"]

GroupJson: TypeAlias = Annotated[
    Any,
    msgspec.Meta(
        description="Weights by id: null, an id, a list of ids, or a map.",
        extra_json_schema={"$ref": "#/components/schemas/Group"},
    ),
]
"""A group as JSON values; `flowtrade.models.group.parse_group` reads it."""


class CreatePortfolio(Model, frozen=True, kw_only=True):
    """The body of `POST /portfolio`; all keys are required.

    Attributes:
        app_data: The application's own data, never changed afterwards.
        demand: Weights over the bidder's demands.
        basis: Weights over products.
    """

    app_data: Any
    demand: GroupJson
    basis: GroupJson


class PatchPortfolio(Model, frozen=True, kw_only=True):
    """The body of `PATCH /portfolio/{id}`.

    Attributes:
        demand: None or missing keeps the group, `{}` or `[]` clears it.
        basis: Likewise.
    """

    demand: GroupJson = None
    basis: GroupJson = None


class PortfolioRecord(Model, frozen=True, kw_only=True):
    """A portfolio as of some moment; all keys are always present.

    Attributes:
        id: The portfolio.
        valid_from: The latest start of its parts.
        valid_until: The earliest end of its parts, or None.
        app_data: What the application stored with it.
        bidder_id: Its owner, who never changes.
        demand: Weights by demand, or None if empty.
        basis: Weights by product, or None if empty.
    """

    id: Id
    valid_from: Rfc3339
    valid_until: Rfc3339 | None
    app_data: Any
    bidder_id: Id
    demand: dict[str, float] | None
    basis: dict[str, float] | None
