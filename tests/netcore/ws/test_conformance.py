"""The adapters for outside suites: Autobahn's own cases, and a clean exit.

The suite is run by `kosoku`, which drives Autobahn's case files. Sections 9, 12 and 13
take minutes and are in `test_autobahn_cases.py` in smaller form.
"""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netcore.ws import State, WebSocket

ADAPTERS = Path(__file__).resolve().parents[2] / "adapters"
LONG = ["9.*", "12.*", "13.*"]
PATIENCE = 120


@contextmanager
def adapter(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(  # noqa: S603 - our own scripts
        [sys.executable, str(ADAPTERS / name), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def echo_server() -> Iterator[tuple[subprocess.Popen[str], int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with adapter("ws_echo_server.py", "127.0.0.1", str(port)) as process:
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                continue
        yield process, port


def test_the_echo_server_echoes_and_leaves_on_sigterm():
    with echo_server() as (process, port):
        with WebSocket.connect(f"ws://127.0.0.1:{port}/any/path") as ws:
            ws.send_text("hello")
            frames = []
            while not frames:
                assert ws.wait(PATIENCE)
                frames = list(ws.read_batch() or ())
            assert frames[0].text == "hello"
            assert ws.state is State.OPEN
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, out, err) == (0, "", "")


def test_the_echo_client_leaves_on_sigterm():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with adapter("ws_echo_client.py", f"ws://127.0.0.1:{port}", "x") as process:
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(100).startswith(b"GET /getCaseCount HTTP/1.1")
                process.send_signal(signal.SIGTERM)
                out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, out, err) == (0, "", "")


def strict(results) -> None:
    """Check that every case ended as Autobahn's strictest expectation says."""
    accepted = {"OK", "INFORMATIONAL"}
    missed = {
        result.case_id: (result.behavior.value, result.behavior_close.value)
        for result in results
        if not {result.behavior.value, result.behavior_close.value} <= accepted
    }
    assert missed == {}
    assert len(results) > 200


@pytest.mark.slow
def test_autobahn_finds_no_fault_in_our_server():
    kosoku = pytest.importorskip("kosoku")

    with echo_server() as (_, port):
        results = asyncio.run(
            _awaited(kosoku.run_fuzzingclient, f"ws://127.0.0.1:{port}", None, LONG)
        )

    strict(results)


async def _awaited(call, *arguments):
    return await asyncio.wait_for(call(*arguments), PATIENCE)


@pytest.mark.slow
def test_autobahn_finds_no_fault_in_our_client():
    kosoku = pytest.importorskip("kosoku")

    strict(asyncio.run(_serve(kosoku)))


async def _serve(kosoku):
    async with kosoku.run_fuzzingserver(None, LONG, host="127.0.0.1", port=0) as server:
        url = f"ws://{server.address}:{server.port}"
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(ADAPTERS / "ws_echo_client.py"), url, "netcore"
        )
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
            return await asyncio.wait_for(server.get_result(), PATIENCE)
        finally:
            if process.returncode is None:
                process.kill()
