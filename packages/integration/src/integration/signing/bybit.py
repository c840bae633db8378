"""How Bybit's version 5 wants requests signed.

https://bybit-exchange.github.io/docs/v5/guide#authentication

* signed: time (ms), key, receive window, then the query (GET) or the raw body (POST);
* HMAC-SHA256 in hex, in `X-BAPI-SIGN`.
"""

from typing import Any, final

from integration.rest.prepared import PreparedRequest
from integration.rest.request import RestRequest
from integration.rest.signer import HmacKey, RequestSigner
from integration.signing.credentials import Credentials, Stamped
from netcore.clock import Clock

__all__ = ["BybitSigner", "auth_message", "prehash", "request_signer", "ws_prehash"]

RECV_WINDOW_MS = 5_000
"""The venue's default."""


def prehash(timestamp_ms: str, key: str, recv_window_ms: int, payload: bytes) -> bytes:
    """Return what is signed; `payload` is the query or the body as sent."""
    return f"{timestamp_ms}{key}{recv_window_ms}".encode() + payload


def ws_prehash(expires_ms: int) -> bytes:
    """Return what is signed on the private stream."""
    return f"GET/realtime{expires_ms}".encode()


def auth_message(credentials: Credentials, expires_ms: int) -> dict[str, Any]:
    """Return the first message on the private stream.

    Args:
        credentials: Key and secret.
        expires_ms: Until when it may arrive, ms since epoch.
    """
    signature = HmacKey(credentials.secret).sign(ws_prehash(expires_ms)).hex()
    return {"op": "auth", "args": [credentials.key, expires_ms, signature]}


@final
class BybitSigner:
    """The recipe for REST.

    Args:
        key: The API key.
        clock: The venue's time.
        recv_window_ms: How old a request may be when it arrives.
    """

    def __init__(
        self, key: str, clock: Clock, *, recv_window_ms: int = RECV_WINDOW_MS
    ) -> None:
        self._key = key
        self._clock = clock
        self._recv_window_ms = recv_window_ms

    def config(self, request: RestRequest[Any], prepared: PreparedRequest) -> Stamped:
        """Take the time."""
        del request
        return Stamped(str(self._clock.now_ns() // 1_000_000), prepared)

    def bytes_to_sign(self, config: Stamped) -> bytes:
        """Return time, key, window and payload."""
        prepared = config.prepared
        payload = prepared.content or prepared.query.encode("ascii")
        return prehash(config.stamp, self._key, self._recv_window_ms, payload)

    def build_signed_request(
        self, config: Stamped, prepared: PreparedRequest, signature: str
    ) -> PreparedRequest:
        """Add the four headers."""
        return prepared.with_headers(
            {
                "X-BAPI-API-KEY": self._key,
                "X-BAPI-TIMESTAMP": config.stamp,
                "X-BAPI-RECV-WINDOW": str(self._recv_window_ms),
                "X-BAPI-SIGN": signature,
            }
        ).with_secrets(self._key)


def request_signer(
    credentials: Credentials, clock: Clock, *, recv_window_ms: int = RECV_WINDOW_MS
) -> RequestSigner[Stamped]:
    """Return the strategy for private endpoints."""
    signer = BybitSigner(credentials.key, clock, recv_window_ms=recv_window_ms)
    return RequestSigner(signer, HmacKey(credentials.secret))
