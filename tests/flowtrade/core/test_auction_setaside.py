"""A batch without an order: told to all, to its owner, to the log, and replayed."""

import logging
from contextlib import asynccontextmanager
from uuid import UUID

import msgspec
import pytest

from flowtrade.core.service import Service
from flowtrade.core.solver import ClearingSolver
from flowtrade.models.batch import BatchStatus
from flowtrade.models.clearing import OutlyingNumber, RatePrice
from flowtrade.models.curve import Point, PwlCurve
from flowtrade.models.time import parse_timestamp
from flowtrade.models.update import BatchUpdate
from flowtrade.ports import Window
from flowtrade.settings import AuctionSettings, StoreSettings, Transparency
from flowtrade.store import open_store
from flowtrade.testing import RecordingPublisher, SeededIds
from netcore.clock import ManualClock

ALICE, BOB, MALLORY = (str(UUID(int=n)) for n in (1, 2, 3))
SELL = PwlCurve(points=(Point(rate=-4, price=10), Point(rate=0, price=10)))
BUY = PwlCurve(points=(Point(rate=0, price=15), Point(rate=10, price=5)))


@asynccontextmanager
async def market(url="memory:", *, weight=-1e-320, **settings):
    """A seller, a buyer, and a bidder whose weight nobody can reckon with."""
    clock, published = ManualClock(), RecordingPublisher()
    async with open_store(StoreSettings(url=url), clock=clock) as store:
        service = Service(
            store=store,
            solver=ClearingSolver(),
            clock=clock,
            ids=SeededIds(),
            publisher=published,
            settings=AuctionSettings(**settings),
        )
        await service.load()
        item = (await service.create_product(b"null")).id
        bids = {}
        for bidder, curve in ((ALICE, SELL), (BOB, BUY), (MALLORY, BUY)):
            demand = await service.create_demand(bidder, b"null", curve)
            own = weight if bidder is MALLORY else 1.0
            made = await service.create_portfolio(
                bidder, b'"hers"', demand={demand.id: own}, basis={item: 1.0}
            )
            bids[bidder] = demand.id, made.id
        clock.advance(1)
        yield service, published, item, bids


async def test_the_market_goes_on_and_says_without_whom(caplog):
    caplog.set_level(logging.WARNING)
    async with market() as (service, published, item, bids):
        record = await service.auctioneer.run_batch()
        at = parse_timestamp(record.as_of)
        demand, portfolio = bids[MALLORY]
        outcomes = await service.history.portfolio_outcomes(portfolio, Window(limit=9))
        hers = await service.history.bids([MALLORY], at)
        others = await service.history.bids([ALICE, BOB], at)

    assert record.status is BatchStatus.CLEARED
    assert record.products[item].rate == 4.0
    (aside,) = record.set_aside
    assert (aside.portfolio, aside.of) == (portfolio, demand)
    assert aside.number is OutlyingNumber.DEMAND_WEIGHT
    assert (aside.value, aside.scale) == (1e-320, 1.0)
    # As one without a demand: no rate, and the price of what it holds.
    price = record.products[item].price
    assert outcomes.results[0].value == RatePrice(price=price, rate=0.0)
    assert hers.portfolios[portfolio].set_aside == aside
    assert hers.portfolios[portfolio].rate == hers.surplus == 0.0
    assert [row.set_aside for row in others.portfolios.values()] == [None, None]
    (told,) = published.of("market", "")
    assert told.set_aside == [aside]
    (private,) = published.of("bidder", MALLORY)
    assert private.set_aside == [aside]
    assert private.portfolios[portfolio].rate == 0.0
    (private,) = published.of("bidder", ALICE)
    assert private.set_aside is msgspec.UNSET
    (line,) = [r.getMessage() for r in caplog.records if "without" in r.getMessage()]
    assert f"{portfolio} of {MALLORY}" in line
    assert record.as_of in line
    assert "hers" not in line
    assert ALICE not in line


async def test_a_long_list_is_cut_in_the_log_alone(caplog, monkeypatch):
    monkeypatch.setattr("flowtrade.core.auction._NAMED", 1)
    async with market() as (service, _, item, bids):
        demand = await service.create_demand(MALLORY, b"null", BUY)
        more = await service.create_portfolio(
            MALLORY, b"null", demand={demand.id: 1e-321}, basis={item: 1.0}
        )
        record = await service.auctioneer.run_batch()

    named = {one.portfolio for one in record.set_aside}
    assert named == {bids[MALLORY][1], more.id}
    assert caplog.records[-1].getMessage().endswith(f"of {MALLORY} and 1 more")


async def test_a_dry_run_says_it_too_and_logs_nothing(caplog):
    async with market() as (service, published, _, bids):
        record = await service.auctioneer.rehearse()

    assert [one.portfolio for one in record.set_aside] == [bids[MALLORY][1]]
    assert published.of("market", "") == []
    assert "without" not in caplog.text


async def test_a_batch_without_an_order_is_replayed_bit_for_bit(tmp_path):
    url = f"sqlite:{tmp_path / 'store.db'}"
    async with market(url) as (service, _, _, bids):
        record = await service.auctioneer.run_batch()
        again = await service.auctioneer.run_batch()
        replays = [
            await service.auctioneer.replay(parse_timestamp(one.as_of))
            for one in (record, again)
        ]
        stored = await service.history.batch(parse_timestamp(record.as_of))

    assert stored.set_aside == record.set_aside
    assert [one.portfolio for one in stored.set_aside] == [bids[MALLORY][1]]
    assert all(replay.identical for replay in replays)


async def test_a_market_in_scale_sets_nobody_aside(caplog):
    async with market(weight=1.0) as (service, published, _, _):
        record = await service.auctioneer.run_batch()

    assert record.set_aside == []
    assert published.of("market", "")[0].set_aside is msgspec.UNSET
    assert published.of("bidder", MALLORY)[0].set_aside is msgspec.UNSET
    assert caplog.text == ""


async def test_a_division_that_makes_a_weight_infinite_stops_nobody():
    book = Transparency.BOOK
    async with market(weight=1.0, transparency=book) as (service, told, item, bids):
        other = (await service.create_product(b"1")).id
        _, portfolio = bids[MALLORY]
        await service.set_groups(portfolio, basis={item: 1.0, other: 1e300})
        await service.partition(other, [(b"2", 1e300)])

        record = await service.auctioneer.run_batch()

    assert record.status is BatchStatus.CLEARED
    assert record.products[item].rate == pytest.approx(4.0)
    (aside,) = record.set_aside
    assert (aside.portfolio, aside.value) == (portfolio, None)
    assert aside.number is OutlyingNumber.BASIS_WEIGHT
    (update,) = told.of("market", "")
    assert msgspec.json.decode(msgspec.json.encode(update), type=BatchUpdate) == update
