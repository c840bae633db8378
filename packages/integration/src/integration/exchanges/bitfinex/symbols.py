"""Bitfinex's spelling: `tBTCUSD`; longer names with a colon, `tAVAX:USD`.

Perpetuals are `tBTCF0:USTF0`. Its name for Tether is UST.
"""

from integration.exchanges.shared import malformed_symbol
from integration.models import ExchangeId, InstrumentKind, MarketDataInstrument

__all__ = ["instrument", "native"]

_SHORT = 3
_PERPETUAL = "F0"


def native(instrument: MarketDataInstrument) -> str:
    """Spell an instrument."""
    base, quote = instrument.base.upper(), instrument.quote.upper()
    if instrument.kind is InstrumentKind.PERPETUAL:
        return f"t{base}{_PERPETUAL}:{quote}{_PERPETUAL}"
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
    if base.endswith(_PERPETUAL) and quote.endswith(_PERPETUAL):
        base, quote = base.removesuffix(_PERPETUAL), quote.removesuffix(_PERPETUAL)
        return MarketDataInstrument.perpetual(base, quote)
    return MarketDataInstrument.spot(base, quote)
