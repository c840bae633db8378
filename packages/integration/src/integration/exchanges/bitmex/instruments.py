"""BitMEX's active instruments: perpetual and dated contracts that are not quanto.

https://www.bitmex.com/api/explorer/#!/Instrument/Instrument_getActive.
A linear contract is 1/underlyingToPositionMultiplier of the base, an inverse one a
unit of the quote. A quanto's worth in the base moves with a third price.
"""

import datetime as dt
from decimal import Decimal

import msgspec

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
    PerpetualContract,
    QuantityUnit,
    asset_name_internal,
)

__all__ = ["LISTINGS", "BitmexListing"]

_PERPETUAL, _FUTURE = "FFWCSX", "FFCCSX"
"""CFI codes, as BitMEX gives them out."""


class Record(msgspec.Struct, rename="camel"):
    """One instrument."""

    symbol: str
    state: str
    typ: str
    underlying: str
    quote_currency: str
    tick_size: Decimal
    lot_size: Decimal
    settl_currency: str | None = None
    is_inverse: bool = False
    is_quanto: bool = False
    underlying_to_position_multiplier: Decimal | None = None
    max_order_qty: Decimal | None = None
    max_price: Decimal | None = None
    expiry: dt.datetime | None = None


_decoder = msgspec.json.Decoder(list[Record])


class BitmexListing(Listing):
    """BitMEX."""

    def __init__(self) -> None:
        super().__init__(ExchangeId.BITMEX, "https://www.bitmex.com")

    def first(self) -> tuple[Fetch, ...]:
        """Ask for everything at once."""
        return (Fetch(endpoint="/api/v1/instrument/active"),)

    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read the instruments."""
        del fetch
        records = decode_document(_decoder, document)
        return read_each(records, lambda r: r.symbol, self._read)

    def _read(self, record: Record) -> Instrument | str:
        if record.state != "Open":
            return f"state {record.state}"
        kind = _kind(record)
        if isinstance(kind, str):
            return kind
        spec = make_spec(
            tick=record.tick_size,
            step=record.lot_size,
            maximum=record.max_order_qty,
            price_max=record.max_price,
            unit=QuantityUnit.CONTRACT,
        )
        return make_instrument(
            self.exchange,
            record.symbol,
            record.underlying,
            record.quote_currency,
            kind,
            spec=spec,
        )


def _kind(record: Record) -> PerpetualContract | FutureContract | str:
    if record.is_quanto or record.settl_currency is None:
        return "quanto" if record.is_quanto else "without settlement"
    size = Decimal(1)
    if not record.is_inverse:
        multiplier = record.underlying_to_position_multiplier
        if not multiplier:
            return "of unknown contract size"
        size = 1 / multiplier
    settled = asset_name_internal(record.settl_currency)
    if record.typ == _PERPETUAL:
        return PerpetualContract(size, settled)
    if record.typ == _FUTURE and record.expiry is not None:
        return FutureContract(size, settled, int(record.expiry.timestamp()) * 1000)
    return f"type {record.typ}"


LISTINGS = (BitmexListing(),)
