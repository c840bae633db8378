"""Rights written into the token itself: for test applications, never for others.

The bearer token is a form: `bidder_id=UUID` (repeatable) and the rights that apply to
these bidders, such as `can_create_bid=true`. Whoever can write a token has any right,
so `flowtrade.serve` asks for this authorizer by name only.
"""

from typing import final
from urllib.parse import parse_qsl

from flowtrade.auth.claims import Rights
from flowtrade.errors import Unauthorized
from flowtrade.models.ids import IdError, canonical_id

__all__ = ["FormAuthorizer"]


@final
class FormAuthorizer:
    """The port `Authorizer` over self-declared rights."""

    async def authorize(self, token: str) -> Rights:
        """See `flowtrade.ports.Authorizer.authorize`."""
        try:
            fields = parse_qsl(
                token, keep_blank_values=True, strict_parsing=bool(token)
            )
            bidders = tuple(canonical_id(v) for k, v in fields if k == "bidder_id")
        except (ValueError, IdError) as error:
            raise Unauthorized("the token is no form of rights") from error
        granted = {key for key, value in fields if value == "true"}
        own = frozenset(bidders)
        return Rights(
            creates=bidders[0] if bidders and "can_create_bid" in granted else None,
            queries=bidders if "can_query_bid" in granted else (),
            reads=own if "can_read_bid" in granted else frozenset(),
            updates=own if "can_update_bid" in granted else frozenset(),
            views_products="can_view_products" in granted,
            manages_products="can_manage_products" in granted,
            runs_batch="can_run_batch" in granted,
        )
