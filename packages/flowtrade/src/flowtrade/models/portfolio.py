"""Portfolios: weighted demands over weighted products, and requests about them."""

import math
from typing import Annotated, Any, TypeAlias

import msgspec

from flowtrade.models.ids import Id
from flowtrade.models.time import Rfc3339
from netcore.models import Model

__all__ = [
    "CreatePortfolio",
    "GroupJson",
    "PatchPortfolio",
    "PortfolioRecord",
    "PositionRecord",
    "TradeCap",
]

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


class TradeCap(Model, frozen=True, kw_only=True, gc=False):
    """How much a portfolio may trade in total, over all batches.

    Quantities, that is rate times time in the service's unit (an hour by default).
    Whatever was traded before counts.

    Attributes:
        min_trade: Lowest total, None for no limit; a seller's is negative.
        max_trade: Highest total, None for no limit.

    Raises:
        ValueError: A limit is not finite, or they are the wrong way round.
    """

    min_trade: float | None = None
    max_trade: float | None = None

    def __post_init__(self) -> None:
        low, high = self.min_trade, self.max_trade
        if not all(math.isfinite(limit) for limit in (low, high) if limit is not None):
            raise ValueError("a limit of trade is a finite number or null")
        if low is not None and high is not None and low > high:
            raise ValueError(
                f"min_trade must not exceed max_trade, was {low:g} and {high:g}"
            )


class PositionRecord(Model, frozen=True, kw_only=True):
    """What a portfolio has traded, and how much it may.

    Attributes:
        id: The portfolio.
        as_of: The moment.
        traded: Total quantity until then; positive was bought.
        rate: The rate at which it trades now.
        cap: Its limits, or None.
    """

    id: Id
    as_of: Rfc3339
    traded: float
    rate: float
    cap: TradeCap | None


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
