"""HEAD is GET without its body, and `Allow` tells all methods of a path."""

import re
from uuid import uuid4

import pytest
import trio

from flowtrade.api.routes import ROUTES
from flowtrade.ids import TimeOrderedIds
from flowtrade.models.update import ReferenceUpdate
from flowtrade.serve import serve
from flowtrade.testing.bench import open_bench

ALL = (
    "&can_create_bid=true&can_query_bid=true&can_read_bid=true&can_update_bid=true"
    "&can_view_products=true&can_manage_products=true&can_run_batch=true"
)
TOKEN = f"bidder_id={uuid4()}{ALL}"
READS = [route for route in ROUTES if route.method == "GET"]
PATHS = sorted({route.path for route in ROUTES})


@pytest.fixture
async def bench():
    async with open_bench(ids=TimeOrderedIds()) as opened:
        yield opened


@pytest.fixture
async def names(bench):
    async with bench.client(TOKEN) as client:
        item = (await client.post("/product", json=1)).json()["id"]
        body = {"app_data": 1, "curve_data": {"price": 1}}
        demand = (await client.post("/demand", json=body)).json()["id"]
        body = {"app_data": 1, "demand": demand, "basis": item}
        portfolio = (await client.post("/portfolio", json=body)).json()["id"]
        batch = (await client.post("/batch")).text
    return {
        "demand_id:str": demand,
        "portfolio_id:str": portfolio,
        "product_id:str": item,
        "as_of:str": batch,
        "path:path": "style.css",
    }


def filled(path, names):
    return re.sub(r"{([^}]+)}", lambda found: names[found[1]], path)


@pytest.mark.parametrize("route", READS, ids=lambda route: route.path)
async def test_head_is_get_without_a_body(bench, names, route):
    path = filled(route.path, names)
    async with bench.client(TOKEN) as client:
        with trio.fail_after(60):  # an endless stream's head is no endless answer
            head = await client.head(path)
        if route.reply != "text/event-stream":
            whole = await client.get(path)
            fixed = ("content-length", "content-type", "etag", "cache-control")
            assert [head.headers.get(name) for name in fixed] == [
                whole.headers.get(name) for name in fixed
            ]

    assert head.status_code == 200
    assert bench.hub.clients == 0


async def test_the_head_of_a_stream_leaves_the_others_their_events(bench):
    async with bench.client() as client:
        with bench.hub.subscribe(("market", "")) as subscription:
            await client.head("/updates")
            update = ReferenceUpdate(time="2026-01-01T00:00:00Z", mids={})
            bench.hub.publish(("market", ""), update)

            assert b"reference" in await subscription.receive()


async def test_the_head_of_a_stream_is_framed_as_the_stream_is(bench):
    heads = []
    async with trio.open_nursery() as nursery:
        url = await nursery.start(serve, bench.app)
        for method in ("HEAD", "GET"):
            port = int(url.rpartition(":")[2])
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(
                    f"{method} /updates HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                )
                data = b""
                with trio.fail_after(60):
                    while b"\r\n\r\n" not in data:
                        data += await stream.receive_some()
                    if method == "HEAD":  # no length, and nothing follows
                        assert await stream.receive_some() == b""
            heads.append(data.partition(b"\r\n\r\n"))
        nursery.cancel_scope.cancel()

    (head, _, body), (whole, _, _) = heads
    assert head == whole
    assert b"content-length" not in head.lower()
    assert body == b""


async def test_head_tells_refusals_too(bench):
    async with bench.client(TOKEN) as client:
        missing = await client.head(f"/demand/{uuid4()}")
        unknown = await client.head("/nothing")
        wrong = await client.head("/demand/x")
    async with bench.client() as client:
        nobody = await client.head("/demand")

    statuses = [reply.status_code for reply in (missing, unknown, wrong, nobody)]
    assert statuses == [404, 404, 400, 400]


async def test_head_of_what_only_takes_posts_is_405(bench):
    async with bench.client(TOKEN) as client:
        reply = await client.head("/bulk")

    assert reply.status_code == 405
    assert reply.headers["allow"] == "OPTIONS, POST"


async def test_allow_names_every_method_of_a_path(bench, names):
    async with bench.client(TOKEN) as client:
        for path in PATHS:
            expected = {route.method for route in ROUTES if route.path == path}
            expected |= {"OPTIONS"} | ({"HEAD"} if "GET" in expected else set())
            asked = await client.options(filled(path, names))
            refused = await client.request("PURGE", filled(path, names))
            for reply, status in ((asked, 204), (refused, 405)):
                assert reply.status_code == status
                assert set(reply.headers["allow"].split(", ")) == expected, path
