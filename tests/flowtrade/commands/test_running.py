"""The whole server: what it was given before does not keep it from starting."""

from contextlib import asynccontextmanager
from functools import partial

import httpx
import msgspec
import pytest
import trio

from flowtrade.auth import FormAuthorizer
from flowtrade.commands.config import Config, ProductConfig
from flowtrade.commands.running import run_server
from flowtrade.errors import InvalidRequest
from flowtrade.settings import ScheduleSettings, ServerSettings, StoreSettings

TOKEN = "can_manage_products=true&can_view_products=true"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
NO_MARKETS = [
    {"exchange": "no such venue", "base": "a", "quote": "b"},
    {"exchange": 5},
    {"exchange": "binance_spot"},
    {"exchange": "binance_spot", "base": "", "quote": "/../"},
]


def config(tmp_path):
    return Config(
        server=ServerSettings(port=0),
        store=StoreSettings(url=f"sqlite:{tmp_path / 'store.db'}"),
        schedule=ScheduleSettings(every=None),
    )


@asynccontextmanager
async def serving(settings):
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        start = partial(
            run_server, settings, authorizer=FormAuthorizer(), shutdown=shutdown
        )
        server = await nursery.start(start)
        async with httpx.AsyncClient(
            base_url=server.auction.url, headers=HEADERS
        ) as client:
            yield client
        shutdown.set()


async def test_products_that_name_no_market_do_not_keep_it_from_starting(
    tmp_path, caplog
):
    settings = config(tmp_path)
    async with serving(settings) as client:
        for app_data in NO_MARKETS:
            made = await client.post("/product", json=app_data)
            assert made.status_code == 201
    assert caplog.text.count("has no market data") == len(NO_MARKETS)
    caplog.clear()

    async with serving(settings) as client:
        listed = (await client.get("/product")).json()["results"]

    assert [product["app_data"] for product in listed] == NO_MARKETS
    assert caplog.text.count("has no market data") == len(NO_MARKETS)


async def test_a_configured_product_must_name_a_market_that_there_is(tmp_path):
    settings = config(tmp_path)
    async with serving(settings) as client:
        await client.post("/product", json={"name": "x", **NO_MARKETS[0]})
    named = msgspec.structs.replace(settings, product=[ProductConfig(name="x")])

    with pytest.raises(BaseExceptionGroup) as failed:
        async with serving(named):
            pass

    assert failed.group_contains(InvalidRequest, match="names no instrument")
