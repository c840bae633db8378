"""How Bitfinex's version 2 wants requests signed.

https://docs.bitfinex.com/docs/rest-auth

* signed: `/api`, the path, a growing nonce (microseconds), the body;
* HMAC-SHA384 in hex, in `bfx-signature`;
* on the WebSocket, `AUTH` and the nonce are signed.
"""

from collections.abc import Callable
from typing import Any, final

from integration.rest.prepared import PreparedRequest
from integration.rest.request import RestRequest
from integration.rest.signer import HmacKey, RequestSigner
from integration.signing.credentials import Credentials, Nonces, Stamped
from netcore.clock import Clock

__all__ = ["BitfinexSigner", "auth_message", "prehash", "request_signer", "ws_prehash"]


def prehash(path: str, nonce: str, body: bytes) -> bytes:
    """Return what is signed; `path` is `/v2/auth/...`."""
    return f"/api{path}{nonce}".encode() + body


def ws_prehash(nonce: int) -> bytes:
    """Return what is signed on the WebSocket."""
    return f"AUTH{nonce}".encode()


def auth_message(credentials: Credentials, nonce: int) -> dict[str, Any]:
    """Return the message that authenticates a WebSocket."""
    payload = ws_prehash(nonce)
    signature = HmacKey(credentials.secret, "sha384").sign(payload).hex()
    return {
        "event": "auth",
        "apiKey": credentials.key,
        "authSig": signature,
        "authPayload": payload.decode("ascii"),
        "authNonce": str(nonce),
    }


@final
class BitfinexSigner:
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
        """Return path, nonce and body."""
        prepared = config.prepared
        return prehash(prepared.path, config.stamp, prepared.content)

    def build_signed_request(
        self, config: Stamped, prepared: PreparedRequest, signature: str
    ) -> PreparedRequest:
        """Add the three headers."""
        return prepared.with_headers(
            {
                "bfx-nonce": config.stamp,
                "bfx-apikey": self._key,
                "bfx-signature": signature,
            }
        ).with_secrets(self._key)


def request_signer(
    credentials: Credentials, clock: Clock, *, nonce: Callable[[], int] | None = None
) -> RequestSigner[Stamped]:
    """Return the strategy for private endpoints.

    Args:
        credentials: Key and secret.
        clock: Where nonces come from: microseconds, and never the same twice.
        nonce: Makes them instead; one per key, shared by all who use the key.
    """
    signer = BitfinexSigner(credentials.key, nonce or Nonces(clock, 1_000))
    return RequestSigner(signer, HmacKey(credentials.secret, "sha384"))
