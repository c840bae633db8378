"""Whether silence means that a feed is dead. Pure: told when something came.

Pings show that a *connection* lives (netcore's heartbeat sees to them); a venue can
answer them and send no data. How long data may be absent depends on the instruments:
seconds for a busy book, minutes for a quiet one. So the limit is learned: a multiple
of the longest silence that ended by itself, never below a floor. A silence that made
us reconnect in vain doubles the limit, so that a quiet instrument is not punished
for ever.
"""

from typing import final

__all__ = ["SilenceWatch"]

_FACTOR = 5.0
"""Gaps between messages of a Poisson stream exceed five times the longest of a
hundred seen with a probability near zero; feeds are burstier, hence not less."""


@final
class SilenceWatch:
    """Watches the data of one connection, across its reconnects.

    Args:
        floor: seconds of silence that are never suspicious; None: no silence is.
        factor: how many times the longest harmless silence is suspicious.

    Raises:
        ValueError: the floor is not positive or the factor is below one.
    """

    __slots__ = ("_factor", "_floor", "_heard_at", "_longest", "_patience")

    def __init__(self, floor: float | None, *, factor: float = _FACTOR) -> None:
        if (floor is not None and floor <= 0) or factor < 1:
            msg = f"floor is above 0 and factor at least 1, was {floor}, {factor}"
            raise ValueError(msg)
        self._floor = floor
        self._factor = factor
        self._longest = 0.0
        self._patience = 1.0
        self._heard_at = float("-inf")

    @property
    def limit(self) -> float | None:
        """Seconds of silence that are suspicious now; None: none are."""
        if self._floor is None:
            return None
        return max(self._floor * self._patience, self._factor * self._longest)

    @property
    def deadline(self) -> float | None:
        """When silence becomes suspicious; None: never."""
        limit = self.limit
        return None if limit is None else self._heard_at + limit

    def started(self, now: float) -> None:
        """Note that a connection was made: the silence before it does not count."""
        self._heard_at = now

    def heard(self, now: float) -> None:
        """Note that data came."""
        silence = now - self._heard_at
        if silence > self._longest and self._heard_at > float("-inf"):
            self._longest = silence
        self._heard_at = now
        self._patience = 1.0

    def suspected(self) -> None:
        """Note that a connection was given up for its silence."""
        self._patience *= 2
