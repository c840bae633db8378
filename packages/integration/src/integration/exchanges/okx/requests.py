"""What we send to OKX, and where."""

from collections.abc import Sequence

import msgspec

from integration.exchanges.okx import channels, symbols
from integration.exchanges.okx.transform import OkxTransformer
from integration.market import checksums
from integration.market.connector import (
    Connector,
    Outgoing,
    Ping,
    RouteTable,
    Topic,
    VenueLimits,
    batched,
)
from integration.market.manager import Checksum
from integration.models import ExchangeId, MarketDataInstrument, Subscription
from netcore.models import Timestamp

__all__ = ["CONNECTORS", "OkxConnector"]


class OkxConnector(Connector):
    """OKX's public servers."""

    exchange = ExchangeId.OKX
    websocket_url = "wss://ws.okx.com:8443/ws/v5/public"
    limits = VenueLimits(
        topics_per_connection=240,
        topics_per_message=100,
        # 64 KiB in all channels of one request.
        bytes_per_message=32_768,
        # 480 subscribe and unsubscribe requests per hour and connection.
        messages_per_second=3.0,
        connections=3,
        connections_period=1.0,
    )
    # Plain text; silence of 30 s ends the connection.
    ping = Ping(interval=25.0, message=lambda _time: b"ping")
    heartbeats = OkxTransformer.heartbeats

    def native(self, instrument: MarketDataInstrument) -> str:
        """Spell an instrument."""
        return symbols.native(instrument)

    def instrument(self, symbol: str) -> MarketDataInstrument:
        """Read a symbol."""
        return symbols.instrument(symbol)

    def topic(self, subscription: Subscription) -> Topic:
        """Name a subscription as OKX does."""
        return channels.topic(subscription)

    def endpoint(self, topic: Topic, base_url: str) -> str:
        """Candles live at `/business`."""
        if topic.channel.startswith(channels.CANDLE):
            return base_url.replace("/v5/public", "/v5/business")
        return base_url

    def subscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Ask for channels, many in one message."""
        del time
        return self._requests("subscribe", topics, first_id)

    def unsubscribe(
        self, topics: Sequence[Topic], *, first_id: int, time: Timestamp
    ) -> list[Outgoing]:
        """Leave channels."""
        del time
        return self._requests("unsubscribe", topics, first_id)

    def _requests(
        self, op: str, topics: Sequence[Topic], first_id: int
    ) -> list[Outgoing]:
        def encode(part: Sequence[Topic], _number: int) -> bytes:
            return msgspec.json.encode({"op": op, "args": [_arg(t) for t in part]})

        return batched(topics, self.limits, encode, first_id=first_id, echoed=False)

    def transformer(self, routes: RouteTable | None = None) -> OkxTransformer:
        """Make the transformer of one connection."""
        return OkxTransformer(self.exchange, routes)

    def checksum(self) -> Checksum:
        """Return OKX's checksum; the feed has stopped sending it."""
        return checksums.okx


def _arg(topic: Topic) -> dict[str, str]:
    if topic.channel == channels.LIQUIDATION:
        return {"channel": topic.channel, "instType": topic.market}
    return {"channel": topic.channel, "instId": topic.market}


CONNECTORS = (OkxConnector(),)
