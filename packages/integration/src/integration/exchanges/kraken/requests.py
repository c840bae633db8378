"""What we send to Kraken v1, and where."""

from collections.abc import Sequence

import msgspec

from integration.exchanges.kraken import channels, symbols
from integration.exchanges.kraken.transform import KrakenTransformer
from integration.market import checksums
from integration.market.connector import (
    Connector,
    Outgoing,
    Ping,
    RouteTable,
    Topic,
    VenueLimits,
    one_each,
)
from integration.market.manager import Checksum
from integration.models import ExchangeId, MarketDataInstrument, SubKind, Subscription
from netcore.models import Timestamp

__all__ = ["CONNECTORS", "KrakenConnector"]


def _ping(time: Timestamp) -> bytes:
    return msgspec.json.encode({"event": "ping", "reqid": time // 10**9})


class KrakenConnector(Connector):
    """Kraken's v1 server."""

    exchange = ExchangeId.KRAKEN
    websocket_url = "wss://ws.kraken.com/"
    # About 150 connection attempts in ten minutes per address.
    limits = VenueLimits(connections=150, connections_period=600.0)
    ping = Ping(interval=30.0, message=_ping)

    def native(self, instrument: MarketDataInstrument) -> str:
        """Spell an instrument."""
        return symbols.native(instrument)

    def instrument(self, symbol: str) -> MarketDataInstrument:
        """Read a symbol."""
        return symbols.instrument(symbol)

    def topic(self, subscription: Subscription) -> Topic:
        """Name a subscription as Kraken does."""
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
        self, event: str, topics: Sequence[Topic], first_id: int
    ) -> list[Outgoing]:
        def encode(topic: Topic, _number: int) -> bytes:
            named: dict[str, str | int] = {"name": topic.channel}
            if topic.parameters:
                named["depth"] = int(topic.parameters[0])
            return msgspec.json.encode(
                {"event": event, "pair": [topic.market], "subscription": named}
            )

        return one_each(topics, encode, first_id=first_id, echoed=False)

    def transformer(self, routes: RouteTable | None = None) -> KrakenTransformer:
        """Make the transformer of one connection."""
        return KrakenTransformer(self.exchange, routes)

    def checksum(self) -> Checksum:
        """Return Kraken's checksum of the top ten."""
        return checksums.kraken

    def book_depth(self, subscription: Subscription) -> int | None:
        """A book must be cut to the depth subscribed to, or checksums differ."""
        if subscription.kind is not SubKind.ORDER_BOOKS_L2:
            return None
        return channels.depth(subscription)


CONNECTORS = (KrakenConnector(),)
