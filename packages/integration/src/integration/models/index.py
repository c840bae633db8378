"""Dense integer indices for exchanges, assets and instruments.

Columns of numbers keyed 0..n beat dictionaries keyed by names wherever a consumer
holds one value per instrument. An index once given never changes: `extended` adds
listings behind the existing ones, so that live listings do not disturb running
consumers.
"""

from collections.abc import Iterable
from typing import NewType, final

from integration.errors import UnknownIndex
from integration.models.asset import Asset as _Asset
from integration.models.asset import AssetNameInternal, ExchangeAsset, Keyed
from integration.models.exchange import ExchangeId
from integration.models.instrument import (
    Instrument,
    InstrumentNameExchange,
    InstrumentNameInternal,
    MarketDataInstrument,
)

__all__ = [
    "AssetIndex",
    "ExchangeIndex",
    "IndexedInstruments",
    "InstrumentIndex",
]

ExchangeIndex = NewType("ExchangeIndex", int)
AssetIndex = NewType("AssetIndex", int)
InstrumentIndex = NewType("InstrumentIndex", int)


@final
class IndexedInstruments:
    """Instruments and what they speak of, each with a dense index.

    Equal instruments are kept once. The first building sorts, so that indices do
    not depend on the caller's order; `extended` appends.

    Args:
        instruments: any number, in any order.
    """

    __slots__ = (
        "_asset_list",
        "_assets",
        "_exchange_list",
        "_exchanges",
        "_instruments",
        "_market_data",
        "_names",
        "_symbols",
    )

    def __init__(self, instruments: Iterable[Instrument] = ()) -> None:
        self._exchanges: dict[ExchangeId, ExchangeIndex] = {}
        self._assets: dict[tuple[ExchangeId, AssetNameInternal], AssetIndex] = {}
        self._instruments: list[Instrument] = []
        self._names: dict[tuple[ExchangeId, InstrumentNameInternal], int] = {}
        # The same again, from the venue's names and from what streams carry, and
        # the ways back: every look-up is one dictionary or list access.
        self._symbols: dict[tuple[ExchangeId, InstrumentNameExchange], int] = {}
        self._market_data: dict[tuple[ExchangeId, MarketDataInstrument], int] = {}
        self._exchange_list: list[ExchangeId] = []
        self._asset_list: list[tuple[ExchangeId, AssetNameInternal]] = []
        self._add(instruments)

    def _add(self, instruments: Iterable[Instrument]) -> None:
        new = sorted(instruments, key=lambda item: (item.exchange, item.name_internal))
        for instrument in new:
            key = (instrument.exchange, instrument.name_internal)
            if key in self._names:
                continue
            exchange, number = instrument.exchange, len(self._instruments)
            self._names[key] = number
            self._symbols.setdefault((exchange, instrument.name_exchange), number)
            self._market_data.setdefault((exchange, instrument.market_data()), number)
            self._instruments.append(instrument)
            if exchange not in self._exchanges:
                self._exchanges[exchange] = ExchangeIndex(len(self._exchanges))
                self._exchange_list.append(exchange)
            for asset in instrument.assets():
                if (exchange, asset) not in self._assets:
                    self._assets[exchange, asset] = AssetIndex(len(self._assets))
                    self._asset_list.append((exchange, asset))

    def extended(self, instruments: Iterable[Instrument]) -> "IndexedInstruments":
        """Return a copy with more instruments; existing indices stay as they are."""
        copy = IndexedInstruments()
        copy._exchanges = dict(self._exchanges)
        copy._assets = dict(self._assets)
        copy._instruments = list(self._instruments)
        copy._names = dict(self._names)
        copy._symbols = dict(self._symbols)
        copy._market_data = dict(self._market_data)
        copy._exchange_list = list(self._exchange_list)
        copy._asset_list = list(self._asset_list)
        copy._add(instruments)
        return copy

    def __len__(self) -> int:
        return len(self._instruments)

    def __repr__(self) -> str:
        return (
            f"IndexedInstruments({len(self._exchanges)} exchanges, "
            f"{len(self._assets)} assets, {len(self._instruments)} instruments)"
        )

    @property
    def exchanges(self) -> tuple[Keyed[ExchangeIndex, ExchangeId], ...]:
        """Every exchange with its index."""
        return tuple(Keyed(key=i, value=e) for e, i in self._exchanges.items())

    @property
    def assets(self) -> tuple[Keyed[AssetIndex, ExchangeAsset], ...]:
        """Every asset of every exchange with its index."""
        return tuple(
            Keyed(key=i, value=ExchangeAsset(exchange=e, asset=_Asset.named(name)))
            for (e, name), i in self._assets.items()
        )

    @property
    def instruments(self) -> tuple[Keyed[InstrumentIndex, Instrument], ...]:
        """Every instrument with its index."""
        return tuple(
            Keyed(key=InstrumentIndex(i), value=instrument)
            for i, instrument in enumerate(self._instruments)
        )

    def exchange_index(self, exchange: ExchangeId) -> ExchangeIndex:
        """Look up an exchange.

        Raises:
            UnknownIndex: no instrument of it was added.
        """
        try:
            return self._exchanges[exchange]
        except KeyError:
            raise UnknownIndex("exchange", exchange) from None

    def asset_index(self, exchange: ExchangeId, name: AssetNameInternal) -> AssetIndex:
        """Look up an asset of an exchange.

        Raises:
            UnknownIndex: no instrument speaks of it.
        """
        try:
            return self._assets[exchange, name]
        except KeyError:
            raise UnknownIndex("asset", f"{exchange}|{name}") from None

    def instrument_index(
        self, exchange: ExchangeId, name: InstrumentNameInternal
    ) -> InstrumentIndex:
        """Look up an instrument by our name of it.

        Raises:
            UnknownIndex: it was not added.
        """
        try:
            return InstrumentIndex(self._names[exchange, name])
        except KeyError:
            raise UnknownIndex("instrument", f"{exchange}|{name}") from None

    def instrument_index_of_symbol(
        self, exchange: ExchangeId, name: InstrumentNameExchange
    ) -> InstrumentIndex:
        """Look up an instrument by the venue's name of it.

        Raises:
            UnknownIndex: it was not added.
        """
        try:
            return InstrumentIndex(self._symbols[exchange, name])
        except KeyError:
            raise UnknownIndex("instrument", f"{exchange}|{name}") from None

    def instrument_index_of_market_data(
        self, exchange: ExchangeId, instrument: MarketDataInstrument
    ) -> InstrumentIndex:
        """Look up an instrument by what subscriptions and events carry.

        Raises:
            UnknownIndex: it was not added.
        """
        try:
            return InstrumentIndex(self._market_data[exchange, instrument])
        except KeyError:
            raise UnknownIndex("instrument", f"{exchange}|{instrument}") from None

    def exchange(self, index: ExchangeIndex) -> ExchangeId:
        """Return the exchange of an index.

        Raises:
            UnknownIndex: there are fewer.
        """
        if not 0 <= index < len(self._exchange_list):
            raise UnknownIndex("exchange", str(index))
        return self._exchange_list[index]

    def asset(self, index: AssetIndex) -> ExchangeAsset:
        """Return the asset of an index.

        Raises:
            UnknownIndex: there are fewer.
        """
        if not 0 <= index < len(self._asset_list):
            raise UnknownIndex("asset", str(index))
        exchange, name = self._asset_list[index]
        return ExchangeAsset(exchange=exchange, asset=_Asset.named(name))

    def instrument(self, index: InstrumentIndex) -> Instrument:
        """Return the instrument of an index.

        Raises:
            UnknownIndex: there are fewer.
        """
        if not 0 <= index < len(self._instruments):
            raise UnknownIndex("instrument", str(index))
        return self._instruments[index]
