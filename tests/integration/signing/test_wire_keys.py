"""Keys with a public half: a loopback server that verifies what it received."""

import base64
import json
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.rest import BodyFormat, PlainParser, RestClient, RestRequest
from integration.rest.httpx_transport import HttpxTransport
from integration.rest.testing import loopback_server, response
from integration.signing import (
    Ed25519Key,
    Es256Key,
    RsaKey,
    binance,
    coinbase_advanced,
)
from netcore.clock import ManualClock

NOW_S = 1_700_000_000


class Get(RestRequest[Any], frozen=True):
    response_type: ClassVar[Any] = Any
    params: dict[str, Any]

    def path(self):
        return "/api/v3/some%20path"

    def query_params(self):
        return self.params


class Post(RestRequest[Any], frozen=True):
    method: ClassVar[str] = "POST"
    response_type: ClassVar[Any] = Any
    body_format: ClassVar[BodyFormat] = BodyFormat.FORM
    params: dict[str, Any]

    def path(self):
        return "/api/v3/some%20path"

    def body(self):
        return self.params


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


P256 = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)


def verify(public, signature, signed):
    """Raise InvalidSignature unless the private half signed these bytes."""
    match public:
        case ed25519.Ed25519PublicKey():
            public.verify(signature, signed)
        case rsa.RSAPublicKey():
            public.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePublicKey():
            r, s = (int.from_bytes(half) for half in (signature[:32], signature[32:]))
            der = encode_dss_signature(r, s)
            public.verify(der, signed, ec.ECDSA(hashes.SHA256()))


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def check_binance(received, public):
    """The signature is the last parameter, over all bytes before it."""
    _, _, query = received.target.partition(b"?")
    signed, _, signature = (received.content or query).rpartition(b"&signature=")
    verify(public, base64.b64decode(unquote_to_bytes(signature)), signed)
    assert b"timestamp=1700000000000" in signed


def check_coinbase(received, public):
    """The token names this very request, and no other."""
    scheme, _, token = received.headers["authorization"].partition(" ")
    signed, _, signature = token.rpartition(".")
    verify(public, unpadded(signature), signed.encode())
    claims = json.loads(unpadded(signed.split(".")[1]))
    path = received.target.partition(b"?")[0].decode()
    assert scheme == "Bearer"
    assert claims["uri"] == f"{received.method} {received.headers['host']}{path}"
    assert claims["nbf"] == NOW_S


def binance_signer(kind, key, clock):
    return binance.request_signer("k", kind(pem(key)), clock)


def coinbase_signer(kind, key, clock):
    return coinbase_advanced.request_signer("name", kind(pem(key)), clock)


PARAMS = st.dictionaries(
    st.from_regex(r"[A-Za-z]{1,8}", fullmatch=True),
    st.one_of(st.text(st.characters(codec="utf-8"), max_size=12), st.integers()),
)


@pytest.mark.parametrize(
    ("make", "kind", "key", "check"),
    [
        (binance_signer, Ed25519Key, ED25519, check_binance),
        (binance_signer, RsaKey, RSA, check_binance),
        (coinbase_signer, Ed25519Key, ED25519, check_coinbase),
        (coinbase_signer, Es256Key, P256, check_coinbase),
    ],
    ids=["binance-ed25519", "binance-rsa", "coinbase-ed25519", "coinbase-es256"],
)
@settings(max_examples=8, deadline=None)
@given(st.lists(PARAMS, min_size=1, max_size=3))
async def test_what_was_signed_is_what_was_received(make, kind, key, check, all_params):
    received = []

    async def script(request, stream):
        received.append(request)
        await stream.send_all(response())

    clock = ManualClock(now_ns=NOW_S * 10**9)
    # Loopback without TLS: loading the certificates takes longer than all the rest.
    transport = HttpxTransport(httpx.AsyncHTTPTransport(verify=False))
    async with loopback_server(script) as server:
        strategy = make(kind, key, clock)
        client = RestClient(server.url, strategy, PlainParser(), transport=transport)
        for params in all_params:
            await client.execute(Get(params=params))
            await client.execute(Post(params=params))
        await transport.aclose()

    assert len(received) == 2 * len(all_params)
    for request in received:
        check(request, key.public_key())
