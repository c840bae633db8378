"""Candles: what they are called, asked for and read as, venue by venue."""

import json
from decimal import Decimal

import pytest

from integration.errors import UnsupportedSubKind
from integration.exchanges.registry import connector_for, exchanges
from integration.market.notices import Ack, Ignored
from integration.models import (
    AmountUnit,
    Candle,
    ExchangeId,
    MarketDataInstrument,
    OptionKind,
    SubKind,
)

D = Decimal
NOW = 1_700_000_000_000_000_000
EXPIRY = 1_800_000_000 * 10**9
USDT = MarketDataInstrument.perpetual("btc", "usdt")
USD = MarketDataInstrument.perpetual("btc", "usd")
XBT = MarketDataInstrument.perpetual("xbt", "usd")
SPOT = MarketDataInstrument.spot("btc", "usdt")
OPTION = MarketDataInstrument.option(
    "btc", "usdt", kind=OptionKind.CALL, strike=D(35000), expiry=EXPIRY
)


CONTRACT, QUOTE = AmountUnit.CONTRACT, AmountUnit.QUOTE
MS = 10**6


@pytest.mark.parametrize(
    ("exchange", "instrument", "interval", "message", "expected"),
    [
        (
            "gateio_spot",
            SPOT,
            "1m",
            {
                "time": 1606292600,
                "channel": "spot.candlesticks",
                "event": "update",
                "result": {
                    "t": "1606292580",
                    "v": "2362.32035",
                    "c": "19128.1",
                    "h": "19129",
                    "l": "19128",
                    "o": "19128.5",
                    "n": "1m_BTC_USDT",
                    "a": "3.8283",
                    "w": True,
                },
            },
            Candle(
                "1m",
                1606292580 * 10**9,
                None,
                D("19128.5"),
                D("19129"),
                D("19128"),
                D("19128.1"),
                D("3.8283"),
                closed=True,
            ),
        ),
        (
            "gateio_perpetuals_usd",
            USDT,
            "1w",
            {
                "channel": "futures.candlesticks",
                "event": "update",
                "result": [
                    {
                        "t": 1545129300,
                        "v": 27525555,
                        "c": "95.4",
                        "h": "96.9",
                        "l": "89.5",
                        "o": "94.3",
                        "n": "7d_BTC_USDT",
                    }
                ],
            },
            Candle(
                "1w",
                1545129300 * 10**9,
                None,
                D("94.3"),
                D("96.9"),
                D("89.5"),
                D("95.4"),
                D(27525555),
                amount_unit=CONTRACT,
            ),
        ),
        (
            "deribit",
            USD,
            "1h",
            {
                "method": "subscription",
                "params": {
                    "channel": "chart.trades.BTC-PERPETUAL.60",
                    "data": {
                        "volume": 0.05,
                        "tick": 1573645080000,
                        "open": 8869.79,
                        "low": 8788.25,
                        "high": 8870.31,
                        "cost": 460,
                        "close": 8791.25,
                    },
                },
            },
            Candle(
                "1h",
                1573645080000 * MS,
                None,
                D("8869.79"),
                D("8870.31"),
                D("8788.25"),
                D("8791.25"),
                D("0.05"),
            ),
        ),
        (
            "hyperliquid",
            USD,
            "15m",
            {
                "channel": "candle",
                "data": {
                    "t": 1000,
                    "T": 900999,
                    "s": "BTC",
                    "i": "15m",
                    "o": "2",
                    "c": "3",
                    "h": "4",
                    "l": "1",
                    "v": "9.5",
                    "n": 7,
                },
            },
            Candle(
                *("15m", 10**9, 900999 * MS, D(2), D(4), D(1), D(3), D("9.5")),
                trade_count=7,
            ),
        ),
        (
            "bitfinex",
            SPOT,
            "1d",
            [7, [1000, 2, 3, 4, 1, 9.5]],
            Candle("1d", 10**9, None, D(2), D(4), D(1), D(3), D("9.5")),
        ),
        (
            "bitmex",
            XBT,
            "5m",
            {
                "table": "tradeBin5m",
                "action": "insert",
                "data": [
                    {
                        "timestamp": "1970-01-01T00:10:00.000Z",
                        "symbol": "XBTUSD",
                        "open": 2,
                        "high": 4,
                        "low": 1,
                        "close": 3.5,
                        "trades": 7,
                        "volume": 900,
                    }
                ],
            },
            Candle(
                *("5m", 300 * 10**9, 600 * 10**9 - MS),
                *(D(2), D(4), D(1), D("3.5"), D(900)),
                trade_count=7,
                closed=True,
                amount_unit=CONTRACT,
            ),
        ),
    ],
)
def test_a_candle_has_its_interval_and_its_numbers(
    exchange, instrument, interval, message, expected, listener, fed
):
    made = listener(exchange, (instrument, SubKind.CANDLES, interval))

    (event,) = fed(made, message)

    assert (event.instrument, event.kind) == (instrument, expected)


@pytest.mark.parametrize(
    ("exchange", "instrument", "asked"),
    [
        ("gateio_spot", SPOT, ["5m", "BTC_USDT"]),
        ("gateio_options", OPTION, ["5m", "BTC_USDT-20270115-35000-C"]),
        ("deribit", USD, ["chart.trades.BTC-PERPETUAL.5"]),
        ("hyperliquid", USD, {"type": "candle", "coin": "BTC", "interval": "5m"}),
        ("bitfinex", SPOT, "trade:5m:tBTC:USDT"),
        ("bitmex", XBT, ["tradeBin5m:XBTUSD"]),
    ],
)
def test_candles_are_asked_for_as_the_venue_spells_it(
    exchange, instrument, asked, topic_of
):
    connector = connector_for(ExchangeId(exchange))
    topic = topic_of(exchange, instrument, SubKind.CANDLES, "5m")

    (request,) = connector.subscribe([topic], first_id=1, time=NOW)

    assert json.dumps(asked, separators=(",", ":")) in request.payload.decode()


def test_candles_of_two_intervals_are_two_topics(topic_of):
    for exchange in exchanges():
        for instrument in (SPOT, USDT, USD, XBT, OPTION):
            try:
                topics = {
                    topic_of(exchange, instrument, SubKind.CANDLES, interval)
                    for interval in ("1m", "1d")
                }
            except UnsupportedSubKind:
                continue
            assert len({topic.id for topic in topics}) == 2 or all(
                topic.parameters for topic in topics
            )


@pytest.mark.parametrize(
    ("exchange", "instrument", "message"),
    [
        ("bitfinex", SPOT, [7, [[1000, 2, 3, 4, 1, 9.5]]]),
        (
            "bitmex",
            XBT,
            {
                "table": "tradeBin1m",
                "action": "insert",
                "data": [
                    {
                        "timestamp": "2020-01-01T00:00:00Z",
                        "symbol": "XBTUSD",
                        "volume": 0,
                    }
                ],
            },
        ),
    ],
)
def test_candles_from_before_and_without_trades_are_ignored(
    exchange, instrument, message, listener, fed
):
    (output,) = fed(listener(exchange, (instrument, SubKind.CANDLES)), message)

    assert isinstance(output, Ignored)


@pytest.mark.parametrize(
    ("exchange", "instrument", "answer"),
    [
        (
            "hyperliquid",
            USD,
            {
                "channel": "subscriptionResponse",
                "data": {
                    "method": "subscribe",
                    "subscription": {"type": "candle", "coin": "BTC", "interval": "1m"},
                },
            },
        ),
        ("deribit", USD, {"id": 1, "result": ["chart.trades.BTC-PERPETUAL.1"]}),
        ("bitmex", XBT, {"success": True, "subscribe": "tradeBin1m:XBTUSD"}),
        (
            "bitfinex",
            SPOT,
            {
                "event": "subscribed",
                "channel": "candles",
                "chanId": 8,
                "key": "trade:1m:tBTC:USDT",
            },
        ),
    ],
)
def test_the_answer_to_a_request_for_candles_names_its_topic(
    exchange, instrument, answer, topic_of, listener, fed
):
    topic = topic_of(exchange, instrument, SubKind.CANDLES)

    (ack,) = fed(listener(exchange), answer)

    assert isinstance(ack, Ack)
    assert ack.topics == (topic.id,)
