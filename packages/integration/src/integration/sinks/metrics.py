"""Metrics kept until a collector asks for them, in bounded memory."""

from collections import deque
from typing import final

from integration.metric import Metric, encode_influx, encode_prometheus

__all__ = ["MetricBuffer"]


@final
class MetricBuffer:
    """A `MetricSink` that keeps the latest metrics; the oldest make room.

    Args:
        capacity: Metrics to keep.

    Attributes:
        dropped: Metrics that made room before anybody asked for them.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        if capacity < 1:
            raise ValueError(f"a buffer keeps at least one metric, was {capacity}")
        self.dropped = 0
        self._metrics: deque[Metric] = deque(maxlen=capacity)

    def __call__(self, metric: Metric, /) -> None:
        """Keep one metric."""
        if len(self._metrics) == self._metrics.maxlen:
            self.dropped += 1
        self._metrics.append(metric)

    def __len__(self) -> int:
        return len(self._metrics)

    def take(self) -> list[Metric]:
        """Return all that is kept, oldest first, and keep it no longer."""
        taken = list(self._metrics)
        self._metrics.clear()
        return taken

    def take_influx(self) -> bytes:
        """Take all in InfluxDB's line protocol, times in milliseconds.

        Raises:
            Serialise: One cannot be written; all are kept.
        """
        lines = encode_influx(self._metrics)
        self._metrics.clear()
        return lines

    def prometheus(self) -> bytes:
        """Return the newest sample of each series; all are kept for the next scrape."""
        return encode_prometheus(self._metrics)
