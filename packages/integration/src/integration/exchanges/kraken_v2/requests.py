"""What we send to Kraken v2, and where."""

from collections.abc import Sequence
from typing import Any

import msgspec

from integration.exchanges.kraken_v2 import channels, symbols
from integration.exchanges.kraken_v2.transform import KrakenV2Transformer
from integration.market import checksums
from integration.market.connector import (
    Ping,
    PlainConnector,
    Topic,
    VenueLimits,
)
from integration.market.manager import Checksum
from integration.models import ExchangeId, Subscription
from netcore.models import Timestamp

__all__ = ["CONNECTORS", "KrakenV2Connector"]


def _ping(time: Timestamp) -> bytes:
    return msgspec.json.encode({"method": "ping", "req_id": time // 10**9})


class KrakenV2Connector(PlainConnector):
    """Kraken's v2 server."""

    exchange = ExchangeId.KRAKEN_V2
    websocket_url = "wss://ws.kraken.com/v2"
    # About 150 connection attempts in ten minutes per address.
    limits = VenueLimits(connections=150, connections_period=600.0)
    ping = Ping(interval=30.0, message=_ping)
    symbols_of = symbols
    channels_of = channels
    transformer_type = KrakenV2Transformer
    echoes_ids = True
    # "snapshot: the last 50 trades", https://docs.kraken.com/api/docs/websocket-v2/trade
    replays_trades = True

    def request(self, verb: str, topics: Sequence[Topic], number: int) -> bytes:
        """Spell one request."""
        (topic,) = topics
        params: dict[str, Any] = {
            "channel": topic.channel.partition("-")[0],
            "symbol": [topic.market],
            **_options(topic),
        }
        if verb == "subscribe":
            params["snapshot"] = True
        return msgspec.json.encode({"method": verb, "params": params, "req_id": number})

    def greeting(self, topics: Sequence[Topic]) -> list[bytes]:
        """Ask for the precisions over which checksums are computed."""
        if not any(topic.channel == channels.BOOK for topic in topics):
            return []
        params = {"channel": "instrument", "snapshot": True}
        return [msgspec.json.encode({"method": "subscribe", "params": params})]

    def checksum(self) -> Checksum:
        """Return Kraken's checksum of the top ten."""
        return checksums.kraken_v2

    def book_depth(self, subscription: Subscription) -> int:
        """A book must be cut to the depth subscribed to, or checksums differ."""
        return channels.depth(subscription)


def _options(topic: Topic) -> dict[str, Any]:
    match topic.channel.partition("-")[0]:
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
