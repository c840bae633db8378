import ssl

import pytest
import trio
import trustme

from integration.errors import TlsError
from integration.market.config import StreamConfig
from integration.market.streams import open_market_streams
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    SubKind,
    Subscription,
)
from integration.testing import SimulatedExchange, SyntheticMarket

SPOT = ExchangeId.BINANCE_SPOT
BTC = MarketDataInstrument.spot("btc", "usdt")
BOOK = [Subscription(SPOT, BTC, SubKind.ORDER_BOOKS_L2)]


@pytest.fixture(scope="module")
def contexts():
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


async def test_one_context_verifies_the_stream_and_the_images(contexts):
    server, client = contexts
    with trio.fail_after(120):
        async with SimulatedExchange(SyntheticMarket(7), ssl_context=server) as sim:
            config = StreamConfig(
                websocket_url={SPOT: sim.websocket_url},
                rest_url={SPOT: sim.rest_url},
                ssl_context=client,
            )
            async with open_market_streams(BOOK, config=config) as streams:
                await sim.advance(sim.time_ns + 1_000_000_000)
                while streams.books[SPOT, BTC].state != "live":
                    await streams.next_batch()


async def test_a_certificate_nobody_trusts_fails_the_opening(contexts):
    server, _ = contexts
    with trio.fail_after(120):
        async with SimulatedExchange(SyntheticMarket(7), ssl_context=server) as sim:
            config = StreamConfig(websocket_url={SPOT: sim.websocket_url})
            with pytest.raises(TlsError):
                async with open_market_streams(BOOK, config=config):
                    pytest.fail("its certificate is of an authority nobody knows")
