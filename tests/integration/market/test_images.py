import json
from functools import partial

import pytest
import trio

from integration.errors import Deserialise, Exchange, Http
from integration.exchanges.registry import connector_for
from integration.market.connector import Topic
from integration.market.images import ImageJob, ImageScheduler
from integration.models import ExchangeId
from integration.rest.client import RestClient
from integration.rest.retry import RetryPolicy
from integration.rest.signer import PublicNoHeaders
from integration.rest.transport import RawResponse

SPOT = connector_for(ExchangeId.BINANCE_SPOT)
BITSTAMP = connector_for(ExchangeId.BITSTAMP)
ONCE = RetryPolicy(attempts=1)


class Venue:
    """Answers image requests as told; a transport without a network."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.gate = None
        self.busy = 0
        self.most_busy = 0

    async def send(self, prepared):
        self.asked.append(prepared.raw_path.decode())
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await trio.lowlevel.checkpoint()
        finally:
            self.busy -= 1
        answer = self.answers.pop(0) if self.answers else image(1)
        if isinstance(answer, Exception):
            raise answer
        status, body = answer
        return RawResponse(
            status=status,
            headers={},
            content=body.encode(),
            bytes_in=len(body),
            headers_ns=0,
            body_ns=0,
        )

    async def aclose(self):
        await trio.lowlevel.checkpoint()


def image(last):
    body = {"lastUpdateId": last, "bids": [["1", "1"]], "asks": [["2", "1"]]}
    return 200, json.dumps(body)


class Asker:
    """Collects what became of jobs."""

    def __init__(self):
        self.came = []
        self.failed = []
        self.done = trio.Event()
        self.wanted = True

    def job(self, symbol="BTCUSDT", *, urgent=False, connector=SPOT):
        return ImageJob(
            request=connector.image_request(Topic("x", symbol), None),
            urgent=urgent,
            wanted=lambda: self.wanted,
            deliver=partial(self._deliver, symbol),
            failed=self.failed.append,
        )

    def _deliver(self, symbol, image):
        self.came.append((symbol, image.book.sequence))
        self.done.set()


def scheduler(venue, *, connector=SPOT, concurrency=1):
    client = RestClient(
        "https://venue.test",
        PublicNoHeaders(),
        connector.rest_parser(),
        transport=venue,
        retry=ONCE,
    )
    return ImageScheduler(connector, client, concurrency=concurrency)


async def test_an_image_is_fetched_and_delivered(nursery):
    venue, asker = Venue(image(7)), Asker()
    images = scheduler(venue)
    nursery.start_soon(images.run)

    images.request(asker.job())
    await asker.done.wait()

    assert asker.came == [("BTCUSDT", 7)]
    assert venue.asked == ["/api/v3/depth?symbol=BTCUSDT&limit=1000"]


async def test_books_that_were_live_go_first(nursery, autojump_clock):
    venue, asker = Venue(), Asker()
    images = scheduler(venue)
    for symbol, urgent in (("AUSDT", False), ("BUSDT", False), ("CUSDT", True)):
        images.request(asker.job(symbol, urgent=urgent))
    assert images.waiting == 3

    nursery.start_soon(images.run)
    await trio.sleep(1)

    assert [symbol for symbol, _ in asker.came] == ["CUSDT", "AUSDT", "BUSDT"]


async def test_no_more_than_so_many_are_fetched_at_once(nursery, autojump_clock):
    venue, asker = Venue(), Asker()
    venue.gate = trio.Event()
    images = scheduler(venue, concurrency=2)
    nursery.start_soon(images.run)
    for n in range(5):
        images.request(asker.job(f"A{n}USDT"))

    await trio.sleep(1)
    assert (venue.busy, images.waiting) == (2, 3)
    venue.gate.set()
    await trio.sleep(1)

    assert len(asker.came) == 5
    assert venue.most_busy == 2


async def test_a_failure_that_may_pass_is_reported_and_tried_again(
    nursery, autojump_clock
):
    trouble = Http("no route", sent=False)
    venue, asker = Venue(trouble, (503, "busy"), image(3)), Asker()
    images = scheduler(venue)
    nursery.start_soon(images.run)
    started = trio.current_time()

    images.request(asker.job())
    await asker.done.wait()

    assert [type(error).__name__ for error in asker.failed] == ["Http", "HttpResponse"]
    assert asker.came == [("BTCUSDT", 3)]
    # One second, then two: it is not asked in a loop.
    assert trio.current_time() - started == pytest.approx(3.0)


async def test_a_venue_that_fails_all_night_is_asked_until_it_answers(
    nursery, autojump_clock
):
    failures = 1100  # 2**1024 seconds are more than a float holds
    venue, asker = Venue(*[(503, "{}")] * failures, image(3)), Asker()
    images = scheduler(venue)
    nursery.start_soon(images.run)
    started = trio.current_time()

    images.request(asker.job())
    await asker.done.wait()

    assert asker.came == [("BTCUSDT", 3)]
    assert trio.current_time() - started < 30.0 * failures


async def test_the_pause_of_one_job_does_not_hold_up_another(nursery, autojump_clock):
    trouble = Http("later", sent=True, retry_after=40.0)
    venue, asker = Venue(trouble, image(3)), Asker()
    images = scheduler(venue)
    nursery.start_soon(images.run)
    started = trio.current_time()

    images.request(asker.job("AUSDT"))
    images.request(asker.job("BUSDT"))
    await asker.done.wait()

    assert asker.came == [("BUSDT", 3)]
    assert trio.current_time() - started < 1.0


async def test_a_failure_that_asks_for_patience_is_given_it(nursery, autojump_clock):
    trouble = Http("later", sent=True, retry_after=40.0)
    venue, asker = Venue(trouble, image(3)), Asker()
    images = scheduler(venue)
    nursery.start_soon(images.run)
    started = trio.current_time()

    images.request(asker.job())
    await asker.done.wait()

    assert trio.current_time() - started >= 40.0


async def test_a_final_refusal_is_not_tried_again(nursery, autojump_clock):
    refusal = (400, json.dumps({"code": -1121, "msg": "Invalid symbol."}))
    venue, asker = Venue(refusal), Asker()
    images = scheduler(venue)
    nursery.start_soon(images.run)

    images.request(asker.job())
    await trio.sleep(100)

    (error,) = asker.failed
    assert isinstance(error, Exchange)
    assert len(venue.asked) == 1
    assert asker.came == []


async def test_an_answer_that_makes_no_sense_does_not_end_the_worker(
    nursery, autojump_clock
):
    bad = (200, json.dumps({"microtimestamp": "soon", "bids": [], "asks": []}))
    good = (200, json.dumps({"microtimestamp": "5", "bids": [], "asks": []}))
    venue, asker = Venue(bad, good), Asker()
    images = scheduler(venue, connector=BITSTAMP)
    nursery.start_soon(images.run)

    images.request(asker.job("btcusd", connector=BITSTAMP))
    await trio.sleep(1)
    images.request(asker.job("ethusd", connector=BITSTAMP))
    await asker.done.wait()

    assert isinstance(asker.failed[0], Deserialise)
    assert asker.came == [("ethusd", 5)]


async def test_an_image_nobody_waits_for_any_more_is_not_fetched(
    nursery, autojump_clock
):
    venue, asker = Venue(), Asker()
    images = scheduler(venue)
    images.request(asker.job())
    asker.wanted = False

    nursery.start_soon(images.run)
    await trio.sleep(1)

    assert venue.asked == []


async def test_an_image_that_comes_too_late_is_not_delivered(nursery, autojump_clock):
    venue, asker = Venue(), Asker()
    venue.gate = trio.Event()
    images = scheduler(venue)
    nursery.start_soon(images.run)
    images.request(asker.job())
    await trio.sleep(1)

    asker.wanted = False
    venue.gate.set()
    await trio.sleep(1)

    assert (len(venue.asked), asker.came) == (1, [])


async def test_a_job_can_wait_before_it_is_begun(nursery, autojump_clock):
    venue, asker = Venue(), Asker()
    images = scheduler(venue)
    nursery.start_soon(images.run)
    await trio.testing.wait_all_tasks_blocked()
    started = trio.current_time()

    images.request(asker.job(), delay=5.0)
    await asker.done.wait()

    assert trio.current_time() - started == pytest.approx(5.0)
