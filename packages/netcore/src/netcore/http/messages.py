"""HTTP requests and responses as values, and their encoding.

Encoding refuses what could be read in two ways by two readers (RFC 9112 §11.2, request
smuggling): framing headers are ours alone, and nothing the caller gives can end a line.
"""

import re
from collections.abc import Iterable
from typing import Any, TypeAlias, TypeVar, final, overload

import msgspec

from netcore.http.errors import BadMessage

__all__ = [
    "NO_BODY_STATUSES",
    "Headers",
    "Request",
    "Response",
    "encode_request",
    "encode_response",
    "has_token",
]

_T = TypeVar("_T")

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Names as they were sent, with their values, in order; a name may come twice."""

# RFC 9110 §5.6.2 "token", §5.5 "field-value"; RFC 9112 §3.2 "request-target" (which is
# visible ASCII in every one of its forms).
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch
_TARGET = re.compile(r"[\x21-\x7e]+").fullmatch

# What decides where a message ends is for us to say.
_OURS = frozenset({"content-length", "transfer-encoding"})
# Methods whose requests say that they have no content, rather than nothing (RFC 9110
# §8.6).
_WITH_CONTENT = frozenset({"POST", "PUT", "PATCH"})

NO_BODY_STATUSES = frozenset({204, 304})
"""Final statuses that have no body whatever the headers say (RFC 9112 §6.3)."""


@final
class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as a server reads it.

    Attributes:
        method: As sent; methods are case-sensitive.
        target: The request target, such as "/path?query".
        headers: As sent.
        body: The whole content.
        version: Major and minor, such as (1, 1).
        trailers: What came behind a chunked body.
        keep_alive: Whether the client may send another on the same connection.
        upgrade: Whether it asks to change the protocol (or to CONNECT).
    """

    method: str
    target: str
    headers: Headers = ()
    body: bytes = b""
    version: tuple[int, int] = (1, 1)
    trailers: Headers = ()
    keep_alive: bool = True
    upgrade: bool = False

    def header(self, name: str, default: str | None = None) -> str | None:
        """Return the value of a header, lines of the same name joined by commas."""
        return _header(self.headers, name, default)


@final
class Response(msgspec.Struct, frozen=True):
    """A response as a client reads it.

    Attributes:
        status: 200 to 999; interim ones (1xx) are not delivered, except 101.
        reason: The words beside it, maybe none.
        headers: As sent.
        body: The whole content, as sent: no content coding is undone, and none was
            asked for.
        version: Major and minor, such as (1, 1).
        trailers: What came behind a chunked body.
    """

    status: int
    reason: str = ""
    headers: Headers = ()
    body: bytes = b""
    version: tuple[int, int] = (1, 1)
    trailers: Headers = ()

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text, by the charset of Content-Type or UTF-8.

        Raises:
            UnicodeError: If it is not of that charset.
            LookupError: If nobody here knows that charset.
        """
        return self.body.decode(_charset(self.header("content-type", "")))

    @overload
    def json(self) -> Any: ...  # noqa: ANN401 - JSON of any shape was asked for
    @overload
    def json(self, type: type[_T]) -> _T: ...
    def json(self, type: Any = Any) -> Any:  # noqa: A002 - as above
        """Return the body as JSON, checked against `type`.

        Raises:
            msgspec.DecodeError: If it is no JSON.
            msgspec.ValidationError: If it is not of that type.
        """
        return msgspec.json.decode(self.body, type=type)

    def header(self, name: str, default: str | None = None) -> str | None:
        """Return the value of a header, lines of the same name joined by commas."""
        return _header(self.headers, name, default)


def _header(headers: Headers, name: str, default: str | None) -> str | None:
    lowered = name.lower()
    values = [value for key, value in headers if key.lower() == lowered]
    return ", ".join(values) if values else default


def _charset(content_type: str | None) -> str:
    match = re.search(r";\s*charset=\"?([^\s;\"]+)", content_type or "", re.IGNORECASE)
    return match[1] if match else "utf-8"


def has_token(headers: Headers, name: str, token: str) -> bool:
    """Return whether a comma-separated header has `token`, in any case of letters."""
    value = _header(headers, name, "") or ""
    return token in {part.strip().lower() for part in value.split(",")}


# -- encoding ------------------------------------------------------------------------


def encode_request(
    method: str,
    target: str,
    host: str,
    *,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> bytes:
    """Return the bytes of a request.

    Host leads and Content-Length is computed; a Host among `headers` takes the place
    of `host`.

    Raises:
        BadMessage: If something cannot stand in a head, or `headers` holds
            Content-Length or Transfer-Encoding.
    """
    if _TOKEN(method) is None:
        raise BadMessage(f"{method!r} is no method")
    if method == "CONNECT":
        raise BadMessage("CONNECT makes a tunnel, which this client does not")
    if _TARGET(target) is None:
        raise BadMessage(
            f"{target!r} is no request target; percent-encode what is not ASCII"
        )
    pairs = list(headers)
    lines = [f"{method} {target} HTTP/1.1\r\n"]
    if not any(name.lower() == "host" for name, _ in pairs):
        pairs.insert(0, ("Host", host))
    lines += _header_lines(pairs)
    if body or method in _WITH_CONTENT:
        lines.append(f"Content-Length: {len(body)}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("latin-1") + body


def encode_response(
    status: int,
    *,
    reason: str = "",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    to_method: str = "GET",
    close: bool = False,
) -> bytes:
    """Return the bytes of a response.

    Args:
        status: 100 to 599.
        reason: Words for people.
        headers: Further headers.
        body: The content; for HEAD it is only counted.
        to_method: The request's method.
        close: Whether to say that the connection ends.

    Raises:
        BadMessage: If something cannot stand in a head, `headers` holds framing
            headers, or a body is given for a status that has none.
    """
    if not 100 <= status <= 599:
        raise BadMessage(f"status must be in 100..599, was {status}")
    if _VALUE(reason) is None:
        raise BadMessage(f"{reason!r} is no reason phrase")
    bodiless = status < 200 or status in NO_BODY_STATUSES
    if body and bodiless:
        raise BadMessage(f"a response of status {status} has no body")
    lines = [f"HTTP/1.1 {status} {reason}\r\n", *_header_lines(list(headers))]
    if close:
        lines.append("Connection: close\r\n")
    if not bodiless:
        lines.append(f"Content-Length: {len(body)}\r\n")
    lines.append("\r\n")
    head = "".join(lines).encode("latin-1")
    return head if to_method == "HEAD" else head + body


def _header_lines(headers: list[tuple[str, str]]) -> list[str]:
    for name, value in headers:
        if _TOKEN(name) is None:
            raise BadMessage(f"{name!r} is no header name")
        if _VALUE(value) is None or value != value.strip():
            # The value may be a secret.
            raise BadMessage(f"the value of header {name} cannot stand in a head")
        if name.lower() in _OURS:
            raise BadMessage(f"{name} is computed from the body; do not give it")
    return [f"{name}: {value}\r\n" for name, value in headers]
