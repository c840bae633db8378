"""Keys that sign without being shared: Ed25519, RSA, ECDSA.

Each is a `Mac` for `RequestSigner`. They need the package `cryptography`, which is
imported when a key is made, so that those who use shared secrets need not have it.
"""

from importlib import import_module
from typing import Any, TypeAlias, final

from integration.errors import Signing
from integration.rest.prepared import MASK

__all__ = ["Ed25519Key", "Es256Key", "KeyText", "RsaKey"]

KeyText: TypeAlias = str | bytes
"""A private key in PEM, unencrypted."""


class _Key:
    """What all have in common: a PEM goes in and nothing comes out."""

    __slots__ = ("_key",)

    def __init__(self, pem: KeyText, module: str, kind: str) -> None:
        self._key: Any = _load(pem)
        asymmetric = import_module(
            f"cryptography.hazmat.primitives.asymmetric.{module}"
        )
        if not isinstance(self._key, getattr(asymmetric, kind)):
            raise Signing(f"this needs an {kind}, the PEM holds another kind of key")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({MASK})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a key is not pickled: give it to the other process yourself")


@final
class Ed25519Key(_Key):
    """Signs by Ed25519 (RFC 8032): 64 bytes, the same for the same message.

    Args:
        pem: The private key.

    Raises:
        Signing: It is no such key, or `cryptography` is not installed.
    """

    __slots__ = ()

    def __init__(self, pem: KeyText) -> None:
        super().__init__(pem, "ed25519", "Ed25519PrivateKey")

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`."""
        signature: bytes = self._key.sign(message)
        return signature


@final
class RsaKey(_Key):
    """Signs by RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2).

    Args:
        pem: The private key.

    Raises:
        Signing: It is no such key, or `cryptography` is not installed.
    """

    __slots__ = ()

    def __init__(self, pem: KeyText) -> None:
        super().__init__(pem, "rsa", "RSAPrivateKey")

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`."""
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        signature: bytes = self._key.sign(message, PKCS1v15(), SHA256())
        return signature


@final
class Es256Key(_Key):
    """Signs by ECDSA over P-256 with SHA-256, as JWS spells it (RFC 7518 §3.4).

    The signature is r and s, 32 bytes each; it differs from time to time.

    Args:
        pem: The private key.

    Raises:
        Signing: It is no such key, or `cryptography` is not installed.
    """

    __slots__ = ()

    def __init__(self, pem: KeyText) -> None:
        super().__init__(pem, "ec", "EllipticCurvePrivateKey")
        if self._key.curve.name != "secp256r1":
            raise Signing(f"ES256 needs a key on P-256, was {self._key.curve.name}")

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`."""
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.asymmetric.utils import (
            decode_dss_signature,
        )
        from cryptography.hazmat.primitives.hashes import SHA256

        r, s = decode_dss_signature(self._key.sign(message, ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _load(pem: KeyText) -> object:
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise Signing("asymmetric keys need the package `cryptography`") from error
    try:
        return load_pem_private_key(
            pem.encode() if isinstance(pem, str) else pem, password=None
        )
    except (ValueError, TypeError):
        # The cause is left out: its text may hold parts of the key.
        raise Signing("a private key must be given as unencrypted PEM") from None
