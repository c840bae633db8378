import base64
import json
from typing import Any, ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from integration.errors import Signing
from integration.rest import HmacKey, RestRequest, prepare
from integration.signing import Ed25519Key, Es256Key, coinbase_advanced
from netcore.clock import ManualClock

NAME = "organizations/1/apiKeys/2"
NOW_S = 1_700_000_000
CLOCK = ManualClock(now_ns=NOW_S * 1_000_000_000 + 999_999_999)
BASE = "https://api.coinbase.com"


class Accounts(RestRequest[Any], frozen=True):
    response_type: ClassVar[Any] = Any

    def path(self):
        return "/api/v3/brokerage/accounts"

    def query_params(self):
        return {"limit": 9}


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


P256 = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
KEYS = [(Es256Key, P256, "ES256"), (Ed25519Key, ED25519, "EdDSA")]


@pytest.mark.parametrize(("kind", "key", "algorithm"), KEYS)
def test_another_library_accepts_the_token(kind, key, algorithm):
    jwt = pytest.importorskip("jwt")
    strategy = coinbase_advanced.request_signer(NAME, kind(pem(key)), CLOCK)

    signed = strategy.build(Accounts(), prepare(BASE, Accounts()))

    scheme, _, token = signed.header("Authorization").partition(" ")
    claims = jwt.decode(
        token,
        key.public_key(),
        algorithms=[algorithm],
        options={"verify_exp": False, "verify_nbf": False},
    )
    assert scheme == "Bearer"
    assert claims == {
        "iss": "cdp",
        "sub": NAME,
        "nbf": NOW_S,
        "exp": NOW_S + 120,
        "uri": "GET api.coinbase.com/api/v3/brokerage/accounts",
    }
    header = jwt.get_unverified_header(token)
    assert (header["alg"], header["kid"], header["typ"]) == (algorithm, NAME, "JWT")
    assert len(header["nonce"]) == 32


def test_the_nonce_differs_from_request_to_request():
    strategy = coinbase_advanced.request_signer(NAME, Ed25519Key(pem(ED25519)), CLOCK)
    prepared = prepare(BASE, Accounts())

    tokens = {
        strategy.build(Accounts(), prepared).header("authorization") for _ in "ab"
    }

    assert len(tokens) == 2


def test_a_websocket_token_names_no_uri():
    token = coinbase_advanced.websocket_jwt(
        NAME, Ed25519Key(pem(ED25519)), CLOCK, nonce=lambda: "n"
    )

    head, claims, signature = token.split(".")
    ED25519.public_key().verify(_unpadded(signature), f"{head}.{claims}".encode())
    assert json.loads(_unpadded(head)) == {
        "alg": "EdDSA",
        "kid": NAME,
        "nonce": "n",
        "typ": "JWT",
    }
    assert "uri" not in json.loads(_unpadded(claims))


def test_a_token_is_hidden():
    strategy = coinbase_advanced.request_signer(NAME, Ed25519Key(pem(ED25519)), CLOCK)

    signed = strategy.build(Accounts(), prepare(BASE, Accounts()))

    token = signed.header("Authorization").split()[1]
    assert token in signed.secrets
    assert token not in repr(signed)
    assert NAME not in repr(signed)


def test_a_shared_secret_signs_no_token():
    with pytest.raises(Signing, match="Es256Key or Ed25519Key"):
        coinbase_advanced.request_signer(NAME, HmacKey("s"), CLOCK)


def _unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
