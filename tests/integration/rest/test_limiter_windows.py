"""Venues that count in full minutes: what is left stays so until the next begins."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from integration.rest.limiter import (
    BINANCE_FEEDBACK,
    BucketSpec,
    RateLimiter,
    TokenBucket,
)
from integration.testing.limits import Verdict, WeightWindow

HOST = "venue.test"


def date(second):
    return f"Sun, 06 Nov 1994 08:49:{second:02d} GMT"  # RFC 9110 section 5.6.7


def told(used, second):
    return {"x-mbx-used-weight-1m": str(used), "date": date(second)}


def limiter(capacity):
    buckets = {(HOST, "default"): BucketSpec(capacity)}
    return RateLimiter(buckets, feedback=BINANCE_FEEDBACK)


async def test_what_is_left_of_a_minute_is_not_refilled_within_it(autojump_clock):
    subject = limiter(6000)
    subject.observe(HOST, "default", told(used=5900, second=20))

    assert subject.available(HOST) == 100
    await trio.sleep(39)
    assert subject.available(HOST) == 100
    await trio.sleep(1)
    assert subject.available(HOST) == 6000


async def test_what_does_not_fit_waits_for_the_next_minute(autojump_clock):
    subject = limiter(6000)
    subject.observe(HOST, "default", told(used=5900, second=20))

    assert await subject.acquire(HOST, weight=100) == 0.0
    assert await subject.acquire(HOST, weight=50) == pytest.approx(40)
    assert subject.available(HOST) == pytest.approx(5950, abs=1)


@pytest.mark.parametrize(
    "said",
    ["", "soon", "Sun, 06 Nov 1994", f"Sun, 06 Nov {'9' * 20} 08:49:20 GMT"],
)
async def test_without_a_readable_date_it_refills_at_its_rate(autojump_clock, said):
    subject = limiter(6000)
    subject.observe(HOST, "default", {"x-mbx-used-weight-1m": "6000", "date": said})

    await trio.sleep(1)

    assert subject.available(HOST) == pytest.approx(100)


def test_the_venues_word_about_a_window_is_kept_by_the_bucket():
    bucket = TokenBucket(BucketSpec(60.0), 0.0)
    bucket.take(50, 0.0)
    bucket.fill_in(5.0, 10.0)

    assert bucket.wait(30, 10.0) == 5.0  # 20 are there, and no more before then
    assert bucket.available(14.0) == 20.0
    assert bucket.available(15.0) == 60.0
    bucket.take(60, 15.0)
    # Until it speaks again we count by ourselves.
    assert bucket.wait(1, 15.0) == 1.0


@given(
    st.integers(0, 59),
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
    st.integers(1, 8),
)
async def test_a_venue_of_full_minutes_never_has_to_refuse(start, weights, workers):
    """However many ask at once, and whenever in its minute they begin."""
    now = float(start)
    venue, bucket = WeightWindow(100, 10), TokenBucket(BucketSpec(100.0), now)
    waiting, flying = list(weights), []
    while waiting or flying:
        while waiting and len(flying) < workers and not bucket.wait(waiting[0], now):
            weight = waiting.pop(0)
            bucket.take(weight, now)
            flying.append(venue.charge(weight, now))
        if flying:
            charge = flying.pop(0)
            assert charge.verdict is Verdict.ALLOWED
            bucket.limit_to(100 - charge.used, now)
            bucket.fill_in(60 - now % 60, now)
        else:
            now += bucket.wait(waiting[0], now)
