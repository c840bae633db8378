"""How long requests took, by route and class of status: counted, not yet formatted.

Costs a look into a table and a bisection for each request, whether or not anybody
reads it. Routes are the templates of the table of routes, never paths, so that there
are as many series as there are routes, however many bids are asked for.
`flowtrade.metrics` shows them to Prometheus.
"""

from bisect import bisect_left
from typing import Final, final

__all__ = ["BOUNDS", "OTHER", "RequestTimes", "Series"]

BOUNDS: Final = (
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    10.0,
)
"""Upper bounds of the buckets in seconds: a read takes a tenth of a millisecond, a
durable change a few, a batch may take its whole time limit."""

OTHER: Final = "other"
"""The route of what found none."""


@final
class Series:
    """The requests of one route and class of status.

    Attributes:
        counts: Requests by bucket, one more than `BOUNDS` for what took longer.
        seconds: All of them together.
    """

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0


@final
class RequestTimes:
    """Histograms of all routes.

    Attributes:
        series: By route, such as `GET /demand/{demand_id}`, and the status's first
            digit.
    """

    def __init__(self) -> None:
        self.series: dict[tuple[str, int], Series] = {}

    def note(self, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            route: Method and template.
            status: Of the response.
            seconds: From its being read to its response's head.
        """
        key = (route, status // 100)
        series = self.series.get(key)
        if series is None:
            series = self.series[key] = Series()
        # To the first bound that is not less: Prometheus' bounds are inclusive.
        series.counts[bisect_left(BOUNDS, seconds)] += 1
        series.seconds += seconds
