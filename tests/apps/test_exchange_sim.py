"""The program exchange-sim as its users start and stop it."""

import json
import signal
import socket
import ssl
import sys
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

trio_websocket = pytest.importorskip("trio_websocket")
pytest.importorskip("cyclopts")

COMMAND = [sys.executable, "-m", "exchange_sim.cli"]
GUARD_SECONDS = 300  # against hanging; nothing asserts a duration

DEPTH = (
    b'%d {"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":%d,'
    b'"s":"BTCUSDT","U":%d,"u":%d,"b":[["100.0","%d"]],"a":[]}}\n'
)
SNAPSHOT = b'1000 {"lastUpdateId":9,"bids":[["99.0","1"]],"asks":[["101.0","1"]]}\n'


class Program:
    """A running program and the JSON lines it logs."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._lines = self._read_lines()

    async def _read_lines(self):
        waiting = b""
        async for chunk in self.process.stderr:
            *lines, waiting = (waiting + chunk).split(b"\n")
            for line in lines:
                yield line

    async def logged(self, event: str) -> dict:
        with trio.fail_after(GUARD_SECONDS):
            async for line in self._lines:
                entry = json.loads(line)
                if entry["event"] == event:
                    return entry
        raise AssertionError(f"never logged {event!r}")

    async def stop(self, number: int) -> int:
        self.process.send_signal(number)
        with trio.fail_after(GUARD_SECONDS):
            return await self.process.wait()


@asynccontextmanager
async def running(*arguments: str):
    process = await trio.lowlevel.open_process(
        [*COMMAND, "--port", "0", *arguments], stderr=-1
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await process.stderr.aclose()


async def failing(*arguments: str) -> tuple[int, str]:
    """Exit code and the one line said on stderr."""
    with trio.fail_after(GUARD_SECONDS):
        result = await trio.run_process(
            [*COMMAND, *arguments], capture_stderr=True, check=False
        )
    lines = result.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("exchange-sim: ")
    return result.returncode, lines[0]


async def fetch(url: str, **options) -> httpx.Response:
    async with httpx.AsyncClient(
        trust_env=False, timeout=GUARD_SECONDS, **options
    ) as client:
        return await client.get(url)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_serves_and_a_signal_ends_it_with_zero(number):
    async with running("--seed", "3", "--symbols", "ETHUSDT,SOLUSDT") as program:
        ready = await program.logged("listening")
        assert ready["symbols"] == ["ETHUSDT", "SOLUSDT"]
        url = ready["rest_url"] + "/api/v3/depth?symbol=ETHUSDT"
        assert (await fetch(url)).json()["bids"]

        address = ready["websocket_url"] + "/ethusdt@depth@100ms"
        async with trio_websocket.open_websocket_url(address) as client:
            assert json.loads(await client.get_message())["s"] == "ETHUSDT"
            assert await program.stop(number) == 0
            with pytest.raises(trio_websocket.ConnectionClosed) as closed:
                await read_on(client)
        await trio.aclose_forcefully(client._stream)

    assert closed.value.reason.code == 1001


async def test_another_venue_is_spoken():
    async with running("--dialect", "kraken_v2") as program:
        ready = await program.logged("listening")
        address = ready["websocket_url"]
        async with trio_websocket.open_websocket_url(address) as client:
            status = json.loads(await client.get_message())
            assert await program.stop(signal.SIGTERM) == 0
        await trio.aclose_forcefully(client._stream)

    assert ready["websocket_url"].endswith("/v2")
    assert status["channel"] == "status"


async def read_on(client):
    while True:
        await client.get_message()


async def test_a_client_that_hangs_does_not_hold_up_the_end():
    async with running() as program:
        ready = await program.logged("listening")
        port = int(ready["rest_url"].rpartition(":")[2])
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(
                b"GET /ws/btcusdt@depth@100ms HTTP/1.1\r\nHost: x\r\n"
                b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert b"101" in await stream.receive_some()

            assert await program.stop(signal.SIGTERM) == 0


async def test_a_taken_port_ends_it_with_two():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = await failing("--port", str(port))

    assert code == 2
    assert str(port) in line


async def test_an_unreadable_recording_ends_it_with_two(tmp_path):
    path = tmp_path / "recording"
    path.write_bytes(SNAPSHOT + b"1001 {nonsense\n")

    code, line = await failing("--recording", str(path))

    assert code == 2
    assert f"{path}, line 2" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--speed", "fast"), "--speed"),
        (("--symbols", "NOPE"), "NOPE"),
        (("--unknown",), "--unknown"),
    ],
)
async def test_options_that_cannot_be_used_end_it_with_two(arguments, said):
    code, line = await failing("--port", "0", *arguments)

    assert code == 2
    assert said in line


async def test_a_recording_at_full_speed_can_end_the_program(tmp_path):
    path = tmp_path / "recording"
    events = b"".join(DEPTH % (1000 + n, n, 10 + n, 10 + n, n) for n in range(1, 50))
    path.write_bytes(SNAPSHOT + DEPTH % (1000, 0, 9, 10, 1) + events)

    async with running(
        "--recording", str(path), "--speed", "max", "--exit-at-end"
    ) as program:
        finished = await program.logged("finished")
        with trio.fail_after(GUARD_SECONDS):
            assert await program.process.wait() == 0

    assert finished["events"] == 50


async def test_after_a_recording_the_last_book_is_still_served(tmp_path):
    path = tmp_path / "recording"
    path.write_bytes(SNAPSHOT + DEPTH % (1001, 1, 10, 12, 7))

    async with running("--recording", str(path), "--speed", "max") as program:
        ready = await program.logged("listening")
        await program.logged("finished")
        url = ready["rest_url"] + "/api/v3/depth?symbol=BTCUSDT"
        book = (await fetch(url)).json()
        assert await program.stop(signal.SIGINT) == 0

    assert book["lastUpdateId"] == 12
    assert book["bids"] == [
        ["100.00000000", "7.00000000"],
        ["99.00000000", "1.00000000"],
    ]


async def test_tls_with_an_authority_for_the_client(tmp_path):
    authority = tmp_path / "ca.pem"
    async with running("--tls-ca", str(authority)) as program:
        ready = await program.logged("listening")
        trusting = ssl.create_default_context(cafile=authority)
        reply = await fetch(ready["rest_url"] + "/api/v3/ping", verify=trusting)
        assert await program.stop(signal.SIGTERM) == 0

    assert ready["websocket_url"].startswith("wss://")
    assert reply.json() == {}


async def test_faults_strike_by_script(tmp_path):
    script = tmp_path / "faults.json"
    script.write_text(
        '[{"after_ms": 0, "fault": {"type": "rate_limit", "status": 418}}]'
    )
    async with running("--faults", str(script)) as program:
        ready = await program.logged("listening")
        url = ready["rest_url"] + "/api/v3/ping"
        while (reply := await fetch(url)).status_code == 200:
            pass

    assert reply.status_code == 418
