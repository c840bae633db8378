"""Signatures: published vectors, and every trick with them that we know."""

import base64
import hashlib
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from flowtrade.auth.jws import SigningKey, verify
from flowtrade.errors import InvalidRequest, Unauthorized

# RFC 7515 A.1 (HS256) and A.3 (ES256).
RFC_HS256 = (
    {
        "kty": "oct",
        "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcg"
        "UuTwjAzZr1Z9CAow",
    },
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTk"
    "zODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJ"
    "U1p1r_wW1gFWFOEjXk",
)
RFC_ES256 = (
    {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    },
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9l"
    "eGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCg"
    "fTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
)
SECRET = b"0123456789abcdef0123456789abcdef"


def segment(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hs256(header, payload=b"{}", secret=SECRET):
    head = header if isinstance(header, str) else segment(header)
    signed = f"{head}.{segment(payload)}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{segment(mac)}"


@pytest.fixture
def key():
    return {"kty": "oct", "k": segment(SECRET), "alg": "HS256"}


@pytest.mark.parametrize(("jwk", "token"), [RFC_HS256, RFC_ES256])
def test_the_tokens_of_the_standards_are_accepted(jwk, token):
    payload = verify(token, jwk)

    assert json.loads(payload)["iss"] == "joe"


@given(st.data())
def test_a_changed_token_is_refused(data):
    jwk, token = data.draw(st.sampled_from([RFC_HS256, RFC_ES256]))
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("AQgwxyz019-_.= !"))
    if other == token[at]:
        return
    changed = token[:at] + other + token[at + 1 :]

    with pytest.raises(Unauthorized):
        verify(changed, jwk)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "HS512"},
        {"alg": "RS256"},
        {"alg": ""},
        {"alg": None},
        {"alg": ["HS256"]},
        {},
        {"alg": "HS256", "crit": ["exp"]},
        {"alg": "HS256", "crit": []},
        {"alg": "HS256", "b64": False, "crit": ["b64"]},
        [],
        "HS256",
        b"{",
        b"\xff",
        b'{"alg":"HS256","alg":"HS256"}',
        b'{"alg":"none","alg":"HS256"}',
        b"[" * 50_000,
        '{"alg":"HS256"}'.encode("utf-8-sig"),
        '{"alg":"HS256"}'.encode("utf-16"),
    ],
)
def test_a_header_that_asks_for_something_else_is_refused(key, header):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()

    with pytest.raises(Unauthorized):
        verify(hs256(segment(head)), key)


def test_a_good_token_of_ours_is_accepted(key):
    assert verify(hs256({"alg": "HS256"}, b"[1]"), key) == b"[1]"
    assert verify(hs256({"alg": "HS256", "typ": "JWT", "x": 1}), key) == b"{}"


@pytest.mark.parametrize(
    "change",
    [
        "",
        "..",
        ".a.b",
        "a..b",
        "a.b.",
        "{t}.x",
        "{t}=",
        "{t}\n",
        " {t}",
        "{t}\0",
        "é{t}",
        "x" * 20_000,
    ],
)
def test_what_is_not_three_segments_is_refused(key, change):
    token = change.replace("{t}", hs256({"alg": "HS256"}))

    with pytest.raises(Unauthorized):
        verify(token, key)


def test_a_public_key_is_never_taken_for_a_secret():
    public = rsa.generate_private_key(65537, 2048).public_key()
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public))
    for secret in (json.dumps(jwk).encode(), jwk["n"].encode()):
        with pytest.raises(Unauthorized):
            verify(hs256({"alg": "HS256"}, secret=secret), jwk)


@pytest.mark.parametrize(
    ("algorithm", "private"),
    [
        ("RS256", rsa.generate_private_key(65537, 2048)),
        ("PS384", rsa.generate_private_key(65537, 2048)),
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
        ("ES384", ec.generate_private_key(ec.SECP384R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_kind_of_key_signs_and_verifies(algorithm, private):
    adapter = jwt.get_algorithm_by_name(algorithm)
    jwk = json.loads(adapter.to_jwk(private)) | {"alg": algorithm, "kid": "k"}
    public = json.loads(adapter.to_jwk(private.public_key())) | {"alg": algorithm}

    token = SigningKey(jwk).sign(b"payload")

    assert verify(token, public) == verify(token, jwk) == b"payload"
    with pytest.raises(InvalidRequest, match="is public"):
        SigningKey(public).sign(b"payload")
    header, payload, signature = token.split(".")
    with pytest.raises(Unauthorized):
        verify(f"{header}.{segment(b'other')}.{signature}", public)
    # A signature of zeros, and one cut short (CVE-2022-21449 and its kind).
    zeros = segment(b"\0" * (len(signature) * 3 // 4))
    for forged in (zeros, signature[:-4]):
        with pytest.raises(Unauthorized):
            verify(f"{header}.{payload}.{forged}", public)


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct"},
        {"kty": "oct", "k": segment(b"short")},
        {"kty": "oct", "k": segment(SECRET), "alg": "HS512"},  # 32 bytes are too few
        {"kty": "oct", "k": segment(SECRET), "alg": "RS256"},
        {"kty": "oct", "k": segment(SECRET), "alg": "none"},
        {"kty": "oct", "k": segment(SECRET), "use": "enc"},
        {"kty": "oct", "k": segment(SECRET), "key_ops": ["encrypt"]},
        {"kty": "oct", "k": segment(SECRET), "key_ops": 5},
        {"kty": "oct", "k": segment(SECRET), "key_ops": [["verify"]]},
        {"kty": "oct", "k": segment(SECRET), "key_ops": {"verify": True}},
        {"kty": "oct", "k": segment(SECRET), "use": ["sig"]},
        {"kty": "oct", "k": segment(SECRET), "kid": 5},
        {"kty": "oct", "k": 5},
        {"kty": ["oct"], "k": segment(SECRET)},
        {"kty": "RSA", "n": 5, "e": "AQAB"},
        {"kty": "OKP", "crv": ["Ed25519"], "x": "AA"},
        None,
        [{"kty": "oct", "k": segment(SECRET)}],
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": segment(b"x" * 32)},
        {**RFC_ES256[0], "alg": "HS256"},
        {**RFC_ES256[0], "y": RFC_ES256[0]["x"]},  # not on the curve
    ],
)
def test_an_unusable_key_is_refused_without_quoting_it(jwk):
    with pytest.raises(InvalidRequest) as caught:
        SigningKey(jwk)

    assert segment(SECRET) not in str(caught.value)


@pytest.mark.parametrize("token", [None, 5, b"a.b.c", ["a", "b", "c"], "\ud800.a.b"])
def test_what_is_no_text_is_refused(token):
    with pytest.raises(Unauthorized, match="no text"):
        verify(token, {"kty": "oct", "k": segment(SECRET)})


def test_a_key_that_names_no_algorithm_takes_those_that_fit_it():
    private = rsa.generate_private_key(65537, 2048)
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private))

    for algorithm in ("RS256", "PS384"):
        token = SigningKey(jwk | {"alg": algorithm}).sign(b"x")
        assert verify(token, jwk) == b"x"
    token = SigningKey(jwk | {"alg": "RS256"}).sign(b"x")
    with pytest.raises(Unauthorized):
        verify(token, jwk | {"alg": "PS256"})
    assert SigningKey(RFC_ES256[0]).algorithms == ("ES256",)
    assert SigningKey({"kty": "oct", "k": segment(SECRET)}).algorithms == ("HS256",)


def test_a_short_rsa_key_is_refused():
    public = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505  # the point
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public))

    with pytest.raises(InvalidRequest):
        SigningKey(jwk)


def test_a_key_does_not_print_its_secret():
    key = SigningKey.from_secret(SECRET, kid="main")

    assert repr(key) == "<SigningKey main HS256>"
    assert (key.kid, key.algorithms) == ("main", ("HS256",))
