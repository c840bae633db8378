"""Coinbase Exchange's products.

https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproducts.
"""

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
from integration.models import ExchangeId, Instrument, SpotContract

__all__ = ["LISTINGS", "CoinbaseListing"]


class Product(msgspec.Struct):
    """One product; since 2022 the least order is one of value, not of size."""

    id: str
    base_currency: str
    quote_currency: str
    quote_increment: str
    base_increment: str
    min_market_funds: str = "0"
    status: str = "online"
    trading_disabled: bool = False


_decoder = msgspec.json.Decoder(list[Product])


class CoinbaseListing(Listing):
    """Coinbase Exchange."""

    def __init__(self) -> None:
        super().__init__(ExchangeId.COINBASE, "https://api.exchange.coinbase.com")

    def first(self) -> tuple[Fetch, ...]:
        """Ask for everything at once."""
        return (Fetch(endpoint="/products"),)

    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read the products."""
        del fetch
        products = decode_document(_decoder, document)
        return read_each(products, lambda p: p.id, self._read)

    def _read(self, product: Product) -> Instrument | str:
        if product.status != "online" or product.trading_disabled:
            disabled = ", trading disabled" if product.trading_disabled else ""
            return f"status {product.status}{disabled}"
        spec = make_spec(
            tick=product.quote_increment,
            step=product.base_increment,
            notional=product.min_market_funds,
            asset=product.base_currency,
        )
        return make_instrument(
            self.exchange,
            product.id,
            product.base_currency,
            product.quote_currency,
            SpotContract(),
            spec=spec,
        )


LISTINGS = (CoinbaseListing(),)
