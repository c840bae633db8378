import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import LocalError
from integration.rest.limiter import (
    BINANCE_FEEDBACK,
    BYBIT_FEEDBACK,
    IETF_FEEDBACK,
    KUCOIN_FEEDBACK,
    BucketSpec,
    RateLimiter,
    TokenBucket,
)

HOST = "api.example.com"


def limiter(capacity=10, period=10.0, feedback=(), host=HOST, bucket="default"):
    return RateLimiter(
        {(host, bucket): BucketSpec(capacity, period)}, feedback=feedback
    )


def test_a_bucket_starts_full_and_refills_at_its_rate():
    bucket = TokenBucket(BucketSpec(10, 5.0), now=100.0)

    bucket.take(10, 100.0)

    assert bucket.available(100.0) == 0
    assert bucket.available(101.0) == pytest.approx(2)
    assert bucket.wait(4, 101.0) == pytest.approx(1.0)
    assert bucket.available(1000.0) == 10


def test_a_bucket_does_not_give_what_it_has_not():
    bucket = TokenBucket(BucketSpec(1, 1.0), now=0.0)
    bucket.take(1, 0.0)

    with pytest.raises(LocalError, match="not available"):
        bucket.take(1, 0.5)


def test_a_clock_that_goes_back_gives_nothing_away():
    bucket = TokenBucket(BucketSpec(10, 10.0), now=100.0)
    bucket.take(10, 100.0)

    assert bucket.available(50.0) == 0
    assert bucket.available(101.0) == pytest.approx(1)


@pytest.mark.parametrize("sizes", [(0, 1.0), (1, 0.0), (-1, 1.0)])
def test_a_bucket_without_size_is_refused(sizes):
    with pytest.raises(ValueError, match="positive"):
        BucketSpec(*sizes)


@given(
    st.lists(
        st.tuples(st.floats(0.001, 5.0), st.floats(0.0, 3.0)), min_size=1, max_size=60
    )
)
def test_never_more_passes_in_any_window_than_a_full_bucket_and_its_refill(demands):
    """Whatever is asked for, each time after the wait that was answered."""
    spec = BucketSpec(5.0, 2.0)
    bucket = TokenBucket(spec, now=0.0)
    now, taken = 0.0, []
    for weight, pause in demands:
        now += pause
        now += bucket.wait(weight, now)
        bucket.take(weight, now)
        taken.append((now, weight))

    for i, (start, _) in enumerate(taken):
        spent = 0.0
        for end, weight in taken[i:]:
            spent += weight
            refill = (end - start) * spec.capacity / spec.period
            assert spent <= spec.capacity + refill + 1e-4


async def test_a_request_that_fits_does_not_wait(autojump_clock):
    subject = limiter(10)

    assert await subject.acquire(HOST, weight=10) == 0
    assert subject.available(HOST) == 0


async def test_a_request_that_does_not_fit_waits_for_the_refill(autojump_clock):
    subject = limiter(10, period=10.0)
    await subject.acquire(HOST, weight=10)

    assert await subject.acquire(HOST, weight=3) == pytest.approx(3.0)


async def test_first_come_first_served_even_if_the_first_is_heavy(autojump_clock):
    subject = limiter(10, period=10.0)
    await subject.acquire(HOST, weight=10)
    served = []

    async def ask(name, weight):
        await subject.acquire(HOST, weight=weight)
        served.append((name, round(trio.current_time() - start, 3)))

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for name, weight in [("heavy", 8), ("light", 1), ("last", 2)]:
            nursery.start_soon(ask, name, weight)
            await trio.testing.wait_all_tasks_blocked()

    assert served == [("heavy", 8.0), ("light", 9.0), ("last", 11.0)]


async def test_a_cancelled_request_pays_nothing_and_holds_nobody_up(autojump_clock):
    subject = limiter(10, period=10.0)
    await subject.acquire(HOST, weight=10)
    with trio.move_on_after(1.0) as scope:
        await subject.acquire(HOST, weight=10)

    assert scope.cancelled_caught
    assert await subject.acquire(HOST, weight=5) == pytest.approx(4.0)


async def test_what_never_fits_is_refused_at_once():
    with pytest.raises(LocalError, match="exceeds the 10"):
        await limiter(10).acquire(HOST, weight=11)


async def test_undeclared_buckets_are_free_except_for_pauses(autojump_clock):
    subject = limiter(1)

    assert await subject.acquire("other", weight=1000) == 0
    assert subject.available("other") is None
    subject.pause("other", 2.0)
    assert await subject.acquire("other") == pytest.approx(2.0)


async def test_a_star_gives_every_host_a_bucket_of_its_own(autojump_clock):
    subject = limiter(1, period=1.0, host="*")

    assert await subject.acquire("a") == 0
    assert await subject.acquire("b") == 0
    assert await subject.acquire("a") == pytest.approx(1.0)


async def test_a_pause_holds_all_buckets_of_the_host(autojump_clock):
    subject = limiter(10)
    subject.pause(HOST, 5.0)
    subject.pause(HOST, 1.0)  # a shorter one does not undo it

    assert await subject.acquire(HOST) == pytest.approx(5.0)
    assert await subject.acquire(HOST, "orders") == 0


async def test_a_pause_that_comes_during_the_wait_prolongs_it(autojump_clock):
    subject = limiter(1, period=2.0)
    await subject.acquire(HOST)

    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            await trio.sleep(1.0)
            subject.pause(HOST, 9.0)

        assert await subject.acquire(HOST) == pytest.approx(10.0)


async def test_binance_tells_what_is_used():
    subject = limiter(6000, feedback=BINANCE_FEEDBACK)

    subject.observe(HOST, "default", {"x-mbx-used-weight-1m": "5900"})

    assert subject.available(HOST) == pytest.approx(100, abs=1)


async def test_a_venue_never_gives_more_than_we_count_ourselves(autojump_clock):
    subject = limiter(10, feedback=IETF_FEEDBACK)
    await subject.acquire(HOST, weight=8)

    subject.observe(HOST, "default", {"ratelimit-remaining": "9"})

    assert subject.available(HOST) == pytest.approx(2)


@pytest.mark.parametrize(
    ("feedback", "headers", "wait"),
    [
        (IETF_FEEDBACK, {"ratelimit-remaining": "0", "ratelimit-reset": "3"}, 3.0),
        (
            KUCOIN_FEEDBACK,
            {"gw-ratelimit-remaining": "0", "gw-ratelimit-reset": "3000"},
            3.0,
        ),
        (
            BYBIT_FEEDBACK,
            {
                "x-bapi-limit-status": "0",
                "x-bapi-limit-reset-timestamp": "1700000003000",
                "timenow": "1700000000000",
            },
            3.0,
        ),
        (BYBIT_FEEDBACK, {"x-bapi-limit-status": "0"}, 1.0),
        (
            BYBIT_FEEDBACK,
            {
                "x-bapi-limit-status": "0",
                "x-bapi-limit-reset-timestamp": "1700000003000",
            },
            1.0,
        ),
        (IETF_FEEDBACK, {"ratelimit-remaining": "0", "ratelimit-reset": "9999"}, 10.0),
        (IETF_FEEDBACK, {"ratelimit-remaining": "many"}, 0.0),
        (IETF_FEEDBACK, {}, 0.0),
    ],
)
async def test_a_venue_without_any_left_is_left_alone_until_its_reset(
    autojump_clock, feedback, headers, wait
):
    subject = limiter(10, period=10.0, feedback=feedback)

    subject.observe(HOST, "default", headers)

    assert await subject.acquire(HOST) == pytest.approx(wait)


async def test_feedback_for_a_bucket_nobody_declared_is_ignored():
    limiter(10, feedback=IETF_FEEDBACK).observe("x", "y", {"ratelimit-remaining": "0"})
