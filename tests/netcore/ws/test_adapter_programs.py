"""The adapters that are programs: what they say when they cannot work, and to whom.

Whatever is wrong is one line on stderr and an exit code: 2 for arguments, 1 for the
network or the peer.
"""

import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from netcore.testing import reserved_port

ADAPTERS = Path(__file__).resolve().parents[2] / "adapters"
PATIENCE = 120
USAGES = {
    "ws_echo_client": "ws_echo_client.py BASE_URL AGENT",
    "ws_echo_server": "ws_echo_server.py HOST PORT",
    "tls_ping": "tls_ping.py HOST PORT CAFILE SNI",
    "fix_acceptor": "fix_acceptor.py PORT",
    "fix_initiator": "fix_initiator.py PORT BEGINSTRING TARGETCOMPID HEARTBTINT",
}
WRONG = [
    *((name, ()) for name in USAGES),
    ("ws_echo_client", ("ftp://h", "agent")),
    ("ws_echo_client", ("ws://h", "agent", "more")),
    ("ws_echo_server", ("127.0.0.1", "70000")),
    ("tls_ping", ("127.0.0.1", "x", "cafile", "h")),
    ("fix_acceptor", ("-1",)),
    ("fix_initiator", ("1", "FIX.9.9", "TW", "30")),
    ("fix_initiator", ("1", "FIX.4.4", "TW", "-30")),
]


def start(name, *arguments):
    return subprocess.Popen(  # noqa: S603 - our own scripts
        [sys.executable, str(ADAPTERS / f"{name}.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(name, *arguments):
    with start(name, *arguments) as process:
        out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments"), WRONG)
def test_wrong_arguments_are_one_line_and_exit_code_2(name, arguments):
    assert ended(name, *arguments) == (2, "", f"usage: {USAGES[name]}\n")


def one_line(err):
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ws_echo_server", "fix_acceptor"])
def test_a_port_that_is_taken_is_one_line_and_exit_code_1(name):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        more = ["127.0.0.1"] if name == "ws_echo_server" else []
        code, out, err = ended(name, *more, number)

    assert (code, out) == (1, "")
    assert "in use" in one_line(err)


@pytest.mark.slow
def test_a_suite_that_is_not_there_is_one_line_and_exit_code_1():
    with reserved_port() as nobody:
        code, out, err = ended("ws_echo_client", f"ws://127.0.0.1:{nobody}", "agent")

    assert (code, out) == (1, "")
    assert "refused" in one_line(err)


@pytest.mark.slow
def test_a_suite_that_leaves_at_once_is_one_line_and_exit_code_1():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        with start("ws_echo_client", url, "agent") as process:
            peer, _ = listener.accept()
            reset(peer)
            out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, out) == (1, "")
    one_line(err)


def reset(peer):
    """Leave as a killed process would."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def reached(process, number):
    """Return a connection to `process` once it listens."""
    while process.poll() is None:
        try:
            return socket.create_connection(("127.0.0.1", number))
        except ConnectionRefusedError:
            continue
    raise AssertionError(process.stderr.read())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ws_echo_server", "fix_acceptor"])
@pytest.mark.parametrize("said", [b"", b"GET / HT", b"8=FIX.4.4\x019=5", b"\x00" * 99])
def test_a_peer_that_is_gone_takes_nobody_along(name, said):
    more = ["127.0.0.1"] if name == "ws_echo_server" else []
    with reserved_port() as number, start(name, *more, str(number)) as process:
        try:
            for _ in range(3):
                peer = reached(process, number)
                peer.sendall(said)
                reset(peer)
            reached(process, number).close()
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()

    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.slow
def test_the_fix_initiator_waits_for_a_venue_that_is_not_there():
    with (
        reserved_port() as number,
        start("fix_initiator", str(number), "FIX.4.4", "TW", "30") as process,
    ):
        try:
            assert "refused" in process.stderr.readline()
            with socket.create_server(("127.0.0.1", number)) as listener:
                peer, _ = listener.accept()
                with peer:
                    assert peer.recv(100).startswith(b"8=FIX.4.4\x019=")
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=PATIENCE)
        finally:
            process.kill()

    assert process.returncode == 0
