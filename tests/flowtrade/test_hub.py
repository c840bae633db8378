"""Fan-out: order, replay, slow clients, the end."""

import pytest
import trio
import trio.testing

from flowtrade.hub import Hub, SubscriptionState
from flowtrade.models.batch import BatchStatus
from flowtrade.models.update import BatchUpdate, BookUpdate, ReferenceUpdate
from flowtrade.sse import EventParser
from netcore.clock import ManualClock

MARKET = ("market", "")
TIME = "2026-01-01T00:00:00Z"


def update(number):
    return ReferenceUpdate(time=TIME, mids={"p": float(number)})


def numbers(data):
    events = EventParser().feed(data)
    return [
        e.name if e.name == "gap" else int(e.data.split(":")[-1][:-4]) for e in events
    ]


def ids(data):
    return [int(event.id) for event in EventParser().feed(data)]


@pytest.fixture
def hub():
    return Hub(clock=ManualClock(), replay=4, queue=3)


async def test_all_subscribers_of_a_topic_get_the_same_events_in_order(hub):
    with (
        hub.subscribe(MARKET) as a,
        hub.subscribe(MARKET) as b,
        hub.subscribe(("product", "x")) as other,
    ):
        for number in (1, 2):
            hub.publish(MARKET, update(number))
        hub.publish(("product", "x"), update(9))

        first = await a.receive()
        assert numbers(first) == [1, 2]
        assert await b.receive() == first
        assert numbers(await other.receive()) == [9]

    assert hub.clients == 0


async def test_a_waiting_subscriber_is_woken(hub):
    got = []

    async def wait(subscription):
        got.append(numbers(await subscription.receive()))

    with hub.subscribe(MARKET) as subscription:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, subscription)
            await trio.testing.wait_all_tasks_blocked()
            hub.publish(MARKET, update(5))

    assert got == [[5]]


async def test_a_new_client_begins_with_the_latest_event(hub):
    hub.publish(MARKET, update(1))
    hub.publish(MARKET, update(2))

    with hub.subscribe(MARKET) as subscription:
        assert numbers(await subscription.receive()) == [2]
    with hub.subscribe(("product", "x")) as subscription:
        hub.publish(("product", "x"), update(3))
        assert numbers(await subscription.receive()) == [3]


async def test_a_new_client_gets_the_whole_book_of_the_last_batch(hub):
    def batch(seq):
        return BatchUpdate(
            as_of=TIME,
            seq=seq,
            status=BatchStatus.FAILED,
            gains=None,
            products={},
            report=None,
            certificate=None,
        )

    def more(seq, start):
        return BookUpdate(as_of=TIME, seq=seq, start=start, bids=[])

    hub.publish(MARKET, batch(1))
    hub.publish(MARKET, more(1, 1))
    hub.publish(MARKET, batch(2))
    count = 300  # more than may wait for a client as single events
    for start in range(count):
        hub.publish(MARKET, more(2, start))
    hub.publish(MARKET, update(7))

    with hub.subscribe(MARKET) as subscription:
        lines = (await subscription.receive()).splitlines()
        assert subscription.state is SubscriptionState.OPEN
    named = [line for line in lines if line.startswith(b"event:")]
    told = [line for line in lines if b'"start":' in line]

    assert named == [b"event: batch", *[b"event: book"] * count, b"event: reference"]
    assert [b'"seq":2' in line for line in told] == [True] * count


async def test_a_client_that_returns_is_replayed_what_it_missed(hub):
    with hub.subscribe(MARKET) as subscription:
        hub.publish(MARKET, update(1))
        (seen,) = ids(await subscription.receive())
    hub.publish(("product", "x"), update(9))
    hub.publish(MARKET, update(2))
    hub.publish(MARKET, update(3))

    with hub.subscribe(MARKET, last_id=seen) as subscription:
        data = await subscription.receive()
        assert numbers(data) == [2, 3]
        latest = ids(data)[-1]
    with hub.subscribe(MARKET, last_id=latest) as subscription:
        hub.publish(MARKET, update(4))
        assert numbers(await subscription.receive()) == [4]


async def test_a_client_that_missed_too_much_is_told(hub):
    with hub.subscribe(MARKET) as subscription:
        hub.publish(MARKET, update(0))
        (seen,) = ids(await subscription.receive())
    for number in range(1, 7):  # the ring holds four
        hub.publish(MARKET, update(number))

    with hub.subscribe(MARKET, last_id=seen) as subscription:
        assert numbers(await subscription.receive()) == ["gap", 6]


async def test_a_client_of_before_a_restart_is_told():
    clock = ManualClock()
    before = Hub(clock=clock)
    with before.subscribe(MARKET) as subscription:
        before.publish(MARKET, update(1))
        (seen,) = ids(await subscription.receive())
    clock.advance(1)
    after = Hub(clock=clock)
    after.publish(MARKET, update(2))

    with after.subscribe(MARKET, last_id=seen) as subscription:
        data = await subscription.receive()

    assert numbers(data) == ["gap", 2]
    assert min(ids(data)) > seen


async def test_a_slow_client_is_dropped_and_the_others_are_not(hub):
    dropped = []
    with (
        hub.subscribe(MARKET, on_drop=lambda: dropped.append(True)) as slow,
        hub.subscribe(MARKET) as quick,
    ):
        for number in range(4):  # three fit
            hub.publish(MARKET, update(number))
            assert numbers(await quick.receive()) == [number]

        assert slow.state is SubscriptionState.DROPPED
        assert await slow.receive() == b""
        assert quick.state is SubscriptionState.OPEN
        assert hub.clients == 1

    assert dropped == [True]
    assert hub.dropped == 1


async def test_closing_delivers_what_is_queued_and_ends(hub):
    with hub.subscribe(MARKET) as subscription:
        hub.publish(MARKET, update(1))

        hub.close()
        hub.publish(MARKET, update(2))

        assert numbers(await subscription.receive()) == [1]
        assert await subscription.receive() == b""
        assert subscription.state is SubscriptionState.CLOSED
    with hub.subscribe(MARKET) as late:
        assert numbers(await late.receive()) == [2]
        assert await late.receive() == b""


async def test_closing_wakes_who_waits(hub):
    async with trio.open_nursery() as nursery:
        with hub.subscribe(MARKET) as subscription:
            nursery.start_soon(subscription.receive)
            await trio.testing.wait_all_tasks_blocked()
            hub.close()


async def test_ids_increase_over_all_topics(hub):
    with hub.subscribe(MARKET) as a, hub.subscribe(("product", "x")) as b:
        hub.publish(MARKET, update(1))
        hub.publish(("product", "x"), update(1))
        hub.publish(MARKET, update(2))

        market, product = ids(await a.receive()), ids(await b.receive())

    assert market[0] < product[0] < market[1]


class Line:
    """A connection with room for so many pieces."""

    def __init__(self, room=10):
        self.pieces = []
        self.room = room

    def push(self, data, *, most):
        assert most == 3
        if len(self.pieces) == self.room:
            return False
        self.pieces.append(data)
        return True

    @property
    def push_all(self):
        return push_all


def push_all(lines, data, *, most):
    return [line for line in lines if not line.push(data, most=most)]


async def test_a_connection_gets_what_was_missed_as_one_piece_and_then_each_event(hub):
    for number in (1, 2, 3):
        hub.publish(MARKET, update(number))
    line = Line()
    with hub.subscribe(MARKET, recent=2) as subscription:
        with subscription.divert(line):
            hub.publish(MARKET, update(4))
            assert [numbers(piece) for piece in line.pieces] == [[2, 3], [4]]
            assert hub.clients == 1

        hub.publish(MARKET, update(5))  # after the block: into the queue again
        assert numbers(await subscription.receive()) == [5]
        assert len(line.pieces) == 2
        assert subscription.told == 5 - 3

    assert hub.clients == 0


async def test_connections_without_room_are_dropped_and_the_others_are_not(hub):
    dropped = []
    hub.publish(MARKET, update(0))
    full, short, quick = Line(room=0), Line(room=2), Line()
    with (
        hub.subscribe(MARKET, on_drop=lambda: dropped.append("full")) as first,
        hub.subscribe(MARKET, on_drop=lambda: dropped.append("short")) as second,
        hub.subscribe(MARKET) as third,
        first.divert(full),  # not even the backlog
        second.divert(short),
        third.divert(quick),
    ):
        for number in (1, 2, 3):
            hub.publish(MARKET, update(number))

        assert dropped == ["full", "short"]
        assert first.state is second.state is SubscriptionState.DROPPED
        assert [numbers(piece) for piece in short.pieces] == [[0], [1]]
        assert [numbers(piece) for piece in quick.pieces] == [[0], [1], [2], [3]]

    assert hub.clients == 0
    assert hub.dropped == 2


async def test_closing_ends_streams_that_get_their_events_directly(hub):
    line = Line()
    with hub.subscribe(MARKET) as subscription, subscription.divert(line):
        hub.close()
        with trio.fail_after(60):
            await subscription.ended()
        hub.publish(MARKET, update(1))

    assert line.pieces == []
    assert subscription.state is SubscriptionState.CLOSED
