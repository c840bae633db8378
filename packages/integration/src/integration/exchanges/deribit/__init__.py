"""Deribit: perpetuals, futures and options.

Source, read 2026-11: https://docs.deribit.com.
"""

from integration.exchanges.deribit.requests import CONNECTORS, DeribitConnector
from integration.exchanges.deribit.transform import DeribitTransformer

__all__ = ["CONNECTORS", "DeribitConnector", "DeribitTransformer"]
