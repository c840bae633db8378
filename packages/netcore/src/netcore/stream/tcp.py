"""A TCP socket as a stream.

The life of a connection is a state, not a set of flags::

    CONNECTING ──writable, SO_ERROR = 0──▶ OPEN ──close()──▶ CLOSED
        └──────SO_ERROR ≠ 0──▶ FAILED ──────────close()──────────┘

Faults are kept per direction: after a failed send (the peer has gone) what it had
sent before is still received, but then the send's fault comes instead of a clean end.
"""

import enum
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import final

from netcore import inet
from netcore.errors import ConnectError, ConnectionLost, NetError, StreamClosed
from netcore.info import Address, ConnectionInfo
from netcore.stream.base import RECEIVE_SIZE, Buffer
from netcore.stream.options import apply_options, rearm_quickack

__all__ = ["TcpStream", "drop_received"]

# EINPROGRESS is POSIX's word, EWOULDBLOCK Windows's and Linux's for unix sockets.
_CONNECTING = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN})


# Reads before closing; whoever still sends after 4 MiB is cut off.
_MOST_DROPPED = 64


class _State(enum.Enum):
    CONNECTING = "connecting"
    OPEN = "open"
    FAILED = "failed"
    CLOSED = "closed"


_OPEN = _State.OPEN


@final
class TcpStream:
    """A non-blocking socket; made by `connect` or `adopt`."""

    __slots__ = (
        "_connect_fault",
        "_info",
        "_quickack",
        "_receive_fault",
        "_send_fault",
        "_sock",
        "_state",
    )

    def __init__(
        self, sock: socket.socket, info: ConnectionInfo, state: _State
    ) -> None:
        self._sock = sock
        self._info = info
        self._state = state
        self._quickack = bool(info.options.quickack)
        self._connect_fault: NetError | None = None
        self._receive_fault: NetError | None = None
        self._send_fault: NetError | None = None

    @classmethod
    def connect(
        cls, info: ConnectionInfo, address: Address | None = None
    ) -> "TcpStream":
        """Start connecting and return at once; `connected` tells how it went.

        Args:
            info: The peer and the socket's options.
            address: The numeric address to take. Without one, `info.host` is looked
                up, which *blocks* unless it is numeric; services use `netcore.dns`.

        Raises:
            ConnectError: If the system refuses at once, such as for no route.
            ResolveError: If the name has no address.
            SocketOptionError: If an option cannot be set.
        """
        if address is None:
            address = _first_address(info)
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            apply_options(sock, info)
            _bind(sock, info, address)
            code = sock.connect_ex(address.sockaddr)
        except OSError as exc:
            sock.close()
            if isinstance(exc, NetError):
                raise
            raise _connect_error(info, address, exc.errno or 0) from exc
        except BaseException:
            sock.close()
            raise
        if code not in _CONNECTING:
            sock.close()
            raise _connect_error(info, address, code)
        return cls(sock, info, _State.CONNECTING)

    @classmethod
    def adopt(
        cls, sock: socket.socket, info: ConnectionInfo | None = None
    ) -> "TcpStream":
        """Return a stream over a connected socket, such as an accepted one.

        The socket becomes the stream's: non-blocking, with the options of `info`.

        Args:
            sock: A connected stream socket.
            info: Whom it talks to; by default the peer's numeric address.

        Raises:
            ConnectError: If it is not connected.
            SocketOptionError: If an option cannot be set.
        """
        sock.setblocking(False)
        if info is None:
            info = _peer_info(sock)
        apply_options(sock, info)
        return cls(sock, info, _State.OPEN)

    def __repr__(self) -> str:
        return f"<TcpStream to {self._info}, {self._state.value}>"

    @property
    def info(self) -> ConnectionInfo:
        """Whom the stream talks to."""
        return self._info

    @property
    def sock(self) -> socket.socket:
        """The socket, for options and statistics; do not read or write it."""
        return self._sock

    @property
    def buffered(self) -> bool:
        """False: the kernel holds everything, and a selector sees that."""
        return False

    @property
    def want_write(self) -> bool:
        """Whether the connection is still being made."""
        return self._state is _State.CONNECTING

    def receive(self, limit: int = RECEIVE_SIZE, /) -> bytes | None:
        """Return up to `limit` bytes, None if that would block, b"" at the end.

        Raises:
            ConnectError: If the connection was refused.
            ConnectionLost: If the connection broke.
            StreamClosed: After `close`.
            ValueError: If `limit` is below 1.
        """
        if self._state is not _OPEN and not self.connected():
            return None
        if self._receive_fault is not None:
            raise self._receive_fault.with_traceback(None)
        try:
            data = self._sock.recv(limit)
        except BlockingIOError:
            return None
        except OSError as exc:
            self._receive_fault = self._lost("receiving", exc)
            raise self._receive_fault from exc
        if not data:
            return self._end(limit)
        if self._quickack:
            rearm_quickack(self._sock)
        return data

    def send(self, data: Buffer, /) -> int:
        """Return how many bytes of `data` the kernel took, 0 if it would block.

        Raises:
            ConnectError: If the connection was refused.
            ConnectionLost: If the connection broke.
            StreamClosed: After `close`.
        """
        if self._state is not _OPEN and not self.connected():
            return 0
        if self._send_fault is not None:
            raise self._send_fault.with_traceback(None)
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            self._send_fault = self._lost("sending", exc)
            raise self._send_fault from exc

    def close(self) -> None:
        """Close the socket; what the kernel has taken is still delivered.

        Unless the peer goes on sending: a closed socket resets whoever does.
        """
        if self._state is _OPEN:
            drop_received(partial(self._sock.recv, RECEIVE_SIZE))
        self._state = _State.CLOSED
        self._sock.close()

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 after `close`."""
        return self._sock.fileno()

    def connected(self) -> bool:
        """Return whether the connection stands.

        Raises:
            ConnectError: If it was refused; again at every later call.
            StreamClosed: After `close`.
        """
        match self._state:
            case _State.OPEN:
                return True
            case _State.CONNECTING | _State.FAILED:
                return self._check_connect()
            case _State.CLOSED:
                raise StreamClosed(f"{self!r} was closed before")

    def detach(self) -> socket.socket:
        """Give the socket away, as to a TLS layer; the stream is closed after that.

        Raises:
            StreamClosed: After `close`.
        """
        if self._state is _State.CLOSED:
            raise StreamClosed(f"{self!r} was closed before")
        # The descriptor moves to a new object; ours is left as a closed one is.
        sock = socket.socket(fileno=self._sock.detach())
        sock.setblocking(False)
        self._state = _State.CLOSED
        return sock

    def _check_connect(self) -> bool:
        if self._connect_fault is not None:
            raise self._connect_fault.with_traceback(None)
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._state = _State.FAILED
            self._connect_fault = _connect_error(self._info, None, code)
            raise self._connect_fault
        try:
            self._sock.getpeername()
        except OSError as exc:
            if exc.errno in {errno.ENOTCONN, errno.EINVAL}:
                return False
            self._state = _State.FAILED
            self._connect_fault = _connect_error(self._info, None, exc.errno or 0)
            raise self._connect_fault from exc
        self._state = _State.OPEN
        if self._quickack:
            rearm_quickack(self._sock)
        return True

    def _end(self, limit: int) -> bytes:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, was {limit}")
        if self._send_fault is not None:
            # The kernel reports a reset once; the send has eaten the report.
            raise self._send_fault.with_traceback(None)
        return b""

    def _lost(self, doing: str, exc: OSError) -> ConnectionLost:
        return ConnectionLost(
            f"connection to {self._info} broke while {doing}: {exc.strerror}",
            errno=exc.errno,
        )


def drop_received(receive: Callable[[], bytes | None]) -> None:
    """Empty what was received before closing.

    A socket that is closed with unread bytes resets the connection and drops what it
    has not sent yet (RFC 9293 §3.10.4, RFC 2525 §2.17). A TLS client that never reads
    has the server's session tickets there (RFC 8446 §4.6.1).

    Args:
        receive: Brings the next bytes; nothing, or an error, ends it.
    """
    with suppress(OSError, NetError):
        for _ in range(_MOST_DROPPED):
            if not receive():
                break


def _first_address(info: ConnectionInfo) -> Address:
    # Here, not above: dns imports threads, and sockets with addresses need none.
    from netcore.dns import resolve

    return resolve(info.host, info.port)[0]


def _bind(sock: socket.socket, info: ConnectionInfo, address: Address) -> None:
    if info.source is not None:
        local = Address(info.source, 0)
    elif info.interface is not None:
        try:
            found = inet.address_of(info.interface, address.family)
        except LookupError as exc:
            raise ConnectError(f"cannot connect to {info}: {exc}") from exc
        local = Address(found.host, 0, found.scope_id)
    else:
        return
    if local.family is not address.family:
        raise ConnectError(
            f"cannot connect to {address} from {local.host}: one is IPv4, one IPv6",
            errno=errno.EAFNOSUPPORT,
        )
    sock.bind(local.sockaddr)


def _peer_info(sock: socket.socket) -> ConnectionInfo:
    try:
        peer = sock.getpeername()
    except OSError as exc:
        raise ConnectError(
            f"cannot adopt the socket: {exc.strerror}", errno=exc.errno
        ) from exc
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        return ConnectionInfo(peer[0].partition("%")[0], peer[1])
    return ConnectionInfo("local", 0)


def _connect_error(
    info: ConnectionInfo, address: Address | None, code: int
) -> ConnectError:
    where = (
        f"{info}"
        if address is None or address.host == info.host
        else (f"{info} at {address}")
    )
    return ConnectError(f"cannot connect to {where}: {os.strerror(code)}", errno=code)
