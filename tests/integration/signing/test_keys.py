import base64
import pickle
import sys

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from integration.errors import Signing
from integration.signing import Ed25519Key, Es256Key, RsaKey


def pem(key, encryption=None):
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()
    )


ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256 = ec.generate_private_key(ec.SECP256R1())


def test_ed25519_signs():
    signature = Ed25519Key(pem(ED25519)).sign(b"message")

    assert len(signature) == 64
    ED25519.public_key().verify(signature, b"message")


def test_ed25519_agrees_with_the_standard():
    # RFC 8032 §7.1, TEST 2
    secret = bytes.fromhex(
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
    )
    key = Ed25519Key(pem(ed25519.Ed25519PrivateKey.from_private_bytes(secret)))

    assert key.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_rsa_signs():
    signature = RsaKey(pem(RSA).decode()).sign(b"message")

    RSA.public_key().verify(signature, b"message", padding.PKCS1v15(), SHA256())


def test_es256_signs_in_the_form_of_jws():
    signature = Es256Key(pem(P256)).sign(b"message")

    assert len(signature) == 64
    r, s = (int.from_bytes(part, "big") for part in (signature[:32], signature[32:]))
    der = utils.encode_dss_signature(r, s)
    P256.public_key().verify(der, b"message", ec.ECDSA(SHA256()))
    with pytest.raises(InvalidSignature):
        P256.public_key().verify(der, b"another", ec.ECDSA(SHA256()))


@pytest.mark.parametrize("kind", [Ed25519Key, RsaKey, Es256Key])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "not a key",
        pem(ED25519, BestAvailableEncryption(b"locked")),
        base64.b64encode(pem(ED25519)),
    ],
)
def test_what_is_no_readable_key_is_refused_without_being_shown(kind, text):
    with pytest.raises(Signing, match="unencrypted PEM") as caught:
        kind(text)

    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("kind", "key"), [(Ed25519Key, RSA), (RsaKey, P256), (Es256Key, ED25519)]
)
def test_another_kind_of_key_is_refused(kind, key):
    with pytest.raises(Signing, match="another kind"):
        kind(pem(key))


def test_another_curve_is_refused():
    with pytest.raises(Signing, match="P-256, was secp384r1"):
        Es256Key(pem(ec.generate_private_key(ec.SECP384R1())))


@pytest.mark.parametrize(
    ("kind", "key"), [(Ed25519Key, ED25519), (RsaKey, RSA), (Es256Key, P256)]
)
def test_a_key_is_neither_shown_nor_pickled(kind, key):
    subject = kind(pem(key))

    assert repr(subject) == f"{kind.__name__}(***)"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(subject)


def test_without_the_package_the_error_names_it(monkeypatch):
    name = "cryptography.hazmat.primitives.serialization"
    monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(Signing, match="`cryptography`"):
        Ed25519Key(pem(ED25519))
