"""Submissions: all bids of one bidder, replaced in one transaction."""

from typing import Any

import msgspec

from flowtrade.models.demand import CurveJson, DemandRecord
from flowtrade.models.ids import Id
from flowtrade.models.portfolio import GroupJson, PortfolioRecord
from flowtrade.models.time import Rfc3339
from netcore.models import Model

__all__ = [
    "Submission",
    "SubmissionRecord",
    "SubmittedDemand",
    "SubmittedPortfolio",
]


class SubmittedDemand(Model, frozen=True, kw_only=True):
    """A demand that the bidder wants to have.

    Attributes:
        id: An existing demand, or a new UUID of the bidder's choice, or absent: then
            the service makes one.
        app_data: Required for a new demand; must be absent for an existing one.
        curve_data: Required for a new demand; absent keeps an existing curve.
    """

    id: Id | msgspec.UnsetType = msgspec.UNSET
    app_data: Any = msgspec.UNSET
    curve_data: CurveJson = msgspec.UNSET


class SubmittedPortfolio(Model, frozen=True, kw_only=True):
    """A portfolio that the bidder wants to have; the same rules as for demands.

    Attributes:
        id: Existing, chosen or absent.
        app_data: Required for a new portfolio only.
        demand: Weights over demands, which may be new in the same submission.
        basis: Weights over products.
    """

    id: Id | msgspec.UnsetType = msgspec.UNSET
    app_data: Any = msgspec.UNSET
    demand: GroupJson = msgspec.UNSET
    basis: GroupJson = msgspec.UNSET


class Submission(Model, frozen=True, kw_only=True):
    """The body of `PUT /submission`: whatever it does not list is stopped.

    Attributes:
        demands: All demands that shall be active.
        portfolios: All portfolios that shall be active.
    """

    demands: list[SubmittedDemand] = msgspec.field(default_factory=list)
    portfolios: list[SubmittedPortfolio] = msgspec.field(default_factory=list)


class SubmissionRecord(Model, frozen=True, kw_only=True):
    """A bidder's active bids.

    Attributes:
        as_of: The moment they were read, or the moment they were written.
        demands: Demands with a curve.
        portfolios: Portfolios with a demand or a basis.
    """

    as_of: Rfc3339
    demands: list[DemandRecord]
    portfolios: list[PortfolioRecord]
