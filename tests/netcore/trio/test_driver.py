"""When a driving task parks, spins, gives way, and whom it wakes."""

import itertools

import pytest
import trio
import trio.testing

from netcore.stream.tcp import TcpStream
from netcore.testing import memory_stream_pair, tcp_stream_pair
from netcore.trio import TrioClock, TrioDriver
from netcore.trio import driver as driver_module


class Needs:
    """A descriptor and what its stream would say it waits for."""

    def __init__(self, stream: TcpStream, *, want_write: bool = False) -> None:
        self.stream = stream
        self.want_write = want_write
        self.buffered = False

    def fileno(self) -> int:
        return self.stream.fileno()


@pytest.fixture
def ends():
    a, b = tcp_stream_pair()
    assert a.connected()
    yield a, b
    a.close()
    b.close()


@pytest.fixture
def time_stands(monkeypatch):
    """The driver's own clock, moved by hand."""
    now = [0.0]
    monkeypatch.setattr(driver_module, "_clock", lambda: now[0])
    return now


def fill(stream: TcpStream) -> int:
    """Send until it would block."""
    total = 0
    while taken := stream.send(bytes(1 << 16)):
        total += taken
    return total


async def test_within_the_budget_a_checkpoint_lets_nobody_else_run(ends, time_stands):
    driver = TrioDriver(Needs(ends[0]), budget=1.0)
    ran: list[str] = []

    async def other() -> None:
        ran.append("other")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(100):
            await driver.checkpoint()
        assert ran == []
        # trio runs a batch in random order, so the other may come one turn later.
        for _ in range(2):
            time_stands[0] += 1.0
            await driver.checkpoint()
        assert ran == ["other"]


async def test_another_task_runs_at_least_once_per_budget(ends, time_stands):
    driver = TrioDriver(Needs(ends[0]), budget=0.5)
    turns: list[float] = []

    async def other() -> None:
        while True:
            turns.append(time_stands[0])
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(50):
            time_stands[0] += 0.1
            await driver.checkpoint()
        nursery.cancel_scope.cancel()

    gaps = [b - a for a, b in itertools.pairwise(turns)]
    assert len(turns) >= 4
    # Once per budget, in the batch after; trio shuffles a batch.
    assert max(gaps) <= 2 * 0.6 + 1e-9


async def test_every_checkpoint_sees_a_cancellation(ends):
    driver = TrioDriver(Needs(ends[0]), budget=1000.0)
    with trio.CancelScope() as scope:
        scope.cancel()
        await driver.checkpoint()
        pytest.fail("not cancelled")
    assert scope.cancelled_caught


async def test_spinning_ends_with_its_time(ends, time_stands):
    driver = TrioDriver(Needs(ends[0]), spin=0.5)
    turns = 0
    for _ in driver.turns():
        turns += 1
        time_stands[0] += 0.125

    assert turns == 4
    assert list(TrioDriver(Needs(ends[0])).turns()) == []


@pytest.mark.parametrize("wrong", [{"spin": -1.0}, {"budget": -1.0}])
async def test_time_is_not_negative(ends, wrong):
    with pytest.raises(ValueError, match="negative"):
        TrioDriver(Needs(ends[0]), **wrong)


async def test_parking_ends_when_bytes_come(ends):
    driver = TrioDriver(Needs(ends[0]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.park)
        await trio.testing.wait_all_tasks_blocked()
        ends[1].send(b"x")

    assert ends[0].receive() == b"x"


async def test_parking_ends_at_its_deadline(ends, autojump_clock):
    driver = TrioDriver(Needs(ends[0]))
    start = trio.current_time()

    await driver.park(deadline_ns=TrioClock().monotonic_ns() + 3_000_000_000)

    assert trio.current_time() - start == pytest.approx(3)


async def test_parking_ends_when_it_is_woken(ends):
    driver = TrioDriver(Needs(ends[0]))
    driver.wake()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.park)
        await trio.testing.wait_all_tasks_blocked()
        driver.wake()


async def test_buffered_bytes_are_not_waited_for(ends):
    needs = Needs(ends[0])
    needs.buffered = True
    await TrioDriver(needs).park()


async def test_a_stream_without_descriptor_is_asked_again(autojump_clock):
    a, _ = memory_stream_pair()
    driver = TrioDriver(a)
    start = trio.current_time()

    await driver.park()
    await driver.wait_writable()

    assert 0 < trio.current_time() - start < 0.01


async def test_parking_waits_for_writing_too_where_that_is_wanted(ends):
    needs = Needs(ends[0], want_write=True)
    driver = TrioDriver(needs)
    await driver.park()

    fill(ends[0])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.park)
        await trio.testing.wait_all_tasks_blocked()
        ends[1].send(b"x")
    assert ends[0].receive() == b"x"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.park)
        await trio.testing.wait_all_tasks_blocked()
        while ends[1].receive() is not None:
            pass


async def test_only_one_task_may_read(ends):
    driver = TrioDriver(Needs(ends[0]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.park)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await driver.park()
        nursery.cancel_scope.cancel()


async def test_any_number_of_tasks_wait_for_writing_beside_a_reader(ends):
    fill(ends[0])
    driver = TrioDriver(Needs(ends[0], want_write=True))
    done: list[int] = []

    async def wait(number: int) -> None:
        await driver.wait_writable()
        done.append(number)

    async with trio.open_nursery() as reading:
        reading.start_soon(driver.park)
        async with trio.open_nursery() as writing:
            for number in range(3):
                writing.start_soon(wait, number)
            await trio.testing.wait_all_tasks_blocked()
            assert done == []
            while ends[1].receive() is not None:
                pass
        assert sorted(done) == [0, 1, 2]
        reading.cancel_scope.cancel()


async def test_whoever_is_left_takes_the_watch_of_one_that_was_cancelled(ends):
    fill(ends[0])
    driver = TrioDriver(Needs(ends[0], want_write=True))
    done: list[str] = []

    async def wait(name: str) -> None:
        await driver.wait_writable()
        done.append(name)

    first = trio.CancelScope()

    async def cancelled() -> None:
        with first:
            await wait("first")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancelled)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(wait, "second")
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        # Left alone it looks again, as its caller's loop does.
        assert done == ["second"]


async def test_closing_wakes_everybody(ends):
    fill(ends[0])
    driver = TrioDriver(Needs(ends[0]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.park)
        nursery.start_soon(driver.wait_writable)
        nursery.start_soon(driver.wait_writable)
        await trio.testing.wait_all_tasks_blocked()
        driver.closing()
        ends[0].close()
    driver.closing()


def test_the_clock_is_trios_for_deadlines_and_the_walls_for_stamps():
    async def main() -> tuple[int, int]:
        clock = TrioClock()
        start = clock.monotonic_ns()
        await trio.sleep(2)
        return clock.monotonic_ns() - start, clock.now_ns()

    passed, wall = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    assert passed == pytest.approx(2e9, abs=1000)
    assert wall > 1_600_000_000 * 10**9
