"""Deribit's spelling: `BTC-PERPETUAL`, `BTC-5APR24`, `BTC-24SEP21-8000-P`.

Days have no leading zero. Contracts are quoted in US dollars unless the name says
otherwise (`BTC_USDC-PERPETUAL`); a `d` is the point of a strike. Expiry is at 08:00.
"""

import re
from decimal import Decimal

from integration.exchanges.shared import (
    MONTHS,
    day_of,
    expiry_ns,
    malformed_symbol,
    option_kind,
)
from integration.models import DatedKind, ExchangeId, MarketDataInstrument, OptionKind

__all__ = ["instrument", "native"]

_DATE = re.compile(r"(\d{1,2})([A-Z]{3})(\d{2})", re.ASCII)
_HOUR = 8


def native(instrument: MarketDataInstrument) -> str:
    """Spell an instrument."""
    usd = instrument.quote == "usd"
    name = instrument.base if usd else f"{instrument.base}_{instrument.quote}"
    name, kind = name.upper(), instrument.instrument_kind
    if not isinstance(kind, DatedKind):
        return f"{name}-PERPETUAL"
    day = day_of(instrument)
    name = f"{name}-{day.day}{MONTHS[day.month - 1]}{day:%y}"
    if kind.option is None:
        return name
    letter = "C" if kind.option.kind is OptionKind.CALL else "P"
    strike = f"{kind.option.strike:f}".replace(".", "d")
    return f"{name}-{strike}-{letter}"


def instrument(symbol: str) -> MarketDataInstrument:
    """Read a symbol.

    Raises:
        DataError: it is not spelled as Deribit spells them.
    """
    try:
        return _read(symbol.split("-"))
    except (ValueError, ArithmeticError) as error:
        raise malformed_symbol(ExchangeId.DERIBIT, symbol, str(error)) from error


def _read(parts: list[str]) -> MarketDataInstrument:
    base, _, quote = parts[0].partition("_")
    quote = quote or "usd"
    match parts[1:]:
        case ["PERPETUAL"]:
            return MarketDataInstrument.perpetual(base, quote)
        case [date]:
            return MarketDataInstrument.future(base, quote, expiry=_expiry(date))
        case [date, strike, letter]:
            return MarketDataInstrument.option(
                base,
                quote,
                kind=option_kind(letter),
                strike=Decimal(strike.replace("d", ".")),
                expiry=_expiry(date),
            )
        case _:
            msg = "expected BASE[_QUOTE]-PERPETUAL or -DMMMYY[-STRIKE-C|P]"
            raise ValueError(msg)


def _expiry(date: str) -> int:
    match = _DATE.fullmatch(date)
    if match is None or match[2] not in MONTHS:
        msg = f"{date!r} is no date"
        raise ValueError(msg)
    month = MONTHS.index(match[2]) + 1
    return expiry_ns(2000 + int(match[3]), month, int(match[1]), hour=_HOUR)
