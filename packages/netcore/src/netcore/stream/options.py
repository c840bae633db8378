"""Setting a socket's options by the names of `SocketOptions`.

Numbers for what the socket module of this Python does not name are Linux's, from
include/uapi/asm-generic/socket.h and include/uapi/linux/tcp.h. An option that was
asked for and cannot be set is an error: a silent fall-back would be measured as speed.
"""

import socket
import sys

from netcore.errors import SocketOptionError
from netcore.info import ConnectionInfo, SocketOptions

__all__ = ["apply_options", "rearm_quickack"]

_ON_LINUX = sys.platform.startswith("linux")


def _linux(name: str, number: int) -> int | None:
    """Return Python's number for an option, Linux's own there, None elsewhere."""
    return getattr(socket, name, number if _ON_LINUX else None)


_TCP_QUICKACK = _linux("TCP_QUICKACK", 12)

# field of SocketOptions -> (level, option); None where the platform has no such option
_OPTIONS: dict[str, tuple[int, int | None]] = {
    "nodelay": (socket.IPPROTO_TCP, socket.TCP_NODELAY),
    "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "quickack": (socket.IPPROTO_TCP, _TCP_QUICKACK),
    "rcvbuf": (socket.SOL_SOCKET, socket.SO_RCVBUF),
    "sndbuf": (socket.SOL_SOCKET, socket.SO_SNDBUF),
    "bind_to_device": (socket.SOL_SOCKET, _linux("SO_BINDTODEVICE", 25)),
    "busy_poll_us": (socket.SOL_SOCKET, _linux("SO_BUSY_POLL", 46)),
    "prefer_busy_poll": (socket.SOL_SOCKET, _linux("SO_PREFER_BUSY_POLL", 69)),
    "busy_poll_budget": (socket.SOL_SOCKET, _linux("SO_BUSY_POLL_BUDGET", 70)),
}
_SO_INCOMING_CPU = _linux("SO_INCOMING_CPU", 49)

# Unix sockets, used for tests and local services, have no TCP level.
_TCP_ONLY = frozenset({"nodelay", "keepalive", "quickack"})


def apply_options(sock: socket.socket, info: ConnectionInfo) -> None:
    """Set what `info.options` and `info.cpu` ask for, then call `info.configure`.

    Raises:
        SocketOptionError: If the kernel refuses an option or has no such option.
    """
    tcp = sock.family in {socket.AF_INET, socket.AF_INET6}
    for name in SocketOptions.__struct_fields__:
        value = getattr(info.options, name)
        if value is None or (not tcp and name in _TCP_ONLY):
            continue
        level, option = _OPTIONS[name]
        _set(sock, name, level, option, value)
    if info.cpu is not None:
        _set(sock, "cpu", socket.SOL_SOCKET, _SO_INCOMING_CPU, info.cpu)
    if info.configure is not None:
        info.configure(sock)


def rearm_quickack(sock: socket.socket) -> None:
    """Ask for immediate acknowledgements again; the kernel drops the wish (tcp(7))."""
    if _TCP_QUICKACK is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_QUICKACK, 1)


def _set(
    sock: socket.socket, name: str, level: int, option: int | None, value: int | str
) -> None:
    if option is None:
        raise SocketOptionError(name, f"unknown on {sys.platform}; leave it unset")
    try:
        if isinstance(value, str):
            sock.setsockopt(level, option, value.encode() + b"\0")
        else:
            sock.setsockopt(level, option, int(value))
    except OSError as exc:
        message = f"value {value!r} was refused: {exc.strerror}"
        raise SocketOptionError(name, message, errno=exc.errno) from exc
