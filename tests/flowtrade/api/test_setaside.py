"""What bidders and operators see of a batch that had to do without an order."""

from urllib.parse import quote
from uuid import UUID, uuid4

import pytest

from flowtrade.core.solver import ClearingSolver
from flowtrade.settings import Settings
from flowtrade.testing.bench import open_bench

ALICE, BOB, MALLORY = (str(UUID(int=n)) for n in (1, 2, 3))
ADMIN = "can_view_products=true&can_manage_products=true&can_run_batch=true"


def bidder(name):
    rights = ("create_bid", "query_bid", "read_bid", "update_bid", "view_products")
    return "&".join([f"bidder_id={name}", *(f"can_{right}=true" for right in rights)])


@pytest.fixture
async def bench():
    async with open_bench(Settings(), solver=ClearingSolver()) as opened:
        yield opened


async def send(bench, bearer, method, path, body=None):
    async with bench.client(bearer) as client:
        reply = await client.request(method, path, **({"json": body} if body else {}))
    assert reply.is_success, reply.text
    return reply


async def bid(bench, owner, curve, product, *, weight=1.0):
    body = {"app_data": str(uuid4()), "curve_data": curve}
    demand = (await send(bench, bidder(owner), "POST", "/demand", body)).json()["id"]
    body = {
        "app_data": str(uuid4()),
        "demand": {demand: weight},
        "basis": {product: 1.0},
    }
    made = await send(bench, bidder(owner), "POST", "/portfolio", body)
    return made.json()["id"]


BUY = [{"rate": 0, "price": 15}, {"rate": 10, "price": 5}]
SELL = [{"rate": -4, "price": 10}, {"rate": 0, "price": 10}]


async def spoilt(bench):
    """A market with an order that no answer can be certified with."""
    product = (await send(bench, ADMIN, "POST", "/product", str(uuid4()))).json()["id"]
    await bid(bench, ALICE, SELL, product)
    await bid(bench, BOB, BUY, product)
    return product, await bid(bench, MALLORY, BUY, product, weight=-1e-320)


async def test_a_batch_says_without_whom_it_was_cleared_and_why(bench):
    product, portfolio = await spoilt(bench)

    dry = await send(bench, ADMIN, "POST", "/batch?dry_run=true")
    ran = await send(bench, ADMIN, "POST", "/batch")

    as_of = ran.text
    assert ran.headers["flowtrade-set-aside"] == "1"
    record = (await send(bench, ADMIN, "GET", f"/batch/{quote(as_of)}")).json()
    assert record["status"] == "cleared"
    assert record["products"][product]["rate"] == 4.0
    assert record["set_aside"] == dry.json()["set_aside"]
    (aside,) = record["set_aside"]
    assert aside["portfolio"] == portfolio
    assert (aside["number"], aside["value"]) == ("demand_weight", 1e-320)
    page = (await send(bench, ADMIN, "GET", "/batch")).json()
    assert page["results"][0]["set_aside"] == [aside]


async def test_a_bidder_sees_why_an_order_got_nothing(bench):
    product, portfolio = await spoilt(bench)
    await send(bench, ADMIN, "POST", "/batch")

    path = f"/portfolio/{portfolio}/outcomes"
    page = (await send(bench, bidder(MALLORY), "GET", path)).json()
    path = "/batch/latest/bids"
    own = (await send(bench, bidder(MALLORY), "GET", path)).json()
    others = (await send(bench, bidder(BOB), "GET", path)).json()
    path = f"/product/{product}/outcomes"
    price = (await send(bench, ADMIN, "GET", path)).json()["results"][0]["value"]

    assert page["results"][0]["value"] == {"price": price["price"], "rate": 0.0}
    row = own["portfolios"][portfolio]
    assert (row["rate"], row["payment"], own["surplus"]) == (0.0, 0.0, 0.0)
    assert row["set_aside"]["number"] == "demand_weight"
    assert [row["set_aside"] for row in others["portfolios"].values()] == [None]


async def test_an_ordinary_batch_says_nothing_of_it(bench):
    product = (await send(bench, ADMIN, "POST", "/product", str(uuid4()))).json()["id"]
    await bid(bench, ALICE, SELL, product)
    await bid(bench, BOB, BUY, product)

    ran = await send(bench, ADMIN, "POST", "/batch")

    assert "flowtrade-set-aside" not in ran.headers
    record = (await send(bench, ADMIN, "GET", "/batch/latest")).json()
    assert record["set_aside"] == []


async def test_an_order_that_is_put_right_trades_in_the_next_batch(bench):
    _, portfolio = await spoilt(bench)
    await send(bench, ADMIN, "POST", "/batch")
    path = f"/portfolio/{portfolio}"
    record = (await send(bench, bidder(MALLORY), "GET", path)).json()
    (demand,) = record["demand"]

    await send(bench, bidder(MALLORY), "PATCH", path, {"demand": {demand: 1.0}})
    ran = await send(bench, ADMIN, "POST", "/batch")

    assert "flowtrade-set-aside" not in ran.headers
    path = f"/portfolio/{portfolio}/outcomes"
    page = (await send(bench, bidder(MALLORY), "GET", path)).json()
    rates = [row["value"]["rate"] for row in page["results"]]
    assert rates == [pytest.approx(2.0), 0.0]
