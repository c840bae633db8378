"""Kraken's WebSocket API v1: spot. Frozen by the venue; `kraken_v2` is its successor.

Source, read 2026-11: https://docs.kraken.com/api/docs/websocket-v1.
"""

from integration.exchanges.kraken.requests import CONNECTORS, KrakenConnector
from integration.exchanges.kraken.transform import KrakenTransformer

__all__ = ["CONNECTORS", "KrakenConnector", "KrakenTransformer"]
