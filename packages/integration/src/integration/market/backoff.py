"""How soon a market stream knocks again at a venue that is away. Pure.

Two things are weighed. Books are stale until the venue is back *and* we have noticed:
after a short outage the pause between two knocks is most of that. And venues count
connections by address (Binance 300 in 5 minutes, BitMEX and Bitfinex 20 in one, Kraken
150 in 10), so that who knocks too often is shut out when it counts.

So the first attempt follows the loss almost at once: most connections are lost alone,
their venue is there. Pauses then double to two seconds and stay there for as long as
outages usually take; whoever is away for longer is away for a reason (maintenance), and
the pauses grow slowly to half a minute. Half of every pause is chance, so that a
thousand clients of a restarted venue do not return as one, and none returns at once.

    outage        attempts until then    the venue's return is noticed within
    5 s           6 to 8                 2 s
    20 s          14 to 17               3 s
    60 s          25 to 27               11 s
    an hour       180 to 190             30 s

In no 60 seconds are there more than 29 attempts, in no 300 more than 46. Where a venue
allows fewer, or many connections share its allowance, the limiter of connections makes
them wait their turn (`VenueLimits.connections`).
"""

import random
from typing import Final, final

__all__ = ["VenueBackoff", "doubled"]

_FIRST: Final = 0.1
"""Seconds. The first attempt is drawn from nothing to this: reconnecting takes about
as long."""
_SHORT: Final = 2.0
"""Seconds between attempts of a short outage, at most."""
_PATIENT: Final = 15
"""Attempts before the pauses grow again: about 20 s, and fewer than the strictest
venue allows in a minute (20)."""
_GROWTH: Final = 1.15
_LONGEST: Final = 30.0
_MANY: Final = 64
"""A pause that was doubled so often is longer than any: floats end at 2**1023, and what
is tried every half minute is tried that often in a night."""


def doubled(first: float, times: int, *, longest: float) -> float:
    """Return a pause that was doubled so many times, at most the longest."""
    return min(longest, first * 2.0 ** min(times, _MANY))


@final
class VenueBackoff:
    """Pauses of market streams; the default of `StreamConfig.reconnect`.

    Args:
        short: seconds that no pause of a short outage exceeds.
        longest: seconds that no pause exceeds.
        stable_after: seconds of data flow after which attempts count anew. A server
            that accepts and drops at once is met less and less often, like one that
            refuses.
        rng: where chance comes from.

    Raises:
        ValueError: a time is not positive, or `longest` is below `short`.
    """

    def __init__(
        self,
        *,
        short: float = _SHORT,
        longest: float = _LONGEST,
        stable_after: float = 30.0,
        rng: random.Random | None = None,
    ) -> None:
        if not 0 < short <= longest or stable_after < 0:
            msg = (
                "pauses are above 0, the longest no shorter than those of a short "
                f"outage, was {short}, {longest}, {stable_after}"
            )
            raise ValueError(msg)
        self.stable_after = stable_after
        self._short = short
        self._longest = longest
        self._rng = rng or random.Random()  # noqa: S311  spreads, hides nothing

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait before attempt number `attempt`."""
        if attempt < 1:
            return 0.0
        ceiling = self.ceiling(attempt)
        floor = 0.0 if attempt == 1 else ceiling / 2
        return self._rng.uniform(floor, ceiling)

    def ceiling(self, attempt: int) -> float:
        """Return the most that `delay` can return; never less than for one before."""
        if attempt < 1:
            return 0.0
        if attempt <= _PATIENT:
            return doubled(_FIRST, attempt - 1, longest=self._short)
        # An exponent this large has long met the maximum, and floats end at 2**1023.
        beyond = min(attempt - _PATIENT, 512)
        return min(self._longest, self._short * _GROWTH**beyond)
