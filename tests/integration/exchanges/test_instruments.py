"""Listings read on documents as the venues write them, cut down to a few records."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from integration.errors import Deserialise, Exchange
from integration.exchanges.registry import connector_for, exchanges
from integration.instruments import Fetch, listing_for
from integration.models import (
    ExchangeId,
    FutureContract,
    InstrumentKind,
    MarketDataInstrument,
    OptionContract,
    OptionKind,
    PerpetualContract,
    QuantityUnit,
)

LISTINGS = Path(__file__).parent / "listings"

# Which file of `listings/` a venue's answer is in.
DOCUMENTS = {
    ExchangeId.BINANCE_SPOT: "binance_spot",
    ExchangeId.BINANCE_US: "binance_spot",
    ExchangeId.BINANCE_FUTURES_USD: "binance_usdm",
    ExchangeId.BINANCE_FUTURES_COIN: "binance_coinm",
    ExchangeId.BYBIT_SPOT: "bybit_spot",
    ExchangeId.BYBIT_PERPETUALS_USD: "bybit_linear",
    ExchangeId.OKX: "okx",
    ExchangeId.KRAKEN: "kraken",
    ExchangeId.KRAKEN_V2: "kraken",
    ExchangeId.COINBASE: "coinbase",
    ExchangeId.COINBASE_ADVANCED: "coinbase_advanced",
    ExchangeId.GATEIO_SPOT: "gateio_spot",
    ExchangeId.GATEIO_PERPETUALS_USD: "gateio_perpetual",
    ExchangeId.GATEIO_PERPETUALS_BTC: "gateio_inverse",
    ExchangeId.GATEIO_FUTURES_USD: "gateio_delivery",
    ExchangeId.GATEIO_FUTURES_BTC: "gateio_delivery",
    ExchangeId.GATEIO_OPTIONS: "gateio_option",
    ExchangeId.BITFINEX: "bitfinex",
    ExchangeId.BITMEX: "bitmex",
    ExchangeId.BITSTAMP: "bitstamp",
    ExchangeId.DERIBIT: "deribit",
    ExchangeId.HYPERLIQUID: "hyperliquid",
}

# price step, quantity step, least quantity, largest, least value
SPECS = {
    (ExchangeId.BINANCE_SPOT, "BTCUSDT"): ("0.01", "0.00001", "0.00001", "9000", "5"),
    (ExchangeId.BINANCE_FUTURES_USD, "BTCUSDT"): (
        *("0.1", "0.001", "0.001", "1000", "100"),
    ),
    (ExchangeId.BINANCE_FUTURES_COIN, "BTCUSD_PERP"): ("0.1", "1", "1", "1000000", "0"),
    (ExchangeId.BYBIT_SPOT, "BTCUSDT"): ("0.1", "0.000001", "0.000011", "83", "5"),
    (ExchangeId.BYBIT_PERPETUALS_USD, "BTCUSDT"): (
        "0.1",
        "0.001",
        "0.001",
        "1190",
        "5",
    ),
    (ExchangeId.OKX, "BTC-USDT"): ("0.1", "0.00000001", "0.00001", "100000000", "0"),
    (ExchangeId.OKX, "BTC-USDT-SWAP"): ("0.1", "0.01", "0.01", "100000000", "0"),
    (ExchangeId.KRAKEN, "XBT/USD"): ("0.1", "0.00000001", "0.0001", None, "0.5"),
    (ExchangeId.KRAKEN_V2, "DOGE/USD"): ("0.0000001", "0.00000001", "20", None, "0.5"),
    (ExchangeId.COINBASE, "BTC-USD"): ("0.01", "0.00000001", "0.00000001", None, "1"),
    (ExchangeId.COINBASE_ADVANCED, "BTC-USD"): (
        *("0.01", "0.00000001", "0.00000001", "3400", "1"),
    ),
    (ExchangeId.GATEIO_SPOT, "BTC_USDT"): ("0.1", "0.000001", "0.00001", None, "3"),
    (ExchangeId.GATEIO_PERPETUALS_USD, "BTC_USDT"): ("0.1", "1", "1", "1000000", "0"),
    (ExchangeId.DERIBIT, "BTC-PERPETUAL"): ("0.5", "10", "10", None, "0"),
    (ExchangeId.BITMEX, "XBTUSD"): ("0.5", "100", "100", "10000000", "0"),
    (ExchangeId.BITFINEX, "tBTCUSD"): ("0", "0.00000001", "0.00006", "2000", "0"),
    (ExchangeId.BITSTAMP, "btcusd"): ("1", "0.00000001", "0.0001", "100", "10"),
    (ExchangeId.BITSTAMP, "etheur"): ("0.1", "0.00000001", "0.00000001", None, "10"),
    (ExchangeId.HYPERLIQUID, "BTC"): ("0.1", "0.00001", "0.00001", None, "10"),
}

SKIPPED = {
    ExchangeId.BINANCE_SPOT: {"OLDBTC": "BREAK", "ODDUSDT": "PRICE_FILTER"},
    ExchangeId.BINANCE_FUTURES_USD: {"BTCUSDT_X": "DELIVERING"},
    ExchangeId.BYBIT_PERPETUALS_USD: {"NEWUSDT": "PreLaunch"},
    ExchangeId.OKX: {"OLD-USDT": "suspend"},
    ExchangeId.KRAKEN: {"OLDUSD": "cancel_only"},
    ExchangeId.COINBASE: {"OLD-USD": "delisted"},
    ExchangeId.COINBASE_ADVANCED: {"BIT-29NOV24-CDE": "FUTURE"},
    ExchangeId.GATEIO_SPOT: {"OLD_USDT": "untradable"},
    ExchangeId.DERIBIT: {"BTC-BOX-27DEC24-1_2": "option_combo", "ODD NAME": "expected"},
    ExchangeId.BITMEX: {"ETHUSD": "quanto"},
    ExchangeId.BITFINEX: {"TESTBTC:TESTUSD": "tests", "ODD": "expected"},
    ExchangeId.BITSTAMP: {"BTC/USD-PERP": "PERPETUAL"},
    ExchangeId.HYPERLIQUID: {"OLD": "delisted"},
}

EXPIRY = 1735286400000


def page(exchange, document=None):
    listing = listing_for(exchange)
    if document is None:
        document = (LISTINGS / f"{DOCUMENTS[exchange]}.json").read_bytes()
    fetch = listing.first()[0]
    if exchange is ExchangeId.GATEIO_OPTIONS:
        fetch = Fetch(endpoint="/api/v4/options/contracts")
    return listing.read(fetch, document)


def found(exchange, symbol):
    return next(i for i in page(exchange).instruments if i.name_exchange == symbol)


def test_every_connected_venue_lists_its_instruments():
    assert set(DOCUMENTS) == set(exchanges())


@pytest.mark.parametrize("exchange", exchanges())
def test_what_is_listed_can_be_subscribed_to_by_its_name(exchange):
    instruments = page(exchange).instruments
    connector = connector_for(exchange)

    assert instruments
    for instrument in instruments:
        assert instrument.exchange is exchange
        if instrument.name_exchange in {"BTC-27DEC24", "XBTZ24"} and exchange in {
            ExchangeId.BYBIT_PERPETUALS_USD,
            ExchangeId.BITMEX,
        }:
            continue  # dated contracts that these connectors do not stream
        assert connector.native(instrument.market_data()) == instrument.name_exchange


@pytest.mark.parametrize(("exchange", "symbol"), SPECS)
def test_limits_are_the_venues(exchange, symbol):
    tick, step, least, most, value = SPECS[exchange, symbol]
    spec = found(exchange, symbol).spec

    assert spec.price.tick_size == Decimal(tick)
    assert spec.quantity.increment == Decimal(step)
    assert spec.quantity.min == Decimal(least)
    assert spec.quantity.max == (None if most is None else Decimal(most))
    assert spec.notional.min == Decimal(value)


@pytest.mark.parametrize("exchange", SKIPPED)
def test_what_is_left_out_is_named_with_its_reason(exchange):
    reasons = {one.symbol: one.reason for one in page(exchange).skipped}

    assert reasons.keys() == SKIPPED[exchange].keys()
    for symbol, words in SKIPPED[exchange].items():
        assert words in reasons[symbol]


@pytest.mark.parametrize(
    ("exchange", "symbol", "size", "settled"),
    [
        (ExchangeId.BINANCE_FUTURES_USD, "BTCUSDT", "1", "usdt"),
        (ExchangeId.BINANCE_FUTURES_COIN, "BTCUSD_PERP", "100", "btc"),
        (ExchangeId.BYBIT_PERPETUALS_USD, "BTCUSDT", "1", "usdt"),
        (ExchangeId.OKX, "BTC-USD-SWAP", "100", "btc"),
        (ExchangeId.OKX, "BTC-USDT-SWAP", "0.01", "usdt"),
        (ExchangeId.GATEIO_PERPETUALS_USD, "BTC_USDT", "0.0001", "usdt"),
        (ExchangeId.GATEIO_PERPETUALS_BTC, "BTC_USD", "1", "btc"),
        (ExchangeId.DERIBIT, "BTC-PERPETUAL", "10", "btc"),
        (ExchangeId.BITMEX, "XBTUSD", "1", "xbt"),
        (ExchangeId.BITMEX, "XBTUSDT", "0.000001", "usdt"),
        (ExchangeId.HYPERLIQUID, "kPEPE", "1", "usdc"),
    ],
)
def test_perpetuals_have_their_size_and_settlement(exchange, symbol, size, settled):
    kind = found(exchange, symbol).kind

    assert kind == PerpetualContract(Decimal(size), settled)


@pytest.mark.parametrize(
    ("exchange", "symbol", "expiry"),
    [
        (ExchangeId.BINANCE_FUTURES_USD, "BTCUSDT_241227", EXPIRY),
        (ExchangeId.BYBIT_PERPETUALS_USD, "BTC-27DEC24", EXPIRY),
        (ExchangeId.OKX, "BTC-USD-241227", EXPIRY),
        (ExchangeId.GATEIO_FUTURES_USD, "BTC_USDT_QUARTERLY_20241227", EXPIRY),
        (ExchangeId.DERIBIT, "BTC-27DEC24", EXPIRY),
        (ExchangeId.BITMEX, "XBTZ24", EXPIRY + 4 * 3_600_000),
    ],
)
def test_futures_know_when_they_end(exchange, symbol, expiry):
    kind = found(exchange, symbol).kind

    assert isinstance(kind, FutureContract)
    assert kind.expiry_ms == expiry


@pytest.mark.parametrize(
    ("exchange", "symbol", "right", "size", "settled"),
    [
        (ExchangeId.OKX, "BTC-USD-241227-50000-P", OptionKind.PUT, "0.01", "btc"),
        (ExchangeId.DERIBIT, "BTC-27DEC24-50000-P", OptionKind.PUT, "1", "btc"),
        (
            *(ExchangeId.GATEIO_OPTIONS, "BTC_USDT-20241227-50000-C"),
            *(OptionKind.CALL, "0.01", "usdt"),
        ),
    ],
)
def test_options_have_all_their_terms(exchange, symbol, right, size, settled):
    instrument = found(exchange, symbol)
    kind = instrument.kind

    assert isinstance(kind, OptionContract)
    assert (kind.kind, kind.strike, kind.expiry_ms) == (right, 50000, EXPIRY)
    assert (kind.contract_size, kind.settlement_asset) == (Decimal(size), settled)
    assert instrument.market_data().kind is InstrumentKind.OPTION


def test_quantities_are_counted_as_the_venue_counts():
    assert found(ExchangeId.OKX, "BTC-USDT").spec.quantity.unit is QuantityUnit.ASSET
    assert (
        found(ExchangeId.OKX, "BTC-USD-SWAP").spec.quantity.unit
        is QuantityUnit.CONTRACT
    )
    assert (
        found(ExchangeId.DERIBIT, "BTC-PERPETUAL").spec.quantity.unit
        is QuantityUnit.QUOTE
    )
    assert found(ExchangeId.DERIBIT, "ETH_USDC-PERPETUAL").spec.quantity.asset == "eth"


def test_kraken_has_two_sets_of_names():
    names = {i.name_exchange for i in page(ExchangeId.KRAKEN).instruments}
    newer = {i.name_exchange for i in page(ExchangeId.KRAKEN_V2).instruments}

    assert names == {"XBT/USD", "XDG/USD"}
    assert newer == {"BTC/USD", "DOGE/USD"}


def test_a_cursor_leads_to_the_next_page():
    (following,) = page(ExchangeId.BYBIT_PERPETUALS_USD).more

    assert following.params == {
        "category": "linear",
        "limit": "1000",
        "cursor": "first%3DBTCUSDT",
    }
    assert page(ExchangeId.BYBIT_SPOT).more == ()


def test_option_underlyings_lead_to_their_contracts():
    listing = listing_for(ExchangeId.GATEIO_OPTIONS)
    document = b'[{"name":"BTC_USDT","index_price":"1"},{"name":"ETH_USDT"}]'

    more = listing.read(listing.first()[0], document).more

    assert [fetch.params["underlying"] for fetch in more] == ["BTC_USDT", "ETH_USDT"]


@pytest.mark.parametrize(
    ("exchange", "document", "code"),
    [
        (ExchangeId.BYBIT_SPOT, b'{"retCode":10001,"retMsg":"bad"}', "10001"),
        (ExchangeId.OKX, b'{"code":"50011","msg":"Too Many","data":[]}', "50011"),
        (ExchangeId.KRAKEN, b'{"error":["EGeneral:Too"]}', "EGeneral:Too"),
        (ExchangeId.DERIBIT, b'{"error":{"code":-32602,"message":"x"}}', "-32602"),
        (ExchangeId.BITFINEX, b'["error",10020,"symbol: invalid"]', "10020"),
    ],
)
def test_a_refusal_with_a_good_status_is_an_error(exchange, document, code):
    with pytest.raises(Exchange) as caught:
        page(exchange, document)

    assert caught.value.code == code


@pytest.mark.parametrize("exchange", exchanges())
@pytest.mark.parametrize("document", [b"", b"<html>", b'{"a":1}', b"[1]", b"\xff"])
def test_another_document_is_refused_whole(exchange, document):
    with pytest.raises(Deserialise):
        page(exchange, document)


def test_perpetuals_of_bitfinex_are_told_from_pairs():
    listing = listing_for(ExchangeId.BITFINEX)
    row = ["BTCF0:USTF0", [None, None, None, "0.00002", "100.0", None, None, None]]

    read = listing.read(listing.first()[1], json.dumps([[row]]).encode())

    (swap,) = read.instruments
    assert [fetch.path() for fetch in listing.first()] == [
        "/v2/conf/pub:info:pair",
        "/v2/conf/pub:info:pair:futures",
    ]
    assert isinstance(swap.kind, PerpetualContract)
    assert (swap.kind.contract_size, swap.kind.settlement_asset) == (1, "ust")
    assert swap.name_exchange == "tBTCF0:USTF0"
    assert swap.market_data() == MarketDataInstrument.perpetual("btc", "ust")
