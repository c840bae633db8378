"""Updates: what the event streams carry.

Each Struct is the `data` of one server-sent event; `EVENTS` names the event types.
"""

from typing import Final

import msgspec

from flowtrade.models.batch import BatchStatus, ProductResult
from flowtrade.models.clearing import (
    Certificate,
    RatePrice,
    SetAside,
    SolverReport,
)
from flowtrade.models.ids import Id
from flowtrade.models.time import Rfc3339
from netcore.models import Model

__all__ = [
    "BatchUpdate",
    "BidderUpdate",
    "BookUpdate",
    "GapUpdate",
    "ProductUpdate",
    "PublishedBid",
    "ReferenceUpdate",
    "Update",
]


class PublishedBid(Model, frozen=True, kw_only=True):
    """One portfolio in the public book (settings: `transparency = "book"`).

    Attributes:
        portfolio: Its id.
        name: Its name, where its app_data has one.
        bidder: Its owner.
        basis: What it trades, in today's leaf products.
        rate: Its rate, positive buys.
        price: Its price per unit of portfolio.
    """

    portfolio: Id
    name: str | None
    bidder: Id
    basis: dict[str, float]
    rate: float
    price: float | None


class BatchUpdate(Model, frozen=True, kw_only=True, omit_defaults=True):
    """`event: batch` of `GET /updates`.

    Attributes:
        as_of: The batch.
        seq: Its number; consecutive, so a gap shows.
        status: Whether there are prices.
        gains: Gains from trade, in money per unit of time.
        rate_unit: Seconds in the unit of time of rates and gains; an hour if absent.
        products: Results by product.
        report: The solver's report.
        certificate: The residuals.
        error: Why it failed.
        set_aside: The orders that it was cleared without, and why; absent if none.
        bids: The public book, absent where only prices are public; of a long book
            the first entries.
        book: How many entries a long book has; the others follow as `book` events.
    """

    as_of: Rfc3339
    seq: int
    status: BatchStatus
    gains: float | None
    rate_unit: float = 3600.0
    products: dict[str, ProductResult]
    report: SolverReport | None
    certificate: Certificate | None
    error: str | msgspec.UnsetType = msgspec.UNSET
    set_aside: list[SetAside] | msgspec.UnsetType = msgspec.UNSET
    bids: list[PublishedBid] | msgspec.UnsetType = msgspec.UNSET
    book: int | msgspec.UnsetType = msgspec.UNSET


class BookUpdate(Model, frozen=True, kw_only=True):
    """`event: book` of `GET /updates`: more of the public book of the last batch.

    Attributes:
        as_of: The batch.
        seq: Its number.
        start: How many entries came before.
        bids: The next ones.
    """

    as_of: Rfc3339
    seq: int
    start: int
    bids: list[PublishedBid]


class ReferenceUpdate(Model, frozen=True, kw_only=True):
    """`event: reference` of `GET /updates`: reference prices that changed.

    Attributes:
        time: The latest of the prices' times.
        mids: Price by product; null where it may not be believed any more.
    """

    time: Rfc3339
    mids: dict[str, float | None]


class ProductUpdate(Model, frozen=True, kw_only=True):
    """`event: outcome` of `GET /product/{id}/updates`."""

    as_of: Rfc3339
    seq: int
    price: float | None
    rate: float
    reference: float | None


class BidderUpdate(Model, frozen=True, kw_only=True):
    """`event: outcome` of `GET /bidder/updates`: the bidder's portfolios.

    Attributes:
        as_of: The batch.
        seq: Its number.
        portfolios: What each of them got.
        set_aside: Those that the batch was cleared without, and why; absent if none.
    """

    as_of: Rfc3339
    seq: int
    portfolios: dict[str, RatePrice]
    set_aside: list[SetAside] | msgspec.UnsetType = msgspec.UNSET


class GapUpdate(Model, frozen=True, kw_only=True):
    """`event: gap`: events were lost; read the current state again.

    Attributes:
        after: The id the client named.
        oldest: The oldest id that can still be replayed, or None if there is none.
    """

    after: int
    oldest: int | None


Update = (
    BatchUpdate
    | BookUpdate
    | ReferenceUpdate
    | ProductUpdate
    | BidderUpdate
    | GapUpdate
)

EVENTS: Final[dict[type, str]] = {
    BatchUpdate: "batch",
    BookUpdate: "book",
    ReferenceUpdate: "reference",
    ProductUpdate: "outcome",
    BidderUpdate: "outcome",
    GapUpdate: "gap",
}
"""The name of the server-sent event that carries each update."""
