"""Keys to an account, which nothing shows, and the numbers that go with them.

What may live here: values that every venue's recipe needs. No recipe, no clock of its
own: time comes from a `netcore.clock.Clock`, best an `integration.rest.ServerClock`.
"""

import base64
import binascii
from typing import Any, final

import msgspec

from integration.errors import Signing
from integration.rest.prepared import MASK, PreparedRequest
from netcore.clock import Clock

__all__ = ["Credentials", "Nonces", "Stamped", "secret_from_base64"]


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue gives out for an API key.

    Attributes:
        key: Names the key; not secret by itself, but shown nowhere either.
        secret: What signs, as the venue spells it.
        passphrase: The third part, where a venue has one.
    """

    key: str
    secret: str
    passphrase: str = ""

    def __repr__(self) -> str:
        return f"Credentials({MASK})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("credentials are not pickled: read them where they are needed")


class Stamped(msgspec.Struct, frozen=True):
    """What one signature depends on: a time or nonce as text, and the final request.

    The configuration of most recipes.
    """

    stamp: str
    prepared: PreparedRequest


@final
class Nonces:
    """Numbers that only grow: the time, or one more than the last if that is larger.

    A venue that demands growing nonces refuses a request whose nonce it has passed;
    two requests of one millisecond, or a clock set back, must not cause that.

    Args:
        clock: Where the time comes from.
        unit: Nanoseconds of one step (1_000_000 for milliseconds).
    """

    __slots__ = ("_clock", "_last", "_unit")

    def __init__(self, clock: Clock, unit: int) -> None:
        self._clock = clock
        self._unit = unit
        self._last = 0

    def __call__(self) -> int:
        """Return the next number."""
        self._last = max(self._clock.now_ns() // self._unit, self._last + 1)
        return self._last


def secret_from_base64(secret: str) -> bytes:
    """Return the bytes of a secret that a venue gives out in base64.

    Raises:
        Signing: It is not base64; the secret is not shown.
    """
    try:
        return base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        # The cause is left out: its text may hold parts of the secret.
        raise Signing("this venue's secrets are base64; the one given is not") from None
