"""Bybit v5: spot and linear perpetuals.

Source, read 2026-11: https://bybit-exchange.github.io/docs/v5/ws/connect.
"""

from integration.exchanges.bybit.requests import CONNECTORS, BybitConnector
from integration.exchanges.bybit.transform import BybitTransformer

__all__ = ["CONNECTORS", "BybitConnector", "BybitTransformer"]
