import errno
import os
import socket
import sys

import pytest

from netcore.errors import SocketOptionError
from netcore.info import ConnectionInfo, SocketOptions
from netcore.stream import options
from netcore.stream.options import apply_options, rearm_quickack

LINUX = sys.platform.startswith("linux")
linux_only = pytest.mark.skipif(not LINUX, reason="options of Linux")


@pytest.fixture
def sock():
    with socket.socket() as sock:
        yield sock


def info(*, cpu=None, configure=None, **fields):
    chosen = SocketOptions(**fields)
    return ConnectionInfo("a", 1, options=chosen, cpu=cpu, configure=configure)


def test_small_segments_leave_at_once_and_dead_peers_are_noticed_by_default(sock):
    apply_options(sock, info())

    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_false_switches_an_option_off(sock):
    apply_options(sock, info(nodelay=False, keepalive=False))

    assert not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_buffer_sizes_are_set(sock):
    apply_options(sock, info(rcvbuf=16384, sndbuf=32768))

    # Linux doubles what is asked for (socket(7)).
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) in {16384, 32768}
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) in {32768, 65536}


@linux_only
def test_linux_options_are_set_by_their_numbers(sock):
    cpu = min(os.sched_getaffinity(0))
    apply_options(sock, info(quickack=True, cpu=cpu))

    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)
    assert sock.getsockopt(socket.SOL_SOCKET, 49) == cpu


class NotingSocket:
    """Notes what is set, and may refuse it as an unprivileged kernel does."""

    family = socket.AF_INET

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error
        self.noted: list[tuple[int, int, object]] = []

    def setsockopt(self, level, option, value):
        self.noted.append((level, option, value))
        if self.error is not None:
            raise self.error


PRIVILEGED = [
    ("busy_poll_us", 50, (46, 50)),
    ("prefer_busy_poll", True, (69, 1)),
    ("busy_poll_budget", 16, (70, 16)),
    ("bind_to_device", "lo", (25, b"lo\0")),
]


@linux_only
@pytest.mark.parametrize(("name", "value", "expected"), PRIVILEGED)
def test_privileged_options_have_linuxs_numbers(name, value, expected):
    sock = NotingSocket()

    apply_options(sock, info(nodelay=None, keepalive=None, **{name: value}))

    assert sock.noted == [(socket.SOL_SOCKET, *expected)]


@linux_only
@pytest.mark.parametrize(("name", "value", "_"), PRIVILEGED)
def test_a_lacking_privilege_is_an_error_that_names_the_option(name, value, _):
    sock = NotingSocket(PermissionError(errno.EPERM, "Operation not permitted"))

    with pytest.raises(SocketOptionError, match=f"{name}: .*not permitted") as caught:
        apply_options(sock, info(nodelay=None, keepalive=None, **{name: value}))
    assert caught.value.errno == errno.EPERM


@linux_only
def test_a_refused_option_is_an_error_with_name_value_and_reason(sock):
    with pytest.raises(SocketOptionError, match="bind_to_device: value 'nosuch0'") as e:
        apply_options(sock, info(bind_to_device="nosuch0"))
    assert isinstance(e.value.__cause__, OSError)


def test_an_option_that_the_platform_lacks_is_an_error(sock, monkeypatch):
    monkeypatch.setitem(options._OPTIONS, "busy_poll_us", (socket.SOL_SOCKET, None))

    with pytest.raises(
        SocketOptionError, match=f"busy_poll_us: unknown on {sys.platform}"
    ):
        apply_options(sock, info(busy_poll_us=1))


def test_the_users_function_comes_last(sock):
    seen = []

    def configure(fresh):
        seen.append(fresh.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        fresh.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)

    apply_options(sock, info(configure=configure))

    assert seen != [0]
    assert not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_unix_sockets_skip_what_only_tcp_has():
    left, right = socket.socketpair()
    with left, right:
        apply_options(left, info(quickack=True, sndbuf=8192))

        assert left.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) in {8192, 16384}


@linux_only
def test_quickack_can_be_asked_for_again(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)

    rearm_quickack(sock)

    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)


def test_every_option_has_a_number():
    assert set(options._OPTIONS) == set(SocketOptions.__struct_fields__)
