"""What the reference lacks: keys for repeats, bulk, rehearsal."""

from uuid import uuid4

import msgspec
import pytest

from flowtrade.ids import TimeOrderedIds
from flowtrade.settings import (
    AuctionSettings,
    ServerSettings,
    Settings,
    StoreSettings,
)
from flowtrade.testing import FixedSolver
from flowtrade.testing.bench import open_bench

BIDDER = str(uuid4())
ALL = (
    "&can_create_bid=true&can_query_bid=true&can_read_bid=true&can_update_bid=true"
    "&can_view_products=true&can_manage_products=true&can_run_batch=true"
)
TOKEN = f"bidder_id={BIDDER}{ALL}"
DAY = 86_400


@pytest.fixture(params=["memory", "sqlite"])
async def bench(request, tmp_path):
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 's.db'}"
    settings = Settings(
        store=StoreSettings(url=url), server=ServerSettings(body_limit=2**20)
    )
    async with open_bench(settings, ids=TimeOrderedIds()) as opened:
        yield opened


@pytest.fixture
async def client(bench):
    async with bench.client(TOKEN) as opened:
        yield opened


BODIES = {
    "/demand": {"app_data": 1, "curve_data": {"price": 1}},
    "/portfolio": {"app_data": 1, "demand": None, "basis": None},
    "/product": {"name": "BTC"},
}


def key(name):
    return {"Idempotency-Key": name}


@pytest.mark.parametrize("path", BODIES)
async def test_a_repeated_request_gets_the_first_answer(bench, client, path):
    first = await client.post(path, json=BODIES[path], headers=key("k1"))
    bench.clock.advance(DAY - 1)
    if path == "/demand":  # what happens meanwhile does not show
        await client.delete(f"/demand/{first.json()['id']}")

    again = await client.post(path, json=BODIES[path], headers=key("k1"))
    other = await client.post(path, json=BODIES[path], headers=key("k2"))

    assert (first.status_code, again.status_code, other.status_code) == (201,) * 3
    assert again.content == first.content
    assert other.json()["id"] != first.json()["id"]


async def test_a_repeated_division_gets_the_first_answer(client):
    root = (await client.post("/product", json={"name": "r"})).json()["id"]
    body = [{"app_data": {"name": n}, "ratio": 2} for n in "ab"]

    first = await client.post(f"/product/{root}", json=body, headers=key("k"))
    part = first.json()[0]["id"]
    await client.post(f"/product/{part}", json=[{"app_data": 1, "ratio": 1}])
    again = await client.post(f"/product/{root}", json=body, headers=key("k"))

    assert again.status_code == 201
    assert again.content == first.content


async def test_a_key_for_another_request_is_422(client):
    await client.post("/demand", json=BODIES["/demand"], headers=key("k"))

    changed = {**BODIES["/demand"], "app_data": 2}
    body = await client.post("/demand", json=changed, headers=key("k"))
    path = await client.post("/portfolio", json=BODIES["/portfolio"], headers=key("k"))

    assert (body.status_code, path.status_code) == (422, 422)
    assert body.json()["code"] == "key-reused"


async def test_keys_are_each_bidders_own(bench, client):
    first = await client.post("/demand", json=BODIES["/demand"], headers=key("k"))
    async with bench.client(f"bidder_id={uuid4()}{ALL}") as stranger:
        other = await stranger.post("/demand", json=BODIES["/demand"], headers=key("k"))

    assert other.status_code == 201
    assert other.json()["id"] != first.json()["id"]


async def test_a_refused_request_does_not_use_up_its_key(client):
    unknown = str(uuid4())
    body = {"app_data": 1, "demand": unknown, "basis": None}

    refused = await client.post("/portfolio", json=body, headers=key("k"))
    good = {**body, "demand": None}
    made = await client.post("/portfolio", json=good, headers=key("k"))

    assert (refused.status_code, made.status_code) == (422, 201)


async def test_a_key_is_forgotten_after_a_day(bench, client):
    first = await client.post("/demand", json=BODIES["/demand"], headers=key("k"))
    bench.clock.advance(DAY + 1)

    again = await client.post("/demand", json=BODIES["/demand"], headers=key("k"))

    assert again.status_code == 201
    assert again.json()["id"] != first.json()["id"]


@pytest.mark.parametrize("name", ["", "x" * 256, "a\tb"])
async def test_a_key_that_is_none_is_400(client, name):
    reply = await client.post("/demand", json=BODIES["/demand"], headers=key(name))

    assert reply.status_code == 400


# Bulk.


async def send(client, *lines):
    body = b"\n".join(
        line if isinstance(line, bytes) else msgspec.json.encode(line) for line in lines
    )
    headers = {"Content-Type": "application/x-ndjson"}
    reply = await client.post("/bulk", content=body, headers=headers)
    assert reply.status_code == 200
    return [msgspec.json.decode(line) for line in reply.content.splitlines()]


async def test_lines_are_carried_out_in_order_and_fail_alone(client):
    item = (await client.post("/product", json={"name": "x"})).json()["id"]
    demand, portfolio = str(uuid4()), str(uuid4())

    answers = await send(
        client,
        {"op": "create_demand", "id": demand, "app_data": 1, "curve_data": None},
        {"op": "set_curve", "id": demand, "curve_data": {"price": 5}},
        {"op": "set_curve", "id": demand, "curve_data": []},
        b"{not json",
        b"",
        {"op": "dance"},
        {
            "op": "create_portfolio",
            "id": portfolio,
            "app_data": 2,
            "demand": demand,
            "basis": {item: 2},
        },
        {"op": "create_portfolio", "app_data": 3, "demand": demand, "basis": "x"},
        {"op": "set_groups", "id": portfolio, "basis": {item: 3}},
        {"op": "set_groups", "id": str(uuid4()), "basis": {}},
        {"op": "create_demand", "id": demand, "app_data": 1, "curve_data": None},
        {"op": "create_demand", "app_data": 4, "curve_data": {"price": 1}},
    )

    statuses = [answer["status"] for answer in answers]
    assert statuses == [201, 200, 422, 400, 422, 201, 422, 200, 404, 409, 201]
    assert [answer["line"] for answer in answers] == list(range(1, 12))
    assert answers[1]["record"]["curve_data"]["price"] == 5
    assert answers[7]["record"]["basis"] == {item: 3.0}
    assert answers[2]["code"] == "pwl.empty"
    stored = (await client.get(f"/portfolio/{portfolio}")).json()
    assert stored == answers[7]["record"]
    history = (await client.get(f"/portfolio/{portfolio}/product-history")).json()
    assert [r["value"] for r in history["results"]] == [{item: 3.0}, {item: 2.0}]


async def test_bulk_touches_no_other_bidders_things(bench, client):
    made = (await client.post("/demand", json=BODIES["/demand"])).json()["id"]
    group = (await client.post("/portfolio", json=BODIES["/portfolio"])).json()["id"]
    async with bench.client(f"bidder_id={uuid4()}{ALL}") as thief:
        answers = await send(
            thief,
            {"op": "set_curve", "id": made, "curve_data": None},
            {"op": "set_groups", "id": group, "demand": []},
            {"op": "create_portfolio", "app_data": 1, "demand": made, "basis": None},
        )

    assert [answer["status"] for answer in answers] == [401, 401, 422]
    assert (await client.get(f"/demand/{made}")).json()["curve_data"] is not None


async def test_a_thousand_lines_are_one_request(client):
    line = {"op": "create_demand", "app_data": 1, "curve_data": {"price": 1}}

    answers = await send(client, *[line] * 1000)

    assert {answer["status"] for answer in answers} == {201}
    stamps = [answer["record"]["valid_from"] for answer in answers]
    assert len(set(stamps)) == 1000
    assert len((await client.get("/demand")).json()) == 1000


async def test_bulk_has_its_own_media_type_and_limits(client):
    json = await client.post("/bulk", json=[])
    many = await client.post(
        "/bulk",
        content=b"1\n" * 40_001,
        headers={"Content-Type": "application/x-ndjson"},
    )

    assert (json.status_code, many.status_code) == (415, 400)
    assert await send(client) == []


# Rehearsal.


async def test_a_rehearsal_answers_and_leaves_nothing():
    solver = FixedSolver(price=2.5)
    async with (
        open_bench(ids=TimeOrderedIds(), solver=solver) as bench,
        bench.client(TOKEN) as client,
    ):
        item = (await client.post("/product", json={"name": "x"})).json()["id"]
        demand = (await client.post("/demand", json=BODIES["/demand"])).json()["id"]
        body = {"app_data": 1, "demand": demand, "basis": item}
        await client.post("/portfolio", json=body)

        rehearsal = await client.post("/batch?dry_run=true")
        listed = await client.get("/batch")
        stamp = await client.post("/batch?dry_run=false")
        record = (await client.get("/batch/latest")).json()

    assert rehearsal.status_code == 200
    assert rehearsal.json()["seq"] == 0
    assert rehearsal.json()["products"][item]["price"] == 2.5
    assert listed.json()["results"] == []
    assert record["as_of"] == stamp.text
    assert record["input_hash"] == rehearsal.json()["input_hash"]
    assert record["outcome_hash"] == rehearsal.json()["outcome_hash"]


# Trade caps.


async def test_a_cap_is_set_read_and_taken_away():
    settings = Settings(auction=AuctionSettings(horizon=1.0))
    async with (
        open_bench(settings, ids=TimeOrderedIds()) as bench,
        bench.client(TOKEN) as client,
    ):
        made = await client.post("/portfolio", json=BODIES["/portfolio"])
        path = f"/portfolio/{made.json()['id']}"
        put = await client.put(f"{path}/cap", json={"max_trade": 5})
        read = await client.get(f"{path}/position")
        taken = await client.delete(f"{path}/cap")
        wrong = await client.put(f"{path}/cap", json={"min_trade": 2, "max_trade": 1})

    assert put.json()["cap"] == {"min_trade": None, "max_trade": 5.0}
    assert read.json() == put.json()
    assert (read.json()["traded"], read.json()["rate"]) == (0.0, 0.0)
    assert taken.json()["cap"] is None
    assert wrong.status_code == 422


async def test_a_cap_without_a_schedule_is_422(client):
    made = (await client.post("/portfolio", json=BODIES["/portfolio"])).json()["id"]

    reply = await client.put(f"/portfolio/{made}/cap", json={"max_trade": 5})

    assert reply.status_code == 422
