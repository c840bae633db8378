"""What we send to Coinbase Exchange, and where."""

from collections.abc import Sequence

import msgspec

from integration.exchanges.coinbase import channels, symbols
from integration.exchanges.coinbase.transform import CoinbaseTransformer
from integration.market.connector import (
    Connector,
    Outgoing,
    RouteTable,
    Topic,
    VenueLimits,
    one_each,
)
from integration.models import ExchangeId, MarketDataInstrument, Subscription
from netcore.models import Timestamp

__all__ = ["CONNECTORS", "CoinbaseConnector"]


class CoinbaseConnector(Connector):
    """Coinbase Exchange's feed."""

    exchange = ExchangeId.COINBASE
    websocket_url = "wss://ws-feed.exchange.coinbase.com"
    # 8 requests per second and address, in bursts of 20.
    limits = VenueLimits(messages_per_second=8.0, connections=8, connections_period=1.0)

    def native(self, instrument: MarketDataInstrument) -> str:
        """Spell an instrument."""
        return symbols.native(instrument)

    def instrument(self, symbol: str) -> MarketDataInstrument:
        """Read a symbol."""
        return symbols.instrument(symbol)

    def topic(self, subscription: Subscription) -> Topic:
        """Name a subscription as Coinbase does."""
        return channels.topic(subscription)

    def greeting(self, topics: Sequence[Topic]) -> list[bytes]:
        """Ask for heartbeats: they show lost trades and keep quiet products alive."""
        products = sorted({topic.market for topic in topics})
        return [_request("subscribe", products, channels.HEARTBEAT)]

    def subscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Ask for channels, one message each."""
        del time
        return self._requests("subscribe", topics, first_id)

    def unsubscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Leave channels."""
        del time
        return self._requests("unsubscribe", topics, first_id)

    def _requests(
        self, kind: str, topics: Sequence[Topic], first_id: int
    ) -> list[Outgoing]:
        def encode(topic: Topic, _number: int) -> bytes:
            name = channels.NAMES.get(topic.channel, topic.channel)
            return _request(kind, [topic.market], name)

        return one_each(topics, encode, first_id=first_id, echoed=False)

    def transformer(self, routes: RouteTable | None = None) -> CoinbaseTransformer:
        """Make the transformer of one connection."""
        return CoinbaseTransformer(self.exchange, routes)


def _request(kind: str, products: list[str], channel: str) -> bytes:
    return msgspec.json.encode(
        {"type": kind, "product_ids": products, "channels": [channel]}
    )


CONNECTORS = (CoinbaseConnector(),)
