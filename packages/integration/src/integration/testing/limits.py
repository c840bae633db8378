"""How a venue counts: messages per second, connections per window, request weight.

Pure: the time is given, in seconds of any monotonic clock.
"""

import math
from collections import deque
from enum import Enum
from typing import NamedTuple

__all__ = ["Charge", "SlidingWindow", "Verdict", "WeightWindow"]

_MINUTE: float = 60.0
# The venue bans for 2 minutes first ("Rest API", IP Limits: 2 minutes to 3 days).
_BAN: float = 120.0


class SlidingWindow:
    """At most `limit` hits within any `window_s` seconds."""

    __slots__ = ("_hits", "_limit", "_window")

    def __init__(self, limit: int, window_s: float) -> None:
        self._hits: deque[float] = deque()
        self._limit = limit
        self._window = window_s

    def hit(self, now_s: float) -> bool:
        """Count one hit; False if it is one too many (and not counted)."""
        while self._hits and self._hits[0] <= now_s - self._window:
            self._hits.popleft()
        if len(self._hits) >= self._limit:
            return False
        self._hits.append(now_s)
        return True


class Verdict(Enum):
    """What becomes of a request; the value is the HTTP status."""

    ALLOWED = 200
    SLOW_DOWN = 429
    BANNED = 418


class Charge(NamedTuple):
    """The outcome of charging one request.

    Attributes:
        verdict: Whether it may pass.
        used: Weight used in this minute, this request included.
        retry_after: Seconds until it may be tried again; 0 if allowed.
    """

    verdict: Verdict
    used: int
    retry_after: int


class WeightWindow:
    """Request weight of one address in fixed minutes, with a ban for the deaf.

    Args:
        limit: Weight per minute.
        requests_until_ban: Requests after the first refusal of a minute that are
            refused before the address is banned.
    """

    __slots__ = ("_banned_until", "_ends", "_limit", "_refused", "_tolerance", "_used")

    def __init__(self, limit: int, requests_until_ban: int) -> None:
        self._limit = limit
        self._tolerance = requests_until_ban
        self._ends = -math.inf
        self._banned_until = -math.inf
        self._used = self._refused = 0

    def charge(self, weight: int, now_s: float) -> Charge:
        """Count a request and say what becomes of it."""
        if now_s < self._banned_until:
            left = math.ceil(self._banned_until - now_s)
            return Charge(Verdict.BANNED, self._used, left)
        if now_s >= self._ends:
            self._ends = (math.floor(now_s / _MINUTE) + 1) * _MINUTE
            self._used = self._refused = 0
        self._used += weight
        if self._used <= self._limit:
            return Charge(Verdict.ALLOWED, self._used, 0)
        self._refused += 1
        if self._refused > self._tolerance:
            self._banned_until = now_s + _BAN
            return Charge(Verdict.BANNED, self._used, math.ceil(_BAN))
        left = max(1, math.ceil(self._ends - now_s))
        return Charge(Verdict.SLOW_DOWN, self._used, left)
