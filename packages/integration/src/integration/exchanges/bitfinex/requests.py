"""What we send to Bitfinex, and where."""

from collections.abc import Sequence
from typing import Any

import msgspec

from integration.exchanges.bitfinex import channels, symbols
from integration.exchanges.bitfinex.transform import BitfinexTransformer
from integration.market import checksums
from integration.market.connector import (
    Ping,
    PlainConnector,
    Topic,
    VenueLimits,
)
from integration.market.manager import Checksum
from integration.models import ExchangeId
from netcore.models import Timestamp

__all__ = ["CONNECTORS", "BitfinexConnector"]

_SEQ_ALL = 65_536
_OB_CHECKSUM = 131_072
_FLAGS = msgspec.json.encode({"event": "conf", "flags": _SEQ_ALL + _OB_CHECKSUM})


def _ping(time: Timestamp) -> bytes:
    return msgspec.json.encode({"event": "ping", "cid": time // 10**9})


class BitfinexConnector(PlainConnector):
    """Bitfinex's public server."""

    exchange = ExchangeId.BITFINEX
    websocket_url = "wss://api-pub.bitfinex.com/ws/2"
    # 25 channels per connection, 20 connections a minute.
    limits = VenueLimits(
        topics_per_connection=25, connections=20, connections_period=60.0
    )
    ping = Ping(interval=30.0, message=_ping)
    symbols_of = symbols
    channels_of = channels
    transformer_type = BitfinexTransformer

    def request(self, verb: str, topics: Sequence[Topic], number: int) -> bytes:
        """Spell one request; a channel is left by the number the venue gave it."""
        del number
        (topic,) = topics
        if verb == "unsubscribe":
            return msgspec.json.encode(
                {"event": verb, "chanId": int(topic.parameters[0])}
            )
        request: dict[str, Any] = {
            "event": verb,
            "channel": topic.channel,
            "key" if topic.channel in channels.KEYED else "symbol": topic.market,
        }
        if topic.parameters:
            request |= {"prec": "P0", "freq": "F0", "len": topic.parameters[0]}
        return msgspec.json.encode(request)

    def greeting(self, topics: Sequence[Topic]) -> list[bytes]:
        """Ask for numbered messages and for checksums of books."""
        del topics
        return [_FLAGS]

    def checksum(self) -> Checksum:
        """Return Bitfinex's checksum of the top 25."""
        return checksums.bitfinex


CONNECTORS = (BitfinexConnector(),)
