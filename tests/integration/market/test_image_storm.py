"""Images of hundreds of books at once, at a venue that counts their weight."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import trio

from integration.exchanges.registry import connector_for
from integration.market.config import StreamConfig
from integration.market.connector import Topic
from integration.market.images import ImageJob, ImageScheduler
from integration.market.streams import open_market_streams
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    SubKind,
    Subscription,
)
from integration.rest.client import RestClient
from integration.rest.limiter import BucketSpec, RateLimiter
from integration.rest.signer import PublicNoHeaders
from integration.rest.transport import RawResponse
from integration.testing import SimulatedExchange, SyntheticMarket
from integration.testing.limits import Verdict, WeightWindow

SPOT = connector_for(ExchangeId.BINANCE_SPOT)
SYMBOLS = [f"COIN{n}USDT" for n in range(566)]
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
IMAGE = b'{"lastUpdateId":1,"bids":[["1","1"]],"asks":[["2","1"]]}'


class Venue:
    """Binance's weights on a clock of the test; a transport without a network."""

    def __init__(self, start):
        self.start = start
        self.window = WeightWindow(6000, 20)
        self.verdicts = []

    def now(self):
        return self.start + trio.current_time()

    async def send(self, prepared):
        await trio.sleep(0.05)
        charge = self.window.charge(50, self.now())
        self.verdicts.append(charge.verdict)
        moment = MIDNIGHT + timedelta(seconds=self.now())
        await trio.sleep(0.05)
        return RawResponse(
            status=charge.verdict.value,
            headers={
                "x-mbx-used-weight-1m": str(charge.used),
                "date": format_datetime(moment, usegmt=True),
            },
            content=IMAGE,
            bytes_in=len(IMAGE),
            headers_ns=0,
            body_ns=0,
        )

    async def aclose(self):
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("start", [0.0, 31.7, 59.2])
async def test_a_storm_of_images_stays_within_the_venues_minutes(
    nursery, autojump_clock, start
):
    venue, came, done = Venue(start), [], trio.Event()
    client = RestClient(
        "https://venue.test",
        PublicNoHeaders(),
        SPOT.rest_parser(),
        transport=venue,
        limiter=RateLimiter(
            {("venue.test", "default"): BucketSpec(SPOT.limits.rest_weight)},
            feedback=SPOT.rest_feedback,
        ),
    )
    images = ImageScheduler(SPOT, client, concurrency=4)

    def deliver(_image):
        came.append(venue.now())
        if len(came) == len(SYMBOLS):
            done.set()

    for symbol in SYMBOLS:
        request = SPOT.image_request(Topic("x", symbol), None)
        assert request.weight == 50
        images.request(
            ImageJob(
                request=request,
                urgent=False,
                wanted=lambda: True,
                deliver=deliver,
                failed=lambda error: pytest.fail(str(error)),
            )
        )
    nursery.start_soon(images.run)
    with trio.fail_after(600):
        await done.wait()

    assert set(venue.verdicts) == {Verdict.ALLOWED}
    # 28,300 of weight are five minutes' worth, the first of which had begun.
    assert trio.current_time() < 5 * 60


async def test_the_limit_of_a_venue_at_another_port_is_kept_as_well():
    exchange = ExchangeId.BINANCE_SPOT
    wanted = Subscription(
        exchange, MarketDataInstrument.spot("btc", "usdt"), SubKind.ORDER_BOOKS_L2
    )
    async with SimulatedExchange(SyntheticMarket(7)) as sim:
        config = StreamConfig(
            websocket_url={exchange: sim.websocket_url},
            rest_url={exchange: sim.rest_url},
        )
        async with open_market_streams([wanted], config=config) as streams:
            limiter = streams._venues[exchange].limiter
            host = sim.rest_url.removeprefix("http://")

            assert limiter.available(host) is not None, "nobody counts"
