"""How Kraken's spot REST API wants requests signed.

https://docs.kraken.com/api/docs/guides/spot-rest-auth

* added: `nonce`, growing, first in the form body;
* signed: the path, then SHA-256 of nonce and body;
* the secret is base64; HMAC-SHA512 in base64, in `API-Sign`.

The private WebSocket takes a token from `/0/private/GetWebSocketsToken` instead.
"""

import hashlib
from collections.abc import Callable
from typing import Any, final

from integration.rest.encoder import Base64Encoder
from integration.rest.prepared import PreparedRequest, decode_query
from integration.rest.request import RestRequest
from integration.rest.signer import HmacKey, RequestSigner
from integration.signing.credentials import (
    Credentials,
    Nonces,
    Stamped,
    secret_from_base64,
)
from netcore.clock import Clock

__all__ = ["KrakenSigner", "prehash", "request_signer"]


def prehash(path: str, nonce: str, body: bytes) -> bytes:
    """Return what is signed; `body` holds the nonce too."""
    return path.encode("ascii") + hashlib.sha256(nonce.encode() + body).digest()


@final
class KrakenSigner:
    """The recipe for REST.

    Args:
        key: The API key.
        nonce: Makes a number larger than any before, for this key.
    """

    def __init__(self, key: str, nonce: Callable[[], int]) -> None:
        self._key = key
        self._nonce = nonce

    def config(self, request: RestRequest[Any], prepared: PreparedRequest) -> Stamped:
        """Put a nonce before the parameters, unless the request brings its own."""
        del request
        own = dict(decode_query(prepared.body)).get("nonce")
        if own is not None:
            return Stamped(own, prepared)
        nonce = str(self._nonce())
        return Stamped(nonce, prepared.with_form({"nonce": nonce}, first=True))

    def bytes_to_sign(self, config: Stamped) -> bytes:
        """Return the path and the hash of nonce and body."""
        prepared = config.prepared
        return prehash(prepared.path, config.stamp, prepared.content)

    def build_signed_request(
        self, config: Stamped, prepared: PreparedRequest, signature: str
    ) -> PreparedRequest:
        """Add the two headers."""
        del prepared
        fields = {"API-Key": self._key, "API-Sign": signature}
        return config.prepared.with_headers(fields).with_secrets(self._key)


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
    signer = KrakenSigner(credentials.key, nonce or Nonces(clock, 1_000_000))
    key = HmacKey(secret_from_base64(credentials.secret), "sha512")
    return RequestSigner(signer, key, encoder=Base64Encoder())
