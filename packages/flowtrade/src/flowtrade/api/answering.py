"""Writing answers."""

import msgspec
from litestar import Response

from flowtrade.models.time import Rfc3339

__all__ = ["json_answer", "record_answer", "text_answer"]

_JSON = "application/json"


def json_answer(value: object, *, status: int = 200) -> Response[bytes]:
    """Return `value` as JSON."""
    return Response(msgspec.json.encode(value), status_code=status, media_type=_JSON)


def record_answer(
    value: object, *, version: Rfc3339, status: int = 200
) -> Response[bytes]:
    """Return a record with its `valid_from` as entity tag, for `If-Match`."""
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        media_type=_JSON,
        headers={"ETag": f'"{version}"'},
    )


def text_answer(text: str) -> Response[bytes]:
    """Return plain text."""
    return Response(text.encode(), media_type="text/plain")
