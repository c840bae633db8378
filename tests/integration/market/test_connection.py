"""What a connection carries, and what it tells the sessions that are up."""

from types import SimpleNamespace

from integration.exchanges.registry import connector_for
from integration.market.config import StreamConfig
from integration.market.connection import Connection
from integration.market.outlet import Outlet
from integration.market.planner import plan
from integration.models import ExchangeId, MarketDataInstrument, SubKind, Subscription
from integration.rest.limiter import RateLimiter

BTC = MarketDataInstrument.perpetual("btc", "usdt")
ETH = MarketDataInstrument.perpetual("eth", "usdt")


class Session:
    """A session as far as subscriptions go: a real transformer, a list of requests."""

    def __init__(self, connector):
        self.transformer = connector.transformer()
        self.asked = []
        self.left = []

    def subscribe(self, topics):
        self.asked.extend(topics)

    def unsubscribe(self, topics):
        self.left.extend(topics)


def planned(*subscriptions):
    (found,) = plan(subscriptions, connector_for=connector_for, websocket_url={})
    return found


def connected(first):
    connection = Connection(
        0,
        first,
        connector_for(first.exchange),
        config=StreamConfig(),
        outlet=Outlet(10),
        images=None,
        limiter=RateLimiter({}),
    )
    session = Session(connection.connector)
    connection.relay = SimpleNamespace(sessions=[session])
    return connection, session


async def test_an_instrument_added_to_a_topic_that_runs_is_expected_at_once():
    exchange, kind = ExchangeId.OKX, SubKind.LIQUIDATIONS
    connection, session = connected(planned(Subscription(exchange, BTC, kind)))
    late = planned(Subscription(exchange, ETH, kind))
    row = b'{"instId":"ETH-USDT-SWAP","details":[%s]}' % (
        b'{"bkPx":"1","side":"sell","sz":"2","ts":"1"}'
    )
    message = b'{"arg":{"channel":"liquidation-orders"},"data":[%s]}' % row

    waits = list(connection.add(late.wanted).values())
    (event,) = session.transformer.feed(message, 1)
    connection.drop(late.wanted)
    (after,) = session.transformer.feed(message, 1)

    assert waits == session.asked == session.left == []
    assert event.instrument == ETH
    assert not hasattr(after, "instrument")


async def test_a_kind_added_to_a_topic_that_runs_comes_without_asking_for_it():
    exchange = ExchangeId.HYPERLIQUID
    swap = MarketDataInstrument.perpetual("btc", "usd")
    first, second = (
        planned(Subscription(exchange, swap, kind))
        for kind in (SubKind.MARK_PRICES, SubKind.OPEN_INTEREST)
    )
    connection, session = connected(first)
    session.transformer.add(first.topics[0], swap, kind=SubKind.MARK_PRICES)
    numbers = b'"funding":"0","openInterest":"1","markPx":"2","oraclePx":"3"'
    message = b'{"channel":"activeAssetCtx","data":{"coin":"BTC","ctx":{%s}}}' % numbers

    def names():
        return [event.kind_name for event in session.transformer.feed(message, 1)]

    before = names()
    connection.add(second.wanted)
    both = names()
    connection.drop(first.wanted)
    rest = names()
    connection.drop(second.wanted)

    assert before == ["mark_price"]
    assert both == ["mark_price", "open_interest"]
    assert rest == ["open_interest"]
    assert session.asked == []
    assert session.left == list(first.topics)
