import ssl

import pytest
import trio

from integration.execution.venue_side import (
    VenueSide,
    bucket_limiter,
    make_transport,
)
from integration.rest.clock import ServerClock
from integration.rest.httpx_transport import HttpxTransport
from integration.rest.limiter import BucketSpec
from integration.stream.reconnect import ReconnectPolicy
from netcore.models import Model

HOUR = 3600 * 10**9


class Config(Model, frozen=True, kw_only=True):
    recv_window_ms: int = 2500
    ssl_context: ssl.SSLContext | None = None
    policy: ReconnectPolicy = ReconnectPolicy()


class Nowhere:
    def __init__(self):
        self.closed = False

    async def aclose(self):
        await trio.lowlevel.checkpoint()
        self.closed = True


class Side(VenueSide[Config]):
    """A venue whose clock is an hour ahead of ours."""

    asked = 0

    async def _ask_time(self):
        await trio.lowlevel.checkpoint()
        self.asked += 1
        return ServerClock().now_ns() + HOUR


async def test_the_venues_time_is_asked_for_and_believed():
    transport = Nowhere()
    side = Side("instruments", Config(), clock=None, transport=transport)
    ours = ServerClock()

    await side.synchronise()
    first = side.asked
    await side.resynchronise()

    assert side.asked > first > 0
    # Half an hour of either side is room for any machine.
    assert HOUR // 2 < side.now_ns() - ours.now_ns() < HOUR * 3 // 2
    assert (side.recv_window, side.instruments) == (2.5, "instruments")
    assert side.stream_policy == Config().policy
    await side.aclose()
    assert transport.closed


async def test_a_transport_that_was_given_is_used_and_else_one_is_made():
    given = Nowhere()
    context = ssl.create_default_context()

    assert make_transport(given, context) is given
    for made in (make_transport(None, None), make_transport(None, context)):
        assert isinstance(made, HttpxTransport)
        await made.aclose()


async def test_orders_and_questions_are_paid_from_buckets_of_their_own(autojump_clock):
    specs = {"default": BucketSpec(1.0, 10.0), "orders": BucketSpec(1.0, 10.0)}
    limiter = bucket_limiter("https://venue.test:8443/v1", specs, ())
    begin = trio.current_time()

    await limiter.acquire("venue.test:8443", "default")
    await limiter.acquire("venue.test:8443", "orders")
    at_once = trio.current_time() - begin
    await limiter.acquire("venue.test:8443", "orders")

    assert at_once == 0
    assert trio.current_time() - begin == pytest.approx(10.0)
