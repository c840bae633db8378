import itertools

import pytest

from integration.execution import (
    TRANSITIONS,
    IllegalTransition,
    OrderEvent,
    OrderState,
    after,
)


def path(*events):
    state = OrderState.OPEN_IN_FLIGHT
    for event in events:
        state = after(state, event)
    return state


def test_the_ordinary_life_of_an_order():
    e = OrderEvent

    assert path(e.ACKNOWLEDGED) is OrderState.OPEN
    assert path(e.ACKNOWLEDGED, e.FILLED_PARTLY) is OrderState.PARTIALLY_FILLED
    assert path(e.ACKNOWLEDGED, e.FILLED_PARTLY, e.FILLED_WHOLLY) is OrderState.FILLED
    assert path(e.ACKNOWLEDGED, e.CANCEL_SENT) is OrderState.CANCEL_IN_FLIGHT
    assert path(e.ACKNOWLEDGED, e.CANCEL_SENT, e.CANCELLED) is OrderState.CANCELLED
    assert path(e.REJECTED) is OrderState.REJECTED
    assert path(e.EXPIRED) is OrderState.EXPIRED


def test_an_unanswered_order_may_turn_out_to_be_anything():
    for event, state in (
        (OrderEvent.ACKNOWLEDGED, OrderState.OPEN),
        (OrderEvent.FILLED_WHOLLY, OrderState.FILLED),
        (OrderEvent.REJECTED, OrderState.REJECTED),
    ):
        assert path(OrderEvent.UNANSWERED, event) is state


def test_a_late_acknowledgement_changes_nothing():
    assert path(OrderEvent.FILLED_WHOLLY, OrderEvent.ACKNOWLEDGED) is OrderState.FILLED
    assert (
        path(OrderEvent.FILLED_PARTLY, OrderEvent.ACKNOWLEDGED)
        is OrderState.PARTIALLY_FILLED
    )


def test_fills_come_through_a_cancellation_in_flight():
    cancelling = path(OrderEvent.ACKNOWLEDGED, OrderEvent.CANCEL_SENT)

    assert after(cancelling, OrderEvent.FILLED_PARTLY) is OrderState.CANCEL_IN_FLIGHT
    assert after(cancelling, OrderEvent.FILLED_WHOLLY) is OrderState.FILLED


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (OrderState.OPEN, OrderEvent.REJECTED),
        (OrderState.FILLED, OrderEvent.REJECTED),
        (OrderState.REJECTED, OrderEvent.FILLED_PARTLY),
        (OrderState.REJECTED, OrderEvent.ACKNOWLEDGED),
    ],
)
def test_what_cannot_be_is_refused_by_name(state, event):
    with pytest.raises(IllegalTransition, match=f"{state} cannot be {event}"):
        after(state, event)


def test_a_closed_order_never_opens_again():
    for state, event in itertools.product(OrderState, OrderEvent):
        if state.closed and (state, event) in TRANSITIONS:
            assert TRANSITIONS[state, event].closed


def test_every_state_can_be_reached_and_every_open_one_can_end():
    reached, todo = set(), [OrderState.OPEN_IN_FLIGHT]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += [then for (at, _), then in TRANSITIONS.items() if at is state]

    assert reached == set(OrderState)
    for state in OrderState:
        if not state.closed:
            ends = {t for (at, _), t in TRANSITIONS.items() if at is state}
            assert any(end.closed for end in ends)


def test_resting_and_closed_exclude_each_other():
    assert not any(state.resting and state.closed for state in OrderState)
