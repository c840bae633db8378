"""Coinbase Advanced Trade: spot.

Source, read 2026-11:
https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket.
"""

from integration.exchanges.coinbase_advanced.requests import (
    CONNECTORS,
    CoinbaseAdvancedConnector,
)
from integration.exchanges.coinbase_advanced.transform import (
    CoinbaseAdvancedTransformer,
)

__all__ = ["CONNECTORS", "CoinbaseAdvancedConnector", "CoinbaseAdvancedTransformer"]
