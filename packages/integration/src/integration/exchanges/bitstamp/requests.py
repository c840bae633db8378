"""What we send to Bitstamp, and where."""

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from integration.exchanges.bitstamp import channels, symbols
from integration.exchanges.bitstamp.messages import BookImage
from integration.exchanges.bitstamp.transform import BitstampTransformer
from integration.market.connector import (
    Connector,
    Image,
    Outgoing,
    Ping,
    RouteTable,
    Topic,
    VenueLimits,
    one_each,
)
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    OrderBookSnapshot,
    Subscription,
)
from integration.rest.parser import PlainParser
from integration.rest.request import RestRequest
from netcore.models import Timestamp

__all__ = ["CONNECTORS", "BitstampConnector", "OrderBookRequest"]

_US = 1_000
_HEARTBEAT = b'{"event":"bts:heartbeat"}'


class OrderBookRequest(RestRequest[BookImage], frozen=True):
    """Asks for the image of a book."""

    response_type: ClassVar[Any] = BookImage
    timeout: ClassVar[float] = 10.0

    market: str

    def path(self) -> str:
        """Return the market's path."""
        return f"/api/v2/order_book/{self.market}/"


class BitstampConnector(Connector):
    """Bitstamp's server."""

    exchange = ExchangeId.BITSTAMP
    websocket_url = "wss://ws.bitstamp.net/"
    rest_url = "https://www.bitstamp.net"
    # 400 requests a second and 10,000 in ten minutes per address; 90 days per
    # connection.
    limits = VenueLimits(lifetime=90 * 86_400.0, rest_weight=1000.0)
    ping = Ping(interval=30.0, message=lambda _time: _HEARTBEAT)
    rest_parser: ClassVar[Any] = PlainParser

    def native(self, instrument: MarketDataInstrument) -> str:
        """Spell an instrument."""
        return symbols.native(instrument)

    def instrument(self, symbol: str) -> MarketDataInstrument:
        """Read a symbol."""
        return symbols.instrument(symbol)

    def topic(self, subscription: Subscription) -> Topic:
        """Name a subscription as Bitstamp does."""
        return channels.topic(subscription)

    def subscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Ask for channels, one message each."""
        del time
        return self._requests("bts:subscribe", topics, first_id)

    def unsubscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Leave channels."""
        del time
        return self._requests("bts:unsubscribe", topics, first_id)

    def _requests(
        self, event: str, topics: Sequence[Topic], first_id: int
    ) -> list[Outgoing]:
        def encode(topic: Topic, _number: int) -> bytes:
            data = {"channel": f"{topic.channel}_{topic.market}"}
            return msgspec.json.encode({"event": event, "data": data})

        return one_each(topics, encode, first_id=first_id, echoed=False)

    def transformer(self, routes: RouteTable | None = None) -> BitstampTransformer:
        """Make the transformer of one connection."""
        return BitstampTransformer(self.exchange, routes)

    def image_request(self, topic: Topic, depth: int | None) -> OrderBookRequest:
        """Ask for an image; it is always whole."""
        del depth
        return OrderBookRequest(market=topic.market)

    def image(self, response: BookImage) -> Image:
        """Turn the answer into an image."""
        micros = int(response.microtimestamp)
        return Image(
            OrderBookSnapshot(response.bids, response.asks, micros), micros * _US
        )


CONNECTORS = (BitstampConnector(),)
