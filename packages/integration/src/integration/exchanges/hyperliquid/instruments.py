"""Hyperliquid's perpetuals.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint and
/tick-and-lot-size: sizes have `szDecimals` decimals, prices at most
6 - szDecimals and five significant digits (not expressed here; whole numbers always
pass). The least order is worth 10 dollars.
"""

from decimal import Decimal

import msgspec

from integration.exchanges.hyperliquid import symbols
from integration.instruments import (
    Fetch,
    Listing,
    Page,
    Post,
    decode_document,
    make_instrument,
    make_spec,
    power_of_ten,
    read_each,
)
from integration.models import (
    ExchangeId,
    Instrument,
    PerpetualContract,
    asset_name_internal,
)

__all__ = ["LISTINGS", "HyperliquidListing"]

_PRICE_DECIMALS = 6
_LEAST_VALUE = Decimal(10)


class Coin(msgspec.Struct, rename="camel"):
    """One perpetual."""

    name: str
    sz_decimals: int
    is_delisted: bool = False


class Meta(msgspec.Struct):
    """The document."""

    universe: list[Coin]


_decoder = msgspec.json.Decoder(Meta)


class HyperliquidListing(Listing):
    """Hyperliquid."""

    def __init__(self) -> None:
        super().__init__(ExchangeId.HYPERLIQUID, "https://api.hyperliquid.xyz")

    def first(self) -> tuple[Fetch, ...]:
        """Ask for the universe of perpetuals."""
        return (Post(endpoint="/info", params={"type": "meta"}),)

    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read the universe."""
        del fetch
        coins = decode_document(_decoder, document).universe
        return read_each(coins, lambda c: c.name, self._read)

    def _read(self, coin: Coin) -> Instrument | str:
        if coin.is_delisted:
            return "delisted"
        named = symbols.instrument(coin.name)
        spec = make_spec(
            tick=power_of_ten(_PRICE_DECIMALS - coin.sz_decimals),
            step=power_of_ten(coin.sz_decimals),
            notional=_LEAST_VALUE,
            asset=named.base,
        )
        kind = PerpetualContract(Decimal(1), asset_name_internal("usdc"))
        return make_instrument(
            self.exchange, coin.name, named.base, named.quote, kind, spec=spec
        )


LISTINGS = (HyperliquidListing(),)
