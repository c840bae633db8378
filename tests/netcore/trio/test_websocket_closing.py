"""Closing a WebSocket under trio: by us, by time, by whom else; heartbeats."""

import pytest
import trio
import trio.testing

from netcore.errors import ConnectionClosed
from netcore.testing import tcp_stream_pair
from netcore.trio import TrioClock, TrioWebSocket
from netcore.ws import Heartbeat, Role, State, WebSocket, WebSocketOptions

PLENTY = 64 << 20


# -- closing ---------------------------------------------------------------------------


async def test_closing_while_another_task_reads_lets_that_task_see_the_end(sockets):
    ours, theirs = sockets()
    ends: list[int] = []

    async def read() -> None:
        try:
            await ours.read_batch()
        except ConnectionClosed as exc:
            ends.append(exc.code)

    async def answer() -> None:
        with pytest.raises(ConnectionClosed):
            await theirs.read_batch()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(answer)
        await trio.testing.wait_all_tasks_blocked()
        await ours.aclose(4000)

    assert ends == [4000]
    assert ours.state is State.CLOSED


async def test_closing_goes_on_when_the_reading_task_is_cancelled(sockets):
    ours, theirs = sockets()
    scope = trio.CancelScope()

    async def read() -> None:
        with scope:
            await ours.read_batch()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ours.aclose, 4000)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ConnectionClosed):
            await theirs.read_batch()
    assert ours.close_code == 4000


async def test_closing_does_not_wait_for_ever(autojump_clock, kit):
    ours, _ = kit.end_over_memory(close_timeout=3)
    start = trio.current_time()

    await ours.aclose()

    assert trio.current_time() - start == pytest.approx(3, abs=0.01)
    assert ours.close_code == 1006
    await ours.aclose()


async def test_closing_on_a_socket_keeps_its_time_too(sockets, autojump_clock):
    ours, _ = sockets(close_timeout=3)
    start = trio.current_time()

    await ours.aclose()

    assert trio.current_time() - start == pytest.approx(3)


async def test_closing_keeps_its_time_while_another_task_is_parked_reading(
    sockets, autojump_clock
):
    ours, _ = sockets(close_timeout=3)
    start = trio.current_time()

    async def read() -> None:
        with pytest.raises(ConnectionClosed):
            await ours.read_batch()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ours.aclose)

    assert trio.current_time() - start == pytest.approx(3)


async def test_a_cancelled_close_gives_the_socket_back_at_once(autojump_clock, kit):
    ours, theirs = kit.end_over_memory(close_timeout=1000)
    with trio.move_on_after(1) as scope:
        await ours.aclose()

    assert scope.cancelled_caught
    assert trio.current_time() < 10
    assert theirs.receive() is not None
    assert theirs.receive() == b""


async def test_closing_lets_out_what_is_still_unsent(sockets, kit):
    ours, theirs = sockets(outbox_limit=PLENTY)
    message = bytes(16 << 20)
    ours.send_binary(message)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.aclose)
        assert await kit.read_all(theirs, 1) == [message]
        with pytest.raises(ConnectionClosed) as caught:
            await theirs.read_batch()
    assert caught.value.code == 1000


async def test_aborting_ends_a_read_in_another_task(sockets, kit):
    ours, _ = sockets()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kit.abort_later, ours)
        with pytest.raises(ConnectionClosed) as caught:
            await ours.read_batch()
    assert caught.value.code == 1006


async def test_only_one_task_may_read(sockets):
    ours, theirs = sockets()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.read_batch)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await ours.read_batch()
        theirs.send_text("x")


async def test_a_bad_code_is_refused_before_anything_happens(sockets):
    ours, _ = sockets()
    with pytest.raises(ValueError, match="1006"):
        await ours.aclose(1006)
    assert ours.state is State.OPEN


class Counted:
    """A stream that counts how often something came."""

    def __init__(self, stream):
        self.stream = stream
        self.reads = 0

    def receive(self, limit):
        data = self.stream.receive(limit)
        self.reads += bool(data)
        return data

    def __getattr__(self, name):
        return getattr(self.stream, name)


# -- time ------------------------------------------------------------------------------


async def test_heartbeats_keep_time_while_reading(mock_clock):
    times: list[float] = []

    def beat() -> bytes:
        times.append(trio.current_time())
        return b"hb"

    start = trio.current_time()
    heartbeat = Heartbeat(interval=10, timeout=3, message=beat)
    here, there = tcp_stream_pair()
    counted = Counted(here)
    options = WebSocketOptions(heartbeat=heartbeat)
    ours = TrioWebSocket(WebSocket.open(counted, options=options, clock=TrioClock()))
    theirs = TrioWebSocket(WebSocket.open(there, role=Role.SERVER, clock=TrioClock()))

    async def answer() -> None:
        with pytest.raises(ConnectionClosed):
            await theirs.read_batch()

    async def let_time_pass() -> None:
        for number in range(1, 4):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(10)
            while counted.reads < number:  # until the pong is there
                await trio.lowlevel.checkpoint()
        theirs.send_text("done")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        nursery.start_soon(let_time_pass)
        assert await ours.receive_text() == "done"
        assert ours.latency_ns == 0
        await ours.aclose()
    theirs.abort()

    assert [time - start for time in times] == pytest.approx([10, 20, 30])


async def test_a_silent_peer_is_given_up_on_a_parked_socket(sockets, autojump_clock):
    ours, _ = sockets(heartbeat=Heartbeat(interval=10, timeout=3))
    start = trio.current_time()
    with pytest.raises(ConnectionClosed) as caught:
        await ours.read_batch()

    assert caught.value.code == 1011
    assert trio.current_time() - start == pytest.approx(13)
