"""What we send to Kraken v2, and where."""

from collections.abc import Sequence
from typing import Any

import msgspec

from integration.exchanges.kraken_v2 import channels, symbols
from integration.exchanges.kraken_v2.transform import KrakenV2Transformer
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

__all__ = ["CONNECTORS", "KrakenV2Connector"]


def _ping(time: Timestamp) -> bytes:
    return msgspec.json.encode({"method": "ping", "req_id": time // 10**9})


class KrakenV2Connector(Connector):
    """Kraken's v2 server."""

    exchange = ExchangeId.KRAKEN_V2
    websocket_url = "wss://ws.kraken.com/v2"
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

    def greeting(self, topics: Sequence[Topic]) -> list[bytes]:
        """Ask for the precisions over which checksums are computed."""
        if not any(topic.channel == channels.BOOK for topic in topics):
            return []
        params = {"channel": "instrument", "snapshot": True}
        return [msgspec.json.encode({"method": "subscribe", "params": params})]

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
        def encode(topic: Topic, number: int) -> bytes:
            params: dict[str, Any] = {
                "channel": topic.channel,
                "symbol": [topic.market],
                **_options(topic),
            }
            if method == "subscribe":
                params["snapshot"] = True
            return msgspec.json.encode(
                {"method": method, "params": params, "req_id": number}
            )

        return one_each(topics, encode, first_id=first_id)

    def transformer(self, routes: RouteTable | None = None) -> KrakenV2Transformer:
        """Make the transformer of one connection."""
        return KrakenV2Transformer(self.exchange, routes)

    def checksum(self) -> Checksum:
        """Return Kraken's checksum of the top ten."""
        return checksums.kraken_v2

    def book_depth(self, subscription: Subscription) -> int | None:
        """A book must be cut to the depth subscribed to, or checksums differ."""
        if subscription.kind is not SubKind.ORDER_BOOKS_L2:
            return None
        return channels.depth(subscription)


def _options(topic: Topic) -> dict[str, Any]:
    match topic.channel:
        case channels.BOOK:
            return {"depth": int(topic.parameters[0])}
        case channels.OHLC:
            return {"interval": int(topic.parameters[0])}
        case channels.TICKER:
            # Every change of the best levels, not only trades.
            return {"event_trigger": "bbo"}
        case _:
            return {}


CONNECTORS = (KrakenV2Connector(),)
