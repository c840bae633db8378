"""One request and its response, without I/O: the client's half of HTTP/1.1.

::

    WAITING ──a byte──▶ READING ──the end──▶ DONE
        └───────────────────┴──a fault──▶ FAILED

An exchange is used once; whether the connection may be used for another is what
`reusable` says afterwards. Interim responses (1xx) are counted and dropped, except
101, which ends HTTP on that connection.
"""

import enum
from typing import final

from netcore.http.errors import HttpProtocolError, ServerDisconnected
from netcore.http.messages import Response
from netcore.http.reader import (
    DEFAULT_LIMITS,
    Kind,
    Limits,
    MessageReader,
    RawMessage,
    transfer_codings,
)

__all__ = ["ExchangeState", "HttpExchange"]

# Interim responses before the final one; more is a server that does not answer.
_MAX_INTERIM = 16
_SWITCHING_PROTOCOLS = 101
_NO_RESPONSE_YET = "the server closed the connection before it answered"


class _Answered(enum.Enum):
    """Whether any byte of a response came."""

    NO = "no"
    YES = "yes"


class _Tail(enum.Enum):
    """What came behind the response."""

    NOTHING = "nothing"
    EXCESS = "excess"
    END = "end"


class ExchangeState(enum.Enum):
    """How far an exchange is."""

    WAITING = "waiting"
    READING = "reading"
    DONE = "done"
    FAILED = "failed"


@final
class HttpExchange:
    """Reads the response to one request.

    Args:
        method: The request's: it decides whether the response has a body.
        limits: How much is read.

    Attributes:
        interim: The statuses of interim responses so far.
    """

    __slots__ = (
        "_answered",
        "_message",
        "_method",
        "_reader",
        "_state",
        "_tail",
        "interim",
    )

    def __init__(self, method: str = "GET", limits: Limits = DEFAULT_LIMITS) -> None:
        self._method = method
        self._reader = MessageReader(Kind.RESPONSE, limits)
        self._state = ExchangeState.WAITING
        self._message: RawMessage | None = None
        self._answered = _Answered.NO
        self._tail = _Tail.NOTHING
        self.interim: list[int] = []

    def __repr__(self) -> str:
        return f"<HttpExchange {self._method}, {self._state.value}>"

    @property
    def state(self) -> ExchangeState:
        """How far it is."""
        return self._state

    @property
    def answered(self) -> bool:
        """Whether any byte of a response came."""
        return self._answered is _Answered.YES

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another exchange.

        Not if either side closes it, if the response ended with it, if it speaks
        another protocol now, or if more came than the response: whatever that is, it
        is no answer to a request that was not sent yet.
        """
        message = self._message
        return (
            message is not None
            and self._tail is _Tail.NOTHING
            and message.keep_alive
            and not message.upgrade
            and self._reader.fault is None
            and self._nothing_more(message)
        )

    @property
    def rest(self) -> bytes:
        """After 101, the bytes behind the head."""
        return self._reader.rest

    def feed(self, data: bytes) -> Response | None:
        """Take bytes; return the response once it is complete.

        Raises:
            HttpProtocolError: If it is no HTTP/1.x response.
            MessageTooLarge: If it exceeds a limit.
        """
        if self._state in {ExchangeState.DONE, ExchangeState.FAILED}:
            raise HttpProtocolError(
                f"bytes for an exchange that is {self._state.value}"
            )
        if data:
            self._state = ExchangeState.READING
            self._answered = _Answered.YES
        try:
            response = self._final(self._read(data))
            if response is None and self._reader.fault is not None:
                # It came behind interim responses: no more bytes will mend it.
                raise self._reader.fault
        except HttpProtocolError:
            self._state = ExchangeState.FAILED
            raise
        else:
            return response

    def feed_eof(self) -> Response:
        """Note that the server closed the connection; return what that completes.

        Raises:
            ServerDisconnected: If the response is not complete.
        """
        self._state = ExchangeState.FAILED
        if not self.answered:
            raise ServerDisconnected(_NO_RESPONSE_YET, unprocessed=False)
        try:
            message = self._reader.feed_eof()
        except HttpProtocolError as exc:
            raise ServerDisconnected(str(exc), unprocessed=False) from exc
        if message is None:
            raise ServerDisconnected(_NO_RESPONSE_YET, unprocessed=False)
        response = self._deliver(message)
        self._tail = _Tail.END
        return response

    def _read(self, data: bytes) -> list[RawMessage]:
        try:
            return self._reader.feed(data)
        except HttpProtocolError:
            # The answer to HEAD is complete with its head, whatever its length says
            # and whatever comes behind it.
            partial = self._reader.partial
            if self._method == "HEAD" and partial is not None and partial.head_complete:
                return []
            raise

    def _nothing_more(self, message: RawMessage) -> bool:
        """Whether nothing came behind the response; to HEAD, no body at all."""
        partial = self._reader.partial
        return partial is None or (partial is message and not partial.body)

    def _final(self, messages: list[RawMessage]) -> Response | None:
        """Return the first response that is not interim."""
        for place, message in enumerate(messages):
            if message.status >= 200 or message.status == _SWITCHING_PROTOCOLS:
                if len(messages) > place + 1:
                    self._tail = _Tail.EXCESS
                return self._deliver(message)
            if message.status < 100:
                raise HttpProtocolError(f"{message.status} is no status")
            self.interim.append(message.status)
            if len(self.interim) > _MAX_INTERIM:
                raise HttpProtocolError(f"more than {_MAX_INTERIM} interim responses")
        partial = self._reader.partial
        if self._method == "HEAD" and partial is not None and partial.head_complete:
            return self._deliver(partial)
        return None

    def _deliver(self, message: RawMessage) -> Response:
        if message.version[0] != 1:
            major, minor = message.version
            raise HttpProtocolError(f"HTTP/{major}.{minor} was not asked for")
        body, trailers = message.body, message.trailers
        if self._method == "HEAD":
            if body or trailers:
                self._tail = _Tail.EXCESS
            body, trailers = b"", ()
        codings = transfer_codings(message.headers)
        # We send no TE, so chunked is all there may be (RFC 9112 §7.4); "identity" is
        # RFC 2616's word for none. A coded body is not what the server meant to say.
        if body and codings not in ([], ["chunked"], ["identity"]):
            raise HttpProtocolError(f"transfer codings {codings} were not asked for")
        self._message = message
        self._state = ExchangeState.DONE
        return Response(
            status=message.status,
            reason=message.reason,
            headers=message.headers,
            body=body,
            version=message.version,
            trailers=trailers,
        )
