"""How a prepared request is signed: recipe, key and spelling kept apart.

A `Signer` knows a venue's recipe (what is concatenated, where the result goes), a
`Mac` holds the key and knows the algorithm, an `Encoder` spells the result.
`RequestSigner` runs the three in order. All of it is pure: a recipe's timestamp comes
from a port given to the signer.
"""

import hashlib
import hmac
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, final

from integration.errors import Signing
from integration.rest.encoder import Encoder, HexEncoder
from integration.rest.prepared import MASK, PreparedRequest
from integration.rest.request import RestRequest

__all__ = [
    "BuildStrategy",
    "Explained",
    "HmacKey",
    "Mac",
    "PublicNoHeaders",
    "RequestSigner",
    "Signer",
]

C = TypeVar("C")


class BuildStrategy(Protocol):
    """Gives a prepared request what the venue demands of this kind of request."""

    def build(
        self, request: RestRequest[Any], prepared: PreparedRequest
    ) -> PreparedRequest:
        """Return the request as it is sent; called anew for each attempt."""
        ...


class Signer(Protocol[C]):
    """A venue's recipe. `C` is what one signature depends on."""

    def config(self, request: RestRequest[Any], prepared: PreparedRequest) -> C:
        """Gather what is signed: timestamp, method, path, key, final parameters."""
        ...

    def bytes_to_sign(self, config: C) -> bytes:
        """Return the prehash: the bytes that the key signs."""
        ...

    def build_signed_request(
        self, config: C, prepared: PreparedRequest, signature: str
    ) -> PreparedRequest:
        """Return the request with the signature where the venue expects it."""
        ...


class Mac(Protocol):
    """A key with its algorithm."""

    def sign(self, message: bytes) -> bytes:
        """Return the raw signature, or authentication code, of `message`."""
        ...


@final
class HmacKey:
    """A symmetric key, hashed once: signing copies the keyed state (RFC 2104 §4).

    Args:
        secret: The key's bytes, or text (taken as UTF-8).
        digest: Name of the hash, as `hashlib` knows it.

    Raises:
        Signing: The secret is empty or `hashlib` does not know the digest.
    """

    __slots__ = ("_digest", "_keyed")

    def __init__(self, secret: bytes | str, digest: str = "sha256") -> None:
        key = secret.encode() if isinstance(secret, str) else secret
        if not key:
            raise Signing("an HMAC secret must not be empty")
        if digest not in hashlib.algorithms_available:
            raise Signing(f"hashlib knows no digest {digest!r}")
        self._digest = digest
        self._keyed = hmac.new(key, digestmod=digest)

    def sign(self, message: bytes) -> bytes:
        """Return the authentication code of `message`."""
        mac = self._keyed.copy()
        mac.update(message)
        return mac.digest()

    def __repr__(self) -> str:
        return f"HmacKey({MASK}, digest={self._digest!r})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a key is not pickled: give it to the other process yourself")


@final
class PublicNoHeaders:
    """The strategy of public endpoints: nothing is added."""

    def build(
        self, request: RestRequest[Any], prepared: PreparedRequest
    ) -> PreparedRequest:
        """Return the request as it was prepared."""
        del request
        return prepared


class Explained(NamedTuple):
    """How a request was signed; for debugging only, as it shows the signature.

    Attributes:
        prehash: The bytes that were signed.
        signature: As the venue wants it spelled.
        request: The signed request.
    """

    prehash: bytes
    signature: str
    request: PreparedRequest


@final
class RequestSigner(Generic[C]):
    """The strategy of private endpoints: recipe, key, spelling.

    Args:
        signer: The venue's recipe.
        mac: The key with its algorithm, or the secret of an HMAC.
        digest: The hash, if `mac` is a secret.
        encoder: How the signature is spelled.
    """

    def __init__(
        self,
        signer: Signer[C],
        mac: Mac | bytes | str,
        *,
        digest: str = "sha256",
        encoder: Encoder | None = None,
    ) -> None:
        self._signer = signer
        self._mac: Mac = HmacKey(mac, digest) if isinstance(mac, bytes | str) else mac
        self._encoder: Encoder = HexEncoder() if encoder is None else encoder

    def build(
        self, request: RestRequest[Any], prepared: PreparedRequest
    ) -> PreparedRequest:
        """Return the request signed; the signature is hidden wherever it is shown.

        Raises:
            Signing: The request cannot be signed by this recipe.
        """
        return self.explain(request, prepared).request

    def explain(
        self, request: RestRequest[Any], prepared: PreparedRequest
    ) -> Explained:
        """Return the signed request with what was signed, to compare with a venue's.

        Raises:
            Signing: The request cannot be signed by this recipe.
        """
        config = self._signer.config(request, prepared)
        prehash = self._signer.bytes_to_sign(config)
        signature = self._encoder.encode(self._mac.sign(prehash))
        signed = self._signer.build_signed_request(config, prepared, signature)
        return Explained(prehash, signature, signed.with_secrets(signature))

    def __repr__(self) -> str:
        return f"RequestSigner({type(self._signer).__name__}, {MASK})"
