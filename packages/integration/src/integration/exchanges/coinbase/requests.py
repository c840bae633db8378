"""What we send to Coinbase Exchange, and where."""

from collections.abc import Sequence

import msgspec

from integration.exchanges.coinbase import channels, symbols
from integration.exchanges.coinbase.transform import CoinbaseTransformer
from integration.market.connector import (
    PlainConnector,
    Topic,
    VenueLimits,
)
from integration.models import ExchangeId

__all__ = ["CONNECTORS", "CoinbaseConnector"]


class CoinbaseConnector(PlainConnector):
    """Coinbase Exchange's feed."""

    exchange = ExchangeId.COINBASE
    websocket_url = "wss://ws-feed.exchange.coinbase.com"
    # 8 requests per second and address, in bursts of 20.
    limits = VenueLimits(messages_per_second=8.0, connections=8, connections_period=1.0)
    symbols_of = symbols
    channels_of = channels
    transformer_type = CoinbaseTransformer

    def request(self, verb: str, topics: Sequence[Topic], number: int) -> bytes:
        """Spell one request; answers name their topics."""
        del number
        (topic,) = topics
        name = channels.NAMES.get(topic.channel, topic.channel)
        return _request(verb, [topic.market], name)

    def greeting(self, topics: Sequence[Topic]) -> list[bytes]:
        """Ask for heartbeats: they show lost trades and keep quiet products alive."""
        products = sorted({topic.market for topic in topics})
        return [_request("subscribe", products, channels.HEARTBEAT)]


def _request(kind: str, products: list[str], channel: str) -> bytes:
    return msgspec.json.encode(
        {"type": kind, "product_ids": products, "channels": [channel]}
    )


CONNECTORS = (CoinbaseConnector(),)
