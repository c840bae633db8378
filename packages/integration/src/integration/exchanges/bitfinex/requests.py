"""What we send to Bitfinex, and where."""

from collections.abc import Sequence
from typing import Any

import msgspec

from integration.exchanges.bitfinex import channels, symbols
from integration.exchanges.bitfinex.transform import BitfinexTransformer
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
from integration.models import ExchangeId, MarketDataInstrument, Subscription
from netcore.models import Timestamp

__all__ = ["CONNECTORS", "BitfinexConnector"]

_SEQ_ALL = 65_536
_OB_CHECKSUM = 131_072
_FLAGS = msgspec.json.encode({"event": "conf", "flags": _SEQ_ALL + _OB_CHECKSUM})


def _ping(time: Timestamp) -> bytes:
    return msgspec.json.encode({"event": "ping", "cid": time // 10**9})


class BitfinexConnector(Connector):
    """Bitfinex's public server."""

    exchange = ExchangeId.BITFINEX
    websocket_url = "wss://api-pub.bitfinex.com/ws/2"
    # 25 channels per connection, 20 connections a minute.
    limits = VenueLimits(
        topics_per_connection=25, connections=20, connections_period=60.0
    )
    ping = Ping(interval=30.0, message=_ping)

    def native(self, instrument: MarketDataInstrument) -> str:
        """Spell an instrument."""
        return symbols.native(instrument)

    def instrument(self, symbol: str) -> MarketDataInstrument:
        """Read a symbol."""
        return symbols.instrument(symbol)

    def topic(self, subscription: Subscription) -> Topic:
        """Name a subscription as Bitfinex does."""
        return channels.topic(subscription)

    def greeting(self, topics: Sequence[Topic]) -> list[bytes]:
        """Ask for numbered messages and for checksums of books."""
        del topics
        return [_FLAGS]

    def subscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Ask for channels, one message each."""
        del time

        def encode(topic: Topic, _number: int) -> bytes:
            request: dict[str, Any] = {
                "event": "subscribe",
                "channel": topic.channel,
                "symbol": topic.market,
            }
            if topic.parameters:
                request |= {"prec": "P0", "freq": "F0", "len": topic.parameters[0]}
            return msgspec.json.encode(request)

        return one_each(topics, encode, first_id=first_id, echoed=False)

    def unsubscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Leave channels, by the numbers that the venue gave them."""
        del time

        def encode(topic: Topic, _number: int) -> bytes:
            number = int(topic.parameters[0])
            return msgspec.json.encode({"event": "unsubscribe", "chanId": number})

        known = [topic for topic in topics if topic.parameters]
        return one_each(known, encode, first_id=first_id, echoed=False)

    def transformer(self, routes: RouteTable | None = None) -> BitfinexTransformer:
        """Make the transformer of one connection."""
        return BitfinexTransformer(self.exchange, routes)

    def checksum(self) -> Checksum:
        """Return Bitfinex's checksum of the top 25."""
        return checksums.bitfinex


CONNECTORS = (BitfinexConnector(),)
