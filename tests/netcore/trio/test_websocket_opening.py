"""Opening a WebSocket under trio: what fails and how, and what is recorded."""

from functools import partial

import pytest
import trio
import trio.testing

from netcore.errors import ConnectError, ConnectTimeout, HandshakeError, InvalidURL
from netcore.stream.record import Recorder
from netcore.stream.replay import ReplayStream
from netcore.stream.tcp import TcpStream
from netcore.trio import open_websocket
from netcore.ws import WebSocket

# -- opening that fails ----------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://h/", "ws://", "ws://h/#x"])
async def test_only_websocket_urls_can_be_opened(url):
    with pytest.raises(InvalidURL):
        async with open_websocket(url):
            pass


async def test_headers_that_would_break_the_head_are_refused(server):
    with pytest.raises(ValueError, match="header"):
        async with open_websocket(server.url, headers=[("A", "b\r\nC: d")]):
            pass


async def answer_http(nursery, answer: bytes, *, close: bool = True) -> str:
    """A server that answers any request so; return its URL."""

    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)
        if not close:
            await trio.sleep_forever()

    listeners = await nursery.start(
        partial(trio.serve_tcp, handle, 0, host="127.0.0.1")
    )
    return f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"


async def test_a_refusal_is_raised_as_it_is(nursery):
    url = await answer_http(
        nursery, b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\n\r\ntoo much"
    )
    with pytest.raises(HandshakeError) as caught:
        async with open_websocket(url):
            pass

    assert (caught.value.status, caught.value.body) == (429, b"too much")
    assert ("Retry-After", "3") in caught.value.headers


async def test_an_end_without_answer_is_a_handshake_error(nursery):
    url = await answer_http(nursery, b"")
    with pytest.raises(HandshakeError) as caught:
        async with open_websocket(url):
            pass
    assert caught.value.status == 0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 101", ConnectTimeout),
        (b"HTTP/1.1 503 Busy\r\n\r\nwithout end", HandshakeError),
    ],
)
async def test_an_answer_without_end_has_its_time(
    nursery, mock_clock, monkeypatch, answer, error
):
    url = await answer_http(nursery, answer, close=False)
    receive = TcpStream.receive

    def let_time_pass(stream, *limit):
        data = receive(stream, *limit)
        if data:
            mock_clock.autojump_threshold = 0  # there is nothing more to come
        return data

    monkeypatch.setattr(TcpStream, "receive", let_time_pass)
    with pytest.raises(error) as caught:
        async with open_websocket(url, connect_timeout=5):
            pass

    assert trio.current_time() >= 5
    if error is HandshakeError:
        assert (caught.value.status, caught.value.body) == (503, b"without end")


async def test_a_refused_connection_is_a_connect_error(server, nursery):
    url = server.url
    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True), pytest.raises(ConnectError):
        async with open_websocket("ws://127.0.0.1:1"):
            pass
    assert url


# -- recording -------------------------------------------------------------------------


async def test_a_recorded_conversation_replays_to_the_same_batches(server, tmp_path):
    name = tmp_path / "talk"
    batches = []
    with Recorder(name) as recorder:
        async with open_websocket(server.url, recorder=recorder) as ws:
            for text in ("a", "b" * 300):
                ws.send_text(text)
                batches.append(await ws.read_batch())

    replay = WebSocket(ReplayStream(name))
    replayed = []
    while len(replayed) < 2:
        batch = replay.read_batch()
        if batch is not None:
            replayed.append(batch)
    replay.abort()
    assert [batch.payloads for batch in replayed] == [b.payloads for b in batches]


async def test_the_end_below_is_there_for_other_drivers(server):
    async with open_websocket(server.url) as ws:
        ws.websocket.send_ping(b"mine")
        while ws.websocket.pongs != [b"mine"]:
            await trio.lowlevel.checkpoint()
            assert ws.websocket.read_batch() is None
