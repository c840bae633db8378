"""What we send to Kraken v1, and where."""

from collections.abc import Sequence

import msgspec

from integration.exchanges.kraken import channels, symbols
from integration.exchanges.kraken.transform import KrakenTransformer
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

__all__ = ["CONNECTORS", "KrakenConnector"]


def _ping(time: Timestamp) -> bytes:
    return msgspec.json.encode({"event": "ping", "reqid": time // 10**9})


class KrakenConnector(PlainConnector):
    """Kraken's v1 server."""

    exchange = ExchangeId.KRAKEN
    websocket_url = "wss://ws.kraken.com/"
    # About 150 connection attempts in ten minutes per address.
    limits = VenueLimits(connections=150, connections_period=600.0)
    ping = Ping(interval=30.0, message=_ping)
    symbols_of = symbols
    channels_of = channels
    transformer_type = KrakenTransformer

    def request(self, verb: str, topics: Sequence[Topic], number: int) -> bytes:
        """Spell one request; answers name their topics."""
        del number
        (topic,) = topics
        name = topic.channel.partition("-")[0]
        named: dict[str, str | int] = {"name": name}
        if topic.parameters:
            option = "interval" if name == channels.OHLC else "depth"
            named[option] = int(topic.parameters[0])
        return msgspec.json.encode(
            {"event": verb, "pair": [topic.market], "subscription": named}
        )

    def checksum(self) -> Checksum:
        """Return Kraken's checksum of the top ten."""
        return checksums.kraken

    def book_depth(self, subscription: Subscription) -> int:
        """A book must be cut to the depth subscribed to, or checksums differ."""
        return channels.depth(subscription)


CONNECTORS = (KrakenConnector(),)
