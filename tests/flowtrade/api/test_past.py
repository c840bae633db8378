"""Every read answers of the past what it answered then."""

from uuid import uuid4

import pytest

from flowtrade.api.routes import ROUTES, Right
from flowtrade.core.solver import ClearingSolver
from flowtrade.models.time import format_timestamp
from flowtrade.settings import AuctionSettings, Settings, StoreSettings
from flowtrade.testing.bench import open_bench

ALL = "".join(f"&{r.value}=true" for r in Right if r is not Right.PUBLIC)
STREAM = "text/event-stream"
BY_MOMENT = [
    route
    for route in ROUTES
    if route.method == "GET" and "as_of" in {query.name for query in route.query}
]
PLAIN = {"/health", "/health/live", "/health/ready", "/docs/api.json", "/docs"}
PLAIN |= {"/rapidoc", "/", "/static/{path:path}"}


def test_every_read_of_the_market_has_a_way_into_the_past():
    for route in ROUTES:
        if route.method != "GET" or route.reply == STREAM or route.path in PLAIN:
            continue
        names = {query.name for query in route.query}
        assert names & {"as_of", "before"} or "{as_of:str}" in route.path, route.path


def known_then(value):
    """An answer without the ends of validity, which were not known yet."""
    if isinstance(value, dict):
        return {k: known_then(v) for k, v in value.items() if k != "valid_until"}
    return [known_then(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(params=["memory", "sqlite"])
async def bench(request, tmp_path):
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 's.db'}"
    settings = Settings(
        store=StoreSettings(url=url), auction=AuctionSettings(horizon=3600.0)
    )
    async with open_bench(settings, solver=ClearingSolver()) as opened:
        yield opened


async def changes(client):
    """Yield the ids in play, before and after each of many changes."""
    item, part, twin = (str(uuid4()) for _ in range(3))
    demand, other, portfolio, seller = (str(uuid4()) for _ in range(4))
    buy = {"min_rate": 0, "max_rate": 2, "price": 6}
    sell = {"min_rate": -1, "max_rate": 0, "price": 4}

    def made(key, **fields):
        return {"app_data": key, **fields}

    yield {}
    await client.post("/product", json=item)
    yield {"product_id": item}
    await client.post("/demand", json=made(demand, curve_data=buy))
    yield {"product_id": item, "demand_id": demand}
    await client.post("/demand", json=made(other, curve_data=sell))
    await client.post("/portfolio", json=made(portfolio, demand=demand, basis=item))
    await client.post("/portfolio", json=made(seller, demand=other, basis=item))
    ids = {"product_id": item, "demand_id": demand, "portfolio_id": portfolio}
    yield ids
    for method, path, body in (
        ("PUT", f"/portfolio/{portfolio}/cap", {"max_trade": 0.5}),
        ("POST", "/batch", None),
        ("PUT", f"/demand/{demand}", {"price": 7, "max_rate": 3, "min_rate": 0}),
        ("POST", f"/product/{item}", [made(part, ratio=2), made(twin, ratio=0)]),
        ("POST", "/batch", None),
        ("PATCH", f"/portfolio/{portfolio}", {"demand": [demand, other]}),
        ("DELETE", f"/portfolio/{portfolio}/cap", None),
        ("DELETE", f"/demand/{other}", None),
        ("DELETE", f"/portfolio/{portfolio}", None),
        ("POST", "/batch", None),
    ):
        reply = await client.request(method, path, json=body)
        assert reply.is_success, reply.text
        yield ids


async def test_every_read_answers_of_the_past_what_it_answered_then(bench):
    told, traded = [], set()
    async with bench.client(f"bidder_id={uuid4()}{ALL}") as client:
        async for ids in changes(client):
            moment = format_timestamp(bench.service.mirror.at)
            for route in BY_MOMENT:
                path = route.path.replace(":str}", "}")
                if any("{" + name + "}" in path for name in IDS - set(ids)):
                    continue
                path = path.format(**ids)
                for more in ("", "&expand=true", "&leaves=true"):
                    if more and more[1:].partition("=")[0] not in {
                        query.name for query in route.query
                    }:
                        continue
                    reply = await client.get(f"{path}?{more}")
                    assert reply.status_code == 200
                    told.append((f"{path}?as_of={moment}{more}", reply.json()))
                    if path.endswith("position"):
                        traded.add(reply.json()["traded"])
            bench.clock.advance(600.0)
            if not ids:  # nothing has happened at all yet
                told.clear()

        for query, then in told:
            now = await client.get(query)

            assert now.status_code == 200, query
            assert known_then(now.json()) == known_then(then), query

    assert len(traded) > 2  # it was not always nothing
    assert len(told) > 80


IDS = {"product_id", "demand_id", "portfolio_id"}


@pytest.mark.parametrize("route", BY_MOMENT, ids=lambda route: route.path)
async def test_a_moment_that_is_none_is_400(route):
    async with open_bench() as opened, opened.client(f"bidder_id={uuid4()}{ALL}") as c:
        path = route.path.replace(":str}", "}").format(**dict.fromkeys(IDS, uuid4()))

        assert (await c.get(f"{path}?as_of=yesterday")).status_code == 400
