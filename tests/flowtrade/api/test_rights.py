"""The matrix of rights, made from the table of routes: a new route is in it at once."""

from uuid import uuid4

import pytest

from flowtrade.api.routes import ROUTES, Right
from flowtrade.settings import AuctionSettings, Settings
from flowtrade.testing.bench import open_bench

STREAMS = "text/event-stream"
OWNER, STRANGER = str(uuid4()), str(uuid4())
ALL = tuple(right.value for right in Right if right is not Right.PUBLIC)
OF_A_BID = (Right.READ, Right.UPDATE)
CURVE = {"price": 1.0}


def token(bidder, rights):
    return "&".join([f"bidder_id={bidder}", *(f"{right}=true" for right in rights)])


def bodies(ids):
    new = str(uuid4())
    return {
        ("POST", "/demand"): {"app_data": new, "curve_data": CURVE},
        ("PUT", "/demand/{demand_id:str}"): CURVE,
        ("POST", "/portfolio"): {"app_data": new, "demand": None, "basis": None},
        ("PATCH", "/portfolio/{portfolio_id:str}"): {"demand": []},
        ("PUT", "/portfolio/{portfolio_id:str}/cap"): {"max_trade": 1},
        ("PUT", "/submission"): {},
        ("POST", "/product"): new,
        ("POST", "/product/{product_id:str}"): [{"app_data": new, "ratio": 1}],
    }


@pytest.fixture
async def bench():
    horizon = Settings(auction=AuctionSettings(horizon=1.0))
    async with open_bench(horizon) as opened:
        async with opened.client(token(OWNER, ALL)) as client:
            ids = {name: str(uuid4()) for name in ("demand", "portfolio", "product")}
            await client.post("/product", json=ids["product"])
            body = {"app_data": ids["demand"], "curve_data": CURVE}
            await client.post("/demand", json=body)
            body = {"app_data": ids["portfolio"], "demand": None, "basis": None}
            await client.post("/portfolio", json=body)
            ran = await client.post("/batch")
        ids["batch"] = ran.text
        yield opened, ids


def path_of(route, ids):
    return (
        route.path.replace("{demand_id:str}", ids["demand"])
        .replace("{portfolio_id:str}", ids["portfolio"])
        .replace("{product_id:str}", ids["product"])
        .replace("{as_of:str}", ids["batch"])
        .replace("{path:path}", "app.js")
    )


async def ask(bench, ids, route, bearer):
    body = bodies(ids).get((route.method, route.path))
    async with bench.client(bearer) as client:
        path = path_of(route, ids)
        if isinstance(route.body, str):
            headers = {"Content-Type": route.body.split(", ")[0]}
            return await client.request(route.method, path, headers=headers)
        return await client.request(route.method, path, json=body)


guarded = [
    route
    for route in ROUTES
    if route.right is not Right.PUBLIC and route.reply != STREAMS
]
public = [
    route for route in ROUTES if route.right is Right.PUBLIC and route.reply != STREAMS
]
of_a_bid = [route for route in guarded if route.right in OF_A_BID]


def name(route):
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("route", guarded, ids=name)
async def test_no_header_is_400(bench, route):
    assert (await ask(*bench, route, None)).status_code == 400


@pytest.mark.parametrize("route", guarded, ids=name)
async def test_every_other_right_is_401(bench, route):
    others = [right for right in ALL if right != route.right]

    reply = await ask(*bench, route, token(OWNER, others))

    assert reply.status_code == 401
    assert reply.headers["www-authenticate"].startswith("Bearer ")
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("route", of_a_bid, ids=name)
async def test_the_right_over_another_bidder_is_401(bench, route):
    reply = await ask(*bench, route, token(STRANGER, [route.right]))

    assert reply.status_code == 401


@pytest.mark.parametrize("route", guarded, ids=name)
async def test_the_right_alone_is_enough(bench, route):
    reply = await ask(*bench, route, token(OWNER, [route.right]))

    assert reply.status_code == route.status


@pytest.mark.parametrize("route", public, ids=name)
async def test_public_routes_need_no_header(bench, route):
    assert (await ask(*bench, route, None)).status_code == route.status


@pytest.mark.parametrize("route", of_a_bid, ids=name)
async def test_an_unknown_bid_is_404_before_the_right_is_asked_for(bench, route):
    opened, ids = bench
    unknown = {**ids, "demand": str(uuid4()), "portfolio": str(uuid4())}

    reply = await ask(opened, unknown, route, token(STRANGER, []))

    assert reply.status_code == 404


@pytest.mark.parametrize(
    "route", [r for r in guarded if "product_id" in r.path], ids=name
)
async def test_an_unknown_product_is_401_before_404(bench, route):
    opened, ids = bench
    unknown = {**ids, "product": str(uuid4())}

    refused = await ask(opened, unknown, route, token(STRANGER, []))
    missing = await ask(opened, unknown, route, token(STRANGER, [route.right]))

    assert (refused.status_code, missing.status_code) == (401, 404)


@pytest.mark.parametrize(
    "route",
    [r for r in guarded if r.body is not None and not isinstance(r.body, str)],
    ids=name,
)
async def test_a_bad_body_comes_before_a_missing_right(bench, route):
    opened, ids = bench
    async with opened.client(token(OWNER, [])) as client:
        path = path_of(route, ids)
        json = {"Content-Type": "application/json"}

        syntax = await client.request(route.method, path, content="{", headers=json)
        media = await client.request(route.method, path, content="1")

    assert syntax.status_code == 400
    assert media.status_code == 415


@pytest.mark.parametrize("route", [r for r in guarded if "_id" in r.path], ids=name)
async def test_a_bad_id_in_the_path_is_400(bench, route):
    opened, _ = bench
    ids = dict.fromkeys(("demand", "portfolio", "product", "batch"), "not-a-uuid")

    assert (await ask(opened, ids, route, token(OWNER, ALL))).status_code == 400


async def test_a_bidder_sees_and_lists_only_its_own(bench):
    opened, _ = bench
    async with opened.client(token(STRANGER, ALL)) as client:
        assert (await client.get("/demand")).json() == []
        assert (await client.get("/portfolio")).json() == []
        assert (await client.get("/submission")).json()["demands"] == []
