"""Kafka as a source of an `ExchangeStream`, through confluent-kafka.

librdkafka does the work (fetching, groups, retries) in threads of its own;
`KafkaSource` takes what it has fetched, a batch at a time, in a worker thread of
trio's. Nothing else runs there, so no queue stands between: who does not read stops
the fetching.

Delivery is at least once. An offset is committed only when its message counts as
processed: when the next batch is asked for, which an `ExchangeStream` does after its
consumer took every output; or, with `CommitWhen.EXPLICIT`, when `processed` is called.
After a crash or a rebalance what was not committed comes again, to us or to another.

The package confluent-kafka is imported when a source is opened. `KafkaParser` is pure.
"""

import importlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar, final

import msgspec
import trio

from integration.errors import (
    UNDECODABLE,
    Broker,
    DeserialiseBinary,
    DnsError,
    LocalError,
    RemoteError,
    SocketError,
    Subscribe,
    TlsError,
    Unauthorised,
    Unsupported,
)
from integration.protocols.websocket import Decode
from integration.stream.parser import Parsed, StreamParser
from integration.stream.tasks import with_tasks
from netcore.clock import Clock, SystemClock

__all__ = [
    "CommitWhen",
    "KafkaBatch",
    "KafkaFrame",
    "KafkaMessage",
    "KafkaParser",
    "KafkaRecord",
    "KafkaRecordParser",
    "KafkaSource",
    "broker_error",
    "load_confluent_kafka",
]

T = TypeVar("T")

_logger = logging.getLogger(__name__)

BATCH_SIZE = 1_000
"""Messages of one batch: larger ones brought nothing more (measured: 156 k/s)."""

_POLL_S = 0.1
"""Seconds for which a thread waits for messages; a cancellation waits as long."""

_OURS = {"enable.auto.commit": False, "enable.auto.offset.store": False}
"""What at-least-once depends on; a configuration that says otherwise is refused."""


_Place: TypeAlias = tuple[str, int]
"""Topic and partition."""


class KafkaMessage(Protocol):
    """What confluent-kafka's `Message` offers of use here."""

    def topic(self) -> str | None:
        """Return the topic."""
        ...

    def partition(self) -> int | None:
        """Return the partition."""
        ...

    def offset(self) -> int | None:
        """Return the offset within the partition."""
        ...

    def key(self) -> bytes | None:
        """Return the key's bytes."""
        ...

    def value(self) -> bytes | None:
        """Return the value's bytes; None is a tombstone."""
        ...

    def timestamp(self) -> tuple[int, int]:
        """Return its kind and milliseconds since epoch."""
        ...

    def error(self) -> Any:  # noqa: ANN401 - a KafkaError of an optional package
        """Return what went wrong instead of a message, or None."""
        ...


KafkaFrame: TypeAlias = KafkaMessage | SocketError
"""A message, or a fault that the client reported."""


class KafkaRecord(msgspec.Struct, Generic[T], frozen=True):
    """A decoded message with where it stood.

    Attributes:
        topic: The topic.
        partition: The partition.
        offset: The offset within the partition.
        key: The key's bytes, None if it has none.
        value: The decoded value.
        timestamp_ms: When it was produced or appended, ms since epoch; -1 if unknown.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: T
    timestamp_ms: int


class KafkaBatch(msgspec.Struct, frozen=True):
    """What one poll brought."""

    timestamp_ns: int
    frames: Sequence[KafkaFrame]

    def __iter__(self) -> Iterator[KafkaFrame]:
        return iter(self.frames)


class CommitWhen(StrEnum):
    """When a message counts as processed."""

    NEXT_READ = "next_read"
    EXPLICIT = "explicit"


class KafkaParser(StreamParser[KafkaFrame, T], Generic[T]):
    """Decodes values into one type. Tombstones (no value) say nothing.

    Args:
        decoder: A msgspec decoder, or any function from bytes to a value.
    """

    def __init__(
        self,
        decoder: msgspec.json.Decoder[T] | msgspec.msgpack.Decoder[T] | Decode[T],
    ) -> None:
        self._decode: Decode[T] = decoder if callable(decoder) else decoder.decode

    def parse(self, frame: KafkaFrame) -> Parsed[T] | None:
        """Decode one message."""
        if isinstance(frame, SocketError):
            return frame
        error = frame.error()
        if error is not None:
            return broker_error(error)
        value = frame.value()
        if value is None:
            return None
        return _decoded(self._decode, value)


class KafkaRecordParser(StreamParser[KafkaFrame, KafkaRecord[T | None]], Generic[T]):
    """Decodes values and keeps where they stood; a tombstone's value is None.

    Args:
        decoder: A msgspec decoder, or any function from bytes to a value.
    """

    def __init__(
        self,
        decoder: msgspec.json.Decoder[T] | msgspec.msgpack.Decoder[T] | Decode[T],
    ) -> None:
        self._decode: Decode[T] = decoder if callable(decoder) else decoder.decode

    def parse(self, frame: KafkaFrame) -> Parsed[KafkaRecord[T | None]] | None:
        """Decode one message."""
        if isinstance(frame, SocketError):
            return frame
        error = frame.error()
        if error is not None:
            return broker_error(error)
        raw = frame.value()
        value = None if raw is None else _decoded(self._decode, raw)
        if isinstance(value, DeserialiseBinary):
            return value
        return KafkaRecord(
            frame.topic() or "",
            _known(frame.partition()),
            _known(frame.offset()),
            frame.key(),
            value,
            frame.timestamp()[1],
        )


@final
class KafkaSource:
    """A consumer as a `BatchSource`; open it with `open`.

    Args:
        consumer: A confluent-kafka consumer, subscribed or assigned.
        module: The package, for its types.
        reports: Where the consumer's callbacks put what they are told.
        options: Sizes and policies; see `open`.
    """

    def __init__(
        self,
        consumer: Any,  # noqa: ANN401 - a Consumer of an optional package
        module: Any,  # noqa: ANN401 - the optional package
        reports: "_Reports",
        options: "_Options",
    ) -> None:
        self._consumer = consumer
        self._module = module
        self._reports = reports
        self._options = options
        self._early: list[KafkaMessage] = []
        self._offsets = _Offsets()
        self._turn = trio.Lock()
        self._next_commit = 0.0
        self._pending: dict[_Place, int] | None = None
        self._closed = False

    @classmethod
    async def open(
        cls,
        config: Mapping[str, Any],
        topics: Sequence[str] = (),
        *,
        partitions: Sequence[tuple[str, int, int]] = (),
        commit: CommitWhen = CommitWhen.NEXT_READ,
        commit_interval: float = 1.0,
        batch_size: int = BATCH_SIZE,
        clock: Clock | None = None,
    ) -> Self:
        """Make a consumer and join its group, or take partitions.

        Args:
            config: librdkafka's configuration; `bootstrap.servers` and `group.id` at
                least.
            topics: What to subscribe to as a member of the group.
            partitions: Topic, partition and offset to read from instead; -1001 is the
                committed offset.
            commit: When a message counts as processed.
            commit_interval: Seconds between two commits.
            batch_size: The most messages of a batch.
            clock: What stamps batches.

        Raises:
            Unsupported: confluent-kafka is not installed.
            LocalError: The configuration cannot be used, or contradicts
                at-least-once; or neither or both of topics and partitions are given.
        """
        if bool(topics) == bool(partitions):
            raise LocalError("a source reads topics or partitions: give one of them")
        for name, value in _OURS.items():
            if config.get(name, value) != value:
                raise LocalError(f"{name} must be {value}: this source commits itself")
        module = load_confluent_kafka()
        reports = _Reports()
        options = _Options(
            commit,
            commit_interval,
            batch_size,
            SystemClock() if clock is None else clock,
        )
        settings = {
            **config,
            **_OURS,
            "error_cb": reports.on_error,
            "on_commit": reports.on_commit,
            "logger": _logger,
        }
        try:
            consumer = module.Consumer(settings)
        except (module.KafkaException, ValueError, TypeError) as error:
            raise LocalError(
                f"Kafka's configuration cannot be used: {error}"
            ) from error
        self = cls(consumer, module, reports, options)
        await trio.to_thread.run_sync(self._start, topics, partitions)
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def read_batch(self) -> KafkaBatch:
        """Wait for messages; those handed out before count as processed now.

        Raises:
            Broker: The client failed for good.
            trio.ClosedResourceError: The source was closed.
        """
        async with self._turn:
            if self._options.commit is CommitWhen.NEXT_READ:
                self._offsets.process()
            while True:
                # Not abandoned on cancellation: what the thread took would be lost.
                messages = await self._in_thread(self._cycle)
                faults = self._reports.take_faults()
                early, self._early = self._early, []
                frames: list[KafkaFrame] = [*faults, *early, *messages]
                if frames:
                    self._offsets.hand_out(early)
                    self._offsets.hand_out(messages)
                    return KafkaBatch(self._options.clock.now_ns(), frames)

    def processed(self) -> None:
        """Count everything handed out so far as processed (`CommitWhen.EXPLICIT`)."""
        self._offsets.process()

    async def commit(self) -> None:
        """Commit what is processed now, not at the next interval.

        Raises:
            Broker: The commit failed; what is processed stays to be committed.
        """
        async with self._turn:
            fault = await self._in_thread(self._commit)
        if fault is not None:
            raise fault

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Stay in the group during work that takes long, without receiving.

        A member that does not poll for `max.poll.interval.ms` (5 minutes) is expelled
        and its messages are given to others. Within this block the partitions are
        paused and polled.
        """
        async with self._turn:
            await self._in_thread(self._pause)
            try:
                async with with_tasks(self._keep_polling):
                    yield
            finally:
                with trio.CancelScope(shield=True):
                    await self._in_thread(self._resume)

    async def aclose(self) -> None:
        """Commit what is processed, leave the group and close; may be repeated."""
        if not self._closed:
            self._closed = True
            # Cancelled or not: a consumer that is not closed keeps its place in the
            # group until it times out. A reader gives its turn up at its next poll.
            with trio.CancelScope(shield=True):
                async with self._turn:
                    await trio.to_thread.run_sync(self._finish)
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise trio.ClosedResourceError("this source was closed")
        return await trio.to_thread.run_sync(work)

    async def _keep_polling(self) -> None:
        while True:
            self._early += await self._in_thread(self._poll)

    # -- in the worker thread ----------------------------------------------------------

    def _start(
        self, topics: Sequence[str], partitions: Sequence[tuple[str, int, int]]
    ) -> None:
        if topics:
            self._consumer.subscribe(
                list(topics), on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        else:
            make = self._module.TopicPartition
            self._consumer.assign([make(*place) for place in partitions])

    def _cycle(self) -> list[KafkaMessage]:
        if self._pending is None and time.monotonic() >= self._next_commit:
            self._begin_commit()
        return self._poll()

    def _begin_commit(self) -> None:
        """Commit without waiting: brokers that are away must not stop the reading."""
        self._next_commit = time.monotonic() + self._options.commit_interval
        done = self._offsets.processed()
        if done:
            self._pending = done
            self._consumer.commit(offsets=self._places(done), asynchronous=True)

    def _poll(self) -> list[KafkaMessage]:
        try:
            messages: list[KafkaMessage] = self._consumer.consume(
                self._options.batch_size, _POLL_S
            )
        except self._module.KafkaException as error:
            raise broker_error(error.args[0]) from error
        self._learn()
        return messages

    def _learn(self) -> None:
        """Hear, after a poll, how a commit went; what failed is tried again."""
        for error in self._reports.take_commits():
            done, self._pending = self._pending, None
            if error is not None:
                self._reports.faults.append(broker_error(error))
            elif done is not None:
                self._offsets.committed(done)

    def _commit(self) -> SocketError | None:
        """Commit what is processed and wait; what fails is tried again later."""
        done = self._offsets.processed()
        if not done:
            return None
        try:
            self._consumer.commit(offsets=self._places(done), asynchronous=False)
        except self._module.KafkaException as error:
            return broker_error(error.args[0])
        self._offsets.committed(done)
        return None

    def _places(self, done: Mapping[_Place, int]) -> list[Any]:
        make = self._module.TopicPartition
        return [make(topic, part, offset) for (topic, part), offset in done.items()]

    def _pause(self) -> None:
        self._consumer.pause(self._consumer.assignment())

    def _resume(self) -> None:
        self._consumer.resume(self._consumer.assignment())

    def _finish(self) -> None:
        self._commit()
        self._consumer.close()

    def _on_revoke(self, _consumer: object, partitions: list[Any]) -> None:
        """Commit before others take over, within the poll that told us."""
        fault = self._commit()
        if fault is not None:
            self._reports.faults.append(fault)
        self._forget(partitions)

    def _on_lost(self, _consumer: object, partitions: list[Any]) -> None:
        """Forget partitions that others hold already: a commit would be refused."""
        self._forget(partitions)

    def _forget(self, partitions: list[Any]) -> None:
        self._offsets.forget([(p.topic, p.partition) for p in partitions])


@final
class _Reports:
    """What the client tells by callbacks, which run within our polls."""

    def __init__(self) -> None:
        self.faults: list[SocketError] = []
        self._commits: list[Any] = []

    def on_error(self, error: Any) -> None:  # noqa: ANN401 - a KafkaError
        self.faults.append(broker_error(error))

    def on_commit(self, error: Any, _partitions: list[Any]) -> None:  # noqa: ANN401 - as above
        self._commits.append(error)

    def take_faults(self) -> list[SocketError]:
        faults, self.faults = self.faults, []
        return faults

    def take_commits(self) -> list[Any]:
        commits, self._commits = self._commits, []
        return commits


class _Options(msgspec.Struct, frozen=True):
    commit: CommitWhen
    commit_interval: float
    batch_size: int
    clock: Any


@final
class _Offsets:
    """Which offset comes next, per partition: handed out, processed, committed.

    Used by the reading task and, while that waits, by its worker thread: never by
    both at once.
    """

    def __init__(self) -> None:
        self._handed_out: dict[_Place, int] = {}
        self._processed: dict[_Place, int] = {}

    def hand_out(self, messages: Sequence[KafkaMessage]) -> None:
        newest: set[_Place] = set()
        for message in reversed(messages):
            place = (message.topic() or "", _known(message.partition()))
            if place not in newest and message.error() is None:
                newest.add(place)
                # The offset to commit is that of the next message.
                self._handed_out[place] = _known(message.offset()) + 1

    def process(self) -> None:
        self._processed |= self._handed_out
        self._handed_out.clear()

    def processed(self) -> dict[_Place, int]:
        return dict(self._processed)

    def committed(self, done: Mapping[_Place, int]) -> None:
        for place, offset in done.items():
            if self._processed.get(place) == offset:
                del self._processed[place]

    def forget(self, places: Sequence[_Place]) -> None:
        for place in places:
            self._handed_out.pop(place, None)
            self._processed.pop(place, None)


def load_confluent_kafka() -> Any:  # noqa: ANN401 - an optional package
    """Return the package confluent-kafka.

    Raises:
        Unsupported: It is not installed.
    """
    try:
        return importlib.import_module("confluent_kafka")
    except ImportError as error:
        raise Unsupported(
            "this installation", "Kafka; install confluent-kafka"
        ) from error


_UNAUTHORISED = frozenset(
    {
        "_AUTHENTICATION",
        "SASL_AUTHENTICATION_FAILED",
        "TOPIC_AUTHORIZATION_FAILED",
        "GROUP_AUTHORIZATION_FAILED",
        "CLUSTER_AUTHORIZATION_FAILED",
    }
)
_NO_TOPIC = frozenset({"_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "UNKNOWN_TOPIC_OR_PART"})


def broker_error(error: Any) -> RemoteError:  # noqa: ANN401 - a KafkaError
    """Return what an error of librdkafka means; it goes on unless `terminal`.

    Args:
        error: A `confluent_kafka.KafkaError`.
    """
    name, text = str(error.name()), str(error)
    fault: RemoteError
    if name in _UNAUTHORISED:
        fault = Unauthorised(text, code=name)
    elif name in _NO_TOPIC:
        fault = Subscribe(text)
    elif name == "_SSL":
        fault = TlsError(text)
    elif name == "_RESOLVE":
        fault = DnsError(text)
    else:
        fault = Broker(text, code=name)
    # librdkafka reconnects and retries by itself; only what it calls fatal is the end.
    fault.terminal = bool(error.fatal())
    return fault


def _decoded(decode: Decode[T], value: bytes) -> T | DeserialiseBinary:
    try:
        return decode(value)
    except UNDECODABLE as error:
        fault = DeserialiseBinary(str(error), value)
        fault.__cause__ = error
        return fault


def _known(number: int | None) -> int:
    """A message from a broker always has a partition and an offset."""
    return -1 if number is None else number
