"""Deribit's instruments: perpetuals, futures and options.

https://docs.deribit.com/#public-get_instruments. Amounts of inverse
contracts are counted in US dollars, all others in the base.
"""

from decimal import Decimal

import msgspec

from integration.errors import Deserialise, Exchange
from integration.exchanges.deribit import symbols
from integration.instruments import (
    Fetch,
    Listing,
    Page,
    decode_document,
    make_instrument,
    make_spec,
    read_each,
)
from integration.models import (
    ExchangeId,
    FutureContract,
    Instrument,
    OptionContract,
    OptionExercise,
    OptionKind,
    PerpetualContract,
    QuantityUnit,
    asset_name_internal,
)

__all__ = ["LISTINGS", "DeribitListing"]


class Record(msgspec.Struct):
    """One instrument; numbers are JSON numbers."""

    instrument_name: str
    kind: str
    tick_size: Decimal
    min_trade_amount: Decimal
    contract_size: Decimal
    is_active: bool = True
    settlement_currency: str = ""
    settlement_period: str = ""
    instrument_type: str = "linear"
    expiration_timestamp: int = 0
    strike: Decimal | None = None
    option_type: str | None = None


class Fault(msgspec.Struct):
    """JSON-RPC's error."""

    code: int
    message: str


class Document(msgspec.Struct):
    """JSON-RPC's envelope."""

    result: list[Record] | None = None
    error: Fault | None = None


_decoder = msgspec.json.Decoder(Document)


class DeribitListing(Listing):
    """Deribit."""

    def __init__(self) -> None:
        super().__init__(ExchangeId.DERIBIT, "https://www.deribit.com")

    def first(self) -> tuple[Fetch, ...]:
        """Ask for everything that has not expired."""
        params = {"currency": "any", "expired": "false"}
        return (Fetch(endpoint="/api/v2/public/get_instruments", params=params),)

    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read the instruments."""
        del fetch
        answer = decode_document(_decoder, document)
        if answer.error is not None:
            code = str(answer.error.code)
            raise Exchange(f"{code}: {answer.error.message}", code=code)
        if answer.result is None:
            raise Deserialise("neither result nor error", document)
        return read_each(answer.result, lambda r: r.instrument_name, self._read)

    def _read(self, record: Record) -> Instrument | str:
        if not record.is_active:
            return "not active"
        kind = _kind(record)
        if isinstance(kind, str):
            return kind
        # The name says what is priced in what; the fields mean other things.
        named = symbols.instrument(record.instrument_name)
        dollars = record.instrument_type == "reversed" and record.kind == "future"
        spec = make_spec(
            tick=record.tick_size,
            step=record.min_trade_amount,
            unit=QuantityUnit.QUOTE if dollars else QuantityUnit.ASSET,
            asset=named.quote if dollars else named.base,
        )
        return make_instrument(
            self.exchange,
            record.instrument_name,
            named.base,
            named.quote,
            kind,
            spec=spec,
        )


def _kind(record: Record) -> PerpetualContract | FutureContract | OptionContract | str:
    size = record.contract_size
    settled = asset_name_internal(record.settlement_currency)
    match record.kind, record.settlement_period:
        case "future", "perpetual":
            return PerpetualContract(size, settled)
        case "future", _:
            return FutureContract(size, settled, record.expiration_timestamp)
        case "option", _ if record.strike is not None:
            return OptionContract(
                size,
                settled,
                OptionKind(record.option_type or ""),
                OptionExercise.EUROPEAN,
                record.expiration_timestamp,
                # 8000.0 and 8000 are one strike; its name has no trailing zeros.
                _whole(record.strike),
            )
        case other, _:
            return f"kind {other}"


def _whole(strike: Decimal) -> Decimal:
    plain = strike.normalize()
    return plain.quantize(Decimal(1)) if plain == plain.to_integral_value() else plain


LISTINGS = (DeribitListing(),)
