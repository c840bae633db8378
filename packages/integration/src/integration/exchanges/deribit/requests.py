"""What we send to Deribit, and where."""

from collections.abc import Sequence
from typing import Any

import msgspec

from integration.exchanges.deribit import channels, symbols
from integration.exchanges.deribit.transform import DeribitTransformer
from integration.market.connector import (
    PlainConnector,
    Topic,
    VenueLimits,
)
from integration.models import ExchangeId

__all__ = ["CONNECTORS", "DeribitConnector"]

_HEARTBEAT_ID = 2
_HEARTBEAT_SECONDS = 30


def _call(method: str, number: int, params: dict[str, Any]) -> bytes:
    return msgspec.json.encode(
        {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    )


class DeribitConnector(PlainConnector):
    """Deribit's server."""

    exchange = ExchangeId.DERIBIT
    websocket_url = "wss://www.deribit.com/ws/api/v2"
    # 500 channels per connection, 32 connections per address.
    limits = VenueLimits(
        topics_per_connection=500, topics_per_message=100, connections=32
    )
    symbols_of = symbols
    channels_of = channels
    transformer_type = DeribitTransformer
    verbs = ("public/subscribe", "public/unsubscribe")
    bundles = True
    echoes_ids = True

    def request(self, verb: str, topics: Sequence[Topic], number: int) -> bytes:
        """Spell one request."""
        return _call(verb, number, {"channels": [_channel(t) for t in topics]})

    def greeting(self, topics: Sequence[Topic]) -> list[bytes]:
        """Ask for heartbeats; the transformer answers the venue's."""
        del topics
        interval = {"interval": _HEARTBEAT_SECONDS}
        return [_call("public/set_heartbeat", _HEARTBEAT_ID, interval)]

    def expected_responses(self, topics: Sequence[Topic]) -> int:
        """One answer per message; a channel that it leaves out was refused."""
        del topics
        return 1


def _channel(topic: Topic) -> str:
    if topic.channel.startswith(channels.CHART):
        resolution = topic.channel.removeprefix(channels.CHART)
        return f"{channels.CHART}{topic.market}.{resolution}"
    name = f"{topic.channel}.{topic.market}"
    return name if topic.channel == channels.QUOTE else f"{name}.{channels.INTERVAL}"


CONNECTORS = (DeribitConnector(),)
