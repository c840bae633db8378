"""Whole sessions, as the reference's own tests hold them, on both stores.

Its three sessions of permissions, which go through every route, are made from the table
of routes in `test_rights`; the produce round trip and the division of products over
time, as whole sessions, stand in `test_accounts`; its defects, by their numbers, in
`tests/flowtrade/test_reference_defects.py`.
"""

from uuid import uuid4

import pytest

from flowtrade.core.solver import ClearingSolver
from flowtrade.settings import Settings, StoreSettings
from flowtrade.testing.bench import open_bench

RIGHTS = (
    "can_create_bid",
    "can_query_bid",
    "can_read_bid",
    "can_update_bid",
    "can_view_products",
    "can_manage_products",
    "can_run_batch",
)
UNLIMITED = {"price": 10.0}
SLOPE = [{"rate": 0, "price": 15}, {"rate": 10, "price": 5}]


def token(*bidders: str, rights: tuple[str, ...] = RIGHTS) -> str:
    parts = [f"bidder_id={bidder}" for bidder in bidders]
    return "&".join(parts + [f"{right}=true" for right in rights])


def without(right: str, *bidders: str) -> str:
    return token(*bidders, rights=tuple(r for r in RIGHTS if r != right))


def new_id() -> str:
    return str(uuid4())


@pytest.fixture(params=["memory", "sqlite"])
async def bench(request, tmp_path):
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'store.db'}"
    settings = Settings(store=StoreSettings(url=url))
    async with open_bench(settings, solver=ClearingSolver()) as opened:
        yield opened


async def send(bench, bearer, method, path, body=...):
    async with bench.client(bearer) as client:
        if body is ...:
            return await client.request(method, path)
        return await client.request(method, path, json=body)


async def test_auction_session_clears_at_the_only_price(bench):
    one, two, product = new_id(), new_id(), new_id()
    demands, portfolios = [new_id(), new_id()], [new_id(), new_id()]
    admin = token()
    made = await send(bench, admin, "POST", "/product", product)
    assert (made.status_code, made.json()["id"]) == (201, product)
    for bidder, demand, curve in zip(
        (one, two), demands, (UNLIMITED, SLOPE), strict=True
    ):
        body = {"app_data": demand, "curve_data": curve}
        reply = await send(bench, token(bidder), "POST", "/demand", body)
        assert reply.status_code == 201
        assert reply.json()["bidder_id"] == bidder
        assert reply.json()["portfolios"] is None
    for bidder, demand, portfolio in zip((one, two), demands, portfolios, strict=True):
        body = {"app_data": portfolio, "demand": demand, "basis": product}
        reply = await send(bench, token(bidder), "POST", "/portfolio", body)
        assert reply.status_code == 201

    assert (await send(bench, None, "POST", "/batch")).status_code == 400
    refused = await send(bench, without("can_run_batch"), "POST", "/batch")
    assert refused.status_code == 401
    ran = await send(bench, admin, "POST", "/batch")
    assert ran.status_code == 200
    assert ran.headers["content-type"].startswith("text/plain")

    outcomes = await send(bench, admin, "GET", f"/product/{product}/outcomes")
    (outcome,) = outcomes.json()["results"]
    assert outcome["valid_from"] == ran.text
    assert outcome["valid_until"] is None
    assert outcome["value"]["price"] == 10
    assert outcome["value"]["rate"] == pytest.approx(5, abs=1e-9)
    assert "more" not in outcomes.json()
    for bidder, portfolio, rate in zip((one, two), portfolios, (-5, 5), strict=True):
        path = f"/portfolio/{portfolio}/outcomes"
        (result,) = (await send(bench, token(bidder), "GET", path)).json()["results"]
        assert result["value"]["price"] == 10
        assert result["value"]["rate"] == pytest.approx(rate, abs=1e-9)
        other = two if bidder == one else one
        assert (await send(bench, token(other), "GET", path)).status_code == 401


async def test_demand_session_follows_a_curve_through_its_life(bench):
    bidder, other = new_id(), new_id()
    mine = token(bidder)
    demand, others = new_id(), new_id()
    backwards = {"min_rate": 2, "max_rate": -2, "price": 1}
    body = {"app_data": demand, "curve_data": backwards}
    assert (await send(bench, mine, "POST", "/demand", body)).status_code == 422
    body = {"app_data": demand, "curve_data": SLOPE}
    assert (await send(bench, mine, "POST", "/demand", body)).status_code == 201
    assert len((await send(bench, mine, "GET", "/demand")).json()) == 1
    history = f"/demand/{demand}/curve-history"
    assert len((await send(bench, mine, "GET", history)).json()["results"]) == 1
    body = {"app_data": others, "curve_data": UNLIMITED}
    await send(bench, token(other), "POST", "/demand", body)
    both = await send(bench, token(bidder, other), "GET", "/demand")
    assert [record["id"] for record in both.json()] == [demand, others]

    put = await send(bench, mine, "PUT", f"/demand/{demand}", UNLIMITED)
    assert put.status_code == 200
    assert put.json()["curve_data"] == {
        "min_rate": None,
        "max_rate": None,
        "price": 10.0,
    }
    deleted = await send(bench, mine, "DELETE", f"/demand/{demand}")
    assert (deleted.status_code, deleted.json()["curve_data"]) == (200, None)
    assert (await send(bench, mine, "GET", "/demand")).json() == []

    results = (await send(bench, mine, "GET", history)).json()["results"]
    assert len(results) == 2  # the inactive period is left out
    assert results[0]["valid_until"] is not None
    assert results[1]["valid_until"] == results[0]["valid_from"]
    read = await send(bench, mine, "GET", f"/demand/{demand}")
    assert read.json()["valid_from"] == results[0]["valid_until"]


async def test_portfolio_session_replaces_whole_groups(bench):
    mine = token(new_id())
    demands = [new_id(), new_id()]
    products = [new_id(), new_id()]
    first, second = new_id(), new_id()
    for product in products:
        await send(bench, mine, "POST", "/product", product)
    for demand in demands:
        body = {"app_data": demand, "curve_data": UNLIMITED}
        await send(bench, mine, "POST", "/demand", body)
    for portfolio, weight in ((first, 1.0), (second, 2.0)):
        body = {
            "app_data": portfolio,
            "demand": {demands[0]: weight},
            "basis": [products[0]],
        }
        made = await send(bench, mine, "POST", "/portfolio", body)
        assert made.json()["id"] == portfolio
        assert made.json()["basis"] == {products[0]: 1.0}
    read = await send(bench, mine, "GET", f"/demand/{demands[0]}")
    assert read.json()["portfolios"] == {first: 1.0, second: 2.0}

    path = f"/portfolio/{first}"
    await send(bench, mine, "PATCH", path, {"basis": {products[1]: -3}})
    bases = (await send(bench, mine, "GET", f"{path}/product-history")).json()
    assert [r["value"] for r in bases["results"]] == [
        {products[1]: -3.0},
        {products[0]: 1.0},
    ]
    assert bases["results"][1]["valid_until"] == bases["results"][0]["valid_from"]
    groups = (await send(bench, mine, "GET", f"{path}/demand-history")).json()
    assert len(groups["results"]) == 1  # the other group's history is untouched
    await send(bench, mine, "PATCH", path, {"demand": [demands[1]], "basis": None})
    record = (await send(bench, mine, "GET", path)).json()
    assert record["demand"] == {demands[1]: 1.0}
    assert record["basis"] == {products[1]: -3.0}
    both = {"demand": demands, "basis": products}
    await send(bench, mine, "PATCH", path, both)

    deleted = await send(bench, mine, "DELETE", path)
    assert (deleted.json()["demand"], deleted.json()["basis"]) == (None, None)
    for name in ("demand-history", "product-history"):
        results = (await send(bench, mine, "GET", f"{path}/{name}")).json()["results"]
        assert len(results) == 3
        assert results[0]["valid_until"] is not None
    read = await send(bench, mine, "GET", f"/demand/{demands[0]}")
    assert read.json()["portfolios"] == {second: 2.0}
    listed = (await send(bench, mine, "GET", "/portfolio")).json()
    assert [record["id"] for record in listed] == [second]


async def test_clearing_a_group_needs_an_empty_value_not_null(bench):
    mine = token(new_id())
    demand, portfolio = new_id(), new_id()
    body = {"app_data": demand, "curve_data": UNLIMITED}
    await send(bench, mine, "POST", "/demand", body)
    body = {"app_data": portfolio, "demand": demand, "basis": None}
    await send(bench, mine, "POST", "/portfolio", body)
    path = f"/portfolio/{portfolio}"

    kept = await send(bench, mine, "PATCH", path, {"demand": None})
    assert kept.json()["demand"] == {demand: 1.0}
    cleared = await send(bench, mine, "PATCH", path, {"demand": []})
    assert cleared.json()["demand"] is None


async def test_a_product_is_divided_once_and_its_holders_follow(bench):
    mine = token(new_id())
    root, parts = new_id(), [new_id(), new_id()]
    await send(bench, mine, "POST", "/product", root)
    demand, portfolio = new_id(), new_id()
    body = {"app_data": demand, "curve_data": SLOPE}
    await send(bench, mine, "POST", "/demand", body)
    body = {"app_data": portfolio, "demand": demand, "basis": root}
    await send(bench, mine, "POST", "/portfolio", body)
    children = [
        {"app_data": part, "ratio": ratio}
        for part, ratio in zip(parts, (2, 3), strict=True)
    ]
    assert (await send(bench, mine, "POST", f"/product/{root}", [])).status_code == 400

    divided = await send(bench, mine, "POST", f"/product/{root}", children)
    assert divided.status_code == 201
    assert [(r["id"], r["parent"]) for r in divided.json()] == [
        (parts[0], [root, 2.0]),
        (parts[1], [root, 3.0]),
    ]
    again = await send(bench, mine, "POST", f"/product/{root}", children)
    assert again.status_code == 403
    unknown = await send(bench, mine, "POST", f"/product/{new_id()}", children)
    assert unknown.status_code == 404

    record = (await send(bench, mine, "GET", f"/product/{root}")).json()
    assert record["parent"] == [root, 1.0]
    assert record["basis"] == dict(zip(parts, (2.0, 3.0), strict=True))
    path = f"/portfolio/{portfolio}"
    plain = (await send(bench, mine, "GET", path)).json()
    expanded = (await send(bench, mine, "GET", f"{path}?expand=true")).json()
    assert plain["basis"] == {root: 1.0}
    assert expanded["basis"] == record["basis"]
    assert expanded["valid_from"] > plain["valid_from"]
    before = plain["valid_from"].replace("+", "%2B")
    past = await send(bench, mine, "GET", f"{path}?expand=true&as_of={before}")
    assert past.json()["basis"] == {root: 1.0}
    assert past.json()["valid_until"] == expanded["valid_from"]


async def test_the_tag_of_an_expanded_portfolio_is_that_of_its_groups(bench):
    mine = token(new_id())
    root, portfolio = new_id(), new_id()
    await send(bench, mine, "POST", "/product", root)
    body = {"app_data": portfolio, "demand": None, "basis": root}
    await send(bench, mine, "POST", "/portfolio", body)
    part = [{"app_data": new_id(), "ratio": 2}]
    await send(bench, mine, "POST", f"/product/{root}", part)
    path = f"/portfolio/{portfolio}"
    plain = await send(bench, mine, "GET", path)

    expanded = await send(bench, mine, "GET", f"{path}?expand=true")

    assert expanded.headers["etag"] == plain.headers["etag"]
    moment = expanded.json()["valid_from"]
    past = await send(bench, mine, "GET", f"{path}?expand=true&as_of={moment}")
    assert past.headers["etag"] == plain.headers["etag"]


async def test_health_and_description_need_no_token(bench):
    assert (await send(bench, None, "GET", "/health")).json() == {"status": "ok"}
    description = await send(bench, None, "GET", "/docs/api.json")
    assert description.headers["content-type"] == "application/json"
    info = description.json()["info"]
    assert (info["title"], info["version"]) == ("Flow Trading API", "0.1")
