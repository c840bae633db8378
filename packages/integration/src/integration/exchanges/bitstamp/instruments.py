"""Bitstamp's markets; spot only.

https://www.bitstamp.net/api/#tag/Market-info. The older document
(`trading-pairs-info`) is read as well: it names the same things otherwise.
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
    power_of_ten,
    read_each,
)
from integration.models import ExchangeId, Instrument, SpotContract

__all__ = ["LISTINGS", "BitstampListing"]


class Market(msgspec.Struct):
    """One market: `market_symbol` was `url_symbol`, and the minimum had its unit."""

    name: str
    base_decimals: int
    counter_decimals: int
    trading: str = "Enabled"
    market_type: str = "SPOT"
    market_symbol: str = ""
    url_symbol: str = ""
    minimum_order_value: Decimal = Decimal(0)
    minimum_order: str = ""
    minimum_order_amount: Decimal | None = None
    maximum_order_amount: Decimal | None = None

    @property
    def symbol(self) -> str:
        """The name that channels and paths use."""
        return self.market_symbol or self.url_symbol


_decoder = msgspec.json.Decoder(list[Market])


class BitstampListing(Listing):
    """Bitstamp."""

    def __init__(self) -> None:
        super().__init__(ExchangeId.BITSTAMP, "https://www.bitstamp.net")

    def first(self) -> tuple[Fetch, ...]:
        """Ask for everything at once."""
        return (Fetch(endpoint="/api/v2/markets/"),)

    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read the markets."""
        del fetch
        markets = decode_document(_decoder, document)
        return read_each(markets, lambda m: m.name, self._read)

    def _read(self, market: Market) -> Instrument | str:
        if market.trading != "Enabled":
            return f"trading {market.trading}"
        if market.market_type.upper() != "SPOT":
            return f"market type {market.market_type}"
        base, _, quote = market.name.partition("/")
        least = market.minimum_order.partition(" ")[0] or market.minimum_order_value
        spec = make_spec(
            tick=power_of_ten(market.counter_decimals),
            step=power_of_ten(market.base_decimals),
            minimum=market.minimum_order_amount,
            maximum=market.maximum_order_amount,
            notional=least,
            asset=base,
        )
        return make_instrument(
            self.exchange, market.symbol, base, quote, SpotContract(), spec=spec
        )


LISTINGS = (BitstampListing(),)
