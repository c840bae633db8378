"""Live clients whose requests get no answer, from the simulated venues."""

import itertools

import pytest
import trio

from integration.errors import UnknownOutcome, WebSocket
from integration.execution import (
    OrderNotPlaced,
    OrderRequestCancel,
    OrderState,
    UnknownOrder,
)
from integration.execution import live as live_module
from integration.execution.instrument_map import InstrumentMap
from integration.execution.live import LiveClient
from integration.testing.private import PrivateFault


class Mute:
    """A venue that answers no request, and questions as told."""

    recv_window = 5.0

    def __init__(self, instrument, *answers):
        self.instruments = InstrumentMap(instrument.exchange, [instrument])
        self.answers = itertools.cycle(answers)
        self.asked = []

    def now_ns(self):
        return 0

    def check(self, request):
        pass

    async def place(self, request):
        raise UnknownOutcome("no answer", client_order_id=request.key.cid)

    cancel = place

    async def order(self, key, order_id):
        self.asked.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_an_answer_that_was_overtaken_takes_nothing_back(kit):
    filled = kit.order(filled="0.5", time=5)
    client = LiveClient(Mute(kit.spot(), filled, kit.order(filled="0", time=1)))

    assert await client.fetch_order(kit.key()) == filled
    assert await client.fetch_order(kit.key()) == filled


async def test_an_order_is_asked_for_less_and_less_often(kit, autojump_clock):
    venue = Mute(kit.spot(), UnknownOrder("none"))
    began = trio.current_time()

    with pytest.raises(OrderNotPlaced):
        await LiveClient(venue).open_order(kit.limit())

    # Until the venue would refuse it as too old, and a second for what was on its way.
    pauses = [0, 0.1, 0.3, 0.7, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
    assert [at - began for at in venue.asked] == pytest.approx(pauses)


async def test_only_questions_that_fail_in_a_row_are_given_up(kit, autojump_clock):
    failures = [WebSocket("not now")] * 4
    venue = Mute(kit.spot(), *failures, UnknownOrder("none"))

    with pytest.raises(OrderNotPlaced):
        await LiveClient(venue).open_order(kit.limit())

    assert len(venue.asked) == 10


async def test_a_cancellation_is_asked_for_less_and_less_often(kit, autojump_clock):
    venue = Mute(kit.spot(), WebSocket("not now"))
    client = LiveClient(venue)
    client.ledger.submit(kit.limit())
    began = trio.current_time()

    with pytest.raises(UnknownOutcome):
        await client.cancel_order(OrderRequestCancel(kit.key()))

    assert [at - began for at in venue.asked] == pytest.approx([0, 0.1, 0.3, 0.7, 1.5])


@pytest.mark.parametrize(
    "fault",
    [PrivateFault.LOSE_ANSWER, PrivateFault.SERVER_ERROR, PrivateFault.TIMEOUT_CODE],
)
async def test_an_order_without_an_answer_is_found_by_its_name(house, fault):
    client = house.client()
    house.venue.inject(fault)

    order = await client.open_order(house.limit(price="90"))

    assert order.state is OrderState.OPEN
    assert house.placed() == 1, "an order must never be sent twice"
    assert len(house.engine.open_orders("ann")) == 1


async def test_an_order_that_never_came_is_proved_not_placed(house, monkeypatch):
    monkeypatch.setattr(live_module, "_MARGIN", 0.0)
    client = house.client(window=200)
    house.venue.inject(PrivateFault.LOSE_REQUEST)
    began = trio.current_time()

    with pytest.raises(OrderNotPlaced) as caught:
        await client.open_order(house.limit(price="90"))

    assert trio.current_time() - began >= 0.2, "it might still have come"
    assert isinstance(caught.value.__cause__, UnknownOutcome)
    assert client.ledger.order("a").state is OrderState.REJECTED
    assert house.placed() == 1


async def test_what_asking_cannot_settle_stays_unknown(house, monkeypatch):
    monkeypatch.setattr(live_module, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(live_module, "_LONGEST_WAIT", 0.001)
    client = house.client()
    house.venue.inject(PrivateFault.LOSE_ANSWER)
    house.venue.inject(PrivateFault.LOSE_QUERY, 1000)

    with pytest.raises(UnknownOutcome) as caught:
        await client.open_order(house.limit(price="90"))

    assert caught.value.client_order_id == "a"
    assert client.ledger.order("a").state is OrderState.UNKNOWN


async def test_a_cancellation_without_an_answer_is_looked_up(house):
    client = house.client()
    await client.open_order(house.limit(price="90"))
    house.venue.inject(PrivateFault.LOSE_ANSWER)

    order = await client.cancel_order(OrderRequestCancel(house.key()))

    assert order.state is OrderState.CANCELLED


async def test_a_cancellation_that_never_came_leaves_the_order_open(house, monkeypatch):
    monkeypatch.setattr(live_module, "_MARGIN", 0.0)
    client = house.client(window=200)
    await client.open_order(house.limit(price="90"))
    house.venue.inject(PrivateFault.LOSE_REQUEST)

    order = await client.cancel_order(OrderRequestCancel(house.key()))

    assert order.state is OrderState.OPEN
    assert client.ledger.order("a").state is OrderState.OPEN


async def test_an_order_whose_sender_gave_up_is_unknown_until_told(house):
    client = house.client()
    house.venue.inject(PrivateFault.LOSE_ANSWER)

    with trio.CancelScope() as scope:
        scope.cancel()
        await client.open_order(house.limit(price="90"))
    assert client.ledger.order("a").state is OrderState.UNKNOWN


async def test_a_cancellation_whose_sender_gave_up_is_unknown_until_settled(house):
    client = house.client()
    await client.open_order(house.limit(price="90"))

    with trio.CancelScope() as scope:
        scope.cancel()
        await client.cancel_order(OrderRequestCancel(house.key()))

    assert client.ledger.order("a").state is OrderState.UNKNOWN
    assert (await client.settle_order(house.key())).state is OrderState.OPEN


async def test_what_became_of_a_cancellation_may_stay_unknown(house, monkeypatch):
    monkeypatch.setattr(live_module, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(live_module, "_LONGEST_WAIT", 0.001)
    client = house.client()
    await client.open_order(house.limit(price="90"))
    house.venue.inject(PrivateFault.LOSE_ANSWER)
    house.venue.inject(PrivateFault.LOSE_QUERY, 1000)

    with pytest.raises(UnknownOutcome):
        await client.cancel_order(OrderRequestCancel(house.key()))

    assert client.ledger.order("a").state is OrderState.UNKNOWN


async def test_an_order_can_be_asked_for_by_either_name(house):
    client = house.client()
    placed = await client.open_order(house.limit(price="90"))

    assert await client.fetch_order(house.key()) == placed
    assert await client.fetch_order(house.key(), placed.id) == placed
    with pytest.raises(UnknownOrder):
        await client.fetch_order(house.key("nobody"))


@pytest.mark.parametrize("came", [True, False])
async def test_an_unknown_order_can_be_settled_later(house, monkeypatch, came):
    monkeypatch.setattr(live_module, "_MARGIN", 0.0)
    client = house.client(window=200)
    with trio.CancelScope() as scope:
        scope.cancel()
        await client.open_order(house.limit(price="90"))
    if came:
        await house.client().open_order(house.limit(price="90"))
        assert (await client.settle_order(house.key())).state is OrderState.OPEN
        return

    with pytest.raises(OrderNotPlaced):
        await client.settle_order(house.key())
    assert client.ledger.order("a").state is OrderState.REJECTED
