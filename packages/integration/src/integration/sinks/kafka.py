"""Kafka as a sink: a batch counts as sent when the brokers have acknowledged all of it.

confluent-kafka is imported when a sink is opened. With `enable.idempotence`, which is
set unless the configuration says otherwise, the client's own retries neither repeat
nor reorder messages.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias, final

import trio

from integration.errors import Broker, LocalError
from integration.protocols.kafka import broker_error, load_confluent_kafka

__all__ = ["KafkaItem", "KafkaSink"]

KafkaItem: TypeAlias = tuple[bytes | None, bytes]
"""Key and value; messages of one key keep their order."""

_POLL_S = 0.1
"""Seconds between two looks at what was acknowledged; the client works meanwhile."""


@final
class KafkaSink:
    """A producer of one topic as a `BatchSink`; open it with `open`.

    Args:
        producer: A confluent-kafka producer.
        module: The package, for its errors.
        topic: Where messages go.
    """

    def __init__(
        self,
        producer: Any,  # noqa: ANN401 - a Producer of an optional package
        module: Any,  # noqa: ANN401 - the optional package
        topic: str,
    ) -> None:
        self._producer = producer
        self._module = module
        self._topic = topic
        self._turn = trio.Lock()

    @classmethod
    async def open(cls, config: Mapping[str, Any], topic: str) -> Self:
        """Make a producer.

        Args:
            config: librdkafka's configuration; `bootstrap.servers` at least.
                `message.timeout.ms` says how long brokers may be away.
            topic: Where messages go.

        Raises:
            Unsupported: confluent-kafka is not installed.
            LocalError: The configuration cannot be used.
        """
        await trio.lowlevel.checkpoint()
        module = load_confluent_kafka()
        try:
            producer = module.Producer({"enable.idempotence": True, **config})
        except (module.KafkaException, ValueError, TypeError) as error:
            raise LocalError(
                f"Kafka's configuration cannot be used: {error}"
            ) from error
        return cls(producer, module, topic)

    async def send_batch(self, items: Sequence[KafkaItem]) -> None:
        """Send messages and wait until the brokers have acknowledged all of them.

        A cancellation is heeded when the batch is through, or has timed out.

        Raises:
            Broker: Some were not acknowledged; the rest was.
        """
        async with self._turn:
            await trio.to_thread.run_sync(self._send, items)

    async def aclose(self) -> None:
        """Wait for what is under way; nothing is, unless `send_batch` failed."""
        with trio.CancelScope(shield=True):
            async with self._turn:
                await trio.to_thread.run_sync(self._producer.flush, _POLL_S)

    def _send(self, items: Sequence[KafkaItem]) -> None:
        reports: list[Any] = []

        def report(error: Any, _message: object) -> None:  # noqa: ANN401 - optional
            reports.append(error)

        for key, value in items:
            try:
                self._produce(key, value, report)
            except self._module.KafkaException as error:
                report(error.args[0], None)  # too large, say: others may pass
        while len(reports) < len(items):
            self._producer.poll(_POLL_S)
        failed = [error for error in reports if error is not None]
        if failed:
            first = broker_error(failed[0])
            share = f"{len(failed)} of {len(items)}"
            raise Broker(
                f"{share} messages were not acknowledged: {first}",
                code=str(failed[0].name()),
                terminal=first.terminal,
            ) from first

    def _produce(self, key: bytes | None, value: bytes, report: object) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value, key, on_delivery=report)
            except BufferError:
                # The client's queue is full: wait until something is acknowledged.
                self._producer.poll(_POLL_S)
            else:
                return
