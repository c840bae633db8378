import pytest
import trio

from integration.errors import Deserialise, Terminated, UnknownIndex
from integration.stream import (
    MergeEnd,
    idle_timeout,
    index_by,
    items_of,
    map_batches,
    map_indexed,
    merge,
    open_channel,
    partition_to,
    tee_to,
)


class Script:
    """Batches, pauses in seconds and exceptions, in order; then the end."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.closed = 0
        self.reads = 0

    async def next_batch(self):
        await trio.lowlevel.checkpoint()
        self.reads += 1
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, list):
                return step
            if isinstance(step, Exception):
                raise step
            await trio.sleep(step)
        raise trio.EndOfChannel

    async def aclose(self):
        self.closed += 1


async def every(stream):
    batches = []
    try:
        while True:
            batches.append(await stream.next_batch())
    except trio.EndOfChannel:
        return batches


async def test_mapping_keeps_batches_and_skips_those_it_empties():
    source = Script([1, 2], [3], [4, 5])
    mapped = map_batches(source, lambda batch: [n * 10 for n in batch if n % 2 == 0])

    assert await every(mapped) == [[20], [40]]
    await mapped.aclose()
    assert source.closed == 1


async def test_indexing_replaces_keys_and_reports_unknown_ones_in_place():
    fault = Deserialise("bad", "x")
    indexer = index_by({"btc": 0, "eth": 1}, "asset")

    ((first, second, unknown, last),) = await every(
        map_indexed(Script([fault, "eth", "doge", "btc"]), indexer)
    )

    assert (first, second, last) == (fault, 1, 0)
    assert isinstance(unknown, UnknownIndex)
    assert str(unknown) == "no asset is indexed under 'doge'"


async def test_partitioning_sends_what_matches_and_delivers_the_rest():
    sender, receiver = open_channel(9)
    stream = partition_to(sender, Script([1, 2, 3], [4], [5]), lambda n: n % 2 == 0)

    assert await every(stream) == [[1, 3], [5]]
    assert await receiver.receive_batch() == [2, 4]


async def test_teeing_sends_what_matches_and_delivers_all():
    sender, receiver = open_channel(9)
    stream = tee_to(sender, Script([1, 2, 3], [4]), lambda n: n % 2 == 0)

    assert await every(stream) == [[1, 2, 3], [4]]
    assert await receiver.receive_batch() == [2, 4]


async def test_forwarding_ends_when_nobody_receives():
    sender, receiver = open_channel(9)
    source = Script([1, 2, 3], [4])
    stream = tee_to(sender, source, lambda n: n == 2)
    receiver.close()

    assert await every(stream) == [[1]]
    await stream.aclose()
    assert source.closed == 1


async def test_single_items_can_be_taken_from_any_stream():
    assert [n async for n in items_of(Script([1, 2], [3]))] == [1, 2, 3]


async def test_a_stream_that_stays_silent_is_ended_once(autojump_clock):
    calls = []
    source = Script([1], 9.0, [2], 11.0, [3])
    start = trio.current_time()
    async with idle_timeout(source, 10.0, lambda: calls.append(1)) as stream:
        assert await every(stream) == [[1], [2]]
        with pytest.raises(trio.EndOfChannel):
            await stream.next_batch()

    assert calls == [1]
    assert source.closed
    assert trio.current_time() - start == pytest.approx(9.0 + 10.0)


async def test_a_consumer_that_is_slow_is_no_silence(autojump_clock):
    source = Script([1], [2])
    async with idle_timeout(source, 10.0) as stream:
        assert await stream.next_batch() == [1]
        await trio.sleep(1000.0)
        assert await stream.next_batch() == [2]


async def test_the_end_of_a_watched_stream_is_its_own(autojump_clock):
    calls = []
    async with idle_timeout(Script([1]), 10.0, lambda: calls.append(1)) as stream:
        assert await every(stream) == [[1]]

    assert calls == []


async def test_a_fault_leaves_the_block_as_it_is(autojump_clock):
    with pytest.raises(Terminated):
        async with idle_timeout(Script(Terminated(1001)), 10.0) as stream:
            await stream.next_batch()


async def test_cancelling_a_watched_read_is_no_timeout(autojump_clock):
    calls = []
    source = Script(5.0, [1])
    async with idle_timeout(source, 10.0, lambda: calls.append(1)) as stream:
        with trio.move_on_after(1.0) as scope:
            await stream.next_batch()
        await trio.sleep(100.0)

    assert scope.cancelled_caught
    assert calls == []
    assert source.closed == 0


async def test_closing_a_watched_stream_closes_it():
    source = Script()
    async with idle_timeout(source, 1.0) as stream:
        await stream.aclose()

    assert source.closed == 1


async def test_merging_ends_with_the_first_by_default(autojump_clock):
    slow, fast = Script(1.0, ["s1"], 1.0, ["s2"], 99.0), Script(0.5, ["f1"], 2.0)

    async with merge(slow, fast) as stream:
        batches = await every(stream)

    assert batches == [["f1"], ["s1"], ["s2"]]


async def test_merging_can_end_with_the_last(autojump_clock):
    long, short = Script(1.0, [1], 5.0, [2]), Script([3])

    async with merge(long, short, end=MergeEnd.ALL) as stream:
        assert await every(stream) == [[3], [1], [2]]


async def test_merging_nothing_ends_at_once():
    for end in MergeEnd:
        async with merge(end=end) as stream:
            assert await every(stream) == []


async def test_a_busy_stream_does_not_starve_a_quiet_one(autojump_clock):
    busy, quiet = Script(*(["b"] for _ in range(100))), Script(*(["q"] for _ in "123"))

    order = []
    async with merge(busy, quiet, end=MergeEnd.ALL) as stream:
        for _ in range(6):
            order.extend(await stream.next_batch())
            await trio.testing.wait_all_tasks_blocked()

    assert sorted(order) == ["b", "b", "b", "q", "q", "q"]


async def test_a_merge_reads_each_stream_one_batch_ahead_and_no_further():
    source = Script([1], [2], [3], [4])
    async with merge(source) as stream:
        await trio.testing.wait_all_tasks_blocked()
        assert source.reads == 1
        await stream.next_batch()
        await trio.testing.wait_all_tasks_blocked()
        assert source.reads == 2


async def test_a_fault_of_one_stream_comes_after_what_was_read(autojump_clock):
    good, bad = Script([1], 99.0), Script([2], Terminated(1001))

    async with merge(good, bad) as stream:
        got = sorted(await stream.next_batch() + await stream.next_batch())
        with pytest.raises(Terminated):
            await stream.next_batch()

    assert got == [1, 2]


async def test_leaving_a_merge_stops_its_tasks(autojump_clock):
    source = Script(1000.0, [1])
    start = trio.current_time()

    async with merge(source) as stream:
        await stream.aclose()

    assert trio.current_time() == start
    assert source.closed == 1
