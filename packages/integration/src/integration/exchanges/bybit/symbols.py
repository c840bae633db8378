"""Bybit's spelling of instruments: `BTCUSDT`; linear contracts in USDC: `BTCPERP`."""

from integration.exchanges.shared import join_symbol, split_joined
from integration.models import ExchangeId, MarketDataInstrument

__all__ = ["instrument", "native"]

_USDC = "PERP"


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
    if exchange is ExchangeId.BYBIT_PERPETUALS_USD:
        if symbol.endswith(_USDC):
            return MarketDataInstrument.perpetual(symbol[: -len(_USDC)], "usdc")
        return MarketDataInstrument.perpetual(*split_joined(exchange, symbol))
    return MarketDataInstrument.spot(*split_joined(exchange, symbol))
