"""Kraken v2's spelling: `BTC/USD`, upper case; bitcoin is BTC here."""

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
        raise malformed_symbol(ExchangeId.KRAKEN_V2, symbol, "expected BASE/QUOTE")
    return MarketDataInstrument.spot(base, quote)
