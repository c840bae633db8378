"""Coinbase Exchange: spot.

Source, read 2026-11: https://docs.cdp.coinbase.com/exchange/websocket-feed/channels.
"""

from integration.exchanges.coinbase.requests import CONNECTORS, CoinbaseConnector
from integration.exchanges.coinbase.transform import CoinbaseTransformer

__all__ = ["CONNECTORS", "CoinbaseConnector", "CoinbaseTransformer"]
