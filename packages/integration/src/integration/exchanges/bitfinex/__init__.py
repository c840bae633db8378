"""Bitfinex v2: spot.

Source, read 2026-11: https://docs.bitfinex.com/docs/ws-general.
"""

from integration.exchanges.bitfinex.requests import CONNECTORS, BitfinexConnector
from integration.exchanges.bitfinex.transform import BitfinexTransformer

__all__ = ["CONNECTORS", "BitfinexConnector", "BitfinexTransformer"]
