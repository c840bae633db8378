"""Bitstamp: spot.

Source, read 2026-11: https://www.bitstamp.net/websocket/v2/ and
https://www.bitstamp.net/api/ (order book).
"""

from integration.exchanges.bitstamp.requests import CONNECTORS, BitstampConnector
from integration.exchanges.bitstamp.transform import BitstampTransformer

__all__ = ["CONNECTORS", "BitstampConnector", "BitstampTransformer"]
