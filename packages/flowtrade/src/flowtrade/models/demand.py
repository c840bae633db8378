"""Demands: a bidder's curve over time, and the requests that change it."""

from typing import Annotated, Any, TypeAlias

import msgspec

from flowtrade.models.ids import Id
from flowtrade.models.time import Rfc3339
from netcore.models import Model

__all__ = ["CreateDemand", "CurveJson", "DemandRecord"]

CurveJson: TypeAlias = Annotated[
    Any,
    msgspec.Meta(
        description="A demand curve: null, a list of points, or a constant.",
        extra_json_schema={"$ref": "#/components/schemas/Curve"},
    ),
]
"""A curve as JSON values; `flowtrade.models.curve.parse_curve` reads it."""


class CreateDemand(Model, frozen=True, kw_only=True):
    """The body of `POST /demand`; both keys are required.

    Attributes:
        app_data: The application's own data, never changed afterwards.
        curve_data: The curve, or None to start inactive.
    """

    app_data: Any
    curve_data: CurveJson


class DemandRecord(Model, frozen=True, kw_only=True):
    """A demand as of some moment; all keys are always present.

    Attributes:
        id: The demand.
        valid_from: When its curve became this one.
        valid_until: When the curve was replaced, or None.
        bidder_id: Its owner, who never changes.
        app_data: What the application stored with it.
        curve_data: The curve, None while inactive.
        portfolios: Weights by portfolio that uses it, or None.
    """

    id: Id
    valid_from: Rfc3339
    valid_until: Rfc3339 | None
    bidder_id: Id
    app_data: Any
    curve_data: CurveJson
    portfolios: dict[str, float] | None
