"""Binance: spot, Binance.US, USD-M and COIN-M futures.

One dialect with four servers. Sources, read 2026-11:
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams and
https://developers.binance.com/docs/derivatives (USDⓈ-M and COIN-M futures).
"""

from integration.exchanges.binance.requests import (
    CONNECTORS,
    BinanceConnector,
    DepthSnapshot,
)
from integration.exchanges.binance.transform import BinanceTransformer

__all__ = ["CONNECTORS", "BinanceConnector", "BinanceTransformer", "DepthSnapshot"]
