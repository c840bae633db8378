"""Bitfinex's spelling: `tBTCUSD`; longer names with a colon, `tAVAX:USD`.

Its name for Tether is UST.
"""

from integration.exchanges.shared import malformed_symbol
from integration.models import ExchangeId, MarketDataInstrument

__all__ = ["instrument", "native"]

_SHORT = 3


def native(instrument: MarketDataInstrument) -> str:
    """Spell an instrument."""
    base, quote = instrument.base.upper(), instrument.quote.upper()
    joint = "" if len(base) == len(quote) == _SHORT else ":"
    return f"t{base}{joint}{quote}"


def instrument(symbol: str) -> MarketDataInstrument:
    """Read a symbol.

    Raises:
        DataError: it is not spelled as Bitfinex spells them.
    """
    body = symbol.removeprefix("t")
    base, colon, quote = body.partition(":")
    if not colon:
        base, quote = body[:_SHORT], body[_SHORT:]
    if body == symbol or not base or not quote or (not colon and len(quote) != _SHORT):
        why = "expected tBBBQQQ or tBASE:QUOTE"
        raise malformed_symbol(ExchangeId.BITFINEX, symbol, why)
    return MarketDataInstrument.spot(base, quote)
