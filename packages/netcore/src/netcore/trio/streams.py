"""Open a stream under trio: names, addresses, TLS, time.

The stream that comes back is one of `netcore.stream`; nothing of trio stays in it.
"""

import socket
import ssl
from collections.abc import Sequence
from typing import final

import trio

from netcore.errors import ConnectError, ConnectTimeout, NetError, ResolveError
from netcore.info import Address, ConnectionInfo, parse_url
from netcore.stream.base import Stream
from netcore.stream.tcp import TcpStream
from netcore.stream.tls import TlsStream
from netcore.trio.driver import TrioDriver

__all__ = ["adopt_socket", "finish_connecting", "open_stream", "resolve"]

# RFC 8305 §5 "Connection Attempt Delay": 250 ms recommended.
_ATTEMPT_DELAY = 0.25


async def open_stream(
    target: str | ConnectionInfo,
    *,
    ssl_context: ssl.SSLContext | None = None,
    connect_timeout: float = 10.0,
) -> Stream:
    """Return a stream that is connected and, for TLS, has shaken hands.

    All addresses of a name are tried, a quarter of a second apart or as soon as one
    fails (RFC 8305), and the first that answers wins.

    Args:
        target: A URL (https, wss and tls are secure), or where to connect to: then
            an `ssl_context` is what makes it secure.
        ssl_context: What to verify with; `netcore.stream.tls.secure_context()` by
            default.
        connect_timeout: Seconds for everything.

    Raises:
        InvalidURL: If the text is no URL we know.
        ResolveError: If the name has no address.
        ConnectTimeout: If it took too long.
        ConnectError: If no address answered.
        TlsError: If the handshake failed.
    """
    if isinstance(target, str):
        url = parse_url(target)
        info, secure = url.info, url.secure
    else:
        info, secure = target, ssl_context is not None
    with trio.move_on_after(connect_timeout):
        stream = await _connect(info)
        if secure:
            stream = await _secure(stream, ssl_context)
        return stream
    raise ConnectTimeout(f"cannot connect to {info} within {connect_timeout} s")


def adopt_socket(accepted: trio.SocketStream) -> TcpStream:
    """Take an accepted socket away from trio.

    Raises:
        ConnectError: If its peer has gone meanwhile; the socket is closed.
    """
    family, kind = accepted.socket.family, accepted.socket.type
    sock = socket.socket(family, kind, fileno=accepted.socket.detach())
    try:
        return TcpStream.adopt(sock)
    except BaseException:
        sock.close()
        raise


async def resolve(info: ConnectionInfo) -> list[Address]:
    """Return the numeric addresses of a host, in the order to try them.

    Raises:
        ResolveError: If there are none.
    """
    try:
        found = await trio.socket.getaddrinfo(
            info.host, info.port, type=socket.SOCK_STREAM
        )
    except OSError as exc:
        raise ResolveError(
            f"cannot resolve {info.host}: {exc.strerror or exc}", errno=exc.errno
        ) from exc
    addresses = []
    for family, _, _, _, (host, port, *rest) in found:
        if family in {socket.AF_INET, socket.AF_INET6}:
            scope = int(rest[1]) if len(rest) == 2 else 0
            addresses.append(Address(str(host).partition("%")[0], int(port), scope))
    if not addresses:
        raise ResolveError(f"{info.host} has no IPv4 or IPv6 address")
    return _interleave(addresses)


def _interleave(addresses: Sequence[Address]) -> list[Address]:
    """Alternate between the families, starting with the first's (RFC 8305 §4)."""
    first = [a for a in addresses if a.family is addresses[0].family]
    other = [a for a in addresses if a.family is not addresses[0].family]
    mixed = []
    for place in range(max(len(first), len(other))):
        mixed += first[place : place + 1] + other[place : place + 1]
    return list(dict.fromkeys(mixed))


async def finish_connecting(stream: Stream) -> None:
    """Wait until `stream` is connected; closes it if that fails.

    Raises:
        ConnectError: If it was refused.
        TlsError: If the handshake failed.
        trio.Cancelled: If the task is cancelled.
    """
    driver = TrioDriver(stream)
    try:
        await driver.checkpoint()
        while not stream.connected():
            if stream.buffered:
                await driver.checkpoint()
            elif stream.want_write:
                await driver.wait_writable()
            else:
                await driver.park()
    except BaseException:
        driver.closing()
        stream.close()
        raise


async def _secure(stream: Stream, ssl_context: ssl.SSLContext | None) -> Stream:
    secured = TlsStream(stream, context=ssl_context)
    await finish_connecting(secured)
    return secured


async def _connect(info: ConnectionInfo) -> Stream:
    """Return the stream to the first address that answers."""
    addresses = await resolve(info)
    if len(addresses) == 1:
        stream = TcpStream.connect(info, addresses[0])
        await finish_connecting(stream)
        return stream
    race = _Race(info)
    async with trio.open_nursery() as nursery:
        for address in addresses:
            failed = trio.Event()
            nursery.start_soon(race.attempt, address, failed, nursery.cancel_scope)
            with trio.move_on_after(_ATTEMPT_DELAY):
                await failed.wait()
    return race.result()


@final
class _Race:
    """Attempts at several addresses, of which one may win."""

    def __init__(self, info: ConnectionInfo) -> None:
        self._info = info
        self._winner: Stream | None = None
        self._errors: list[tuple[Address, NetError]] = []

    async def attempt(
        self, address: Address, failed: trio.Event, others: trio.CancelScope
    ) -> None:
        """Connect to one address; the winner ends the others' attempts."""
        try:
            stream = TcpStream.connect(self._info, address)
            await finish_connecting(stream)
        except NetError as exc:
            self._errors.append((address, exc))
            failed.set()
            return
        # No await since the connection stood, so nobody else has won.
        if self._winner is None:
            self._winner = stream
            others.cancel()
        else:
            stream.close()

    def result(self) -> Stream:
        """Return the winner's stream.

        Raises:
            ConnectError: If there is none.
        """
        if self._winner is not None:
            return self._winner
        causes = "; ".join(f"{address}: {error}" for address, error in self._errors)
        raise ConnectError(
            f"cannot connect to {self._info}, no address answered: {causes}",
            errno=getattr(self._errors[-1][1], "errno", None),
        ) from self._errors[-1][1]
