"""Requests within a venue's limits: weighted token buckets, shared and corrected.

`TokenBucket` is the arithmetic and is pure: every method is told the time.
`RateLimiter` is the thin trio shell around many of them: one bucket per (host, name),
first come first served, on trio's clock. Several clients may share one limiter; the
venue's own counters, read from response headers, correct it.

It limits rates, not concurrency: for that there is `trio.CapacityLimiter`.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import final

import msgspec
import trio

from integration.errors import LocalError
from integration.rest.parser import http_date

__all__ = [
    "BINANCE_FEEDBACK",
    "BYBIT_FEEDBACK",
    "IETF_FEEDBACK",
    "KUCOIN_FEEDBACK",
    "BucketSpec",
    "Counter",
    "Feedback",
    "RateLimiter",
    "ResetForm",
    "TokenBucket",
]


_MINUTE = 60.0

_TOLERANCE = 1e-6
"""Seconds that count as none: less than that is float rounding of a clock's reading."""


class BucketSpec(msgspec.Struct, frozen=True):
    """The size of a bucket: `capacity` units of weight per `period` seconds."""

    capacity: float
    period: float = 60.0

    def __post_init__(self) -> None:
        """Refuse a bucket that would never fill.

        Raises:
            ValueError: If a size is not positive.
        """
        if not (self.capacity > 0 and self.period > 0):
            raise ValueError(f"a bucket's sizes must be positive, were {self}")


@final
class TokenBucket:
    """A bucket that fills at a constant rate and starts full.

    Args:
        spec: Its size.
        now: The present, in seconds of whatever clock the caller uses throughout.
    """

    __slots__ = ("_blocked_until", "_refills_at", "_tokens", "_updated", "spec")

    def __init__(self, spec: BucketSpec, now: float) -> None:
        self.spec = spec
        self._tokens = float(spec.capacity)
        self._updated = now
        self._blocked_until = now
        self._refills_at: float | None = None

    def available(self, now: float) -> float:
        """Return the weight that could be spent at `now`."""
        self._fill(now)
        return self._tokens if now >= self._blocked_until else 0.0

    def wait(self, weight: float, now: float) -> float:
        """Return the seconds until `weight` can be spent; 0.0 means it can now."""
        self._fill(now)
        missing = weight - self._tokens
        if missing > 0 and self._refills_at is not None:
            seconds = self._refills_at - now
        else:
            seconds = missing * self.spec.period / self.spec.capacity
        seconds = max(seconds, self._blocked_until - now)
        return seconds if seconds > _TOLERANCE else 0.0

    def take(self, weight: float, now: float) -> None:
        """Spend `weight`, which must be available.

        Raises:
            LocalError: If it is not: `wait` was not asked.
        """
        if self.wait(weight, now) > 0:
            raise LocalError(f"{weight} is not available in {self!r}")
        self._tokens -= weight

    def limit_to(self, tokens: float, now: float) -> None:
        """Take the venue's word that no more than `tokens` are left."""
        self._fill(now)
        self._tokens = max(0.0, min(self._tokens, tokens))

    def fill_in(self, seconds: float, now: float) -> None:
        """Take the venue's word that it counts anew in `seconds`, and not before.

        A venue that counts in fixed windows gives nothing back within one: whoever
        spends at a constant rate on top of a full bucket asks for too much. What is
        left stays so until then, when all of it is there again.
        """
        self._fill(now)
        self._refills_at = now + seconds

    def block(self, seconds: float, now: float) -> None:
        """Let nothing through for `seconds` (a Retry-After)."""
        self._blocked_until = max(self._blocked_until, now + seconds)

    def _fill(self, now: float) -> None:
        if self._refills_at is not None:
            # Seconds that are none count as over: a sleep may end a hair too early.
            if now < self._refills_at - _TOLERANCE:
                return
            self._refills_at = None
            self._tokens, self._updated = float(self.spec.capacity), now
        gained = max(0.0, now - self._updated) * self.spec.capacity / self.spec.period
        self._tokens = min(self.spec.capacity, self._tokens + gained)
        self._updated = max(now, self._updated)

    def __repr__(self) -> str:
        return f"TokenBucket({self.spec}, tokens={self._tokens:g})"


class Counter(StrEnum):
    """What a header's number counts."""

    USED = "used"
    REMAINING = "remaining"


class ResetForm(StrEnum):
    """How a header says when the count starts anew."""

    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    EPOCH_MS = "epoch_ms"
    MINUTE = "minute"
    """Not at all, but it counts in full minutes: `Date` tells which second it is."""


class Feedback(msgspec.Struct, frozen=True):
    """A response header that tells how full a bucket is.

    Attributes:
        header: Its name in lower case.
        counter: Whether it counts what is used or what remains.
        bucket: Which bucket it speaks of; None: the one that paid for the request.
        reset: Header that says when the count starts anew; only looked at when
            nothing remains, except for `ResetForm.MINUTE`.
        form: How that header says it.
        clock: Header with the venue's time (epoch ms), for `ResetForm.EPOCH_MS`.
    """

    header: str
    counter: Counter
    bucket: str | None = None
    reset: str | None = None
    form: ResetForm = ResetForm.SECONDS
    clock: str = "timenow"


BINANCE_FEEDBACK = (
    Feedback(
        "x-mbx-used-weight-1m",
        Counter.USED,
        "default",
        reset="date",
        form=ResetForm.MINUTE,
    ),
    Feedback("x-mbx-order-count-1m", Counter.USED, "orders"),
)
"""https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits"""

BYBIT_FEEDBACK = (
    Feedback(
        "x-bapi-limit-status",
        Counter.REMAINING,
        reset="x-bapi-limit-reset-timestamp",
        form=ResetForm.EPOCH_MS,
    ),
)
"""https://bybit-exchange.github.io/docs/v5/rate-limit"""

IETF_FEEDBACK = (
    Feedback("ratelimit-remaining", Counter.REMAINING, reset="ratelimit-reset"),
)
"""draft-ietf-httpapi-ratelimit-headers-07, as several venues send it."""

KUCOIN_FEEDBACK = (
    Feedback(
        "gw-ratelimit-remaining",
        Counter.REMAINING,
        reset="gw-ratelimit-reset",
        form=ResetForm.MILLISECONDS,
    ),
)
"""https://www.kucoin.com/docs-new/rate-limit"""


@final
class RateLimiter:
    """Makes requests wait until their bucket can pay.

    Buckets that were not declared are unlimited, except that a pause applies to them.

    Args:
        buckets: Sizes by (host, bucket name); host `"*"` is for every host that has
            none of its own (each still gets a bucket to itself).
        feedback: Headers by which venues report.
    """

    def __init__(
        self,
        buckets: Mapping[tuple[str, str], BucketSpec],
        *,
        feedback: Iterable[Feedback] = (),
    ) -> None:
        self._specs = dict(buckets)
        self._feedback = tuple(feedback)
        self._buckets: dict[tuple[str, str], TokenBucket] = {}
        self._queues: dict[tuple[str, str], trio.Lock] = {}
        self._paused_until: dict[str, float] = {}

    async def acquire(
        self, host: str, bucket: str = "default", *, weight: float = 1
    ) -> float:
        """Wait for our turn and pay; nothing is paid if cancelled.

        Returns:
            The seconds that were waited.

        Raises:
            LocalError: The weight exceeds the bucket's capacity: it would never pass.
        """
        key = (host, bucket)
        spec = self._spec(key)
        if spec is not None and weight > spec.capacity:
            raise LocalError(
                f"weight {weight} exceeds the {spec.capacity} that bucket {bucket!r} "
                f"of {host} ever holds; split the request or enlarge the bucket"
            )
        started = trio.current_time()
        # trio's lock is fair: who came first pays first, however heavy.
        async with self._queues.setdefault(key, trio.Lock()):
            # Time is what we wait for, and a header may prolong it meanwhile.
            while (delay := self._delay(key, weight)) > 0:  # noqa: ASYNC110 - as above
                await trio.sleep(delay)
            held = self._bucket(key)
            if held is not None:
                held.take(weight, trio.current_time())
        return trio.current_time() - started

    def pause(self, host: str, seconds: float) -> None:
        """Let no request to `host` through for `seconds`, whatever its bucket."""
        until = trio.current_time() + seconds
        self._paused_until[host] = max(self._paused_until.get(host, until), until)

    def observe(self, host: str, bucket: str, headers: Mapping[str, str]) -> None:
        """Correct a host's buckets by what a response's headers say.

        Unreadable counters are ignored: they are advice, not data.

        Args:
            host: Who answered.
            bucket: Which bucket paid for the request.
            headers: Header fields, names in lower case.
        """
        for rule in self._feedback:
            count = _number(headers.get(rule.header))
            held = self._bucket((host, rule.bucket or bucket))
            if count is None or held is None:
                continue
            now = trio.current_time()
            used = rule.counter is Counter.USED
            left = held.spec.capacity - count if used else count
            held.limit_to(left, now)
            if rule.form is ResetForm.MINUTE:
                until = _until_reset(rule, headers)
                if until:
                    held.fill_in(min(until, held.spec.period), now)
            elif left <= 0:
                # Never longer than a period: a wrong header must not stop us for good.
                held.block(min(_until_reset(rule, headers), held.spec.period), now)

    def available(self, host: str, bucket: str = "default") -> float | None:
        """Return the weight that could be spent now; None if unlimited."""
        held = self._bucket((host, bucket))
        return None if held is None else held.available(trio.current_time())

    def _delay(self, key: tuple[str, str], weight: float) -> float:
        now = trio.current_time()
        held = self._bucket(key)
        pause = self._paused_until.get(key[0], now) - now
        return max(pause, 0.0 if held is None else held.wait(weight, now))

    def _spec(self, key: tuple[str, str]) -> BucketSpec | None:
        return self._specs.get(key) or self._specs.get(("*", key[1]))

    def _bucket(self, key: tuple[str, str]) -> TokenBucket | None:
        held = self._buckets.get(key)
        if held is None:
            spec = self._spec(key)
            if spec is None:
                return None
            held = self._buckets[key] = TokenBucket(spec, trio.current_time())
        return held


def _number(text: str | None) -> float | None:
    if text is None or not text.strip().isascii() or not text.strip().isdigit():
        return None
    return float(text)


def _until_reset(rule: Feedback, headers: Mapping[str, str]) -> float:
    """Seconds until the venue's count starts anew; 0.0 if it does not say."""
    if rule.form is ResetForm.MINUTE:
        date = http_date(headers.get(rule.reset or "", ""))
        return 0.0 if date is None else _MINUTE - date.second
    reset = _number(headers.get(rule.reset or ""))
    if reset is None:
        return 0.0
    match rule.form:
        case ResetForm.SECONDS:
            return reset
        case ResetForm.MILLISECONDS:
            return reset / 1000
        case ResetForm.EPOCH_MS:
            # A moment of the venue's clock means nothing without that clock's reading.
            sent = _number(headers.get(rule.clock))
            return 0.0 if sent is None else max(0.0, (reset - sent) / 1000)
