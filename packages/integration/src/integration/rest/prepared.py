"""A request as the bytes that will be sent, and how a typed request becomes that.

What is signed must be what is sent. So everything is encoded here, once: a
`PreparedRequest` holds the final method, raw target, headers and content; signers read
and extend it, and the transport sends it unchanged.

Spelling: queries and forms are written as `application/x-www-form-urlencoded`
(space is `+`), parameters in the order given; numbers never carry an exponent;
parameters that are None are left out; a list repeats its name.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Self, cast
from urllib.parse import quote_plus, unquote_plus, urlsplit

import msgspec

from integration.errors import QueryParams, Serialise, UrlEncoded, UrlParse
from integration.rest.request import BodyFormat, Params, RestRequest

__all__ = [
    "MASK",
    "PreparedRequest",
    "decode_query",
    "encode_json",
    "encode_params",
    "parameter_text",
    "prepare",
    "scrub",
]

MASK = "***"
"""What stands where a secret would be shown."""

_SHOWN_HEADERS = frozenset({"accept", "content-type", "user-agent"})
"""Header fields whose values may be shown; all others may carry keys."""


class PreparedRequest(
    msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True
):
    """The final form of a request: what is signed is what is sent.

    Attributes:
        method: HTTP method, in capitals.
        origin: Scheme and authority, `https://api.example.com`, no trailing slash.
        raw_path: Request target: path and query exactly as they go on the wire.
        headers: Header fields in order, without those the transport adds (Host,
            Content-Length).
        content: The body's bytes.
        timeout: Seconds until the whole response must be there.
        secrets: Texts that must not be shown wherever this request is spoken of.
    """

    method: str
    origin: str
    raw_path: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes = b""
    timeout: float = 5.0
    secrets: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The whole URL, secrets included: for the transport only."""
        return self.origin + self.raw_path.decode("ascii")

    @property
    def host(self) -> str:
        """Host name and, if it is not the scheme's own, port."""
        return urlsplit(self.origin).netloc

    @property
    def path(self) -> str:
        """The path as it is sent, without query."""
        return self.raw_path.partition(b"?")[0].decode("ascii")

    @property
    def query(self) -> str:
        """The query as it is sent, without the question mark."""
        return self.raw_path.partition(b"?")[2].decode("ascii")

    @property
    def body(self) -> str:
        """The content as text, as prehash recipes want it.

        Raises:
            Serialise: The content is no UTF-8.
        """
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Serialise(f"the content is no UTF-8 text: {error}") from error

    def header(self, name: str) -> str | None:
        """Return the value of a header field, whatever its case, or None."""
        wanted = name.lower()
        return next((v for k, v in self.headers if k.lower() == wanted), None)

    def with_headers(self, fields: Mapping[str, str]) -> Self:
        """Return a copy with these fields set, replacing any of the same name."""
        replaced = {name.lower() for name in fields}
        kept = tuple(f for f in self.headers if f[0].lower() not in replaced)
        for name, value in fields.items():
            if any(c in name + value for c in "\r\n\0"):
                raise Serialise(f"header field {name!r} holds a line break or NUL")
        return msgspec.structs.replace(self, headers=kept + tuple(fields.items()))

    def with_query(self, params: Params) -> Self:
        """Return a copy with parameters appended to the query."""
        more = encode_params(params)
        if not more:
            return self
        joint = b"&" if b"?" in self.raw_path else b"?"
        return msgspec.structs.replace(
            self, raw_path=self.raw_path + joint + more.encode("ascii")
        )

    def with_content(self, content: bytes) -> Self:
        """Return a copy with another body."""
        return msgspec.structs.replace(self, content=content)

    def with_form(self, params: Params, *, first: bool = False) -> Self:
        """Return a copy with parameters added to a form body.

        Args:
            params: What to add.
            first: Whether they stand before what is there, not behind it.

        Raises:
            UrlEncoded: The body is something else than a form.
        """
        kind = self.header("content-type")
        if self.content and kind != BodyFormat.FORM.value:
            raise UrlEncoded(f"parameters can be added to a form only, not to {kind}")
        more = encode_params(params, error=UrlEncoded).encode("ascii")
        if not more:
            return self
        parts = (more, self.content) if first else (self.content, more)
        form = self.with_headers({"Content-Type": BodyFormat.FORM.value})
        return form.with_content(b"&".join(part for part in parts if part))

    def with_secrets(self, *secrets: str) -> Self:
        """Return a copy that also hides these texts wherever it is spoken of."""
        more = tuple(s for s in secrets if s and s not in self.secrets)
        return msgspec.structs.replace(self, secrets=self.secrets + more)

    def redacted_url(self) -> str:
        """Return the URL with every secret masked, for people and logs."""
        return scrub(self.url, self.secrets)

    def __repr__(self) -> str:
        fields = ", ".join(
            f"{k}: {scrub(v, self.secrets) if k.lower() in _SHOWN_HEADERS else MASK}"
            for k, v in self.headers
        )
        return (
            f"<{type(self).__name__} {self.method} {self.redacted_url()} "
            f"headers=({fields}) content={len(self.content)} bytes>"
        )


def scrub(text: str, secrets: tuple[str, ...]) -> str:
    r"""Return `text` with every secret masked.

    Also where it stands URL-encoded, or in JSON of those who write "\/" for "/".
    """
    # Longest first: a secret that is part of another must not leave its rest behind.
    for secret in sorted(secrets, key=len, reverse=True):
        for spelled in (secret, quote_plus(secret), secret.replace("/", r"\/")):
            text = text.replace(spelled, MASK)
    return text


def prepare(base_url: str, request: RestRequest[Any]) -> PreparedRequest:
    """Encode a request for a venue.

    Args:
        base_url: Scheme, authority and possibly a path prefix of every endpoint.
        request: The typed request.

    Raises:
        UrlParse: `base_url` is no http(s) URL, or the path is not ready to be sent.
        QueryParams: A query parameter has no text form.
        Serialise: The body has no form in its format.
    """
    origin, prefix = _split_base(base_url)
    path = prefix + request.path()
    _check_path(path)
    query = encode_params(request.query_params())
    target = f"{path}?{query}" if query else path
    content = _encode_body(request)
    headers = [("Accept", BodyFormat.JSON.value)]
    if content:
        headers.append(("Content-Type", request.body_format.value))
    return PreparedRequest(
        method=request.method,
        origin=origin,
        raw_path=target.encode("ascii"),
        headers=tuple(headers),
        content=content,
        timeout=request.timeout,
    )


def encode_params(params: Params, *, error: type[Serialise] = QueryParams) -> str:
    """Write parameters as `application/x-www-form-urlencoded`, in their order.

    Args:
        params: The parameters; None values are left out, lists repeat their name.
        error: What to raise for a value without text form.
    """
    return "&".join(
        f"{quote_plus(name)}={quote_plus(text)}" for name, text in _pairs(params, error)
    )


def parameter_text(value: object, *, error: type[Serialise] = QueryParams) -> str:
    """Return the plain text of one parameter, before percent-encoding.

    Raises:
        Serialise: (the class given by `error`) the value has no text form, or is
            not finite.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case Enum():
            return parameter_text(value.value, error=error)
        case str():
            return value
        case int():
            return str(value)
        case Decimal() if value.is_finite():
            return format(value, "f")
        case float() if math.isfinite(value):
            # repr is the shortest text that reads back equal; Decimal drops its "e-07".
            return format(Decimal(repr(value)), "f")
        case _:
            raise error(
                f"a parameter must be text, a finite number or a boolean, "
                f"was {type(value).__name__} {value!r}"
            )


def encode_json(value: Any) -> bytes:  # noqa: ANN401 - whatever msgspec can encode
    """Write a body as compact JSON; decimals become strings without exponent.

    Raises:
        Serialise: The value has no JSON form, or holds a number that is not finite.
    """
    try:
        plain = msgspec.to_builtins(value, builtin_types=(Decimal,), str_keys=True)
        return msgspec.json.encode(_plain_numbers(plain))
    except (TypeError, ValueError) as error:
        raise Serialise(f"the body has no JSON form: {error}") from error


def _split_base(base_url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise UrlParse(f"base URL {base_url!r} cannot be read: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UrlParse(f"a base URL starts with http(s)://host, was {base_url!r}")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise UrlParse("a base URL holds no query, fragment or password; remove it")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    authority = host if port in {None, default} else f"{host}:{port}"
    return f"{parts.scheme}://{authority}", parts.path.rstrip("/")


def _check_path(path: str) -> None:
    if not path.startswith("/"):
        raise UrlParse(f"a path starts with a slash, was {path!r}")
    # What RFC 3986 §3.3 admits; anything else would be rewritten on its way.
    if any(not ("!" <= c <= "~") or c in '?#"<>\\^`{|}' for c in path):
        raise UrlParse(f"a path must come percent-encoded and without ?, was {path!r}")


def _pairs(params: Params, error: type[Serialise]) -> Iterator[tuple[str, str]]:
    for name, value in _items(params):
        if value is None or value is msgspec.UNSET:
            continue
        values = value if isinstance(value, list | tuple) else (value,)
        for one in values:
            try:
                yield name, parameter_text(one, error=error)
            except Serialise as fault:
                raise error(f"{name}: {fault}") from fault


def _items(params: Params) -> Iterable[tuple[str, Any]]:
    if params is None:
        return ()
    if isinstance(params, msgspec.Struct):
        fields = msgspec.structs.fields(params)
        return [(field.encode_name, getattr(params, field.name)) for field in fields]
    if isinstance(params, Mapping):
        # Pairs could come in a mapping too, as its keys; nobody means that.
        return cast("Mapping[str, Any]", params).items()
    return params


def _encode_body(request: RestRequest[Any]) -> bytes:
    body = request.body()
    if body is None:
        return b""
    if isinstance(body, bytes):
        return body
    if request.body_format is BodyFormat.FORM:
        return encode_params(body, error=UrlEncoded).encode("ascii")
    return encode_json(body)


def _plain_numbers(value: Any) -> Any:  # noqa: ANN401 - a tree of builtins
    walk: Callable[[Any], Any] = _plain_numbers
    match value:
        case Decimal():
            if not value.is_finite():
                raise ValueError(f"{value} is not finite")
            return format(value, "f")
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{value} is not finite")
            return value
        case dict():
            return {k: walk(v) for k, v in value.items()}
        case list() | tuple():
            return [walk(v) for v in value]
        case _:
            return value


def decode_query(query: str) -> list[tuple[str, str]]:
    """Read a query back into plain pairs, in order (the inverse of `encode_params`)."""
    if not query:
        return []
    pairs = (part.partition("=") for part in query.split("&"))
    return [(unquote_plus(name), unquote_plus(text)) for name, _, text in pairs]
