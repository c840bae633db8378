"""The server's half of HTTP/1.1, without I/O: requests in, response bytes out.

A connection carries requests one after the other; responses go out in the same order
(RFC 9112 §9.3.2). A request that could be understood in two ways ends the connection
(RFC 9112 §11.2).
"""

from collections import deque
from collections.abc import Iterable
from typing import final

from netcore.http.errors import HttpLocalError, HttpProtocolError
from netcore.http.messages import Request, encode_response, has_token
from netcore.http.reader import (
    DEFAULT_LIMITS,
    Kind,
    Limits,
    MessageReader,
    RawMessage,
    transfer_codings,
)

__all__ = ["HttpServerConnection"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@final
class HttpServerConnection:
    """What a server knows of one connection.

    Args:
        limits: How much of a request is read.
        max_pipelined: Requests that may wait for their responses.

    Attributes:
        closing: None while the connection goes on, else why it ends once all
            responses are out.
    """

    __slots__ = (
        "_continued",
        "_fault",
        "_max_pipelined",
        "_open",
        "_reader",
        "closing",
    )

    def __init__(
        self, limits: Limits = DEFAULT_LIMITS, *, max_pipelined: int = 64
    ) -> None:
        self._reader = MessageReader(Kind.REQUEST, limits)
        self._max_pipelined = max_pipelined
        self._open: deque[Request] = deque()
        self._continued: RawMessage | None = None
        self._fault: HttpProtocolError | None = None
        self.closing: str | None = None

    def __repr__(self) -> str:
        return f"<HttpServerConnection {len(self._open)} requests open>"

    @property
    def open_requests(self) -> int:
        """How many requests wait for their responses."""
        return len(self._open)

    @property
    def fault(self) -> HttpProtocolError | None:
        """What came behind the requests returned and ends reading, None if nothing.

        The next `feed` raises it; once the requests before it are responded to, there
        is no reason to wait for more bytes.
        """
        return self._fault or self._reader.fault

    @property
    def rest(self) -> bytes:
        """After a request to upgrade, the bytes behind it."""
        return self._reader.rest

    def feed(self, data: bytes) -> list[Request]:
        """Return the requests that `data` completes; nothing after the last one.

        Requests before a fault are returned; the fault comes with the next call, or
        at once if there are none.

        Raises:
            HttpProtocolError: If the bytes are no HTTP/1.x; `respond_fault` makes
                the response to it.
        """
        if self.closing is not None:
            return []
        if self._fault is not None:
            raise self._fault.with_traceback(None)
        requests: list[Request] = []
        try:
            for message in self._reader.feed(data):
                requests.append(self._admit(message))
                if self.closing is not None:
                    break
        except HttpProtocolError as fault:
            self._fault = fault
            if not requests:
                raise
        return requests

    def _admit(self, message: RawMessage) -> Request:
        if len(self._open) >= self._max_pipelined:
            raise HttpProtocolError(
                f"more than {self._max_pipelined} requests wait", status=429
            )
        request = _checked(message)
        self._open.append(request)
        if not request.keep_alive or request.upgrade:
            self.closing = "the client asked for it"
        return request

    def feed_eof(self) -> None:
        """Note that the client sends no more; open requests are still answered.

        Raises:
            HttpProtocolError: If it left within a request, or at a fault that `feed`
                has not raised yet.
        """
        if self.closing is None:
            self.closing = "the client closed its side"
            if self._fault is not None:
                raise self._fault.with_traceback(None)
            self._reader.feed_eof()

    def interim(self) -> bytes:
        """Return "100 Continue" if the request being read waits for it, else b"".

        To be called after `feed`; it is given once per request.
        """
        partial = self._reader.partial
        if (
            partial is None
            or partial is self._continued
            or not partial.head_complete
            or partial.body
            or not has_token(partial.headers, "expect", "100-continue")
        ):
            return b""
        self._continued = partial
        return CONTINUE

    def respond(
        self,
        status: int,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        reason: str = "",
        close: bool = False,
    ) -> bytes:
        """Return the response to the oldest open request.

        Args:
            status: 200 to 599, or 101 to a request to upgrade.
            headers: Further headers.
            body: The content.
            reason: Words for people.
            close: Whether to end the connection with this response.

        Raises:
            HttpLocalError: If no request is open.
            BadMessage: If the response cannot be sent as it is.
        """
        if not self._open:
            raise HttpLocalError("there is no request to respond to")
        request = self._open[0]
        last = self.closing is not None and len(self._open) == 1 and status != 101
        data = encode_response(
            status,
            reason=reason,
            headers=headers,
            body=body,
            to_method=request.method,
            close=close or last,
        )
        self._open.popleft()
        if close:
            self._open.clear()
            self.closing = self.closing or "the server asked for it"
        return data

    def respond_fault(self, fault: HttpProtocolError) -> bytes:
        """Return the response to what was no request; the connection ends with it."""
        self._open.clear()
        self.closing = str(fault)
        return encode_response(
            fault.status,
            headers=[("Content-Type", "text/plain; charset=utf-8")],
            body=f"{fault}\n".encode(),
            close=True,
        )


def _checked(message: RawMessage) -> Request:
    """Check what the grammar allows and RFC 9112 does not."""
    names = message.names
    hosts = names.count("host")
    chunked = "transfer-encoding" in names
    codings = transfer_codings(message.headers) if chunked else []
    if message.version[0] != 1:
        major, minor = message.version
        raise HttpProtocolError(f"HTTP/{major}.{minor} is not served", status=505)
    # RFC 9112 §3.2: exactly one Host, by which caches and routers go.
    if hosts > 1 or (message.version >= (1, 1) and not hosts):
        raise HttpProtocolError(f"{hosts} Host headers")
    # RFC 9112 §6.1: an HTTP/1.0 client that sends one is misunderstood by somebody.
    if codings and message.version < (1, 1):
        raise HttpProtocolError("Transfer-Encoding in an HTTP/1.0 request")
    # RFC 9112 §6.1: to hand a compressed body on as the body would be a lie.
    if codings not in ([], ["chunked"]):
        raise HttpProtocolError(f"transfer codings {codings} are not known", status=501)
    return Request(
        method=message.method,
        target=message.target,
        headers=message.headers,
        body=message.body,
        version=message.version,
        trailers=message.trailers,
        keep_alive=message.keep_alive,
        upgrade=message.upgrade,
    )
