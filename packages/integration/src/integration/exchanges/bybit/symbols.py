"""Bybit's spelling of instruments: `BTCUSDT`; linear contracts in USDC: `BTCPERP`."""

from integration.exchanges.shared import join_symbol, split_joined
from integration.models import ExchangeId, MarketDataInstrument

__all__ = ["instrument", "native"]

_USDC = "PERP"

_QUOTES = {
    ExchangeId.BYBIT_SPOT: (
        *("USDT", "USDC", "USDE", "USDQ", "USD1", "DAI", "EUR", "BRL", "BRZ", "TRY"),
        *("PLN", "BTC", "ETH", "SOL", "MNT"),
    ),
    ExchangeId.BYBIT_PERPETUALS_USD: ("USDT",),
}


def native(exchange: ExchangeId, instrument: MarketDataInstrument) -> str:
    """Spell an instrument, in upper case."""
    linear = exchange is ExchangeId.BYBIT_PERPETUALS_USD
    if linear and instrument.quote == "usdc":
        return f"{instrument.base.upper()}{_USDC}"
    return join_symbol(instrument, "")


def instrument(exchange: ExchangeId, symbol: str) -> MarketDataInstrument:
    """Read a symbol.

    Raises:
        DataError: no known quote asset ends it.
    """
    linear = exchange is ExchangeId.BYBIT_PERPETUALS_USD
    if linear and symbol.endswith(_USDC):
        return MarketDataInstrument.perpetual(symbol[: -len(_USDC)], "usdc")
    base, quote = split_joined(exchange, symbol, _QUOTES[exchange])
    if linear:
        return MarketDataInstrument.perpetual(base, quote)
    return MarketDataInstrument.spot(base, quote)
