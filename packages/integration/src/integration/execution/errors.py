"""How trading fails: what we must not send, and what a venue says no to.

::

    LocalError
    ├── InvalidOrder               an order that the venue's filters would refuse
    ├── UnknownInstrument          a name that the client was given no terms of
    └── IllegalTransition          an event that an order in this state cannot have
    Exchange
    └── OrderError                 the venue's no to one order; it had no effect
        ├── OrderRejected
        │   ├── InsufficientBalance
        │   ├── PostOnlyWouldCross
        │   ├── DuplicateOrder     the client order id is in use
        │   ├── InstrumentInvalid  the venue does not list it, or has closed it
        │   └── FilterFailed       the venue's filters are not the ones we know
        ├── UnknownOrder           no order has this name
        └── OrderAlreadyClosed     nothing is left to cancel
    RemoteError
    └── OrderNotPlaced             nobody answered, and the order provably never came

Elsewhere in the tree, and used as they are: `RateLimited`, `Unauthorised`,
`ClockSkew`, `Maintenance` (nothing was done) and `UnknownOutcome` (nobody knows, and
asking did not help either).
"""

from decimal import Decimal
from enum import StrEnum
from typing import final

from integration.errors import Exchange, LocalError, RemoteError, Scope

__all__ = [
    "DuplicateOrder",
    "FilterFailed",
    "IllegalTransition",
    "InstrumentInvalid",
    "InsufficientBalance",
    "InvalidOrder",
    "OrderAlreadyClosed",
    "OrderError",
    "OrderNotPlaced",
    "OrderRejected",
    "OrderRule",
    "PostOnlyWouldCross",
    "UnknownInstrument",
    "UnknownOrder",
]


class OrderRule(StrEnum):
    """Which of a venue's rules an order breaks."""

    PRICE_MIN = "price_min"
    PRICE_MAX = "price_max"
    PRICE_TICK = "price_tick"
    QUANTITY_MIN = "quantity_min"
    QUANTITY_MAX = "quantity_max"
    QUANTITY_STEP = "quantity_step"
    NOTIONAL_MIN = "notional_min"
    CLIENT_ORDER_ID = "client_order_id"
    UNSUPPORTED = "unsupported"
    """The venue, or our client of it, has no such kind of order."""


@final
class InvalidOrder(LocalError):
    """An order that the venue would refuse; it was not sent.

    Attributes:
        rule: Which rule it breaks.
        value: What the order says.
        limit: What the rule admits.
    """

    def __init__(
        self, rule: OrderRule, value: Decimal | str, limit: Decimal | str
    ) -> None:
        super().__init__(
            f"the order was not sent: {rule} admits {limit}, was {value}; "
            "round it (integration.execution.rules) or change the order"
        )
        self.rule = rule
        self.value = value
        self.limit = limit


@final
class UnknownInstrument(LocalError):
    """The client has no terms of an instrument, so it cannot name or check it.

    Attributes:
        instrument: The name that was looked up.
    """

    def __init__(self, instrument: str) -> None:
        super().__init__(
            f"no terms of {instrument!r} are known; load them "
            "(integration.instruments) and give them to the client"
        )
        self.instrument = instrument


@final
class IllegalTransition(LocalError):
    """An event came that an order in this state cannot have: our picture is wrong."""

    scope = Scope.INSTRUMENT


class OrderError(Exchange):
    """A venue said no to something about one order; the request had no effect."""


class OrderRejected(OrderError):
    """The venue did not take the order."""


class InsufficientBalance(OrderRejected):
    """The account cannot pay for the order."""


class PostOnlyWouldCross(OrderRejected):
    """A post-only order would have taken liquidity."""


class DuplicateOrder(OrderRejected):
    """The client order id names another order."""


class InstrumentInvalid(OrderRejected):
    """The venue does not list the instrument, or does not trade it now."""


class FilterFailed(OrderRejected):
    """The order breaks a filter of the venue; reload the instrument's terms."""


class UnknownOrder(OrderError):
    """No order of this account has this name."""


class OrderAlreadyClosed(OrderError):
    """The order is filled, cancelled or expired: nothing is left to cancel."""


@final
class OrderNotPlaced(RemoteError):
    """No answer came, and the venue has no such order, nor can it still take it.

    Sending the order again, under a new name, is safe.

    Attributes:
        client_order_id: What the order was named.
    """

    scope = Scope.INSTRUMENT

    def __init__(self, client_order_id: str) -> None:
        super().__init__(
            f"order {client_order_id!r} was never placed: the venue does not know it "
            "and would refuse it now for its age"
        )
        self.client_order_id = client_order_id
