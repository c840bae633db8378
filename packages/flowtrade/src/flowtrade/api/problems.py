"""Errors become statuses here, and nowhere else.

Bodies are problem details (RFC 9457): `type`, `title`, `status`, `detail`, `code`.
The statuses are the reference's where it has them: 400 for a missing header, a bad
path, query or syntax; 401 for a token that does not carry the right; 403 only for a
product divided twice; 422 for a value that breaks a rule.
"""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException

from flowtrade.api.answering import Answer
from flowtrade.errors import (
    AlreadyPartitioned,
    BatchFailed,
    Conflict,
    FlowtradeError,
    Forbidden,
    InvalidRequest,
    NotFound,
    NotLeader,
    RequestError,
    SolverFailed,
    StoreBusy,
    StoreClosed,
    Unauthorized,
    UnknownReference,
    VersionMismatch,
)
from flowtrade.models.curve import CurveError
from flowtrade.models.group import GroupError
from flowtrade.models.ids import IdError
from flowtrade.models.time import TimeError

if TYPE_CHECKING:
    from litestar.types import ExceptionHandlersMap

__all__ = [
    "BadRequest",
    "Problem",
    "UnsupportedMediaType",
    "answer_error",
    "status_of",
]

_log = logging.getLogger(__name__)

_Asked: TypeAlias = Request[Any, Any, Any]


class BadRequest(RequestError):  # named for the fact
    """A header, path, query or body that cannot be read."""

    code = "bad-request"


class UnsupportedMediaType(RequestError):  # named for the fact
    """A body that is not JSON."""

    code = "unsupported-media-type"


STATUSES: Final[dict[type[FlowtradeError], int]] = {
    BadRequest: 400,
    Unauthorized: 401,
    Forbidden: 401,
    AlreadyPartitioned: 403,
    NotFound: 404,
    Conflict: 409,
    VersionMismatch: 412,
    UnsupportedMediaType: 415,
    InvalidRequest: 422,
    UnknownReference: 422,
    BatchFailed: 409,
    NotLeader: 503,
    StoreBusy: 503,
    StoreClosed: 503,
    SolverFailed: 500,
    FlowtradeError: 500,
}
"""The status of each error; an error not named has that of its nearest ancestor."""


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A problem detail (RFC 9457).

    Attributes:
        type: A URN that names the kind of problem.
        title: The status in words.
        status: The HTTP status.
        code: The kind of problem, for programs.
        detail: What, where, value, remedy; for people.
        where: The path of the value concerned.
        orders: The orders that a failed batch names.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    where: str = ""
    orders: list[str] = msgspec.field(default_factory=list)


def status_of(error: FlowtradeError) -> int:
    """Return the status of an error of ours."""
    return next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)


def _respond(
    status: int,
    code: str,
    detail: str,
    *,
    headers: dict[str, str],
    where: str = "",
    orders: tuple[str, ...] = (),
) -> Answer:
    problem = Problem(
        type=f"urn:flowtrade:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        where=where,
        orders=list(orders),
    )
    return Answer(
        msgspec.json.encode(problem),
        status=status,
        media_type=b"application/problem+json",
        headers=headers,
    )


def _ours(_request: _Asked, error: FlowtradeError) -> Answer:
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == HTTPStatus.UNAUTHORIZED:
        known = isinstance(error, Forbidden)
        headers["WWW-Authenticate"] = _challenge(
            "insufficient_scope" if known else "invalid_token"
        )
    if isinstance(error, StoreBusy | NotLeader):
        headers["Retry-After"] = f"{max(1, round(error.retry_after))}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s: %s", error.code, error)
    return _respond(
        status,
        error.code,
        str(error),
        headers=headers,
        where=error.where if isinstance(error, InvalidRequest) else "",
        orders=error.orders if isinstance(error, BatchFailed) else (),
    )


def _value(_request: _Asked, error: ValueError) -> Answer:
    """A curve or group that breaks a rule, found while reading the body."""
    kind = getattr(error, "kind", None) or getattr(error, "code", "invalid")
    return _respond(422, str(kind), str(error), headers={})


def _unreadable(_request: _Asked, error: ValueError) -> Answer:
    """An id or a time, which stand in paths and queries."""
    return _respond(400, "bad-request", str(error), headers={})


def _litestar(_request: _Asked, error: HTTPException) -> Answer:
    phrase = HTTPStatus(error.status_code).phrase
    return _respond(
        error.status_code,
        phrase.lower().replace(" ", "-"),
        error.detail or phrase,
        headers=dict(error.headers or {}),
    )


def _bug(request: _Asked, error: Exception) -> Answer:
    # The route, not the URL: a query may carry what belongs in no log.
    _log.error("a bug answered %s %s", request.method, request.url.path, exc_info=error)
    return _respond(
        500, "internal", "an error of this service; it has been logged", headers={}
    )


def _challenge(error: str) -> str:
    return f'Bearer realm="flowtrade", error="{error}"'  # RFC 6750 §3


_HANDLERS: Final[dict[type[Exception], Callable[[_Asked, Any], Answer]]] = {
    FlowtradeError: _ours,
    CurveError: _value,
    GroupError: _value,
    IdError: _unreadable,
    TimeError: _unreadable,
    # Litestar's own are ValueErrors, too: so no handler for ValueError itself.
    HTTPException: _litestar,
    Exception: _bug,
}
"""Which function answers which exception."""

EXCEPTION_HANDLERS: Final = cast("ExceptionHandlersMap", _HANDLERS)
"""The same, as Litestar wants it."""


def answer_error(request: _Asked, error: Exception) -> Answer:
    """Return the answer that the framework would give to an exception."""
    found = next(cls for cls in type(error).__mro__ if cls in _HANDLERS)
    return _HANDLERS[found](request, error)
