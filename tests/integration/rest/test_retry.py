import random
from typing import Any, ClassVar

import pytest

from integration.errors import (
    ClockSkew,
    Deserialise,
    DnsError,
    Exchange,
    Http,
    HttpResponse,
    HttpTimeout,
    Maintenance,
    RateLimited,
    TlsError,
    Unauthorised,
    UnknownOutcome,
)
from integration.rest.request import RestRequest
from integration.rest.retry import NO_RETRY, Outcome, RetryPolicy, outcome_of


class Read(RestRequest[Any], frozen=True):
    def path(self):
        return "/"


class Write(Read, frozen=True):
    method: ClassVar[str] = "POST"


TRANSIENT = [
    Http("reset"),
    HttpTimeout("late"),
    DnsError("gone"),
    HttpResponse(503, ""),
    Exchange("busy", status=502),
    RateLimited("slow"),
    Maintenance("closed"),
    ClockSkew("late"),
]
FINAL = [
    TlsError("forged"),
    HttpResponse(404, ""),
    HttpResponse(302, ""),
    Exchange("no", status=400),
    Unauthorised("who?"),
    Deserialise("nonsense", ""),
    UnknownOutcome("?"),
    ValueError("a bug"),
]


def kind(error):
    return f"{type(error).__name__}-{getattr(error, 'status', None)}"


@pytest.mark.parametrize("error", TRANSIENT, ids=kind)
def test_a_read_is_tried_again_after_what_may_pass(error):
    assert RetryPolicy().delay(Read(), error, 1) is not None


@pytest.mark.parametrize("error", FINAL, ids=kind)
def test_a_read_is_not_tried_again_after_what_will_not_pass(error):
    assert RetryPolicy().delay(Read(), error, 1) is None


@pytest.mark.parametrize(
    "error", [e for e in TRANSIENT + FINAL if not isinstance(e, ClockSkew)], ids=kind
)
def test_a_write_is_never_tried_again(error):
    assert RetryPolicy().delay(Write(), error, 1) is None


def test_a_write_refused_for_its_timestamp_was_not_done_and_may_be_repeated():
    assert RetryPolicy().delay(Write(), ClockSkew("late"), 1) is not None


def test_attempts_are_counted():
    policy = RetryPolicy(attempts=3)

    delays = [policy.delay(Read(), Http("reset"), n) for n in (1, 2, 3, 4)]

    assert [delay is None for delay in delays] == [False, False, True, True]
    assert NO_RETRY.delay(Read(), Http("reset"), 1) is None


def test_pauses_are_drawn_from_a_range_that_grows_to_its_maximum():
    rng = random.Random(7)  # noqa: S311 - chance must repeat here
    policy = RetryPolicy(attempts=9, initial=1, multiplier=3, maximum=10, rng=rng)

    for attempt, ceiling in [(1, 1), (2, 3), (3, 9), (4, 10), (8, 10)]:
        drawn = [policy.delay(Read(), Http("reset"), attempt) for _ in range(200)]
        assert 0 <= min(drawn) < ceiling * 0.1
        assert ceiling * 0.9 < max(drawn) <= ceiling


def test_the_venues_own_pause_is_kept():
    error = RateLimited("slow", retry_after=7.5)

    assert RetryPolicy(maximum=10).delay(Read(), error, 1) == 7.5


def test_a_pause_longer_than_the_policys_is_the_callers_to_decide():
    error = RateLimited("banned", retry_after=3600)

    assert RetryPolicy(maximum=10).delay(Read(), error, 1) is None


@pytest.mark.parametrize(
    "arguments",
    [{"attempts": 0}, {"initial": -1}, {"multiplier": 0.5}, {"maximum": -1}],
)
def test_an_impossible_policy_is_refused(arguments):
    with pytest.raises(ValueError, match="a retry policy needs"):
        RetryPolicy(**arguments)


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [
        (TlsError("forged"), None, Outcome.NOT_SENT),
        (DnsError("gone"), None, Outcome.NOT_SENT),
        (Http("refused", sent=False), None, Outcome.NOT_SENT),
        (HttpTimeout("late", sent=False), None, Outcome.NOT_SENT),
        (Http("reset"), None, Outcome.UNKNOWN),
        (HttpTimeout("late"), None, Outcome.UNKNOWN),
        (Deserialise("nonsense", ""), 200, Outcome.UNKNOWN),
        (HttpResponse(500, ""), 500, Outcome.UNKNOWN),
        (HttpResponse(408, ""), 408, Outcome.UNKNOWN),
        (Exchange("timeout inside"), 504, Outcome.UNKNOWN),
        (Maintenance("closed"), 503, Outcome.REFUSED),
        (RateLimited("slow"), 429, Outcome.REFUSED),
        (ClockSkew("late"), 400, Outcome.REFUSED),
        (Unauthorised("who?"), 401, Outcome.REFUSED),
        (HttpResponse(404, ""), 404, Outcome.REFUSED),
        (ValueError("the parser's own"), 400, Outcome.REFUSED),
        (Exchange("no"), 200, Outcome.REFUSED),
        (ValueError("a bug"), None, Outcome.UNKNOWN),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Exception) else str(v),
)
def test_what_a_failure_says_about_the_effect(error, status, outcome):
    assert outcome_of(error, status) is outcome
