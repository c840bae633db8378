import gzip
import json
import ssl
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import pytest
import trio
import trustme
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import (
    Deserialise,
    DeserialiseBinary,
    DeserialiseProtobuf,
    Sink,
    Terminated,
    TlsError,
    WebSocket,
)
from integration.inflate import Inflate
from integration.message import AdminKind, ApplicationAdmin, Payload, ProtocolAdmin
from integration.protocols.websocket import (
    WebSocketParser,
    WebSocketProtobufParser,
    WsParser,
    connect,
    is_websocket_disconnected,
    process_binary,
    process_text,
)
from integration.stream.exchange_stream import ExchangeStream
from netcore import errors as net
from netcore.trio import adapt_websocket, open_websocket, serve_websocket
from netcore.ws import Batch, Frame, Opcode


class Trade(msgspec.Struct):
    q: str


def text(payload):
    return Frame(Opcode.TEXT, True, payload)


def binary(payload):
    return Frame(Opcode.BINARY, True, payload)


@pytest.fixture
def parser():
    return WebSocketParser(msgspec.json.Decoder(Trade))


def test_text_is_decoded(parser):
    assert parser.parse(text(b'{"q":"1.5","new":1}')) == Trade("1.5")


BAD = {
    "empty": b"",
    "not json": b"hello",
    "wrong type": b'{"q":1.5}',
    "cut": b'{"q":"1',
    "two": b"{}{}",
    "not utf-8": b'{"q":"\xff"}',
    "too deep": b'{"q":"1","x":' + b"[" * 100_000,
}


@pytest.mark.parametrize("payload", BAD.values(), ids=BAD)
def test_text_that_does_not_decode_is_a_value_that_keeps_it(parser, payload):
    fault = parser.parse(text(payload))

    assert type(fault) is Deserialise
    assert fault.payload == payload.decode("utf-8", "replace")
    assert not fault.terminal
    assert fault.__cause__ is not None


@pytest.mark.parametrize("payload", BAD.values(), ids=BAD)
def test_binary_that_does_not_decode_is_a_value_with_its_very_bytes(parser, payload):
    fault = parser.parse(binary(payload))

    assert type(fault) is DeserialiseBinary
    assert fault.payload == payload


def test_a_message_of_the_maximum_size_passes_and_a_longer_one_does_not():
    limit = 16 * 2**20
    parser = WebSocketParser(msgspec.json.Decoder(str))
    longest = b'"' + b"a" * (limit - 2) + b'"'

    assert parser.parse(text(longest)) == "a" * (limit - 2)
    fault = parser.parse(text(longest + b" "))
    assert isinstance(fault, Deserialise)
    assert fault.reason == "a message of 16777217 bytes exceeds the limit of 16777216"
    assert len(fault.payload) == 4096
    assert isinstance(parser.parse(binary(longest + b" ")), DeserialiseBinary)


@pytest.mark.parametrize("payload", [b'{"q":"1"}', *BAD.values()], ids=["good", *BAD])
def test_a_parser_of_ones_own_can_use_the_same_pieces(parser, payload):
    decode = msgspec.json.Decoder(Trade).decode

    as_text, as_binary = process_text(payload, decode), process_binary(payload, decode)

    assert repr(as_text) == repr(parser.parse(text(payload)))
    assert repr(as_binary) == repr(parser.parse(binary(payload)))


def test_heartbeats_in_plain_text_are_seen_before_they_are_decoded(parser):
    for word in (b"pong", b"ping"):
        assert parser.parse(text(word)) == ApplicationAdmin(AdminKind.HEARTBEAT, word)
    assert isinstance(parser.parse(text(b"pongo")), Deserialise)
    assert parser.counts.heartbeat == 2
    assert parser.counts.text == 1


def test_without_heartbeats_all_text_is_decoded():
    parser = WebSocketParser(msgspec.json.Decoder(), heartbeats=())

    assert isinstance(parser.parse(text(b"pong")), Deserialise)
    assert isinstance(parser.parse(text(b"")), Deserialise)


def test_control_frames_are_administrative_or_the_end(parser):
    ping = Frame(Opcode.PING, True, b"1")
    pong = Frame(Opcode.PONG, True, b"2")
    close = Frame(Opcode.CLOSE, True, (1012).to_bytes(2, "big") + b"restart")

    assert parser.parse(ping) == ProtocolAdmin(AdminKind.PING, b"1")
    assert parser.parse(pong) == ProtocolAdmin(AdminKind.PONG, b"2")
    end = parser.parse(close)
    assert isinstance(end, Terminated)
    assert (end.code, end.reason, end.terminal) == (1012, "restart", True)


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b"", 1005, ""),
        (b"\x03", 1005, ""),
        (b"\x03\xe8", 1000, ""),
        (b"\x03\xe8\xff", 1000, "\ufffd"),
    ],
)
def test_a_close_frame_may_say_little(parser, payload, code, reason):
    end = parser.parse(Frame(Opcode.CLOSE, True, payload))

    assert (end.code, end.reason) == (code, reason)


def test_raw_frames_say_nothing(parser):
    assert parser.parse(Frame(Opcode.CONTINUATION, False, b"x")) is None


def test_an_exception_of_the_connection_becomes_the_streams(parser):
    lost = net.ConnectionLost("reset")

    fault = parser.parse_error(lost)

    assert isinstance(fault, WebSocket)
    assert fault.terminal
    assert fault.__cause__ is lost
    assert parser.parse_error(fault) is fault


def test_every_kind_is_counted(parser):
    kinds = {
        "text": text(b'{"q":"1"}'),
        "binary": binary(b'{"q":"1"}'),
        "ping": Frame(Opcode.PING, True, b""),
        "pong": Frame(Opcode.PONG, True, b""),
        "close": Frame(Opcode.CLOSE, True, b""),
        "frame": Frame(Opcode.CONTINUATION, True, b""),
        "heartbeat": text(b"pong"),
    }
    for number, frame in enumerate(kinds.values(), start=1):
        for _ in range(number):
            parser.parse(frame)
    parser.parse_error(net.ConnectionLost("reset"))

    counted = {name: getattr(parser.counts, name) for name in kinds}
    assert counted == {name: n for n, name in enumerate(kinds, start=1)}
    assert parser.counts.error == 1
    assert parser.counts.total == sum(range(1, 8)) + 1
    assert "ping=3" in repr(parser.counts)


def test_compressed_binary_is_inflated_and_may_be_a_heartbeat_too():
    parser = WebSocketParser(msgspec.json.Decoder(Trade), inflate=Inflate(max_size=99))

    assert parser.parse(binary(gzip.compress(b'{"q":"1"}'))) == Trade("1")
    assert parser.parse(binary(gzip.compress(b"ping"))) == ApplicationAdmin(
        AdminKind.HEARTBEAT, b"ping"
    )
    for bad in (b"x", gzip.compress(b'{"q":"1"}')[:-1], gzip.compress(bytes(100))):
        fault = parser.parse(binary(bad))
        assert isinstance(fault, DeserialiseBinary)
        assert fault.payload == bad


def test_any_codec_decodes():
    packed = WebSocketParser(msgspec.msgpack.Decoder(Trade))
    own = WebSocketParser(lambda data: int.from_bytes(data, "big"))

    assert packed.parse(binary(msgspec.msgpack.encode(Trade("1")))) == Trade("1")
    assert own.parse(binary(b"\x01\x00")) == 256


FRAMES = st.lists(
    st.tuples(
        st.sampled_from([Opcode.TEXT, Opcode.BINARY]),
        st.sampled_from([b'{"q":"1"}', b"pong", b"{", b'{"q":"123456"}', b""]),
    ),
    min_size=1,
)


@given(FRAMES)
def test_a_batch_decodes_to_what_its_frames_decode_to(frames):
    def shown(items):
        return [repr(item) for item in items]

    one_by_one = WebSocketParser(msgspec.json.Decoder(Trade), max_message=10)
    at_once = WebSocketParser(msgspec.json.Decoder(Trade), max_message=10)
    opcodes = {opcode for opcode, _ in frames}
    payloads = [payload for _, payload in frames]
    if len(opcodes) == 1:
        batch = Batch(7, payloads, opcode=opcodes.pop())
    else:
        batch = Batch(7, payloads, heads=[(opcode, True) for opcode, _ in frames])

    singles = [one_by_one.parse(Frame(opcode, True, data)) for opcode, data in frames]

    assert shown(at_once.parse_batch(batch)) == shown(singles)
    assert repr(at_once.counts) == repr(one_by_one.counts)


def test_protobuf_is_binary_only():
    class NotAValueError(Exception):
        pass

    def decode(data):
        if data == b"bad":
            raise NotAValueError("wire type 7")
        return len(data)

    parser = WebSocketProtobufParser(decode)

    assert parser.parse(binary(b"12345")) == 5
    assert parser.parse(text(b"12345")) is None
    fault = parser.parse(binary(b"bad"))
    assert isinstance(fault, DeserialiseProtobuf)
    assert fault.payload == b"bad"
    assert parser.parse(Frame(Opcode.PING, True, b"")).kind is AdminKind.PING
    assert isinstance(parser.parse(Frame(Opcode.CLOSE, True, b"")), Terminated)
    assert parser.parse(Frame(Opcode.CONTINUATION, True, b"")) is None
    assert parser.counts.binary == 2


def test_the_raw_parser_wraps_everything():
    parser = WsParser()

    assert parser.parse(text(b"{")) == Payload(b"{")
    assert parser.parse(binary(b"\xff")) == Payload(b"\xff")
    assert parser.parse(Frame(Opcode.CONTINUATION, False, b"a")) == Payload(b"a")
    assert parser.parse(Frame(Opcode.CLOSE, True, b"x")) == ProtocolAdmin(
        AdminKind.CLOSE, b"x"
    )
    assert parser.parse(Frame(Opcode.PONG, True, b"x")).kind is AdminKind.PONG
    assert parser.counts.total == 5


@pytest.mark.parametrize(
    ("error", "gone"),
    [
        (net.ConnectionClosed(1000), True),
        (net.ConnectionLost("reset"), True),
        (ConnectionResetError(), True),
        (Terminated(1001), True),
        (Sink("closed"), True),
        (Deserialise("bad", ""), False),
        (ValueError("a bug"), False),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_means_that_the_connection_is_gone(error, gone):
    assert is_websocket_disconnected(error) is gone


async def echo(socket):
    async for payload in socket:
        socket.send_text(payload)


@pytest.fixture
async def server(nursery):
    return await nursery.start(serve_websocket, echo, 0)


async def test_a_socket_outlives_the_block_that_opened_it(server):
    source = await connect(open_websocket(f"ws://127.0.0.1:{server.port}/"))
    source.socket.send_text(json.dumps({"q": "1"}))

    batch = await source.read_batch()

    assert batch.payloads == [b'{"q": "1"}']
    await source.aclose()
    await source.aclose()
    with pytest.raises(net.ConnectionClosed):
        await source.read_batch()


async def test_no_server_is_an_error_of_the_stream():
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()

    with pytest.raises(WebSocket):
        await connect(open_websocket(f"ws://127.0.0.1:{port}/"))


async def test_a_certificate_nobody_vouches_for_is_told_apart(nursery):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    serve = partial(serve_websocket, ssl_context=context)
    server = await nursery.start(serve, echo, 0)

    with pytest.raises(TlsError) as caught:
        await connect(open_websocket(f"wss://127.0.0.1:{server.port}/"))

    assert not caught.value.recoverable


@asynccontextmanager
async def brought(nursery, talk):
    """A user's own connection of trio-websocket, to a server of that library."""
    theirs = pytest.importorskip("trio_websocket")

    async def handle(request):
        await talk(await request.accept())

    serve = partial(theirs.serve_websocket, handle, "127.0.0.1", 0, None)
    server = await nursery.start(serve)
    with trio.fail_after(120):
        url = f"ws://127.0.0.1:{server.port}/"
        async with theirs.open_websocket_url(url) as ws:
            yield ws
        # trio-websocket forgets its socket where the peer closes first.
        await trio.aclose_forcefully(ws._stream)


def theirs_closed():
    return pytest.importorskip("trio_websocket").ConnectionClosed


class Volume:
    def __init__(self):
        self.total = 0.0

    def transform(self, message, _time_received):
        self.total += float(message.q)
        return (self.total,)


async def test_a_connection_of_trio_websocket_is_a_source_of_a_stream(nursery):
    heard = []

    async def venue(ws):
        heard.append(await ws.get_message())
        for message in ('{"q":"1.5"}', "pong", b'{"q":"2"}', "{"):
            await ws.send_message(message)
        await ws.aclose(1012, "restart")

    async with brought(nursery, venue) as theirs:
        source = await connect(adapt_websocket(theirs))
        stream = ExchangeStream(
            source, WebSocketParser(msgspec.json.Decoder(Trade)), Volume()
        )
        source.socket.send_text("subscribe")
        received = [await anext(stream) for _ in range(3)]
        with pytest.raises(Terminated) as ended:
            await anext(stream)
        await stream.aclose()

    assert heard == ["subscribe"]
    assert received[:2] == [1.5, 3.5]
    assert isinstance(received[2], Deserialise)
    assert (ended.value.code, ended.value.reason) == (1012, "restart")
    assert is_websocket_disconnected(ended.value)


async def test_a_connection_that_was_lent_goes_back_to_its_owner(nursery):
    async def venue(ws):
        while True:
            try:
                await ws.send_message(await ws.get_message())
            except theirs_closed():
                return

    async with brought(nursery, venue) as theirs:
        source = await connect(adapt_websocket(theirs))
        source.socket.send_text("ours")
        await source.aclose()
        await source.aclose()
        answers = [await theirs.get_message()]
        await theirs.send_message("theirs")
        answers.append(await theirs.get_message())

    assert answers == ["ours", "theirs"]


async def test_a_cancelled_read_of_a_lent_connection_loses_nothing(nursery):
    go = trio.Event()

    async def venue(ws):
        await go.wait()
        await ws.send_message('{"q":"7"}')
        await trio.sleep_forever()

    async with brought(nursery, venue) as theirs:
        source = await connect(adapt_websocket(theirs))
        with trio.CancelScope() as scope:
            scope.cancel()
            await source.read_batch()
        go.set()
        batch = await source.read_batch()
        await source.aclose()
        nursery.cancel_scope.cancel()

    assert batch.payloads == [b'{"q":"7"}']
