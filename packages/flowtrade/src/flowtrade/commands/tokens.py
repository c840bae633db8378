"""`flowtrade token` and `keygen`: bearer tokens and the keys that sign them."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cyclopts import Parameter

from flowtrade.auth import SigningKey, generate_jwt
from flowtrade.commands.reporting import one_line
from flowtrade.errors import InvalidRequest
from flowtrade.models.ids import IdError

__all__ = ["Algorithm", "make_key", "make_token"]

Algorithm: TypeAlias = Literal["EdDSA", "ES256", "RS256"]

_SECRET = "FLOWTRADE_SECRET"  # noqa: S105  # the variable's name, not the secret
_RSA_BITS: Final = 3072
"""NIST SP 800-57: 128 bits of security, as the elliptic curves here have."""

_PUBLIC: Final = ("kty", "crv", "x", "y", "n", "e")


@one_line
def make_token(
    *,
    bidder: str | None = None,
    new_bidder: bool = False,
    admin: bool = False,
    hours: float = 24.0,
    key: Path | None = None,
    secret: Annotated[
        str | None, Parameter(env_var=_SECRET, show_default=False)
    ] = None,
) -> int:
    """Write a bearer token to stdout.

    Args:
        bidder: The bidder's UUID.
        new_bidder: Make up a bidder; its UUID is written to stderr.
        admin: The bearer manages products and runs batches.
        hours: Until it expires.
        key: File with the private key (JWK), as `keygen` writes it.
        secret: Key of HS256, 32 bytes at least, instead of a file.
    """
    if new_bidder:
        if bidder is not None:
            raise InvalidRequest("name a bidder or ask for a new one, not both")
        bidder = str(uuid4())
        sys.stderr.write(f"bidder {bidder}\n")
    if bidder is None and not admin:
        raise InvalidRequest("a token is for a bidder (--bidder) or to --admin")
    if (key is None) == (secret is None):
        raise InvalidRequest(
            f"sign with either a key file (--key) or a secret (--secret or {_SECRET})"
        )
    signing = SigningKey.from_secret(secret) if secret is not None else _read_key(key)
    if not 0 < hours < float("inf"):
        raise InvalidRequest(f"a token lives for a positive time, was {hours} hours")
    try:
        made = generate_jwt(bidder, signing, admin=admin, lifetime=hours * 3600.0)
    except IdError as error:
        raise InvalidRequest(f"--bidder: {error}") from error
    sys.stdout.write(made + "\n")
    return 0


@one_line
def make_key(
    private: Path,
    *,
    public: Path | None = None,
    kid: str | None = None,
    algorithm: Algorithm = "EdDSA",
) -> int:
    """Make a key pair: a private JWK, and its public part added to a key set.

    Args:
        private: New file for the private key, readable by its owner only.
        public: Key set (JWKS) of the server; made if missing. Keys in it stay, so that
            tokens they signed stay good until the old key is removed.
        kid: The key's id; by default a random one.
        algorithm: What it signs with.
    """
    whole: dict[str, Any] = {
        **_generate(algorithm),
        "kid": kid or str(uuid4()),
        "alg": algorithm,
        "use": "sig",
    }
    listed = [] if public is None else _listed(public)
    if any(jwk.get("kid") == whole["kid"] for jwk in listed):
        raise InvalidRequest(f"{public} has a key {whole['kid']!r} already")
    descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(whole, indent=2) + "\n")
    if public is not None:
        shown = {name: v for name, v in whole.items() if name in _SHOWN}
        _replace(public, json.dumps({"keys": [*listed, shown]}, indent=2) + "\n")
    sys.stdout.write(f"{whole['kid']}\n")
    return 0


_SHOWN: Final = frozenset({*_PUBLIC, "kid", "alg", "use"})


def _generate(algorithm: Algorithm) -> dict[str, Any]:
    made: Any
    if algorithm == "EdDSA":
        made = ed25519.Ed25519PrivateKey.generate()
    elif algorithm == "ES256":
        made = ec.generate_private_key(ec.SECP256R1())
    else:
        made = rsa.generate_private_key(65537, _RSA_BITS)
    text: Any = jwt.get_algorithm_by_name(algorithm).to_jwk(made)
    jwk: dict[str, Any] = json.loads(text)
    jwk.pop("key_ops", None)
    return jwk


def _listed(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        listed = json.loads(path.read_bytes())["keys"]
        return [dict(jwk) for jwk in listed]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(f"{path} is no key set: {error!r}") from error


def _replace(path: Path, text: str) -> None:
    # A server may read it at any moment: the new file takes the old one's place whole.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _read_key(path: Path | None) -> SigningKey:
    assert path is not None  # noqa: S101  # checked by the caller
    try:
        jwk = json.loads(path.read_bytes())
    except ValueError as error:
        raise InvalidRequest(f"{path} is no JWK: {error}") from error
    if not isinstance(jwk, dict):
        raise InvalidRequest(f"{path} is no JWK: one JSON object is")
    return SigningKey(jwk)
