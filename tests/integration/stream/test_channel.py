import threading
from collections import deque

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from integration.errors import Overload, Sink
from integration.stream import (
    ChannelState,
    Conflated,
    DroppableSender,
    OverloadPolicy,
    open_channel,
)

POLICIES = [p for p in OverloadPolicy if p is not OverloadPolicy.CONFLATE]


def conflating(capacity, **arguments):
    return open_channel(
        capacity, OverloadPolicy.CONFLATE, key=lambda item: item[0], **arguments
    )


async def received(receiver):
    """Everything that waits, without waiting."""
    return await receiver.receive_batch() if len(receiver) else []


@pytest.mark.parametrize("policy", POLICIES)
async def test_with_room_every_policy_is_a_queue(policy):
    sender, receiver = open_channel(3, policy)

    await sender.send(1)
    await sender.send_batch([2, 3])

    assert await receiver.receive() == 1
    assert await receiver.receive_batch(1) == [2]
    assert await receiver.receive_batch() == [3]


async def test_blocking_waits_for_room_and_loses_nothing():
    sender, receiver = open_channel(2)
    seen = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send_batch, range(7))
        await trio.testing.wait_all_tasks_blocked()
        assert len(receiver) == 2
        while len(seen) < 7:
            seen += await receiver.receive_batch()

    assert seen == list(range(7))
    assert sender.stats.dropped == 0
    assert sender.stats.high_water == 2


async def test_blocking_cannot_wait_where_it_may_not():
    sender, _ = open_channel(1)
    sender.send_nowait(1)

    with pytest.raises(Overload, match="1 items wait") as caught:
        sender.send_nowait(2)

    assert caught.value.capacity == 1
    assert caught.value.recoverable


async def test_drop_oldest_keeps_the_newest():
    sender, receiver = open_channel(2, OverloadPolicy.DROP_OLDEST)

    await sender.send_batch(range(5))

    assert await receiver.receive_batch() == [3, 4]
    stats = sender.stats
    assert (stats.sent, stats.dropped, stats.overloads) == (5, 3, 3)


async def test_drop_newest_keeps_what_was_there():
    sender, receiver = open_channel(2, OverloadPolicy.DROP_NEWEST)

    await sender.send_batch(range(5))

    assert await receiver.receive_batch() == [0, 1]
    stats = sender.stats
    assert (stats.sent, stats.dropped, stats.overloads) == (2, 3, 3)


async def test_raise_raises_and_keeps_what_was_there():
    sender, receiver = open_channel(2, OverloadPolicy.RAISE)

    with pytest.raises(Overload):
        await sender.send_batch(range(5))

    assert await receiver.receive_batch() == [0, 1]
    assert sender.stats.overloads == 1


async def test_conflating_keeps_the_newest_of_each_key_and_says_how_many_it_replaced():
    sender, receiver = conflating(2)

    await sender.send_batch([("a", 1), ("b", 1), ("a", 2), ("a", 3)])

    assert await receiver.receive_conflated() == [
        Conflated(("a", 3), 2),
        Conflated(("b", 1), 0),
    ]
    assert sender.stats.conflated == 2
    await sender.send(("a", 4))
    assert await receiver.receive_conflated() == [Conflated(("a", 4), 0)]


async def test_a_closed_receiver_forgets_what_was_conflated():
    sender, receiver = conflating(2)
    await sender.send(("a", 1))

    receiver.close()

    assert len(receiver) == 0
    with pytest.raises(Sink):
        sender.send_nowait(("a", 2))


async def test_a_busy_key_does_not_starve_a_quiet_one():
    sender, receiver = conflating(2)
    await sender.send_batch([("quiet", 1), ("busy", 1), ("quiet", 2), ("busy", 2)])

    assert await receiver.receive() == ("quiet", 2)


async def test_conflating_can_merge():
    sender, receiver = conflating(1, merge=lambda old, new: (old[0], old[1] + new[1]))

    await sender.send_batch([("a", 1), ("a", 10), ("a", 100)])

    assert await receiver.receive() == ("a", 111)


async def test_more_keys_than_room_is_a_fault_of_the_set_up():
    sender, receiver = conflating(1)
    await sender.send(("a", 1))

    with pytest.raises(Overload, match="1 keys wait"):
        await sender.send(("b", 1))

    assert await receiver.receive_batch() == [("a", 1)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers()), max_size=60))
async def test_conflation_always_delivers_the_newest_of_every_key_sent(items):
    sender, receiver = conflating(3)
    sender.send_nowait(("a", None))
    for item in items:
        sender.send_nowait(item)

    got = await receiver.receive_conflated()

    assert dict(c.item for c in got) == dict([("a", None), *items])
    assert sum(c.merged for c in got) + len(got) == len(items) + 1


@pytest.mark.parametrize(
    ("capacity", "policy", "key"),
    [
        (0, OverloadPolicy.BLOCK, None),
        (1, OverloadPolicy.CONFLATE, None),
        (1, OverloadPolicy.BLOCK, id),
    ],
)
def test_an_impossible_channel_is_refused(capacity, policy, key):
    with pytest.raises(ValueError, match=r"at least one|conflate"):
        open_channel(capacity, policy, key=key)


async def test_a_channel_ends_with_its_last_sender_after_what_waits():
    sender, receiver = open_channel(4)
    with sender.clone() as other:
        await other.send(1)
        sender.close()
        sender.close()
        await other.send(2)

    assert [item async for item in receiver] == [1, 2]
    with pytest.raises(trio.EndOfChannel):
        await receiver.next_batch()


async def test_a_waiting_receiver_learns_of_the_end():
    sender, receiver = open_channel(1)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            await trio.testing.wait_all_tasks_blocked()
            sender.close()

        with pytest.raises(trio.EndOfChannel):
            await receiver.receive()


async def test_a_waiting_sender_learns_that_nobody_will_receive():
    sender, receiver = open_channel(1)
    await sender.send(1)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            await trio.testing.wait_all_tasks_blocked()
            receiver.close()

        with pytest.raises(Sink):
            await sender.send(2)

    with pytest.raises(Sink):
        sender.send_nowait(3)
    with pytest.raises(trio.ClosedResourceError):
        await receiver.receive()


async def test_a_closed_end_cannot_be_used():
    sender, receiver = open_channel(1)
    sender.close()

    with pytest.raises(trio.ClosedResourceError):
        await sender.send(1)
    with pytest.raises(trio.ClosedResourceError):
        sender.clone()
    await receiver.aclose()


async def test_several_receivers_share_the_items():
    sender, receiver = open_channel(10)
    seen = []

    async def read():
        async for item in receiver:
            seen.append(item)  # noqa: PERF401 - seen while it grows

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await sender.send_batch(range(50))
        sender.close()

    assert sorted(seen) == list(range(50))


@given(
    st.integers(1, 4),
    st.lists(st.integers(0, 4), min_size=1, max_size=12),
    st.lists(st.booleans(), max_size=40),
)
async def test_a_cancelled_receiver_loses_nothing(capacity, batches, cancels):
    sender, receiver = open_channel(capacity)
    sent = [
        list(range(sum(batches[:i]), sum(batches[: i + 1])))
        for i in range(len(batches))
    ]
    seen = []

    async def send():
        for batch in sent:
            await sender.send_batch(batch)
        sender.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        pending = deque(cancels)
        while True:
            with trio.CancelScope() as scope:
                if pending and pending.popleft():
                    scope.cancel()
                try:
                    seen += await receiver.receive_batch()
                except trio.EndOfChannel:
                    break

    assert seen == list(range(sum(batches)))


async def test_a_thread_receives_by_blocking():
    sender, receiver = open_channel(2)
    seen = []

    def read():
        seen.extend(receiver.from_thread())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, read)
        await sender.send_batch(range(20))
        sender.close()

    assert seen == list(range(20))


async def test_a_thread_that_trio_did_not_start_needs_the_token():
    sender, receiver = open_channel(2)
    token = trio.lowlevel.current_trio_token()
    seen = []
    done = trio.Event()

    def read():
        seen.extend(receiver.from_thread(trio_token=token))
        trio.from_thread.run_sync(done.set, trio_token=token)

    thread = threading.Thread(target=read)
    thread.start()
    await sender.send_batch("ab")
    sender.close()
    await done.wait()
    thread.join()

    assert seen == ["a", "b"]


def test_a_thread_that_outlives_the_run_is_told():
    async def open_and_leave():
        _, receiver = open_channel(1)
        return receiver.from_thread(trio_token=trio.lowlevel.current_trio_token())

    iterator = trio.run(open_and_leave)

    with pytest.raises(Sink, match="has ended"):
        next(iterator)


async def test_a_droppable_sender_warns_once_and_goes_silent(caplog):
    sender, receiver = open_channel(2)
    droppable = DroppableSender(sender, name="audit")
    assert droppable.state is ChannelState.ACTIVE
    droppable.send(1)
    assert await receiver.receive() == 1

    receiver.close()
    for _ in range(3):
        droppable.send(2)

    assert droppable.state is ChannelState.DISABLED
    assert [r.message for r in caplog.records] == [
        "the receiver of audit has gone; nothing more is sent"
    ]


async def test_a_droppable_sender_can_be_disabled_or_start_so():
    sender, receiver = open_channel(2)
    droppable = DroppableSender(sender)
    droppable.disable()
    droppable.disable()
    DroppableSender(None).send(1)
    droppable.send(1)

    with pytest.raises(trio.EndOfChannel):
        await receiver.receive()


async def test_a_slow_receiver_is_no_reason_to_go_silent():
    sender, _ = open_channel(1, OverloadPolicy.RAISE)
    droppable = DroppableSender(sender)
    droppable.send(1)

    with pytest.raises(Overload):
        droppable.send(2)

    assert droppable.state is ChannelState.ACTIVE


def test_the_counters_can_be_read():
    sender, receiver = open_channel(3)
    sender.send_nowait(1)

    assert sender.stats is receiver.stats
    assert repr(sender.stats) == (
        "ChannelStats(conflated=0, dropped=0, high_water=1, overloads=0, "
        "received=0, sent=1)"
    )


class QueueModel(RuleBasedStateMachine):
    """A dropping channel against a deque with a limit."""

    items = Bundle("items")

    def __init__(self):
        super().__init__()
        self.sender, self.receiver = open_channel(3, OverloadPolicy.DROP_OLDEST)
        self.model = deque(maxlen=3)
        self.taken = 0

    @rule(item=st.integers())
    def send(self, item):
        self.sender.send_nowait(item)
        self.model.append(item)

    @rule(most=st.integers(1, 5))
    def receive(self, most):
        if not self.model:
            return
        got = trio.run(self.receiver.receive_batch, most)
        assert got == [self.model.popleft() for _ in range(len(got))]
        assert 1 <= len(got) <= most
        self.taken += len(got)
        stats = self.sender.stats
        assert stats.sent == stats.received + stats.dropped + len(self.model)
        assert stats.received == self.taken


TestQueueModel = QueueModel.TestCase
