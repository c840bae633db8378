"""Every read answers of the past what it answered then."""

from uuid import uuid4

import pytest

from flowtrade.api.routes import ROUTES, Right
from flowtrade.core.solver import ClearingSolver
from flowtrade.models.time import format_timestamp
from flowtrade.settings import AuctionSettings, ServerSettings, Settings, StoreSettings
from flowtrade.testing.bench import open_bench

ALL = "".join(f"&{r.value}=true" for r in Right if r is not Right.PUBLIC)
BY_MOMENT = [
    route
    for route in ROUTES
    if route.method == "GET" and "as_of" in {query.name for query in route.query}
]
LIVE = "a stream of what happens from now on; Last-Event-ID goes back"
PROCESS = "tells of this process, not of the market"
TEXT = "the same at all times"
WITHOUT_A_PAST = {
    "/updates": LIVE,
    "/product/{product_id:str}/updates": LIVE,
    "/bidder/updates": LIVE,
    "/health": PROCESS,
    "/health/live": PROCESS,
    "/health/ready": PROCESS,
    "/docs/api.json": TEXT,
    "/docs": TEXT,
    "/rapidoc": TEXT,
    "/": TEXT,
    "/static/{path:path}": TEXT,
}
"""The only reads that take no moment, and why."""


def test_every_read_takes_a_moment_or_has_a_reason_to_take_none():
    reads = {route.path for route in ROUTES if route.method == "GET"}

    assert reads - {route.path for route in BY_MOMENT} == set(WITHOUT_A_PAST)


def known_then(value):
    """An answer without the ends of records' validity, which were not known yet.

    Values of histories end as they did then.
    """
    if isinstance(value, dict):
        gone = {"valid_until"} if "id" in value else set()
        return {k: known_then(v) for k, v in value.items() if k not in gone}
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
    told, traded, batches = [], set(), []
    async with bench.client(f"bidder_id={uuid4()}{ALL}") as client:
        async for ids in changes(client):
            moment = format_timestamp(bench.service.mirror.at)
            for route in BY_MOMENT:
                path = route.path.replace(":str}", "}")
                if any("{" + name + "}" in path for name in IDS - set(ids)):
                    continue
                path = path.format(**ids, as_of="latest")
                for more in ("", "&expand=true", "&leaves=true"):
                    if more and more[1:].partition("=")[0] not in {
                        query.name for query in route.query
                    }:
                        continue
                    reply = await client.get(f"{path}?{more}")
                    early = path.startswith("/batch/latest") and not batches
                    assert reply.status_code == (404 if early else 200)
                    told.append((f"{path}?as_of={moment}{more}", reply))
                    if path == "/batch":
                        batches = reply.json()["results"]
                    if path.endswith("position"):
                        traded.add(reply.json()["traded"])
            bench.clock.advance(600.0)
            if not ids:  # nothing has happened at all yet
                told.clear()

        for query, then in told:
            now = await client.get(query)

            assert now.status_code == then.status_code, query
            if now.is_success:
                assert known_then(now.json()) == known_then(then.json()), query

    assert len(traded) > 2  # it was not always nothing
    assert len(told) > 200
    assert len(batches) == 3


IDS = {"product_id", "demand_id", "portfolio_id"}


@pytest.mark.parametrize("route", BY_MOMENT, ids=lambda route: route.path)
async def test_a_moment_that_is_none_is_400(route):
    async with open_bench() as opened, opened.client(f"bidder_id={uuid4()}{ALL}") as c:
        ids = dict.fromkeys(IDS, uuid4())
        path = route.path.replace(":str}", "}").format(**ids, as_of="latest")

        assert (await c.get(f"{path}?as_of=yesterday")).status_code == 400


async def histories(client):
    """Make a demand and a portfolio, each changed five times, and three batches."""
    product, demand, portfolio = (str(uuid4()) for _ in range(3))
    await client.post("/product", json=product)
    made = {"app_data": demand, "curve_data": {"price": 1}}
    await client.post("/demand", json=made)
    made = {"app_data": portfolio, "demand": demand, "basis": product}
    await client.post("/portfolio", json=made)
    for number in range(2, 7):
        await client.put(f"/demand/{demand}", json={"price": number})
        groups = {"demand": {demand: number}, "basis": {product: number}}
        await client.patch(f"/portfolio/{portfolio}", json=groups)
        await client.post("/batch")
    return (
        f"/demand/{demand}/curve-history",
        f"/portfolio/{portfolio}/demand-history",
        f"/portfolio/{portfolio}/product-history",
        f"/portfolio/{portfolio}/outcomes",
        f"/product/{product}/outcomes",
        "/batch",
    )


def start_of(row):
    return row["as_of"] if "as_of" in row else row["valid_from"]


async def test_a_history_at_a_moment_has_the_pages_that_it_had(bench):
    async with bench.client(f"bidder_id={uuid4()}{ALL}") as client:
        for path in await histories(client):
            rows = (await client.get(path)).json()["results"]
            moment = start_of(rows[2])
            later, earlier = start_of(rows[0]), start_of(rows[4])

            async def starts(path=path, moment=moment, **query):
                reply = await client.get(path, params={"as_of": moment, **query})
                return [start_of(row) for row in reply.json()["results"]]

            known = [start_of(row) for row in rows[2:]]
            assert await starts() == known, path
            assert await starts(before=later) == known
            assert await starts(before=moment) == known[1:]
            assert await starts(after=earlier) == known[:3]
            assert await starts(after=later) == []
            ahead = await client.get(path, params={"as_of": "2261-01-01T00:00:00Z"})
            assert ahead.json()["results"] == rows


async def test_a_value_that_has_ended_since_had_no_end_then(bench):
    async with bench.client(f"bidder_id={uuid4()}{ALL}") as client:
        for path in (await histories(client))[:-1]:
            rows = (await client.get(path)).json()["results"]
            first, *others = (
                await client.get(path, params={"as_of": rows[2]["valid_from"]})
            ).json()["results"]

            assert rows[2]["valid_until"] is not None
            assert first == {**rows[2], "valid_until": None}
            assert others == rows[3:]


async def test_what_was_not_made_yet_was_not_found(bench):
    start = format_timestamp(bench.clock.now_ns())
    bench.clock.advance(1.0)
    async with bench.client(f"bidder_id={uuid4()}{ALL}") as client:
        paths = await histories(client)
        latest = (await client.get("/batch/latest")).json()["as_of"]
        for path in (*paths[:-1], "/batch/latest", f"/batch/{latest}"):
            for more in ("", "/bids") if path.startswith("/batch") else ("",):
                reply = await client.get(f"{path}{more}", params={"as_of": start})

                assert reply.status_code == 404, path
                assert reply.json()["code"] == "not-found"
        assert (await client.get("/batch", params={"as_of": start})).json() == {
            "results": []
        }


async def test_a_page_at_a_moment_goes_on_to_the_next():
    settings = Settings(server=ServerSettings(page_limit=2))
    token = f"bidder_id={uuid4()}{ALL}"
    async with open_bench(settings) as bench, bench.client(token) as client:
        path, *_ = await histories(client)
        page = (await client.get(path)).json()
        moment, seen = page["results"][1]["valid_from"], []
        more = {"as_of": moment}
        while more:
            page = (await client.get(path, params=more)).json()
            seen += [row["value"]["price"] for row in page["results"]]
            more = {"as_of": moment, **page["more"]} if "more" in page else {}

    assert seen == [5, 4, 3, 2, 1]
