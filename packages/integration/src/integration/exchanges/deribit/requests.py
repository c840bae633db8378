"""What we send to Deribit, and where."""

from collections.abc import Sequence
from typing import Any

import msgspec

from integration.exchanges.deribit import channels, symbols
from integration.exchanges.deribit.transform import DeribitTransformer
from integration.market.connector import (
    Connector,
    Outgoing,
    RouteTable,
    Topic,
    VenueLimits,
    batched,
)
from integration.models import ExchangeId, MarketDataInstrument, Subscription
from netcore.models import Timestamp

__all__ = ["CONNECTORS", "DeribitConnector"]

_HEARTBEAT_ID = 2
_HEARTBEAT_SECONDS = 30


def _call(method: str, number: int, params: dict[str, Any]) -> bytes:
    return msgspec.json.encode(
        {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    )


class DeribitConnector(Connector):
    """Deribit's server."""

    exchange = ExchangeId.DERIBIT
    websocket_url = "wss://www.deribit.com/ws/api/v2"
    # 500 channels per connection, 32 connections per address.
    limits = VenueLimits(
        topics_per_connection=500, topics_per_message=100, connections=32
    )

    def native(self, instrument: MarketDataInstrument) -> str:
        """Spell an instrument."""
        return symbols.native(instrument)

    def instrument(self, symbol: str) -> MarketDataInstrument:
        """Read a symbol."""
        return symbols.instrument(symbol)

    def topic(self, subscription: Subscription) -> Topic:
        """Name a subscription as Deribit does."""
        return channels.topic(subscription)

    def greeting(self, topics: Sequence[Topic]) -> list[bytes]:
        """Ask for heartbeats; the transformer answers the venue's."""
        del topics
        interval = {"interval": _HEARTBEAT_SECONDS}
        return [_call("public/set_heartbeat", _HEARTBEAT_ID, interval)]

    def subscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Ask for channels, many in one message."""
        del time
        return self._requests("public/subscribe", topics, first_id)

    def unsubscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Leave channels."""
        del time
        return self._requests("public/unsubscribe", topics, first_id)

    def _requests(
        self, method: str, topics: Sequence[Topic], first_id: int
    ) -> list[Outgoing]:
        def encode(part: Sequence[Topic], number: int) -> bytes:
            return _call(method, number, {"channels": [_channel(t) for t in part]})

        return batched(topics, self.limits, encode, first_id=first_id)

    def expected_responses(self, topics: Sequence[Topic]) -> int:
        """One answer per message; a channel that it leaves out was refused."""
        del topics
        return 1

    def transformer(self, routes: RouteTable | None = None) -> DeribitTransformer:
        """Make the transformer of one connection."""
        return DeribitTransformer(self.exchange, routes)


def _channel(topic: Topic) -> str:
    name = f"{topic.channel}.{topic.market}"
    return name if topic.channel == channels.QUOTE else f"{name}.{channels.INTERVAL}"


CONNECTORS = (DeribitConnector(),)
