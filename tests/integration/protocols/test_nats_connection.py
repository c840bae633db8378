import re
import shutil
import ssl
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trustme
from trio.testing import memory_stream_pair

from integration.errors import Broker, Serialise, Unauthorised
from integration.protocols.nats import (
    NatsAuth,
    NatsCodec,
    NatsInfo,
    NatsMessage,
    NatsParser,
    NatsSignal,
)
from integration.protocols.nats_connection import NatsConnection
from integration.stream import ExchangeStream
from netcore.clock import ManualClock

BINARY = shutil.which("nats-server") or shutil.which(
    "nats-server", path=str(Path(sys.executable).parent)
)
needs_server = pytest.mark.skipif(BINARY is None, reason="nats-server is not installed")


@asynccontextmanager
async def nats_server(*arguments):
    command = [BINARY, "-a", "127.0.0.1", "-p", "-1", *arguments]
    process = await trio.lowlevel.open_process(command, stderr=-1, stdout=-1)
    try:
        log = b""
        while (found := re.search(rb"client connections on \S+:(\d+)", log)) is None:
            data = await process.stderr.receive_some()
            assert data, f"nats-server ended: {log.decode()}"
            log += data
        while b"Server is ready" not in log:
            log += await process.stderr.receive_some()
        yield int(found[1])
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stderr.aclose()
            await process.stdout.aclose()


async def messages(connection, count):
    got = []
    while len(got) < count:
        batch = await connection.read_batch()
        got += [f for f in batch.frames if isinstance(f, NatsMessage)]
    return got


@needs_server
async def test_what_one_publishes_another_receives():
    async with (
        nats_server() as port,
        await NatsConnection.open("127.0.0.1", port) as reader,
        await NatsConnection.open("127.0.0.1", port) as writer,
    ):
        first, second = await reader.subscribe("trades.*", "books.>")
        await reader.publish("trades.sync", b"")  # its echo proves the subscription
        await messages(reader, 1)

        await writer.publish("trades.btc", b"1", reply="inbox")
        await writer.publish("books.btc.l2", b"2", headers={"Trace": "7"})
        await writer.publish("elsewhere", b"3")
        await writer.publish_many([("trades.eth", b"4"), ("trades.xmr", b"")])

        got = await messages(reader, 4)

    assert [(m.subject, m.sid, m.payload) for m in got] == [
        ("trades.btc", first, b"1"),
        ("books.btc.l2", second, b"2"),
        ("trades.eth", first, b"4"),
        ("trades.xmr", first, b""),
    ]
    assert got[0].reply == "inbox"
    assert got[1].header("trace") == "7"


@needs_server
async def test_it_feeds_an_exchange_stream():
    class Double:
        def transform(self, message, time_received):
            return (message * 2,)

    async with (
        nats_server() as port,
        await NatsConnection.open("127.0.0.1", port) as connection,
    ):
        stream = ExchangeStream(
            connection, NatsParser(msgspec.json.Decoder(int)), Double()
        )
        await connection.subscribe("n")
        await connection.publish_many(("n", str(n).encode()) for n in range(1000))

        got = []
        while len(got) < 1000:
            got += await stream.next_batch()

    assert got == [n * 2 for n in range(1000)]
    assert stream.stats.batches < 1000


@needs_server
async def test_without_echo_we_do_not_hear_ourselves():
    async with (
        nats_server() as port,
        await NatsConnection.open("127.0.0.1", port, echo=False) as quiet,
        await NatsConnection.open("127.0.0.1", port) as other,
    ):
        await other.subscribe("ready")
        await other.publish("ready", b"")
        await messages(other, 1)
        await quiet.subscribe("a")
        await quiet.publish("a", b"mine")
        await quiet.publish("ready", b"")
        await messages(other, 1)
        await other.publish("a", b"other")

        (got,) = await messages(quiet, 1)

    assert got.payload == b"other"


@needs_server
async def test_an_ended_subscription_delivers_no_more():
    async with (
        nats_server() as port,
        await NatsConnection.open("127.0.0.1", port) as connection,
    ):
        once, always = await connection.subscribe("a", "a")
        await connection.unsubscribe(once, after=1)
        await connection.publish_many([("a", b"1"), ("a", b"2")])
        got = await messages(connection, 3)

    assert sorted((m.sid, m.payload) for m in got) == [
        (once, b"1"),
        (always, b"1"),
        (always, b"2"),
    ]


@needs_server
async def test_nobody_listening_is_told_to_who_asks():
    parser = NatsParser(msgspec.json.Decoder())
    async with (
        nats_server() as port,
        await NatsConnection.open("127.0.0.1", port) as connection,
    ):
        await connection.subscribe("inbox")
        await connection.publish("void", b"", reply="inbox")
        (answer,) = await messages(connection, 1)

    fault = parser.parse(answer)
    assert isinstance(fault, Broker)
    assert fault.code == "503"


@needs_server
async def test_an_identity_is_checked():
    async with nats_server("--user", "me", "--pass", "secret") as port:
        with pytest.raises(Unauthorised):
            await NatsConnection.open("127.0.0.1", port)
        wrong = NatsAuth(user="me", password="wrong")
        with pytest.raises(Unauthorised):
            await NatsConnection.open("127.0.0.1", port, auth=wrong)
        right = NatsAuth(user="me", password="secret")
        connection = await NatsConnection.open("127.0.0.1", port, auth=right)
        await connection.publish("a", b"")
        await connection.aclose()


@needs_server
async def test_tls_begins_behind_the_servers_info(tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(chain))
    certificate.private_key_pem.write_to_path(str(key))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    flags = ("--tls", "--tlscert", str(chain), "--tlskey", str(key))

    async with nats_server(*flags) as port:
        with pytest.raises(Broker, match="demands TLS"):
            await NatsConnection.open("127.0.0.1", port)
        with pytest.raises(Broker, match="no connection"):
            await NatsConnection.open(
                "127.0.0.1", port, ssl_context=ssl.create_default_context()
            )
        async with await NatsConnection.open(
            "127.0.0.1", port, ssl_context=context
        ) as connection:
            await connection.subscribe("a")
            await connection.publish("a", b"secret")
            (got,) = await messages(connection, 1)

    assert got.payload == b"secret"


@needs_server
async def test_a_server_that_ends_is_noticed():
    async with nats_server() as port:
        connection = await NatsConnection.open("127.0.0.1", port)
    with pytest.raises(Broker) as caught:
        await messages(connection, 1)
    await connection.aclose()

    assert caught.value.terminal


async def test_a_server_without_tls_is_not_spoken_to_in_plain_if_tls_was_asked_for():
    async def server(stream):
        await stream.send_all(b'INFO {"server_id":"A"}\r\n')
        assert await stream.receive_some() == b""

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, server, 0)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(Broker, match="has none"):
            await NatsConnection.open(
                "127.0.0.1", port, ssl_context=ssl.create_default_context()
            )
        nursery.cancel_scope.cancel()


async def test_nobody_there_is_an_error():
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()

    with pytest.raises(Broker, match="no connection"):
        await NatsConnection.open("127.0.0.1", port)


async def test_a_server_that_says_nothing_is_given_up(mock_clock):
    accepted = trio.Event()

    async def server(stream):
        accepted.set()
        await stream.receive_some()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, server, 0)
        port = listeners[0].socket.getsockname()[1]

        @nursery.start_soon
        async def _():
            await accepted.wait()
            mock_clock.jump(3.0)

        with pytest.raises(Broker, match=r"in 3\.0 s"):
            await NatsConnection.open("127.0.0.1", port, timeout=3.0)
        nursery.cancel_scope.cancel()


@pytest.fixture
def pair():
    ours, theirs = memory_stream_pair()
    connection = NatsConnection(
        ours, NatsInfo(max_payload=10), NatsCodec(), ManualClock(now_ns=7)
    )
    return connection, theirs


async def test_pings_are_answered_while_reading(pair):
    connection, server = pair
    await server.send_all(b"PING\r\nMSG a 1 1\r\nx\r\nPING\r\n")

    batch = await connection.read_batch()

    assert batch.frames == [NatsSignal.PING, NatsMessage("a", 1, b"x"), NatsSignal.PING]
    assert batch.timestamp_ns == 7
    assert await server.receive_some() == b"PONG\r\nPONG\r\n"


async def test_what_is_new_about_the_server_is_kept(pair):
    connection, server = pair
    await server.send_all(b'INFO {"max_payload":3}\r\n')
    await connection.read_batch()

    assert connection.info.max_payload == 3
    with pytest.raises(Serialise, match="exceeds the server's 3"):
        await connection.publish("a", b"four")
    with pytest.raises(Serialise):
        await connection.publish_many([("a", b"1"), ("a", b"four")])


async def test_silence_is_asked_about_and_ends_the_connection(pair, autojump_clock):
    connection, server = pair
    start = trio.current_time()

    with pytest.raises(Broker, match=r"no sign of life for 90\.0 s") as caught:
        await connection.read_batch()

    assert caught.value.terminal
    assert trio.current_time() - start == pytest.approx(90.0)
    assert await server.receive_some() == b"PING\r\nPING\r\n"


async def test_an_answer_ends_the_silence(pair, autojump_clock):
    connection, server = pair

    async def answer():
        assert await server.receive_some() == b"PING\r\n"
        await server.send_all(b"PONG\r\n")

    for _ in range(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            assert (await connection.read_batch()).frames == [NatsSignal.PONG]


async def test_a_cancelled_read_loses_nothing_and_owes_its_pong(pair):
    connection, server = pair
    await server.send_all(b"PING\r\nMSG a 1 1\r\nx\r\n")

    async with trio.open_nursery() as nursery:
        # Another task is sending, so that the pong has to wait, and is cancelled.
        await connection._sending.acquire()
        nursery.start_soon(connection.read_batch)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    connection._sending.release()

    batch = await connection.read_batch()
    assert batch.frames == [NatsSignal.PING, NatsMessage("a", 1, b"x")]
    assert await server.receive_some() == b"PONG\r\n"


class Narrow(trio.abc.Stream):
    """Takes half of what is sent, and the rest when it is told to."""

    def __init__(self):
        self.taken = b""
        self.half = trio.Event()
        self.rest = trio.Event()

    async def send_all(self, data):
        await trio.lowlevel.checkpoint()
        self.taken += data[: len(data) // 2]
        self.half.set()
        await self.rest.wait()
        self.taken += data[len(data) // 2 :]

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes=None):
        await trio.sleep_forever()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


async def test_a_write_that_was_begun_is_not_cut_by_a_cancellation():
    stream = Narrow()
    connection = NatsConnection(stream, NatsInfo(), NatsCodec())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.publish, "a", b"whole")
        await stream.half.wait()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
        stream.rest.set()

    assert stream.taken == b"PUB a 5\r\nwhole\r\n"


async def test_a_server_that_takes_nothing_is_left(autojump_clock):
    ours, _ = trio.testing.lockstep_stream_pair()
    connection = NatsConnection(ours, NatsInfo(), NatsCodec())

    with pytest.raises(Broker, match="takes nothing"):
        await connection.publish("a", b"x")


async def test_nonsense_from_the_server_ends_the_connection(pair):
    connection, server = pair
    await server.send_all(b"HELLO\r\n")

    with pytest.raises(Broker, match="breaks the protocol"):
        await connection.read_batch()


SCRIPTS = [
    (b"", "before it said INFO"),
    (b"+OK\r\n", "INFO had to come first"),
    (b"INFO {}\r\n", r"closed the connection|connection lost"),
    (b"INFO {}\r\n-ERR 'Maximum Connections Exceeded'\r\n", "Maximum Connections"),
]


@pytest.mark.parametrize(("script", "words"), SCRIPTS)
async def test_a_server_that_does_not_introduce_itself_properly_is_left(script, words):
    async def server(stream):
        await stream.send_all(script)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, server, 0)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(Broker, match=words) as caught:
            await NatsConnection.open("127.0.0.1", port)
        nursery.cancel_scope.cancel()

    assert caught.value.terminal


async def test_an_introduction_may_come_in_pieces():
    async def server(stream):
        for piece in (b"INFO {", b'"server_id":"A"}', b"\r\n"):
            await stream.send_all(piece)
            await trio.testing.wait_all_tasks_blocked(0.001)
        heard = b""
        while not heard.endswith(b"PING\r\n"):
            heard += await stream.receive_some()
        await stream.send_all(b"PING\r\n")
        await stream.send_all(b"PONG\r\n")
        await stream.receive_some()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, server, 0)
        port = listeners[0].socket.getsockname()[1]
        async with await NatsConnection.open("127.0.0.1", port) as connection:
            assert connection.info.server_id == "A"
        nursery.cancel_scope.cancel()


async def test_a_connection_that_breaks_is_noticed_by_readers_and_writers(pair):
    connection, server = pair
    await server.aclose()

    with pytest.raises(Broker, match=r"closed|lost"):
        await connection.read_batch()
    with pytest.raises(Broker, match="lost"):
        await connection.publish("a", b"x")
