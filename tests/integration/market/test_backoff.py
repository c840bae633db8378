import random
from collections import Counter

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import WebSocket
from integration.market.backoff import VenueBackoff
from integration.market.config import StreamConfig
from integration.stream.reconnect import (
    Connected,
    Reconnecting,
    ReconnectingSocket,
    ReconnectPolicy,
)

seeds = st.integers(0, 2**32)


def seeded(seed):
    return VenueBackoff(rng=random.Random(seed))  # noqa: S311  chance must repeat


def attempts(backoff, seconds):
    """When a venue that is away from 0 on is knocked at, until then and once more."""
    times, now = [], 0.0
    while now <= seconds:
        now += backoff.delay(len(times) + 1)
        times.append(now)
    return times


@given(seeds, st.floats(0, 10))
def test_the_return_after_a_short_outage_is_noticed_within_two_seconds(seed, outage):
    assert attempts(seeded(seed), outage)[-1] - outage <= 2.0


@given(seeds, st.floats(10, 3600))
def test_the_return_after_a_long_outage_is_noticed_in_proportion(seed, outage):
    waited = attempts(seeded(seed), outage)[-1] - outage

    assert waited <= min(30.0, 0.3 * outage)


@given(seeds)
def test_one_connection_never_uses_up_what_a_venue_allows(seed):
    times = attempts(seeded(seed), 3600)

    for seconds, most in ((10, 13), (60, 29), (300, 46)):
        busiest = max(sum(at <= t < at + seconds for t in times) for at in times)
        assert busiest <= most


@given(seeds)
def test_the_first_attempt_comes_almost_at_once_and_no_other(seed):
    backoff = seeded(seed)

    assert backoff.delay(0) == 0
    assert backoff.delay(1) <= 0.1
    assert all(backoff.delay(n) >= backoff.ceiling(n) / 2 for n in range(2, 100))


def test_many_clients_of_a_restarted_venue_come_back_spread():
    clients = [attempts(seeded(seed), 5.0) for seed in range(1000)]

    arrivals = Counter(int((times[-1] - 5.0) * 10) for times in clients)

    # Evenly over the last pause would be 50 in each tenth of a second of it.
    assert max(arrivals.values()) <= 120
    assert len(arrivals) >= 15


def test_pauses_never_shrink_and_never_overflow():
    ceilings = [VenueBackoff().ceiling(n) for n in range(200)]

    assert ceilings == sorted(ceilings)
    assert VenueBackoff().ceiling(10**9) == 30.0


@pytest.mark.parametrize(
    "arguments", [{"short": 0}, {"short": 3, "longest": 2}, {"stable_after": -1}]
)
def test_impossible_pauses_are_refused(arguments):
    with pytest.raises(ValueError, match="pauses are above 0"):
        VenueBackoff(**arguments)


def test_market_streams_knock_like_this_unless_told_otherwise():
    assert isinstance(StreamConfig().policy.backoff, VenueBackoff)
    mine = ReconnectPolicy(max_attempts=3)
    assert StreamConfig(reconnect=mine).policy is mine


class Away:
    """A venue that serves, is away for a while, and is back."""

    def __init__(self, away):
        self.begins, self.ends = away
        self.knocks = []

    async def connect(self):
        now = trio.current_time()
        self.knocks.append(now)
        if self.begins <= now < self.ends:
            raise WebSocket("refused")
        return self

    async def next_batch(self):
        if trio.current_time() < self.begins:
            await trio.sleep_until(self.begins)
            raise WebSocket("gone")
        await trio.sleep(1)
        return ["data"]

    async def aclose(self):
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("seed", range(20))
async def test_a_socket_is_back_soon_after_its_venue(seed, autojump_clock):
    venue = Away((trio.current_time() + 100, trio.current_time() + 105))
    policy = ReconnectPolicy(backoff=seeded(seed))
    subject = ReconnectingSocket(venue.connect, policy=policy)
    updates = []

    while "data" not in updates:
        updates += await subject.next_batch()

    assert [type(update) for update in updates[:3]] == [
        Connected,
        Reconnecting,
        Connected,
    ]
    assert venue.knocks[-1] - venue.ends <= 2.0
    assert 5 <= len(venue.knocks) <= 12
