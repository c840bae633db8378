"""Gate.io v4: spot, perpetuals, delivery futures and options.

Six servers, one dialect. Source, read 2026-11:
https://www.gate.io/docs/developers/apiv4/ws/en/ and .../futures/ws/en/.
"""

from integration.exchanges.gateio.requests import CONNECTORS, GateioConnector
from integration.exchanges.gateio.transform import GateioTransformer

__all__ = ["CONNECTORS", "GateioConnector", "GateioTransformer"]
