"""Kinds of data besides trades and books: what a venue has, and what it tells.

Messages are spelled as the venues' documentation spells them; the numbers are ours.
"""

import json
from decimal import Decimal

import pytest

from integration.errors import InvalidLevel, Unidentifiable, UnsupportedSubKind
from integration.exchanges.registry import connector_for
from integration.market.notices import Ignored
from integration.models import (
    AmountUnit,
    ExchangeId,
    FundingRate,
    IndexPrice,
    Liquidation,
    MarketDataInstrument,
    MarketEvent,
    MarkPrice,
    OpenInterest,
    OptionKind,
    OrderBookL1,
    Side,
    SubKind,
)

D = Decimal
NOW = 1_700_000_000_000_000_000
EXPIRY = 1_800_000_000 * 10**9
USDT = MarketDataInstrument.perpetual("btc", "usdt")
USD = MarketDataInstrument.perpetual("btc", "usd")
XBT = MarketDataInstrument.perpetual("xbt", "usd")
UST = MarketDataInstrument.perpetual("btc", "ust")
SPOT = MarketDataInstrument.spot("btc", "usdt")
FUTURE = MarketDataInstrument.future("btc", "usd", expiry=EXPIRY)
DELIVERY = MarketDataInstrument.future("btc", "usdt", expiry=EXPIRY)
OPTION = MarketDataInstrument.option(
    "btc", "usdt", kind=OptionKind.CALL, strike=D(35000), expiry=EXPIRY
)


FUNDING, MARK = SubKind.FUNDING_RATES, SubKind.MARK_PRICES
INDEX, OPEN = SubKind.INDEX_PRICES, SubKind.OPEN_INTEREST
FACTS = (FUNDING, MARK, INDEX, OPEN)
CONTRACT, QUOTE = AmountUnit.CONTRACT, AmountUnit.QUOTE
MS = 10**6
BINANCE = {
    "e": "markPriceUpdate",
    "E": 5,
    "s": "BTCUSDT",
    "p": "101.10",
    "i": "100.90",
    "r": "-0.0001",
    "T": 9,
}

BYBIT = {
    "topic": "tickers.BTCUSDT",
    "type": "snapshot",
    "ts": 5,
    "data": {
        "symbol": "BTCUSDT",
        "markPrice": "101.10",
        "indexPrice": "100.90",
        "openInterest": "42.5",
        "openInterestValue": "4296.75",
        "fundingRate": "-0.0001",
        "nextFundingTime": "9",
    },
}

GATE = {
    "time": 0,
    "time_ms": 5,
    "channel": "futures.tickers",
    "event": "update",
    "result": [
        {
            "contract": "BTC_USDT",
            "last": "101",
            "total_size": "42",
            "mark_price": "101.10",
            "index_price": "100.90",
            "funding_rate": "-0.0001",
        }
    ],
}

DERIBIT = {
    "jsonrpc": "2.0",
    "method": "subscription",
    "params": {
        "channel": "ticker.BTC-PERPETUAL.100ms",
        "data": {
            "timestamp": 5,
            "mark_price": 101.10,
            "index_price": 100.90,
            "open_interest": 42,
            "current_funding": -0.0001,
            "instrument_name": "BTC-PERPETUAL",
        },
    },
}

HYPERLIQUID = {
    "channel": "activeAssetCtx",
    "data": {
        "coin": "BTC",
        "ctx": {
            "funding": "-0.0001",
            "openInterest": "42.5",
            "markPx": "101.10",
            "oraclePx": "100.90",
            "midPx": None,
        },
    },
}

STATUS = [None] * 23


STATUS[0], STATUS[2], STATUS[3], STATUS[7] = 5, 101, 100.9, 9


STATUS[11], STATUS[14], STATUS[17] = -0.0001, 101.1, 42.5


BITFINEX = [7, STATUS]
BITMEX = {
    "table": "instrument",
    "action": "partial",
    "data": [
        {
            "symbol": "XBTUSD",
            "timestamp": "1970-01-01T00:00:00.005Z",
            "markPrice": 101.1,
            "indicativeSettlePrice": 100.9,
            "openInterest": 42,
        }
    ],
}


def okx(channel, market, **fields):
    row = {"instId": market, "ts": "5", **fields}
    return {"arg": {"channel": channel, "instId": market}, "data": [row]}


MARKED, INDEXED = MarkPrice(D("101.10")), IndexPrice(D("100.90"))


def funding(due, *, prices=True):
    mark, index = (MARKED.price, INDEXED.price) if prices else (None, None)
    return FundingRate(D("-0.0001"), due, mark, index)


@pytest.mark.parametrize(
    ("exchange", "instrument", "kind", "message", "expected", "time"),
    [
        ("binance_futures_usd", USDT, FUNDING, BINANCE, funding(9 * MS), 5 * MS),
        ("binance_futures_usd", USDT, MARK, BINANCE, MARKED, 5 * MS),
        ("binance_futures_usd", USDT, INDEX, BINANCE, INDEXED, 5 * MS),
        (
            "binance_futures_coin",
            FUTURE,
            INDEX,
            {"e": "indexPriceUpdate", "E": 5, "i": "BTCUSD", "p": "100.90"},
            INDEXED,
            5 * MS,
        ),
        ("bybit_perpetuals_usd", USDT, FUNDING, BYBIT, funding(9 * MS), 5 * MS),
        ("bybit_perpetuals_usd", USDT, MARK, BYBIT, MARKED, 5 * MS),
        ("bybit_perpetuals_usd", USDT, INDEX, BYBIT, INDEXED, 5 * MS),
        (
            "bybit_perpetuals_usd",
            USDT,
            OPEN,
            BYBIT,
            OpenInterest(D("42.5"), value=D("4296.75")),
            5 * MS,
        ),
        (
            "okx",
            USDT,
            MARK,
            okx("mark-price", "BTC-USDT-SWAP", markPx="101.10"),
            MARKED,
            5 * MS,
        ),
        (
            "okx",
            USDT,
            INDEX,
            okx("index-tickers", "BTC-USDT", idxPx="100.90"),
            INDEXED,
            5 * MS,
        ),
        (
            "okx",
            USDT,
            OPEN,
            okx("open-interest", "BTC-USDT-SWAP", oi="42", oiCcy="0.42"),
            OpenInterest(D(42), CONTRACT),
            5 * MS,
        ),
        ("gateio_perpetuals_usd", USDT, FUNDING, GATE, funding(None), 5 * MS),
        ("gateio_perpetuals_usd", USDT, MARK, GATE, MARKED, 5 * MS),
        ("gateio_perpetuals_usd", USDT, INDEX, GATE, INDEXED, 5 * MS),
        (
            "gateio_perpetuals_usd",
            USDT,
            OPEN,
            GATE,
            OpenInterest(D(42), CONTRACT),
            5 * MS,
        ),
        (
            "gateio_options",
            OPTION,
            OPEN,
            {
                "channel": "options.contract_tickers",
                "event": "update",
                "result": {
                    "name": "BTC_USDT-20270115-35000-C",
                    "mark_price": "101.10",
                    "index_price": "100.90",
                    "position_size": 42,
                },
            },
            OpenInterest(D(42), CONTRACT),
            NOW,
        ),
        ("deribit", USD, FUNDING, DERIBIT, funding(None), 5 * MS),
        ("deribit", USD, MARK, DERIBIT, MARKED, 5 * MS),
        ("deribit", USD, INDEX, DERIBIT, INDEXED, 5 * MS),
        ("deribit", USD, OPEN, DERIBIT, OpenInterest(D(42), QUOTE), 5 * MS),
        ("hyperliquid", USD, FUNDING, HYPERLIQUID, funding(None), NOW),
        ("hyperliquid", USD, MARK, HYPERLIQUID, MARKED, NOW),
        ("hyperliquid", USD, INDEX, HYPERLIQUID, INDEXED, NOW),
        ("hyperliquid", USD, OPEN, HYPERLIQUID, OpenInterest(D("42.5")), NOW),
        ("bitfinex", UST, FUNDING, BITFINEX, funding(9 * MS), 5 * MS),
        ("bitfinex", UST, MARK, BITFINEX, MARKED, 5 * MS),
        ("bitfinex", UST, INDEX, BITFINEX, INDEXED, 5 * MS),
        ("bitfinex", UST, OPEN, BITFINEX, OpenInterest(D("42.5")), 5 * MS),
        ("bitmex", XBT, MARK, BITMEX, MARKED, 5 * MS),
        ("bitmex", XBT, INDEX, BITMEX, INDEXED, 5 * MS),
        ("bitmex", XBT, OPEN, BITMEX, OpenInterest(D(42), CONTRACT), 5 * MS),
    ],
)
def test_of_all_that_a_message_tells_only_what_was_asked_for_comes(
    exchange, instrument, kind, message, expected, time, listener, fed
):
    (event,) = fed(listener(exchange, (instrument, kind)), message)

    assert event == MarketEvent(time, NOW, ExchangeId(exchange), instrument, expected)


@pytest.mark.parametrize(
    ("exchange", "instrument", "message"),
    [
        ("bybit_perpetuals_usd", USDT, BYBIT),
        ("gateio_perpetuals_usd", USDT, GATE),
        ("deribit", USD, DERIBIT),
        ("hyperliquid", USD, HYPERLIQUID),
        ("bitfinex", UST, BITFINEX),
    ],
)
def test_four_subscriptions_share_one_topic_and_each_gets_its_kind(
    exchange, instrument, message, topic_of, listener, fed
):
    topics = {topic_of(exchange, instrument, kind) for kind in FACTS}
    made = listener(exchange, *((instrument, kind) for kind in FACTS))

    events = fed(made, message)
    made.forget(*topics, instrument, kind=OPEN)
    fewer = fed(made, message)

    assert len(topics) == 1
    types = {FundingRate, MarkPrice, IndexPrice, OpenInterest}
    assert {type(event.kind) for event in events} == types
    assert {type(event.kind) for event in fewer} == types - {OpenInterest}


def test_an_index_reaches_every_contract_that_follows_it(topic_of, listener, fed):
    made = listener("okx", (USDT, INDEX), (DELIVERY, INDEX))
    message = okx("index-tickers", "BTC-USDT", idxPx="1")

    events = fed(made, message)
    made.forget(topic_of("okx", USDT, INDEX), USDT)
    later = fed(made, message)

    assert [event.instrument for event in events] == [USDT, DELIVERY]
    assert [event.instrument for event in later] == [DELIVERY]


def test_a_kind_that_nobody_asked_for_is_ignored_and_a_symbol_is_unidentifiable(
    listener, fed
):
    made = listener("binance_futures_usd", (USDT, INDEX))
    without = {key: value for key, value in BINANCE.items() if key != "i"}

    (ignored,) = fed(made, without)
    (unknown,) = fed(made, BINANCE | {"s": "ETHUSDT"})

    assert isinstance(ignored, Ignored)
    assert isinstance(unknown, Unidentifiable)


def test_news_of_an_instrument_of_bitmex_tell_only_what_changed(listener, fed):
    made = listener("bitmex", *((XBT, kind) for kind in (MARK, INDEX, OPEN)))
    row = {"symbol": "XBTUSD", "markPrice": 5}

    (event,) = fed(made, {"table": "instrument", "action": "update", "data": [row]})

    assert (event.kind, event.time_exchange) == (MarkPrice(D(5)), NOW)


@pytest.mark.parametrize("number", ["NaN", "-1", "", "1_0"])
def test_a_price_that_is_none_voids_the_message(number, listener, fed):
    made = listener("binance_futures_usd", (USDT, MARK))

    (fault,) = fed(made, BINANCE | {"p": number})

    assert isinstance(fault, InvalidLevel)


# Open interest that is on no stream


@pytest.mark.parametrize(
    ("exchange", "instrument", "path", "symbol", "unit"),
    [
        ("binance_futures_usd", USDT, "/fapi/v1/openInterest", "BTCUSDT", "base"),
        ("binance_futures_coin", USD, "/dapi/v1/openInterest", "BTCUSD_PERP", CONTRACT),
    ],
)
def test_open_interest_of_binance_is_asked_for(
    exchange, instrument, path, symbol, unit, topic_of
):
    connector = connector_for(ExchangeId(exchange))
    topic = topic_of(exchange, instrument, OPEN)
    request = connector.poll_request(topic)
    answer = {"openInterest": "10659.509", "symbol": symbol, "time": 1589437530011}

    parsed = connector.rest_parser().parse(
        200, {}, json.dumps(answer).encode(), request.response_type
    )
    polled = connector.polled(topic, parsed)

    assert (request.path(), request.query_params()) == (path, {"symbol": symbol})
    assert polled.kind == OpenInterest(D("10659.509"), AmountUnit(unit))
    assert polled.time_exchange == 1589437530011 * MS


def test_a_venue_that_has_a_stream_is_not_asked(topic_of):
    connector = connector_for(ExchangeId.OKX)
    topic = topic_of("okx", USDT, OPEN)

    assert connector.poll_request(topic) is None
    with pytest.raises(UnsupportedSubKind):
        connector.polled(topic, {})


# Bitfinex's perpetuals


def test_best_levels_of_bitfinex_come_from_its_ticker(listener, fed):
    made = listener("bitfinex", (UST, SubKind.ORDER_BOOKS_L1))

    (event,) = fed(made, [7, [100.5, 2, 100.75, 3.5, 0, 0, 100, 9, 101, 99]])

    top = event.kind
    assert isinstance(top, OrderBookL1)
    assert (top.best_bid.price, top.best_bid.amount) == (D("100.5"), 2)
    assert (top.best_ask.price, top.best_ask.amount) == (D("100.75"), D("3.5"))


def test_liquidations_of_bitfinex_come_once_and_only_of_whom_was_asked_for(
    topic_of, listener, fed
):
    def row(symbol, amount, is_match=0):
        base, price = 100.5, 99.5
        return ["pos", 1, 5, None, symbol, amount, base, None, is_match, 0, None, price]

    made = listener("bitfinex", (UST, SubKind.LIQUIDATIONS))
    rows = [
        row("tBTCF0:USTF0", 2),
        row("tBTCF0:USTF0", 2, is_match=1),
        row("tETHF0:USTF0", -3),
    ]

    event, other = fed(made, [7, rows])
    topic = topic_of("bitfinex", UST, SubKind.LIQUIDATIONS)
    made.forget(topic, UST)
    (after,) = fed(made, [7, rows[:1]])

    assert event.kind == Liquidation(
        Side.SELL, D("99.5"), D(2), 5 * MS, position_side="long"
    )
    assert isinstance(other, Ignored)
    assert isinstance(after, Ignored)
    assert topic.market == "liq:global"


@pytest.mark.parametrize(
    ("instrument", "symbol"), [(UST, "tBTCF0:USTF0"), (SPOT, "tBTC:USDT")]
)
def test_symbols_of_bitfinex_tell_perpetuals_from_pairs(instrument, symbol):
    connector = connector_for(ExchangeId.BITFINEX)

    assert connector.native(instrument) == symbol
    assert connector.instrument(symbol) == instrument


# What a venue has not


@pytest.mark.parametrize(
    ("exchange", "instrument", "kind"),
    [
        *(("binance_spot", SPOT, kind) for kind in FACTS),
        ("binance_futures_usd", DELIVERY, FUNDING),
        *(("okx", SPOT, kind) for kind in FACTS),
        ("okx", DELIVERY, FUNDING),
        ("deribit", FUTURE, FUNDING),
        *(("bitfinex", SPOT, kind) for kind in FACTS),
        ("gateio_futures_usd", DELIVERY, FUNDING),
        ("gateio_futures_usd", DELIVERY, SubKind.LIQUIDATIONS),
        ("bitstamp", SPOT, SubKind.ORDER_BOOKS_L1),
        ("coinbase", SPOT, SubKind.CANDLES),
    ],
)
def test_a_kind_that_a_venue_lacks_is_refused_by_name(
    exchange, instrument, kind, topic_of
):
    with pytest.raises(UnsupportedSubKind) as caught:
        topic_of(exchange, instrument, kind)

    assert exchange in str(caught.value)
