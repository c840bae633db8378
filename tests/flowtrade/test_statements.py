"""Statements: what a range of batches delivered, paid and charged, by bidder."""

from contextlib import asynccontextmanager
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import pytest

from flowtrade.core.service import Service
from flowtrade.core.solver import ClearingSolver
from flowtrade.errors import InvalidRequest
from flowtrade.models.curve import ConstantCurve, Point, PwlCurve
from flowtrade.models.portfolio import TradeCap
from flowtrade.settings import AuctionSettings, SettlementSettings, StoreSettings
from flowtrade.statements import settle_range
from flowtrade.store import open_store
from flowtrade.testing import RecordingPublisher, SeededIds
from netcore.clock import ManualClock

ALICE, BOB = str(UUID(int=1)), str(UUID(int=2))
SELL = ConstantCurve(min_rate=-4, max_rate=0, price=10)
BUY = PwlCurve(points=(Point(rate=0, price=15), Point(rate=10, price=5)))
SECOND = 10**9
START = 1_700_000_000 * SECOND
TERMS = SettlementSettings(lot=Decimal("0.01"), money=Decimal("0.01"))


class House:
    """A service with one product, a seller and a buyer: 4 units an hour at 11."""

    def __init__(self, store, clock, **settings):
        self.store, self.clock = store, clock
        self.service = Service(
            store=store,
            solver=ClearingSolver(),
            clock=clock,
            ids=SeededIds(),
            publisher=RecordingPublisher(),
            settings=AuctionSettings(**settings),
        )

    async def open(self):
        service = self.service
        await service.load()
        self.item = (await service.create_product(b'{"name":"BTC"}')).id
        self.bids = {}
        for bidder, curve in ((ALICE, SELL), (BOB, BUY)):
            demand = await service.create_demand(bidder, b"null", curve)
            portfolio = await service.create_portfolio(
                bidder, b"null", demand={demand.id: 1.0}, basis={self.item: 1.0}
            )
            self.bids[bidder] = (demand.id, portfolio.id)
        return self

    async def batch(self, second):
        self.clock.advance_ns(START + second * SECOND - self.clock.now_ns())
        return await self.service.auctioneer.run_batch()

    async def settle(self, begin, end, terms=TERMS):
        return await settle_range(
            self.store,
            START + begin * SECOND,
            START + end * SECOND,
            terms=terms,
            rate_unit=3600.0,
        )


@asynccontextmanager
async def house(url="memory:", **settings):
    clock = ManualClock(START - SECOND)
    async with open_store(StoreSettings(url=url), clock=clock) as store:
        yield await House(store, clock, **settings).open()


@pytest.fixture(params=["memory:", "sqlite"])
async def home(request, tmp_path):
    url = f"sqlite:{tmp_path / 'x.db'}" if request.param == "sqlite" else "memory:"
    async with house(url) as opened:
        yield opened


def lots(statements):
    return {
        (s.bidder, holding.product): holding.lots
        for s in statements.statements
        for holding in s.holdings
    }


async def test_a_batch_counts_until_the_next_one_or_the_end(home):
    await home.batch(0)
    await home.batch(900)

    statements = await home.settle(0, 1800)

    # Half an hour at 4 an hour, each at 11.
    assert lots(statements) == {(ALICE, home.item): -200, (BOB, home.item): 200}
    alice, bob = statements.statements
    assert (alice.cash, bob.cash) == (2200, -2200)
    assert alice.holdings[0].quantity == "-2.00"
    assert alice.holdings[0].accrued == pytest.approx(-2)
    assert statements.batches == 2


async def test_a_batch_before_the_range_counts_from_its_start(home):
    await home.batch(0)

    statements = await home.settle(900, 1800)

    assert lots(statements)[BOB, home.item] == 100
    assert statements.batches == 1


async def test_a_late_batch_does_not_lengthen_one_with_caps():
    async with house(horizon=900.0) as home:
        _, portfolio = home.bids[BOB]
        await home.service.set_cap(portfolio, TradeCap(max_trade=0.5))
        await home.batch(0)  # the next one is due in a quarter of an hour, and late

        statements = await home.settle(0, 1800)

    assert lots(statements)[BOB, home.item] == 50


async def test_a_failed_batch_ends_nothing(home):
    await home.batch(0)
    demand, _ = home.bids[BOB]
    await home.service.set_curve(
        demand, ConstantCurve(min_rate=0, max_rate=float("inf"), price=2)
    )
    demand, _ = home.bids[ALICE]
    await home.service.set_curve(
        demand, ConstantCurve(min_rate=float("-inf"), max_rate=0, price=1)
    )
    failed = await home.batch(600)
    assert failed.status == "failed"

    assert lots(await home.settle(0, 900))[BOB, home.item] == 100


async def test_a_bidder_that_has_left_trades_no_more(home):
    await home.batch(0)
    _, portfolio = home.bids[BOB]
    await home.service.set_groups(portfolio, demand={}, basis={})
    await home.batch(900)

    statements = await home.settle(0, 1800)

    assert lots(statements) == {(ALICE, home.item): -100, (BOB, home.item): 100}


async def test_neighbouring_ranges_agree_with_the_whole(home):
    for second in range(0, 600, 100):
        await home.batch(second)

    parts = [await home.settle(a, a + 150) for a in range(0, 600, 150)]
    whole = await home.settle(0, 600)

    exact = sum(Fraction(s.statements[1].holdings[0].accrued) for s in parts)
    assert float(exact) == pytest.approx(whole.statements[1].holdings[0].accrued)
    for statements in (*parts, whole):
        assert sum(lots(statements).values()) == 0
        assert sum(s.cash for s in statements.statements) == 0


async def test_the_operator_receives_what_bidders_are_charged(home):
    await home.batch(0)
    terms = SettlementSettings(
        lot=Decimal("0.01"), money=Decimal("0.01"), fee=Decimal("0.001")
    )

    statements = await home.settle(0, 1800, terms)

    # A thousandth of 22.00 from each side.
    assert [s.fees for s in statements.statements] == [2, 2]
    assert statements.fees == 4
    assert sum(s.cash for s in statements.statements) == 0


async def test_a_range_without_batches_is_empty(home):
    statements = await home.settle(0, 10)

    assert statements.statements == []
    assert statements.batches == 0


async def test_a_range_that_ends_before_it_begins_is_refused(home):
    with pytest.raises(InvalidRequest, match="from must be before thru"):
        await home.settle(10, 10)


async def test_a_divided_product_is_settled_in_its_parts(home):
    await home.batch(0)
    parts = await home.service.partition(
        home.item, [(b'{"name":"a"}', 0.5), (b'{"name":"b"}', 2.0)]
    )
    await home.batch(900)

    held = lots(await home.settle(0, 1800))

    assert held[BOB, home.item] == 100
    assert [held[BOB, part.id] for part in parts] == [50, 200]
