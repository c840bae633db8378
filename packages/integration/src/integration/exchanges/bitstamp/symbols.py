"""Bitstamp's spelling: `btcusd`, lower case, run together."""

from integration.exchanges.shared import split_joined
from integration.models import ExchangeId, MarketDataInstrument

__all__ = ["instrument", "native"]

_QUOTES = ("USD", "EUR", "GBP", "BTC", "ETH", "USDT", "USDC", "PAX", "EURC")


def native(instrument: MarketDataInstrument) -> str:
    """Spell an instrument."""
    return f"{instrument.base}{instrument.quote}"


def instrument(symbol: str) -> MarketDataInstrument:
    """Read a symbol.

    Raises:
        DataError: no known quote asset ends it.
    """
    return MarketDataInstrument.spot(
        *split_joined(ExchangeId.BITSTAMP, symbol, _QUOTES)
    )
