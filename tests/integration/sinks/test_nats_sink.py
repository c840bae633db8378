"""A batch is with the server when `send_batch` returns."""

import re
import shutil
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from integration.errors import Broker, Serialise
from integration.protocols.nats import NatsMessage
from integration.protocols.nats_connection import NatsConnection
from integration.sinks.nats import NatsSink

BINARY = shutil.which("nats-server") or shutil.which(
    "nats-server", path=str(Path(sys.executable).parent)
)
pytestmark = pytest.mark.skipif(BINARY is None, reason="nats-server is not installed")


@asynccontextmanager
async def nats_server(*arguments):
    command = [BINARY, "-a", "127.0.0.1", "-p", "-1", *arguments]
    process = await trio.lowlevel.open_process(command, stderr=-1, stdout=-1)
    try:
        log = b""
        while b"Server is ready" not in log:
            data = await process.stderr.receive_some()
            assert data, f"nats-server ended: {log.decode()}"
            log += data
        port = re.search(rb"client connections on \S+:(\d+)", log)[1]
        yield process, int(port)
    finally:
        if process.returncode is None:
            process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stderr.aclose()
            await process.stdout.aclose()


async def test_what_was_sent_has_arrived():
    async with (
        nats_server() as (_, port),
        await NatsConnection.open("127.0.0.1", port) as reader,
    ):
        await reader.subscribe("trades.>")
        await reader.flush()
        sink = NatsSink(await NatsConnection.open("127.0.0.1", port))

        await sink.send_batch([("trades.btc", b"1"), ("trades.eth", b"2")])
        await sink.send_batch([("trades.btc", b"3")])
        await sink.aclose()

        got = []
        with trio.fail_after(120):
            while len(got) < 3:
                batch = await reader.read_batch()
                got += [f for f in batch.frames if isinstance(f, NatsMessage)]

    assert [(m.subject, m.payload) for m in got] == [
        ("trades.btc", b"1"),
        ("trades.eth", b"2"),
        ("trades.btc", b"3"),
    ]


async def test_a_message_that_is_too_large_sends_none():
    async with nats_server() as (_, port):
        sink = NatsSink(await NatsConnection.open("127.0.0.1", port))

        with pytest.raises(Serialise):
            await sink.send_batch([("a", b"1"), ("a", bytes(2**21))])
        await sink.send_batch([("a", b"2")])
        await sink.aclose()


async def test_a_subject_that_is_forbidden_is_told(tmp_path):
    config = tmp_path / "nats.conf"
    config.write_text(
        'authorization { default_permissions { publish: "open.>" }\n'
        '  users: [{ user: "u", password: "p" }] }\nno_auth_user: "u"\n'
    )
    async with nats_server("-c", str(config)) as (_, port):
        sink = NatsSink(await NatsConnection.open("127.0.0.1", port))

        with pytest.raises(Broker, match=r"(?i)permissions violation"):
            await sink.send_batch([("closed.x", b"1")])
        await sink.aclose()


async def test_a_server_that_goes_is_told():
    async with nats_server() as (process, port):
        sink = NatsSink(await NatsConnection.open("127.0.0.1", port))
        process.kill()
        await process.wait()

        with pytest.raises(Broker):
            await sink.send_batch([("a", b"1")])
        await sink.aclose()
