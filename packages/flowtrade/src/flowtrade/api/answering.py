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

__all__ = ["Answer", "json_answer", "record_answer", "text_answer"]

_JSON: Final = b"application/json"


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
        self._lines = [
            (b"content-type", media_type),
            (b"content-length", b"%d" % len(body)),
        ]
        if version:
            self._lines.append((b"etag", f'"{version}"'.encode()))
        if headers:
            self._lines += [
                (name.lower().encode(), value.encode())
                for name, value in headers.items()
            ]

    def to_asgi_response(self, *_args: Any, **_options: Any) -> Any:  # noqa: ANN401  # Litestar's merging is passed over
        """Return this: it is the ASGI application that sends itself."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self._lines})  # type: ignore[arg-type]  # a TypedDict upstream
        await send(
            {"type": "http.response.body", "body": self.content, "more_body": False}
        )


def json_answer(value: object, *, status: int = 200) -> Answer:
    """Return `value` as JSON."""
    return Answer(msgspec.json.encode(value), status=status, media_type=_JSON)


def record_answer(value: object, *, version: Rfc3339, status: int = 200) -> Answer:
    """Return a record with its `valid_from` as entity tag, for `If-Match`."""
    body = msgspec.json.encode(value)
    return Answer(body, status=status, media_type=_JSON, version=version)


def text_answer(text: str) -> Answer:
    """Return plain text."""
    media_type = b"text/plain; charset=utf-8"
    return Answer(text.encode(), status=200, media_type=media_type)
