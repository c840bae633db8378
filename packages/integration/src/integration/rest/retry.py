"""Whether a failed request is sent again, when, and when nobody can know.

The policy is pure: it is told what happened and answers with seconds or None. It
never lets a request that changes something be sent twice unless it certainly had no
effect: those end as `UnknownOutcome`.
"""

import random
from enum import StrEnum
from typing import Any, final

from integration.errors import (
    ClockSkew,
    Deserialise,
    DnsError,
    Http,
    Maintenance,
    RateLimited,
    RemoteError,
    TlsError,
    Unauthorised,
    UnknownOutcome,
)
from integration.rest.request import RestRequest

__all__ = ["NO_RETRY", "Outcome", "RetryPolicy", "outcome_of"]


_REQUEST_TIMEOUT = 408
"""RFC 9110 §15.5.9: the server gave up waiting; it may have had the whole request."""


class Outcome(StrEnum):
    """What a failure says about the request's effect."""

    NOT_SENT = "not_sent"
    """No byte can have reached the venue."""

    REFUSED = "refused"
    """The venue answered that it did not do it."""

    UNKNOWN = "unknown"
    """It may have been done: no answer, an unreadable one, or a server error."""


def outcome_of(error: Exception, status: int | None = None) -> Outcome:
    """Return what a failure of one attempt says about its effect.

    Args:
        error: How the attempt failed.
        status: HTTP status of the response, None if there was none.
    """
    match error:
        case TlsError() | DnsError():
            return Outcome.NOT_SENT
        case Http(sent=sent):
            return Outcome.UNKNOWN if sent else Outcome.NOT_SENT
        # An answer that cannot be read may well be a confirmation.
        case Deserialise():
            return Outcome.UNKNOWN
        case ClockSkew() | Maintenance() | RateLimited() | Unauthorised():
            return Outcome.REFUSED
        case _ if status is None:
            return Outcome.UNKNOWN
        # 5xx: "the execution status is UNKNOWN", as Binance's documentation puts it.
        case _ if status >= 500 or status == _REQUEST_TIMEOUT:
            return Outcome.UNKNOWN
        case _:
            return Outcome.REFUSED


@final
class RetryPolicy:
    """How often and after how long a request is sent again.

    Args:
        attempts: How often it is sent at most, the first time included.
        initial: Seconds that the first pause is drawn from.
        multiplier: By how much that grows per attempt.
        maximum: Seconds that no pause exceeds. If the venue demands a longer one,
            the error is raised at once with its `retry_after`.
        statuses: Failing statuses that may pass by themselves.
        rng: Where the jitter comes from.

    Raises:
        ValueError: A count is not positive, or a time is negative.
    """

    def __init__(
        self,
        *,
        attempts: int = 3,
        initial: float = 0.2,
        multiplier: float = 2.0,
        maximum: float = 10.0,
        statuses: frozenset[int] = frozenset({408, 500, 502, 503, 504}),
        rng: random.Random | None = None,
    ) -> None:
        if attempts < 1 or initial < 0 or multiplier < 1 or maximum < 0:
            raise ValueError(
                f"a retry policy needs attempts >= 1, initial >= 0, multiplier >= 1 "
                f"and maximum >= 0, was {attempts}, {initial}, {multiplier}, {maximum}"
            )
        self.attempts = attempts
        self._initial = initial
        self._multiplier = multiplier
        self._maximum = maximum
        self._statuses = statuses
        # Jitter spreads clients, it hides nothing: no cryptographic randomness needed.
        self._rng = rng or random.Random()  # noqa: S311 - as above

    def delay(
        self, request: RestRequest[Any], error: Exception, attempt: int
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None for no more.

        Args:
            request: What was sent.
            error: How attempt number `attempt` (from 1) failed.
            attempt: How often it was sent so far.
        """
        if attempt >= self.attempts or not self._may_repeat(request, error):
            return None
        asked = getattr(error, "retry_after", None)
        if asked is not None:
            return None if asked > self._maximum else float(asked)
        ceiling = min(self._maximum, self._initial * self._multiplier ** (attempt - 1))
        return self._rng.uniform(0, ceiling)

    def _may_repeat(self, request: RestRequest[Any], error: Exception) -> bool:
        if not request.is_idempotent() and not isinstance(error, ClockSkew):
            # Even what was not sent is the caller's to decide: prices have moved on.
            return False
        match error:
            case RateLimited() | Maintenance() | ClockSkew():
                return True
            case TlsError() | UnknownOutcome():
                return False
            case Http() | DnsError():
                return True
            case RemoteError(status=status):
                return status in self._statuses
            case _:
                return False


NO_RETRY = RetryPolicy(attempts=1)
"""Send once."""
