"""The adapters by which outside suites reach HTTP and TLS, run as they run them."""

import contextlib
import datetime
import importlib.util
import runpy
import socket
import ssl
import sys
from pathlib import Path

import pytest
import trio
import trustme

from netcore.http import HttpProtocolError
from netcore.testing import reserved_port

PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
ADAPTERS = Path(__file__).resolve().parents[2] / "adapters"


def load(name):
    path = ADAPTERS / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"adapter_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("bytewise", [False, True])
class TestHttpParse:
    def parse(self, data, kind, bytewise):
        return load("http_parse").parse(data, kind, bytewise)

    def test_responses(self, bytewise):
        data = (
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\nT: x\r\n\r\n"
            b"HTTP/1.1 200 OK\r\n\r\nto the end"
        )

        assert self.parse(data, "response", bytewise) == [
            {"status": 100, "headers": [], "body": b"", "complete": True},
            {
                "status": 200,
                "headers": [("A", "b"), ("Transfer-Encoding", "chunked"), ("T", "x")],
                "body": b"abc",
                "complete": True,
            },
            {"status": 200, "headers": [], "body": b"to the end", "complete": True},
        ]

    def test_requests_of_which_the_last_is_cut_short(self, bytewise):
        data = b"GET /a HTTP/1.1\r\n\r\nPUT /b HTTP/1.1\r\nContent-Length: 9\r\n\r\nxy"

        assert self.parse(data, "request", bytewise) == [
            {
                "method": "GET",
                "url": "/a",
                "headers": [],
                "body": b"",
                "complete": True,
            },
            {
                "method": "PUT",
                "url": "/b",
                "headers": [("Content-Length", "9")],
                "body": b"xy",
                "complete": False,
            },
        ]

    def test_faults(self, bytewise):
        good = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        for data in (b"nonsense", good + b"nonsense"):
            with pytest.raises(HttpProtocolError):
                self.parse(data, "response", bytewise)


@pytest.fixture
def authority(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority


async def run_ping(*arguments):
    done = await trio.run_process(
        [sys.executable, str(ADAPTERS / "tls_ping.py"), *map(str, arguments)],
        check=False,
        capture_stdout=True,
        capture_stderr=True,
    )
    return done.returncode, done.stdout, done.stderr


async def anything(stream):
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.receive_some()


async def serve(nursery, context, handler):
    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, handler, listeners)
    return listeners[0].transport_listener.socket.getsockname()[1]


@pytest.mark.slow
class TestTlsPing:
    @pytest.fixture
    async def port(self, nursery, authority):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("venue.test").configure_cert(context)

        async def answer(stream):
            with contextlib.suppress(trio.BrokenResourceError):
                line = await stream.receive_some()
                await stream.send_all(b"pong to " + line + b"ignored")

        listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        return listeners[0].transport_listener.socket.getsockname()[1]

    async def test_it_prints_the_answer(self, port, tmp_path):
        found = await run_ping("127.0.0.1", port, tmp_path / "ca.pem", "venue.test")

        assert found == (0, b"pong to ping\n", b"")

    async def test_a_wrong_name_is_refused(self, port, tmp_path):
        code, out, err = await run_ping(
            "127.0.0.1", port, tmp_path / "ca.pem", "other.test"
        )

        assert (code, out) == (1, b"")
        assert b"WrongHost" in err

    async def test_each_fault_of_a_certificate_has_its_own_words(
        self, nursery, authority, tmp_path
    ):
        alone = trustme.CA()
        alone.cert_pem.write_to_path(tmp_path / "cert")
        alone.private_key_pem.write_to_path(tmp_path / "key")
        contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(3)]
        authority.issue_cert("venue.test", not_after=PAST).configure_cert(contexts[0])
        contexts[1].load_cert_chain(tmp_path / "cert", tmp_path / "key")
        trustme.CA().issue_cert("venue.test").configure_cert(contexts[2])
        said = []
        for context in contexts:
            port = await serve(nursery, context, anything)
            code, out, err = await run_ping(
                "127.0.0.1", port, tmp_path / "ca.pem", "venue.test"
            )
            assert (code, out, err.count(b"\n")) == (1, b"", 1)
            said.append(err.decode())

        expired, self_signed, unknown = said
        assert expired.startswith("CertificateExpired: ")
        assert "expired" in expired
        assert self_signed.startswith("UntrustedCertificate: ")
        assert "self-signed" in self_signed.replace("self signed", "self-signed")
        assert unknown.startswith("UntrustedCertificate: ")
        assert unknown != self_signed

    async def test_a_connection_that_is_cut_has_its_own_words(
        self, nursery, authority, tmp_path
    ):
        async def cut(stream):
            await stream.receive_some()
            await stream.send_all(b"po")
            await stream.transport_stream.aclose()

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("venue.test").configure_cert(context)
        port = await serve(nursery, context, cut)
        code, out, err = await run_ping(
            "127.0.0.1", port, tmp_path / "ca.pem", "venue.test"
        )

        assert (code, out) == (1, b"")
        assert err.startswith(b"TruncatedStream: ")
        assert b"without close_notify" in err

    async def test_nobody_listening_is_refused(self, authority, tmp_path):
        with reserved_port() as port:
            code, out, err = await run_ping("127.0.0.1", port, tmp_path / "ca.pem", "x")

        assert (code, out) == (1, b"")
        assert b"ConnectError" in err

    async def test_no_answer_is_broken(self, nursery, authority, tmp_path):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("venue.test").configure_cert(context)

        async def hang_up(stream):
            await stream.receive_some()
            await stream.aclose()

        listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, hang_up, listeners)
        port = listeners[0].transport_listener.socket.getsockname()[1]
        code, out, err = await run_ping(
            "127.0.0.1", port, tmp_path / "ca.pem", "venue.test"
        )

        assert (code, out) == (1, b"")
        assert err


async def test_a_server_that_says_nothing_is_left_in_time(
    autojump_clock, authority, capsys, monkeypatch, tmp_path
):
    monkeypatch.syspath_prepend(str(ADAPTERS))
    ping = runpy.run_path(str(ADAPTERS / "tls_ping.py"))
    ca = str(tmp_path / "ca.pem")

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        code = await ping["main"]("127.0.0.1", port, ca, "venue.test")

    assert (code, capsys.readouterr()) == (
        1,
        ("", "TooSlowError: no answer within 5 s\n"),
    )
    assert trio.current_time() < 8
