"""Signed tokens: is this payload really from the holder of this key?

A thin, strict layer over PyJWT's JWS (RFC 7515). The algorithm belongs to the key and
is never read from the token; keys shorter than the algorithm asks for are refused;
so are unsigned tokens, unknown critical headers and headers with repeated members.

What the payload says is not looked at here.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, final

import jwt

from flowtrade.errors import InvalidRequest, Unauthorized

__all__ = ["SigningKey", "verify"]

_JWS = jwt.PyJWS(options={"enforce_minimum_key_length": True})

_HMAC: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Least key length in bytes by algorithm: RFC 7518 §3.2."""

_ALGORITHMS: Final = {
    "oct": frozenset(_HMAC),
    "RSA": frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "EC": frozenset({"ES256", "ES384", "ES512", "ES256K"}),
    "OKP": frozenset({"EdDSA", "Ed25519"}),
}
"""The algorithms of each type of key: RFC 7518 §3.1, RFC 8037, RFC 9864."""

_LONGEST: Final = 16_384
"""Bytes of a token; what a header line may hold (anycorn's limit), so no more comes."""


@final
class SigningKey:
    """A key with the one algorithm it is used for.

    Args:
        jwk: A JSON Web Key (RFC 7517). `alg` may be missing where the type of key
            implies one. For HMAC and for signing, the private part is needed.

    Attributes:
        kid: The key's id, or None.
        algorithm: The algorithm.

    Raises:
        InvalidRequest: The key cannot be read, is not for signatures, is too short, or
            does not fit its algorithm.
    """

    def __init__(self, jwk: Mapping[str, Any]) -> None:
        if jwk.get("use", "sig") != "sig":
            raise InvalidRequest(f"the key is for {jwk['use']!r}, not for signatures")
        operations = jwk.get("key_ops")
        if operations is not None and not {"sign", "verify"} & set(operations):
            raise InvalidRequest("the key's key_ops allow no signatures")
        try:
            self._key = jwt.PyJWK(dict(jwk))
        except jwt.PyJWTError as error:
            # PyJWT's message would quote the key.
            raise InvalidRequest(
                f"no usable key of type {jwk.get('kty')!r} and algorithm "
                f"{jwk.get('alg')!r}"
            ) from error
        self.kid: str | None = jwk.get("kid")
        self.algorithm: str = self._key.algorithm_name
        if self.algorithm not in _ALGORITHMS.get(str(jwk.get("kty")), ()):
            raise InvalidRequest(
                f"a key of type {jwk.get('kty')!r} is not for {self.algorithm}"
            )
        if reason := self._key.Algorithm.check_key_length(self._key.key):
            raise InvalidRequest(f"the key is too short: {reason}")

    @classmethod
    def from_secret(
        cls, secret: str | bytes, *, kid: str | None = None
    ) -> "SigningKey":
        """Return an HS256 key.

        Raises:
            InvalidRequest: The secret has fewer than 32 bytes.
        """
        data = secret.encode() if isinstance(secret, str) else secret
        encoded = jwt.utils.base64url_encode(data).decode()
        jwk = {"kty": "oct", "alg": "HS256", "k": encoded}
        return cls(jwk if kid is None else {**jwk, "kid": kid})

    def __repr__(self) -> str:
        return f"<SigningKey {self.kid or 'without id'} {self.algorithm}>"

    def sign(self, payload: bytes) -> str:
        """Return `payload` as a token in compact form."""
        headers = {"kid": self.kid} if self.kid is not None else None
        return _JWS.encode(payload, self._key, self.algorithm, headers=headers)

    def verify(self, token: str) -> bytes:
        """Return the payload of a token that this key signed.

        Raises:
            Unauthorized: It is malformed, or this key did not sign it.
        """
        try:
            decoded = _JWS.decode_complete(
                token, self._key, algorithms=[self.algorithm]
            )
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
    key = SigningKey(jwk)
    token_header(token)
    return key.verify(token)


def token_header(token: str) -> dict[str, Any]:
    """Return the header of a token, unverified but well-formed.

    Raises:
        Unauthorized: The token is too long, not three segments of base64url without
            padding, or its header is no JSON object with distinct members.
    """
    if len(token) > _LONGEST or not token.isascii():
        raise Unauthorized("the token was refused: too long or not ASCII")
    segments = token.split(".")
    if len(segments) != 3 or "=" in token or not all(segments[::2]):
        raise Unauthorized("the token was refused: not three segments of base64url")
    try:
        header = json.loads(
            jwt.utils.base64url_decode(segments[0]), object_pairs_hook=_distinct
        )
    except (ValueError, RecursionError) as error:
        raise Unauthorized("the token was refused: unreadable header") from error
    if not isinstance(header, dict):
        raise Unauthorized("the token was refused: its header is no object")
    return header


def _distinct(members: list[tuple[str, object]]) -> dict[str, object]:
    # RFC 7515 §4: names must be unique; a repeated one shows two readers two headers.
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a member is repeated")
    return found
