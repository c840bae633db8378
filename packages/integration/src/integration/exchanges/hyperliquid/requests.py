"""What we send to Hyperliquid, and where."""

from collections.abc import Sequence

import msgspec

from integration.exchanges.hyperliquid import channels, symbols
from integration.exchanges.hyperliquid.transform import HyperliquidTransformer
from integration.market.connector import (
    Connector,
    Outgoing,
    Ping,
    RouteTable,
    Topic,
    VenueLimits,
    one_each,
)
from integration.models import ExchangeId, MarketDataInstrument, Subscription
from netcore.models import Timestamp

__all__ = ["CONNECTORS", "HyperliquidConnector"]

_PING = b'{"method":"ping"}'


class HyperliquidConnector(Connector):
    """Hyperliquid's server."""

    exchange = ExchangeId.HYPERLIQUID
    websocket_url = "wss://api.hyperliquid.xyz/ws"
    # 1000 subscriptions and 2000 messages a minute per address.
    limits = VenueLimits(topics_per_connection=1000, messages_per_second=20.0)
    # A minute without a message of ours ends the connection.
    ping = Ping(interval=50.0, message=lambda _time: _PING)

    def native(self, instrument: MarketDataInstrument) -> str:
        """Spell an instrument."""
        return symbols.native(instrument)

    def instrument(self, symbol: str) -> MarketDataInstrument:
        """Read a symbol."""
        return symbols.instrument(symbol)

    def topic(self, subscription: Subscription) -> Topic:
        """Name a subscription as Hyperliquid does."""
        return channels.topic(subscription)

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
        self, method: str, topics: Sequence[Topic], first_id: int
    ) -> list[Outgoing]:
        def encode(topic: Topic, _number: int) -> bytes:
            named = {"type": topic.channel, "coin": topic.market}
            return msgspec.json.encode({"method": method, "subscription": named})

        return one_each(topics, encode, first_id=first_id, echoed=False)

    def transformer(self, routes: RouteTable | None = None) -> HyperliquidTransformer:
        """Make the transformer of one connection."""
        return HyperliquidTransformer(self.exchange, routes)


CONNECTORS = (HyperliquidConnector(),)
