"""Coinbase Advanced Trade's public products; spot only.

https://docs.cdp.coinbase.com/advanced-trade/reference (List Public Products).
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

__all__ = ["LISTINGS", "CoinbaseAdvancedListing"]


class Product(msgspec.Struct):
    """One product."""

    product_id: str
    base_increment: str
    quote_increment: str
    base_min_size: str
    base_max_size: str = "0"
    quote_min_size: str = "0"
    price_increment: str = ""
    base_currency_id: str = ""
    quote_currency_id: str = ""
    status: str = "online"
    product_type: str = "SPOT"
    trading_disabled: bool = False
    is_disabled: bool = False
    view_only: bool = False


class Document(msgspec.Struct):
    """The list."""

    products: list[Product]


_decoder = msgspec.json.Decoder(Document)


class CoinbaseAdvancedListing(Listing):
    """Coinbase Advanced Trade."""

    def __init__(self) -> None:
        super().__init__(ExchangeId.COINBASE_ADVANCED, "https://api.coinbase.com")

    def first(self) -> tuple[Fetch, ...]:
        """Ask for all spot products at once."""
        params = {"product_type": "SPOT"}
        return (Fetch(endpoint="/api/v3/brokerage/market/products", params=params),)

    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read the products."""
        del fetch
        products = decode_document(_decoder, document).products
        return read_each(products, lambda p: p.product_id, self._read)

    def _read(self, product: Product) -> Instrument | str:
        if product.product_type != "SPOT":
            return f"product type {product.product_type}"
        if product.trading_disabled or product.is_disabled or product.view_only:
            return "trading disabled"
        base, _, quote = product.product_id.partition("-")
        spec = make_spec(
            tick=product.price_increment or product.quote_increment,
            step=product.base_increment,
            minimum=product.base_min_size,
            maximum=product.base_max_size,
            notional=product.quote_min_size,
            asset=product.base_currency_id or base,
        )
        return make_instrument(
            self.exchange, product.product_id, base, quote, SpotContract(), spec=spec
        )


LISTINGS = (CoinbaseAdvancedListing(),)
