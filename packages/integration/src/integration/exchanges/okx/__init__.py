"""OKX v5: spot, perpetuals (SWAP), futures and options.

Source, read 2026-11: https://www.okx.com/docs-v5/en/#overview-websocket.
"""

from integration.exchanges.okx.requests import CONNECTORS, OkxConnector
from integration.exchanges.okx.transform import OkxTransformer

__all__ = ["CONNECTORS", "OkxConnector", "OkxTransformer"]
