"""BitMEX: perpetuals.

Source, read 2026-11: https://www.bitmex.com/app/wsAPI.
"""

from integration.exchanges.bitmex.requests import CONNECTORS, BitmexConnector
from integration.exchanges.bitmex.transform import BitmexTransformer

__all__ = ["CONNECTORS", "BitmexConnector", "BitmexTransformer"]
