"""Batches: what one auction decided, how it was proved, how to find it again."""

from enum import StrEnum

import msgspec

from flowtrade.models.clearing import (
    Certificate,
    RatePrice,
    SetAside,
    SolverReport,
)
from flowtrade.models.page import More
from flowtrade.models.time import Rfc3339
from netcore.models import Model

__all__ = [
    "BatchPage",
    "BatchRecord",
    "BatchStatus",
    "BidderBatch",
    "DemandAccount",
    "PortfolioAccount",
    "ProductResult",
]


class BatchStatus(StrEnum):
    """How a batch ended."""

    CLEARED = "cleared"
    FAILED = "failed"


class ProductResult(RatePrice, frozen=True, kw_only=True, gc=False):
    """The outcome of a product as it is published.

    Attributes:
        reference: The reference price (an exchange's mid) when the batch was cut.
        name: The product's name, where its app_data has one.
        unique: Whether the optimum supports this price alone; None where that was
            not determined.
        price_min: Lowest price that the optimum supports; None if unlimited or not
            determined.
        price_max: Highest such price, likewise.
    """

    reference: float | None
    name: str | None
    unique: bool | None = None
    price_min: float | None = None
    price_max: float | None = None


class BatchRecord(Model, frozen=True, kw_only=True):
    """One batch, as stored and as `GET /batch/{as_of}` answers it.

    Attributes:
        as_of: The moment whose demands and portfolios were cleared; unique.
        seq: 1 for the first batch of a store, then without gap.
        scheduled: The grid point it was run for; if asked for by hand, the moment at
            which its idempotency key was used first, or None without a key.
        status: Whether there are prices.
        gains: Gains from trade, None if failed.
        products: Results by product; empty if failed.
        demands: How many active demands were gathered.
        portfolios: How many active portfolios were gathered.
        report: The solver's report (its own words kept).
        certificate: The residuals of the independent check.
        input_hash: SHA-256 of the gathered input, hexadecimal.
        outcome_hash: SHA-256 of all outcomes, hexadecimal; None if failed.
        targets: The prices that ambiguous prices were drawn to.
        error: Why it failed, in one sentence.
        orders: The orders that the failure names, such as crossing unlimited ones.
        set_aside: The orders that it was cleared without, since with their numbers
            nothing could be certified, by id. Their outcome is a rate of zero.
        horizon: Seconds that its rates were expected to hold, for trade caps; None if
            there were to be no caps.
        rate_unit: Seconds in the unit of time of its quantities; None for a batch of a
            version that did not note it, nor the horizon.
    """

    as_of: Rfc3339
    seq: int
    scheduled: Rfc3339 | None
    status: BatchStatus
    gains: float | None
    products: dict[str, ProductResult]
    demands: int
    portfolios: int
    report: SolverReport | None
    certificate: Certificate | None
    input_hash: str
    outcome_hash: str | None
    targets: dict[str, float]
    error: str | None = None
    orders: list[str] = msgspec.field(default_factory=list)
    set_aside: list[SetAside] = msgspec.field(default_factory=list)
    horizon: float | None = None
    rate_unit: float | None = None


class BatchPage(Model, frozen=True, kw_only=True):
    """The reply of `GET /batch`: batches newest first.

    Attributes:
        results: At most one page of batches.
        more: Present if and only if older batches exist.
    """

    results: list[BatchRecord]
    more: More | msgspec.UnsetType = msgspec.UNSET


class PortfolioAccount(RatePrice, frozen=True, kw_only=True, gc=False):
    """What one portfolio of a bidder got in a batch.

    Attributes:
        payment: Money per unit of time that it pays, price x rate; negative receives.
        set_aside: Why the batch was cleared without it, or None if it was not.
    """

    payment: float
    set_aside: SetAside | None = None


class DemandAccount(Model, frozen=True, kw_only=True, gc=False):
    """What one demand of a bidder got in a batch.

    Attributes:
        rate: Net rate over the portfolios that use it.
        utility: What this rate is worth to the bidder by its curve, money per unit of
            time.
    """

    rate: float
    utility: float


class BidderBatch(Model, frozen=True, kw_only=True):
    """A bidder's own side of a batch, the reply of `GET /batch/{as_of}/bids`.

    Attributes:
        as_of: The batch.
        seq: Its number.
        portfolios: By portfolio that took part.
        demands: By demand that took part.
        utility: Sum over the demands.
        payment: Sum over the portfolios.
        surplus: What the bidder gains, utility less payment. The surpluses of all
            bidders add up to the batch's gains from trade.
    """

    as_of: Rfc3339
    seq: int
    portfolios: dict[str, PortfolioAccount]
    demands: dict[str, DemandAccount]
    utility: float
    payment: float
    surplus: float
