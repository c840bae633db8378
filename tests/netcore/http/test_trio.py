"""The HTTP client under trio, over loopback."""

import contextlib
import socket
import ssl

import pytest
import trio
import trustme

from netcore.errors import ConnectError, ResolveError, UntrustedCertificate
from netcore.http import HttpServerConnection, HttpTimeout
from netcore.http import trio as http_trio
from netcore.http.trio import open_http
from netcore.info import Address, ConnectionInfo
from netcore.testing import reserved_port


class Server:
    """Answers what `respond` says; counts its connections."""

    def __init__(self):
        self.connections = 0
        self.most = 0
        self.open = 0
        self.silent = trio.Event()

    async def handle(self, stream):
        self.connections += 1
        self.open += 1
        self.most = max(self.most, self.open)
        protocol = HttpServerConnection()
        try:
            async for data in stream:
                for request in protocol.feed(data):
                    if request.target == "/silent":
                        self.silent.set()
                        await trio.sleep_forever()
                    body = f"{request.method} {request.target}".encode() + request.body
                    await stream.send_all(protocol.respond(200, body=body))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open -= 1


@pytest.fixture
async def server(nursery):
    server = Server()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server.port = listeners[0].socket.getsockname()[1]
    nursery.start_soon(trio.serve_listeners, server.handle, listeners)
    return server


def url(server):
    return f"http://127.0.0.1:{server.port}"


async def test_requests_share_a_connection(server):
    async with open_http(url(server), headers=[("User-Agent", "t")]) as client:
        for number in range(3):
            response = await client.get(f"/{number}")
            assert response.text == f"GET /{number}"
        response = await client.request("POST", "/p", body=b"hi", timeout=5)
        assert response.body == b"POST /phi"
        assert "127.0.0.1" in repr(client)

    assert server.connections == 1


async def test_tasks_wait_for_a_connection_in_turn(server):
    found = []

    async def get(number):
        found.append((await client.get(f"/{number}")).text)

    async with open_http(url(server), size=3) as client, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(get, number)

    assert sorted(found) == sorted(f"GET /{number}" for number in range(20))
    assert server.most <= 3


async def test_being_cancelled_closes_the_connection_only(server):
    async with open_http(url(server)) as client:
        await client.get("/")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.get, "/silent")
            await server.silent.wait()
            nursery.cancel_scope.cancel()
        assert (await client.get("/")).ok

    assert server.connections == 2


async def test_time_runs_out(server):
    async with open_http(url(server), timeout=0.01) as client:
        with pytest.raises(HttpTimeout):
            await client.get("/silent")
        with pytest.raises(HttpTimeout):
            await client.request("GET", "/silent", timeout=0.02)


async def test_a_deadline_by_trios_clock(server, patient_clock):
    async with open_http(url(server), timeout=3600) as client:
        begin = trio.current_time()
        with pytest.raises(HttpTimeout):
            await client.get("/silent")

    assert trio.current_time() - begin == pytest.approx(3600)


async def test_the_addresses_of_a_host_are_tried_in_turn(server, monkeypatch):
    asked = []

    async def resolve(info):
        asked.append(info.host)
        await trio.lowlevel.checkpoint()
        # Nobody listens at the first one.
        return [Address("127.0.0.2", server.port), Address("127.0.0.1", server.port)]

    monkeypatch.setattr(http_trio, "resolve", resolve)
    async with open_http(ConnectionInfo("venue.test", server.port)) as client:
        for _ in range(3):
            assert (await client.request("POST", "/", body=b"x")).ok

    assert asked == ["venue.test"]
    assert server.connections == 1


async def test_when_nobody_answers_the_addresses_are_asked_for_anew(monkeypatch):
    asked = []

    async def resolve(info):
        asked.append(info)
        await trio.lowlevel.checkpoint()
        return [Address("127.0.0.1", port)]

    monkeypatch.setattr(http_trio, "resolve", resolve)
    with reserved_port() as port:
        async with open_http(f"http://venue.test:{port}") as client:
            for _ in range(2):
                with pytest.raises(ConnectError):
                    await client.get("/")

    assert len(asked) == 2


class NoNames(trio.abc.HostnameResolver):
    """Knows no name at all, without asking a network for it."""

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002 - trio's names
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


async def test_a_name_without_address_is_an_error():
    trio.socket.set_custom_hostname_resolver(NoNames())
    async with open_http("http://venue.invalid") as client:
        with pytest.raises(ResolveError):
            await client.get("/")


async def test_spinning_finds_the_same_answers(server):
    async with open_http(url(server), spin=0.001) as client:
        assert (await client.get("/a")).text == "GET /a"


async def test_tls_is_verified(nursery):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = Server()

    async def serve(task_status):
        await trio.serve_ssl_over_tcp(
            quiet, 0, context, host="127.0.0.1", task_status=task_status
        )

    async def quiet(stream):
        with contextlib.suppress(trio.BrokenResourceError):
            await server.handle(stream)

    listeners = await nursery.start(serve)
    port = listeners[0].transport_listener.socket.getsockname()[1]
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with open_http(f"https://localhost:{port}", ssl_context=trusting) as client:
        assert (await client.get("/a")).text == "GET /a"
    async with open_http(f"https://localhost:{port}") as client:
        with pytest.raises(UntrustedCertificate):
            await client.get("/a")
