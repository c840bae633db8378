"""NATS as a sink: a batch counts as sent when the server has read all of it.

Core NATS acknowledges no message. What it does answer, in order, is a ping: when the
answer to the ping behind a batch has come, the server has the batch. Whether anybody
listens is not its business; for messages that must be kept, let a JetStream stream
listen to the subjects.
"""

from collections.abc import Sequence
from typing import TypeAlias, final

from integration.protocols.nats_connection import NatsConnection

__all__ = ["NatsItem", "NatsSink"]

NatsItem: TypeAlias = tuple[str, bytes]
"""Subject and payload."""


@final
class NatsSink:
    """A connection of its own as a `BatchSink`.

    Args:
        connection: Open, without subscriptions; closed with the sink.
    """

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection

    async def send_batch(self, items: Sequence[NatsItem]) -> None:
        """Publish messages in order and wait until the server has read them.

        Raises:
            Serialise: One is larger than the server takes; none is sent.
            Broker: The connection is gone; some may have arrived.
        """
        await self._connection.publish_many(items)
        await self._connection.flush()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._connection.aclose()
