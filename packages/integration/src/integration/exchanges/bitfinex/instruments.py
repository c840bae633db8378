"""Bitfinex's pair configuration: spot, and perpetuals settled in their quote.

https://docs.bitfinex.com/reference/rest-public-conf. Prices have five
significant digits and no fixed step, amounts eight decimals.
"""

from decimal import Decimal
from typing import Any

import msgspec

from integration.errors import Exchange
from integration.exchanges.bitfinex import symbols
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
    Instrument,
    InstrumentKind,
    PerpetualContract,
    SpotContract,
    asset_name_internal,
)

__all__ = ["LISTINGS", "BitfinexListing"]

_MINIMUM, _MAXIMUM = 3, 4
"""Where a pair's record has the least and the largest order."""
_AMOUNT_DECIMALS = 8

_decoder: msgspec.json.Decoder[list[list[tuple[str, list[Any]]]]] = (
    msgspec.json.Decoder(list[list[tuple[str, list[Any]]]])
)
_refusal = msgspec.json.Decoder(tuple[str, int, str])


class BitfinexListing(Listing):
    """Bitfinex."""

    def __init__(self) -> None:
        super().__init__(ExchangeId.BITFINEX, "https://api-pub.bitfinex.com")

    def first(self) -> tuple[Fetch, ...]:
        """Ask for pairs and for perpetuals, which are spelled alike."""
        return (
            Fetch(endpoint="/v2/conf/pub:info:pair"),
            Fetch(endpoint="/v2/conf/pub:info:pair:futures"),
        )

    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read the pairs."""
        del fetch
        if document.startswith(b'["error"'):
            _, code, text = decode_document(_refusal, document)
            raise Exchange(f"{code}: {text}", code=str(code))
        pairs = [pair for part in decode_document(_decoder, document) for pair in part]
        return read_each(pairs, lambda p: p[0], self._read)

    def _read(self, pair: tuple[str, list[Any]]) -> Instrument | str:
        name, record = pair
        if "TEST" in name:
            return "for tests"
        symbol = f"t{name}"
        read = symbols.instrument(symbol)
        spec = make_spec(
            tick=Decimal(0),
            step=power_of_ten(_AMOUNT_DECIMALS),
            minimum=str(record[_MINIMUM]),
            maximum=str(record[_MAXIMUM]),
            asset=read.base,
        )
        kind: SpotContract | PerpetualContract = SpotContract()
        if read.kind is InstrumentKind.PERPETUAL:
            # Amounts of perpetuals count their base.
            settled = asset_name_internal(read.quote)
            kind = PerpetualContract(contract_size=Decimal(1), settlement_asset=settled)
        return make_instrument(
            self.exchange, symbol, read.base, read.quote, kind, spec=spec
        )


LISTINGS = (BitfinexListing(),)
