import itertools
from decimal import Decimal

import pytest

from integration.market.arbitration import FeedArbiter
from integration.market.keeper import BookKeeper
from integration.market.reports import Reconnecting
from integration.market.sequencing import ID_RANGE
from integration.models import (
    Candle,
    ExchangeId,
    Level,
    Liquidation,
    MarketDataInstrument,
    MarketEvent,
    OrderBookL1,
    PublicTrade,
    Side,
)

VENUE = ExchangeId.BINANCE_SPOT
BTC = MarketDataInstrument.spot("btc", "usdt")
MS = 1_000_000


class Line:
    """A line without books."""

    def __init__(self, name):
        self.name, self.up = name, True
        self.keeper = BookKeeper(VENUE)

    def lost(self, received):
        self.up = False
        return [Reconnecting(VENUE, self.name, "cut", received, instruments=(BTC,))]

    def back(self):
        self.up = True


@pytest.fixture
def lines():
    return [Line("venue#0"), Line("venue#1")]


@pytest.fixture
def arbiter(lines):
    return FeedArbiter(lines, rule=ID_RANGE, silence=15)


def numbered_trade(at):
    return PublicTrade(str(at), Decimal(at), Decimal(1), Side.BUY)


def test_one_order_s_liquidations_are_all_told(arbiter):
    parts = [
        Liquidation(Side.SELL, Decimal(90), Decimal(q), 5 * MS, id="order")
        for q in (1, 2, 2)
    ]
    events = [MarketEvent(5 * MS, 6 * MS, VENUE, BTC, part) for part in parts]
    assert arbiter.take(0, events) == events
    assert arbiter.take(1, events) == []


def candle(at, close):
    price = Decimal(close)
    return MarketEvent(
        at * MS,
        at * MS,
        VENUE,
        BTC,
        Candle("1m", 0, None, price, price, price, price, Decimal(1)),
    )


def test_quotes_that_are_numbered_by_their_connection_are_led(arbiter):
    level = Level(Decimal(1), Decimal(1))

    def quote(number):
        kind = OrderBookL1(MS, level, level, number)
        return MarketEvent(MS, MS, ExchangeId.COINBASE_ADVANCED, BTC, kind)

    assert arbiter.take(0, [quote(5)])
    assert arbiter.take(1, [quote(900)]) == []
    assert arbiter.take(0, [quote(6)])


def test_of_candles_one_line_leads_until_it_is_lost(arbiter, lines):
    assert arbiter.take(1, [candle(1, 100)])
    assert arbiter.take(0, [candle(2, 99)]) == []
    assert arbiter.take(1, [candle(3, 101)])
    arbiter.take(1, lines[1].lost(4 * MS))
    assert arbiter.take(0, [candle(5, 101)])
    lines[1].back()
    assert arbiter.take(1, [candle(6, 102)]) == []


def test_a_leader_that_falls_silent_loses_the_lead(arbiter):
    assert arbiter.take(1, [candle(1, 100)])
    told = [arbiter.take(0, [candle(1000 * n, 100)]) for n in range(1, 10)]
    # Eight others, and five seconds.
    assert [bool(each) for each in told] == [False] * 7 + [True] * 2
    assert arbiter.take(1, [candle(9001, 100)]) == []


def test_a_line_that_brings_nothing_while_another_brings_much_is_found_silent(arbiter):
    silent = []
    for n in itertools.count(1):
        trade = MarketEvent(n * MS, n * 500 * MS, VENUE, BTC, numbered_trade(n))
        assert arbiter.take(0, [trade]) == [trade]
        silent = arbiter.silent
        if silent:
            break
    # Fifty events would be enough, but not in less than fifteen seconds.
    assert (silent, n) == ([1], 50)
    arbiter.take(1, [trade])
    assert arbiter.silent == []


def test_a_line_that_was_lost_is_not_silent_as_soon_as_it_is_back(arbiter, lines):
    def trade(n):
        return MarketEvent(n * MS, n * 1000 * MS, VENUE, BTC, numbered_trade(n))

    for n in range(1, 50):
        arbiter.take(0, [trade(n)])
    arbiter.take(1, lines[1].lost(50_000 * MS))
    lines[1].back()
    arbiter.take(0, [trade(50)])
    assert arbiter.silent == []


def test_a_quiet_market_makes_no_line_silent(arbiter):
    for n in range(1, 40):
        trade = MarketEvent(n * MS, n * 60_000 * MS, VENUE, BTC, numbered_trade(n))
        arbiter.take(0, [trade])
        assert arbiter.silent == []
