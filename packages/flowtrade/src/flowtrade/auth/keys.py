"""Key sets: the keys of tokens as one document, from a file or an address.

A JSON Web Key Set (RFC 7517 §5) lists keys that are good at the same time, so that
they can be rotated: add the new key, sign with it, remove the old one. Keys that are
not for signatures, or of types we do not know, are left out, as the RFC asks.

How often a set is fetched is decided by `flowtrade.auth.tokens`.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, final

import httpx
import msgspec
import trio

from flowtrade.auth.jws import SigningKey
from flowtrade.errors import InvalidRequest

__all__ = ["FileKeys", "KeySource", "UrlKeys", "key_source", "read_keys"]

_LARGEST: Final = 2**20
"""Bytes of a key set; a key has under two thousand."""

_TIMEOUT: Final = 10.0
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


class KeySource(Protocol):
    """Where keys come from, again and again."""

    async def fetch(self) -> tuple[SigningKey, ...]:
        """Return the keys that are good now.

        Raises:
            InvalidRequest: There is no readable set of usable keys.
        """
        ...


def read_keys(document: bytes, *, public: bool = False) -> tuple[SigningKey, ...]:
    """Return the usable keys of a key set.

    A key without `alg` is taken for the first algorithm of its type: RS256, EdDSA,
    HS256, or the one of its curve.

    Args:
        document: JSON, at most 1 MiB.
        public: Whether anybody can read the document; symmetric keys are refused then.

    Raises:
        InvalidRequest: It is no key set, an id is given twice, or no key is usable.
    """
    if len(document) > _LARGEST:
        raise InvalidRequest(f"the key set has more than {_LARGEST} bytes")
    try:
        listed = msgspec.json.decode(document, type=_KeySet).keys
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"no key set (RFC 7517): {error}") from error
    if public and any(jwk.get("kty") == "oct" for jwk in listed):
        raise InvalidRequest("a symmetric key in a public key set is no secret")
    keys = tuple(key for jwk in listed if (key := _usable(jwk)) is not None)
    ids = [key.kid for key in keys if key.kid is not None]
    if not keys:
        raise InvalidRequest(f"none of the {len(listed)} keys can verify signatures")
    if len(set(ids)) != len(ids):
        raise InvalidRequest(f"the key set gives an id twice: {', '.join(ids)}")
    return keys


@final
class FileKeys:
    """The keys in a file, read again at every fetch."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"FileKeys({str(self._path)!r})"

    async def fetch(self) -> tuple[SigningKey, ...]:
        """See `KeySource.fetch`."""
        try:
            document = await trio.Path(self._path).read_bytes()
        except OSError as error:
            raise InvalidRequest(f"{self._path}: {error.strerror}") from error
        try:
            return read_keys(document)
        except InvalidRequest as error:
            raise InvalidRequest(f"{self._path}: {error}") from error


@final
class UrlKeys:
    """The keys at an address, such as an identity provider's `jwks_uri`.

    Args:
        url: `https://…`; `http://` only on this machine.
        ssl_context: Verifies the server, by default against the system's authorities.

    Raises:
        InvalidRequest: The address is none of these.
    """

    def __init__(self, url: str, *, ssl_context: ssl.SSLContext | None = None) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise InvalidRequest(f"{url!r} is no URL: {error}") from error
        safe = parsed.scheme == "https" or (
            parsed.scheme == "http" and parsed.host in _LOOPBACK
        )
        if not safe or not parsed.host:
            raise InvalidRequest(f"keys are fetched by https, not from {url!r}")
        self._url = parsed
        self._ssl_context = ssl_context

    def __repr__(self) -> str:
        return f"UrlKeys({str(self._url)!r})"

    async def fetch(self) -> tuple[SigningKey, ...]:
        """See `KeySource.fetch`."""
        try:
            with trio.fail_after(_TIMEOUT):
                document = await self._download()
            return read_keys(document, public=True)
        except (httpx.HTTPError, trio.TooSlowError) as error:
            raise InvalidRequest(f"{self._url}: {_reason(error)}") from error
        except InvalidRequest as error:
            raise InvalidRequest(f"{self._url}: {error}") from error

    async def _download(self) -> bytes:
        context = self._ssl_context or ssl.create_default_context()
        document = b""
        async with (
            httpx.AsyncClient(verify=context) as client,
            client.stream("GET", self._url) as response,
        ):
            if response.status_code != 200:
                raise InvalidRequest(f"answered {response.status_code}, not a key set")
            # Read to the end, because httpx cannot be left halfway without a warning;
            # what is too much is not kept.
            async for chunk in response.aiter_bytes():
                document += chunk[: _LARGEST + 1 - len(document)]
        return document


def key_source(name: str, *, ssl_context: ssl.SSLContext | None = None) -> KeySource:
    """Return the source that a setting names: an address or a file's path.

    Raises:
        InvalidRequest: It is an address that is not fetched from.
    """
    if "://" in name:
        return UrlKeys(name, ssl_context=ssl_context)
    return FileKeys(Path(name))


def _reason(error: BaseException) -> str:
    """Return what an error says; of a bad certificate only its causes say it."""
    while not str(error) and (inner := error.__cause__ or error.__context__):
        error = inner
    return repr(error)


def _usable(jwk: Mapping[str, Any]) -> SigningKey | None:
    kid = jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        return None
    try:
        key = SigningKey(jwk)
        if len(key.algorithms) == 1:
            return key
        return SigningKey({**jwk, "alg": key.algorithms[0]})
    except InvalidRequest:
        return None
