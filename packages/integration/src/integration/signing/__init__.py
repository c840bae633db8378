"""Recipes by which venues want requests signed: one module per venue, all pure.

Each module has the pure `prehash` of its recipe, a `Signer`, and `request_signer`,
which puts recipe, key and spelling together. Import the venue you need.
"""

from integration.signing.credentials import Credentials, Nonces, Stamped
from integration.signing.keys import Ed25519Key, Es256Key, RsaKey

__all__ = [
    "Credentials",
    "Ed25519Key",
    "Es256Key",
    "Nonces",
    "RsaKey",
    "Stamped",
]
