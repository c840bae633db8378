"""Coinbase Advanced's spelling: `BTC-USD`."""

from integration.exchanges.shared import join_symbol, malformed_symbol
from integration.models import ExchangeId, MarketDataInstrument

__all__ = ["instrument", "native"]


def native(instrument: MarketDataInstrument) -> str:
    """Spell an instrument."""
    return join_symbol(instrument, "-")


def instrument(symbol: str) -> MarketDataInstrument:
    """Read a symbol.

    Raises:
        DataError: it has no hyphen.
    """
    base, hyphen, quote = symbol.partition("-")
    if not (base and hyphen and quote):
        raise malformed_symbol(
            ExchangeId.COINBASE_ADVANCED, symbol, "expected BASE-QUOTE"
        )
    return MarketDataInstrument.spot(base, quote)
