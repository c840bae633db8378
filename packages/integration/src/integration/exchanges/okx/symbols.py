"""OKX's spelling: `BTC-USDT`, `BTC-USDT-SWAP`, `BTC-USD-230526`, `…-35000-C`.

Dates are of the calendar year: 31 December 2024 is 241231, though its ISO week
belongs to 2025.
"""

from decimal import Decimal

from integration.exchanges.shared import (
    day_of,
    expiry_ns,
    join_symbol,
    malformed_symbol,
    option_kind,
)
from integration.models import DatedKind, ExchangeId, MarketDataInstrument, OptionKind

__all__ = ["instrument", "native"]


def native(instrument: MarketDataInstrument) -> str:
    """Spell an instrument."""
    name, kind = join_symbol(instrument, "-"), instrument.instrument_kind
    if kind == "spot":
        return name
    if not isinstance(kind, DatedKind):
        return f"{name}-SWAP"
    name = f"{name}-{day_of(instrument):%y%m%d}"
    option = kind.option
    if option is None:
        return name
    letter = "C" if option.kind is OptionKind.CALL else "P"
    return f"{name}-{option.strike:f}-{letter}"


def instrument(symbol: str) -> MarketDataInstrument:
    """Read a symbol.

    Raises:
        DataError: it is not spelled as OKX spells them.
    """
    try:
        return _read(symbol.split("-"))
    except (ValueError, ArithmeticError) as error:
        why = f"expected BASE-QUOTE[-SWAP|-YYMMDD[-STRIKE-C|P]] ({error})"
        raise malformed_symbol(ExchangeId.OKX, symbol, why) from error


def _read(parts: list[str]) -> MarketDataInstrument:
    match parts:
        case [base, quote]:
            return MarketDataInstrument.spot(base, quote)
        case [base, quote, "SWAP"]:
            return MarketDataInstrument.perpetual(base, quote)
        case [base, quote, date]:
            return MarketDataInstrument.future(base, quote, expiry=_expiry(date))
        case [base, quote, date, strike, letter]:
            return MarketDataInstrument.option(
                base,
                quote,
                kind=option_kind(letter),
                strike=Decimal(strike),
                expiry=_expiry(date),
            )
        case _:
            msg = f"{len(parts)} parts"
            raise ValueError(msg)


def _expiry(date: str) -> int:
    if len(date) != len("YYMMDD"):
        msg = f"{date!r} is no date"
        raise ValueError(msg)
    year, month, day = (int(date[i : i + 2]) for i in (0, 2, 4))
    return expiry_ns(2000 + year, month, day)
