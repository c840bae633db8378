"""With and without the short way, a connection says the same, byte for byte.

Streams of requests in every spelling that HTTP allows, and in some that it does not,
are sent in pieces cut anywhere: once to a connection as it is, once to one on which
`netcore.http` reads everything and the framework answers.
"""

import re
import socket
from contextlib import asynccontextmanager
from itertools import pairwise

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowtrade.api.front import Front, shortcut_of
from flowtrade.serve import connection as module
from flowtrade.serve.connection import ServedConnection
from flowtrade.settings import ServerSettings, Settings
from flowtrade.testing.bench import open_bench
from netcore.http import Limits

DEMAND = "aaaaaaaa-0000-4000-8000-000000000000"
TOKEN = (
    "bidder_id=11111111-1111-4111-8111-111111111111&can_create_bid=true"
    "&can_read_bid=true&can_update_bid=true&can_query_bid=true"
)
NEW = f'{{"app_data":"{DEMAND}","curve_data":{{"price":1}}}}'.encode()
LIMITS = Limits(max_head=600, max_headers=12, max_body=300)


@pytest.fixture(autouse=True, scope="module")
def one_moment():
    """Answers of two seconds would differ."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flowtrade.serve.connection._date", lambda: "now")
        yield


TARGETS = [
    "/demand",
    f"/demand/{DEMAND}",
    f"/demand/{DEMAND.upper()}",
    f"/dem%61nd/{DEMAND}",
    f"/demand/{DEMAND}?as_of=2001-01-01T00:00:00%2B00:00",
    f"/demand/{DEMAND}?as_of=2001-01-01T00:00:00+00:00&as_of=x",
    f"/demand/{DEMAND}/",
    f"//demand/{DEMAND}",
    f"http://x.example/demand/{DEMAND}?a",
    "/%zz%",
    "/a%2Fb;c=d,e?%",
    "*",
    "x",
]
BODIES = [
    b"",
    NEW,
    b'{"price":2}',
    b'[{"rate":0,"price":1}]',
    b"{",
    b"GET /demand HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\n\r\n",
    b" " * 301,
]
LINES = [
    "Authorization: Bearer " + TOKEN,
    "authorization:Bearer " + TOKEN,
    "AUTHORIZATION:  Bearer  " + TOKEN + " ",
    "Authorization: Basic x",
    "Content-Type: application/json",
    "content-TYPE:\tapplication/json;charset=utf-8",
    "Content-Type: text/plain",
    'If-Match: "2023-11-14T22:13:20Z"',
    "If-Match: *",
    "Idempotency-Key: k",
    "Origin: https://elsewhere.example",
    "X-Other: a: b,\tc",
    "X-Other:",
    "Accept : */*",
    " folded",
    "Host: y",
    "Connection: keep-alive",
    "Connection: close",
    "Connection: Keep-Alive, X-Other",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "Content-Length: 0",
    "Content-Length: 7",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip",
]
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]


@st.composite
def requests(draw):
    """A request: every other one is plain, the rest as odd as can be."""
    odd = draw(st.booleans())
    method = draw(st.sampled_from(METHODS if odd else METHODS[:5]))
    target = draw(st.sampled_from(TARGETS if odd else TARGETS[:8]))
    body = draw(st.sampled_from(BODIES))
    lines = ["Host: x.example:80", LINES[0], LINES[4]]
    version, frame, ending = "1.1", "length", "\r\n"
    if odd:
        lines[0] = draw(st.sampled_from([lines[0], "host:x", "Host: a/b"]))
        lines = lines[: draw(st.integers(0, 3))]
        lines += draw(st.lists(st.sampled_from(LINES), max_size=2))
        version = draw(st.sampled_from(["1.1", "1.1", "1.0", "1.2", "2.0"]))
        frame = draw(st.sampled_from(["length", "padded length", "chunked", "none"]))
        ending = draw(st.sampled_from(["\r\n"] * 8 + ["\n"]))
    if "length" in frame and body:
        lines.append(f"Content-Length: {'0' if 'padded' in frame else ''}{len(body)}")
    elif frame == "chunked":
        lines.append("transfer-encoding: Chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    lines = draw(st.permutations(lines))
    head = ending.join([f"{method} {target} HTTP/{version}", *lines, "", ""])
    return head.encode() + body


@st.composite
def conversations(draw):
    """Requests, one behind the other, in pieces that begin and end anywhere."""
    wires = draw(st.lists(requests(), min_size=1, max_size=4))
    if draw(st.booleans()):
        return wires  # each in one piece
    data = b"".join(wires)
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=4))
    edges = sorted({0, *cuts, len(data)})
    return [data[a:b] for a, b in pairwise(edges)]


async def told(pieces, app, shortcut):
    """Return all that a connection sends until it ends."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    connection = ServedConnection(ours, app, LIMITS, shortcut)
    heard = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        async with trio.SocketStream(trio.socket.from_stdlib_socket(theirs)) as peer:
            for piece in pieces:
                try:
                    await peer.send_all(piece)
                except trio.BrokenResourceError:  # it has had enough
                    break
                await trio.testing.wait_all_tasks_blocked()
            try:
                await peer.send_eof()
                while more := await peer.receive_some():
                    heard += more
            except trio.BrokenResourceError:
                pass
    return heard


@asynccontextmanager
async def nothing_is_plain():
    kept, module.read_plain = module.read_plain, lambda *_: None
    try:
        yield
    finally:
        module.read_plain = kept


async def echo(scope, receive, send):
    """Answer with all that the application is told of a request."""
    seen = {key: repr(scope[key]) for key in scope if key != "extensions"}
    body = msgspec.json.encode({**seen, "body": repr(await receive())})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@given(conversations())
@example([b"GET /%61?%62 HTTP/1.1\r\nHost: x\r\n\r\n"] * 2)
@example([b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 007\r\n\r\nGET / H"] * 2)
@settings(max_examples=100)
async def test_an_application_is_told_the_same(pieces):
    short = await told(pieces, echo, None)
    async with nothing_is_plain():
        long = await told(pieces, echo, None)

    assert short == long


@given(conversations())
@settings(max_examples=25)
async def test_a_service_answers_and_does_the_same(pieces):
    # It is made anew for each: what one request has done, the next would find.
    plain = Settings(server=ServerSettings(body_limit=1024))
    made = post(NEW), *pieces, post(NEW.replace(b"aaaa", b"bbbb"))
    async with open_bench(plain) as hot, open_bench(plain) as framed:
        short = await told(made, hot.app, shortcut_of(hot.app))
        front = framed.app.asgi_handler
        assert isinstance(front, Front)
        front._hot.clear()
        async with nothing_is_plain():
            long = await told(made, framed.app, None)

        assert without_order(short) == without_order(long)
        assert short.startswith(b"HTTP/1.1 201")
        assert hot.service.mirror.at == framed.service.mirror.at
        assert state_of(hot) == state_of(framed)


GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
PUT = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED = (
    b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4\r\nbody\r\n0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([PUT[:-4], PUT[-4:], GET % 1, GET % 2], [b"/1", b"/2"]),
        ([PUT[:9], PUT[9:-1], PUT[-1:], GET % 1], [b"/1"]),
        ([GET % 0, PUT[:-4], PUT[-4:], GET % 1], [b"/0", b"/1"]),
        ([PUT[:-4], PUT[-4:] + GET % 1, GET % 2], []),
        ([PUT + GET % 1, GET % 2], []),
        ([PUT + (GET % 1)[:9], (GET % 1)[9:], GET % 2], []),
        ([CHUNKED, GET % 1], []),
        ([PUT[:-4].replace(b" 4", b" 70"), b"x" * 40, b"x" * 30, GET % 1], []),
    ],
)
async def test_where_it_is_known_that_a_request_begins_it_may_be_plain(
    pieces, shown, monkeypatch
):
    # Clients that send head and body apart are the rule, not the exception.
    monkeypatch.setattr(module, "_BEGUN", len(PUT) + 20)
    found = []

    def shortcut(request, _line):
        found.append(request.path)

    data = await told(pieces, echo, shortcut)

    assert found == shown
    assert data.count(b"HTTP/1.1 200") == b"".join(pieces).count(b"HTTP/1.1")


def post(body):
    lines = f"Host: x\r\n{LINES[0]}\r\n{LINES[4]}\r\nContent-Length: {len(body)}"
    return f"POST /demand HTTP/1.1\r\n{lines}\r\n\r\n".encode() + body


def without_order(data):
    """Sort header lines: the framework has an order of its own."""
    heads = re.split(rb"(?=HTTP/1\.1 \d\d\d )", data)
    pairs = [head.partition(b"\r\n\r\n") for head in heads]
    return [(sorted(head.lower().split(b"\r\n")), body) for head, _, body in pairs]


def state_of(bench):
    mirror = bench.service.mirror
    views = mirror.demands_of("11111111-1111-4111-8111-111111111111")
    return mirror.sizes(), [msgspec.structs.astuple(view) for view in views]
