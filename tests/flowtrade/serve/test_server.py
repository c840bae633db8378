"""The server on a real socket: stops in order, survives its peers."""

import contextlib
import errno
import logging
import os
import re
import resource
import socket

import httpx
import pytest
import trio
import trio.testing

from flowtrade.errors import AddressInUse, CannotListen
from flowtrade.ports import CONNECTION
from flowtrade.serve import listen, serve
from flowtrade.serve import server as server_module
from flowtrade.serve.connection import ServedConnection


def reply(status, body=b""):
    head = {"type": "http.response.start", "status": status, "headers": []}
    return head, {"type": "http.response.body", "body": body}


class App:
    """Answers `/`; streams at `/stream` until told to stop; breaks at `/bug`."""

    def __init__(self):
        self.streaming = trio.Event()
        self.release = trio.Event()
        self.flooded = trio.Event()
        self.ended = []

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "http"  # the lifespan is the caller's
        match scope["path"]:
            case "/bug":
                raise ZeroDivisionError
            case "/stream":
                await self.stream(scope, receive, send)
            case "/slow":
                self.streaming.set()
                await self.release.wait()
                await self.answer(send, b"late")
            case "/flood":
                await self.flood(send)
            case _:
                body = b""
                while True:
                    event = await receive()
                    if event["type"] == "http.disconnect":
                        return
                    body += event["body"]
                    if not event["more_body"]:
                        break
                await self.answer(send, body or b"hello")

    async def answer(self, send, body):
        for event in reply(200, body):
            await send(event)

    async def stream(self, scope, receive, send):
        stop = trio.Event()
        head, _ = reply(200)
        with scope["extensions"][CONNECTION].on_stop(stop.set):
            await send(head)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            self.streaming.set()
            await stop.wait()
            await send({"type": "http.response.body", "body": b"bye"})
            self.ended.append("stream")

    async def flood(self, send):
        head, _ = reply(200)
        await send(head)
        chunk = {"type": "http.response.body", "body": b"x" * 2**20, "more_body": True}
        self.streaming.set()
        for _ in range(64):  # more than any socket's buffers
            await send(chunk)
        self.flooded.set()


@pytest.fixture
def app():
    return App()


@pytest.fixture
def shutdown():
    return trio.Event()


@pytest.fixture
async def url(app, shutdown, nursery):
    async def run(task_status):
        await serve(app, shutdown=shutdown, grace=0.5, task_status=task_status)

    return await nursery.start(run)


@pytest.fixture
async def connect():
    """Open connections that are closed after the test, whatever became of them."""
    streams = []

    async def open_one(url):
        streams.append(await trio.open_tcp_stream(*address(url)))
        return streams[-1]

    yield open_one
    for stream in streams:
        await trio.aclose_forcefully(stream)


def address(url):
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


async def read_head(stream):
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some()
    return data


async def test_a_request_is_answered_and_the_connection_kept(url):
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        first = await client.get("/")
        second = await client.post("/", content=b"payload")

    assert (first.text, second.text) == ("hello", "payload")
    assert "server" not in first.headers


async def test_a_port_that_is_taken_is_named():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUse, match=f"127.0.0.1:{port}"):
            await serve(App(), port=port)


async def test_an_address_that_is_not_ours_is_an_error():
    with pytest.raises(CannotListen, match=r": Cannot assign"):
        listen("203.0.113.1", 0)  # RFC 5737: nobody's


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
async def test_ipv6_is_served(app, shutdown, nursery):
    async def run(task_status):
        await serve(app, host="::1", shutdown=shutdown, task_status=task_status)

    try:
        url = await nursery.start(run)
    except OSError:
        pytest.skip("no IPv6 loopback")
    async with httpx.AsyncClient(timeout=120) as client:
        assert (await client.get(url)).text == "hello"
    shutdown.set()


async def test_a_stop_ends_streams_first_then_waits_for_what_is_in_flight(
    app, shutdown
):
    got = {}

    async with trio.open_nursery() as nursery:

        async def run(task_status):
            await serve(app, shutdown=shutdown, grace=60, task_status=task_status)
            got["served"] = True

        url = await nursery.start(run)

        async def read(path, client):
            got[path] = (await client.get(path)).text

        async with (
            httpx.AsyncClient(base_url=url, timeout=60) as client,
            trio.open_nursery() as requests,
        ):
            requests.start_soon(read, "/stream", client)
            await app.streaming.wait()
            app.streaming = trio.Event()
            requests.start_soon(read, "/slow", client)
            await app.streaming.wait()

            shutdown.set()
            while "/stream" not in got:
                await trio.lowlevel.checkpoint()
            assert "/slow" not in got
            with pytest.raises(OSError):  # noqa: PT011  # refused: nobody listens
                await trio.open_tcp_stream(*address(url))
            app.release.set()

    assert got == {"/stream": "xbye", "/slow": "late", "served": True}


async def test_what_is_not_done_within_the_grace_is_cut_off(
    app, url, shutdown, connect
):
    stream = await connect(url)
    await stream.send_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await app.streaming.wait()

    shutdown.set()

    assert await stream.receive_some() == b""


@pytest.fixture
def patient(monkeypatch):
    """A server that would wait ten minutes for a peer that stops reading."""
    monkeypatch.setattr(server_module, "_WRITE_STALL_MS", 600_000)


async def test_a_peer_that_stops_reading_does_not_hold_up_the_stop(
    app, shutdown, connect, patient
):
    async def run(task_status):
        await serve(app, shutdown=shutdown, grace=0.1, task_status=task_status)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:  # ends when the server does
            stream = await connect(await nursery.start(run))
            await stream.send_all(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
            await app.streaming.wait()  # and read nothing
            shutdown.set()


async def test_cancelling_the_server_frees_a_send_that_is_stuck(app, connect, patient):
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(
                lambda task_status: serve(app, task_status=task_status)
            )
            stream = await connect(url)
            await stream.send_all(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
            await app.streaming.wait()
            nursery.cancel_scope.cancel()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux only")
async def test_a_peer_that_stops_reading_is_given_up(
    app, connect, nursery, monkeypatch
):
    monkeypatch.setattr(server_module, "_WRITE_STALL_MS", 100)
    url = await nursery.start(lambda task_status: serve(app, task_status=task_status))
    stream = await connect(url)
    await stream.send_all(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")

    with trio.fail_after(60):
        await app.flooded.wait()


async def test_idle_connections_are_closed_by_a_stop(url, shutdown, connect):
    stream = await connect(url)
    await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await read_head(stream)

    shutdown.set()

    while await stream.receive_some():
        pass


HOSTILE = {
    "nonsense": b"\x00\x01\x02\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nab",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "long head": b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000,
    "bad chunk": b"POST / HTTP/1.1\r\nHost: x\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "half a body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
    "websocket and more": b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n\x00",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense",
    "h2c": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: !!\r\n\r\n",
    "a bug": b"GET /bug HTTP/1.1\r\nHost: x\r\n\r\n",
    "pipelined": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3,
    "nothing": b"",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
async def test_no_peer_takes_the_server_down(url, data, reset, connect):
    stream = await connect(url)
    with contextlib.suppress(trio.BrokenResourceError):  # it may refuse half of it
        if data:
            await stream.send_all(data)
        if not reset:
            await stream.send_eof()
    if reset:  # SO_LINGER 0: the kernel sends RST
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        stream.socket.close()
    await stream.aclose()

    async with httpx.AsyncClient(timeout=120) as client:
        assert (await client.get(url)).text == "hello"


async def test_a_bug_of_the_application_is_500_and_logged(url, caplog):
    async with httpx.AsyncClient(timeout=120) as client:
        assert (await client.get(f"{url}/bug")).status_code == 500

    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


async def test_a_connection_that_fails_is_logged_once_and_nobody_elses_problem(
    url, connect, monkeypatch, caplog
):
    faulty = OSError(errno.EIO, "the card has come loose")
    served = ServedConnection._serve

    async def fail(_connection):
        monkeypatch.setattr(ServedConnection, "_serve", served)  # the next one is well
        raise faulty

    monkeypatch.setattr(ServedConnection, "_serve", fail)
    stream = await connect(url)
    with trio.fail_after(60):
        assert await stream.receive_some() == b""

    other = await connect(url)
    await other.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200" in await read_head(other)
    (record,) = caplog.records
    assert record.exc_info[1] is faulty


@pytest.mark.parametrize("code", [errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT])
async def test_a_peer_that_has_gone_is_no_news(url, connect, monkeypatch, caplog, code):
    async def fail(_connection):
        raise OSError(code, "the peer has gone")

    monkeypatch.setattr(ServedConnection, "_serve", fail)
    stream = await connect(url)
    with trio.fail_after(60):
        assert await stream.receive_some() == b""

    assert caplog.records == []


async def test_pipelined_requests_are_answered_in_order(url, connect):
    stream = await connect(url)
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d"
    await stream.send_all(b"".join(request % number for number in range(3)))

    data = b""
    while len(bodies := re.findall(rb"\r\n\r\n(\d)(?=HTTP|$)", data)) < 3:
        data += await stream.receive_some()

    assert bodies == [b"0", b"1", b"2"]


async def test_all_pipelined_requests_of_one_read_are_answered(url, connect):
    stream = await connect(url)
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 300 + last)

    data = b""
    with trio.fail_after(120):
        while piece := await stream.receive_some():
            data += piece

    assert re.findall(rb"HTTP/1.1 (\d+)", data) == [b"200"] * 301


class Seen(logging.Handler):
    """Sets an event at the first record."""

    def __init__(self):
        super().__init__()
        self.event = trio.Event()

    def emit(self, record):
        self.event.set()


async def test_running_out_of_descriptors_is_waited_out(app, url, connect, caplog):
    seen = Seen()
    logger = logging.getLogger("flowtrade.serve.server")
    logger.addHandler(seen)
    stream = socket.socket()  # ours, made while there is room
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        stream.connect(address(url))
        with trio.fail_after(120):
            await seen.event.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        logger.removeHandler(seen)
        stream.close()

    async with httpx.AsyncClient(timeout=120) as client:
        assert (await client.get(url)).text == "hello"
    assert "cannot accept connections" in caplog.text


async def test_connections_over_the_limit_are_turned_away(
    app, url, monkeypatch, connect
):
    monkeypatch.setattr(server_module, "_MAX_CONNECTIONS", 1)
    monkeypatch.setattr(server_module, "_IDLE", 1e9)  # else it would go later, anyway
    held = await connect(url)
    await held.send_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await app.streaming.wait()

    turned_away = await connect(url)

    with trio.fail_after(60):
        assert await turned_away.receive_some() == b""
    app.release.set()
    assert b"200" in await read_head(held)


async def test_a_body_that_stops_coming_is_cut_off(app, url, monkeypatch, connect):
    monkeypatch.setattr(server_module, "_BODY_STALL", 0.05)
    stream = await connect(url)
    await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab")

    with trio.fail_after(120):
        while await stream.receive_some():
            pass
