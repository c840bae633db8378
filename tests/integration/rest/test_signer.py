import hashlib
import hmac
import pickle
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import Signing
from integration.rest.encoder import Base64Encoder
from integration.rest.prepared import prepare
from integration.rest.request import RestRequest
from integration.rest.signer import HmacKey, PublicNoHeaders, RequestSigner


class Ping(RestRequest[Any], frozen=True):
    response_type: ClassVar[Any] = Any

    def path(self):
        return "/ping"


class Recipe:
    """Signs method and path; keeps what it was given, to be looked at."""

    def config(self, request, prepared):
        return (prepared.method, prepared.path, 1_700_000_000_000)

    def bytes_to_sign(self, config):
        method, path, time = config
        return f"{time}{method}{path}".encode()

    def build_signed_request(self, config, prepared, signature):
        return prepared.with_headers({"TS": str(config[2]), "SIGN": signature})


class Reverse:
    def sign(self, message):
        return message[::-1]


@given(st.binary(min_size=1), st.lists(st.binary(), max_size=3))
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_a_key_signs_like_the_standard_library_however_often(digest, secret, messages):
    key = HmacKey(secret, digest)

    for message in messages:
        assert key.sign(message) == hmac.digest(secret, message, digest)


def test_a_text_secret_is_taken_as_utf_8():
    assert HmacKey("é").sign(b"") == HmacKey("é".encode()).sign(b"")


def test_an_unusable_key_is_refused_without_being_shown():
    with pytest.raises(Signing, match="empty"):
        HmacKey("")
    with pytest.raises(Signing, match="'sha1024'"):
        HmacKey("s3cret", "sha1024")


def test_a_key_is_neither_shown_nor_pickled():
    key = HmacKey("s3cret", "sha512")

    assert repr(key) == "HmacKey(***, digest='sha512')"
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_a_public_request_stays_as_it_is():
    prepared = prepare("https://x", Ping())

    assert PublicNoHeaders().build(Ping(), prepared) is prepared


def test_a_request_is_signed_by_recipe_key_and_spelling():
    prepared = prepare("https://x", Ping())
    expected = hmac.new(b"k", b"1700000000000GET/ping", hashlib.sha384).hexdigest()

    signed = RequestSigner(Recipe(), "k", digest="sha384").build(Ping(), prepared)

    assert signed.header("TS") == "1700000000000"
    assert signed.header("SIGN") == expected
    assert signed.raw_path == prepared.raw_path


def test_any_algorithm_fits_in():
    signer = RequestSigner(Recipe(), Reverse(), encoder=Base64Encoder())

    signed = signer.build(Ping(), prepare("https://x", Ping()))

    assert signed.header("SIGN") == "Z25pcC9URUcwMDAwMDAwMDAwMDcx"


def test_the_signature_is_hidden_in_what_was_signed():
    signer = RequestSigner(Recipe(), "s3cret")

    signed = signer.build(Ping(), prepare("https://x", Ping()))

    signature = signed.header("SIGN")
    assert signature in signed.secrets
    assert signature not in repr(signed)
    assert repr(signer) == "RequestSigner(Recipe, ***)"
