"""Signed tokens: is this payload really from the holder of this key?

A thin, strict layer over PyJWT's JWS (RFC 7515). Which algorithms are accepted is the
key's to say, whatever the token asks for. Keys shorter than the algorithm asks for are
refused; so are unsigned tokens, unknown critical headers and headers that repeat a
member.

What the payload says is not looked at here.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, final

import jwt
from jwt.utils import base64url_decode, base64url_encode

from flowtrade.errors import InvalidRequest, Unauthorized

__all__ = ["SigningKey", "verify"]

_JWS = jwt.PyJWS(options={"enforce_minimum_key_length": True})

_HMAC: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Least key length in bytes by algorithm: RFC 7518 §3.2."""

_CURVES: Final = {
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "ES256K": "secp256k1",
}
"""The curve of each algorithm: RFC 7518 §3.4, RFC 8812 §3.2."""

_ALGORITHMS: Final[dict[str, tuple[str, ...]]] = {
    "oct": tuple(_HMAC),
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": tuple(_CURVES),
    "OKP": ("EdDSA",),
}
"""The algorithms of each type of key: RFC 7518 §3.1, RFC 8037."""

_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
"""Members that only the holder of the private key has: RFC 7518 §6.2.2, §6.3.2."""

_LONGEST: Final = 16_384
"""Bytes of a token; far above any real one, and below what a request head may hold."""


@final
class SigningKey:
    """A key with the algorithms it may be used with, one of them where it says which.

    Args:
        jwk: A JSON Web Key (RFC 7517). Without `alg`, whatever fits its type, curve
            and length may be used; a server should ask for keys that name one (RFC
            8725 §3.1). For HMAC and for signing, the private part is needed.

    Attributes:
        kid: The key's id, or None.
        algorithms: The algorithms, the first one for signing.

    Raises:
        InvalidRequest: The key cannot be read, is not for signatures, is too short, or
            does not fit its algorithm.
    """

    def __init__(self, jwk: Mapping[str, Any]) -> None:
        if not isinstance(jwk, Mapping):
            raise InvalidRequest(f"a key is a JSON object, was {type(jwk).__name__}")
        kind, named = jwk.get("kty"), jwk.get("alg")
        if jwk.get("use", "sig") != "sig":
            raise InvalidRequest(f"the key is for {jwk['use']!r}, not for signatures")
        operations = jwk.get("key_ops", ["verify"])
        if not isinstance(operations, list) or not (
            "sign" in operations or "verify" in operations
        ):
            raise InvalidRequest("the key's key_ops allow no signatures")
        fitting = _ALGORITHMS.get(kind, ()) if isinstance(kind, str) else ()
        wanted = fitting if named is None else [a for a in fitting if a == named]
        # Not logged and not quoted: the message of PyJWT would hold the key.
        # PyJWT verifies with public keys only, so the private members are left out.
        public = {k: v for k, v in jwk.items() if kind == "oct" or k not in _PRIVATE}
        keys = {name: _load(public, name) for name in wanted}
        self._keys = {name: key for name, key in keys.items() if key is not None}
        if not self._keys:
            raise InvalidRequest(
                f"no usable key of type {kind!r} for algorithm {named or 'any'!r}: "
                "malformed, too short, or of another type"
            )
        kid = jwk.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise InvalidRequest(f"the id of a key is text, was {type(kid).__name__}")
        self.kid: str | None = kid
        self.algorithms: tuple[str, ...] = tuple(self._keys)
        private = kind == "oct" or "d" in jwk
        self._signing = _load(jwk, self.algorithms[0]) if private else None

    @classmethod
    def from_secret(
        cls, secret: str | bytes, *, kid: str | None = None
    ) -> "SigningKey":
        """Return an HS256 key.

        Raises:
            InvalidRequest: The secret has fewer than 32 bytes.
        """
        data = secret.encode() if isinstance(secret, str) else secret
        if len(data) < _HMAC["HS256"]:
            raise InvalidRequest(
                f"the secret is too short: {len(data)} bytes, at least 32 are needed"
            )
        encoded = base64url_encode(data).decode()
        jwk = {"kty": "oct", "alg": "HS256", "k": encoded}
        return cls(jwk if kid is None else {**jwk, "kid": kid})

    def __repr__(self) -> str:
        return f"<SigningKey {self.kid or 'without id'} {' '.join(self.algorithms)}>"

    def sign(self, payload: bytes) -> str:
        """Return `payload` as a token in compact form.

        Raises:
            InvalidRequest: The key has no private part.
        """
        if self._signing is None:
            raise InvalidRequest(f"{self!r} is public; signing needs the private part")
        headers = {"kid": self.kid} if self.kid is not None else None
        return _JWS.encode(payload, self._signing, self.algorithms[0], headers=headers)

    def verify(self, token: str) -> bytes:
        """Return the payload of a token that this key signed.

        Raises:
            Unauthorized: It is malformed, or this key did not sign it.
        """
        algorithm = token_header(token).get("alg")
        key = self._keys.get(algorithm) if isinstance(algorithm, str) else None
        if key is None:
            raise Unauthorized("the token was refused: not the algorithm of the key")
        try:
            decoded = _JWS.decode_complete(token, key, algorithms=[key.algorithm_name])
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise Unauthorized(f"the token was refused: {error}") from error
        payload = decoded["payload"]
        assert isinstance(payload, bytes)  # noqa: S101  # PyJWS returns it undecoded
        return payload


def verify(token: str, jwk: Mapping[str, Any]) -> bytes:
    """Return the payload of a token if the key signed it.

    Args:
        token: In compact form (RFC 7515 §7.1).
        jwk: The key (RFC 7517).

    Raises:
        InvalidRequest: The key is unusable.
        Unauthorized: The token is malformed or not signed by this key.
    """
    return SigningKey(jwk).verify(token)


def token_header(token: str) -> dict[str, Any]:
    """Return the header of a token, unverified but well-formed.

    Raises:
        Unauthorized: The token is too long, not three segments of base64url without
            padding, or its header is no JSON object with distinct members.
    """
    # A host of ours may be untyped, and what it hands on is anything.
    is_text = isinstance(token, str)
    if not is_text or len(token) > _LONGEST or not token.isascii():
        raise Unauthorized("the token was refused: no text, too long or not ASCII")
    segments = token.split(".")
    if len(segments) != 3 or "=" in token or not all(segments[::2]):
        raise Unauthorized("the token was refused: not three segments of base64url")
    try:
        # RFC 7515 §4: UTF-8; of bytes, `json` would guess, and take a mark before it.
        text = base64url_decode(segments[0]).decode()
        header = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise Unauthorized("the token was refused: unreadable header") from error
    if not isinstance(header, dict):
        raise Unauthorized("the token was refused: its header is no object")
    return header


def _load(jwk: Mapping[str, Any], algorithm: str) -> jwt.PyJWK | None:
    try:
        key = jwt.PyJWK({**jwk, "alg": algorithm})
    # PyJWT lets through what the parts of a malformed key happen to raise.
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, AttributeError):
        return None
    if jwk["kty"] == "EC" and _CURVES[algorithm] != jwk.get("crv"):
        return None
    return None if key.Algorithm.check_key_length(key.key) else key


def _distinct(members: list[tuple[str, object]]) -> dict[str, object]:
    # RFC 7515 §4: names must be unique; a repeated one shows two readers two headers.
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a member is repeated")
    return found
