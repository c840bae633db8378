"""Writing answers.

`Answer` goes where Litestar wants its `Response` and is made of bytes only: no cookies,
no encoders, no background tasks to be merged for every request.
"""

from collections.abc import Mapping
from typing import Any, Final, final

import msgspec
from litestar import Response
from litestar.types import Receive, Scope, Send

from flowtrade.models.time import Rfc3339
from netcore.http import encode_response

__all__ = ["Answer", "json_answer", "record_answer", "text_answer"]

_JSON: Final = b"application/json"
_USUAL: Final = frozenset({200, 201})


@final
class Answer(Response[bytes]):
    """A response that is ready to be sent.

    Args:
        body: Encoded.
        status: HTTP status.
        media_type: Of the body.
        version: Becomes the ETag, quoted.
        headers: Further ones.
    """

    status_code: int

    def __init__(
        self,
        body: bytes,
        *,
        status: int,
        media_type: bytes,
        version: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # Not the parent's: it makes collections that this has no use for.
        self.content = body
        self.status_code = status
        self._type = media_type
        self._version = version
        self._more = headers

    def to_asgi_response(self, *_args: Any, **_options: Any) -> Any:  # noqa: ANN401  # Litestar's merging is passed over
        """Return this: it is the ASGI application that sends itself."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        start = {"type": "http.response.start", "status": self.status_code}
        lines = self._lines()
        lines.insert(1, (b"content-length", b"%d" % len(self.content)))
        await send({**start, "headers": lines})  # type: ignore[arg-type]  # a TypedDict upstream
        await send(
            {"type": "http.response.body", "body": self.content, "more_body": False}
        )

    def wire(self) -> bytes:
        """Return the response as it goes over the wire in HTTP/1.1, to no HEAD.

        Raises:
            BadMessage: Headers cannot stand there.
        """
        body = self.content
        if self._more is None and self.status_code in _USUAL and self._version:
            # What stands in these lines is ours, so there is nothing to be checked.
            return b'HTTP/1.1 %d \r\n%betag: "%b"\r\nContent-Length: %d\r\n\r\n%b' % (
                self.status_code,
                b"content-type: %b\r\n" % self._type,
                self._version.encode(),
                len(body),
                body,
            )
        lines = [(name.decode(), value.decode()) for name, value in self._lines()]
        return encode_response(self.status_code, headers=lines, body=body)

    def _lines(self) -> list[tuple[bytes, bytes]]:
        lines = [(b"content-type", self._type)]
        if self._version:
            lines.append((b"etag", f'"{self._version}"'.encode()))
        for name, value in (self._more or {}).items():
            lines.append((name.lower().encode(), value.encode()))
        return lines


def json_answer(value: object, *, status: int = 200) -> Answer:
    """Return `value` as JSON."""
    return Answer(msgspec.json.encode(value), status=status, media_type=_JSON)


def record_answer(value: object, *, version: Rfc3339, status: int = 200) -> Answer:
    """Return a record with its `valid_from` as entity tag, for `If-Match`."""
    body = msgspec.json.encode(value)
    return Answer(body, status=status, media_type=_JSON, version=version)


def text_answer(text: str, *, headers: Mapping[str, str] | None = None) -> Answer:
    """Return plain text."""
    media_type = b"text/plain; charset=utf-8"
    return Answer(text.encode(), status=200, media_type=media_type, headers=headers)
