"""What we send to BitMEX, and where."""

from collections.abc import Sequence

import msgspec

from integration.exchanges.bitmex import channels, symbols
from integration.exchanges.bitmex.transform import BitmexTransformer
from integration.market.connector import (
    Connector,
    Outgoing,
    Ping,
    RouteTable,
    Topic,
    VenueLimits,
    batched,
)
from integration.models import ExchangeId, MarketDataInstrument, Subscription
from netcore.models import Timestamp

__all__ = ["CONNECTORS", "BitmexConnector"]


class BitmexConnector(Connector):
    """BitMEX's realtime server."""

    exchange = ExchangeId.BITMEX
    websocket_url = "wss://ws.bitmex.com/realtime"
    # 20 connections a minute in bursts of 40; 720 requests an hour.
    limits = VenueLimits(
        topics_per_message=20,
        messages_per_second=2.0,
        connections=20,
        connections_period=60.0,
    )
    # Plain text; after five seconds without traffic one is due.
    ping = Ping(interval=5.0, message=lambda _time: b"ping")
    heartbeats = BitmexTransformer.heartbeats

    def native(self, instrument: MarketDataInstrument) -> str:
        """Spell an instrument."""
        return symbols.native(instrument)

    def instrument(self, symbol: str) -> MarketDataInstrument:
        """Read a symbol."""
        return symbols.instrument(symbol)

    def topic(self, subscription: Subscription) -> Topic:
        """Name a subscription as BitMEX does."""
        return channels.topic(subscription)

    def subscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Ask for topics, many in one message."""
        del time
        return self._requests("subscribe", topics, first_id)

    def unsubscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Leave topics."""
        del time
        return self._requests("unsubscribe", topics, first_id)

    def _requests(
        self, op: str, topics: Sequence[Topic], first_id: int
    ) -> list[Outgoing]:
        def encode(part: Sequence[Topic], _number: int) -> bytes:
            args = [f"{topic.channel}:{topic.market}" for topic in part]
            return msgspec.json.encode({"op": op, "args": args})

        return batched(topics, self.limits, encode, first_id=first_id, echoed=False)

    def transformer(self, routes: RouteTable | None = None) -> BitmexTransformer:
        """Make the transformer of one connection."""
        return BitmexTransformer(self.exchange, routes)


CONNECTORS = (BitmexConnector(),)
