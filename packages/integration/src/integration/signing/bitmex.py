"""How BitMEX wants requests signed.

https://www.bitmex.com/app/apiKeysUsage

* signed: method, path with query, expiry (s), body;
* HMAC-SHA256 in hex, in `api-signature`;
* on the WebSocket, `GET/realtime` and the expiry are signed.
"""

from typing import Any, final

from integration.rest.prepared import PreparedRequest
from integration.rest.request import RestRequest
from integration.rest.signer import HmacKey, RequestSigner
from integration.signing.credentials import Credentials, Stamped
from netcore.clock import Clock

__all__ = ["BitmexSigner", "auth_message", "prehash", "request_signer"]

LIFETIME_S = 60
"""How long a request stays valid; the documentation's own examples allow as much."""


def prehash(method: str, target: bytes, expires_s: str, body: bytes) -> bytes:
    """Return what is signed; `target` is the path with its query."""
    return method.encode() + target + expires_s.encode() + body


def auth_message(credentials: Credentials, expires_s: int) -> dict[str, Any]:
    """Return the message that authenticates a WebSocket."""
    message = prehash("GET", b"/realtime", str(expires_s), b"")
    signature = HmacKey(credentials.secret).sign(message).hex()
    return {"op": "authKeyExpires", "args": [credentials.key, expires_s, signature]}


@final
class BitmexSigner:
    """The recipe for REST.

    Args:
        key: The API key.
        clock: The venue's time.
        lifetime_s: How long a request stays valid.
    """

    def __init__(self, key: str, clock: Clock, *, lifetime_s: int = LIFETIME_S) -> None:
        self._key = key
        self._clock = clock
        self._lifetime_s = lifetime_s

    def config(self, request: RestRequest[Any], prepared: PreparedRequest) -> Stamped:
        """Set the expiry."""
        del request
        expires = self._clock.now_ns() // 1_000_000_000 + self._lifetime_s
        return Stamped(str(expires), prepared)

    def bytes_to_sign(self, config: Stamped) -> bytes:
        """Return method, target, expiry and body."""
        sent = config.prepared
        return prehash(sent.method, sent.raw_path, config.stamp, sent.content)

    def build_signed_request(
        self, config: Stamped, prepared: PreparedRequest, signature: str
    ) -> PreparedRequest:
        """Add the three headers."""
        return prepared.with_headers(
            {
                "api-key": self._key,
                "api-expires": config.stamp,
                "api-signature": signature,
            }
        ).with_secrets(self._key)


def request_signer(
    credentials: Credentials, clock: Clock, *, lifetime_s: int = LIFETIME_S
) -> RequestSigner[Stamped]:
    """Return the strategy for private endpoints."""
    signer = BitmexSigner(credentials.key, clock, lifetime_s=lifetime_s)
    return RequestSigner(signer, HmacKey(credentials.secret))
