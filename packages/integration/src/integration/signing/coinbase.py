"""How Coinbase Exchange wants requests signed.

https://docs.cdp.coinbase.com/exchange/docs/rest-auth

* signed: time (s), method, path with query, body;
* the secret is base64; HMAC-SHA256 in base64, in `CB-ACCESS-SIGN`;
* a subscription to private channels carries the same signature over a fixed path.
"""

from typing import Any, final

from integration.rest.encoder import Base64Encoder
from integration.rest.prepared import PreparedRequest
from integration.rest.request import RestRequest
from integration.rest.signer import HmacKey, RequestSigner
from integration.signing.credentials import Credentials, Stamped, secret_from_base64
from netcore.clock import Clock

__all__ = ["CoinbaseSigner", "prehash", "request_signer", "subscribe_fields"]


def prehash(timestamp_s: str, method: str, target: bytes, body: bytes) -> bytes:
    """Return what is signed; `target` is the path with its query."""
    return f"{timestamp_s}{method}".encode() + target + body


def subscribe_fields(credentials: Credentials, timestamp_s: int) -> dict[str, Any]:
    """Return the fields that authenticate a `subscribe` message."""
    stamp = str(timestamp_s)
    raw = HmacKey(secret_from_base64(credentials.secret)).sign(
        prehash(stamp, "GET", b"/users/self/verify", b"")
    )
    return {
        "signature": Base64Encoder().encode(raw),
        "key": credentials.key,
        "passphrase": credentials.passphrase,
        "timestamp": stamp,
    }


@final
class CoinbaseSigner:
    """The recipe for REST.

    Args:
        credentials: Key and passphrase (the secret is not used here).
        clock: The venue's time.
    """

    def __init__(self, credentials: Credentials, clock: Clock) -> None:
        self._credentials = credentials
        self._clock = clock

    def config(self, request: RestRequest[Any], prepared: PreparedRequest) -> Stamped:
        """Take the time."""
        del request
        return Stamped(str(self._clock.now_ns() // 1_000_000_000), prepared)

    def bytes_to_sign(self, config: Stamped) -> bytes:
        """Return time, method, target and body."""
        prepared = config.prepared
        return prehash(
            config.stamp, prepared.method, prepared.raw_path, prepared.content
        )

    def build_signed_request(
        self, config: Stamped, prepared: PreparedRequest, signature: str
    ) -> PreparedRequest:
        """Add the headers."""
        key, passphrase = self._credentials.key, self._credentials.passphrase
        return prepared.with_headers(
            {
                "CB-ACCESS-KEY": key,
                "CB-ACCESS-SIGN": signature,
                "CB-ACCESS-TIMESTAMP": config.stamp,
                "CB-ACCESS-PASSPHRASE": passphrase,
            }
        ).with_secrets(key, passphrase)


def request_signer(credentials: Credentials, clock: Clock) -> RequestSigner[Stamped]:
    """Return the strategy for private endpoints.

    Raises:
        Signing: The secret is not base64.
    """
    key = HmacKey(secret_from_base64(credentials.secret))
    signer = CoinbaseSigner(credentials, clock)
    return RequestSigner(signer, key, encoder=Base64Encoder())
