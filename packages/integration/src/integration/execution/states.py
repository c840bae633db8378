"""The life of an order, as a table.

::

                 ┌──────────── UNKNOWN ◀─── no answer ───┐
                 ▼                                       │
    OPEN_IN_FLIGHT ──▶ OPEN ──▶ PARTIALLY_FILLED ──▶ FILLED
          │             │  ▲             │
          │             ▼  │ refused     ▼
          │          CANCEL_IN_FLIGHT ──▶ CANCELLED
          └──▶ REJECTED          EXPIRED ◀── the venue ended it

Answers and the private stream race each other, so that an order may be seen filled
before it is acknowledged: what is late changes nothing (a row back to the same
state). What is impossible is not in the table, and `after` refuses it.
"""

from enum import StrEnum
from types import MappingProxyType

from integration.execution.errors import IllegalTransition

__all__ = ["TRANSITIONS", "OrderEvent", "OrderState", "after"]


class OrderState(StrEnum):
    """Where an order is in its life."""

    OPEN_IN_FLIGHT = "open_in_flight"
    """Sent, not answered."""
    OPEN = "open"
    """Resting, nothing filled."""
    PARTIALLY_FILLED = "partially_filled"
    """Resting, a part filled."""
    CANCEL_IN_FLIGHT = "cancel_in_flight"
    """Its cancellation is sent, not answered; fills may still come."""
    UNKNOWN = "unknown"
    """No answer came: it may or may not exist."""
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Ended by the venue: the rest of an IOC, an unfilled FOK, the end of trading."""
    REJECTED = "rejected"
    """Never taken."""

    @property
    def closed(self) -> bool:
        """Whether nothing more can happen to the order."""
        return self in _CLOSED

    @property
    def resting(self) -> bool:
        """Whether it is known to be in the venue's book."""
        return self in _RESTING


_CLOSED = frozenset(
    {
        OrderState.FILLED,
        OrderState.CANCELLED,
        OrderState.EXPIRED,
        OrderState.REJECTED,
    }
)
_RESTING = frozenset(
    {OrderState.OPEN, OrderState.PARTIALLY_FILLED, OrderState.CANCEL_IN_FLIGHT}
)


class OrderEvent(StrEnum):
    """What happens to an order."""

    ACKNOWLEDGED = "acknowledged"
    """The venue has it in its book."""
    FILLED_PARTLY = "filled_partly"
    FILLED_WHOLLY = "filled_wholly"
    CANCEL_SENT = "cancel_sent"
    CANCEL_REFUSED = "cancel_refused"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    """The venue refused it, or provably never had it."""
    UNANSWERED = "unanswered"
    """Nobody knows what became of the last request."""


def _table() -> dict[tuple[OrderState, OrderEvent], OrderState]:
    s, e = OrderState, OrderEvent
    waiting = {  # nothing is known of it yet, so anything may turn out
        e.ACKNOWLEDGED: s.OPEN,
        e.FILLED_PARTLY: s.PARTIALLY_FILLED,
        e.FILLED_WHOLLY: s.FILLED,
        e.CANCELLED: s.CANCELLED,
        e.EXPIRED: s.EXPIRED,
        e.REJECTED: s.REJECTED,
        e.UNANSWERED: s.UNKNOWN,
        e.CANCEL_SENT: s.CANCEL_IN_FLIGHT,
    }
    resting = {
        e.FILLED_PARTLY: s.PARTIALLY_FILLED,
        e.FILLED_WHOLLY: s.FILLED,
        e.CANCEL_SENT: s.CANCEL_IN_FLIGHT,
        e.CANCELLED: s.CANCELLED,
        e.EXPIRED: s.EXPIRED,
    }
    rows: dict[OrderState, dict[OrderEvent, OrderState]] = {
        s.OPEN_IN_FLIGHT: waiting,
        s.UNKNOWN: {**waiting, e.CANCEL_REFUSED: s.UNKNOWN},
        # A late "refused" is about a cancellation that no longer matters.
        s.OPEN: {**resting, e.ACKNOWLEDGED: s.OPEN, e.CANCEL_REFUSED: s.OPEN},
        s.PARTIALLY_FILLED: {
            **resting,
            e.ACKNOWLEDGED: s.PARTIALLY_FILLED,
            e.CANCEL_REFUSED: s.PARTIALLY_FILLED,
        },
        s.CANCEL_IN_FLIGHT: {
            **resting,
            e.ACKNOWLEDGED: s.CANCEL_IN_FLIGHT,
            e.FILLED_PARTLY: s.CANCEL_IN_FLIGHT,
            e.CANCEL_REFUSED: s.OPEN,
            e.UNANSWERED: s.UNKNOWN,
            # The order was still on its way when its cancellation left.
            e.REJECTED: s.REJECTED,
        },
        s.FILLED: _late(s.FILLED),
        # A fill may be reported after the cancellation that it came before; if it was
        # the rest of the order, there was nothing left to cancel.
        s.CANCELLED: {**_late(s.CANCELLED), e.FILLED_WHOLLY: s.FILLED},
        s.EXPIRED: {**_late(s.EXPIRED), e.FILLED_WHOLLY: s.FILLED},
        s.REJECTED: {
            e.REJECTED: s.REJECTED,
            e.CANCEL_SENT: s.REJECTED,
            e.CANCEL_REFUSED: s.REJECTED,
            e.UNANSWERED: s.REJECTED,
        },
    }
    return {
        (state, event): then
        for state, row in rows.items()
        for event, then in row.items()
    }


def _late(state: OrderState) -> dict[OrderEvent, OrderState]:
    """Return the row of a closed order: what is late changes nothing."""
    late = dict.fromkeys(OrderEvent, state)
    # A venue that took an order cannot have refused it.
    del late[OrderEvent.REJECTED]
    return late


TRANSITIONS = MappingProxyType(_table())
"""Every transition that can be; a pair that is missing cannot."""


def after(state: OrderState, event: OrderEvent) -> OrderState:
    """Return the state that follows.

    Raises:
        IllegalTransition: An order in this state cannot have this event.
    """
    then = TRANSITIONS.get((state, event))
    if then is None:
        raise IllegalTransition(
            f"an order that is {state} cannot be {event}: ask the venue for its state"
        )
    return then
