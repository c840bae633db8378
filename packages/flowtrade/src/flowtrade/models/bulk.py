"""Bulk requests: many changes in one body, one JSON value a line.

Each line is carried out on its own, in order; a refused line does not stop the
others. For changes that must happen together there is `flowtrade.models.submission`.
"""

from typing import Any, TypeAlias

import msgspec

from flowtrade.models.demand import CurveJson, DemandRecord
from flowtrade.models.ids import Id
from flowtrade.models.portfolio import GroupJson, PortfolioRecord
from netcore.models import Model

__all__ = [
    "BulkAnswer",
    "BulkCreateDemand",
    "BulkCreatePortfolio",
    "BulkLine",
    "BulkSetCurve",
    "BulkSetGroups",
]


class _Line(Model, frozen=True, kw_only=True, tag_field="op"):
    pass


class BulkCreateDemand(_Line, frozen=True, kw_only=True, tag="create_demand"):
    """Make a demand; `id` may be chosen, so that later lines can name it."""

    id: Id | msgspec.UnsetType = msgspec.UNSET
    app_data: Any
    curve_data: CurveJson


class BulkSetCurve(_Line, frozen=True, kw_only=True, tag="set_curve"):
    """Replace a demand's curve; null withdraws it."""

    id: Id
    curve_data: CurveJson


class BulkCreatePortfolio(_Line, frozen=True, kw_only=True, tag="create_portfolio"):
    """Make a portfolio."""

    id: Id | msgspec.UnsetType = msgspec.UNSET
    app_data: Any
    demand: GroupJson
    basis: GroupJson


class BulkSetGroups(_Line, frozen=True, kw_only=True, tag="set_groups"):
    """Replace one or both groups of a portfolio; null keeps, empty clears."""

    id: Id
    demand: GroupJson = None
    basis: GroupJson = None


BulkLine: TypeAlias = (
    BulkCreateDemand | BulkSetCurve | BulkCreatePortfolio | BulkSetGroups
)


class BulkAnswer(Model, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one line.

    Attributes:
        line: Its number, counted from 1.
        status: The HTTP status that the single request would have had.
        record: What it made or changed.
        code: The kind of problem.
        detail: The problem in words.
    """

    line: int
    status: int
    record: DemandRecord | PortfolioRecord | msgspec.UnsetType = msgspec.UNSET
    code: str | msgspec.UnsetType = msgspec.UNSET
    detail: str | msgspec.UnsetType = msgspec.UNSET
