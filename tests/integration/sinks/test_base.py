import pytest
import trio

from integration.errors import Terminated
from integration.sinks import pump
from integration.stream import open_channel


class Collected:
    def __init__(self):
        self.batches = []

    async def send_batch(self, items):
        await trio.lowlevel.checkpoint()
        self.batches.append(list(items))

    async def aclose(self):
        await trio.lowlevel.checkpoint()


async def test_everything_is_sent_until_the_end():
    sender, receiver = open_channel(9)
    sink = Collected()
    await sender.send_batch([1, 2, 3])
    sender.close()

    assert await pump(receiver, sink) == 3
    assert sink.batches == [[1, 2, 3]]


async def test_what_is_not_kept_is_not_sent():
    sender, receiver = open_channel(9)
    sink = Collected()
    await sender.send_batch([1, 2, 3])
    sender.close()

    assert await pump(receiver, sink, keep=lambda n: n > 9) == 0
    assert sink.batches == []


async def test_a_fault_of_either_side_ends_it():
    class Broken(Collected):
        async def send_batch(self, items):
            await super().send_batch(items)
            raise Terminated(1001)

    sender, receiver = open_channel(9)
    sender.send_nowait(1)

    with pytest.raises(Terminated):
        await pump(receiver, Broken())


async def test_the_next_batch_is_read_when_the_last_is_safe():
    sender, receiver = open_channel(9)
    release = trio.Event()

    class Slow(Collected):
        async def send_batch(self, items):
            await super().send_batch(items)
            await release.wait()

    sink = Slow()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump, receiver, sink)
        sender.send_nowait(1)
        await trio.testing.wait_all_tasks_blocked()
        sender.send_nowait(2)
        await trio.testing.wait_all_tasks_blocked()
        assert len(receiver) == 1
        release.set()
        sender.close()

    assert sink.batches == [[1], [2]]
