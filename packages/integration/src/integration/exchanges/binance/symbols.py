"""Binance's spelling of instruments: `BTCUSDT`, `BTCUSDT_241227`, `BTCUSD_PERP`.

Spot and USD-M symbols run base and quote together, so that reading one needs the
list of quote assets.
"""

from integration.exchanges.shared import (
    day_of,
    expiry_ns,
    join_symbol,
    malformed_symbol,
    split_joined,
)
from integration.models import ExchangeId, MarketDataInstrument

__all__ = ["instrument", "native"]

_FIAT = ("EUR", "GBP", "AUD", "BRL", "TRY", "ARS", "MXN", "CZK", "JPY", "PLN", "ZAR")

_QUOTES: dict[ExchangeId, tuple[str, ...]] = {
    ExchangeId.BINANCE_SPOT: (
        *("USDT", "FDUSD", "USDC", "TUSD", "BUSD", "USD1", "DAI", "PAX", "USDS"),
        *("BTC", "ETH", "BNB", "TRX", "XRP", "DOGE", "DOT", "SOL", "EURI", "IDR"),
        *("RUB", "UAH", "NGN", "RON", "BIDR", "IDRT", "BVND", "VAI", "UST", "COP"),
        *_FIAT,
    ),
    ExchangeId.BINANCE_US: ("USDT", "USDC", "USD", "BUSD", "BTC", "ETH", "BNB", "DAI"),
    ExchangeId.BINANCE_FUTURES_USD: ("USDT", "USDC", "BUSD", "FDUSD", "USD1", "BTC"),
    ExchangeId.BINANCE_FUTURES_COIN: ("USD",),
}
"""Quote assets that each server's exchangeInfo has named over the years."""


def native(exchange: ExchangeId, instrument: MarketDataInstrument) -> str:
    """Spell an instrument, in upper case."""
    name = join_symbol(instrument, "")
    if instrument.expiry is not None:
        return f"{name}_{day_of(instrument):%y%m%d}"
    if exchange is ExchangeId.BINANCE_FUTURES_COIN:
        return f"{name}_PERP"
    return name


def instrument(exchange: ExchangeId, symbol: str) -> MarketDataInstrument:
    """Read a symbol.

    Raises:
        DataError: no known quote asset ends it, or its date is none.
    """
    pair, _, suffix = symbol.partition("_")
    base, quote = split_joined(exchange, pair, _QUOTES[exchange])
    if suffix and suffix != "PERP":
        return MarketDataInstrument.future(
            base, quote, expiry=_delivery(exchange, symbol, suffix)
        )
    if exchange in {ExchangeId.BINANCE_SPOT, ExchangeId.BINANCE_US}:
        return MarketDataInstrument.spot(base, quote)
    return MarketDataInstrument.perpetual(base, quote)


def _delivery(exchange: ExchangeId, symbol: str, date: str) -> int:
    try:
        year, month, day = (int(date[i : i + 2]) for i in (0, 2, 4))
        # Deliveries settle at 08:00 UTC.
        return expiry_ns(2000 + year, month, day, hour=8)
    except ValueError as error:
        why = "it does not end in a date YYMMDD"
        raise malformed_symbol(exchange, symbol, why) from error
