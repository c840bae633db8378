"""A stale feed takes its bids and its price out of the auction until it is live."""

import pytest
import trio

from flowtrade_demo.config import DemoConfig, Pace
from flowtrade_demo.house import open_house
from integration.market.books import BookState
from integration.testing.faults import Gap, RateLimit

SECOND = 1_000_000_000
GUARD_SECONDS = 300  # against hanging; nothing asserts a duration


async def until(house, condition):
    """Let the market go on, second by second, until something is so."""
    with trio.fail_after(GUARD_SECONDS):
        while not condition():
            await house.exchange.advance(house.exchange.time_ns + SECOND)
            with trio.move_on_after(0.05):
                await house.settle()


@pytest.mark.slow
async def test_a_stale_book_is_in_no_batch_until_it_is_live_again(tmp_path):
    config = DemoConfig(
        port=0,
        pace=Pace.LOCKSTEP,
        batches=9,
        store=f"sqlite:{tmp_path / 'auctions.db'}",
    )
    async with open_house(config) as house, house.admin_client() as admin:
        symbol, product = next(iter(house.server.products.items()))
        (maker,) = [b for b in house.bidders if b.name == "maker"]
        key = maker._demands[f"maker {symbol}"]
        auction = house.server.auction
        mirror = auction.service.mirror

        async def batch():
            await maker.step()
            house.clock.advance(1)
            return await admin.batch(await admin.run_batch())

        def seen():
            # What the auction was told, and what the maker looks at.
            told = auction.service.auctioneer.reference.get(product)
            return (told, house.feed.mid(symbol))

        await until(house, lambda: None not in seen())
        before, bid = await batch(), mirror.demand(key).curve.value

        await house.exchange.inject(RateLimit(count=10_000, retry_after=1))
        await house.exchange.inject(Gap(symbol=symbol))
        await until(house, lambda: seen() == (None, None))
        states = {house.server.feed.book(product).state, house.feed.book(symbol).state}
        stale, withdrawn = await batch(), mirror.demand(key).curve.value

        house.exchange._turned_away.clear()  # the venue answers again
        await until(house, lambda: None not in seen())
        after, back = await batch(), mirror.demand(key).curve.value

    assert BookState.LIVE not in states
    assert bid is not None
    assert before.products[product].reference is not None
    assert withdrawn is None
    assert product not in stale.products or stale.products[product].reference is None
    assert stale.demands == before.demands - 1
    assert back is not None
    assert after.products[product].reference is not None
    assert after.demands == before.demands
