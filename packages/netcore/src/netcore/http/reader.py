"""HTTP/1.1 messages out of bytes: a parser of others, with limits of ours.

The grammar is llhttp's, through httptools (ADR 13), in its strict mode: it refuses bare
line feeds, folded lines, spaces before colons, Content-Length beside
Transfer-Encoding, and two Content-Lengths. What is added here are limits, the end of
messages that end with the connection, and the parting of bodies, trailers and heads.

Which messages have a body although their headers say otherwise (answers to HEAD) only
the caller knows: `netcore.http.exchange` and `netcore.http.server` do.
"""

import enum
from typing import Protocol, final

import httptools
import msgspec

from netcore.http.errors import HttpProtocolError, MessageTooLarge
from netcore.http.messages import NO_BODY_STATUSES, Headers, has_token

__all__ = [
    "DEFAULT_LIMITS",
    "Kind",
    "Limits",
    "MessageReader",
    "RawMessage",
    "transfer_codings",
]

# What the frame of one chunk may take beside its data: 16 digits of size, a short
# extension and two line ends.
_CHUNK_ROOM = 64


class Kind(enum.Enum):
    """Which messages a reader reads."""

    REQUEST = "request"
    RESPONSE = "response"


@final
class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a message is read before it is refused.

    Attributes:
        max_head: Bytes of the first line and all headers, and as many again for
            trailers and the frames of chunks. 64 KiB is what httpcore and nginx's
            large buffers amount to.
        max_headers: Lines; Apache and Tomcat allow 100.
        max_body: Bytes of content.
    """

    max_head: int = 65536
    max_headers: int = 128
    max_body: int = 16 << 20


DEFAULT_LIMITS = Limits()
"""What is read unless something else is said."""


_AROUND_TARGET = 40
"""Bytes of a request line that are no target, at most: method, version, blanks."""


@final
class RawMessage(msgspec.Struct):
    """A message as it is being read.

    Attributes:
        method: Of a request.
        target: Of a request.
        status: Of a response.
        reason: Of a response.
        version: Major and minor.
        headers: So far.
        names: The headers' names in lower case, once the head is complete: what is
            absent need not be looked for in every line.
        body: So far.
        trailers: So far.
        head_complete: Whether the head is.
        complete: Whether all is.
        upgrade: Whether what follows is no HTTP any more.
    """

    method: str = ""
    target: str = ""
    status: int = 0
    reason: str = ""
    version: tuple[int, int] = (1, 1)
    headers: Headers = ()
    names: tuple[str, ...] = ()
    body: bytes = b""
    trailers: Headers = ()
    head_complete: bool = False
    complete: bool = False
    upgrade: bool = False

    @property
    def keep_alive(self) -> bool:
        """Whether the sender lets the connection live on (RFC 9112 §9.3)."""
        if "connection" not in self.names:
            return self.version >= (1, 1)
        if has_token(self.headers, "connection", "close"):
            return False
        return self.version >= (1, 1) or has_token(
            self.headers, "connection", "keep-alive"
        )


class _Parser(Protocol):
    """What requests' and responses' parsers of httptools share."""

    def feed_data(self, data: bytes) -> None: ...
    def get_http_version(self) -> str: ...
    def should_upgrade(self) -> bool: ...


class _Phase(enum.Enum):
    HEAD = "head"
    BODY = "body"
    UPGRADED = "upgraded"
    FAILED = "failed"


class _Begun(enum.Enum):
    NO = "no"
    YES = "yes"


class _Stop(Exception):
    """Ends the parser's run from within a callback; the fault is stored."""


@final
class MessageReader:
    """Reads messages of one kind from one connection.

    Attributes:
        rest: After an upgrade, the bytes behind the last message.
    """

    def __init__(self, kind: Kind, limits: Limits = DEFAULT_LIMITS) -> None:
        self._kind = kind
        self._limits = limits
        self._done: list[RawMessage] = []
        self._fault: HttpProtocolError | None = None
        self._phase = _Phase.HEAD
        self._parser: _Parser = self._new_parser()
        self.rest = b""
        self._begin()

    def __repr__(self) -> str:
        return f"<MessageReader of {self._kind.value}s, {self._phase.value}>"

    @property
    def fault(self) -> HttpProtocolError | None:
        """What made reading stop, None if nothing did."""
        return self._fault

    @property
    def partial(self) -> RawMessage | None:
        """The message that has begun and is not complete, None if there is none."""
        return self._snapshot() if self._begun is _Begun.YES else None

    @property
    def until_close(self) -> bool:
        """Whether the message being read ends only with the connection."""
        message = self._message
        if self._kind is Kind.REQUEST or not message.head_complete:
            return False
        if message.status < 200 or message.status in NO_BODY_STATUSES:
            return False
        if "transfer-encoding" in message.names:
            # RFC 9112 §6.3: only "chunked" as the last coding tells the end.
            return transfer_codings(message.headers)[-1:] != ["chunked"]
        return "content-length" not in message.names

    def feed(self, data: bytes) -> list[RawMessage]:
        """Return the messages that `data` completes.

        Messages before a fault are returned; the fault comes with the next call, or
        at once if there are none.

        Raises:
            HttpProtocolError: If the bytes are no HTTP/1.1; again at every later
                call.
            MessageTooLarge: If a limit is exceeded.
        """
        self._raise_fault()
        try:
            self._feed(data)
        except HttpProtocolError as exc:
            self._fault = exc
            self._phase = _Phase.FAILED
        done, self._done = self._done, []
        if not done:
            self._raise_fault()
        return done

    def feed_eof(self) -> RawMessage | None:
        """Note that the connection ended; return the message which that completes.

        Raises:
            HttpProtocolError: If a message is cut short by it.
        """
        self._raise_fault()
        if self._begun is _Begun.NO:
            return None
        if self.until_close:
            self._finish()
            return self._done.pop()
        where = "body" if self._message.head_complete else "head"
        raise HttpProtocolError(f"the connection ended within a {where}")

    # -- feeding ---------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            if self._phase is _Phase.UPGRADED:
                self.rest += data[position:]
                return
            # Before the head is complete the parser gets no more than may belong to
            # one: it keeps an unfinished line without telling how long it is.
            room = len(data) - position
            if self._phase is _Phase.HEAD:
                room = self._limits.max_head + 1 - self._fed
            piece = data[position : position + room]
            self._run(piece)
            position += len(piece)
            self._check_sizes()

    def _run(self, piece: bytes) -> None:
        self._fed += len(piece)
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as exc:
            # The offset is into this piece (httptools' documentation).
            self.rest = piece[exc.args[0] :]
            self._phase = _Phase.UPGRADED
        except httptools.HttpParserCallbackError:
            if self._fault is None:
                raise
            raise self._fault from None
        except httptools.HttpParserError as exc:
            raise HttpProtocolError(f"no HTTP/1.1: {exc}") from exc

    def _check_sizes(self) -> None:
        if self._phase is _Phase.HEAD and self._fed > self._limits.max_head:
            raise self._head_too_large()
        overhead = self._fed - self._body_size
        allowed = 2 * self._limits.max_head + _CHUNK_ROOM * self._chunks
        if self._phase is _Phase.BODY and overhead > allowed:
            raise MessageTooLarge("trailers and chunk frames are too long", status=431)

    def _head_too_large(self) -> MessageTooLarge:
        most = self._limits.max_head
        # Nothing but a target has come: RFC 9112 §3 has a status of its own for that.
        if self._fed - sum(map(len, self._target)) <= _AROUND_TARGET:
            return MessageTooLarge(f"the target has more than {most} bytes", status=414)
        return MessageTooLarge(f"the head has more than {most} bytes", status=431)

    # -- the message being read ------------------------------------------------------

    def _new_parser(self) -> _Parser:
        if self._kind is Kind.REQUEST:
            return httptools.HttpRequestParser(self)
        return httptools.HttpResponseParser(self)

    def _begin(self) -> None:
        self._message = RawMessage()
        self._reason: list[bytes] = []
        self._target: list[bytes] = []
        self._lines: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._body_size = 0
        self._chunks = 0
        self._fed = 0
        self._begun = _Begun.NO

    def _snapshot(self) -> RawMessage:
        message = self._message
        message.body = b"".join(self._body)
        lines = tuple(self._lines)
        if message.head_complete:
            message.trailers = lines
        else:
            message.headers = lines
            message.target = b"".join(self._target).decode("latin-1")
            message.reason = b"".join(self._reason).decode("latin-1")
            parser = self._parser
            if isinstance(parser, httptools.HttpResponseParser):
                message.status = parser.get_status_code()
            elif self._target and isinstance(parser, httptools.HttpRequestParser):
                message.method = parser.get_method().decode("latin-1")
        return message

    def _finish(self) -> None:
        message = self._snapshot()
        message.complete = True
        self._done.append(message)
        self._begin()
        self._phase = _Phase.HEAD

    def _refuse(self, fault: HttpProtocolError) -> None:
        self._fault = fault
        raise _Stop

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault.with_traceback(None)

    # -- called by the parser --------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note the first byte of a message."""
        self._begun = _Begun.YES

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._target.append(url)

    def on_status(self, reason: bytes) -> None:
        """Take a piece of the reason."""
        self._reason.append(reason)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header or trailer line."""
        if len(self._lines) >= self._limits.max_headers:
            most = self._limits.max_headers
            self._refuse(MessageTooLarge(f"more than {most} header lines", status=431))
        # Surrounding blanks are no part of a value (RFC 9110 §5.5).
        text = value.decode("latin-1").strip(" \t")
        self._lines.append((name.decode("latin-1"), text))

    def on_headers_complete(self) -> None:
        """Fix the head and look whether the body can be read."""
        message = self._snapshot()
        self._lines = []
        parser = self._parser
        major, _, minor = parser.get_http_version().partition(".")
        message.version = (int(major), int(minor or 0))
        message.upgrade = parser.should_upgrade()
        message.head_complete = True
        self._phase = _Phase.BODY
        message.names = names = tuple([name.lower() for name, _ in message.headers])
        if "content-length" in names:
            length = message.headers[names.index("content-length")][1]
            if length.isdigit() and int(length) > self._limits.max_body:
                self._too_large(int(length))

    def on_body(self, body: bytes) -> None:
        """Take a piece of the content."""
        self._body_size += len(body)
        if self._body_size > self._limits.max_body:
            self._too_large(self._body_size)
        self._body.append(body)

    def on_chunk_header(self) -> None:
        """Count a chunk."""
        self._chunks += 1

    def on_message_complete(self) -> None:
        """Deliver what is complete, except interim responses."""
        self._finish()

    def _too_large(self, size: int) -> None:
        most = self._limits.max_body
        self._refuse(
            MessageTooLarge(f"a body of {size} bytes, the limit is {most}", status=413)
        )


def transfer_codings(headers: Headers) -> list[str]:
    """Return the transfer codings in the order in which they were applied."""
    return [
        coding.strip().lower()
        for name, value in headers
        if name.lower() == "transfer-encoding"
        for coding in value.split(",")
        if coding.strip()
    ]
