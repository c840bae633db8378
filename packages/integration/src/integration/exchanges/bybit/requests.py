"""What we send to Bybit, and where."""

from collections.abc import Sequence

import msgspec

from integration.exchanges.bybit import channels, symbols
from integration.exchanges.bybit.transform import BybitTransformer
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

__all__ = ["CONNECTORS", "BybitConnector"]

_PING = b'{"op":"ping"}'

_LIMITS = VenueLimits(
    # Spot takes 10 topics in a request; linear more, but 10 suit both.
    topics_per_message=10,
    # "args" may be 21,000 characters long in all on one connection.
    topics_per_connection=500,
    bytes_per_message=8192,
    # 500 connections in 5 minutes per address.
    connections=500,
    connections_period=300.0,
)


class BybitConnector(Connector):
    """One of Bybit's servers."""

    limits = _LIMITS
    # The venue asks for one every 20 seconds.
    ping = Ping(interval=20.0, message=lambda _time: _PING)

    def __init__(self, exchange: ExchangeId, category: str) -> None:
        self.exchange = exchange
        self.websocket_url = f"wss://stream.bybit.com/v5/public/{category}"

    def native(self, instrument: MarketDataInstrument) -> str:
        """Spell an instrument."""
        return symbols.native(self.exchange, instrument)

    def instrument(self, symbol: str) -> MarketDataInstrument:
        """Read a symbol."""
        return symbols.instrument(self.exchange, symbol)

    def topic(self, subscription: Subscription) -> Topic:
        """Name a subscription as Bybit does."""
        return channels.topic(self.exchange, subscription)

    def subscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Ask for topics, several in one message."""
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
            args = [f"{topic.channel}.{topic.market}" for topic in part]
            return msgspec.json.encode({"op": op, "args": args})

        return batched(topics, self.limits, encode, first_id=first_id, echoed=False)

    def expected_responses(self, topics: Sequence[Topic]) -> int:
        """One answer per message."""
        del topics
        return 1

    def transformer(self, routes: RouteTable | None = None) -> BybitTransformer:
        """Make the transformer of one connection."""
        return BybitTransformer(self.exchange, routes)


CONNECTORS = (
    BybitConnector(ExchangeId.BYBIT_SPOT, "spot"),
    BybitConnector(ExchangeId.BYBIT_PERPETUALS_USD, "linear"),
)
