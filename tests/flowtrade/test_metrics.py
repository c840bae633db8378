"""The figures that operators watch, read as a collector reads them."""

import re
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

pytest.importorskip("prometheus_client")

from prometheus_client.parser import text_string_to_metric_families

from flowtrade.auth import JwtAuthorizer, generate_jwt
from flowtrade.client import FlowtradeClient
from flowtrade.commands.config import Config
from flowtrade.commands.running import run_server
from flowtrade.models.curve import ConstantCurve
from flowtrade.settings import MetricsSettings, ScheduleSettings, ServerSettings

SECRET = "a secret of thirty-two characters!"
BIDDER = "11111111-1111-4111-8111-111111111111"


@asynccontextmanager
async def running(**metrics):
    config = Config(
        server=ServerSettings(port=0),
        schedule=ScheduleSettings(every=None),
        metrics=MetricsSettings(**metrics),
    )
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        yield await nursery.start(
            partial(
                run_server,
                config,
                authorizer=JwtAuthorizer.from_secret(SECRET),
                shutdown=shutdown,
            )
        )
        shutdown.set()


async def read(url):
    async with httpx.AsyncClient(timeout=120) as client:
        reply = await client.get(url)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain")
    return reply.text, {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


async def test_what_happens_is_counted():
    async with running(port=0) as server:
        token = generate_jwt(BIDDER, SECRET, admin=True)
        async with FlowtradeClient(server.auction.url, token) as client:
            item = await client.create_product({"name": "a secret name"})
            for low, high, price in ((-1, 0, 1), (0, 1, 2)):
                curve = ConstantCurve(min_rate=low, max_rate=high, price=price)
                demand = await client.create_demand(curve)
                await client.create_portfolio(demand=demand.id, basis=item.id)
            before = (await read(server.metrics_url))[1]
            await client.run_batch()
        text, figures = await read(server.metrics_url)

    assert ("flowtrade_last_batch_demands",) not in before
    assert figures["flowtrade_operations_total", "AddDemand"] == 2
    assert figures["flowtrade_operations_total", "Cut"] == 1
    assert figures["flowtrade_batches_total", "cleared"] == 1
    assert figures["flowtrade_entities", "portfolio"] == 2
    assert figures["flowtrade_last_batch_demands",] == 2
    assert figures["flowtrade_last_batch_gains",] == pytest.approx(1)
    assert figures["flowtrade_ready",] == 1
    assert figures["flowtrade_batch_seconds_count", "solve"] == 1
    assert "a secret name" not in text
    assert BIDDER not in text


async def test_orders_that_batches_do_without_are_counted():
    async with running(port=0) as server:
        token = generate_jwt(BIDDER, SECRET, admin=True)
        async with FlowtradeClient(server.auction.url, token) as client:
            item = await client.create_product({"name": "a"})
            for low, high, weight in ((-1, 0, 1.0), (0, 1, 1.0), (0, 1, -1e-320)):
                curve = ConstantCurve(min_rate=low, max_rate=high, price=2 + low)
                demand = await client.create_demand(curve)
                await client.create_portfolio(demand={demand.id: weight}, basis=item.id)
            for _ in range(2):
                await client.run_batch()
            record = await client.batch()
        _, figures = await read(server.metrics_url)

    assert len(record.set_aside) == 1
    assert figures["flowtrade_orders_set_aside_total",] == 2


async def test_requests_are_shown_by_route_and_class_of_status():
    async with running(port=0) as server:
        url = server.auction.url
        async with httpx.AsyncClient(timeout=120) as client:
            for path in ("/health", "/health", "/demand", f"/demand/{BIDDER}", "/x"):
                await client.get(url + path)
        text, figures = await read(server.metrics_url)

    name = "flowtrade_request_seconds"
    assert figures[f"{name}_count", "2xx", "GET /health"] == 2
    assert figures[f"{name}_count", "4xx", "GET /demand"] == 1
    assert figures[f"{name}_count", "4xx", "GET /demand/{demand_id}"] == 1
    assert figures[f"{name}_count", "4xx", "other"] == 1
    assert figures[f"{name}_bucket", "+Inf", "2xx", "GET /health"] == 2
    assert figures[f"{name}_sum", "2xx", "GET /health"] > 0
    assert BIDDER not in text


async def test_every_figure_is_documented_and_no_other():
    async with running(port=0) as server, httpx.AsyncClient(timeout=120) as client:
        await client.get(f"{server.auction.url}/health")
        text, _ = await read(server.metrics_url)
    families = {family.name for family in text_string_to_metric_families(text)}
    shown = {name for name in families if not name.endswith("_created")}
    page = Path(__file__).parents[2] / "docs" / "operating.md"
    words = re.findall("flowtrade_[a-z_]+", page.read_text())
    named = {word.removesuffix("_total") for word in words}

    assert "flowtrade_request_seconds" in shown
    assert shown <= named
    assert named - shown == {  # there with a schedule, with a rival, after a batch
        "flowtrade_schedule_late",
        "flowtrade_schedule_skipped",
        "flowtrade_leads",
        "flowtrade_last_batch_demands",
        "flowtrade_last_batch_portfolios",
        "flowtrade_last_batch_gains",
        "flowtrade_last_batch_relative_gap",
    }


async def test_only_figures_are_there():
    async with running(port=0) as server, httpx.AsyncClient(timeout=120) as client:
        base = server.metrics_url.removesuffix("/metrics")
        missing = await client.get(f"{base}/product")
        refused = await client.post(server.metrics_url)

    assert (missing.status_code, refused.status_code) == (404, 404)


async def test_nothing_listens_unless_it_is_asked_for():
    async with running() as server:
        assert server.metrics_url is None
