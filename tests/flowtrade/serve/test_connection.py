"""What one connection does with HTTP and ASGI, on a real socket."""

import itertools
import re
import socket
import time
from email.utils import parsedate_to_datetime

import pytest
import trio
import trio.testing

from flowtrade.ports import CONNECTION
from flowtrade.serve import serve
from flowtrade.serve import server as server_module
from flowtrade.serve.connection import ServedConnection
from netcore.http import Limits


class Echo:
    """Answers with what it was asked; streams and pushes on demand."""

    def __init__(self):
        self.scopes = []
        self.connection = None
        self.ready = trio.Event()
        self.gone = trio.Event()
        self.refused = 0

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        match scope["path"]:
            case "/pieces":
                await self.begin(send)
                for piece in (b"one", b"", b"two"):
                    await self.piece(send, piece)
                await self.piece(send, b"three", more=False)
            case "/broken":
                await self.begin(send)
                await self.piece(send, b"one")
                raise ZeroDivisionError
            case "/push":
                await self.push(scope, receive, send)
            case "/half":
                await self.begin(send)
            case "/twice":
                await self.begin(send)
                await self.begin(send)
            case "/patient":
                await self.wait_for_the_peer(receive)
                await self.begin(send, status=200)
                await self.piece(send, b"", more=False)
            case "/late":
                await self.wait_for_the_peer(receive)
                with scope["extensions"][CONNECTION].on_stop(self.ready.set):
                    await self.begin(send)
                    await self.piece(send, b"late", more=False)
            case "/empty":
                await self.begin(send, status=204)
                await self.piece(send, b"", more=False)
            case _:
                body = (await receive())["body"]
                await self.begin(send, headers=[(b"content-length", b"999")])
                await self.piece(send, body or b"hello", more=False)

    async def begin(self, send, *, status=200, headers=()):
        start = {"type": "http.response.start", "status": status}
        await send({**start, "headers": [(b"x-test", b"1"), *headers]})

    async def piece(self, send, body, *, more=True):
        await send({"type": "http.response.body", "body": body, "more_body": more})

    async def wait_for_the_peer(self, receive):
        """Look for the peer's going until it is said that it will not."""
        await receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            self.ready.set()
            await self.gone.wait()
            nursery.cancel_scope.cancel()

    async def push(self, scope, receive, send):
        self.connection = scope["extensions"][CONNECTION]
        await self.begin(send)
        await self.piece(send, b"head;")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.connection.pump)
            self.ready.set()
            await receive()
            assert (await receive())["type"] == "http.disconnect"
            self.gone.set()
            nursery.cancel_scope.cancel()


@pytest.fixture
def app():
    return Echo()


@pytest.fixture
async def peer(app, nursery):
    async def run(task_status):
        await serve(app, grace=0.1, task_status=task_status)

    url = await nursery.start(run)
    stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
    yield stream
    await trio.aclose_forcefully(stream)


async def until_end(stream):
    data = b""
    with trio.fail_after(60):
        while more := await stream.receive_some():
            data += more
    return data


async def until(stream, text):
    data = b""
    with trio.fail_after(60):
        while text not in data:
            data += await stream.receive_some()
    return data


GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_the_scope_is_what_asgi_says(app, peer):
    await peer.send_all(
        b"GET /a%20b/%C3%A4?q=%20x&y HTTP/1.1\r\nHost: x\r\nX-A: \xe4 b \r\n"
        b"X-a: 2\r\n\r\n"
    )
    await until(peer, b"hello")

    (scope,) = app.scopes
    assert scope["path"] == "/a b/ä"
    assert scope["raw_path"] == b"/a%20b/%C3%A4"
    assert scope["query_string"] == b"q=%20x&y"
    assert scope["headers"] == [(b"host", b"x"), (b"x-a", b"\xe4 b"), (b"x-a", b"2")]
    assert scope["client"][0] == scope["server"][0] == "127.0.0.1"
    assert (scope["type"], scope["method"], scope["http_version"]) == (
        "http",
        "GET",
        "1.1",
    )


async def test_lengths_are_ours_to_write(peer):
    await peer.send_all(GET % b"/")
    data = await until(peer, b"hello")

    assert data.count(b"ontent-") == 1
    assert b"Content-Length: 5\r\n" in data


async def test_a_response_in_pieces_is_chunked_and_the_last(peer):
    await peer.send_all(GET % b"/pieces")
    head, _, body = (await until_end(peer)).partition(b"\r\n\r\n")

    assert b"Transfer-Encoding: chunked" in head
    assert b"Connection: close" in head
    assert body == b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"


async def test_nothing_is_answered_behind_a_response_in_pieces(app, peer):
    await peer.send_all(GET % b"/pieces")
    await until(peer, b"0\r\n\r\n")
    await peer.send_all(GET % b"/")  # into nothing

    assert await until_end(peer) == b""
    assert [scope["path"] for scope in app.scopes] == ["/pieces"]


async def test_what_comes_during_an_answer_is_answered_after_it(app, peer):
    await peer.send_all(GET % b"/patient")
    await app.ready.wait()
    await peer.send_all(GET % b"/")
    await trio.testing.wait_all_tasks_blocked()
    app.gone.set()

    data = await until(peer, b"hello")
    assert data.startswith(b"HTTP/1.1 200")
    assert data.count(b"HTTP/1.1 200") == 2


async def test_others_have_their_turns_while_what_one_read_brought_is_answered(
    app, peer, nursery
):
    seen = []

    async def others():
        while True:
            await trio.lowlevel.checkpoint()
            seen.append(len(app.scopes))

    await peer.send_all(GET % b"/patient")
    await app.ready.wait()
    await peer.send_all(GET % b"/" * 100)
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(others)
    app.gone.set()

    data = b""
    with trio.fail_after(60):
        while data.count(b"hello") < 100:
            data += await peer.receive_some()
    nursery.cancel_scope.cancel()
    steps = [after - before for before, after in itertools.pairwise(seen)]
    assert sum(steps) >= 60
    assert max(steps) <= 2 * 16  # which of two tasks is first, is by lot


async def test_a_stop_during_an_answer_ends_the_connection_after_it(nursery):
    app, shutdown, ended = Echo(), trio.Event(), trio.Event()

    async def run(task_status):
        await serve(app, shutdown=shutdown, grace=1e9, task_status=task_status)
        ended.set()

    url = await nursery.start(run)
    stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
    await stream.send_all(GET % b"/patient")
    await app.ready.wait()
    shutdown.set()
    await trio.testing.wait_all_tasks_blocked()
    app.gone.set()

    assert (await until_end(stream)).startswith(b"HTTP/1.1 200")
    await stream.aclose()
    with trio.fail_after(60):
        await ended.wait()


async def test_who_asks_after_the_stop_is_told_of_it_at_once(nursery):
    app, shutdown = Echo(), trio.Event()

    async def run(task_status):
        await serve(app, shutdown=shutdown, grace=1e9, task_status=task_status)

    url = await nursery.start(run)
    stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
    await stream.send_all(GET % b"/late")
    await app.ready.wait()
    shutdown.set()
    await trio.testing.wait_all_tasks_blocked()
    app.ready = trio.Event()
    app.gone.set()

    assert (await until_end(stream)).endswith(b"late")
    assert app.ready.is_set()
    await stream.aclose()


async def test_a_client_of_http_1_0_gets_no_chunks(peer):
    await peer.send_all(b"GET /pieces HTTP/1.0\r\n\r\n")
    head, _, body = (await until_end(peer)).partition(b"\r\n\r\n")

    assert b"chunked" not in head
    assert body == b"onetwothree"


async def test_head_has_no_body_and_keeps_the_connection(peer):
    await peer.send_all(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" + GET % b"/")
    data = await until(peer, b"hello")

    assert data.count(b"Content-Length: 5") == 2
    assert data.count(b"hello") == 1


async def test_a_status_without_content_has_no_length(peer):
    await peer.send_all(GET % b"/empty")
    data = await until(peer, b"\r\n\r\n")

    assert data.startswith(b"HTTP/1.1 204")
    assert b"ontent-" not in data


async def test_a_client_that_asks_first_is_told_to_go_on(peer):
    await peer.send_all(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    assert await until(peer, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await peer.send_all(b"abc")

    assert (await until(peer, b"abc")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_requests_may_be_cut_anywhere(peer, size):
    wire = (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    ) + GET % b"/"
    for start in range(0, len(wire), size):
        await peer.send_all(wire[start : start + size])

    data = await until(peer, b"hello")
    assert re.findall(rb"\r\n\r\n(abcde|hello)", data) == [b"abcde", b"hello"]


async def test_a_request_to_upgrade_is_answered_as_if_it_had_not_asked(peer):
    await peer.send_all(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\n\r\n\x00\x01"
    )
    assert (await until_end(peer)).endswith(b"hello")


@pytest.mark.parametrize("path", [b"/half", b"/twice"])
async def test_an_application_that_does_not_answer_is_a_bug(peer, path, caplog):
    await peer.send_all(GET % path)
    data = await until_end(peer)

    assert data.startswith(b"HTTP/1.1 500") or data == b""
    assert [record.exc_info[0] for record in caplog.records] == [RuntimeError]


async def test_an_answer_that_a_bug_cuts_short_has_no_end(app, peer, caplog):
    await peer.send_all(GET % b"/broken")
    head, _, body = (await until_end(peer)).partition(b"\r\n\r\n")

    assert b"Transfer-Encoding: chunked" in head
    assert body == b"3\r\none\r\n"
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


@pytest.mark.parametrize(
    ("sent", "setting"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow", "_HEAD"),
        (b"", "_IDLE"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab", "_BODY_STALL"),
    ],
)
@pytest.mark.parametrize("before", [0, 1])
async def test_a_peer_that_keeps_us_waiting_is_cut_off(
    peer, sent, setting, before, monkeypatch
):
    if before:
        await peer.send_all(GET % b"/")
        await until(peer, b"hello")
    monkeypatch.setattr(server_module, setting, 0.05)
    await peer.send_all(sent)

    assert await until_end(peer) == b""


def test_a_head_has_its_time_from_its_first_byte(monkeypatch):
    ours, theirs = socket.socketpair()
    now = [0.0]
    monkeypatch.setattr(trio, "current_time", lambda: now[0])
    with ours, theirs:
        line = ServedConnection(ours, None, Limits())
        limits = {"head": 5.0, "idle": 75.0, "stall": 30.0}
        assert not line.overdue(75.0, **limits)
        assert line.overdue(75.1, **limits)
        for now[0], piece in ((70.0, b"G"), (73.0, b"E"), (74.0, b"T")):
            line._note(piece, done=False)
        assert not line.overdue(75.0, **limits)
        assert line.overdue(75.1, **limits)
        line._note(b" / HTTP/1.1\r\nContent-Length: 1\r\n\r\n", done=False)
        assert not line.overdue(104.0, **limits)
        assert line.overdue(104.1, **limits)
        line._note(b"x", done=True)
        assert not line.overdue(149.0, **limits)
        assert line.overdue(149.1, **limits)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (GET % b"/", b"200"),
        (GET % b"/pieces", b"200"),
        (b"GET / HTTP/1.0\r\nHost: x\r\nConnection: close\r\n\r\n", b"200"),
        (b"GET /\r\n\r\n", b"505"),
    ],
)
async def test_every_answer_tells_its_time(peer, sent, status):
    earliest = int(time.time())
    await peer.send_all(sent)
    data = await until(peer, b"\r\n\r\n")

    assert data.startswith(b"HTTP/1.1 " + status)
    (told,) = re.findall(rb"\r\n[Dd]ate: ([^\r]+ GMT)\r\n", data)
    at = parsedate_to_datetime(told.decode()).timestamp()
    assert earliest <= at <= time.time()


def push_alone(connection, data):
    return connection.push(data, most=10_000)


def push_to_all(connection, data):
    return not connection.push_all([connection], data, most=10_000)


@pytest.mark.parametrize("push", [push_alone, push_to_all])
async def test_what_is_pushed_arrives_in_order_however_slowly_it_is_read(
    app, peer, push
):
    await peer.send_all(GET % b"/push")
    await app.ready.wait()
    events = [b"%06d;" % n * 2_000 for n in range(1_500)]  # more than the buffers hold
    sent = []
    for event in events:
        if push(app.connection, event):
            sent.append(event)
        else:
            app.refused += 1

    data = await until(peer, sent[-1][-2_000:])
    assert app.refused > 0  # there was no room for all of them
    await peer.aclose()
    with trio.fail_after(60):
        await app.gone.wait()
    _, _, body = data.partition(b"\r\n\r\n")
    text = b"".join(re.findall(rb"[0-9]{6};", re.sub(rb"\r\n[0-9a-f]+\r\n", b"", body)))
    assert text == b"".join(sent)


async def test_one_piece_is_pushed_to_peers_of_all_kinds_in_each_ones_framing(
    nursery,
):
    app = Echo()
    url = await nursery.start(lambda task_status: serve(app, task_status=task_status))
    port = int(url.rpartition(":")[2])
    connections, streams = [], []
    for version in (b"1.1", b"1.0", b"1.1", b"1.1"):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(b"GET /push HTTP/%b\r\nHost: x\r\n\r\n" % version)
        await app.ready.wait()
        app.ready, app.gone = trio.Event(), trio.Event()
        connections.append(app.connection)
        streams.append(stream)
    chunked, plain, stuck, gone = connections
    await streams.pop().aclose()
    with trio.fail_after(60):
        await app.gone.wait()
    flood = b"%06d;" % 7 * 5_000_000  # more than the buffers hold, and than may wait
    assert stuck.push(flood, most=1)

    (refusing,) = chunked.push_all(connections, b"first;", most=1)
    assert chunked.push_all([chunked, plain], b"second;", most=1) == []

    assert refusing is stuck
    assert (await until(streams[0], b"second;\r\n")).endswith(
        b"6\r\nfirst;\r\n7\r\nsecond;\r\n"
    )
    assert (await until(streams[1], b"second;")).endswith(b"head;first;second;")
    assert gone not in (refusing, stuck)
    for stream in streams:
        await stream.aclose()


async def test_as_many_pieces_wait_as_may(app, peer):
    await peer.send_all(GET % b"/push")
    await app.ready.wait()
    connection, taken = app.connection, 0
    while not connection._outbox:  # until nothing more fits into the buffers
        assert connection.push(b"x" * 50_000, most=3)

    while connection.push(b"y", most=3):
        taken += 1

    assert taken == 2  # beside what did not fit


async def test_a_push_to_a_peer_that_has_gone_is_no_error(app, peer):
    await peer.send_all(GET % b"/push")
    await app.ready.wait()
    await peer.aclose()
    with trio.fail_after(60):
        await app.gone.wait()

    assert app.connection.push(b"x", most=1)
    assert app.connection.push_all([app.connection], b"x", most=1) == []


async def test_a_body_over_the_limit_is_refused_at_its_head(app, nursery):
    url = await nursery.start(
        lambda task_status: serve(app, body_limit=100, task_status=task_status)
    )
    stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
    await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n")

    assert (await until_end(stream)).startswith(b"HTTP/1.1 413")
    assert app.scopes == []
    await stream.aclose()


class Shortcut:
    """Answers `/short`, and notes all that it is shown."""

    def __init__(self):
        self.shown = []
        self.fails = False

    def __call__(self, request, line):
        self.shown.append(request.path)
        assert line.client[0] == "127.0.0.1"
        return self.answer(request) if request.path == b"/short" else None

    async def answer(self, request):
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise ZeroDivisionError
        size = len(request.body)
        return b"HTTP/1.1 200 \r\nContent-Length: %d\r\n\r\n" % size + request.body


@pytest.fixture
def shortcut():
    return Shortcut()


@pytest.fixture
async def short_peer(app, shortcut, nursery):
    async def run(task_status):
        await serve(app, grace=0.1, shortcut=shortcut, task_status=task_status)

    url = await nursery.start(run)
    stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
    yield stream
    await trio.aclose_forcefully(stream)


PUT = b"PUT /short HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"


async def test_plain_requests_go_the_short_way_and_others_the_long_one(
    app, shortcut, short_peer
):
    chunked = (
        b"PUT /short HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nlong1\r\n0\r\n\r\n"
    )
    for wire, answer in (
        (PUT % (6, b"short1"), b"short1"),
        (GET % b"/", b"hello"),  # shown, and left to the application
        (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", b"Content-Length: 5\r\n\r\n"),
        (PUT % (6, b"short2"), b"short2"),  # although netcore has read in between
        (PUT % (5, b"long0") + GET % b"/", b"hello"),
        (chunked, b"long1"),
        (PUT % (5, b"long2"), b"long2"),  # netcore has not said where it stands
    ):
        await short_peer.send_all(wire)
        assert (await until(short_peer, answer)).startswith(b"HTTP/1.1 200")

    assert shortcut.shown == [b"/short", b"/", b"/short"]
    assert [scope["method"] for scope in app.scopes] == [
        *("GET", "HEAD", "PUT", "GET", "PUT", "PUT")
    ]


async def test_a_plain_request_that_comes_in_two_parts_is_read_whole(
    app, shortcut, short_peer
):
    wire = PUT % (9, b"in two go")
    for cut in (10, len(wire) - 1):
        await short_peer.send_all(wire[:cut])
        await trio.testing.wait_all_tasks_blocked()
        await short_peer.send_all(wire[cut:])
        assert (await until(short_peer, b"in two go")).startswith(b"HTTP/1.1 200")


async def test_a_body_that_looks_like_a_request_is_none(app, shortcut, short_peer):
    hidden = PUT % (4, b"evil")
    first = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"PUT /long HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    await short_peer.send_all(first + head % len(hidden))
    await until(short_peer, b"\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()

    await short_peer.send_all(hidden)

    assert (await until(short_peer, hidden)).startswith(b"HTTP/1.1 200")
    assert shortcut.shown == []
    assert [scope["path"] for scope in app.scopes] == ["/", "/long"]


async def test_a_peer_that_goes_after_its_answer_ends_the_connection(
    shortcut, short_peer
):
    await short_peer.send_all(PUT % (4, b"last"))
    await until(short_peer, b"last")
    await short_peer.send_eof()

    assert await until_end(short_peer) == b""


async def test_an_exception_on_the_short_way_ends_its_connection_alone(
    shortcut, short_peer, caplog
):
    shortcut.fails = True
    await short_peer.send_all(PUT % (1, b"x"))
    answer = await until(short_peer, b"\r\n\r\n")
    await short_peer.send_all(PUT % (1, b"y"))  # into nothing

    assert answer.startswith(b"HTTP/1.1 500")
    assert await until_end(short_peer) == b""
    assert shortcut.shown == [b"/short"]
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]
