"""Which exchange server a subscription or an event belongs to.

One member per *server with its own dialect or instruments*, not per company:
`binance_spot` and `binance_futures_usd` are two. Does not know URLs or limits; each
connector under `integration.exchanges` states its own.
"""

from enum import StrEnum

__all__ = ["ExchangeId"]


class ExchangeId(StrEnum):
    """An exchange server, spelled in snake case.

    The first 42 are the established vocabulary; `coinbase_advanced`, `hyperliquid`
    and `kraken_v2` are servers that this package connects to besides. `huobi`, the
    former name of `htx`, is accepted when decoding.
    """

    OTHER = "other"
    SIMULATED = "simulated"
    MOCK = "mock"
    BINANCE_FUTURES_COIN = "binance_futures_coin"
    BINANCE_FUTURES_USD = "binance_futures_usd"
    BINANCE_OPTIONS = "binance_options"
    BINANCE_PORTFOLIO_MARGIN = "binance_portfolio_margin"
    BINANCE_SPOT = "binance_spot"
    BINANCE_US = "binance_us"
    BITAZZA = "bitazza"
    BITFINEX = "bitfinex"
    BITFLYER = "bitflyer"
    BITGET = "bitget"
    BITMART = "bitmart"
    BITMART_FUTURES_USD = "bitmart_futures_usd"
    BITMEX = "bitmex"
    BITSO = "bitso"
    BITSTAMP = "bitstamp"
    BITVAVO = "bitvavo"
    BITHUMB = "bithumb"
    BYBIT_PERPETUALS_USD = "bybit_perpetuals_usd"
    BYBIT_SPOT = "bybit_spot"
    CEXIO = "cexio"
    COINBASE = "coinbase"
    COINBASE_INTERNATIONAL = "coinbase_international"
    CRYPTOCOM = "cryptocom"
    DERIBIT = "deribit"
    GATEIO_FUTURES_BTC = "gateio_futures_btc"
    GATEIO_FUTURES_USD = "gateio_futures_usd"
    GATEIO_OPTIONS = "gateio_options"
    GATEIO_PERPETUALS_BTC = "gateio_perpetuals_btc"
    GATEIO_PERPETUALS_USD = "gateio_perpetuals_usd"
    GATEIO_SPOT = "gateio_spot"
    GEMINI = "gemini"
    HITBTC = "hitbtc"
    HTX = "htx"
    KRAKEN = "kraken"
    KUCOIN = "kucoin"
    LIQUID = "liquid"
    MEXC = "mexc"
    OKX = "okx"
    POLONIEX = "poloniex"

    COINBASE_ADVANCED = "coinbase_advanced"
    HYPERLIQUID = "hyperliquid"
    KRAKEN_V2 = "kraken_v2"

    @classmethod
    def _missing_(cls, value: object) -> "ExchangeId | None":
        return cls.HTX if value == "huobi" else None
