"""A small HTTP/1.1 client for few hosts and many requests, without waiting.

For order entry: requests go out in one write over warm connections, and are polled
like everything else. No redirects, cookies, proxies or content codings; who needs
these takes a browser's cousin instead.

**Repetition.** A kept connection can end at the very moment it is used. A request that
had no byte of an answer by then is sent once more over a new connection if that cannot
do it twice: its method is idempotent (RFC 9110 §9.2.2). Others fail with
`ServerDisconnected`, and only the caller can find out what the server did.
"""

import enum
from collections.abc import Iterable
from types import TracebackType
from typing import final

from netcore.clock import NANOSECONDS, Clock, SystemClock, to_ns
from netcore.errors import NetError
from netcore.http.errors import (
    HttpProtocolError,
    HttpTimeout,
    PoolExhausted,
    RequestInvalidated,
    ServerDisconnected,
)
from netcore.http.exchange import HttpExchange
from netcore.http.messages import Response, encode_request
from netcore.http.pool import ConnectionPool, HttpConnection
from netcore.http.reader import DEFAULT_LIMITS, Limits
from netcore.select import wait_ready
from netcore.stream.base import RECEIVE_SIZE, Stream

__all__ = ["HttpClient", "HttpRequest"]

# RFC 9110 §9.2.2.
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class _Phase(enum.Enum):
    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"


@final
class HttpRequest:
    """A request under way; `HttpClient.request` makes them.

    It holds its connection until the response is complete, it fails, or it is
    invalidated; used as a context manager it is invalidated at the end, which does
    nothing to one that is complete.
    """

    __slots__ = (
        "_clock",
        "_connection",
        "_data",
        "_deadline",
        "_exchange",
        "_fault",
        "_limits",
        "_method",
        "_phase",
        "_pool",
        "_response",
        "_sent",
        "_stream",
        "_target",
        "_timeout",
    )

    def __init__(
        self,
        pool: ConnectionPool,
        connection: HttpConnection,
        data: bytes,
        *,
        method: str,
        target: str,
        limits: Limits,
        timeout: float,
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._connection = connection
        self._data = data
        self._method = method
        self._target = target
        self._limits = limits
        self._clock = clock
        self._timeout = timeout
        self._deadline = clock.monotonic_ns() + to_ns(timeout)
        self._phase = _Phase.ACTIVE
        self._response: Response | None = None
        self._fault: NetError | None = None
        self._begin()

    def __repr__(self) -> str:
        path = self._target.partition("?")[0]
        return f"<HttpRequest {self._method} {path}, {self._phase.value}>"

    def __enter__(self) -> "HttpRequest":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.invalidate()

    def __del__(self) -> None:
        # A request that nobody holds any more would keep its connection for ever.
        if getattr(self, "_phase", None) is _Phase.ACTIVE:
            self.invalidate()

    # -- what a driver has to know ---------------------------------------------------

    @property
    def buffered(self) -> bool:
        """Whether `poll` can go on without the descriptor being ready."""
        return self._phase is not _Phase.ACTIVE or self._stream.buffered

    @property
    def want_write(self) -> bool:
        """Whether there is something to do once the stream can be written."""
        return self._phase is _Phase.ACTIVE and (
            self._stream.want_write or self._sent < len(self._data)
        )

    @property
    def deadline(self) -> int:
        """When the request fails at the latest, in monotonic nanoseconds."""
        return self._deadline

    @property
    def interim(self) -> tuple[int, ...]:
        """The statuses of interim responses so far."""
        return tuple(self._exchange.interim)

    def fileno(self) -> int:
        """Return the stream's descriptor, -1 if there is none any more."""
        return self._stream.fileno() if self._phase is _Phase.ACTIVE else -1

    # -- doing -----------------------------------------------------------------------

    def poll(self) -> Response | None:
        """Send and read what is possible now; return the response once it is there.

        After completion it returns the same response every time.

        Raises:
            HttpTimeout: If the time is up; again at every later call, as all others.
            ServerDisconnected: If the connection ended before the response did.
            HttpProtocolError: If the response is no HTTP/1.x or over a limit.
            ConnectError: If the connection could not be made.
            TlsError: If its handshake failed.
            RequestInvalidated: If `invalidate` was called.
        """
        if self._phase is _Phase.ACTIVE:
            self._step()
        if self._fault is not None:
            raise self._fault.with_traceback(None)
        return self._response

    def block(self, timeout: float | None = None) -> Response:
        """Wait for the response.

        Args:
            timeout: Seconds from now, if that is sooner than the request's own.

        Raises:
            NetError: As `poll` does.
        """
        if timeout is not None:
            end = self._clock.monotonic_ns() + to_ns(timeout)
            if end < self._deadline:
                self._deadline, self._timeout = end, timeout
        while (response := self.poll()) is None:
            self._select()
        return response

    def invalidate(self) -> None:
        """Give the request up: its connection is closed, not kept.

        The server may act on it all the same.
        """
        if self._phase is _Phase.ACTIVE:
            self._fail(RequestInvalidated(f"{self!r} was invalidated"))

    # -- parts -----------------------------------------------------------------------

    def _begin(self) -> None:
        try:
            self._stream: Stream = self._connection.open()
        except BaseException:
            self._phase = _Phase.FAILED
            self._pool.release(self._connection)
            raise
        self._sent = 0
        self._exchange = HttpExchange(self._method, self._limits)

    def _step(self) -> None:
        try:
            if self._clock.monotonic_ns() >= self._deadline:
                raise self._timed_out()
            if self._stream.connected():
                self._exchange_bytes()
        except (HttpProtocolError, HttpTimeout) as exc:
            self._fail(exc)
        except NetError as exc:
            self._lost(exc)

    def _exchange_bytes(self) -> None:
        try:
            self._send()
        except NetError:
            # A server that refuses a long request answers early and stops reading:
            # the answer says more than the broken pipe.
            self._receive()
            if self._phase is _Phase.ACTIVE:
                raise
        else:
            self._receive()

    def _send(self) -> None:
        data = self._data
        while self._sent < len(data):
            # The same view as long as the stream did not take it (SendMismatch).
            taken = self._stream.send(memoryview(data)[self._sent :])
            if not taken:
                return
            self._sent += taken

    def _receive(self) -> None:
        while self._phase is _Phase.ACTIVE:
            data = self._stream.receive(RECEIVE_SIZE)
            if data is None:
                return
            response = self._exchange.feed(data) if data else self._exchange.feed_eof()
            if response is not None:
                self._finish(response)

    def _finish(self, response: Response) -> None:
        self._response = response
        self._phase = _Phase.DONE
        # An early response to a request that is not all sent leaves the server in the
        # middle of it.
        if not self._exchange.reusable or self._sent < len(self._data):
            self._connection.drop()
        self._pool.release(self._connection)

    def _lost(self, cause: NetError) -> None:
        """The connection broke: once more, if that is safe, or the end."""
        kept = self._connection.uses > 1
        waiting = not self._exchange.answered
        untouched = self._sent == 0
        if kept and waiting and (untouched or self._method in IDEMPOTENT):
            self._connection.drop()
            try:
                self._begin()
            except NetError as exc:
                self._fault = exc
                return
            # Once at most: the connection is not a kept one any more.
            self._step()
            return
        if isinstance(cause, ServerDisconnected) or not kept or not waiting:
            self._fail(cause)
            return
        fault = ServerDisconnected(
            f"the kept connection to {self._pool.host} broke: {cause}",
            unprocessed=untouched,
        )
        fault.__cause__ = cause
        self._fail(fault)

    def _fail(self, fault: NetError) -> None:
        self._fault = fault
        self._phase = _Phase.FAILED
        self._connection.drop()
        self._pool.release(self._connection)

    def _timed_out(self) -> HttpTimeout:
        done = self._exchange.state.value if self._sent else "connecting"
        return HttpTimeout(
            f"{self._method} to {self._pool.host} was not answered within "
            f"{self._timeout} s ({done})"
        )

    def _select(self) -> None:
        """Wait until the stream is ready or the time is up."""
        descriptor = self.fileno()
        if descriptor < 0 or self.buffered:
            return
        left = (self._deadline - self._clock.monotonic_ns()) / NANOSECONDS
        wait_ready(descriptor, write=self.want_write, seconds=left)


@final
class HttpClient:
    """Sends requests over the connections of a pool.

    Args:
        pool: To one host.
        headers: Headers of every request, such as User-Agent.
        timeout: Seconds for a request, connecting included.
        limits: How much of a response is read.
        clock: For time-outs.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        *,
        headers: Iterable[tuple[str, str]] = (),
        timeout: float = 10.0,
        limits: Limits = DEFAULT_LIMITS,
        clock: Clock | None = None,
    ) -> None:
        self._pool = pool
        self._headers = tuple(headers)
        self._timeout = timeout
        self._limits = limits
        self._clock = SystemClock() if clock is None else clock

    def __repr__(self) -> str:
        return f"<HttpClient over {self._pool!r}>"

    @property
    def pool(self) -> ConnectionPool:
        """The pool."""
        return self._pool

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        timeout: float | None = None,
    ) -> HttpRequest:
        """Send a request as far as that goes at once.

        Args:
            method: Such as "GET".
            target: Path and query, percent-encoded.
            headers: Further headers. Host and Content-Length are there without.
            body: The content.
            timeout: Seconds, if not the client's.

        Raises:
            PoolExhausted: If all connections are in use.
            BadMessage: If the request cannot be sent as it is.
            ConnectError: If the system refuses to connect at once.
        """
        request = self.try_request(
            method, target, headers=headers, body=body, timeout=timeout
        )
        if request is None:
            raise PoolExhausted(f"all connections of {self._pool!r} are in use")
        return request

    def try_request(
        self,
        method: str,
        target: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        timeout: float | None = None,
    ) -> HttpRequest | None:
        """Do as `request`, but return None if all connections are in use.

        Raises:
            BadMessage: If the request cannot be sent as it is.
            ConnectError: If the system refuses to connect at once.
        """
        pairs = [*self._headers, *headers]
        data = encode_request(method, target, self._pool.host, headers=pairs, body=body)
        connection = self._pool.acquire()
        if connection is None:
            return None
        request = HttpRequest(
            self._pool,
            connection,
            data,
            method=method,
            target=target,
            limits=self._limits,
            timeout=self._timeout if timeout is None else timeout,
            clock=self._clock,
        )
        request._step()
        return request

    def close(self) -> None:
        """Close the pool."""
        self._pool.close()
