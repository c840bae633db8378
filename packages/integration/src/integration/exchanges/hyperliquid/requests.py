"""What we send to Hyperliquid, and where."""

from collections.abc import Sequence

import msgspec

from integration.exchanges.hyperliquid import channels, symbols
from integration.exchanges.hyperliquid.transform import HyperliquidTransformer
from integration.market.connector import (
    Ping,
    PlainConnector,
    Topic,
    VenueLimits,
)
from integration.models import ExchangeId

__all__ = ["CONNECTORS", "HyperliquidConnector"]

_PING = b'{"method":"ping"}'


class HyperliquidConnector(PlainConnector):
    """Hyperliquid's server."""

    exchange = ExchangeId.HYPERLIQUID
    websocket_url = "wss://api.hyperliquid.xyz/ws"
    # 1000 subscriptions and 2000 messages a minute per address.
    limits = VenueLimits(topics_per_connection=1000, messages_per_second=20.0)
    # A minute without a message of ours ends the connection.
    ping = Ping(interval=50.0, message=lambda _time: _PING)
    symbols_of = symbols
    channels_of = channels
    transformer_type = HyperliquidTransformer

    def request(self, verb: str, topics: Sequence[Topic], number: int) -> bytes:
        """Spell one request; answers name their topics."""
        del number
        (topic,) = topics
        kind, _, interval = topic.channel.partition(".")
        named = {"type": kind, "coin": topic.market}
        if interval:
            named["interval"] = interval
        return msgspec.json.encode({"method": verb, "subscription": named})


CONNECTORS = (HyperliquidConnector(),)
