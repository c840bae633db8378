"""Hyperliquid: perpetuals.

Source, read 2026-11: https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/
api/websocket.
"""

from integration.exchanges.hyperliquid.requests import (
    CONNECTORS,
    HyperliquidConnector,
)
from integration.exchanges.hyperliquid.transform import HyperliquidTransformer

__all__ = ["CONNECTORS", "HyperliquidConnector", "HyperliquidTransformer"]
