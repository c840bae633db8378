"""Bitfinex's spelling: `tBTCUSD`; longer names with a colon, `tAVAX:USD`.

Perpetuals are `tBTCF0:USTF0`. Its name for Tether is UST. Candles and the status of
contracts have keys around the symbol, `trade:1m:tBTCUSD` and `deriv:tBTCF0:USTF0`.
"""

import re

from integration.exchanges.shared import malformed_symbol
from integration.models import ExchangeId, InstrumentKind, MarketDataInstrument

__all__ = ["instrument", "native"]

_SHORT = 3
_PERPETUAL = "F0"
_KEY = re.compile(r"^(?:trade:\w+|deriv):(?=t)", re.ASCII)


def native(instrument: MarketDataInstrument) -> str:
    """Spell an instrument."""
    base, quote = instrument.base.upper(), instrument.quote.upper()
    if instrument.kind is InstrumentKind.PERPETUAL:
        return f"t{base}{_PERPETUAL}:{quote}{_PERPETUAL}"
    joint = "" if len(base) == len(quote) == _SHORT else ":"
    return f"t{base}{joint}{quote}"


def instrument(symbol: str) -> MarketDataInstrument:
    """Read a symbol, or the key of a channel that is about one.

    Raises:
        DataError: it is not spelled as Bitfinex spells them.
    """
    name = _KEY.sub("", symbol)
    body = name.removeprefix("t")
    base, colon, quote = body.partition(":")
    if not colon:
        base, quote = body[:_SHORT], body[_SHORT:]
    odd = ":" in quote if colon else len(quote) != _SHORT
    if body == name or not base or not quote or odd:
        why = "expected tBBBQQQ or tBASE:QUOTE"
        raise malformed_symbol(ExchangeId.BITFINEX, symbol, why)
    if base.endswith(_PERPETUAL) and quote.endswith(_PERPETUAL):
        base, quote = base.removesuffix(_PERPETUAL), quote.removesuffix(_PERPETUAL)
        return MarketDataInstrument.perpetual(base, quote)
    return MarketDataInstrument.spot(base, quote)
