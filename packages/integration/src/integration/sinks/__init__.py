"""Where streams end: batches go to a broker, metrics to a collector.

A sink takes lists, as streams give them; `pump` joins the two. What a sink has
acknowledged is not lost by it.
"""

from integration.sinks.base import BatchSink, pump
from integration.sinks.metrics import MetricBuffer

__all__ = ["BatchSink", "MetricBuffer", "pump"]
