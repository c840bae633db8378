"""Kraken's AssetPairs, in the names of its second WebSocket API (`BTC/USD`)."""

from integration.exchanges.kraken.instruments import KrakenListing
from integration.models import ExchangeId

__all__ = ["LISTINGS"]

LISTINGS = (KrakenListing(ExchangeId.KRAKEN_V2, {"XBT": "BTC", "XDG": "DOGE"}),)
