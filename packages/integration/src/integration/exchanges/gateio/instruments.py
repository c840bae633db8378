"""Gate.io's six markets: spot, perpetual, delivery and options.

https://www.gate.com/docs/developers/apiv4 (Spot: currency_pairs; Futures and
Delivery: contracts; Options: underlyings, contracts). A linear contract
is `quanto_multiplier` of the base, an inverse one a dollar.
"""

from decimal import Decimal

import msgspec

from integration.fields import decimal_of
from integration.instruments import (
    Fetch,
    Listing,
    Page,
    decode_document,
    make_instrument,
    make_spec,
    power_of_ten,
    read_each,
)
from integration.models import (
    ExchangeId,
    FutureContract,
    Instrument,
    InstrumentSpec,
    OptionContract,
    OptionExercise,
    OptionKind,
    PerpetualContract,
    QuantityUnit,
    SpotContract,
    asset_name_internal,
)

__all__ = ["LISTINGS", "GateioListing", "GateioOptionListing", "GateioSpotListing"]

_URL = "https://api.gateio.ws"


class Pair(msgspec.Struct):
    """One spot pair."""

    id: str
    base: str
    quote: str
    amount_precision: int
    precision: int
    trade_status: str = "tradable"
    min_base_amount: str = "0"
    max_base_amount: str | None = None
    min_quote_amount: str = "0"


class Contract(msgspec.Struct):
    """One contract; a delivery names its underlying and when it expires."""

    name: str
    order_price_round: str
    order_size_min: Decimal
    order_size_max: Decimal
    quanto_multiplier: str = "0"
    type: str = "direct"
    in_delisting: bool = False
    underlying: str = ""
    expire_time: int = 0


class Option(msgspec.Struct):
    """One option."""

    name: str
    underlying: str
    is_call: bool
    strike_price: str
    expiration_time: int
    multiplier: str
    order_price_round: str
    order_size_min: Decimal
    order_size_max: Decimal
    is_active: bool = True


class OptionUnderlying(msgspec.Struct):
    """What options are listed of."""

    name: str


_pairs = msgspec.json.Decoder(list[Pair])
_contracts = msgspec.json.Decoder(list[Contract])
_options = msgspec.json.Decoder(list[Option])
_underlyings = msgspec.json.Decoder(list[OptionUnderlying])


class GateioSpotListing(Listing):
    """Spot."""

    def first(self) -> tuple[Fetch, ...]:
        """Ask for everything at once."""
        return (Fetch(endpoint="/api/v4/spot/currency_pairs"),)

    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read the pairs."""
        del fetch
        pairs = decode_document(_pairs, document)
        return read_each(pairs, lambda p: p.id, self._read)

    def _read(self, pair: Pair) -> Instrument | str:
        if pair.trade_status != "tradable":
            return f"trade status {pair.trade_status}"
        spec = make_spec(
            tick=power_of_ten(pair.precision),
            step=power_of_ten(pair.amount_precision),
            minimum=pair.min_base_amount,
            maximum=pair.max_base_amount or None,
            notional=pair.min_quote_amount,
            asset=pair.base,
        )
        return make_instrument(
            self.exchange, pair.id, pair.base, pair.quote, SpotContract(), spec=spec
        )


class GateioListing(Listing):
    """Perpetual or delivery contracts of one settlement asset."""

    def __init__(self, exchange: ExchangeId, market: str, settle: str) -> None:
        super().__init__(exchange, _URL)
        self._endpoint = f"/api/v4/{market}/{settle}/contracts"
        self._settled = asset_name_internal(settle)

    def first(self) -> tuple[Fetch, ...]:
        """Ask for everything at once."""
        return (Fetch(endpoint=self._endpoint),)

    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read the contracts."""
        del fetch
        contracts = decode_document(_contracts, document)
        return read_each(contracts, lambda c: c.name, self._read)

    def _read(self, contract: Contract) -> Instrument | str:
        if contract.in_delisting:
            return "in delisting"
        size = decimal_of(contract.quanto_multiplier)
        if not size:
            # Inverse contracts say 0: one contract is one dollar.
            size = Decimal(1)
        base, _, quote = (contract.underlying or contract.name).partition("_")
        kind: PerpetualContract | FutureContract
        kind = PerpetualContract(size, self._settled)
        if contract.expire_time:
            kind = FutureContract(size, self._settled, contract.expire_time * 1000)
        return make_instrument(
            self.exchange,
            contract.name,
            base,
            quote,
            kind,
            spec=_spec(contract),
        )


class GateioOptionListing(Listing):
    """Options: the underlyings first, then the contracts of each."""

    _UNDERLYINGS = "/api/v4/options/underlyings"
    _CONTRACTS = "/api/v4/options/contracts"

    def first(self) -> tuple[Fetch, ...]:
        """Ask what options are listed of."""
        return (Fetch(endpoint=self._UNDERLYINGS),)

    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read the underlyings, or the options of one."""
        if fetch.endpoint == self._UNDERLYINGS:
            names = decode_document(_underlyings, document)
            more = [
                Fetch(endpoint=self._CONTRACTS, params={"underlying": one.name})
                for one in names
            ]
            return Page((), (), tuple(more))
        options = decode_document(_options, document)
        return read_each(options, lambda o: o.name, self._read)

    def _read(self, option: Option) -> Instrument | str:
        if not option.is_active:
            return "not active"
        base, _, quote = option.underlying.partition("_")
        kind = OptionContract(
            decimal_of(option.multiplier),
            asset_name_internal(quote),
            OptionKind.CALL if option.is_call else OptionKind.PUT,
            OptionExercise.EUROPEAN,
            option.expiration_time * 1000,
            decimal_of(option.strike_price),
        )
        return make_instrument(
            self.exchange, option.name, base, quote, kind, spec=_spec(option)
        )


def _spec(contract: Contract | Option) -> InstrumentSpec:
    """Contracts are traded whole."""
    return make_spec(
        tick=contract.order_price_round,
        step=Decimal(1),
        minimum=contract.order_size_min,
        maximum=contract.order_size_max,
        unit=QuantityUnit.CONTRACT,
    )


LISTINGS = (
    GateioSpotListing(ExchangeId.GATEIO_SPOT, _URL),
    GateioListing(ExchangeId.GATEIO_PERPETUALS_USD, "futures", "usdt"),
    GateioListing(ExchangeId.GATEIO_PERPETUALS_BTC, "futures", "btc"),
    GateioListing(ExchangeId.GATEIO_FUTURES_USD, "delivery", "usdt"),
    GateioListing(ExchangeId.GATEIO_FUTURES_BTC, "delivery", "btc"),
    GateioOptionListing(ExchangeId.GATEIO_OPTIONS, _URL),
)
