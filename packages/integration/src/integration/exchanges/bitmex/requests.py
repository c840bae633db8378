"""What we send to BitMEX, and where."""

from collections.abc import Sequence

import msgspec

from integration.exchanges.bitmex import channels, symbols
from integration.exchanges.bitmex.transform import BitmexTransformer
from integration.market.connector import (
    Ping,
    PlainConnector,
    Topic,
    VenueLimits,
)
from integration.models import ExchangeId

__all__ = ["CONNECTORS", "BitmexConnector"]


class BitmexConnector(PlainConnector):
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
    symbols_of = symbols
    channels_of = channels
    transformer_type = BitmexTransformer
    bundles = True

    def request(self, verb: str, topics: Sequence[Topic], number: int) -> bytes:
        """Spell one request; answers name their topics."""
        del number
        args = [f"{topic.channel}:{topic.market}" for topic in topics]
        return msgspec.json.encode({"op": verb, "args": args})


CONNECTORS = (BitmexConnector(),)
