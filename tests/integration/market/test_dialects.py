"""The streams against every dialect that the simulator speaks.

A gap costs one resync, and the book that comes out of it is the market's own.
"""

from __future__ import annotations

import pytest
import trio

from integration.market.config import StreamConfig
from integration.market.reports import BookResynced, BookStale
from integration.market.streams import open_market_streams
from integration.models import MarketDataInstrument, SubKind, Subscription
from integration.testing import SimulatedExchange, SyntheticMarket
from integration.testing.faults import Gap
from integration.testing.simulator import DIALECTS

STEP_NS = 100_000_000
KINDS = (SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L1, SubKind.ORDER_BOOKS_L2)


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
async def test_a_gap_costs_one_resync_and_leaves_the_markets_book(dialect: str) -> None:
    perpetual = "perpetual" in dialect or "futures" in dialect
    make = MarketDataInstrument.perpetual if perpetual else MarketDataInstrument.spot
    instrument = make("btc", "usdt")
    subscriptions = [Subscription(dialect, instrument, kind) for kind in KINDS]
    reports: list[object] = []

    async with SimulatedExchange(SyntheticMarket(7), dialect=dialect) as sim:
        config = StreamConfig(
            websocket_url={dialect: sim.websocket_url},
            rest_url={dialect: sim.rest_url},
            silence=None,
        )
        with trio.fail_after(120):
            async with open_market_streams(subscriptions, config=config) as streams:

                async def step() -> None:
                    await sim.advance(sim.time_ns + STEP_NS)
                    with trio.move_on_after(0.02):
                        while True:
                            reports.extend(await streams.next_batch())

                def count(kind: type) -> int:
                    return sum(isinstance(report, kind) for report in reports)

                def same_top() -> bool:
                    book = streams.books[dialect, instrument]
                    final = sim.final_book("BTCUSDT")
                    return (book.bids(5), book.asks(5)) == (
                        list(final.bids)[:5],
                        list(final.asks)[:5],
                    )

                async def catch_up() -> None:
                    """Reads what is still on its way when a step's time is up."""
                    while not same_top():
                        with trio.move_on_after(0.05):
                            reports.extend(await streams.next_batch())

                for _ in range(20):
                    await step()
                await catch_up()
                stale, resynced = count(BookStale), count(BookResynced)

                await sim.inject(Gap(symbol="BTCUSDT"))
                while count(BookResynced) == resynced:
                    await step()
                for _ in range(5):
                    await step()

                assert count(BookStale) == stale + 1
                assert count(BookResynced) == resynced + 1
                await catch_up()
