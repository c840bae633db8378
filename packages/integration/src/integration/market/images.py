"""Fetches images of books by HTTP, few at a time, the most urgent first.

A book that had been live goes before one that never was: somebody is relying on it.
How fast is the limiter's business, how often a failed request is sent again the
client's; what comes here is what they gave up on, and it is tried again later for as
long as the job is wanted.
"""

import heapq
import itertools
from collections.abc import Callable
from typing import Any, final

import msgspec
import trio

from integration.errors import Deserialise, IntegrationError
from integration.market.backoff import doubled
from integration.market.connector import UNREADABLE, Connector, Image
from integration.rest.client import RestClient

__all__ = ["ImageJob", "ImageScheduler"]

_FIRST_RETRY = 1.0
_LONGEST_RETRY = 30.0
"""Seconds. The client has retried quickly already; what is left passes slowly."""


class ImageJob(msgspec.Struct, frozen=True):
    """One image that somebody wants.

    Attributes:
        request: what to send.
        urgent: whether the book had been live.
        wanted: whether anybody still waits.
        deliver: takes the image.
        failed: hears of every failure; the job goes on unless the error is final.
    """

    request: Any
    urgent: bool
    wanted: Callable[[], bool]
    deliver: Callable[[Image], None]
    failed: Callable[[IntegrationError], None]


@final
class ImageScheduler:
    """Fetches images of one exchange.

    Args:
        connector: reads the answers.
        client: sends the requests.
        concurrency: how many at once.
    """

    def __init__(
        self, connector: Connector, client: RestClient, *, concurrency: int
    ) -> None:
        self._connector = connector
        self._client = client
        self._concurrency = concurrency
        self._order = itertools.count()
        self._jobs: list[tuple[bool, int, ImageJob, int]] = []
        self._ready = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery | None = None

    @property
    def waiting(self) -> int:
        """How many jobs nobody has begun."""
        return len(self._jobs)

    def request(self, job: ImageJob, *, delay: float = 0.0) -> None:
        """Queue a job, now or in `delay` seconds; synchronous."""
        if delay > 0 and self._nursery is not None:
            self._nursery.start_soon(self._queue_later, job, delay, 0)
        else:
            self._queue(job, 0)

    def _queue(self, job: ImageJob, attempt: int) -> None:
        # False sorts before True: urgent first, then first come first served.
        entry = (not job.urgent, next(self._order), job, attempt)
        heapq.heappush(self._jobs, entry)
        self._ready.unpark()

    async def _queue_later(self, job: ImageJob, delay: float, attempt: int) -> None:
        await trio.sleep(delay)
        self._queue(job, attempt)

    async def run(self) -> None:
        """Fetch until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for _ in range(self._concurrency):
                nursery.start_soon(self._work, nursery)

    async def _work(self, nursery: trio.Nursery) -> None:
        while True:
            while not self._jobs:
                await self._ready.park()
            _, _, job, attempt = heapq.heappop(self._jobs)
            pause = await self._fetch(job, attempt)
            if pause is not None:
                # Somebody else's image need not wait for this one's turn.
                nursery.start_soon(self._queue_later, job, pause, attempt + 1)

    def _read(self, response: Any) -> Image:  # noqa: ANN401  whatever the venue answers
        try:
            return self._connector.image(response)
        except UNREADABLE as error:
            raise Deserialise(str(error), repr(response)) from error

    async def _fetch(self, job: ImageJob, attempt: int) -> float | None:
        """Fetch once; return the seconds after which to try again, None for not."""
        if not job.wanted():
            return None
        try:
            response, _ = await self._client.execute(job.request)
            image = self._read(response)
        except IntegrationError as error:
            job.failed(error)
            return _pause(error, attempt) if error.recoverable else None
        if job.wanted():
            job.deliver(image)
        return None


def _pause(error: IntegrationError, attempt: int) -> float:
    asked: float | None = getattr(error, "retry_after", None)
    if asked is not None:
        return asked
    return doubled(_FIRST_RETRY, attempt, longest=_LONGEST_RETRY)
