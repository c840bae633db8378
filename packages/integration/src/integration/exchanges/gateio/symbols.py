"""Gate.io's spelling: `BTC_USDT`, `…_QUARTERLY_20201225`, `BTC_USDT-20241231-35000-C`.

The cycle of a delivery future (WEEKLY, BI-WEEKLY, QUARTERLY, BI-QUARTERLY) is part of
its name, but not of its terms: QUARTERLY is assumed.
"""

import re
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

_INTERVAL = re.compile(r"^\d+[smhd]_", re.ASCII)


def native(instrument: MarketDataInstrument) -> str:
    """Spell an instrument."""
    name, kind = join_symbol(instrument, "_"), instrument.instrument_kind
    if not isinstance(kind, DatedKind):
        return name
    date = f"{day_of(instrument):%Y%m%d}"
    if kind.option is None:
        return f"{name}_QUARTERLY_{date}"
    letter = "C" if kind.option.kind is OptionKind.CALL else "P"
    return f"{name}-{date}-{kind.option.strike:f}-{letter}"


def instrument(exchange: ExchangeId, symbol: str) -> MarketDataInstrument:
    """Read a symbol; the server says whether a plain pair is spot or perpetual.

    Raises:
        DataError: it is not spelled as Gate.io spells them.
    """
    try:
        return _read(exchange, symbol)
    except (ValueError, ArithmeticError) as error:
        raise malformed_symbol(exchange, symbol, str(error)) from error


def _read(exchange: ExchangeId, symbol: str) -> MarketDataInstrument:
    # What candles are called begins with their interval.
    symbol = _INTERVAL.sub("", symbol)
    pair, *option = symbol.split("-") if "_QUARTERLY" not in symbol else (symbol,)
    parts = pair.split("_")
    match parts, option:
        case [base, quote], []:
            if exchange is ExchangeId.GATEIO_SPOT:
                return MarketDataInstrument.spot(base, quote)
            return MarketDataInstrument.perpetual(base, quote)
        case [base, quote, _cycle, date], []:
            return MarketDataInstrument.future(base, quote, expiry=_expiry(date))
        case [base, quote], [date, strike, letter]:
            return MarketDataInstrument.option(
                base,
                quote,
                kind=option_kind(letter),
                strike=Decimal(strike),
                expiry=_expiry(date),
            )
        case _:
            msg = "expected BASE_QUOTE[_CYCLE_YYYYMMDD | -YYYYMMDD-STRIKE-C|P]"
            raise ValueError(msg)


def _expiry(date: str) -> int:
    if len(date) != len("YYYYMMDD"):
        msg = f"{date!r} is no date"
        raise ValueError(msg)
    return expiry_ns(int(date[:4]), int(date[4:6]), int(date[6:]))
