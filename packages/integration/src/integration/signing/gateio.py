"""How Gate.io's version 4 wants requests signed.

https://www.gate.com/docs/developers/apiv4/en/#apiv4-signed-request-requirements

* signed, a line each: method, path, query, SHA-512 of the body in hex, time (s);
* HMAC-SHA512 in hex, in `SIGN`;
* on the WebSocket, `channel=...&event=...&time=...` is signed.
"""

import hashlib
from typing import Any, final

from integration.rest.prepared import PreparedRequest
from integration.rest.request import RestRequest
from integration.rest.signer import HmacKey, RequestSigner
from integration.signing.credentials import Credentials, Stamped
from netcore.clock import Clock

__all__ = ["GateioSigner", "auth_field", "prehash", "request_signer", "ws_prehash"]


def prehash(method: str, path: str, query: str, body: bytes, timestamp_s: str) -> bytes:
    """Return what is signed."""
    digest = hashlib.sha512(body).hexdigest()
    return "\n".join((method, path, query, digest, timestamp_s)).encode()


def ws_prehash(channel: str, event: str, timestamp_s: int) -> bytes:
    """Return what is signed for a private channel."""
    return f"channel={channel}&event={event}&time={timestamp_s}".encode()


def auth_field(
    credentials: Credentials, channel: str, event: str, timestamp_s: int
) -> dict[str, Any]:
    """Return the `auth` field of a subscription to a private channel."""
    message = ws_prehash(channel, event, timestamp_s)
    signature = HmacKey(credentials.secret, "sha512").sign(message).hex()
    return {"method": "api_key", "KEY": credentials.key, "SIGN": signature}


@final
class GateioSigner:
    """The recipe for REST.

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
        """Return method, path, query, body's hash and time."""
        sent = config.prepared
        return prehash(sent.method, sent.path, sent.query, sent.content, config.stamp)

    def build_signed_request(
        self, config: Stamped, prepared: PreparedRequest, signature: str
    ) -> PreparedRequest:
        """Add the three headers."""
        return prepared.with_headers(
            {"KEY": self._key, "Timestamp": config.stamp, "SIGN": signature}
        ).with_secrets(self._key)


def request_signer(credentials: Credentials, clock: Clock) -> RequestSigner[Stamped]:
    """Return the strategy for private endpoints."""
    signer = GateioSigner(credentials.key, clock)
    return RequestSigner(signer, HmacKey(credentials.secret, "sha512"))
