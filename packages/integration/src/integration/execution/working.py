"""An order inside the mock exchange: the record, and what the venue knows besides.

Nothing here decides; `execution.matching` does.
"""

import itertools
from decimal import Decimal
from typing import final

import msgspec

from integration.execution.exact import EXACT
from integration.execution.models import Order, OrderId, OrderRequestOpen
from integration.execution.states import OrderState
from integration.models import AssetNameInternal, Instrument, Side
from netcore.models import Timestamp

__all__ = ["Working"]

_arrivals = itertools.count()


@final
class Working:
    """One user's order from its arrival on.

    Args:
        user: Whose.
        request: What was asked for.
        instrument: Its terms.
        order_id: The venue's name.
        now: When it arrived, ns.

    Attributes:
        order: The record as it is now.
        ahead: Displayed quantity before it in the queue at its price.
        held: What is set aside for it...
        held_asset: ... and of what...
        held_each: ... and how much for each unit of a contract.
    """

    __slots__ = (
        "_arrival",
        "ahead",
        "held",
        "held_asset",
        "held_each",
        "id",
        "instrument",
        "order",
        "user",
    )

    def __init__(
        self,
        user: str,
        request: OrderRequestOpen,
        instrument: Instrument,
        order_id: OrderId,
        now: Timestamp,
    ) -> None:
        self.user = user
        self.instrument = instrument
        self.id = order_id
        self.order = msgspec.structs.replace(
            Order.sent(request),
            id=order_id,
            time_exchange=now,
            filled_quote=Decimal(0),
        )
        self.ahead = Decimal(0)
        self.held = Decimal(0)
        self.held_each = Decimal(0)
        self.held_asset: AssetNameInternal = instrument.underlying.quote
        self._arrival = next(_arrivals)

    @property
    def price(self) -> Decimal:
        """The limit; only limit orders rest."""
        if self.order.price is None:
            raise AssertionError("a market order has no price and never rests")
        return self.order.price

    def priority(self) -> tuple[Decimal, int]:
        """Sort key: better price first, then who came first."""
        price = self.price
        buy = self.order.side is Side.BUY
        return (EXACT.minus(price) if buy else price, self._arrival)

    def admits(self, price: Decimal) -> bool:
        """Say whether the order may trade at a price."""
        limit = self.order.price
        if limit is None:
            return True
        return price <= limit if self.order.side is Side.BUY else price >= limit

    def fill(self, price: Decimal, quantity: Decimal, now: Timestamp) -> Order:
        """Add a fill and return the order."""
        order = self.order
        filled = EXACT.add(order.filled, quantity)
        cost = EXACT.multiply(price, quantity)
        whole = filled == order.quantity
        self.order = msgspec.structs.replace(
            order,
            filled=filled,
            filled_quote=EXACT.add(order.filled_quote or Decimal(0), cost),
            state=OrderState.FILLED if whole else OrderState.PARTIALLY_FILLED,
            time_exchange=now,
        )
        return self.order

    def change(self, state: OrderState, now: Timestamp, reason: str) -> None:
        """Give the order another state."""
        self.order = msgspec.structs.replace(
            self.order, state=state, time_exchange=now, reason=reason
        )
