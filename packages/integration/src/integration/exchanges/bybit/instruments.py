"""Bybit's instruments-info: spot and linear contracts.

https://bybit-exchange.github.io/docs/v5/market/instrument.
"""

from decimal import Decimal

import msgspec

from integration.errors import Exchange
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
    SpotContract,
    asset_name_internal,
)

__all__ = ["LISTINGS", "BybitListing"]

_ENDPOINT = "/v5/market/instruments-info"


class LotSizeFilter(msgspec.Struct, rename="camel"):
    """Limits of quantity; spot says basePrecision, contracts qtyStep."""

    min_order_qty: str
    base_precision: str = ""
    qty_step: str = ""
    max_order_qty: str = "0"
    max_limit_order_qty: str = ""
    min_order_amt: str = ""
    min_notional_value: str = ""


class PriceFilter(msgspec.Struct, rename="camel"):
    """Limits of price."""

    tick_size: str
    min_price: str = "0"
    max_price: str = "0"


class Record(msgspec.Struct, rename="camel"):
    """One instrument."""

    symbol: str
    base_coin: str
    quote_coin: str
    status: str
    lot_size_filter: LotSizeFilter
    price_filter: PriceFilter
    contract_type: str = ""
    delivery_time: str = "0"
    settle_coin: str = ""


class Result(msgspec.Struct, rename="camel"):
    """A page."""

    records: list[Record] = msgspec.field(default_factory=list, name="list")
    next_page_cursor: str = ""


class Document(msgspec.Struct, rename="camel"):
    """The envelope."""

    ret_code: int
    ret_msg: str = ""
    result: Result = msgspec.field(default_factory=Result)


_decoder = msgspec.json.Decoder(Document)


class BybitListing(Listing):
    """One of Bybit's categories."""

    def __init__(self, exchange: ExchangeId, category: str) -> None:
        super().__init__(exchange, "https://api.bybit.com")
        self._category = category

    def first(self) -> tuple[Fetch, ...]:
        """Ask for the first page."""
        params = {"category": self._category, "limit": "1000"}
        return (Fetch(endpoint=_ENDPOINT, params=params),)

    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read a page; its cursor leads to the next."""
        answer = decode_document(_decoder, document)
        if answer.ret_code:
            text = f"{answer.ret_code}: {answer.ret_msg}"
            raise Exchange(text, code=str(answer.ret_code))
        records, cursor = answer.result.records, answer.result.next_page_cursor
        following = (
            Fetch(endpoint=_ENDPOINT, params={**fetch.params, "cursor": cursor}),
        )
        more = following if cursor and records else ()
        return read_each(
            answer.result.records, lambda r: r.symbol, self._read, more=more
        )

    def _read(self, record: Record) -> Instrument | str:
        if record.status != "Trading":
            return f"status {record.status}"
        kind = _kind(record)
        if isinstance(kind, str):
            return kind
        lot, price = record.lot_size_filter, record.price_filter
        spec = make_spec(
            tick=price.tick_size,
            step=lot.qty_step or lot.base_precision,
            minimum=lot.min_order_qty,
            maximum=lot.max_limit_order_qty or lot.max_order_qty,
            notional=lot.min_order_amt or lot.min_notional_value or "0",
            price_min=price.min_price,
            price_max=price.max_price,
            asset=record.base_coin,
        )
        return make_instrument(
            self.exchange,
            record.symbol,
            record.base_coin,
            record.quote_coin,
            kind,
            spec=spec,
        )


def _kind(record: Record) -> SpotContract | PerpetualContract | FutureContract | str:
    settled = asset_name_internal(record.settle_coin)
    match record.contract_type:
        case "":
            return SpotContract()
        case "LinearPerpetual":
            return PerpetualContract(Decimal(1), settled)
        case "LinearFutures":
            return FutureContract(Decimal(1), settled, int(record.delivery_time))
        case other:
            return f"contract type {other}"


LISTINGS = (
    BybitListing(ExchangeId.BYBIT_SPOT, "spot"),
    BybitListing(ExchangeId.BYBIT_PERPETUALS_USD, "linear"),
)
