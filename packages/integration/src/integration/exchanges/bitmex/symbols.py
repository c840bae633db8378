"""BitMEX's spelling: `XBTUSD`; its name for bitcoin is XBT."""

from integration.exchanges.shared import join_symbol, split_joined
from integration.models import ExchangeId, MarketDataInstrument

__all__ = ["instrument", "native"]

_QUOTES = ("USDT", "USDC", "USD", "EUR", "XBT", "ETH")


def native(instrument: MarketDataInstrument) -> str:
    """Spell an instrument."""
    return join_symbol(instrument, "")


def instrument(symbol: str) -> MarketDataInstrument:
    """Read a symbol.

    Raises:
        DataError: no known quote asset ends it.
    """
    return MarketDataInstrument.perpetual(
        *split_joined(ExchangeId.BITMEX, symbol, _QUOTES)
    )
