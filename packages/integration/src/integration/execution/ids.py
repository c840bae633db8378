"""Names for orders, made before they are sent.

The name is what an unanswered request is found by, so it must not repeat, not even
after a restart: the time in milliseconds, then chance. Does not remember names.
"""

import random
import secrets
from typing import Final, final

from integration.execution.models import ClientOrderId
from netcore.clock import Clock, SystemClock

__all__ = ["ClientOrderIds"]

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHANCE: Final = 11
"""Letters of chance: 62**11 is 2**65."""
_TIME: Final = 8
"""Letters for milliseconds: 62**8 suffices for 6,900 years."""


@final
class ClientOrderIds:
    """Makes names of 19 letters and digits behind a prefix of at most 13.

    Within 32 characters in all they are taken everywhere we know of (Binance 36,
    Bybit 36, OKX 32).

    Args:
        prefix: Letters and digits by which an account's programs tell orders apart.
        clock: Where time comes from.
        rng: Where chance comes from; the operating system if None.

    Raises:
        ValueError: The prefix is too long or has other characters.
    """

    def __init__(
        self,
        prefix: str = "",
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if len(prefix) > 13 or not (prefix + "x").isalnum() or not prefix.isascii():
            raise ValueError(
                f"a prefix is at most 13 ASCII letters and digits, was {prefix!r}"
            )
        self._prefix = prefix
        self._clock: Clock = SystemClock() if clock is None else clock
        self._rng = secrets.SystemRandom() if rng is None else rng

    def __call__(self) -> ClientOrderId:
        """Return a new name."""
        time = _base62(self._clock.now_ns() // 1_000_000, _TIME)
        return ClientOrderId(
            f"{self._prefix}{time}{_base62(self._rng.getrandbits(64), _CHANCE)}"
        )


def _base62(number: int, width: int) -> str:
    letters = []
    for _ in range(width):
        number, rest = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[rest])
    return "".join(reversed(letters))
