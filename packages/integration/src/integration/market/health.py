"""How a market stream does: how late, and what of it we did not understand.

Latency is kept in histograms of fixed size: a value's bucket is its leading bits, so
that a bucket is 1/32 of its value wide whatever the value (as in HdrHistogram,
https://hdrhistogram.org), a minute as a microsecond. Two stages: from the venue's stamp
to our socket, which includes the difference of both clocks, and from the socket to the
consumer, which is ours alone.

Drift is what a venue sends beyond what we read: decoders pass over fields they do not
know, which is right for a running stream and wrong to keep quiet about. `SchemaWatch`
compares samples with the types that decoded them and tells of every new path once.

Pure: the clock's time is given.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, final

import msgspec

from integration.errors import UNDECODABLE, DataError, Scope
from integration.market.reports import StreamError
from integration.metric import Field, Float, Metric, Tag, UInt
from integration.models import ExchangeId, MarketEvent
from netcore.models import Timestamp

__all__ = [
    "LatencyHistogram",
    "SchemaDrift",
    "SchemaWatch",
    "StreamMonitor",
]

_BITS: Final = 5
_SUB: Final = 1 << _BITS
"""Buckets per power of two: a bucket is at most 1/32 of its value wide."""
_LONGEST: Final = (1 << 42) - 1
"""Nanoseconds, 73 minutes; what is longer is counted as that, `longest` is exact."""
_SIZE: Final = (42 - _BITS) * _SUB + _SUB
_QUANTILES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
_MS: Final = 1_000_000


@final
class LatencyHistogram:
    """Counts durations in ns; its size does not grow.

    Attributes:
        count: how many.
        longest: the longest, exactly; 0 if there were none.
        negative: how many were below 0 and are counted as 0: clocks that disagree.
    """

    __slots__ = ("_counts", "count", "longest", "negative")

    def __init__(self) -> None:
        self._counts = [0] * _SIZE
        self.count = 0
        self.longest = 0
        self.negative = 0

    def add(self, duration_ns: int) -> None:
        """Count one."""
        if duration_ns < 0:
            self.negative += 1
            duration_ns = 0
        if duration_ns > self.longest:
            self.longest = duration_ns
        self.count += 1
        self._counts[_bucket(min(duration_ns, _LONGEST))] += 1

    def merge(self, other: "LatencyHistogram") -> None:
        """Count all of another one."""
        for bucket, number in enumerate(other._counts):
            self._counts[bucket] += number
        self.count += other.count
        self.negative += other.negative
        self.longest = max(self.longest, other.longest)

    def quantile(self, share: float) -> int:
        """Return the duration, in ns, that `share` of all do not exceed.

        The upper end of its bucket: at most 1/32 too long, never too short.

        Args:
            share: above 0, at most 1.

        Raises:
            ValueError: `share` is not that, or nothing was counted.
        """
        if not 0 < share <= 1:
            msg = f"a share is above 0 and at most 1, was {share}"
            raise ValueError(msg)
        if not self.count:
            msg = "nothing was counted yet: ask `count` first"
            raise ValueError(msg)
        wanted, seen = share * self.count, 0
        for bucket, number in enumerate(self._counts):
            seen += number
            if number and seen >= wanted:
                return min(_upper(bucket), self.longest)
        return self.longest


def _bucket(value: int) -> int:
    """Number the buckets: one per value below 32, then 32 per power of two."""
    if value < _SUB:
        return value
    shift = value.bit_length() - _BITS - 1
    return (shift << _BITS) + (value >> shift)


def _upper(bucket: int) -> int:
    """Return the longest duration of a bucket."""
    if bucket < _SUB:
        return bucket
    shift = (bucket >> _BITS) - 1
    if bucket == _SIZE - 1:
        return 1 << 63  # whatever is longer; the exact longest bounds it
    return (((bucket & (_SUB - 1)) + _SUB + 1) << shift) - 1


_STAGES: Final = ("exchange_to_received", "received_to_delivered")


@final
class StreamMonitor:
    """Latencies and faults by exchange; give one to `StreamConfig.monitor`.

    Attributes:
        faults: how many errors were delivered, by exchange and class.
    """

    def __init__(self) -> None:
        self.faults: Counter[tuple[ExchangeId, str]] = Counter()
        self._latencies: dict[tuple[ExchangeId, str], LatencyHistogram] = {}

    def __repr__(self) -> str:
        known = sorted({exchange.value for exchange, _ in self._latencies})
        return f"<StreamMonitor: {', '.join(known) or 'nothing yet'}>"

    def delivered(self, events: Iterable[object], now_ns: Timestamp) -> None:
        """Count events that a consumer is given at `now_ns`."""
        for event in events:
            if type(event) is MarketEvent:
                received = event.time_received
                # Where a venue sends no time both are equal: that is no latency.
                if event.time_exchange != received:
                    way = self.latency(event.exchange, _STAGES[0])
                    way.add(received - event.time_exchange)
                self.latency(event.exchange, _STAGES[1]).add(now_ns - received)
            elif isinstance(event, StreamError):
                self.faults[event.exchange, type(event.error).__name__] += 1

    def latency(self, exchange: ExchangeId, stage: str) -> LatencyHistogram:
        """Return the histogram of a stage.

        Args:
            exchange: whose events.
            stage: `exchange_to_received` or `received_to_delivered`.

        Raises:
            ValueError: there is no such stage.
        """
        found = self._latencies.get((exchange, stage))
        if found is None:
            if stage not in _STAGES:
                msg = f"a stage is one of {', '.join(_STAGES)}; was {stage!r}"
                raise ValueError(msg)
            found = self._latencies[exchange, stage] = LatencyHistogram()
        return found

    def metrics(self, now_ns: Timestamp) -> list[Metric]:
        """Return `market_latency` per exchange and stage, `market_faults` per class."""
        time = now_ns // _MS
        found = [
            _latency_metric(exchange, stage, histogram, time)
            for (exchange, stage), histogram in self._latencies.items()
            if histogram.count
        ]
        for (exchange, name), number in self.faults.items():
            tags = (Tag("exchange", exchange.value), Tag("error", name))
            fields = (Field("count", UInt(number)),)
            found.append(Metric("market_faults", time, tags, fields))
        return found


def _latency_metric(
    exchange: ExchangeId, stage: str, histogram: LatencyHistogram, time: int
) -> Metric:
    fields = [
        Field(f"{name}_ms", Float(histogram.quantile(share) / _MS))
        for name, share in _QUANTILES
    ]
    fields += [
        Field("max_ms", Float(histogram.longest / _MS)),
        Field("count", UInt(histogram.count)),
        Field("negative", UInt(histogram.negative)),
    ]
    tags = (Tag("exchange", exchange.value), Tag("stage", stage))
    return Metric("market_latency", time, tags, tuple(fields))


# What was not understood


class SchemaDrift(DataError):
    """A venue sends a field that our types do not know; its messages are read on.

    Attributes:
        path: such as `DepthUpdate.data[].newField`.
    """

    recoverable = True
    scope = Scope.MESSAGE

    def __init__(self, exchange: ExchangeId, path: str) -> None:
        super().__init__(f"{exchange} sends {path}, which is not read")
        self.path = path


@final
class SchemaWatch:
    """Compares samples of messages with the types that decode them.

    A message that cannot be decoded is no business of this: it is delivered as an error
    whatever happens here.

    Args:
        exchange: whose messages.
        decode: the transformer's.
        known: paths that are passed over on purpose; `seen` of an earlier run.
        every: one message in so many is looked at, beginning with the first.

    Attributes:
        seen: how often each unknown path was in a sample; without `known`.
        sampled: messages looked at.

    Raises:
        ValueError: `every` is below 1.
    """

    def __init__(
        self,
        exchange: ExchangeId,
        decode: Callable[[bytes], Any],
        *,
        known: Iterable[str] = (),
        every: int = 1000,
    ) -> None:
        if every < 1:
            msg = f"one in at least 1 message is looked at, was {every}"
            raise ValueError(msg)
        self.exchange = exchange
        self.seen: Counter[str] = Counter()
        self.sampled = 0
        self._decode = decode
        self._known = frozenset(known)
        self._every = every
        self._until = 0

    def look(self, payloads: Iterable[bytes]) -> list[SchemaDrift]:
        """Look at some of these messages; return what was never seen before."""
        new: list[SchemaDrift] = []
        for payload in payloads:
            if self._until > 0:
                self._until -= 1
                continue
            self._until = self._every - 1
            new.extend(self._sample(payload))
        return new

    def _sample(self, payload: bytes) -> list[SchemaDrift]:
        try:
            raw, message = msgspec.json.decode(payload), self._decode(payload)
        except UNDECODABLE:
            return []  # no field was passed over: the message was, and is reported
        self.sampled += 1
        new = []
        for path in dict.fromkeys(_unknown(message, raw, type(message).__name__)):
            if path in self._known:
                continue
            if path not in self.seen:
                new.append(SchemaDrift(self.exchange, path))
            self.seen[path] += 1
        return new


def _unknown(message: object, raw: object, path: str) -> Iterator[str]:
    """Yield the paths of `raw` that `message`, decoded from it, has no field for."""
    if isinstance(message, msgspec.Struct) and isinstance(raw, dict):
        config = message.__struct_config__
        names = dict(
            zip(
                message.__struct_encode_fields__, message.__struct_fields__, strict=True
            )
        )
        for key, value in raw.items():
            if key in names:
                yield from _unknown(
                    getattr(message, names[key]), value, f"{path}.{key}"
                )
            elif key != config.tag_field:
                yield f"{path}.{key}"
    elif isinstance(message, list | tuple) and isinstance(raw, list):
        # All elements are of one type: those of later ones are the first one's.
        for element, value in list(zip(message, raw, strict=False))[:1]:
            yield from _unknown(element, value, f"{path}[]")
