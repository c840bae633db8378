"""Reading requests: header, path, query, body, in this order.

The order is part of the contract: a missing header beats everything, and a bad body
beats a missing right, so handlers read all of a request before they ask who sent it.
"""

import hashlib
import re
from typing import Final, TypeAlias, TypeVar

import msgspec
import trio

from flowtrade.api.context import Api
from flowtrade.api.names import check_names
from flowtrade.api.problems import BadRequest, UnsupportedMediaType
from flowtrade.core.operations import Once
from flowtrade.core.state import Group
from flowtrade.errors import InvalidRequest
from flowtrade.models.curve import Curve, Point, PwlCurve, parse_curve
from flowtrade.models.group import parse_group
from flowtrade.models.ids import Id, IdError, canonical_id
from flowtrade.models.time import TimeError, parse_timestamp
from flowtrade.ports import Window
from netcore.models import Timestamp

__all__ = [
    "app_data_of",
    "as_of",
    "bearer",
    "body",
    "body_curve",
    "body_id",
    "expected_version",
    "flag",
    "group_of",
    "moment",
    "once",
    "path_id",
    "window",
]

Expected: TypeAlias = tuple[Timestamp, ...] | None
"""Versions of which one is to be the present one, or None for any."""

_T = TypeVar("_T")

_BEARER: Final = "bearer "
_LONG: Final = 256 * 1024
"""Bytes that are hashed at once: some hundred microseconds."""

_SYNTAX: Final = msgspec.json.Decoder(msgspec.Raw)
_ANY: Final["msgspec.json.Decoder[object]"] = msgspec.json.Decoder()
_POINTS: Final = msgspec.json.Decoder(tuple[Point, ...])

# RFC 9110 §8.8.3, entity-tag, and §5.6.1, a list of them.
_TAG: Final = re.compile(r'(W/)?"([!#-~\x80-\xff]*)"')
_COMMAS: Final = r"(?:[ \t]*,)"
"""Between elements of a list, and around it: empty ones count for nothing."""
_TAGS: Final = re.compile(
    rf"{_COMMAS}*[ \t]*{_TAG.pattern}"
    rf"(?:{_COMMAS}+[ \t]*{_TAG.pattern})*{_COMMAS}*"
).fullmatch


def bearer(request: Api) -> str:
    """Return the bearer token.

    Raises:
        BadRequest: There is no `Authorization: Bearer …` header.
    """
    header = _header(request, b"authorization") or ""
    token = header[len(_BEARER) :].strip()
    if header[: len(_BEARER)].lower() != _BEARER or not token:
        raise BadRequest("an `Authorization: Bearer <token>` header is required")
    return token


def path_id(request: Api, name: str) -> Id:
    """Return an id of the path in its canonical form.

    Raises:
        IdError: It is no UUID.
    """
    return canonical_id(request.path_params[name])


async def body(request: Api, decoder: "msgspec.json.Decoder[_T]") -> _T:
    """Return the decoded body.

    Raises:
        UnsupportedMediaType: It is not declared as JSON.
        BadRequest: It is no JSON, has a number beyond a float, or names a member twice.
        InvalidRequest: It is JSON of another shape.
    """
    _check_declared(request)
    return _decoded(await request.body(), decoder)


async def body_curve(request: Api) -> Curve | None:
    """Return the curve that is the body.

    Raises:
        UnsupportedMediaType: It is not declared as JSON.
        BadRequest: It is no JSON, has a number beyond a float, or names a member twice.
        CurveError: It is no curve or breaks a rule.
    """
    _check_declared(request)
    data = await request.body()
    try:
        # What nearly all of them are, without a look at each value.
        points = _POINTS.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return parse_curve(_decoded(data, _ANY))
    if data.count(b":") != 2 * len(points):  # rate and price of each, and what else?
        check_names(data, None)
    return PwlCurve(points=points)


def _check_declared(request: Api) -> None:
    header = _header(request, b"content-type") or ""
    if header == "application/json":
        return
    declared = header.partition(";")[0].strip().lower()
    if declared != "application/json" and not declared.endswith("+json"):
        raise UnsupportedMediaType(
            f"the body must be application/json, was {declared or 'not declared'!r}"
        )


def _decoded(data: bytes, decoder: "msgspec.json.Decoder[_T]") -> _T:
    try:
        decoded = decoder.decode(data)
    except msgspec.ValidationError as error:
        # The decoder stops at the first wrong value; what follows may be no JSON.
        _check_syntax(data)
        # 1e999 is well-formed, but no number of ours; other parsers refuse to read it.
        if "out of range" in str(error):
            raise BadRequest(f"the body cannot be read: {error}") from error
        raise InvalidRequest(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body cannot be read: {error}") from error
    except RecursionError as error:
        raise BadRequest("the body cannot be read: it is nested too deep") from error
    check_names(data, decoded)
    return decoded


def window(request: Api, limit: int) -> Window:
    """Return the page of a history that the query asks for.

    Raises:
        TimeError: `before` or `after` is no timestamp.
    """
    return Window(
        before=moment(request, "before"), after=moment(request, "after"), limit=limit
    )


def as_of(request: Api) -> Timestamp | None:
    """Return the moment that `as_of` in the query names, or None for the present.

    Raises:
        TimeError: It is no timestamp.
    """
    return moment(request, "as_of")


def moment(request: Api, name: str) -> Timestamp | None:
    """Return a moment that the query names, or None if it is absent.

    One that we cannot hold is taken for the nearest that we can: it is a bound, and
    nothing of ours is beyond.

    Raises:
        TimeError: It is no timestamp.
    """
    if not request.scope["query_string"]:
        return None
    text = request.query_params.get(name)
    return None if text is None else parse_timestamp(text, nearest=True)


def flag(request: Api, name: str) -> bool:
    """Return a boolean of the query, false if absent.

    Raises:
        BadRequest: It is neither `true` nor `false`.
    """
    text = "false"
    if request.scope["query_string"]:
        text = request.query_params.get(name, text)
    if text not in ("true", "false"):
        raise BadRequest(f"{name} is true or false, was {text!r}")
    return text == "true"


def expected_version(request: Api) -> Expected:
    """Return the versions that `If-Match` names, or None for any (RFC 9110 §13.1.1).

    Tags are compared as they stand: a weak one names no version, nor does one that
    is not ours.

    Raises:
        BadRequest: It is no list of entity tags.
    """
    if _header(request, b"if-match") is None:
        return None
    # Lines of one name are one list (RFC 9110 §5.3).
    lines = [value for name, value in request.scope["headers"] if name == b"if-match"]
    text = b", ".join(lines).decode("latin-1").strip()
    if text == "*":
        return None
    if not _TAGS(text):
        raise BadRequest(f"If-Match takes the ETag that a read gave, was {text!r}")
    return tuple(
        version
        for weak, tag in _TAG.findall(text)
        if not weak and (version := _version(tag)) is not None
    )


def body_id(text: str) -> Id:
    """Return an id of the body in its canonical form.

    Raises:
        InvalidRequest: It is no UUID; in a body that is a wrong value, not a wrong
            address.
    """
    try:
        return canonical_id(text)
    except IdError as error:
        raise InvalidRequest(str(error)) from error


async def once(request: Api, scope: str) -> Once | None:
    """Return what the header Idempotency-Key asks for, or None without it.

    Args:
        request: Its method, path and body make the fingerprint.
        scope: Whose keys these are.

    Raises:
        BadRequest: The key is empty, longer than 255 characters or not printable.
    """
    key = _header(request, b"idempotency-key")
    if key is None:
        return None
    if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise BadRequest("Idempotency-Key has 1 to 255 printable ASCII characters")
    head = f"{request.method} {request.url.path}\n".encode()
    hashed, content = hashlib.sha256(head), await request.body()
    if len(content) > _LONG:
        await trio.to_thread.run_sync(hashed.update, content)
    else:
        hashed.update(content)
    return Once(scope=scope, key=key, fingerprint=hashed.digest())


def group_of(value: object) -> Group:
    """Return a group with canonical ids.

    Raises:
        GroupError: It is none of the forms of a group.
        InvalidRequest: A key is no UUID, or two keys are the same one.
    """
    parsed = parse_group(value)
    group = {body_id(key): weight for key, weight in parsed.items()}
    if len(group) != len(parsed):
        raise InvalidRequest("a group names the same id in two spellings")
    return group


def app_data_of(value: object) -> bytes:
    """Return app_data as the JSON text that is stored."""
    return msgspec.json.encode(value)


def _check_syntax(data: bytes) -> None:
    try:
        _SYNTAX.decode(data)
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body cannot be read: {error}") from error
    except RecursionError as error:
        raise BadRequest("the body cannot be read: it is nested too deep") from error


def _header(request: Api, name: bytes) -> str | None:
    # Most handlers ask for one or two: a map of all of them costs more than looking.
    for key, value in request.scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


def _version(tag: str) -> Timestamp | None:
    try:
        return parse_timestamp(tag)
    except TimeError:
        return None
