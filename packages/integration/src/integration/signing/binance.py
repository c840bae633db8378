"""How Binance wants requests signed (spot, USD-M and COIN-M alike).

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/request-security

* signed: the query, then the body, nothing between them;
* added before: `recvWindow` and `timestamp` (ms); after: `signature`, last;
* the parameters are added where the request has its own: to a form body, or else to
  the query;
* HMAC-SHA256 in hex, or Ed25519 or RSA in base64.
"""

from collections.abc import Mapping
from typing import Any, final

from integration.rest.encoder import Base64Encoder, Encoder, HexEncoder
from integration.rest.prepared import (
    PreparedRequest,
    decode_query,
    parameter_text,
)
from integration.rest.request import RestRequest
from integration.rest.signer import HmacKey, Mac, RequestSigner
from integration.signing.credentials import Stamped
from netcore.clock import Clock

__all__ = ["BinanceSigner", "prehash", "request_signer", "signed_params", "ws_prehash"]

RECV_WINDOW_MS = 5_000
"""What the venue takes if nothing is said; it admits up to 60 000."""


def prehash(query: bytes, body: bytes) -> bytes:
    """Return what is signed: the query without `?`, then the body."""
    return query + body


def ws_prehash(params: Mapping[str, object]) -> bytes:
    """Return what is signed on the WebSocket API: all parameters, sorted by name.

    `apiKey` and `timestamp` are among them, `signature` is not.
    """
    pairs = sorted(params.items())
    return "&".join(f"{k}={parameter_text(v)}" for k, v in pairs).encode()


def signed_params(
    params: Mapping[str, object],
    *,
    key: str,
    mac: Mac,
    timestamp_ms: int,
    encoder: Encoder | None = None,
) -> dict[str, object]:
    """Return the parameters of a WebSocket API request, signed.

    Args:
        params: The request's own parameters; none for `session.logon`.
        key: The API key.
        mac: What signs; `session.logon` takes Ed25519 keys only.
        timestamp_ms: The venue's time.
        encoder: Hex for HMAC (the default), base64 for the others.
    """
    # JSON would write a small Decimal with an exponent, and the venue reads what it
    # gets: what is signed as text is sent as that text.
    spelled = {
        name: value if isinstance(value, str | int) else parameter_text(value)
        for name, value in params.items()
    }
    whole = {**spelled, "apiKey": key, "timestamp": timestamp_ms}
    signature = mac.sign(ws_prehash(whole))
    return {**whole, "signature": (encoder or HexEncoder()).encode(signature)}


@final
class BinanceSigner:
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
        """Add the receive window and the time, unless the request brings its own."""
        del request
        stamp = str(self._clock.now_ns() // 1_000_000)
        more = {"recvWindow": self._recv_window_ms, "timestamp": stamp}
        own = dict(decode_query(prepared.query) + decode_query(prepared.body))
        missing = {name: value for name, value in more.items() if name not in own}
        return Stamped(own.get("timestamp", stamp), _added(prepared, missing))

    def bytes_to_sign(self, config: Stamped) -> bytes:
        """Return query and body."""
        prepared = config.prepared
        return prehash(prepared.query.encode("ascii"), prepared.content)

    def build_signed_request(
        self, config: Stamped, prepared: PreparedRequest, signature: str
    ) -> PreparedRequest:
        """Append the signature and name the key."""
        del prepared
        signed = _added(config.prepared, {"signature": signature})
        return signed.with_headers({"X-MBX-APIKEY": self._key}).with_secrets(self._key)


def request_signer(
    key: str, mac: Mac | str, clock: Clock, *, recv_window_ms: int = RECV_WINDOW_MS
) -> RequestSigner[Stamped]:
    """Return the strategy for signed endpoints.

    Args:
        key: The API key.
        mac: The secret of an HMAC key, or an `Ed25519Key` or `RsaKey`.
        clock: The venue's time.
        recv_window_ms: How old a request may be when it arrives.
    """
    signer = BinanceSigner(key, clock, recv_window_ms=recv_window_ms)
    if isinstance(mac, str):
        return RequestSigner(signer, HmacKey(mac))
    encoder: Encoder = HexEncoder() if isinstance(mac, HmacKey) else Base64Encoder()
    return RequestSigner(signer, mac, encoder=encoder)


def _added(prepared: PreparedRequest, params: Mapping[str, object]) -> PreparedRequest:
    return (
        prepared.with_form(params) if prepared.content else prepared.with_query(params)
    )
