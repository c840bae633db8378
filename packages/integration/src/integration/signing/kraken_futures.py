"""How Kraken Futures wants requests signed.

https://docs.kraken.com/api/docs/guides/futures-rest

* signed: SHA-256 of parameters (query and body as sent), nonce, and the path without
  its `/derivatives`;
* the secret is base64; HMAC-SHA512 in base64, in `Authent`;
* on the WebSocket, SHA-256 of the challenge is signed.
"""

import hashlib
from collections.abc import Callable
from typing import Any, final

from integration.rest.encoder import Base64Encoder
from integration.rest.prepared import PreparedRequest
from integration.rest.request import RestRequest
from integration.rest.signer import HmacKey, RequestSigner
from integration.signing.credentials import (
    Credentials,
    Nonces,
    Stamped,
    secret_from_base64,
)
from netcore.clock import Clock

__all__ = [
    "KrakenFuturesSigner",
    "challenge_prehash",
    "prehash",
    "request_signer",
    "signed_challenge",
]


def prehash(parameters: bytes, nonce: str, path: str) -> bytes:
    """Return what is signed; the path may come with or without `/derivatives`."""
    endpoint = path.removeprefix("/derivatives").encode("ascii")
    return hashlib.sha256(parameters + nonce.encode() + endpoint).digest()


def challenge_prehash(challenge: str) -> bytes:
    """Return what is signed of a WebSocket challenge."""
    return hashlib.sha256(challenge.encode()).digest()


def signed_challenge(credentials: Credentials, challenge: str) -> str:
    """Return the `signed_challenge` of a private subscription.

    Raises:
        Signing: The secret is not base64.
    """
    key = HmacKey(secret_from_base64(credentials.secret), "sha512")
    return Base64Encoder().encode(key.sign(challenge_prehash(challenge)))


@final
class KrakenFuturesSigner:
    """The recipe for REST.

    Args:
        key: The API key.
        nonce: Makes a number larger than any before, for this key.
    """

    def __init__(self, key: str, nonce: Callable[[], int]) -> None:
        self._key = key
        self._nonce = nonce

    def config(self, request: RestRequest[Any], prepared: PreparedRequest) -> Stamped:
        """Take a nonce."""
        del request
        return Stamped(str(self._nonce()), prepared)

    def bytes_to_sign(self, config: Stamped) -> bytes:
        """Return the hash of parameters, nonce and path."""
        prepared = config.prepared
        parameters = prepared.query.encode("ascii") + prepared.content
        return prehash(parameters, config.stamp, prepared.path)

    def build_signed_request(
        self, config: Stamped, prepared: PreparedRequest, signature: str
    ) -> PreparedRequest:
        """Add the three headers."""
        return prepared.with_headers(
            {"APIKey": self._key, "Nonce": config.stamp, "Authent": signature}
        ).with_secrets(self._key)


def request_signer(
    credentials: Credentials, clock: Clock, *, nonce: Callable[[], int] | None = None
) -> RequestSigner[Stamped]:
    """Return the strategy for private endpoints.

    Args:
        credentials: Key and secret.
        clock: Where nonces come from: milliseconds, and never the same twice.
        nonce: Makes them instead; one per key, shared by all who use the key.

    Raises:
        Signing: The secret is not base64.
    """
    signer = KrakenFuturesSigner(credentials.key, nonce or Nonces(clock, 1_000_000))
    key = HmacKey(secret_from_base64(credentials.secret), "sha512")
    return RequestSigner(signer, key, encoder=Base64Encoder())
