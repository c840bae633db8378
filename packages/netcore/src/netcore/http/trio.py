"""The HTTP client under trio: `HttpClient` with waits where it would block."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Final, final

import trio

from netcore.errors import ConnectError
from netcore.http.client import HttpClient, HttpRequest
from netcore.http.messages import Response
from netcore.http.pool import FixedPool, dialer
from netcore.http.reader import DEFAULT_LIMITS, Limits
from netcore.info import Address, ConnectionInfo, parse_url
from netcore.stream.base import Stream
from netcore.trio.driver import TrioClock, TrioDriver
from netcore.trio.streams import resolve

__all__ = ["TrioHttpClient", "open_http"]

_CLOCK: Final = TrioClock()


@final
class _Dialer:
    """Connects to one of a host's addresses, another one after a failure."""

    def __init__(
        self,
        info: ConnectionInfo,
        ssl_context: ssl.SSLContext | None,
        *,
        secure: bool,
    ) -> None:
        self.info = info
        self._ssl_context = ssl_context
        self._secure = secure
        self._addresses: list[Address] = []

    def __call__(self) -> Stream:
        address = self._addresses[0]
        return dialer(self.info, address, self._ssl_context, secure=self._secure)()

    async def look_up(self) -> None:
        """Ask for the addresses if none is left.

        Raises:
            ResolveError: If there are none.
        """
        if not self._addresses:
            self._addresses = await resolve(self.info)

    def failed(self) -> bool:
        """Note that the present address does not answer; return whether others may."""
        del self._addresses[:1]
        return bool(self._addresses)


@final
class TrioHttpClient:
    """Sends requests to one host; made by `open_http`.

    Any number of tasks may send; those for whom no connection is free wait in turn.
    """

    def __init__(self, client: HttpClient, dial: _Dialer, *, spin: float) -> None:
        self._client = client
        self._dial = dial
        self._spin = spin
        self._waiting = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        return f"<TrioHttpClient {self._client!r}>"

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        timeout: float | None = None,  # noqa: ASYNC109 - it fails the request, and says so
    ) -> Response:
        """Send a request and return its response.

        When cancelled, the connection is closed; the server may have acted all the
        same.

        Args:
            method: Such as "GET".
            target: Path and query, percent-encoded.
            headers: Further headers.
            body: The content.
            timeout: Seconds from having a connection, if not the client's.

        Raises:
            BadMessage: If the request cannot be sent as it is.
            HttpTimeout: If the response was not complete in time.
            ServerDisconnected: If the connection ended before the response did.
            HttpProtocolError: If the response is no HTTP/1.x or over a limit.
            ConnectError: If no address answered.
            TlsError: If the handshake failed.
            trio.Cancelled: If the task is cancelled.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        pairs = tuple(headers)
        while True:
            await self._dial.look_up()
            try:
                request = self._client.try_request(
                    method, target, headers=pairs, body=body, timeout=timeout
                )
                if request is not None:
                    return await self._finish(request)
            except ConnectError:
                # Nothing was sent, so another address may be tried.
                if not self._dial.failed():
                    raise
            else:
                await self._waiting.park()

    async def get(
        self, target: str, *, headers: Iterable[tuple[str, str]] = ()
    ) -> Response:
        """Send a GET; as `request`."""
        return await self.request("GET", target, headers=headers)

    async def _finish(self, request: HttpRequest) -> Response:
        driver = TrioDriver(request, spin=self._spin)
        try:
            with request:
                while True:
                    response = request.poll()
                    for _ in driver.turns() if response is None else ():
                        response = request.poll()
                        if response is not None:
                            break
                    if response is not None:
                        return response
                    await driver.park(deadline_ns=request.deadline)
        finally:
            self._waiting.unpark()


@contextlib.asynccontextmanager
async def open_http(
    target: str | ConnectionInfo,
    *,
    size: int = 1,
    headers: Iterable[tuple[str, str]] = (),
    timeout: float = 10.0,  # noqa: ASYNC109 - the requests' own
    limits: Limits = DEFAULT_LIMITS,
    ssl_context: ssl.SSLContext | None = None,
    spin: float = 0.0,
) -> AsyncIterator[TrioHttpClient]:
    """Make a client of one host and close its connections at the end.

    Connections are made by the first requests that need them.

    Args:
        target: An http or https URL (its path is not used), or where to connect to.
        size: The most connections at a time.
        headers: Headers of every request.
        timeout: Seconds for a request, connecting included.
        limits: How much of a response is read.
        ssl_context: What to verify with; a secure one by default for https. Makes a
            `ConnectionInfo` secure.
        spin: Seconds to keep trying before parking.

    Raises:
        InvalidURL: If the text is no URL we know.
    """
    if isinstance(target, str):
        url = parse_url(target)
        info, secure = url.info, url.secure
    else:
        info, secure = target, ssl_context is not None
    dial = _Dialer(info, ssl_context, secure=secure)
    pool = FixedPool(target, size, dial=dial)
    client = HttpClient(
        pool, headers=headers, timeout=timeout, limits=limits, clock=_CLOCK
    )
    try:
        yield TrioHttpClient(client, dial, spin=spin)
    finally:
        client.close()
