"""Kraken's WebSocket API v2: spot.

Source, read 2026-11: https://docs.kraken.com/api/docs/websocket-v2.
"""

from integration.exchanges.kraken_v2.requests import CONNECTORS, KrakenV2Connector
from integration.exchanges.kraken_v2.transform import KrakenV2Transformer

__all__ = ["CONNECTORS", "KrakenV2Connector", "KrakenV2Transformer"]
