"""The sample bidders against a server: they bid, and leave nothing behind."""

from functools import partial

import pytest
import trio

from bidders import bidder as bidder_module
from bidders.bidder import UnknownProduct
from bidders.run import Access, bidder_id, run_bidders
from flowtrade.auth import JwtAuthorizer
from flowtrade.commands.config import Config
from flowtrade.commands.running import run_server
from flowtrade.settings import ScheduleSettings, ServerSettings, StoreSettings
from flowtrade_demo.config import DemoConfig, Pace
from flowtrade_demo.house import open_house
from integration.market.config import StreamConfig

GUARD_SECONDS = 300  # against hanging; nothing asserts a duration
SECRET = "a secret that is only known to tests"


async def test_they_bid_until_they_are_stopped_and_take_all_bids_back(monkeypatch):
    # However slow the machine is, the end waits for it.
    monkeypatch.setattr(bidder_module, "_WITHDRAW_SECONDS", GUARD_SECONDS)
    config = DemoConfig(store="memory:", port=0, pace=Pace.LOCKSTEP, batches=1)
    async with open_house(config) as house:
        access = Access(house.server.auction.url, house.secret, house.clock)
        run = partial(
            run_bidders,
            access,
            every=0.01,
            seed=3,
            config=StreamConfig(
                websocket_url={"binance_spot": house.exchange.websocket_url},
                rest_url={"binance_spot": house.exchange.rest_url},
            ),
            shutdown=(stop := trio.Event()),
        )
        with trio.fail_after(GUARD_SECONDS):
            async with access.client(bidder_id("maker")) as maker:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(run)
                    while not (await maker.submission()).demands:
                        await trio.lowlevel.checkpoint()
                    stop.set()

                assert (await maker.submission()).demands == []


async def test_a_market_without_products_is_said_and_not_bid_for():
    config = Config(
        server=ServerSettings(port=0),
        store=StoreSettings(url="memory:"),
        schedule=ScheduleSettings(every=None),
    )
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(
                run_server,
                config,
                authorizer=JwtAuthorizer.from_secret(SECRET),
                shutdown=stop,
            )
        )
        url = server.auction.url
        with (
            trio.fail_after(GUARD_SECONDS),
            pytest.RaisesGroup(pytest.RaisesExc(UnknownProduct, match=url)),
        ):
            await run_bidders(
                Access(url, SECRET),
                every=1,
                seed=1,
                config=StreamConfig(),
                shutdown=trio.Event(),
            )
        stop.set()
