"""Books are compared with the venue's own image; one that differs is not believed."""

from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
import trio

from integration.exchanges.registry import connector_for
from integration.market.audit import BookAuditor, BookTrial
from integration.market.books import BookState
from integration.market.config import StreamConfig
from integration.market.connector import Image, Topic
from integration.market.keeper import BookKeeper
from integration.market.manager import BookManager
from integration.market.reports import BookResynced, BookStale, StaleReason
from integration.market.streams import open_market_streams
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    OrderBookUpdate,
    SubKind,
    Subscription,
)
from integration.testing import SimulatedExchange, SyntheticMarket
from netcore.clock import ManualClock

VENUE = ExchangeId.BINANCE_SPOT
BTC, ETH = (MarketDataInstrument.spot(base, "usdt") for base in ("btc", "eth"))
STEP_NS = 100_000_000


@asynccontextmanager
async def audited(interval=0.02):
    async with SimulatedExchange(SyntheticMarket(7), dialect="binance_spot") as sim:
        config = StreamConfig(
            websocket_url={VENUE: sim.websocket_url},
            rest_url={VENUE: sim.rest_url},
            audit_interval=interval,
        )
        kind = SubKind.ORDER_BOOKS_L2
        wanted = [Subscription(VENUE, i, kind) for i in (BTC, ETH)]
        async with open_market_streams(wanted, config=config) as streams:
            yield sim, streams


async def until(sim, streams, done):
    events = []
    with trio.fail_after(120):  # against hanging
        while not done(events):
            await sim.advance(sim.time_ns + STEP_NS)
            with trio.move_on_after(0.02):
                events += await streams.next_batch()
    return events


async def test_true_books_are_found_to_be_true_in_turn():
    async with audited() as (sim, streams):
        events = await until(sim, streams, lambda _: len(streams.audits) >= 6)

        reports = streams.audits
        assert {report.instrument for report in reports} == {BTC, ETH}
        assert all(report.levels > 10 and not report.differing for report in reports)
        assert not any(isinstance(event, BookStale) for event in events)


async def test_a_book_that_differs_is_stale_and_then_made_anew():
    async with audited() as (sim, streams):
        book = streams.books[VENUE, BTC]
        await until(sim, streams, lambda _: book.state is BookState.LIVE)
        # Between two ticks, so that no message of the venue's ever removes it.
        ghost = str(book.best_bid.price - Decimal("0.0001"))
        book.apply_update([(ghost, "7")], [], sequence=book.sequence, time_received=1)

        def resynced(events):
            return any(isinstance(event, BookResynced) for event in events)

        events = await until(sim, streams, resynced)

        (stale,) = [event for event in events if isinstance(event, BookStale)]
        assert (stale.instrument, stale.reason) == (BTC, StaleReason.AUDIT)
        assert "at the venue" in stale.detail
        assert book.state is BookState.LIVE
        bad = [report for report in streams.audits if report.differing]
        assert [report.instrument for report in bad] == [BTC]


async def test_nothing_is_asked_for_unless_it_is_wanted():
    async with audited(interval=None) as (sim, streams):
        await until(
            sim,
            streams,
            lambda _: streams.books[VENUE, BTC].state is BookState.LIVE,
        )

        assert streams.audits == []


def l2(kind):
    return MarketEvent(1, 1, VENUE, BTC, kind)


def test_books_are_compared_at_the_same_sequence_only():
    connector = connector_for(VENUE)
    manager = BookManager(VENUE, BTC, rule=connector.rule)
    first = l2(OrderBookSnapshot([("100", "1")], [("101", "1")], sequence=5))
    update = l2(OrderBookUpdate([("99", "2")], [], sequence=6, first_sequence=6))
    manager.handle(first)
    manager.handle(update)
    trial = BookTrial(manager, connector)
    assert trial.verdict(7) is None

    trial.take(first)
    assert trial.verdict(8) is None
    trial.take(update)

    report = trial.verdict(9)
    assert (report.time, report.sequence, report.levels) == (9, 6, 3)
    assert report.differing == ()


def test_a_trial_is_pending_until_its_image_came_and_while_that_is_ahead():
    connector = connector_for(VENUE)
    manager = BookManager(VENUE, BTC, rule=connector.rule)
    manager.handle(l2(OrderBookSnapshot([("100", "1")], [("101", "1")], sequence=5)))
    trial = BookTrial(manager, connector)
    assert trial.pending

    trial.take(l2(OrderBookSnapshot([("100", "1")], [("101", "1")], sequence=6)))
    assert trial.pending
    assert trial.verdict(7) is None
    update = l2(OrderBookUpdate([], [("101", "0")], sequence=6, first_sequence=6))
    manager.handle(update)
    trial.take(update)

    assert not trial.pending
    assert trial.verdict(8).differing


def test_a_trial_whose_image_was_too_old_is_not_waited_for():
    connector = connector_for(VENUE)
    manager = BookManager(VENUE, BTC, rule=connector.rule)
    manager.handle(l2(OrderBookSnapshot([("100", "1")], [("101", "1")], sequence=5)))
    trial = BookTrial(manager, connector)
    for number in (6, 7):
        update = OrderBookUpdate([], [], sequence=number, first_sequence=number)
        manager.handle(l2(update))
        trial.take(l2(update))

    trial.take(l2(OrderBookSnapshot([("100", "1")], [("101", "1")], sequence=3)))

    assert trial.verdict(8) is None
    assert not trial.pending


class Later:
    """A scheduler whose images come when the test says so."""

    def __init__(self):
        self.jobs = []

    def request(self, job):
        self.jobs.append(job)


class Court:
    """An auditor of two live books, both at 5, whose images the test brings."""

    def __init__(self):
        connector, self.later = connector_for(VENUE), Later()
        self.keeper, self.told = BookKeeper(VENUE), []
        for instrument in (BTC, ETH):
            self.keeper.add(BookManager(VENUE, instrument, rule=connector.rule))
        self.feed(lambda: OrderBookSnapshot([("100", "1")], [("101", "1")], sequence=5))
        self.auditor = BookAuditor(
            self.keeper,
            connector,
            images=self.later,
            interval=1,
            topic=lambda m: Topic("@depth@100ms", f"{m.instrument.base}usdt".upper()),
            emit=self.emit,
            clock=ManualClock(),
        )

    def feed(self, kind):
        """Give each book an event; return the events."""
        events = [MarketEvent(1, 1, VENUE, i, kind()) for i in self.keeper.managers]
        for event in events:
            self.keeper.managers[event.instrument].handle(event)
        return events

    def emit(self, events):
        """Tell the consumer, as a connection does: the auditor sees it, too."""
        self.told += events
        self.auditor.saw(events)


async def test_an_image_that_takes_longer_than_the_interval_is_waited_for(
    nursery, autojump_clock
):
    court = Court()
    nursery.start_soon(court.auditor.run)

    await trio.sleep(10.5)
    assert len(court.later.jobs) == 2, "one for each book"
    for job in court.later.jobs:
        assert job.wanted()
        image = OrderBookSnapshot([("100", "1")], [("101", "1")], sequence=5)
        job.deliver(Image(image))
    assert [report.instrument for report in court.auditor.reports] == [BTC, ETH]
    await trio.sleep(2)

    assert len(court.later.jobs) == 4
    nursery.cancel_scope.cancel()


async def test_two_books_may_be_judged_by_one_message(nursery, autojump_clock):
    court = Court()
    nursery.start_soon(court.auditor.run)
    await trio.sleep(2.5)
    for job in court.later.jobs:  # ahead of the live books, and another than they
        image = OrderBookSnapshot([("99", "1")], [("101", "1")], sequence=6)
        job.deliver(Image(image))

    court.auditor.saw(
        court.feed(lambda: OrderBookUpdate([], [], sequence=6, first_sequence=6))
    )

    assert [report.instrument for report in court.auditor.reports] == [BTC, ETH]
    assert [event.reason for event in court.told] == [StaleReason.AUDIT] * 2
    nursery.cancel_scope.cancel()


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(ValueError, match="audit_interval is above 0"):
        StreamConfig(audit_interval=0.0)
