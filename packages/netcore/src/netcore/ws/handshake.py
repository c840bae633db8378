"""The opening handshake: HTTP/1.1 until the 101, both roles (RFC 6455 §4).

What may live here: building and judging the two heads, and collecting them from bytes
cut anywhere. This is no HTTP library: a head ends the conversation in HTTP, and the
body of a refusal is kept only as far as a person wants to read it.

Both sides are values plus one collector::

    client: ClientHandshake.request() ... ClientHandshake.feed(data) -> Agreement | None
    server: ServerHandshake.feed(data) -> Request | None, then accept() or reject()
"""

import base64
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from typing import Final, final

import msgspec

from netcore.errors import HandshakeError

__all__ = [
    "Agreement",
    "ClientHandshake",
    "HeadReader",
    "Headers",
    "Request",
    "Response",
    "ServerHandshake",
    "accept_token",
    "header_tokens",
]

Headers = tuple[tuple[str, str], ...]
"""Header fields in order, names as they came, values without surrounding blanks."""

MAX_HEAD: Final = 16 * 1024
"""Bytes of a head. Servers limit requests to 8 to 16 KiB; venues' answers are < 2."""

MAX_ERROR_BODY: Final = 4096
"""Bytes kept of a refusal's body: enough for a venue's JSON error or a page's title."""

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_VERSION: Final = "13"

# RFC 9110 §5.6.2 token; §5.5 field-content, plus obs-text, without CR, LF and NUL.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(r"[\x21-\x7e]+")
# RFC 9112 §4: the reason may be missing, and "101 null" and "101" are on the net.
_STATUS_LINE = re.compile(r"HTTP/1\.[0-9] ([0-9]{3})(?: (.*))?")
_REQUEST_LINE = re.compile(r"([!-~]+) ([!-~]+) HTTP/1\.([0-9])")

# What the handshake itself says; a second voice could only contradict it.
_OWN_HEADERS: Final = frozenset(
    {
        "connection",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "upgrade",
    }
)


def header_tokens(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    """Return the comma-separated elements of all fields called `name` (any case)."""
    return [
        element.strip()
        for value in _values(headers, name)
        for element in value.split(",")
        if element.strip()
    ]


def _values(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    return [value for key, value in headers if key.lower() == name]


def accept_token(key: str) -> str:
    """Return the Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (§4.2.2)."""
    # SHA-1 is what the RFC asks for; nothing secret depends on it.
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


@final
class Request(msgspec.Struct, frozen=True):
    """A client's request to upgrade.

    Attributes:
        target: Path and query, as sent.
        headers: The header fields.
    """

    target: str
    headers: Headers = ()

    @property
    def path(self) -> str:
        """The target up to the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the question mark, "" if nothing does."""
        return self.target.partition("?")[2]

    @property
    def subprotocols(self) -> list[str]:
        """What the client offers, best first."""
        return header_tokens(self.headers, "sec-websocket-protocol")

    def header(self, name: str) -> str | None:
        """Return the first field called `name`, in any case."""
        values = _values(self.headers, name.lower())
        return values[0] if values else None


@final
class Response(msgspec.Struct, frozen=True):
    """The head of a server's answer.

    Attributes:
        status: The status code.
        reason: The words after it, maybe none.
        headers: The header fields.
    """

    status: int
    reason: str = ""
    headers: Headers = ()


@final
class Agreement(msgspec.Struct, frozen=True):
    """What both ends settled on.

    Attributes:
        subprotocol: The chosen one, None if there is none.
        extensions: The value of Sec-WebSocket-Extensions in the answer, "" if none.
        headers: The answer's header fields.
        rest: Bytes after the head, the first frames.
    """

    subprotocol: str | None = None
    extensions: str = ""
    headers: Headers = ()
    rest: bytes = b""


# -- heads ---------------------------------------------------------------------------


@final
class HeadReader:
    """Collects the lines up to the empty one, however they are cut."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> tuple[str, Headers, bytes] | None:
        """Return (first line, header fields, bytes after the head), None if cut.

        Raises:
            ValueError: If the head is too long or not one of HTTP/1.1.
        """
        # The end may have begun in the bytes before.
        start = max(0, len(self._data) - 3)
        self._data += data
        end = self._data.find(b"\r\n\r\n", start)
        # Three bytes of the end may be there already.
        if end > MAX_HEAD or (end < 0 and len(self._data) > MAX_HEAD + 3):
            raise ValueError(f"the head is longer than {MAX_HEAD} bytes")
        if end < 0:
            return None
        head = self._data[:end].decode("latin-1")
        rest = bytes(self._data[end + 4 :])
        first, *lines = head.split("\r\n")
        return first, tuple(_parse_field(line) for line in lines), rest


def _parse_field(line: str) -> tuple[str, str]:
    """Return name and value; a folded line fails as its name is no token."""
    name, colon, value = line.partition(":")
    value = value.strip(" \t")
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError(f"{line[:60]!r} is no header field")
    return name, value


def _format_head(first: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _check_extra(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return the user's header fields if they cannot break the head."""
    checked = tuple((name, value) for name, value in headers)
    for name, value in checked:
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"a header name must be a token, was {name!r}")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"header {name} holds a control or non-Latin-1 character")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"header {name} is the handshake's own; do not give it")
    return checked


def _check_tokens(tokens: Sequence[str], what: str) -> tuple[str, ...]:
    for token in tokens:
        if not _TOKEN.fullmatch(token):
            raise ValueError(f"a {what} must be a token, was {token!r}")
    if len(set(tokens)) != len(tokens):
        raise ValueError(f"each {what} may be named once, was {list(tokens)}")
    return tuple(tokens)


# -- the client's half ---------------------------------------------------------------


@final
class ClientHandshake:
    """Asks for the upgrade and judges the answer (§4.1).

    Args:
        host: The Host header: with the port where it is not the scheme's own.
        target: Path and query.
        headers: Further header fields, such as Authorization or User-Agent.
        origin: The Origin header; programs need none.
        subprotocols: What we offer, best first.
        extensions: The value of Sec-WebSocket-Extensions, "" to offer none.
        key: The nonce in base64; a fresh one by default.
        replayed: Whether the answer was recorded: it then answers another nonce, and
            Sec-WebSocket-Accept is not compared.

    Raises:
        ValueError: If an argument has no place in an HTTP head.
    """

    def __init__(
        self,
        host: str,
        target: str = "/",
        *,
        headers: Iterable[tuple[str, str]] = (),
        origin: str | None = None,
        subprotocols: Sequence[str] = (),
        extensions: str = "",
        key: str | None = None,
        replayed: bool = False,
    ) -> None:
        if not _TARGET.fullmatch(target) or not target.startswith("/"):
            raise ValueError(f"a target is a path from / on, escaped, was {target!r}")
        self._host = host
        self._target = target
        self._headers = _check_extra(headers)
        self._origin = origin
        self._subprotocols = _check_tokens(subprotocols, "subprotocol")
        self._extensions = extensions
        self._key = key or base64.b64encode(os.urandom(16)).decode()
        self._replayed = replayed
        self._reader = HeadReader()
        self._refusal: _Refusal | None = None

    def request(self) -> bytes:
        """Return the request's head."""
        given = {name.lower() for name, _ in self._headers}
        fields = [] if "host" in given else [("Host", self._host)]
        fields += [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", self._key),
            ("Sec-WebSocket-Version", _VERSION),
        ]
        if self._origin is not None:
            fields += _check_pair("Origin", self._origin)
        if self._subprotocols:
            fields += [("Sec-WebSocket-Protocol", ", ".join(self._subprotocols))]
        if self._extensions:
            fields += [("Sec-WebSocket-Extensions", self._extensions)]
        return _format_head(f"GET {self._target} HTTP/1.1", [*fields, *self._headers])

    def feed(self, data: bytes) -> Agreement | None:
        """Return the agreement once the answer is complete, None before.

        Raises:
            HandshakeError: If the answer is a refusal, breaks the rules or is no
                HTTP at all.
        """
        if self._refusal is not None:
            self._refuse(self._refusal, data)
            return None
        try:
            head = self._reader.feed(data)
            if head is None:
                return None
            response = _parse_response(head[0], head[1])
        except ValueError as exc:
            raise HandshakeError(0, message=f"no HTTP/1.1 answer: {exc}") from exc
        if response.status != 101:
            self._refusal = _Refusal(response)
            self._refuse(self._refusal, head[2])
            return None
        return self._judge(response, head[2])

    def feed_eof(self) -> HandshakeError:
        """Return what the end of the stream means at this point."""
        if self._refusal is not None:
            return self._refusal.error()
        return HandshakeError(0, message="the connection ended before an answer came")

    def _refuse(self, refusal: "_Refusal", data: bytes) -> None:
        """Collect the refusal's body; raise it when there is enough."""
        if refusal.feed(data):
            raise refusal.error()

    def _judge(self, response: Response, rest: bytes) -> Agreement:
        """Check the answer's fields (§4.1, steps 2 to 6)."""
        headers = response.headers
        if "websocket" not in _lower(header_tokens(headers, "upgrade")):
            raise _broken(response, "its Upgrade is not websocket")
        if "upgrade" not in _lower(header_tokens(headers, "connection")):
            raise _broken(response, "its Connection is not Upgrade")
        accepts = _values(headers, "sec-websocket-accept")
        if not self._replayed and accepts != [accept_token(self._key)]:
            raise _broken(response, "its Sec-WebSocket-Accept is not for our key")
        extensions = ", ".join(_values(headers, "sec-websocket-extensions"))
        if extensions and not self._extensions:
            raise _broken(response, f"it uses extensions {extensions!r}, unasked")
        chosen = header_tokens(headers, "sec-websocket-protocol")
        if len(chosen) > 1 or not set(chosen) <= set(self._subprotocols):
            raise _broken(response, f"its subprotocol {chosen} was not offered")
        return Agreement(chosen[0] if chosen else None, extensions, headers, rest)


def _check_pair(name: str, value: str) -> Headers:
    if not _VALUE.fullmatch(value):
        raise ValueError(f"{name} holds a control or non-Latin-1 character")
    return ((name, value),)


def _lower(tokens: Iterable[str]) -> list[str]:
    return [token.lower() for token in tokens]


def _broken(response: Response, why: str) -> HandshakeError:
    return HandshakeError(
        response.status,
        response.headers,
        message=f"the answer {response.status} is no WebSocket upgrade: {why}",
    )


def _parse_response(first: str, headers: Headers) -> Response:
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise ValueError(f"{first[:60]!r} is no status line")
    return Response(int(match[1]), match[2] or "", headers)


class _Refusal:
    """An answer other than 101, and as much of its body as is worth keeping."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._body = bytearray()
        lengths = set(_values(response.headers, "content-length"))
        self._wanted = MAX_ERROR_BODY
        if len(lengths) == 1 and (length := lengths.pop()).isdecimal():
            # `int` refuses thousands of digits; any length above ours is ours.
            digits = length.lstrip("0")
            if len(digits) < len(str(MAX_ERROR_BODY)) + 1:
                self._wanted = min(self._wanted, int(digits or "0"))
        self._chunked = "chunked" in _lower(
            header_tokens(response.headers, "transfer-encoding")
        )

    def feed(self, data: bytes) -> bool:
        """Take more of the body; return whether it is enough."""
        self._body += data
        if self._chunked:
            # Chunk headers count as well here: this bounds memory, not the body.
            return self._body.endswith(b"0\r\n\r\n") or (
                len(self._body) >= 2 * MAX_ERROR_BODY
            )
        return len(self._body) >= self._wanted

    def error(self) -> HandshakeError:
        """Return the refusal as the error the user sees."""
        response = self._response
        body = _dechunk(self._body) if self._chunked else bytes(self._body)
        words = f" {response.reason}" if response.reason else ""
        return HandshakeError(
            response.status,
            response.headers,
            body[: self._wanted],
            message=f"the server refused the upgrade: {response.status}{words}",
        )


def _dechunk(data: bytearray) -> bytes:
    """Return the chunks' contents up to the first cut or fault (RFC 9112 §7.1)."""
    body = bytearray()
    position = 0
    while (end := data.find(b"\r\n", position)) >= 0:
        size_text = bytes(data[position:end]).split(b";")[0].strip()
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", size_text) or not int(size_text, 16):
            break
        body += data[end + 2 : end + 2 + int(size_text, 16)]
        position = end + 2 + int(size_text, 16) + 2
    return bytes(body)


# -- the server's half ---------------------------------------------------------------


@final
class ServerHandshake:
    """Judges a request for the upgrade and answers it (§4.2).

    `feed` until it gives the `Request`, look at it, then send what `accept` or
    `reject` returns.
    """

    def __init__(self) -> None:
        self._reader = HeadReader()
        self._request: Request | None = None
        self.rest = b""

    @property
    def request(self) -> Request | None:
        """What the client asked for, None until it is complete."""
        return self._request

    def feed(self, data: bytes) -> Request | None:
        """Return the request once it is complete, None before.

        Raises:
            HandshakeError: If it is none that can be accepted; `status` is what to
                `reject` it with.
        """
        try:
            head = self._reader.feed(data)
        except ValueError as exc:
            raise HandshakeError(400, message=f"no HTTP/1.1 request: {exc}") from exc
        if head is None:
            return None
        self._request = _judge_request(head[0], head[1])
        self.rest = head[2]
        return self._request

    def accept(
        self,
        *,
        subprotocol: str | None = None,
        extensions: str = "",
        headers: Iterable[tuple[str, str]] = (),
    ) -> bytes:
        """Return the head that completes the upgrade.

        Raises:
            ValueError: If there is no request yet, the subprotocol was not offered
                or a header has no place in an HTTP head.
        """
        request = self._request
        if request is None:
            raise ValueError("there is no complete request to accept yet")
        key = request.header("sec-websocket-key") or ""
        fields = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept_token(key)),
        ]
        if subprotocol is not None:
            if subprotocol not in request.subprotocols:
                raise ValueError(f"subprotocol {subprotocol!r} was not offered")
            fields.append(("Sec-WebSocket-Protocol", subprotocol))
        if extensions:
            fields.append(("Sec-WebSocket-Extensions", extensions))
        first = "HTTP/1.1 101 Switching Protocols"
        return _format_head(first, [*fields, *_check_extra(headers)])

    @staticmethod
    def reject(
        status: int, *, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> bytes:
        """Return a whole answer that refuses the upgrade and ends the connection.

        Raises:
            ValueError: If the status is not one of 300 to 599 or a header has no
                place in an HTTP head.
        """
        if not 300 <= status <= 599:
            raise ValueError(f"a refusal has a status of 300 to 599, was {status}")
        fields = [("Connection", "close"), ("Content-Length", str(len(body)))]
        if status == 426:
            fields += [("Upgrade", "websocket"), ("Sec-WebSocket-Version", _VERSION)]
        reason = _REASONS.get(status, "Refused")
        head = _format_head(
            f"HTTP/1.1 {status} {reason}", [*fields, *_check_extra(headers)]
        )
        return head + body


# RFC 9110 §15, those that fit a refused upgrade.
_REASONS: Final = {
    302: "Found",
    307: "Temporary Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    426: "Upgrade Required",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


def _judge_request(first: str, headers: Headers) -> Request:
    """Check a request's head (§4.2.1)."""
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        raise _bad(400, f"{first[:60]!r} is no request line")
    method, target, minor = match.groups()
    if method != "GET":
        raise _bad(405, f"an upgrade is a GET, was {method}")
    if minor == "0":
        raise _bad(400, "an upgrade needs HTTP/1.1")
    if not target.startswith("/"):
        raise _bad(400, f"target {target[:60]!r} is no path")
    if len(_values(headers, "host")) != 1:
        raise _bad(400, "there must be one Host")
    if "websocket" not in _lower(header_tokens(headers, "upgrade")):
        raise _bad(426, "its Upgrade is not websocket")
    if "upgrade" not in _lower(header_tokens(headers, "connection")):
        raise _bad(400, "its Connection is not Upgrade")
    if _values(headers, "sec-websocket-version") != [_VERSION]:
        raise _bad(426, "its Sec-WebSocket-Version is not 13")
    _judge_key(_values(headers, "sec-websocket-key"))
    # Its bytes would be taken for frames.
    if _values(headers, "transfer-encoding") or any(
        length.strip("0") for length in _values(headers, "content-length")
    ):
        raise _bad(400, "it has a body")
    return Request(target, headers)


def _judge_key(keys: list[str]) -> None:
    """Check the nonce: one, 16 bytes in base64 (§4.2.1, point 5)."""
    try:
        if len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16:
            return
    except ValueError:
        pass
    raise _bad(400, "its Sec-WebSocket-Key is not 16 bytes in base64")


def _bad(status: int, why: str) -> HandshakeError:
    return HandshakeError(status, message=f"the request is no WebSocket upgrade: {why}")
