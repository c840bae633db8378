"""Names and terms of the instruments that a client trades, both ways in O(1).

Does not load terms (`integration.instruments` does) and knows no venue's spelling
beyond what the terms say.
"""

from collections.abc import Iterable, Iterator
from typing import final

from integration.execution.errors import UnknownInstrument
from integration.models import (
    ExchangeId,
    Instrument,
    InstrumentNameExchange,
    InstrumentNameInternal,
    instrument_name_internal,
)

__all__ = ["InstrumentMap"]


@final
class InstrumentMap:
    """The instruments of one exchange.

    Args:
        exchange: Whose.
        instruments: Their terms; those of other exchanges are refused.

    Raises:
        ValueError: An instrument is of another exchange.
    """

    __slots__ = ("_by_name", "_by_symbol", "exchange")

    def __init__(self, exchange: ExchangeId, instruments: Iterable[Instrument]) -> None:
        self.exchange = exchange
        self._by_name: dict[InstrumentNameInternal, Instrument] = {}
        self._by_symbol: dict[InstrumentNameExchange, Instrument] = {}
        for instrument in instruments:
            if instrument.exchange is not exchange:
                raise ValueError(f"{instrument.name_internal} is not of {exchange}")
            self._by_name[instrument.name_internal] = instrument
            self._by_symbol[instrument.name_exchange] = instrument

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._by_name.values())

    def __contains__(self, name: InstrumentNameInternal) -> bool:
        return name in self._by_name

    @property
    def names(self) -> tuple[InstrumentNameInternal, ...]:
        """Our names, in the order given."""
        return tuple(self._by_name)

    def __getitem__(self, name: InstrumentNameInternal) -> Instrument:
        """Return the terms of an instrument.

        Raises:
            UnknownInstrument: It was not given.
        """
        instrument = self._by_name.get(name)
        if instrument is None:
            raise UnknownInstrument(name)
        return instrument

    def symbol(self, name: InstrumentNameInternal) -> InstrumentNameExchange:
        """Return the venue's name of an instrument.

        Raises:
            UnknownInstrument: It was not given.
        """
        return self[name].name_exchange

    def of_symbol(self, symbol: str) -> Instrument | None:
        """Return the instrument of a venue's name, if it was given."""
        return self._by_symbol.get(InstrumentNameExchange(symbol))

    def name(self, symbol: str) -> InstrumentNameInternal:
        """Return our name of a venue's name, given or not: accounts hold others too."""
        known = self.of_symbol(symbol)
        if known is not None:
            return known.name_internal
        return instrument_name_internal(self.exchange, symbol)
