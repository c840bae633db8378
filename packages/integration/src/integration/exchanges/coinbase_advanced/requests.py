"""What we send to Coinbase Advanced, and where. Market data need no key."""

from collections.abc import Sequence

import msgspec

from integration.exchanges.coinbase_advanced import channels, symbols
from integration.exchanges.coinbase_advanced.transform import (
    CoinbaseAdvancedTransformer,
)
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

__all__ = ["CONNECTORS", "CoinbaseAdvancedConnector"]

_HEARTBEATS = msgspec.json.encode({"type": "subscribe", "channel": channels.HEARTBEATS})


class CoinbaseAdvancedConnector(Connector):
    """Coinbase Advanced's market-data server."""

    exchange = ExchangeId.COINBASE_ADVANCED
    websocket_url = "wss://advanced-trade-ws.coinbase.com"
    # 8 messages without key, and 750 connections, per second and address.
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
        """Ask for heartbeats: a quiet connection is closed after 90 s without."""
        del topics
        return [_HEARTBEATS]

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
            return msgspec.json.encode(
                {
                    "type": kind,
                    "product_ids": [topic.market],
                    "channel": topic.channel,
                }
            )

        return one_each(topics, encode, first_id=first_id, echoed=False)

    def transformer(
        self, routes: RouteTable | None = None
    ) -> CoinbaseAdvancedTransformer:
        """Make the transformer of one connection."""
        return CoinbaseAdvancedTransformer(self.exchange, routes)


CONNECTORS = (CoinbaseAdvancedConnector(),)
