"""Serving WebSockets: decisions, crashes of handlers, clients that misbehave."""

import logging
import ssl
from functools import partial

import pytest
import trio
import trio.testing
import trustme

from netcore.errors import ConnectionClosed, HandshakeError, TlsError
from netcore.trio import (
    Accept,
    Refuse,
    TrioWebSocket,
    WebSocketServer,
    open_websocket,
    serve_websocket,
)
from netcore.ws import Request, State, WebSocketOptions


async def hold(ws: TrioWebSocket) -> None:
    """Read until the end."""
    async for _ in ws:
        pass


async def start(nursery: trio.Nursery, handler=hold, **options) -> WebSocketServer:
    return await nursery.start(partial(serve_websocket, handler, 0, **options))


async def raw(server: WebSocketServer) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", server.port)


async def test_a_handler_that_returns_closes_in_order(nursery):
    async def greet(ws: TrioWebSocket) -> None:
        assert ws.state is State.OPEN
        ws.send_text("hello")

    server = await start(nursery, greet)
    async with open_websocket(server.url) as ws:
        assert [payload async for payload in ws] == [b"hello"]
    assert ws.close_code == 1000


async def test_a_handler_that_crashes_closes_with_1011_and_the_server_goes_on(
    nursery, caplog
):
    async def crash(ws: TrioWebSocket) -> None:
        if await ws.receive_text() == "crash":
            raise RuntimeError("handler's own fault")
        ws.send_text("fine")

    server = await start(nursery, crash)
    async with open_websocket(server.url) as ws:
        ws.send_text("crash")
        with (
            caplog.at_level(logging.ERROR, "netcore.trio"),
            pytest.raises(ConnectionClosed) as caught,
        ):
            await ws.read_batch()
    assert (caught.value.code, caught.value.reason) == (1011, "internal error")
    assert "handler's own fault" in caplog.text

    async with open_websocket(server.url) as ws:
        ws.send_text("behave")
        assert await ws.receive_text() == "fine"


async def test_a_client_that_vanishes_only_ends_its_own_handler(nursery, caplog):
    ended = trio.Event()

    async def wait(ws: TrioWebSocket) -> None:
        try:
            await hold(ws)
        finally:
            ended.set()

    server = await start(nursery, wait)
    with caplog.at_level(logging.INFO, "netcore.trio"):
        async with open_websocket(server.url) as ws:
            ws.abort()
        await ended.wait()
        await trio.testing.wait_all_tasks_blocked()

    assert caplog.text == ""
    async with open_websocket(server.url):
        pass


async def test_requests_are_decided_by_their_head(nursery):
    def decide(request: Request) -> Accept | Refuse:
        if request.path != "/feed":
            return Refuse(404, headers=(("X-Hint", "/feed"),), body=b"no such feed")
        return Accept("v2", headers=(("X-Id", "7"),))

    server = await start(nursery, decide=decide)
    with pytest.raises(HandshakeError) as caught:
        async with open_websocket(f"{server.url}/other"):
            pass
    assert (caught.value.status, caught.value.body) == (404, b"no such feed")
    assert ("X-Hint", "/feed") in caught.value.headers

    async with open_websocket(f"{server.url}/feed", subprotocols=["v1", "v2"]) as ws:
        assert ws.subprotocol == "v2"
        assert ws.agreement is not None
        assert ("X-Id", "7") in ws.agreement.headers


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 426 "),
        (b"POST / HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 405 "),
        (b"\x16\x03\x01\r\n\r\n", b"HTTP/1.1 400 "),
        (b"x" * 20_000, b"HTTP/1.1 400 "),
    ],
)
async def test_what_is_no_upgrade_is_answered_and_hung_up(nursery, request_, answer):
    server = await start(nursery)
    stream = await raw(server)
    async with stream:
        await stream.send_all(request_)
        data = b"".join([piece async for piece in stream])

    assert data.startswith(answer)


async def test_a_client_that_leaves_during_its_request_is_forgotten(nursery):
    server = await start(nursery)
    stream = await raw(server)
    await stream.send_all(b"GET / HT")
    await stream.aclose()

    async with open_websocket(server.url):
        pass


async def test_a_client_that_never_asks_runs_out_of_time(nursery, patient_clock):
    server = await start(nursery, options=WebSocketOptions(open_timeout=4))
    stream = await raw(server)
    before = trio.current_time()
    async with stream:
        assert await stream.receive_some() == b""
    assert trio.current_time() - before == pytest.approx(4)


async def test_too_many_connections_are_turned_away(nursery, caplog):
    server = await start(nursery, max_connections=1)
    async with open_websocket(server.url):
        stream = await raw(server)
        async with stream:
            with caplog.at_level(logging.WARNING, "netcore.trio"):
                assert await stream.receive_some() == b""
        assert "too many connections" in caplog.text
    async with open_websocket(server.url):
        pass


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def server_context(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_tls_clients_that_refuse_or_never_shake_leave_the_server_up(
    nursery, authority, server_context, patient_clock
):
    server = await start(
        nursery, ssl_context=server_context, options=WebSocketOptions(open_timeout=4)
    )
    assert server.secure
    with pytest.raises(TlsError):
        async with open_websocket(server.url):
            pass
    stream = await raw(server)
    async with stream:
        assert await stream.receive_some() == b""

    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with open_websocket(server.url, ssl_context=trusting) as ws:
        assert ws.state is State.OPEN


async def test_options_reach_the_connections(nursery):
    server = await start(nursery, options=WebSocketOptions(max_message_size=10))
    async with open_websocket(server.url) as ws:
        ws.send_binary(bytes(11))
        with pytest.raises(ConnectionClosed) as caught:
            await ws.read_batch()
    assert caught.value.code == 1009


async def test_stopping_the_server_says_goodbye_to_its_clients(nursery):
    async with trio.open_nursery() as servers:
        server = await start(servers)
        async with open_websocket(server.url) as ws:
            servers.cancel_scope.cancel()
            with trio.CancelScope(shield=True), pytest.raises(ConnectionClosed) as end:
                await ws.read_batch()
    assert end.value.code == 1001


def test_a_servers_url_names_its_first_socket():
    server = WebSocketServer((("::1", 80), ("127.0.0.1", 81)))

    assert (server.port, server.url) == (80, "ws://[::1]:80")


async def test_several_interfaces_can_be_served(nursery):
    server = await start(nursery, host=None)
    async with open_websocket(f"ws://127.0.0.1:{server.port}") as ws:
        assert ws.state is State.OPEN


async def test_a_cancelled_handler_with_tasks_of_its_own_says_going_away(nursery):
    async def busy(ws: TrioWebSocket) -> None:
        async with trio.open_nursery() as own:
            own.start_soon(hold, ws)
            ws.send_text("ready")
            await trio.sleep_forever()

    async with trio.open_nursery() as server_nursery:
        server = await server_nursery.start(partial(serve_websocket, busy, 0))
        async with open_websocket(server.url) as ws:
            assert await ws.receive_text() == "ready"
            server_nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True), pytest.raises(ConnectionClosed) as end:
                await ws.read_batch()
    assert (end.value.code, end.value.reason) == (1001, "the server stops")
