"""Listings read on documents as the venues write them, cut down to a few records."""

import json
from decimal import Decimal

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

BINANCE_SPOT = {
    "timezone": "UTC",
    "serverTime": 1565246363776,
    "rateLimits": [],
    "exchangeFilters": [],
    "symbols": [
        {
            "symbol": "BTCUSDT",
            "status": "TRADING",
            "baseAsset": "BTC",
            "baseAssetPrecision": 8,
            "quoteAsset": "USDT",
            "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": "0.01000000",
                    "maxPrice": "1000000.00000000",
                    "tickSize": "0.01000000",
                },
                {
                    "filterType": "LOT_SIZE",
                    "minQty": "0.00001000",
                    "maxQty": "9000.00000000",
                    "stepSize": "0.00001000",
                },
                {"filterType": "ICEBERG_PARTS", "limit": 10},
                {
                    "filterType": "NOTIONAL",
                    "minNotional": "5.00000000",
                    "applyMinToMarket": True,
                    "maxNotional": "9000000.00000000",
                },
            ],
        },
        {
            "symbol": "OLDBTC",
            "status": "BREAK",
            "baseAsset": "OLD",
            "quoteAsset": "BTC",
            "filters": [],
        },
        {
            "symbol": "ODDUSDT",
            "status": "TRADING",
            "baseAsset": "ODD",
            "quoteAsset": "USDT",
            "filters": [],
        },
    ],
}

_USDM_FILTERS = [
    {
        "filterType": "PRICE_FILTER",
        "maxPrice": "4529764",
        "minPrice": "556.80",
        "tickSize": "0.10",
    },
    {
        "filterType": "LOT_SIZE",
        "maxQty": "1000",
        "minQty": "0.001",
        "stepSize": "0.001",
    },
    {"filterType": "MIN_NOTIONAL", "notional": "100"},
]

BINANCE_USDM = {
    "symbols": [
        {
            "symbol": "BTCUSDT",
            "pair": "BTCUSDT",
            "contractType": "PERPETUAL",
            "deliveryDate": 4133404800000,
            "status": "TRADING",
            "baseAsset": "BTC",
            "quoteAsset": "USDT",
            "marginAsset": "USDT",
            "filters": _USDM_FILTERS,
        },
        {
            "symbol": "BTCUSDT_241227",
            "pair": "BTCUSDT",
            "contractType": "CURRENT_QUARTER",
            "deliveryDate": 1735286400000,
            "status": "TRADING",
            "baseAsset": "BTC",
            "quoteAsset": "USDT",
            "marginAsset": "USDT",
            "filters": _USDM_FILTERS,
        },
        {
            "symbol": "BTCUSDT_X",
            "contractType": "CURRENT_QUARTER DELIVERING",
            "status": "TRADING",
            "baseAsset": "BTC",
            "quoteAsset": "USDT",
            "marginAsset": "USDT",
            "filters": _USDM_FILTERS,
        },
    ]
}

BINANCE_COINM = {
    "symbols": [
        {
            "symbol": "BTCUSD_PERP",
            "pair": "BTCUSD",
            "contractType": "PERPETUAL",
            "deliveryDate": 4133404800000,
            "contractStatus": "TRADING",
            "contractSize": 100,
            "baseAsset": "BTC",
            "quoteAsset": "USD",
            "marginAsset": "BTC",
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": "1000",
                    "maxPrice": "4520958",
                    "tickSize": "0.1",
                },
                {
                    "filterType": "LOT_SIZE",
                    "minQty": "1",
                    "maxQty": "1000000",
                    "stepSize": "1",
                },
            ],
        }
    ]
}

BYBIT_SPOT = {
    "retCode": 0,
    "retMsg": "OK",
    "result": {
        "category": "spot",
        "list": [
            {
                "symbol": "BTCUSDT",
                "baseCoin": "BTC",
                "quoteCoin": "USDT",
                "innovation": "0",
                "status": "Trading",
                "marginTrading": "utaOnly",
                "lotSizeFilter": {
                    "basePrecision": "0.000001",
                    "quotePrecision": "0.0000001",
                    "minOrderQty": "0.000011",
                    "maxOrderQty": "83",
                    "minOrderAmt": "5",
                    "maxOrderAmt": "8000000",
                },
                "priceFilter": {"tickSize": "0.1"},
            }
        ],
    },
    "time": 1672712468011,
}

BYBIT_LINEAR = {
    "retCode": 0,
    "retMsg": "OK",
    "result": {
        "category": "linear",
        "nextPageCursor": "first%3DBTCUSDT",
        "list": [
            {
                "symbol": "BTCUSDT",
                "contractType": "LinearPerpetual",
                "status": "Trading",
                "baseCoin": "BTC",
                "quoteCoin": "USDT",
                "launchTime": "1584230400000",
                "deliveryTime": "0",
                "settleCoin": "USDT",
                "priceFilter": {
                    "minPrice": "0.10",
                    "maxPrice": "1999999.80",
                    "tickSize": "0.10",
                },
                "lotSizeFilter": {
                    "maxOrderQty": "1190.000",
                    "minOrderQty": "0.001",
                    "qtyStep": "0.001",
                    "postOnlyMaxOrderQty": "1190.000",
                    "maxMktOrderQty": "500.000",
                    "minNotionalValue": "5",
                },
            },
            {
                "symbol": "BTC-27DEC24",
                "contractType": "LinearFutures",
                "status": "Trading",
                "baseCoin": "BTC",
                "quoteCoin": "USDC",
                "deliveryTime": "1735286400000",
                "settleCoin": "USDC",
                "priceFilter": {"tickSize": "0.5"},
                "lotSizeFilter": {"minOrderQty": "0.001", "qtyStep": "0.001"},
            },
            {
                "symbol": "NEWUSDT",
                "contractType": "LinearPerpetual",
                "status": "PreLaunch",
                "baseCoin": "NEW",
                "quoteCoin": "USDT",
                "settleCoin": "USDT",
                "priceFilter": {"tickSize": "0.5"},
                "lotSizeFilter": {"minOrderQty": "1", "qtyStep": "1"},
            },
        ],
    },
}

_OKX = {
    "alias": "",
    "baseCcy": "",
    "quoteCcy": "",
    "category": "1",
    "ctMult": "",
    "ctType": "",
    "ctVal": "",
    "ctValCcy": "",
    "expTime": "",
    "instFamily": "",
    "listTime": "1606468572000",
    "maxLmtSz": "100000000",
    "optType": "",
    "settleCcy": "",
    "state": "live",
    "stk": "",
    "uly": "",
}

OKX = {
    "code": "0",
    "msg": "",
    "data": [
        {
            **_OKX,
            "instId": "BTC-USDT",
            "instType": "SPOT",
            "baseCcy": "BTC",
            "quoteCcy": "USDT",
            "tickSz": "0.1",
            "lotSz": "0.00000001",
            "minSz": "0.00001",
        },
        {
            **_OKX,
            "instId": "BTC-USD-SWAP",
            "instType": "SWAP",
            "uly": "BTC-USD",
            "settleCcy": "BTC",
            "ctVal": "100",
            "ctMult": "1",
            "ctValCcy": "USD",
            "ctType": "inverse",
            "tickSz": "0.1",
            "lotSz": "1",
            "minSz": "1",
        },
        {
            **_OKX,
            "instId": "BTC-USDT-SWAP",
            "instType": "SWAP",
            "uly": "BTC-USDT",
            "settleCcy": "USDT",
            "ctVal": "0.01",
            "ctMult": "1",
            "ctValCcy": "BTC",
            "ctType": "linear",
            "tickSz": "0.1",
            "lotSz": "0.01",
            "minSz": "0.01",
        },
        {
            **_OKX,
            "instId": "BTC-USD-241227",
            "instType": "FUTURES",
            "uly": "BTC-USD",
            "settleCcy": "BTC",
            "ctVal": "100",
            "ctMult": "1",
            "ctValCcy": "USD",
            "expTime": "1735286400000",
            "tickSz": "0.1",
            "lotSz": "1",
            "minSz": "1",
        },
        {
            **_OKX,
            "instId": "BTC-USD-241227-50000-P",
            "instType": "OPTION",
            "uly": "BTC-USD",
            "settleCcy": "BTC",
            "ctVal": "1",
            "ctMult": "0.01",
            "ctValCcy": "BTC",
            "expTime": "1735286400000",
            "optType": "P",
            "stk": "50000",
            "tickSz": "0.0001",
            "lotSz": "1",
            "minSz": "1",
        },
        {
            **_OKX,
            "instId": "OLD-USDT",
            "instType": "SPOT",
            "baseCcy": "OLD",
            "quoteCcy": "USDT",
            "state": "suspend",
            "tickSz": "1",
            "lotSz": "1",
            "minSz": "1",
        },
    ],
}

KRAKEN = {
    "error": [],
    "result": {
        "XXBTZUSD": {
            "altname": "XBTUSD",
            "wsname": "XBT/USD",
            "aclass_base": "currency",
            "base": "XXBT",
            "quote": "ZUSD",
            "pair_decimals": 1,
            "cost_decimals": 5,
            "lot_decimals": 8,
            "lot_multiplier": 1,
            "ordermin": "0.0001",
            "costmin": "0.5",
            "tick_size": "0.1",
            "status": "online",
        },
        "XDGUSD": {
            "altname": "XDGUSD",
            "wsname": "XDG/USD",
            "base": "XXDG",
            "quote": "ZUSD",
            "pair_decimals": 7,
            "lot_decimals": 8,
            "ordermin": "20",
            "costmin": "0.5",
            "status": "online",
        },
        "OLDUSD": {
            "altname": "OLDUSD",
            "wsname": "OLD/USD",
            "pair_decimals": 2,
            "lot_decimals": 8,
            "status": "cancel_only",
        },
    },
}

COINBASE = [
    {
        "id": "BTC-USD",
        "base_currency": "BTC",
        "quote_currency": "USD",
        "quote_increment": "0.01",
        "base_increment": "0.00000001",
        "display_name": "BTC-USD",
        "min_market_funds": "1",
        "margin_enabled": False,
        "post_only": False,
        "limit_only": False,
        "cancel_only": False,
        "status": "online",
        "status_message": "",
        "trading_disabled": False,
    },
    {
        "id": "OLD-USD",
        "base_currency": "OLD",
        "quote_currency": "USD",
        "quote_increment": "0.01",
        "base_increment": "1",
        "status": "delisted",
        "trading_disabled": True,
    },
]

COINBASE_ADVANCED = {
    "products": [
        {
            "product_id": "BTC-USD",
            "price": "65000.1",
            "base_increment": "0.00000001",
            "quote_increment": "0.01",
            "quote_min_size": "1",
            "quote_max_size": "150000000",
            "base_min_size": "0.00000001",
            "base_max_size": "3400",
            "base_currency_id": "BTC",
            "quote_currency_id": "USD",
            "price_increment": "0.01",
            "status": "online",
            "trading_disabled": False,
            "product_type": "SPOT",
        },
        {
            "product_id": "BIT-29NOV24-CDE",
            "base_increment": "1",
            "quote_increment": "5",
            "base_min_size": "1",
            "product_type": "FUTURE",
        },
    ],
    "num_products": 2,
}

GATEIO_SPOT = [
    {
        "id": "BTC_USDT",
        "base": "BTC",
        "quote": "USDT",
        "fee": "0.2",
        "min_base_amount": "0.00001",
        "min_quote_amount": "3",
        "max_quote_amount": "5000000",
        "amount_precision": 6,
        "precision": 1,
        "trade_status": "tradable",
        "sell_start": 0,
    },
    {
        "id": "OLD_USDT",
        "base": "OLD",
        "quote": "USDT",
        "amount_precision": 2,
        "precision": 4,
        "trade_status": "untradable",
    },
]

GATEIO_PERPETUAL = [
    {
        "name": "BTC_USDT",
        "type": "direct",
        "quanto_multiplier": "0.0001",
        "order_price_round": "0.1",
        "order_size_min": 1,
        "order_size_max": 1000000,
        "in_delisting": False,
    }
]

GATEIO_INVERSE = [
    {
        "name": "BTC_USD",
        "type": "inverse",
        "quanto_multiplier": "0",
        "order_price_round": "0.1",
        "order_size_min": 1,
        "order_size_max": 1000000,
        "in_delisting": False,
    }
]

GATEIO_DELIVERY = [
    {
        "name": "BTC_USDT_QUARTERLY_20241227",
        "underlying": "BTC_USDT",
        "cycle": "QUARTERLY",
        "type": "direct",
        "quanto_multiplier": "0.0001",
        "expire_time": 1735286400,
        "order_price_round": "0.1",
        "order_size_min": 1,
        "order_size_max": 1000000,
        "in_delisting": False,
    }
]

GATEIO_OPTION = [
    {
        "name": "BTC_USDT-20241227-50000-C",
        "tag": "week",
        "create_time": 1600000000,
        "expiration_time": 1735286400,
        "is_call": True,
        "strike_price": "50000",
        "underlying": "BTC_USDT",
        "multiplier": "0.01",
        "order_price_round": "0.1",
        "order_size_min": 1,
        "order_size_max": 100000,
        "is_active": True,
    }
]

DERIBIT = """
{"jsonrpc":"2.0","id":7617,"result":[
 {"tick_size":0.5,"settlement_period":"perpetual","settlement_currency":"BTC",
  "quote_currency":"USD","min_trade_amount":10.0,"kind":"future","is_active":true,
  "instrument_type":"reversed","instrument_name":"BTC-PERPETUAL",
  "expiration_timestamp":32503708800000,"contract_size":10.0,"base_currency":"BTC"},
 {"tick_size":0.01,"settlement_period":"perpetual","settlement_currency":"USDC",
  "quote_currency":"USDC","min_trade_amount":0.01,"kind":"future","is_active":true,
  "instrument_type":"linear","instrument_name":"ETH_USDC-PERPETUAL",
  "expiration_timestamp":32503708800000,"contract_size":0.01,"base_currency":"ETH"},
 {"tick_size":2.5,"settlement_period":"month","settlement_currency":"BTC",
  "quote_currency":"USD","min_trade_amount":10.0,"kind":"future","is_active":true,
  "instrument_type":"reversed","instrument_name":"BTC-27DEC24",
  "expiration_timestamp":1735286400000,"contract_size":10.0,"base_currency":"BTC"},
 {"tick_size":0.0001,"settlement_period":"week","settlement_currency":"BTC",
  "quote_currency":"BTC","min_trade_amount":0.1,"kind":"option","is_active":true,
  "instrument_type":"reversed","instrument_name":"BTC-27DEC24-50000-P",
  "expiration_timestamp":1735286400000,"contract_size":1.0,"base_currency":"BTC",
  "strike":50000.0,"option_type":"put"},
 {"tick_size":0.01,"settlement_currency":"BTC","min_trade_amount":0.1,
  "kind":"option_combo","instrument_name":"BTC-BOX-27DEC24-1_2","contract_size":1.0},
 {"tick_size":0.01,"settlement_currency":"BTC","min_trade_amount":0.1,
  "kind":"future","instrument_name":"ODD NAME","contract_size":1.0,
  "settlement_period":"perpetual"}
]}
"""

BITMEX = [
    {
        "symbol": "XBTUSD",
        "rootSymbol": "XBT",
        "state": "Open",
        "typ": "FFWCSX",
        "underlying": "XBT",
        "quoteCurrency": "USD",
        "settlCurrency": "XBt",
        "lotSize": 100,
        "tickSize": 0.5,
        "maxOrderQty": 10000000,
        "maxPrice": 1000000,
        "isQuanto": False,
        "isInverse": True,
        "expiry": None,
    },
    {
        "symbol": "XBTUSDT",
        "state": "Open",
        "typ": "FFWCSX",
        "underlying": "XBT",
        "quoteCurrency": "USDT",
        "settlCurrency": "USDt",
        "underlyingToPositionMultiplier": 1000000,
        "lotSize": 1000,
        "tickSize": 0.5,
        "maxOrderQty": 1000000000,
        "maxPrice": 1000000,
        "isQuanto": False,
        "isInverse": False,
    },
    {
        "symbol": "XBTZ24",
        "state": "Open",
        "typ": "FFCCSX",
        "underlying": "XBT",
        "quoteCurrency": "USD",
        "settlCurrency": "XBt",
        "lotSize": 100,
        "tickSize": 0.5,
        "isQuanto": False,
        "isInverse": True,
        "expiry": "2024-12-27T12:00:00.000Z",
    },
    {
        "symbol": "ETHUSD",
        "state": "Open",
        "typ": "FFWCSX",
        "underlying": "ETH",
        "quoteCurrency": "USD",
        "settlCurrency": "XBt",
        "lotSize": 1,
        "tickSize": 0.01,
        "isQuanto": True,
        "isInverse": False,
    },
]

_PAIR = [None, None, None, "0.00006", "2000.0", None, None, None, 0.2, 0.1]
BITFINEX = [
    [
        ["AVAX:USD", [None, None, None, "0.4", "5000.0", None, None, None, 0.3, 0.15]],
        ["BTCUSD", _PAIR],
        ["BTCUST", _PAIR],
        ["TESTBTC:TESTUSD", _PAIR],
        ["ODD", _PAIR],
    ]
]

BITSTAMP = [
    {
        "name": "BTC/USD",
        "market_symbol": "btcusd",
        "base_currency": "BTC",
        "base_decimals": 8,
        "counter_currency": "USD",
        "counter_decimals": 0,
        "minimum_order_value": "10.00",
        "maximum_order_value": "15000000.00000000",
        "minimum_order_amount": "0.00010000",
        "maximum_order_amount": "100.00000000",
        "trading": "Enabled",
        "market_type": "SPOT",
        "description": "Bitcoin / U.S. dollar",
    },
    {
        "name": "ETH/EUR",
        "url_symbol": "etheur",
        "base_decimals": 8,
        "counter_decimals": 1,
        "minimum_order": "10.0 EUR",
        "trading": "Enabled",
    },
    {
        "name": "BTC/USD-PERP",
        "market_symbol": "btcusd-perp",
        "base_decimals": 8,
        "counter_decimals": 0,
        "trading": "Enabled",
        "market_type": "PERPETUAL",
    },
]

HYPERLIQUID = {
    "universe": [
        {"szDecimals": 5, "name": "BTC", "maxLeverage": 40, "marginTableId": 56},
        {"szDecimals": 0, "name": "kPEPE", "maxLeverage": 10},
        {"szDecimals": 1, "name": "OLD", "maxLeverage": 3, "isDelisted": True},
    ]
}

DOCUMENTS = {
    ExchangeId.BINANCE_SPOT: BINANCE_SPOT,
    ExchangeId.BINANCE_US: BINANCE_SPOT,
    ExchangeId.BINANCE_FUTURES_USD: BINANCE_USDM,
    ExchangeId.BINANCE_FUTURES_COIN: BINANCE_COINM,
    ExchangeId.BYBIT_SPOT: BYBIT_SPOT,
    ExchangeId.BYBIT_PERPETUALS_USD: BYBIT_LINEAR,
    ExchangeId.OKX: OKX,
    ExchangeId.KRAKEN: KRAKEN,
    ExchangeId.KRAKEN_V2: KRAKEN,
    ExchangeId.COINBASE: COINBASE,
    ExchangeId.COINBASE_ADVANCED: COINBASE_ADVANCED,
    ExchangeId.GATEIO_SPOT: GATEIO_SPOT,
    ExchangeId.GATEIO_PERPETUALS_USD: GATEIO_PERPETUAL,
    ExchangeId.GATEIO_PERPETUALS_BTC: GATEIO_INVERSE,
    ExchangeId.GATEIO_FUTURES_USD: GATEIO_DELIVERY,
    ExchangeId.GATEIO_FUTURES_BTC: GATEIO_DELIVERY,
    ExchangeId.GATEIO_OPTIONS: GATEIO_OPTION,
    ExchangeId.BITFINEX: BITFINEX,
    ExchangeId.BITMEX: BITMEX,
    ExchangeId.BITSTAMP: BITSTAMP,
    ExchangeId.DERIBIT: json.loads(DERIBIT),
    ExchangeId.HYPERLIQUID: HYPERLIQUID,
}

# price step, quantity step, least quantity, largest, least value, unit
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
    text = document if document is not None else json.dumps(DOCUMENTS[exchange])
    fetch = listing.first()[0]
    if exchange is ExchangeId.GATEIO_OPTIONS:
        fetch = Fetch(endpoint="/api/v4/options/contracts")
    return listing.read(fetch, text.encode() if isinstance(text, str) else text)


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
        (ExchangeId.BYBIT_SPOT, '{"retCode":10001,"retMsg":"bad"}', "10001"),
        (ExchangeId.OKX, '{"code":"50011","msg":"Too Many","data":[]}', "50011"),
        (ExchangeId.KRAKEN, '{"error":["EGeneral:Too"]}', "EGeneral:Too"),
        (ExchangeId.DERIBIT, '{"error":{"code":-32602,"message":"x"}}', "-32602"),
        (ExchangeId.BITFINEX, '["error",10020,"symbol: invalid"]', "10020"),
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
