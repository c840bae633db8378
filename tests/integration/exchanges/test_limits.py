"""What we allow ourselves is never more than a venue publishes that it allows.

Copied from the venues' own pages; a limit that a page leaves open is left out.
"""

import pytest

from integration.exchanges.registry import connector_for, exchanges
from integration.models import MarketDataInstrument, SubKind, Subscription

DAY = 86_400.0
PUBLISHED = {
    # developers.binance.com, "General WSS information": 300 connections in 5 minutes.
    "binance_spot": {"topics": 1024, "messages": 5, "connecting": (300, 300)},
    "binance_us": {"topics": 1024, "messages": 5, "connecting": (300, 300)},
    "binance_futures_usd": {"topics": 1024, "messages": 10, "connecting": (300, 300)},
    "binance_futures_coin": {"topics": 1024, "messages": 10, "connecting": (300, 300)},
    # bybit-exchange.github.io/docs/v5/ws/connect: 10 args a request for spot.
    "bybit_spot": {"args": 10, "connecting": (500, 300)},
    "bybit_perpetuals_usd": {"args": 10, "connecting": (500, 300)},
    # www.okx.com/docs-v5, "Connect": 3 in a second, 64 KiB of channels.
    "okx": {"bytes": 65_536, "connecting": (3, 1)},
    # docs.cdp.coinbase.com, "Rate limits": 8 requests and connections in a second.
    "coinbase": {"messages": 8, "connecting": (8, 1)},
    "coinbase_advanced": {"messages": 8, "connecting": (8, 1)},
    # docs.bitfinex.com, "Requirements and limitations": 25 channels, 20 in a minute.
    "bitfinex": {"topics": 25, "connecting": (20, 60)},
    # www.bitmex.com/app/wsAPI: 20 topics a request, 20 connections in a minute.
    "bitmex": {"args": 20, "connecting": (20, 60)},
    # docs.kraken.com, "WebSocket rate limits": 150 in a rolling ten minutes.
    "kraken": {"connecting": (150, 600)},
    "kraken_v2": {"connecting": (150, 600)},
    # docs.deribit.com, "Rate limits": 32 connections of an address, 500 channels.
    "deribit": {"topics": 500, "connecting": (32, 60)},
    # hyperliquid.gitbook.io, "Rate limits": 1000 subscriptions, 2000 messages a minute.
    "hyperliquid": {"topics": 1000, "messages": 2000 / 60},
    # www.gate.io/docs/developers/apiv4: 300 connections of an address.
    **{e: {"connecting": (300, 60)} for e in exchanges() if e.startswith("gateio")},
    # www.bitstamp.net/websocket/v2: closed after 90 days.
    "bitstamp": {},
}
LIFETIMES = {
    **{name: DAY for name in PUBLISHED if name.startswith("binance")},
    "bitstamp": 90 * DAY,
}
WEIGHTS = {"binance_spot": 6000, "binance_futures_usd": 2400}


@pytest.mark.parametrize("exchange", ["kraken", "kraken_v2"])
@pytest.mark.parametrize(
    ("wanted", "kept"), [(None, 10), (10, 10), (11, 25), (1000, 1000), (5000, 1000)]
)
def test_a_book_of_kraken_is_cut_as_the_venue_cuts_it(exchange, wanted, kept):
    connector = connector_for(exchange)
    spot = MarketDataInstrument.spot("btc", "usd")
    book = Subscription(exchange, spot, SubKind.ORDER_BOOKS_L2, depth=wanted)

    assert connector.book_depth(book) == kept
    assert connector.topic(book).parameters == (str(kept),)


def test_every_venue_is_here():
    assert set(PUBLISHED) == set(exchanges())


@pytest.mark.parametrize("exchange", sorted(PUBLISHED))
def test_we_stay_within_what_the_venue_allows(exchange):
    limits, published = connector_for(exchange).limits, PUBLISHED[exchange]

    allowed = published.get("connecting", (limits.connections, 1))
    assert limits.connections <= allowed[0]
    rate = limits.connections / limits.connections_period
    assert rate <= allowed[0] / allowed[1]
    assert limits.topics_per_connection <= published.get("topics", 500)
    assert limits.topics_per_message <= published.get("args", 200)
    assert limits.bytes_per_message <= published.get("bytes", 16_384)
    assert limits.messages_per_second <= published.get("messages", 5)
    assert limits.rest_weight <= WEIGHTS.get(exchange, 6000)
    assert limits.lifetime == LIFETIMES.get(exchange)
