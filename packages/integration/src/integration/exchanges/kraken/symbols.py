"""Kraken v1's spelling: `XBT/USD`, upper case; its name for bitcoin is XBT."""

from integration.exchanges.shared import join_symbol, malformed_symbol
from integration.models import ExchangeId, MarketDataInstrument

__all__ = ["instrument", "native"]


def native(instrument: MarketDataInstrument) -> str:
    """Spell an instrument."""
    return join_symbol(instrument, "/")


def instrument(symbol: str) -> MarketDataInstrument:
    """Read a symbol.

    Raises:
        DataError: it has no slash.
    """
    base, slash, quote = symbol.partition("/")
    if not (base and slash and quote):
        raise malformed_symbol(ExchangeId.KRAKEN, symbol, "expected BASE/QUOTE")
    return MarketDataInstrument.spot(base, quote)
