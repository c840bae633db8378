"""What we send to Coinbase Advanced, and where. Market data need no key."""

from collections.abc import Sequence

import msgspec

from integration.exchanges.coinbase_advanced import channels, symbols
from integration.exchanges.coinbase_advanced.transform import (
    CoinbaseAdvancedTransformer,
)
from integration.market.connector import (
    PlainConnector,
    Topic,
    VenueLimits,
)
from integration.models import ExchangeId

__all__ = ["CONNECTORS", "CoinbaseAdvancedConnector"]

_HEARTBEATS = msgspec.json.encode({"type": "subscribe", "channel": channels.HEARTBEATS})


class CoinbaseAdvancedConnector(PlainConnector):
    """Coinbase Advanced's market-data server."""

    exchange = ExchangeId.COINBASE_ADVANCED
    websocket_url = "wss://advanced-trade-ws.coinbase.com"
    # 8 messages without key, and 750 connections, per second and address.
    limits = VenueLimits(messages_per_second=8.0, connections=8, connections_period=1.0)
    symbols_of = symbols
    channels_of = channels
    transformer_type = CoinbaseAdvancedTransformer

    def request(self, verb: str, topics: Sequence[Topic], number: int) -> bytes:
        """Spell one request; answers name their topics."""
        del number
        (topic,) = topics
        return msgspec.json.encode(
            {"type": verb, "product_ids": [topic.market], "channel": topic.channel}
        )

    def greeting(self, topics: Sequence[Topic]) -> list[bytes]:
        """Ask for heartbeats: a quiet connection is closed after 90 s without."""
        del topics
        return [_HEARTBEATS]


CONNECTORS = (CoinbaseAdvancedConnector(),)
