"""How Deribit wants requests signed.

https://docs.deribit.com/#authentication

* on the WebSocket, `public/auth` with `client_signature` signs, a line each: time
  (ms), nonce, data;
* over HTTP the data are method, path with query and body, a line each, and the
  result goes into `Authorization: deri-hmac-sha256`;
* HMAC-SHA256 in hex.
"""

import secrets
from collections.abc import Callable
from typing import Any, final

import msgspec

from integration.rest.prepared import PreparedRequest
from integration.rest.request import RestRequest
from integration.rest.signer import HmacKey, RequestSigner
from integration.signing.credentials import Credentials
from netcore.clock import Clock

__all__ = [
    "DeribitConfig",
    "DeribitSigner",
    "auth_params",
    "prehash",
    "request_data",
    "request_signer",
]


def prehash(timestamp_ms: str, nonce: str, data: bytes) -> bytes:
    """Return what is signed."""
    return f"{timestamp_ms}\n{nonce}\n".encode() + data


def request_data(method: str, target: bytes, body: bytes) -> bytes:
    """Return the data of an HTTP request; `target` is the path with its query."""
    return method.encode() + b"\n" + target + b"\n" + body + b"\n"


def auth_params(
    credentials: Credentials, *, timestamp_ms: int, nonce: str, data: str = ""
) -> dict[str, Any]:
    """Return the parameters of `public/auth` on the WebSocket."""
    message = prehash(str(timestamp_ms), nonce, data.encode())
    return {
        "grant_type": "client_signature",
        "client_id": credentials.key,
        "timestamp": timestamp_ms,
        "signature": HmacKey(credentials.secret).sign(message).hex(),
        "nonce": nonce,
        "data": data,
    }


class DeribitConfig(msgspec.Struct, frozen=True):
    """What one signature depends on."""

    timestamp_ms: str
    nonce: str
    prepared: PreparedRequest


@final
class DeribitSigner:
    """The recipe for HTTP.

    Args:
        key: The client id.
        clock: The venue's time.
        nonce: Makes a text that does not repeat.
    """

    def __init__(self, key: str, clock: Clock, nonce: Callable[[], str]) -> None:
        self._key = key
        self._clock = clock
        self._nonce = nonce

    def config(
        self, request: RestRequest[Any], prepared: PreparedRequest
    ) -> DeribitConfig:
        """Take the time and a nonce."""
        del request
        stamp = str(self._clock.now_ns() // 1_000_000)
        return DeribitConfig(stamp, self._nonce(), prepared)

    def bytes_to_sign(self, config: DeribitConfig) -> bytes:
        """Return time, nonce and the request's data."""
        sent = config.prepared
        data = request_data(sent.method, sent.raw_path, sent.content)
        return prehash(config.timestamp_ms, config.nonce, data)

    def build_signed_request(
        self, config: DeribitConfig, prepared: PreparedRequest, signature: str
    ) -> PreparedRequest:
        """Add the header."""
        value = (
            f"deri-hmac-sha256 id={self._key},ts={config.timestamp_ms},"
            f"sig={signature},nonce={config.nonce}"
        )
        return prepared.with_headers({"Authorization": value}).with_secrets(self._key)


def request_signer(
    credentials: Credentials,
    clock: Clock,
    *,
    nonce: Callable[[], str] = lambda: secrets.token_hex(8),
) -> RequestSigner[DeribitConfig]:
    """Return the strategy for private endpoints over HTTP."""
    signer = DeribitSigner(credentials.key, clock, nonce)
    return RequestSigner(signer, HmacKey(credentials.secret))
