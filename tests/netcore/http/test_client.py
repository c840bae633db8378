"""Requests over pooled connections: reuse, repetition, time, and every kind of end."""

import gc
import socket
import ssl
import threading
import types

import pytest
import trustme

from netcore.errors import ConnectError, ConnectionLost, UntrustedCertificate
from netcore.http import (
    BadMessage,
    FixedPool,
    HttpClient,
    HttpProtocolError,
    HttpServerConnection,
    HttpTimeout,
    Limits,
    MessageTooLarge,
    PoolExhausted,
    RequestInvalidated,
    ServerDisconnected,
    SinglePool,
)
from netcore.info import ConnectionInfo
from netcore.testing import (
    ChaosStream,
    ManualClock,
    memory_stream_pair,
    random_sizes,
    reserved_port,
)

GUARD_SECONDS = 60  # against hanging; nothing asserts a duration


class Server:
    """The other ends of the streams that a pool dials, answering by hand."""

    def __init__(self):
        self.ends = []
        self.protocols = []
        self.wrap = lambda stream: stream

    def dial(self):
        ours, theirs = memory_stream_pair()
        self.ends.append(theirs)
        self.protocols.append(HttpServerConnection())
        return self.wrap(ours)

    def read(self, which=-1):
        """Return the requests that came."""
        requests = []
        while data := self.ends[which].receive():
            requests += self.protocols[which].feed(data)
        return requests

    def answer(self, status=200, which=-1, **more):
        self.ends[which].send(self.protocols[which].respond(status, **more))

    def send(self, data, which=-1):
        self.ends[which].send(data)

    def hang_up(self, which=-1):
        self.ends[which].close()


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def client(server, clock):
    pool = SinglePool("http://host:81", dial=server.dial)
    return HttpClient(pool, headers=[("User-Agent", "t")], clock=clock)


class TestExchange:
    def test_a_request_and_its_response(self, client, server):
        request = client.request("POST", "/p?q", headers=[("A", "b")], body=b"hi")
        assert request.poll() is None

        (seen,) = server.read()
        assert (seen.method, seen.target, seen.body) == ("POST", "/p?q", b"hi")
        assert seen.headers[:3] == (
            ("Host", "host:81"),
            ("User-Agent", "t"),
            ("A", "b"),
        )
        server.answer(201, body=b"made")
        response = request.poll()
        assert (response.status, response.body) == (201, b"made")
        assert request.poll() is response
        assert repr(request) == "<HttpRequest POST /p, done>"

    def test_interim_responses_are_told(self, client, server):
        request = client.request("GET", "/")
        server.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        assert request.poll() is None
        assert request.interim == (103,)

    def test_everything_may_come_in_pieces(self, server, clock):
        server.wrap = lambda stream: ChaosStream(
            stream, receive=random_sizes(1), send=random_sizes(2)
        )
        client = HttpClient(SinglePool("http://h", dial=server.dial), clock=clock)
        body = bytes(range(256)) * 20
        request = client.request("PUT", "/", body=body)
        seen = []
        while not seen:
            assert request.poll() is None
            seen = server.read()
        assert seen[0].body == body
        server.answer(body=body)
        while (response := request.poll()) is None:
            pass

        assert response.body == body
        assert not request.want_write

    def test_what_cannot_be_sent_takes_no_connection(self, client, server):
        with pytest.raises(BadMessage):
            client.request("GET", "/ /")
        assert server.ends == []
        assert client.pool.acquire() is not None


class TestReuse:
    def get(self, client, server, **more):
        request = client.request("GET", "/")
        request.poll()
        assert server.read()
        server.answer(**more)
        return request.poll()

    def test_a_connection_is_kept(self, client, server):
        for _ in range(3):
            assert self.get(client, server).status == 200

        assert len(server.ends) == 1

    @pytest.mark.parametrize("how", ["close", "excess", "header"])
    def test_a_connection_that_is_done_with_is_replaced(self, client, server, how):
        self.get(client, server, close=how == "header")
        if how == "close":
            server.hang_up()
        elif how == "excess":
            server.send(b"HTTP/1.1 408 Timeout\r\n\r\n")
        self.get(client, server)

        assert len(server.ends) == 2

    def test_an_answer_before_all_was_sent_ends_the_connection(self, server, clock):
        server.wrap = lambda stream: ChaosStream(stream, send=[100, 0, 0, 0, 0])
        client = HttpClient(SinglePool("http://h", dial=server.dial), clock=clock)
        request = client.request("POST", "/", body=b"x" * 5000)
        server.send(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")

        assert request.poll().status == 413
        self.get(client, server)
        assert len(server.ends) == 2

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
    def test_a_kept_connection_that_ends_is_no_fault_of_what_may_be_repeated(
        self, client, server, method
    ):
        self.get(client, server)
        request = client.request(method, "/again")
        assert server.read()
        server.hang_up()
        assert request.poll() is None

        (seen,) = server.read()
        assert (seen.method, seen.target) == (method, "/again")
        server.answer()
        assert request.poll().status == 200

    def test_what_may_not_be_repeated_says_that_nobody_knows(self, client, server):
        self.get(client, server)
        request = client.request("POST", "/order")
        server.read()
        server.hang_up()

        with pytest.raises(ServerDisconnected) as caught:
            request.poll()
        assert not caught.value.unprocessed
        assert len(server.ends) == 1

    def test_a_post_of_which_nothing_went_out_is_repeated(self, server, clock):
        sizes = iter([9999, 0, 0, 0])
        server.wrap = lambda stream: ChaosStream(stream, send=sizes)
        client = HttpClient(SinglePool("http://h", dial=server.dial), clock=clock)
        self.get(client, server)
        request = client.request("POST", "/order")
        server.hang_up()
        request.poll()
        request.poll()

        assert [seen.method for seen in server.read()] == ["POST"]

    def test_a_fresh_connection_that_ends_is_not_tried_again(self, client, server):
        request = client.request("GET", "/")
        server.hang_up()

        with pytest.raises(ServerDisconnected):
            request.poll()
        assert len(server.ends) == 1

    def test_a_response_that_has_begun_is_not_asked_for_again(self, client, server):
        self.get(client, server)
        request = client.request("GET", "/")
        server.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        request.poll()
        server.hang_up()

        with pytest.raises(ServerDisconnected, match="within a head"):
            request.poll()
        assert len(server.ends) == 1


class TestEnds:
    def test_a_body_to_the_end_of_the_connection(self, client, server):
        request = client.request("GET", "/")
        server.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        server.hang_up()

        assert request.poll().body == b"all of it"

    def test_no_http_is_a_fault_that_stays(self, client, server):
        request = client.request("GET", "/")
        server.send(b"SSH-2.0\r\n")
        for _ in range(2):
            with pytest.raises(HttpProtocolError):
                request.poll()
        assert request.fileno() == -1

    def test_a_response_over_the_limit_is_a_fault(self, server, clock):
        client = HttpClient(
            SinglePool("http://h", dial=server.dial), limits=Limits(max_body=5)
        )
        request = client.request("GET", "/")
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        with pytest.raises(MessageTooLarge):
            request.poll()

    def test_time_runs_out(self, client, server, clock):
        request = client.request("GET", "/", timeout=5)
        assert request.deadline == clock.monotonic_ns() + 5 * 10**9
        clock.advance(4.9)
        assert request.poll() is None
        clock.advance(0.1)
        with pytest.raises(HttpTimeout, match=r"within 5 s \(waiting\)"):
            request.poll()
        server.read()
        assert server.ends[0].receive() == b""

    def test_an_invalidated_request_closes_its_connection(self, client, server):
        with client.request("GET", "/") as request:
            pass

        with pytest.raises(RequestInvalidated):
            request.poll()
        server.read()
        assert server.ends[0].receive() == b""
        assert client.request("GET", "/").poll() is None
        assert len(server.ends) == 2

    def test_invalidating_a_finished_request_keeps_its_connection(self, client, server):
        with client.request("GET", "/") as request:
            server.read()
            server.answer()
            request.poll()
        request.invalidate()

        assert request.poll().status == 200
        client.request("GET", "/")
        assert len(server.ends) == 1

    def test_a_forgotten_request_gives_its_connection_back(self, client, server):
        client.request("GET", "/")
        gc.collect()

        assert client.try_request("GET", "/") is not None

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_kept_connection_that_breaks_is_repeated_or_says_that_nobody_knows(
        self, client, server, clock, method
    ):
        request = client.request("GET", "/")
        server.read()
        server.answer()
        assert request.poll().ok
        request = client.request(method, "/")
        broken = ConnectionLost("cable")

        def receive(limit):
            raise broken

        request._stream = types.SimpleNamespace(
            receive=receive, connected=lambda: True, send=len, close=lambda: None
        )
        if method == "GET":
            assert request.poll() is None
            assert len(server.ends) == 2
        else:
            with pytest.raises(ServerDisconnected, match="cable") as caught:
                request.poll()
            assert caught.value.__cause__ is broken

    def test_an_early_answer_says_more_than_the_broken_pipe(self, server, clock):
        sizes = iter([100])

        class Refusing:
            def __init__(self, inner):
                self.inner = inner

            def __getattr__(self, name):
                return getattr(self.inner, name)

            def send(self, data):
                size = next(sizes, None)
                if size is None:
                    raise ConnectionLost("pipe")
                return self.inner.send(data[:size])

        server.wrap = Refusing
        client = HttpClient(SinglePool("http://h", dial=server.dial), clock=clock)
        server_answer = b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n"
        real_dial = server.dial

        def dial():
            stream = real_dial()
            server.send(server_answer)
            return stream

        client = HttpClient(SinglePool("http://h", dial=dial), clock=clock)
        assert client.request("PUT", "/", body=b"x" * 999).poll().status == 413

    def test_a_retry_that_cannot_connect_is_a_fault(self, server, clock):
        dials = iter([server.dial])

        def dial():
            try:
                return next(dials)()
            except StopIteration:
                raise ConnectError("no route") from None

        client = HttpClient(SinglePool("http://h", dial=dial), clock=clock)
        request = client.request("GET", "/")
        server.read()
        server.answer()
        request.poll()
        request = client.request("GET", "/")
        server.hang_up()
        for _ in range(2):
            with pytest.raises(ConnectError, match="no route"):
                request.poll()
        assert client.pool.acquire() is not None

    def test_a_stream_that_breaks_says_why(self, client, server):
        class Broken:
            def __init__(self, inner):
                self.inner = inner

            def __getattr__(self, name):
                return getattr(self.inner, name)

            def receive(self, limit=1):
                raise ConnectionLost("cable")

        server.wrap = Broken
        with pytest.raises(ConnectionLost, match="cable"):
            client.request("GET", "/").poll()


class TestPool:
    def test_it_lends_as_many_as_it_has(self, server, clock):
        client = HttpClient(FixedPool("http://h", 2, dial=server.dial), clock=clock)
        first, second = client.request("GET", "/1"), client.request("GET", "/2")

        assert client.try_request("GET", "/3") is None
        with pytest.raises(PoolExhausted, match="0 of 2 idle"):
            client.request("GET", "/3")
        assert server.read(0)[0].target == "/1"
        server.answer(which=0)
        first.poll()
        third = client.request("GET", "/3")
        assert server.read(0)[0].target == "/3"
        assert len(server.ends) == 2
        for request in (second, third):
            request.invalidate()

    def test_a_closed_pool_lends_nothing_and_closes_what_comes_back(
        self, server, clock
    ):
        client = HttpClient(FixedPool("http://h", 2, dial=server.dial), clock=clock)
        request = client.request("GET", "/")
        server.read()
        server.answer()
        client.close()
        assert client.try_request("GET", "/") is None

        assert request.poll().status == 200
        assert server.ends[0].receive() == b""

    @pytest.mark.parametrize(
        ("target", "host"),
        [
            ("http://a", "a"),
            ("https://a:443/x", "a"),
            ("https://a:444", "a:444"),
            ("http://[::1]:80", "[::1]"),
            (ConnectionInfo("b", 99), "b:99"),
        ],
    )
    def test_its_host_is_what_the_header_says(self, target, host):
        assert SinglePool(target).host == host

    def test_it_has_room_for_one_at_least(self):
        with pytest.raises(ValueError, match="at least 1"):
            FixedPool("http://h", 0)

    def test_a_dial_that_fails_gives_the_place_back(self, clock):
        def dial():
            raise ConnectError("no route")

        client = HttpClient(SinglePool("http://h", dial=dial), clock=clock)
        for _ in range(2):
            with pytest.raises(ConnectError):
                client.request("GET", "/")


class TestSockets:
    def serve(self, respond, context=None):
        """Serve one connection in a thread; return its port and the thread."""
        listener = socket.create_server(("127.0.0.1", 0))

        def run():
            with listener, listener.accept()[0] as accepted:
                try:
                    sock = (
                        context.wrap_socket(accepted, server_side=True)
                        if context
                        else accepted
                    )
                    with sock:
                        while data := sock.recv(65536):
                            sock.sendall(respond(data))
                except OSError:
                    pass

        thread = threading.Thread(target=run)
        thread.start()
        return listener.getsockname()[1], thread

    def test_block_waits_for_the_response(self):
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
        port, thread = self.serve(lambda _: answer)
        client = HttpClient(SinglePool(f"http://127.0.0.1:{port}"))
        for _ in range(3):
            assert client.request("GET", "/").block(GUARD_SECONDS).text == "hi"
        client.close()
        thread.join(GUARD_SECONDS)

    def test_block_gives_up_in_time(self):
        port, thread = self.serve(lambda _: b"")
        client = HttpClient(SinglePool(f"http://127.0.0.1:{port}"))
        with pytest.raises(HttpTimeout):
            client.request("GET", "/").block(0.01)
        client.close()
        thread.join(GUARD_SECONDS)

    def test_nobody_listening_is_an_error(self):
        with reserved_port() as port:
            client = HttpClient(SinglePool(f"http://127.0.0.1:{port}"))
            with pytest.raises(ConnectError):
                client.request("GET", "/").block(GUARD_SECONDS)
            client.close()

    def test_tls_is_verified(self):
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
        for ours, good in ((trusting, True), (None, False)):
            port, thread = self.serve(lambda _: answer, context)
            pool = SinglePool(f"https://localhost:{port}", ssl_context=ours)
            client = HttpClient(pool)
            request = client.request("GET", "/")
            if good:
                assert request.block(GUARD_SECONDS).text == "hi"
            else:
                with pytest.raises(UntrustedCertificate):
                    request.block(GUARD_SECONDS)
            client.close()
            thread.join(GUARD_SECONDS)
