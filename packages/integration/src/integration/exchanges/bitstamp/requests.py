"""What we send to Bitstamp, and where."""

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from integration.exchanges.bitstamp import channels, symbols
from integration.exchanges.bitstamp.messages import BookImage
from integration.exchanges.bitstamp.transform import BitstampTransformer
from integration.market.connector import (
    Image,
    Ping,
    PlainConnector,
    Topic,
    VenueLimits,
)
from integration.models import (
    ExchangeId,
    OrderBookSnapshot,
)
from integration.rest.parser import PlainParser
from integration.rest.request import RestRequest

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


class BitstampConnector(PlainConnector):
    """Bitstamp's server."""

    exchange = ExchangeId.BITSTAMP
    websocket_url = "wss://ws.bitstamp.net/"
    rest_url = "https://www.bitstamp.net"
    # 400 requests a second and 10,000 in ten minutes per address; 90 days per
    # connection.
    limits = VenueLimits(lifetime=90 * 86_400.0, rest_weight=1000.0)
    ping = Ping(interval=30.0, message=lambda _time: _HEARTBEAT)
    rest_parser: ClassVar[Any] = PlainParser
    symbols_of = symbols
    channels_of = channels
    transformer_type = BitstampTransformer
    verbs = ("bts:subscribe", "bts:unsubscribe")

    def request(self, verb: str, topics: Sequence[Topic], number: int) -> bytes:
        """Spell one request; answers name their topics."""
        del number
        (topic,) = topics
        data = {"channel": f"{topic.channel}_{topic.market}"}
        return msgspec.json.encode({"event": verb, "data": data})

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
