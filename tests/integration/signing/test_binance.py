import base64
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from integration.errors import UrlEncoded
from integration.rest import Base64Encoder, RestRequest, prepare
from integration.signing import Ed25519Key, RsaKey, binance
from netcore.clock import ManualClock


class Account(RestRequest[Any], frozen=True):
    response_type: ClassVar[Any] = Any

    def path(self):
        return "/api/v3/account"


class JsonOrder(Account, frozen=True):
    method: ClassVar[str] = "POST"

    def body(self):
        return {"symbol": "LTCBTC"}


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def signature_of(signed):
    rest, _, signature = signed.query.rpartition("&signature=")
    return rest.encode(), base64.b64decode(unquote(signature), validate=True)


CLOCK = ManualClock(now_ns=1_700_000_000_000_000_000)


def test_ed25519_keys_sign_in_base64_url_encoded():
    key = ed25519.Ed25519PrivateKey.generate()
    strategy = binance.request_signer("k", Ed25519Key(pem(key)), CLOCK)

    signed = strategy.build(Account(), prepare("https://x", Account()))

    message, signature = signature_of(signed)
    key.public_key().verify(signature, message)
    assert message == b"recvWindow=5000&timestamp=1700000000000"


def test_rsa_keys_sign_in_base64_url_encoded():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    strategy = binance.request_signer("k", RsaKey(pem(key)), CLOCK)

    signed = strategy.build(Account(), prepare("https://x", Account()))

    message, signature = signature_of(signed)
    key.public_key().verify(signature, message, padding.PKCS1v15(), SHA256())
    assert not set(signed.query) & set("+/ ")


def test_a_session_is_logged_on_by_ed25519():
    key = ed25519.Ed25519PrivateKey.generate()

    params = binance.signed_params(
        {},
        key="k",
        mac=Ed25519Key(pem(key)),
        timestamp_ms=1_649_729_878_532,
        encoder=Base64Encoder(),
    )

    signature = base64.b64decode(params["signature"])
    key.public_key().verify(signature, b"apiKey=k&timestamp=1649729878532")
    assert params["timestamp"] == 1_649_729_878_532


def test_the_receive_window_can_be_chosen():
    strategy = binance.request_signer("k", "s", CLOCK, recv_window_ms=100)

    signed = strategy.build(Account(), prepare("https://x", Account()))

    assert signed.query.startswith("recvWindow=100&")


def test_a_request_may_bring_its_own_time_and_window():
    strategy = binance.request_signer("k", "s", CLOCK)
    own = prepare("https://x", Account()).with_query(
        {"timestamp": 7, "recvWindow": 60_000}
    )

    signed = strategy.build(Account(), own)

    assert signed.query.startswith("timestamp=7&recvWindow=60000&signature=")


def test_a_body_that_is_no_form_cannot_be_signed():
    strategy = binance.request_signer("k", "s", CLOCK)

    with pytest.raises(UrlEncoded, match="application/json"):
        strategy.build(JsonOrder(), prepare("https://x", JsonOrder()))
