"""A request as the serving shell hands it on, and a short way to read the plain ones.

Theory. Nearly every request comes in one piece, with nothing behind it, and with
headers that mean the same to everybody. Such a one is taken apart here in one look at
its bytes. Whatever is not exactly that (cut or pipelined, chunked, upgrading, spelled
or framed in any other way) is left to `netcore.http`, whose grammar decides; so what
is accepted here must be read alike there, which is a property under test. In doubt:
not plain.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias, final
from urllib.parse import unquote_to_bytes

import msgspec

from flowtrade.ports import CONNECTION
from netcore.http import Limits, Request

__all__ = ["Ends", "Headers", "Incoming", "Shortcut", "read_plain"]

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""Names in lower case with their values, as ASGI has them."""

_ASGI: Final = {"version": "3.0", "spec_version": "2.4"}

_VISIBLE: Final = bytes(range(0x20, 0x7F))
_END: Final = b"\r\n\r\n"

# The methods whose requests and answers are alike in form; of a target's characters
# those of RFC 3986 §3.3 and §3.4. `\w` is ASCII in patterns of bytes.
_START: Final = re.compile(
    rb"(GET|PUT|POST|PATCH|DELETE) "
    rb"(/[\w\-.~!$&'()*+,;=:@%/]*)(?:\?([\w\-.~!$&'()*+,;=:@%/?]*))? HTTP/1\.1"
).fullmatch
_NAME: Final = re.compile(rb"[\w\-]+").fullmatch

_ORIGIN: Final = re.compile(rb"\A[A-Za-z][\w+.\-]*://[^/?#]*")
"""What stands before the path in a target in absolute form, which every server takes
(RFC 9112 §3.2.2)."""

_WEIGHTY: Final = frozenset(
    {
        b"host",
        b"content-length",
        b"connection",
        b"expect",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that say what the message is; a plain one has the first, may have the second
and third, and none of the others, none of them twice."""

_USUAL: Final = {
    spelling: name.lower().encode()
    for name in (
        "Accept",
        "Accept-Encoding",
        "Accept-Language",
        "Authorization",
        "Connection",
        "Content-Length",
        "Content-Type",
        "Cookie",
        "Host",
        "Idempotency-Key",
        "If-Match",
        "Origin",
        "Prefer",
        "User-Agent",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
    )
    for spelling in (name.encode(), name.lower().encode())
}
"""Names in their two usual spellings: known to be names, and what they are called."""

_DIGITS: Final = 9
"""Of a length: more than any body that comes in one piece has."""


class Ends(Protocol):
    """What a scope says of its connection."""

    client: Any
    server: Any


@final
class Incoming(msgspec.Struct, kw_only=True, gc=False):
    """A request, whole.

    Attributes:
        method: As sent.
        path: The target's path as sent.
        query: What follows the question mark.
        headers: In order.
        body: The content.
        version: Of HTTP.
    """

    method: str
    path: bytes
    query: bytes
    headers: Headers
    body: bytes
    version: str = "1.1"

    @classmethod
    def from_request(cls, request: Request) -> "Incoming":
        """Return what netcore has read."""
        target = _ORIGIN.sub(b"", request.target.encode("latin-1"), count=1)
        path, _, query = target.partition(b"?")
        return cls(
            method=request.method,
            path=path or b"/",
            query=query,
            headers=[
                (name.lower().encode("latin-1"), value.encode("latin-1"))
                for name, value in request.headers
            ],
            body=request.body,
            version="1.1" if request.version >= (1, 1) else "1.0",
        )

    def scope(self, line: Ends) -> dict[str, Any]:
        """Return the request as ASGI's scope (specification 3, HTTP part 2.4).

        Args:
            line: The connection, which applications find among the extensions.
        """
        path = self.path
        if b"%" in path:
            path = unquote_to_bytes(path)
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": self.version,
            "method": self.method,
            "scheme": "http",
            "path": path.decode("utf-8", "replace"),
            "raw_path": self.path,
            "query_string": self.query,
            "root_path": "",
            "headers": self.headers,
            "client": line.client,
            "server": line.server,
            "state": {},
            "extensions": {CONNECTION: line},
        }


Shortcut: TypeAlias = Callable[[Incoming, Ends], Awaitable[bytes] | None]
"""Answers a plain request without ASGI: gives what sends a whole response when awaited,
or None for a request that it leaves to the application."""


def read_plain(data: bytes, limits: Limits) -> Incoming | None:
    """Return the request that these bytes are, if they are one plain request.

    Args:
        data: Begins where a request may begin.
        limits: How much of a request is read.

    Returns:
        The request; None if it is not plain, not whole, or not alone.
    """
    head, end, body = data.partition(_END)
    lines = head.split(b"\r\n")
    # Visible ASCII and the line ends just split at, and no blanks around a value.
    if (
        not end
        or len(lines) > limits.max_headers + 1
        or len(head) > limits.max_head - len(_END)
        or head.translate(None, _VISIBLE) != b"\r\n" * (len(lines) - 1)
        or b":  " in head
        or b" \r\n" in head
        or head[-1:] == b" "
    ):
        return None
    start = _START(lines[0])
    if start is None:
        return None
    headers = _read_headers(lines, len(body), limits)
    if headers is None:
        return None
    method, path, query = start.groups(b"")
    return Incoming(
        method=method.decode(), path=path, query=query, headers=headers, body=body
    )


def _read_headers(lines: list[bytes], length: int, limits: Limits) -> Headers | None:
    """Return the headers, unless they say that the message is not a plain one."""
    headers: Headers = []
    weighty: dict[bytes, bytes] = {}
    for line in lines[1:]:
        spelled, colon, value = line.partition(b": ")
        name = _USUAL.get(spelled)
        if name is None:
            if not colon or _NAME(spelled) is None:
                return None
            name = spelled.lower()
        elif not colon:
            return None
        if name in _WEIGHTY:
            if name in weighty:
                return None
            weighty[name] = value
        headers.append((name, value))
    if b"host" not in weighty:
        return None
    said = weighty.pop(b"content-length", b"0")
    if not said.isdigit() or len(said) > _DIGITS or int(said) != length:
        return None
    if length > limits.max_body:
        return None
    if weighty.pop(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    return headers if len(weighty) == 1 else None
