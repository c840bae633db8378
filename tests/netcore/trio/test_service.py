"""How `run_service` shares trio's loop; what it does is in service/test_drivers."""

import socket

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from netcore.dns import BlockingResolver, RoundRobin, StaticResolver
from netcore.endpoint import Endpoint
from netcore.errors import EndpointLost
from netcore.idle import Yield
from netcore.info import ConnectionInfo
from netcore.select import EpollSelector
from netcore.service import IOService
from netcore.stream import TcpStream
from netcore.testing import ScriptedStream
from netcore.trio import TrioClock, run_service


class Counting:
    """A selector that counts its polls, which are the service's turns."""

    def __init__(self):
        self.inner = EpollSelector()
        self.polls = 0

    def poll(self, timeout=0.0):
        self.polls += 1
        return self.inner.poll(timeout)

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Feed(Endpoint):
    def __init__(self, info):
        super().__init__(info)
        self.got = []
        self.heard = trio.Event()
        self.reasons = []
        self.again = True

    def create(self, address, context):
        return TcpStream.connect(self.info, address)

    def poll(self, target, context):
        data = target.receive()
        if data == b"":
            raise EOFError
        if data:
            self.got.append(data)
            self.heard.set()
        return 0 if data is None else 1

    def can_recreate(self, reason, context):
        self.reasons.append(reason)
        return self.again


async def hears(feed):
    with trio.fail_after(60):  # against hanging
        await feed.heard.wait()


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def feed(listener):
    return Feed(ConnectionInfo("127.0.0.1", listener.getsockname()[1]))


def make_service(**options):
    options.setdefault("resolver", StaticResolver({}))
    return IOService(options.pop("selector", None) or EpollSelector(), **options)


async def test_a_quiet_service_makes_no_turns(listener, feed, nursery):
    selector = Counting()
    with make_service(selector=selector) as service:
        service.register(feed)
        await nursery.start(
            lambda task_status: run_service(service, task_status=task_status)
        )
        peer = await trio.to_thread.run_sync(lambda: listener.accept()[0])
        with peer:
            peer.sendall(b"1")
            await hears(feed)
            await wait_all_tasks_blocked()
            turns = selector.polls
            for _ in range(100):
                await trio.lowlevel.checkpoint()

            assert selector.polls == turns
            assert feed.got == [b"1"]
        nursery.cancel_scope.cancel()


async def test_registering_wakes_a_service_that_waits_for_nothing(
    listener, feed, nursery
):
    with make_service() as service:
        await nursery.start(
            lambda task_status: run_service(service, task_status=task_status)
        )
        await wait_all_tasks_blocked()

        service.register(feed)

        peer = await trio.to_thread.run_sync(lambda: listener.accept()[0])
        with peer:
            peer.sendall(b"x")
            await hears(feed)
        nursery.cancel_scope.cancel()


async def test_a_dispatch_wakes_it_for_what_is_left_inside(nursery):
    class Held(Feed):
        def create(self, address, context):
            self.stream = Stream(a, self)
            return self.stream

    class Stream:
        """A socket's stream that can be told to hold bytes inside."""

        held = b""

        def __init__(self, inner, feed):
            self.inner = inner

        @property
        def buffered(self):
            return bool(self.held)

        def receive(self):
            held, self.held = self.held, b""
            return held or None

        def __getattr__(self, name):
            return getattr(self.inner, name)

    ours, theirs = socket.socketpair()
    a = TcpStream.adopt(ours)
    feed = Held(ConnectionInfo("127.0.0.1", 1))
    with theirs, make_service() as service:
        handle = service.register(feed)
        await nursery.start(
            lambda task_status: run_service(service, task_status=task_status)
        )
        await wait_all_tasks_blocked()

        service.dispatch(handle, lambda stream, _: setattr(stream, "held", b"inside"))

        await hears(feed)
        nursery.cancel_scope.cancel()
    assert feed.got == [b"inside"]


async def test_a_flood_lets_other_tasks_run(nursery):
    class Flood(Feed):
        turns = 0

        def create(self, address, context):
            return ScriptedStream([b"x"] * 10)

        def poll(self, target, context):
            self.turns += 1
            target.feed(b"x")
            return super().poll(target, context)

    flood = Flood(ConnectionInfo("127.0.0.1", 1))
    with make_service() as service:
        service.register(flood)
        nursery.start_soon(run_service, service)
        await hears(flood)

        for _ in range(10):  # each needs the flood to give way
            await trio.lowlevel.checkpoint()

        assert flood.turns > 0
        nursery.cancel_scope.cancel()


async def test_cancelling_loses_nothing_and_it_can_be_run_again(listener, feed):
    with make_service() as service:
        handle = service.register(feed)
        with trio.move_on_after(0) as scope:
            await run_service(service)
        assert scope.cancelled_caught
        assert [h for h, _ in service.pending()] == [handle]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_service, service)
            peer = await trio.to_thread.run_sync(lambda: listener.accept()[0])
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        with peer:
            peer.sendall(b"while nobody drove")
            await run_service(service, until=lambda: feed.got)

    assert feed.got == [b"while nobody drove"]
    assert feed.reasons == []


async def test_losses_can_be_taken_while_the_others_go_on(listener, feed, nursery):
    lost, told = [], trio.Event()

    def on_lost(error):
        lost.append(error)
        told.set()

    gone = Feed(feed.info)
    gone.again = False
    with make_service(connect_interval=0) as service:
        handle = service.register(gone)
        service.register(feed)
        nursery.start_soon(lambda: run_service(service, on_lost=on_lost))
        first, _ = await trio.to_thread.run_sync(listener.accept)
        first.close()
        second, _ = await trio.to_thread.run_sync(listener.accept)
        with second:
            second.sendall(b"still here")
            await hears(feed)
            await told.wait()
        nursery.cancel_scope.cancel()

    assert [(type(error), error.handle) for error in lost] == [(EndpointLost, handle)]


async def test_times_follow_trios_clock_where_the_service_does(autojump_clock):
    class Timer(Feed):
        fired = None

        def create(self, address, context):
            self.due = self.clock.monotonic_ns() + 3600 * 10**9
            return TcpStream.adopt(ours)

        def deadline(self, target):
            return self.due

        def poll(self, target, context):
            if self.clock.monotonic_ns() >= self.due:
                self.fired = trio.current_time()
                self.due = None
            return super().poll(target, context)

    ours, theirs = socket.socketpair()
    timer = Timer(ConnectionInfo("127.0.0.1", 1))
    started = trio.current_time()
    with theirs, make_service(clock=TrioClock()) as service:
        service.register(timer)
        await run_service(service, until=lambda: timer.fired is not None)

    assert timer.fired - started == pytest.approx(3600, abs=0.01)
    assert isinstance(autojump_clock, MockClock)


async def test_spinning_finds_bytes_without_parking(listener, feed):
    with make_service() as service:
        service.register(feed)
        sock = None

        def until():
            nonlocal sock
            if sock is None and any(service.active()):
                sock, _ = listener.accept()
                sock.sendall(b"x")
            return bool(feed.got)

        await run_service(service, until=until, spin=0.01)
        sock.close()

    assert feed.got == [b"x"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"idle": Yield()}, "the idle strategy Yield would block trio's loop"),
        ({"resolver": BlockingResolver()}, "the resolver BlockingResolver would block"),
        (
            {"resolver": RoundRobin(BlockingResolver())},
            "the resolver RoundRobin would block",
        ),
    ],
)
async def test_what_blocks_is_refused(options, text):
    with make_service(**options) as service, pytest.raises(ValueError, match=text):
        await run_service(service)


async def test_a_service_has_one_driver_at_a_time(nursery):
    with make_service() as service:
        nursery.start_soon(run_service, service)
        await wait_all_tasks_blocked()

        with pytest.raises(trio.BusyResourceError):
            await run_service(service)
        nursery.cancel_scope.cancel()


async def test_it_ends_when_it_is_told_to_and_leaves_the_service_open(feed):
    with make_service() as service:
        service.register(feed)

        await run_service(service, until=lambda: any(service.active()))

        assert any(service.active())
        assert service.on_change is None
