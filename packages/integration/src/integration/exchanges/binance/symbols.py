"""Binance's spelling of instruments: `BTCUSDT`, `BTCUSDT_241227`, `BTCUSD_PERP`.

Spot and USD-M symbols run base and quote together, so that reading one needs the
list of quote assets.
"""

import datetime as dt

from integration.errors import DataError
from integration.models import ExchangeId, MarketDataInstrument

__all__ = ["instrument", "native"]

_QUOTES = (
    "FDUSD",
    "USDT",
    "USDC",
    "TUSD",
    "BUSD",
    "USD1",
    "USD",
    "BIDR",
    "IDRT",
    "BVND",
    "DAI",
    "PAX",
    "BTC",
    "ETH",
    "BNB",
    "TRX",
    "XRP",
    "DOGE",
    "EUR",
    "GBP",
    "AUD",
    "BRL",
    "TRY",
    "RUB",
    "UAH",
    "NGN",
    "ZAR",
    "PLN",
    "RON",
    "ARS",
    "MXN",
    "CZK",
    "JPY",
    "VAI",
    "UST",
)
"""Assets that exchangeInfo names as quote; longest match wins."""


def native(exchange: ExchangeId, instrument: MarketDataInstrument) -> str:
    """Spell an instrument, in upper case."""
    name = f"{instrument.base}{instrument.quote}".upper()
    if instrument.expiry is not None:
        day = dt.datetime.fromtimestamp(instrument.expiry // 10**9, dt.UTC)
        return f"{name}_{day:%y%m%d}"
    if exchange is ExchangeId.BINANCE_FUTURES_COIN:
        return f"{name}_PERP"
    return name


def instrument(exchange: ExchangeId, symbol: str) -> MarketDataInstrument:
    """Read a symbol.

    Raises:
        DataError: no known quote asset ends it, or its date is none.
    """
    pair, _, suffix = symbol.partition("_")
    quotes = (q for q in _QUOTES if pair.endswith(q) and len(pair) > len(q))
    quote = max(quotes, key=len, default=None)
    if quote is None:
        msg = f"{exchange}: no known quote asset ends the symbol {symbol!r}"
        raise DataError(msg)
    base = pair[: -len(quote)]
    if suffix and suffix != "PERP":
        try:
            day = dt.datetime.strptime(suffix, "%y%m%d").replace(tzinfo=dt.UTC)
        except ValueError as error:
            msg = f"{exchange}: {symbol!r} does not end in a date YYMMDD"
            raise DataError(msg) from error
        # Deliveries settle at 08:00 UTC.
        expiry = (int(day.timestamp()) + 8 * 3600) * 10**9
        return MarketDataInstrument.future(base, quote, expiry=expiry)
    if exchange in {ExchangeId.BINANCE_SPOT, ExchangeId.BINANCE_US}:
        return MarketDataInstrument.spot(base, quote)
    return MarketDataInstrument.perpetual(base, quote)
