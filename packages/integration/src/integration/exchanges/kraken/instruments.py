"""Kraken's AssetPairs, in the names of its first WebSocket API (`XBT/USD`).

https://docs.kraken.com/api/docs/rest-api/get-tradable-asset-pairs.
"""

import msgspec

from integration.errors import Exchange
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

__all__ = ["LISTINGS", "AssetPair", "KrakenListing"]


class AssetPair(msgspec.Struct):
    """One pair; `tick_size` came later than `pair_decimals`."""

    altname: str
    pair_decimals: int
    lot_decimals: int
    wsname: str = ""
    ordermin: str = "0"
    costmin: str = "0"
    tick_size: str = ""
    status: str = "online"


class Document(msgspec.Struct):
    """The envelope."""

    error: list[str]
    result: dict[str, AssetPair] = {}


_decoder = msgspec.json.Decoder(Document)


class KrakenListing(Listing):
    """Kraken spot, in the names of either WebSocket API.

    Args:
        exchange: Which API's names.
        renamed: Assets that this API calls otherwise than AssetPairs does.
    """

    def __init__(self, exchange: ExchangeId, renamed: dict[str, str]) -> None:
        super().__init__(exchange, "https://api.kraken.com")
        self._renamed = renamed

    def first(self) -> tuple[Fetch, ...]:
        """Ask for everything at once."""
        return (Fetch(endpoint="/0/public/AssetPairs"),)

    def read(self, fetch: Fetch, document: bytes) -> Page:
        """Read AssetPairs."""
        del fetch
        answer = decode_document(_decoder, document)
        if answer.error:
            raise Exchange("; ".join(answer.error), code=answer.error[0])
        return read_each(answer.result.values(), lambda p: p.altname, self._read)

    def _read(self, pair: AssetPair) -> Instrument | str:
        if pair.status != "online":
            return f"status {pair.status}"
        if not pair.wsname:
            return "not on the WebSocket API"
        base, _, quote = pair.wsname.partition("/")
        base, quote = (self._renamed.get(name, name) for name in (base, quote))
        spec = make_spec(
            tick=pair.tick_size or power_of_ten(pair.pair_decimals),
            step=power_of_ten(pair.lot_decimals),
            minimum=pair.ordermin,
            notional=pair.costmin,
            asset=base,
        )
        return make_instrument(
            self.exchange, f"{base}/{quote}", base, quote, SpotContract(), spec=spec
        )


LISTINGS = (KrakenListing(ExchangeId.KRAKEN, {}),)
