"""Binance's exchangeInfo: spot, USD-M and COIN-M contracts.

https://developers.binance.com/docs/binance-spot-api-docs/filters and the futures'
exchange-information pages.
"""

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
    InstrumentSpec,
    PerpetualContract,
    QuantityUnit,
    SpotContract,
    asset_name_internal,
)

__all__ = ["LISTINGS", "BinanceListing"]


class Filter(msgspec.Struct, rename="camel"):
    """One filter; which fields it has, its type says."""

    filter_type: str
    min_price: str = "0"
    max_price: str = "0"
    tick_size: str = "0"
    min_qty: str = "0"
    max_qty: str = "0"
    step_size: str = "0"
    min_notional: str = "0"
    notional: str = "0"


class Symbol(msgspec.Struct, rename="camel"):
    """One instrument; contracts say more."""

    symbol: str
    base_asset: str
    quote_asset: str
    filters: list[Filter]
    status: str = ""
    contract_status: str = ""
    contract_type: str = ""
    delivery_date: int = 0
    margin_asset: str = ""
    contract_size: int = 1


class ExchangeInfo(msgspec.Struct):
    """The document."""

    symbols: list[Symbol]


_decoder = msgspec.json.Decoder(ExchangeInfo)


class BinanceListing(Listing):
    """One of Binance's servers."""

    def __init__(self, exchange: ExchangeId, rest_url: str, endpoint: str) -> None:
        super().__init__(exchange, rest_url)
        self._endpoint = endpoint

    def first(self) -> tuple[Fetch, ...]:
        """Ask for everything at once."""
        return (Fetch(endpoint=self._endpoint),)

    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read exchangeInfo."""
        del fetch
        info = decode_document(_decoder, document)
        return read_each(info.symbols, lambda s: s.symbol, self._read)

    def _read(self, symbol: Symbol) -> Instrument | str:
        status = symbol.status or symbol.contract_status
        if status != "TRADING":
            return f"status {status}"
        kind = self._kind(symbol)
        if isinstance(kind, str):
            return kind
        return make_instrument(
            self.exchange,
            symbol.symbol,
            symbol.base_asset,
            symbol.quote_asset,
            kind,
            spec=self._spec(symbol),
        )

    def _kind(
        self, symbol: Symbol
    ) -> SpotContract | PerpetualContract | FutureContract | str:
        if not symbol.contract_type:
            return SpotContract()
        size = Decimal(symbol.contract_size)
        settled = asset_name_internal(symbol.margin_asset)
        if symbol.contract_type in {"PERPETUAL", "TRADIFI_PERPETUAL"}:
            return PerpetualContract(contract_size=size, settlement_asset=settled)
        if symbol.contract_type.endswith(("QUARTER", "MONTH")):
            return FutureContract(size, settled, symbol.delivery_date)
        return f"contract type {symbol.contract_type}"

    def _spec(self, symbol: Symbol) -> InstrumentSpec:
        rules = {rule.filter_type: rule for rule in symbol.filters}
        price, lot = rules["PRICE_FILTER"], rules["LOT_SIZE"]
        worth = rules.get("NOTIONAL") or rules.get("MIN_NOTIONAL")
        # Spot says minNotional, contracts notional.
        least = max(worth.min_notional, worth.notional, key=float) if worth else "0"
        inverse = self.exchange is ExchangeId.BINANCE_FUTURES_COIN
        return make_spec(
            tick=price.tick_size,
            step=lot.step_size,
            minimum=lot.min_qty,
            maximum=lot.max_qty,
            notional=least,
            price_min=price.min_price,
            price_max=price.max_price,
            unit=QuantityUnit.CONTRACT if inverse else QuantityUnit.ASSET,
            asset=None if inverse else symbol.base_asset,
        )


LISTINGS = (
    BinanceListing(
        ExchangeId.BINANCE_SPOT, "https://api.binance.com", "/api/v3/exchangeInfo"
    ),
    BinanceListing(
        ExchangeId.BINANCE_US, "https://api.binance.us", "/api/v3/exchangeInfo"
    ),
    BinanceListing(
        ExchangeId.BINANCE_FUTURES_USD,
        "https://fapi.binance.com",
        "/fapi/v1/exchangeInfo",
    ),
    BinanceListing(
        ExchangeId.BINANCE_FUTURES_COIN,
        "https://dapi.binance.com",
        "/dapi/v1/exchangeInfo",
    ),
)
