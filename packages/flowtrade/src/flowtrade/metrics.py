"""What operators watch: the service's figures in Prometheus' text format.

Counters follow the log of operations, gauges are read when somebody asks. Requests are
counted by `flowtrade.api.timing`, whether or not anybody measures, for less than a
microsecond each. Figures name kinds, phases and routes, never bidders, ids or tokens:
they go to people who may not know who bids.

Needs the extra `flowtrade[metrics]` (prometheus-client).
"""

import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, final

import trio

from flowtrade.api.timing import BOUNDS
from flowtrade.core.operations import Applied, Operation
from flowtrade.core.state import Batched
from flowtrade.errors import InvalidRequest
from flowtrade.models.batch import BatchRecord

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

    from flowtrade.serve import Auction

__all__ = ["CONTENT_TYPE", "ServiceMetrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format, which every collector reads."""

_LOOK: Final = 0.5
"""Seconds between two looks at how late the event loop wakes us."""

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
"""Bounds of histograms: from a small auction to the time limit of a large one."""


@final
class ServiceMetrics:
    """The figures of one running service; an ASGI application that shows them.

    Args:
        auction: The service. Its operations are counted from now on.

    Raises:
        InvalidRequest: prometheus-client is not installed.
    """

    def __init__(self, auction: "Auction") -> None:
        try:
            import prometheus_client as prometheus
        except ModuleNotFoundError as error:
            raise InvalidRequest(
                "metrics need prometheus-client: install flowtrade[metrics]",
                where="metrics",
            ) from error
        self._auction = auction
        self.registry: CollectorRegistry = prometheus.CollectorRegistry()
        counter, histogram = prometheus.Counter, prometheus.Histogram
        self._operations = counter(
            "flowtrade_operations",
            "Operations that became durable, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self._batches = counter(
            "flowtrade_batches",
            "Batches stored, by outcome.",
            ["status"],
            registry=self.registry,
        )
        self._set_aside = counter(
            "flowtrade_orders_set_aside",
            "Orders that batches were cleared without, for their numbers.",
            registry=self.registry,
        )
        self._attempts = counter(
            "flowtrade_solver_attempts",
            "Solvers asked, by solver and what came of it.",
            ["solver", "outcome"],
            registry=self.registry,
        )
        self._phases = histogram(
            "flowtrade_batch_seconds",
            "Time a batch took, by phase of the clearing.",
            ["phase"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._lag = histogram(
            "flowtrade_event_loop_lag_seconds",
            "How late the event loop woke a task that slept.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._last: BatchRecord | None = None
        self.registry.register(self)
        auction.service.subscribe(self._follow)

    async def watch(self) -> None:
        """Measure the event loop's lag until cancelled."""
        while True:
            due = time.perf_counter() + _LOOK
            await trio.sleep(_LOOK)
            self._lag.observe(max(0.0, time.perf_counter() - due))

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer `GET /metrics` (ASGI)."""
        await receive()
        found = scope["path"] == "/metrics" and scope["method"] in ("GET", "HEAD")
        body = self.text() if found else b"the figures are at GET /metrics\n"
        kind = CONTENT_TYPE if found else "text/plain"
        await send(
            {
                "type": "http.response.start",
                "status": 200 if found else 404,
                "headers": [(b"content-type", kind.encode())],
            }
        )
        await send({"type": "http.response.body", "body": body})

    # Asked for by the registry whenever somebody reads it.

    def collect(self) -> "Iterator[Metric]":
        """Yield the figures that are read, not counted (prometheus' Collector)."""
        from prometheus_client.core import GaugeMetricFamily

        entities = GaugeMetricFamily(
            "flowtrade_entities", "What the mirror holds, by kind.", labels=["kind"]
        )
        for kind, count in self._auction.service.mirror.sizes().items():
            entities.add_metric([kind], count)
        yield entities
        for name, text, value in self._gauges():
            yield GaugeMetricFamily(f"flowtrade_{name}", text, value=value)
        yield self._requests()

    def _requests(self) -> "Metric":
        from prometheus_client.core import HistogramMetricFamily

        requests = HistogramMetricFamily(
            "flowtrade_request_seconds",
            "Time from a request's being read to its response's head.",
            labels=["route", "status"],
        )
        bounds = [*map(str, BOUNDS), "+Inf"]
        for (route, status), series in self._auction.requests.series.items():
            buckets = list(zip(bounds, accumulate(series.counts), strict=True))
            labels = [route, f"{status}xx"]
            requests.add_metric(labels, buckets=buckets, sum_value=series.seconds)
        return requests

    def _gauges(self) -> Iterator[tuple[str, str, float]]:
        auction, last = self._auction, self._last
        service, hub = auction.service, auction.hub
        yield "ready", "Whether the mirror is loaded.", service.ready
        yield "store_healthy", "Whether the store takes operations.", service.healthy
        yield "stream_clients", "Clients that follow event streams.", hub.clients
        yield "stream_dropped", "Clients dropped for being slow.", hub.dropped
        if auction.schedule is not None:
            status = auction.schedule.status
            yield (
                "schedule_late",
                "Whether two auctions are due.",
                auction.schedule.late,
            )
            yield "schedule_skipped", "Grid points passed over.", status.skipped
        if auction.lead is not None:
            yield (
                "leads",
                "Whether auctions are run here.",
                auction.lead.epoch is not None,
            )
        if last is None:
            return
        yield "last_batch_demands", "Demands gathered by the last batch.", last.demands
        yield "last_batch_portfolios", "Portfolios gathered by it.", last.portfolios
        if last.gains is not None and last.certificate is not None:
            gap = last.certificate.relative_gap
            yield "last_batch_gains", "Gains from trade of the last batch.", last.gains
            yield "last_batch_relative_gap", "How far from the proven optimum.", gap

    def _follow(self, applied: Applied) -> None:
        self._operations.labels(_kind(applied.operation)).inc()
        for change in applied.changes:
            if isinstance(change, Batched):
                self._count(change.batch.record)

    def _count(self, record: BatchRecord) -> None:
        self._last = record
        self._batches.labels(record.status.value).inc()
        self._set_aside.inc(len(record.set_aside))
        if record.report is None:
            return
        for attempt in record.report.attempts:
            self._attempts.labels(attempt.solver, attempt.outcome).inc()
        for phase, seconds in record.report.seconds.items():
            self._phases.labels(phase).observe(seconds)


def _kind(operation: Operation | None) -> str:
    # None: another process carried it out, and we heard only what it changed.
    return "heard" if operation is None else type(operation).__name__
