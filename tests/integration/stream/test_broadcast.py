import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from integration.stream import Broadcast, Lagged


async def test_every_reader_gets_everything_from_its_start_on():
    broadcast = Broadcast(10)
    early = broadcast.subscribe()
    broadcast.publish("a", "b")
    late = broadcast.subscribe()
    broadcast.publish("c")

    assert await early.next_batch() == ["a", "b", "c"]
    assert await late.next_batch() == ["c"]
    assert broadcast.published == 3


async def test_a_reader_may_begin_with_the_past_that_is_kept():
    broadcast = Broadcast(2)
    broadcast.publish("a", "b", "c")

    assert await broadcast.subscribe(replay=1).next_batch() == ["c"]
    assert await broadcast.subscribe(replay=9).next_batch() == ["b", "c"]


async def test_a_slow_reader_learns_how_many_it_missed_and_goes_on():
    broadcast = Broadcast(3)
    reader = broadcast.subscribe()
    broadcast.publish(*range(5))

    assert await reader.next_batch() == [Lagged(2), 2, 3, 4]
    broadcast.publish(5)
    assert await reader.next_batch() == [5]
    assert reader.missed == 2


async def test_nobody_waits_for_a_reader():
    broadcast = Broadcast(1)
    broadcast.subscribe()

    broadcast.publish(*range(1000))

    assert broadcast.published == 1000


async def test_readers_wait_until_something_comes():
    broadcast = Broadcast(4)
    seen = []

    async def read():
        async for item in broadcast.subscribe():
            seen.append(item)  # noqa: PERF401 - seen while it grows

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        broadcast.publish(1)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [1, 1, 1]
        broadcast.publish(2)
        broadcast.close()

    assert sorted(seen) == [1, 1, 1, 2, 2, 2]


async def test_after_the_end_what_is_left_can_be_read():
    broadcast = Broadcast(4)
    reader = broadcast.subscribe()
    broadcast.publish(1)
    broadcast.close()

    assert await reader.next_batch() == [1]
    with pytest.raises(trio.EndOfChannel):
        await reader.next_batch()
    with pytest.raises(trio.ClosedResourceError):
        broadcast.publish(2)


async def test_items_and_batches_can_be_mixed():
    broadcast = Broadcast(4)
    reader = broadcast.subscribe()
    broadcast.publish(1, 2, 3)

    assert await anext(reader) == 1
    assert await reader.next_batch() == [2, 3]


async def test_a_closed_reader_reads_no_more():
    reader = Broadcast(4).subscribe()
    await reader.aclose()

    with pytest.raises(trio.ClosedResourceError):
        await reader.next_batch()


def test_a_broadcast_keeps_something():
    with pytest.raises(ValueError, match="at least one"):
        Broadcast(0)


@given(
    st.integers(1, 5),
    st.lists(st.integers(0, 8), max_size=30),
)
async def test_items_and_gaps_together_account_for_everything(capacity, steps):
    """A positive step publishes so many; zero reads."""
    broadcast = Broadcast(capacity)
    reader = broadcast.subscribe()
    published = 0
    position = 0
    for step in [*steps, 0]:
        broadcast.publish(*range(published, published + step))
        published += step
        if step == 0 and position < published:
            for item in await reader.next_batch():
                if isinstance(item, Lagged):
                    position += item.missed
                else:
                    assert item == position
                    position += 1

    assert position == published
