"""Connections that are kept for the next request.

A pool knows one host. It makes connections when they are first needed and lends each
to one request at a time; what comes back broken or used up is replaced at the next
need. It never waits: whoever finds it empty comes again.
"""

import ssl
from collections.abc import Callable
from typing import Protocol, TypeAlias, final, runtime_checkable

from netcore.errors import NetError
from netcore.info import Address, ConnectionInfo, Url, parse_url
from netcore.stream.base import Stream
from netcore.stream.tcp import TcpStream
from netcore.stream.tls import TlsStream

__all__ = ["ConnectionPool", "FixedPool", "HttpConnection", "SinglePool"]

Dial: TypeAlias = Callable[[], Stream]
"""Starts connecting and returns at once."""


@final
class HttpConnection:
    """A place for a stream to one host, kept open between requests.

    Attributes:
        uses: Requests sent over the present stream.
    """

    __slots__ = ("_dial", "_stream", "uses")

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._stream: Stream | None = None
        self.uses = 0

    def __repr__(self) -> str:
        return f"<HttpConnection {self._stream!r}, used {self.uses} times>"

    def open(self) -> Stream:
        """Return the stream, a new one if there is none that is still good.

        A server may close a connection that is idle, so it is looked at before it is
        used: if it has ended, or has brought anything at all, it is done with.

        Raises:
            ConnectError: If the system refuses to connect at once.
        """
        stream = self._stream
        if stream is not None and not _is_quiet(stream):
            self.drop()
            stream = None
        if stream is None:
            stream = self._stream = self._dial()
            self.uses = 0
        self.uses += 1
        return stream

    def drop(self) -> None:
        """Close the stream, if there is one."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


def _is_quiet(stream: Stream) -> bool:
    try:
        return stream.receive() is None
    except NetError:
        return False


@runtime_checkable
class ConnectionPool(Protocol):
    """What a client asks of a pool."""

    @property
    def host(self) -> str:
        """What stands in Host."""
        ...

    def acquire(self) -> HttpConnection | None:
        """Lend a connection; None if all are lent."""
        ...

    def release(self, connection: HttpConnection) -> None:
        """Take a connection back."""
        ...

    def close(self) -> None:
        """Close all connections, lent ones when they come back."""
        ...


@final
class FixedPool:
    """Up to `size` connections to one host.

    The connection used last is lent first, so that the others may rest and those
    that are used stay warm.

    Args:
        target: An http or https URL, or where to connect to.
        size: The most connections at a time.
        address: The numeric address to take; without one the host is looked up at
            every connect, which *blocks* unless it is numeric.
        ssl_context: What to verify with. Makes a `ConnectionInfo` secure; an https
            URL is secure, and verified, without one.
        dial: Makes the streams instead of all that.

    Raises:
        InvalidURL: If `target` is a text and no URL we know.
        ValueError: If `size` is below 1.
    """

    def __init__(
        self,
        target: str | ConnectionInfo,
        size: int,
        *,
        address: Address | None = None,
        ssl_context: ssl.SSLContext | None = None,
        dial: Dial | None = None,
    ) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, was {size}")
        if isinstance(target, str):
            url = parse_url(target)
            info, secure = url.info, url.secure
        else:
            url = Url(scheme="tcp", host=target.host, port=target.port)
            info, secure = target, ssl_context is not None
        self._host = url.authority
        if dial is None:
            dial = dialer(info, address, ssl_context, secure=secure)
        self._size = size
        self._idle = [HttpConnection(dial) for _ in range(size)]
        self._closed: list[HttpConnection] | None = None

    def __repr__(self) -> str:
        return f"<FixedPool to {self._host}, {len(self._idle)} of {self._size} idle>"

    @property
    def host(self) -> str:
        """What stands in Host."""
        return self._host

    def acquire(self) -> HttpConnection | None:
        """Lend a connection; None if all are lent or the pool is closed."""
        return self._idle.pop() if self._idle else None

    def release(self, connection: HttpConnection) -> None:
        """Take a connection back."""
        if self._closed is not None:
            connection.drop()
            self._closed.append(connection)
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Close all connections, lent ones when they come back."""
        self._closed = self._idle
        self._idle = []
        for connection in self._closed:
            connection.drop()


@final
class SinglePool:
    """One connection to one host; else like `FixedPool`.

    Args:
        target: As in `FixedPool`.
        address: As in `FixedPool`.
        ssl_context: As in `FixedPool`.
        dial: As in `FixedPool`.
    """

    def __init__(
        self,
        target: str | ConnectionInfo,
        *,
        address: Address | None = None,
        ssl_context: ssl.SSLContext | None = None,
        dial: Dial | None = None,
    ) -> None:
        self._pool = FixedPool(
            target, 1, address=address, ssl_context=ssl_context, dial=dial
        )

    def __repr__(self) -> str:
        return f"<SinglePool to {self._pool.host}>"

    @property
    def host(self) -> str:
        """What stands in Host."""
        return self._pool.host

    def acquire(self) -> HttpConnection | None:
        """Lend the connection; None if it is lent."""
        return self._pool.acquire()

    def release(self, connection: HttpConnection) -> None:
        """Take the connection back."""
        self._pool.release(connection)

    def close(self) -> None:
        """Close the connection, if it is lent when it comes back."""
        self._pool.close()


def dialer(
    info: ConnectionInfo,
    address: Address | None,
    ssl_context: ssl.SSLContext | None,
    *,
    secure: bool,
) -> Dial:
    """Return what connects to `info`, over TLS if `secure`."""

    def dial() -> Stream:
        stream: Stream = TcpStream.connect(info, address)
        if not secure:
            return stream
        try:
            return TlsStream(stream, ssl_context)
        except BaseException:
            stream.close()
            raise

    return dial
