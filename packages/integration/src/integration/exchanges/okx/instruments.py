"""OKX's public instruments: spot, swaps, futures, options.

https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments.
Options are listed per family; those of the families known here are asked for.
"""

import msgspec

from integration.errors import Exchange
from integration.fields import decimal_of
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
    SpotContract,
    asset_name_internal,
)

__all__ = ["LISTINGS", "OkxListing"]

_ENDPOINT = "/api/v5/public/instruments"
_OPTION_FAMILIES = ("BTC-USD", "ETH-USD")


class Record(msgspec.Struct, rename="camel"):
    """One instrument; texts are empty where they do not apply."""

    inst_id: str
    inst_type: str
    state: str
    tick_sz: str
    lot_sz: str
    min_sz: str
    base_ccy: str = ""
    quote_ccy: str = ""
    settle_ccy: str = ""
    uly: str = ""
    ct_type: str = ""
    ct_val: str = ""
    ct_mult: str = ""
    max_lmt_sz: str = ""
    opt_type: str = ""
    stk: str = ""
    exp_time: str = ""


class Document(msgspec.Struct):
    """The envelope."""

    code: str
    data: list[Record] = []
    msg: str = ""


_decoder = msgspec.json.Decoder(Document)


class OkxListing(Listing):
    """OKX."""

    def __init__(self) -> None:
        super().__init__(ExchangeId.OKX, "https://www.okx.com")

    def first(self) -> tuple[Fetch, ...]:
        """Ask type by type."""
        plain = [{"instType": kind} for kind in ("SPOT", "SWAP", "FUTURES")]
        options = [
            {"instType": "OPTION", "instFamily": family} for family in _OPTION_FAMILIES
        ]
        return tuple(
            Fetch(endpoint=_ENDPOINT, params=params) for params in plain + options
        )

    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read the instruments of one type."""
        del fetch
        answer = decode_document(_decoder, document)
        if answer.code != "0":
            raise Exchange(f"{answer.code}: {answer.msg}", code=answer.code)
        return read_each(answer.data, lambda r: r.inst_id, self._read)

    def _read(self, record: Record) -> Instrument | str:
        if record.state != "live":
            return f"state {record.state}"
        kind = _kind(record)
        if isinstance(kind, str):
            return kind
        base, quote = record.base_ccy, record.quote_ccy
        if record.inst_type != "SPOT":
            base, _, quote = record.uly.partition("-")
        spot = record.inst_type == "SPOT"
        spec = make_spec(
            tick=record.tick_sz,
            step=record.lot_sz,
            minimum=record.min_sz,
            maximum=record.max_lmt_sz or None,
            unit=QuantityUnit.ASSET if spot else QuantityUnit.CONTRACT,
            asset=base if spot else None,
        )
        return make_instrument(
            self.exchange, record.inst_id, base, quote, kind, spec=spec
        )


def _kind(
    record: Record,
) -> SpotContract | PerpetualContract | FutureContract | OptionContract | str:
    if record.inst_type == "SPOT":
        return SpotContract()
    size = decimal_of(record.ct_val) * decimal_of(record.ct_mult or "1")
    settled = asset_name_internal(record.settle_ccy)
    match record.inst_type:
        case "SWAP":
            return PerpetualContract(size, settled)
        case "FUTURES":
            return FutureContract(size, settled, int(record.exp_time))
        case "OPTION":
            right = OptionKind.CALL if record.opt_type == "C" else OptionKind.PUT
            return OptionContract(
                size,
                settled,
                right,
                OptionExercise.EUROPEAN,
                int(record.exp_time),
                decimal_of(record.stk),
            )
        case other:
            return f"type {other}"


LISTINGS = (OkxListing(),)
