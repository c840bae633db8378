"""One port, two protocols, and clients that break every rule."""

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("trio_websocket")
h11 = pytest.importorskip("h11")

from integration.testing.dialect import (  # noqa: E402 - after the checks above
    HttpReply,
    HttpRequest,
)
from integration.testing.server import (  # noqa: E402
    CannotListenError,
    VenueListener,
    VenueStream,
    listening_url,
)

UPGRADE = (
    b"GET /ws?x=1 HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\n"
    b"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Echo:
    """Answers a request with what was asked; echoes a WebSocket's messages."""

    max_message_bytes = 1000

    def __init__(self):
        self.asked = []
        self.refusal = None

    def connect(self, path, query, peer):
        self.asked.append((path, query, peer))
        return self.refusal or self

    def respond(self, request):
        self.asked.append(request)
        if request.path == "/crash":
            raise RuntimeError("a bug")
        return HttpReply(
            status=200, body=request.path.encode(), headers=(("X-Extra", "1"),)
        )

    async def converse(self, peer, session):
        while True:
            message = await peer.socket.get_message()
            await peer.socket.send_message(message)


@pytest.fixture
def handler():
    return Echo()


@pytest.fixture
async def listener(handler, nursery):
    listener = VenueListener(handler, host="127.0.0.1", port=0, ssl_context=None)
    await listener.start(nursery)
    return listener


async def exchange(listener, *pieces, end=b"") -> bytes:
    """Send bytes, half-close, and read everything that comes back."""
    stream = await trio.open_tcp_stream("127.0.0.1", listener.port)
    received = b""
    async with stream:
        for piece in pieces:
            await stream.send_all(piece)
        if not end:
            await stream.send_eof()
        with trio.fail_after(120):
            async for chunk in stream:
                received += chunk
                if end and received.endswith(end):
                    break
    return received


# ---- requests


async def test_a_request_is_read_and_answered(listener, handler):
    reply = await exchange(
        listener,
        b"GET /a/b?x=1&y=&x=2%20z HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    )

    assert reply.startswith(b"HTTP/1.1 200")
    assert b"x-extra: 1" in reply.lower()
    assert reply.endswith(b"\r\n\r\n/a/b")
    assert handler.asked == [
        HttpRequest(
            method="GET", path="/a/b", query={"x": "2 z", "y": ""}, peer="127.0.0.1"
        )
    ]


async def test_requests_follow_each_other_on_one_connection(listener):
    one = b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"
    two = b"GET /2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

    for pieces in ([one + two], [one, two], [one[:7], one[7:] + two[:30], two[30:]]):
        reply = await exchange(listener, *pieces)
        assert reply.count(b"HTTP/1.1 200") == 2
        assert reply.index(b"\r\n\r\n/1") < reply.index(b"\r\n\r\n/2")


async def test_a_body_is_read_past(listener):
    reply = await exchange(
        listener,
        b"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab",
        b"cdeGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
        end=b"/2",
    )

    assert reply.count(b"HTTP/1.1 200") == 2


async def test_head_gets_no_body(listener):
    reply = await exchange(listener, b"HEAD /1 HTTP/1.1\r\nHost: h\r\n\r\n")

    assert b"content-length: 2" in reply.lower()
    assert reply.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # no Host: RFC 9112 section 3.2
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 20_000, b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400"),  # a TLS hello
    ],
)
async def test_what_is_no_request_is_refused(listener, sent, status):
    reply = await exchange(listener, sent)

    assert reply.split()[1] == status


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: h\r\n"])
async def test_who_leaves_early_is_let_go(listener, sent):
    assert await exchange(listener, sent) == b""


async def test_a_bug_ends_one_connection_only(listener, caplog):
    reply = await exchange(listener, b"GET /crash HTTP/1.1\r\nHost: h\r\n\r\n")

    assert reply == b""
    assert "failed" in caplog.text
    assert await exchange(listener, b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")


@settings(max_examples=40)
@given(st.binary(max_size=300))
async def test_no_bytes_stop_the_listener(sent):
    async with trio.open_nursery() as nursery:
        listener = VenueListener(Echo(), host="127.0.0.1", port=0, ssl_context=None)
        await listener.start(nursery)
        await exchange(listener, sent)
        again = await exchange(listener, b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
        nursery.cancel_scope.cancel()

    assert again.endswith(b"/1")


# ---- upgrades


@pytest.mark.parametrize("cut", [0, 1, 50, len(UPGRADE) - 1])
@pytest.mark.parametrize("before", [b"", b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"])
async def test_an_upgrade_is_handed_on_from_its_first_byte(
    listener, handler, cut, before
):
    stream = await trio.open_tcp_stream("127.0.0.1", listener.port)
    async with stream:
        await stream.send_all(before + UPGRADE[:cut])
        await trio.testing.wait_all_tasks_blocked()
        await stream.send_all(UPGRADE[cut:])
        reply = b""
        while b"\r\n\r\n" not in reply[reply.find(b"HTTP/1.1 101") :]:
            reply += await stream.receive_some()
        await stream.send_all(b"\x81\x82\x00\x00\x00\x00hi")  # a masked text frame
        assert await stream.receive_some() == b"\x81\x02hi"

    assert reply.count(b"HTTP/1.1 200") == (1 if before else 0)
    assert handler.asked[-1] == ("/ws", "x=1", "127.0.0.1")


async def test_a_refused_upgrade_gets_the_reply(listener, handler):
    handler.refusal = HttpReply(status=429, body=b'{"code":1}')

    reply = await exchange(listener, UPGRADE)

    assert reply.startswith(b"HTTP/1.1 429")
    assert b'{"code":1}' in reply


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"Sec-WebSocket-Key", b"X-Key", b"400"),
        (b"Version: 13", b"Version: 8", b"426"),
        (b"GET /ws", b"POST /ws", b"400"),
    ],
)
async def test_a_broken_handshake_is_answered_at_once(listener, old, new, status):
    reply = await exchange(listener, UPGRADE.replace(old, new))

    assert reply.split()[1] == status
    assert b"sec-websocket-version: 13" in reply.lower()


# ---- listening


async def test_stopping_and_coming_back_on_the_same_port(listener, handler, nursery):
    port = listener.port
    await listener.stop()
    assert not listener.listening
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", port)

    await listener.start(nursery)

    assert listener.listening
    assert listener.port == port
    assert await exchange(listener, b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")


async def test_stopping_twice_is_stopping(listener):
    await listener.stop()
    await listener.stop()


async def test_dropping_all_drops_requests_too(listener):
    async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
        await stream.send_all(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
        await stream.receive_some()
        await listener.drop_all()

        assert await stream.receive_some() == b""


async def test_an_address_of_somebody_else_is_named(handler, nursery):
    listener = VenueListener(handler, host="192.0.2.1", port=0, ssl_context=None)

    with pytest.raises(CannotListenError, match=r"192\.0\.2\.1"):
        await listener.start(nursery)


def test_urls_of_both_families():
    assert listening_url("ws", "127.0.0.1", 80) == "ws://127.0.0.1:80"
    assert listening_url("https", "::1", 443) == "https://[::1]:443"


# ---- the stream in between


async def test_what_was_read_ahead_comes_first():
    ours, theirs = trio.testing.memory_stream_pair()
    stream = VenueStream(ours)
    await theirs.send_all(b"GET / HTTP/1.1\r\n\r\nmore")

    assert await stream.read_head() == b"GET / HTTP/1.1\r\n\r\nmore"
    stream.unread(b"<")
    assert await stream.receive_some(4) == b"<GET"
    assert await stream.receive_some() == b" / HTTP/1.1\r\n\r\nmore"
    await theirs.send_all(b"later")
    assert await stream.receive_some() == b"later"


async def test_a_head_without_end_is_refused():
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(b"x" * 20_000)

    with pytest.raises(h11.RemoteProtocolError, match="too long"):
        await VenueStream(ours).read_head()


async def test_playing_dead_swallows_both_directions():
    ours, theirs = trio.testing.memory_stream_pair()
    stream = VenueStream(ours)
    stream.play_dead()
    await stream.send_all(b"never")
    await theirs.send_all(b"unheard")
    await theirs.send_eof()

    assert await stream.receive_some() == b""
    await stream.aclose()
    assert await theirs.receive_some() == b""


async def test_writers_take_turns():
    ours, theirs = trio.testing.lockstep_stream_pair()
    stream, received = VenueStream(ours), b""
    async with trio.open_nursery() as nursery:
        for letter in b"abc":
            nursery.start_soon(stream.send_all, bytes([letter]) * 1000)
        while len(received) < 3000:
            received += await theirs.receive_some()

    runs = {received[n : n + 1000] for n in range(0, 3000, 1000)}
    assert runs == {b"a" * 1000, b"b" * 1000, b"c" * 1000}


async def test_what_is_held_goes_out_in_one_piece():
    ours, theirs = trio.testing.memory_stream_pair()
    stream = VenueStream(ours)
    sent = []
    carry_over = ours.send_stream.send_all_hook

    async def note():
        sent.append("sent")
        await carry_over()

    ours.send_stream.send_all_hook = note

    stream.hold()
    await stream.send_all(b"one ")
    await stream.send_raw(b"two")
    assert (stream.held_bytes, sent) == (7, [])
    await stream.release()

    assert await theirs.receive_some() == b"one two"
    assert (stream.held_bytes, sent) == (0, ["sent"])
    await stream.release()
    assert sent == ["sent"]
