"""What we send to OKX, and where."""

from collections.abc import Sequence

import msgspec

from integration.exchanges.okx import channels, symbols
from integration.exchanges.okx.transform import OkxTransformer
from integration.market import checksums
from integration.market.connector import (
    Ping,
    PlainConnector,
    Topic,
    VenueLimits,
)
from integration.market.manager import Checksum
from integration.models import ExchangeId

__all__ = ["CONNECTORS", "OkxConnector"]


class OkxConnector(PlainConnector):
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
    symbols_of = symbols
    channels_of = channels
    transformer_type = OkxTransformer
    bundles = True

    def request(self, verb: str, topics: Sequence[Topic], number: int) -> bytes:
        """Spell one request; answers name their topics."""
        del number
        return msgspec.json.encode({"op": verb, "args": [_arg(t) for t in topics]})

    def endpoint(self, topic: Topic, base_url: str) -> str:
        """Candles live at `/business`."""
        if topic.channel.startswith(channels.CANDLE):
            return base_url.replace("/v5/public", "/v5/business")
        return base_url

    def checksum(self) -> Checksum:
        """Return OKX's checksum; the feed has stopped sending it."""
        return checksums.okx


def _arg(topic: Topic) -> dict[str, str]:
    if topic.channel == channels.LIQUIDATION:
        return {"channel": topic.channel, "instType": topic.market}
    return {"channel": topic.channel, "instId": topic.market}


CONNECTORS = (OkxConnector(),)
