"""How OKX's version 5 wants requests signed.

https://www.okx.com/docs-v5/en/#overview-rest-authentication

* signed: time (ISO 8601 with ms and Z), method, path with query, body;
* HMAC-SHA256 in base64, in `OK-ACCESS-SIGN`; the passphrase travels along;
* the private stream signs the time in seconds and a fixed path.
"""

from datetime import UTC, datetime
from typing import Any, final

from integration.rest.encoder import Base64Encoder
from integration.rest.prepared import PreparedRequest
from integration.rest.request import RestRequest
from integration.rest.signer import HmacKey, RequestSigner
from integration.signing.credentials import Credentials, Stamped
from netcore.clock import Clock

__all__ = [
    "OkxSigner",
    "iso_ms",
    "login_message",
    "prehash",
    "request_signer",
    "ws_prehash",
]


def iso_ms(time_ns: int) -> str:
    """Return a moment as the venue writes it, `2020-12-08T09:08:57.715Z`."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def prehash(timestamp: str, method: str, target: bytes, body: bytes) -> bytes:
    """Return what is signed; `target` is the path with its query."""
    return f"{timestamp}{method}".encode() + target + body


def ws_prehash(timestamp_s: int) -> bytes:
    """Return what is signed on the private stream."""
    return f"{timestamp_s}GET/users/self/verify".encode()


def login_message(credentials: Credentials, timestamp_s: int) -> dict[str, Any]:
    """Return the first message on the private stream.

    Args:
        credentials: Key, secret and passphrase.
        timestamp_s: The venue's time; it may be 30 s off.
    """
    raw = HmacKey(credentials.secret).sign(ws_prehash(timestamp_s))
    login = {
        "apiKey": credentials.key,
        "passphrase": credentials.passphrase,
        "timestamp": str(timestamp_s),
        "sign": Base64Encoder().encode(raw),
    }
    return {"op": "login", "args": [login]}


@final
class OkxSigner:
    """The recipe for REST.

    Args:
        credentials: Key and passphrase (the secret is not used here).
        clock: The venue's time.
        demo: Whether the account is a demo account.
    """

    def __init__(
        self, credentials: Credentials, clock: Clock, *, demo: bool = False
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._demo = demo

    def config(self, request: RestRequest[Any], prepared: PreparedRequest) -> Stamped:
        """Take the time."""
        del request
        return Stamped(iso_ms(self._clock.now_ns()), prepared)

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
        fields = {
            "OK-ACCESS-KEY": key,
            "OK-ACCESS-SIGN": signature,
            "OK-ACCESS-TIMESTAMP": config.stamp,
            "OK-ACCESS-PASSPHRASE": passphrase,
        }
        if self._demo:
            fields["x-simulated-trading"] = "1"
        return prepared.with_headers(fields).with_secrets(key, passphrase)


def request_signer(
    credentials: Credentials, clock: Clock, *, demo: bool = False
) -> RequestSigner[Stamped]:
    """Return the strategy for private endpoints."""
    signer = OkxSigner(credentials, clock, demo=demo)
    return RequestSigner(signer, HmacKey(credentials.secret), encoder=Base64Encoder())
