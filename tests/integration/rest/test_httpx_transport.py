import gzip
import logging
import ssl
import zlib

import httpx
import pytest
import trio
import trustme

from integration.errors import DnsError, Http, HttpTimeout, Serialise, TlsError
from integration.rest.httpx_transport import HttpxTransport
from integration.rest.prepared import PreparedRequest
from integration.rest.testing import loopback_server, response

BASE = {"method": "GET", "raw_path": b"/x", "timeout": 5.0}


def prepared(origin, **fields):
    return PreparedRequest(origin=origin, **{**BASE, **fields})


@pytest.fixture
async def transport():
    subject = HttpxTransport()
    yield subject
    await subject.aclose()


def answering(data):
    async def script(request, stream):
        await stream.send_all(data)

    return script


async def test_what_is_sent_is_what_was_prepared(transport):
    async with loopback_server(answering(response())) as server:
        await transport.send(
            prepared(
                server.url,
                method="POST",
                raw_path=b"/a%2Fb/c?x=1%2B2+3&y=%7B%22&z=%C3%A9&empty=&&=~",
                headers=(("X-Key", "k"), ("Content-Type", "application/json")),
                content=b'{"a": 1,  "b":"\xc3\xa9"}',
            )
        )

    (received,) = server.received
    assert received.method == "POST"
    assert received.target == b"/a%2Fb/c?x=1%2B2+3&y=%7B%22&z=%C3%A9&empty=&&=~"
    assert received.content == b'{"a": 1,  "b":"\xc3\xa9"}'
    assert received.headers["x-key"] == "k"
    assert received.headers["user-agent"] == "flowtrade-integration"
    assert received.headers["host"] == server.url.removeprefix("http://")


async def test_a_target_that_httpx_would_rewrite_is_refused_unsent(
    transport,
):
    async with loopback_server(answering(response())) as server:
        with pytest.raises(Serialise, match="rewritten"):
            await transport.send(prepared(server.url, raw_path=b"/x?a=b c"))

    assert server.received == []


async def test_a_response_comes_whole_with_its_times(transport):
    body = b'{"a":1}'
    data = response(404, body, {"X-A": "1", "x-a": "2"})
    async with loopback_server(answering(data)) as server:
        answer = await transport.send(prepared(server.url))

    assert (answer.status, answer.content) == (404, body)
    assert answer.headers["x-a"] == "1, 2"
    assert answer.bytes_in == len(body)
    assert 0 < answer.headers_ns <= answer.body_ns
    assert repr(answer) == "<RawResponse 404, 7 bytes>"


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data, wbits=-15)),
        ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
        ("identity", bytes),
    ],
)
async def test_content_codings_are_undone(transport, coding, compress):
    plain = b'{"a":1}' * 100
    packed = compress(plain)
    data = response(200, packed, {"Content-Encoding": coding})
    async with loopback_server(answering(data)) as server:
        answer = await transport.send(prepared(server.url))

    assert answer.content == plain
    assert answer.bytes_in == len(packed)


async def test_a_damaged_content_coding_is_an_error_of_the_exchange(transport):
    for coding in ("gzip", "deflate", "br"):
        data = response(200, b"not packed", {"Content-Encoding": coding})
        async with loopback_server(answering(data)) as server:
            with pytest.raises(Http) as caught:
                await transport.send(prepared(server.url))

        assert caught.value.sent


@pytest.mark.parametrize(
    ("body", "coding"),
    [(gzip.compress(bytes(10_000_000)), "gzip"), (bytes(2_000_000), "identity")],
    ids=["bomb", "plain"],
)
async def test_a_body_beyond_the_limit_is_refused(body, coding):
    data = response(200, body, {"Content-Encoding": coding})
    transport = HttpxTransport(max_body=1_000_000)
    async with loopback_server(answering(data)) as server:
        with pytest.raises(Http, match="1000000 bytes"):
            await transport.send(prepared(server.url))
    await transport.aclose()


async def test_redirects_are_answers_not_orders(transport):
    data = response(302, b"", {"Location": "/elsewhere"})
    async with loopback_server(answering(data)) as server:
        answer = await transport.send(prepared(server.url))

    assert answer.status == 302
    assert len(server.received) == 1


async def test_cookies_are_not_kept(transport):
    data = response(200, b"{}", {"Set-Cookie": "session=1"})
    async with loopback_server(answering(data)) as server:
        await transport.send(prepared(server.url))
        await transport.send(prepared(server.url))

    assert "cookie" not in server.received[1].headers


async def test_a_truncated_body_is_an_error(transport):
    async def script(request, stream):
        await stream.send_all(response(200, b'{"a":', {"Content-Length": "100"}))
        await stream.aclose()

    async with loopback_server(script) as server:
        with pytest.raises(Http) as caught:
            await transport.send(prepared(server.url))

    assert caught.value.sent
    assert not isinstance(caught.value, HttpTimeout)


async def test_a_server_that_hangs_up_may_have_read_the_request(transport):
    async def script(request, stream):
        await stream.aclose()

    async with loopback_server(script) as server:
        with pytest.raises(Http) as caught:
            await transport.send(prepared(server.url))

    assert caught.value.sent


async def test_no_server_means_nothing_was_sent(transport):
    async with loopback_server(answering(b"")) as server:
        url = server.url

    with pytest.raises(Http) as caught:
        await transport.send(prepared(url))

    assert not caught.value.sent


async def test_slow_headers_end_at_the_requests_time(transport, mock_clock):
    async def script(request, stream):
        await trio.sleep_forever()

    async with loopback_server(script) as server, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            await server.wait_received(1)
            mock_clock.jump(7.0)

        with pytest.raises(HttpTimeout, match=r"within 7\.0 s|Timeout") as caught:
            await transport.send(prepared(server.url, timeout=7.0))

    assert caught.value.sent


async def test_a_dripping_body_cannot_outlive_the_request(transport, mock_clock):
    """Each byte comes in time for a read timeout; the whole does not."""

    async def script(request, stream):
        await stream.send_all(response(200, b"", {"Content-Length": "100"}))
        while True:
            await stream.send_all(b".")
            await trio.testing.wait_all_tasks_blocked(0.001)
            mock_clock.jump(3.0)

    async with loopback_server(script) as server:
        with pytest.raises(HttpTimeout, match="no complete response within"):
            await transport.send(prepared(server.url, timeout=10.0))


async def test_a_timeout_while_connecting_says_that_nothing_was_sent(mock_clock):
    class Hanging(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            await request.extensions["trace"]("connection.connect_tcp.started", {})
            mock_clock.jump(5.0)
            await trio.sleep_forever()

    with pytest.raises(HttpTimeout) as caught:
        await HttpxTransport(Hanging()).send(prepared("https://x"))

    assert not caught.value.sent


async def test_a_transport_that_does_not_tell_may_have_sent(mock_clock):
    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            mock_clock.jump(5.0)
            await trio.sleep_forever()

    with pytest.raises(HttpTimeout) as caught:
        await HttpxTransport(Silent()).send(prepared("https://x"))

    assert caught.value.sent


async def test_being_cancelled_is_not_a_timeout(transport):
    async def script(request, stream):
        scope.cancel()
        await trio.sleep_forever()

    async with loopback_server(script) as server:
        with trio.CancelScope() as scope:
            await transport.send(prepared(server.url))

    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("error", "kind", "sent"),
    [
        (httpx.ConnectTimeout("late"), HttpTimeout, False),
        (httpx.PoolTimeout("full"), HttpTimeout, False),
        (httpx.ReadTimeout("late"), HttpTimeout, True),
        (httpx.WriteTimeout("late"), HttpTimeout, True),
        (httpx.WriteError("reset"), Http, True),
        (httpx.UnsupportedProtocol("ws"), Http, False),
        (httpx.ProxyError("no"), Http, False),
        (httpx.ReadError(""), Http, True),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else str(v),
)
async def test_errors_of_httpx_become_ours(error, kind, sent):
    def fail(request):
        raise error

    subject = HttpxTransport(httpx.MockTransport(fail))
    with pytest.raises(Http) as caught:
        await subject.send(prepared("https://x"))

    assert type(caught.value) is kind
    assert caught.value.sent is sent
    assert caught.value.__cause__ is error
    assert str(caught.value).startswith("GET https://x/x: ")


async def test_a_name_that_does_not_resolve_is_told_apart(transport):
    # RFC 6761 §6.4: .invalid never resolves, and needs no network to fail.
    with pytest.raises(DnsError):
        await transport.send(prepared("http://nowhere.invalid"))


@pytest.fixture
async def tls_server():
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
    port = listeners[0].transport_listener.socket.getsockname()[1]

    async def serve(stream):
        try:
            await stream.receive_some()
            await stream.send_all(response())
        except trio.BrokenResourceError:
            pass  # the client refused the certificate
        await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield authority, f"https://localhost:{port}"
        nursery.cancel_scope.cancel()


async def test_a_certificate_nobody_vouches_for_is_refused(tls_server, transport):
    _, url = tls_server

    with pytest.raises(TlsError):
        await transport.send(prepared(url))


async def test_a_trusted_certificate_is_accepted(tls_server):
    authority, url = tls_server
    context = ssl.create_default_context()
    authority.configure_trust(context)
    transport = HttpxTransport(httpx.AsyncHTTPTransport(verify=context))

    assert (await transport.send(prepared(url))).status == 200
    await transport.aclose()


async def test_proxies_of_the_environment_are_not_used(monkeypatch, transport):
    monkeypatch.setenv("HTTP_PROXY", "http://nowhere.invalid:1")
    monkeypatch.setenv("ALL_PROXY", "http://nowhere.invalid:1")
    async with loopback_server(answering(response())) as server:
        assert (await transport.send(prepared(server.url))).status == 200


async def test_no_log_shows_a_secret(transport, caplog):
    caplog.set_level(logging.DEBUG)
    async with loopback_server(answering(response())) as server:
        await transport.send(
            prepared(
                server.url,
                raw_path=b"/x?signature=s3cret",
                headers=(("X-KEY", "k3y"),),
                secrets=("s3cret", "k3y"),
            )
        )

    assert "s3cret" not in caplog.text
    assert "k3y" not in caplog.text


async def test_a_transport_that_is_not_async_is_a_programming_error():
    class Sync(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            return httpx.Response(200, stream=httpx.SyncByteStream())

    with pytest.raises(TypeError, match="async transport"):
        await HttpxTransport(Sync()).send(prepared("https://x"))
