"""Streams without a socket: keep-alive, ends, and what is refused."""

from contextlib import asynccontextmanager, contextmanager
from uuid import UUID

import pytest
import trio
import trio.testing

from flowtrade.auth import JwtAuthorizer, generate_jwt
from flowtrade.models.update import ReferenceUpdate
from flowtrade.ports import CONNECTION
from flowtrade.testing import TrioClock
from flowtrade.testing.bench import open_bench

MARKET = ("market", "")
BIDDER = str(UUID(int=1))
SECRET = "a secret of thirty-two characters!"
UPDATE = ReferenceUpdate(time="2026-01-01T00:00:00Z", mids={"p": 1.0})


class Peer:
    """The server's and the client's side of one ASGI request."""

    def __init__(self, path, headers=(), extensions=None):
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.1"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"x"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "extensions": extensions or {},
            "state": {},
        }
        self.status = None
        self.gone = trio.Event()
        self.body = []
        self.complete = False
        self.blocked = None

    async def receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, event):
        await trio.lowlevel.checkpoint()
        if event["type"] == "http.response.start":
            self.status = event["status"]
            return
        if self.blocked is not None and event["body"]:
            with trio.CancelScope(shield=True):  # as servers do
                await self.blocked.wait()
        self.body.append(event["body"])
        self.complete = not event.get("more_body", False)

    @property
    def text(self):
        return b"".join(self.body).decode()


@asynccontextmanager
async def streaming(bench, peer):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.app, peer.scope, peer.receive, peer.send)
        await trio.testing.wait_all_tasks_blocked()
        yield peer
        peer.gone.set()


@pytest.fixture
async def bench():
    clock = TrioClock()
    async with open_bench(
        clock=clock, authorizer=JwtAuthorizer.from_secret(SECRET, clock=clock)
    ) as opened:
        yield opened


async def test_a_quiet_stream_is_kept_alive(bench, autojump_clock):
    async with streaming(bench, Peer("/updates")) as peer:
        assert peer.text == "retry: 1000\n\n"
        await trio.sleep(14)
        assert "keep-alive" not in peer.text
        await trio.sleep(20)
        assert peer.text.count(": keep-alive\n\n") == 2
        bench.hub.publish(MARKET, UPDATE)
        await trio.testing.wait_all_tasks_blocked()
        assert "event: reference" in peer.text
        await trio.sleep(14)
        assert peer.text.count("keep-alive") == 2  # counted from the last byte

    assert bench.hub.clients == 0


async def test_a_client_that_goes_ends_the_stream(bench):
    async with streaming(bench, Peer("/updates")) as peer:
        assert bench.hub.clients == 1

    assert bench.hub.clients == 0
    assert peer.status == 200


async def test_the_stream_of_a_bidder_ends_with_its_token(bench, autojump_clock):
    token = generate_jwt(BIDDER, SECRET, lifetime=60, now=bench.clock.now_ns())
    header = (b"authorization", f"Bearer {token}".encode())

    async with streaming(bench, Peer("/bidder/updates", [header])) as peer:
        await trio.sleep(89)  # with the leeway
        assert not peer.complete
        await trio.sleep(2)
        assert peer.complete

    assert bench.hub.clients == 0


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "", "9" * 30, "\u0661"])
async def test_an_id_that_is_none_of_ours_is_400(bench, last):
    peer = Peer("/updates", [(b"last-event-id", last.encode())])

    await bench.app(peer.scope, peer.receive, peer.send)

    assert peer.status == 400


@pytest.mark.parametrize(
    "path", [f"/product/{UUID(int=9)}/updates", "/product/x/updates"]
)
async def test_the_stream_of_an_unknown_product_is_refused(bench, path):
    peer = Peer(path)

    await bench.app(peer.scope, peer.receive, peer.send)

    assert peer.status in (400, 404)


async def test_an_administrator_has_no_bids_to_follow(bench):
    token = generate_jwt(None, SECRET, admin=True, now=bench.clock.now_ns())
    peer = Peer("/bidder/updates", [(b"authorization", f"Bearer {token}".encode())])

    await bench.app(peer.scope, peer.receive, peer.send)

    assert peer.status == 401


async def test_the_hubs_end_completes_the_stream(bench):
    async with streaming(bench, Peer("/updates")) as peer:
        bench.hub.publish(MARKET, UPDATE)
        bench.hub.close()
        await trio.testing.wait_all_tasks_blocked()

        assert "event: reference" in peer.text
        assert peer.complete


def push_all(lines, data, *, most):
    return [line for line in lines if not line.push(data, most=most)]


class Line:
    """A connection that takes what is pushed, as long as it has room."""

    def __init__(self, room=1000):
        self.aborted = 0
        self.room = room
        self.pushed = b""
        self.stopping = False
        self.on_stopped = None

    def abort(self):
        self.aborted += 1

    def push(self, data, *, most):
        assert most == 256
        self.room -= 1
        if self.room < 0:
            return False
        self.pushed += data
        return True

    @property
    def push_all(self):
        return push_all

    async def pump(self):
        await trio.sleep_forever()

    async def drain(self):
        await trio.lowlevel.checkpoint()

    @contextmanager
    def on_stop(self, callback):
        self.on_stopped = callback
        if self.stopping:
            callback()
        yield

    def stop(self):
        self.stopping = True
        self.on_stopped()


async def test_a_server_that_stops_completes_the_stream(bench):
    connection = Line()
    peer = Peer("/updates", extensions={CONNECTION: connection})
    async with streaming(bench, peer):
        connection.stop()
        await trio.testing.wait_all_tasks_blocked()

        assert peer.complete
    late = Peer("/updates", extensions={CONNECTION: connection})
    async with streaming(bench, late):
        assert late.complete  # the server is stopping already


async def test_events_are_pushed_where_the_server_lets_us(bench):
    connection = Line()
    bench.hub.publish(MARKET, UPDATE)
    async with streaming(
        bench, Peer("/updates", extensions={CONNECTION: connection})
    ) as peer:
        backlog = connection.pushed
        bench.hub.publish(MARKET, UPDATE)  # without any task being scheduled

        assert backlog.count(b"event: reference") == 1
        assert connection.pushed.count(b"event: reference") == 2
        assert peer.text == "retry: 1000\n\n"


async def test_a_quiet_stream_is_kept_alive_and_a_busy_one_needs_it_not(
    bench, autojump_clock
):
    connection = Line()
    async with streaming(bench, Peer("/updates", extensions={CONNECTION: connection})):
        await trio.sleep(10)
        bench.hub.publish(MARKET, UPDATE)
        await trio.sleep(10)  # the first period had an event
        quiet = connection.pushed.count(b": keep-alive")
        await trio.sleep(15)

        assert quiet == 0
        assert connection.pushed.count(b": keep-alive") == 1


async def test_a_client_without_room_is_cut_off_and_the_others_are_not(bench):
    slow, quick = Line(room=3), Line()
    async with (
        streaming(bench, Peer("/updates", extensions={CONNECTION: slow})) as peer,
        streaming(bench, Peer("/updates", extensions={CONNECTION: quick})),
    ):
        for _ in range(5):
            bench.hub.publish(MARKET, UPDATE)
        await trio.testing.wait_all_tasks_blocked()

        assert slow.aborted == 1
        assert slow.pushed.count(b"event:") == 3
        assert peer.complete
        assert quick.pushed.count(b"event:") == 5
        assert bench.hub.dropped == bench.hub.clients == 1


async def test_a_client_that_is_stuck_is_cut_off_where_nothing_can_be_pushed(bench):
    peer = Peer("/updates")
    async with streaming(bench, peer):
        peer.blocked = trio.Event()
        for _ in range(300):  # the queue holds 256
            bench.hub.publish(MARKET, UPDATE)
            await trio.lowlevel.checkpoint()

        assert bench.hub.dropped == 1
        assert bench.hub.clients == 0
        peer.blocked.set()
