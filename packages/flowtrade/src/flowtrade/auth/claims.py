"""What a token says, read strictly, and the rights that follow.

A bidder is its id, in `sub`. `admin` must be JSON `true`: the string "false" is true
to Python, so nothing is converted.
"""

from typing import Annotated, final
from uuid import UUID

import msgspec

from flowtrade.models.ids import Id
from netcore.models import Timestamp

__all__ = ["Claims", "Rights"]

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=9_000_000_000)]
# NumericDate, RFC 7519 §2, up to the year 2255: what int64 nanoseconds hold.


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims that this service reads; others are none of its business.

    Attributes:
        sub: The bidder, or None for a token that only administers.
        admin: Whether the bearer manages products and runs batches.
        exp: Unix seconds from when on the token is void.
        nbf: Unix seconds before which it is void.
        iat: Unix seconds at which it was made.
        iss: Who made it.
        aud: Whom it is for.
        jti: Its id, by which it can be revoked.
    """

    sub: UUID | None = None
    admin: bool = False
    exp: _Seconds | None = None
    nbf: _Seconds | None = None
    iat: _Seconds | None = None
    iss: str | None = None
    aud: str | list[str] | None = None
    jti: str | None = None


@final
class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """The port `Grant` as plain sets.

    Attributes:
        creates: The bidder that new bids belong to.
        queries: The bidders whose bids may be listed.
        reads: The bidders whose bids may be read.
        updates: The bidders whose bids may be changed.
        views_products: Whether products may be read.
        manages_products: Whether products may be made and divided.
        runs_batch: Whether a batch may be run.
        expires: When the rights end, or None.
    """

    creates: Id | None = None
    queries: tuple[Id, ...] = ()
    reads: frozenset[Id] = frozenset()
    updates: frozenset[Id] = frozenset()
    views_products: bool = False
    manages_products: bool = False
    runs_batch: bool = False
    expires: Timestamp | None = None

    def can_create_bid(self) -> Id | None:
        """See `flowtrade.ports.Grant`."""
        return self.creates

    def can_query_bid(self) -> tuple[Id, ...]:
        """See `flowtrade.ports.Grant`."""
        return self.queries

    def can_read_bid(self, bidder: Id) -> bool:
        """See `flowtrade.ports.Grant`."""
        return bidder in self.reads

    def can_update_bid(self, bidder: Id) -> bool:
        """See `flowtrade.ports.Grant`."""
        return bidder in self.updates

    def can_view_products(self) -> bool:
        """See `flowtrade.ports.Grant`."""
        return self.views_products

    def can_manage_products(self) -> bool:
        """See `flowtrade.ports.Grant`."""
        return self.manages_products

    def can_run_batch(self) -> bool:
        """See `flowtrade.ports.Grant`."""
        return self.runs_batch
