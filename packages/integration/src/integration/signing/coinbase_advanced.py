"""How Coinbase Advanced Trade wants requests signed.

https://docs.cdp.coinbase.com/coinbase-app/authentication-authorization/api-key-authentication

Keys of the developer platform sign a JSON Web Token per request:

* header: `alg` (ES256 or EdDSA), `kid` (the key's name), `nonce`, `typ`;
* claims: `iss` cdp, `sub` (the key's name), `nbf`, `exp` two minutes later, `uri`
  (`METHOD host/path`, left out on the WebSocket);
* sent as `Authorization: Bearer`, or as `jwt` in a subscription.

Legacy keys sign time (s), method, path without query and body by HMAC-SHA256 in hex.
"""

import base64
import secrets
from collections.abc import Callable, Sequence
from typing import Any, final

import msgspec

from integration.errors import Signing
from integration.rest.prepared import PreparedRequest
from integration.rest.request import RestRequest
from integration.rest.signer import HmacKey, Mac, RequestSigner
from integration.signing.credentials import Credentials, Stamped
from integration.signing.keys import Ed25519Key, Es256Key
from netcore.clock import Clock

__all__ = [
    "Base64UrlEncoder",
    "CoinbaseJwtSigner",
    "JwtConfig",
    "LegacySigner",
    "legacy_prehash",
    "legacy_request_signer",
    "legacy_ws_fields",
    "legacy_ws_prehash",
    "request_signer",
    "signing_input",
    "websocket_jwt",
]

LIFETIME_S = 120
"""How long a token is valid; the venue takes no longer ones."""


@final
class Base64UrlEncoder:
    """The URL-safe alphabet without padding (RFC 7515 §2)."""

    def encode(self, data: bytes) -> str:
        """Return the text form of `data`."""
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


class JwtConfig(msgspec.Struct, frozen=True):
    """What one token says."""

    name: str
    algorithm: str
    nonce: str
    not_before_s: int
    uri: str | None


def signing_input(config: JwtConfig) -> bytes:
    """Return what is signed: header and claims, encoded (RFC 7515 §5.1)."""
    header = {
        "alg": config.algorithm,
        "kid": config.name,
        "nonce": config.nonce,
        "typ": "JWT",
    }
    claims: dict[str, Any] = {
        "iss": "cdp",
        "sub": config.name,
        "nbf": config.not_before_s,
        "exp": config.not_before_s + LIFETIME_S,
    }
    if config.uri is not None:
        claims["uri"] = config.uri
    encode = Base64UrlEncoder().encode
    parts = (encode(msgspec.json.encode(part)) for part in (header, claims))
    return ".".join(parts).encode("ascii")


@final
class CoinbaseJwtSigner:
    """The recipe for REST with keys of the developer platform.

    Args:
        name: The key's name, `organizations/.../apiKeys/...`.
        algorithm: `ES256` or `EdDSA`.
        clock: The venue's time.
        nonce: Makes a text that does not repeat.
    """

    def __init__(
        self,
        name: str,
        algorithm: str,
        clock: Clock,
        *,
        nonce: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._name = name
        self._algorithm = algorithm
        self._clock = clock
        self._nonce = nonce

    def config(self, request: RestRequest[Any], prepared: PreparedRequest) -> JwtConfig:
        """Say for which request, and from when on."""
        del request
        return self._config(f"{prepared.method} {prepared.host}{prepared.path}")

    def websocket_config(self) -> JwtConfig:
        """Say from when on; a WebSocket has no URI."""
        return self._config(None)

    def bytes_to_sign(self, config: JwtConfig) -> bytes:
        """Return header and claims, encoded."""
        return signing_input(config)

    def build_signed_request(
        self, config: JwtConfig, prepared: PreparedRequest, signature: str
    ) -> PreparedRequest:
        """Add the token."""
        token = f"{signing_input(config).decode('ascii')}.{signature}"
        return prepared.with_headers({"Authorization": f"Bearer {token}"}).with_secrets(
            token, self._name
        )

    def _config(self, uri: str | None) -> JwtConfig:
        now_s = self._clock.now_ns() // 1_000_000_000
        return JwtConfig(self._name, self._algorithm, self._nonce(), now_s, uri)


def request_signer(
    name: str,
    key: Es256Key | Ed25519Key,
    clock: Clock,
    *,
    nonce: Callable[[], str] = lambda: secrets.token_hex(16),
) -> RequestSigner[JwtConfig]:
    """Return the strategy for private endpoints.

    Args:
        name: The key's name.
        key: The private key.
        clock: The venue's time.
        nonce: Makes a text that does not repeat.
    """
    signer = CoinbaseJwtSigner(name, _algorithm(key), clock, nonce=nonce)
    return RequestSigner(signer, key, encoder=Base64UrlEncoder())


def websocket_jwt(
    name: str,
    key: Es256Key | Ed25519Key,
    clock: Clock,
    *,
    nonce: Callable[[], str] = lambda: secrets.token_hex(16),
) -> str:
    """Return the token for the `jwt` field of a subscription."""
    signer = CoinbaseJwtSigner(name, _algorithm(key), clock, nonce=nonce)
    message = signing_input(signer.websocket_config())
    return f"{message.decode('ascii')}.{Base64UrlEncoder().encode(key.sign(message))}"


def legacy_prehash(timestamp_s: str, method: str, path: str, body: bytes) -> bytes:
    """Return what legacy keys sign; the path comes without its query."""
    return f"{timestamp_s}{method}{path}".encode() + body


def legacy_ws_prehash(
    timestamp_s: int, channel: str, product_ids: Sequence[str]
) -> bytes:
    """Return what legacy keys sign on the WebSocket."""
    return f"{timestamp_s}{channel}{','.join(product_ids)}".encode()


def legacy_ws_fields(
    credentials: Credentials,
    timestamp_s: int,
    channel: str,
    product_ids: Sequence[str],
) -> dict[str, Any]:
    """Return the fields that authenticate a `subscribe` message of a legacy key."""
    message = legacy_ws_prehash(timestamp_s, channel, product_ids)
    return {
        "api_key": credentials.key,
        "timestamp": str(timestamp_s),
        "signature": HmacKey(credentials.secret).sign(message).hex(),
    }


@final
class LegacySigner:
    """The recipe for REST with legacy keys.

    Args:
        key: The API key.
        clock: The venue's time.
    """

    def __init__(self, key: str, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def config(self, request: RestRequest[Any], prepared: PreparedRequest) -> Stamped:
        """Take the time."""
        del request
        return Stamped(str(self._clock.now_ns() // 1_000_000_000), prepared)

    def bytes_to_sign(self, config: Stamped) -> bytes:
        """Return time, method, path and body."""
        prepared = config.prepared
        return legacy_prehash(
            config.stamp, prepared.method, prepared.path, prepared.content
        )

    def build_signed_request(
        self, config: Stamped, prepared: PreparedRequest, signature: str
    ) -> PreparedRequest:
        """Add the headers."""
        return prepared.with_headers(
            {
                "CB-ACCESS-KEY": self._key,
                "CB-ACCESS-SIGN": signature,
                "CB-ACCESS-TIMESTAMP": config.stamp,
            }
        ).with_secrets(self._key)


def legacy_request_signer(
    credentials: Credentials, clock: Clock
) -> RequestSigner[Stamped]:
    """Return the strategy for private endpoints with legacy keys."""
    signer = LegacySigner(credentials.key, clock)
    return RequestSigner(signer, HmacKey(credentials.secret))


def _algorithm(key: Mac) -> str:
    match key:
        case Es256Key():
            return "ES256"
        case Ed25519Key():
            return "EdDSA"
        case _:
            raise Signing(
                f"a token is signed by an Es256Key or Ed25519Key, was {type(key)}"
            )
