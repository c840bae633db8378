"""Hyperliquid's spelling: the coin alone, `BTC`; perpetuals quoted in US dollars."""

from integration.models import MarketDataInstrument

__all__ = ["instrument", "native"]


def native(instrument: MarketDataInstrument) -> str:
    """Spell an instrument.

    A lower-case k (`kPEPE`, a thousand of them) is part of a coin's name.
    """
    base = instrument.base
    thousand = base.startswith("k") and base[1:] in {"pepe", "shib", "bonk", "floki"}
    return f"k{base[1:].upper()}" if thousand else base.upper()


def instrument(symbol: str) -> MarketDataInstrument:
    """Read a symbol."""
    return MarketDataInstrument.perpetual(symbol, "usd")
