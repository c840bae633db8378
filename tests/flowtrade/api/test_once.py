"""Bulk requests and batches under an idempotency key happen once."""

import json
from uuid import uuid4

import pytest
import trio

from flowtrade.api.routes import Right
from flowtrade.core.bidding import Bidding
from flowtrade.core.repeats import Repeats
from flowtrade.core.solver import ClearingSolver
from flowtrade.errors import StoreBusy, StoreFailed
from flowtrade.ids import TimeOrderedIds
from flowtrade.settings import Settings, StoreSettings
from flowtrade.testing.bench import open_bench

ALL = "".join(f"&{r.value}=true" for r in Right if r is not Right.PUBLIC)
TOKEN = f"bidder_id={uuid4()}{ALL}"
NDJSON, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"
BUY = [{"rate": 0, "price": 9}, {"rate": 1, "price": 1}]
LONG = 2_600  # more than is handed to the store at once
FEW = 300
DAY = 86_400


@pytest.fixture(params=["memory", "sqlite"])
async def bench(request, tmp_path):
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 's.db'}"
    async with opened(url) as one:
        yield one


def opened(url):
    settings = Settings(store=StoreSettings(url=url))
    return open_bench(settings, ids=TimeOrderedIds(), solver=ClearingSolver())


@pytest.fixture
async def client(bench):
    async with bench.client(TOKEN) as one:
        yield one


def new_demand(**fields):
    return {"op": "create_demand", "app_data": None, "curve_data": BUY, **fields}


def as_json(rows):
    return NDJSON, b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def as_arrow(rows):
    pa = pytest.importorskip("pyarrow")
    points = pa.list_(pa.struct([("rate", pa.float64()), ("price", pa.float64())]))
    columns = {
        "op": pa.array([row["op"] for row in rows], pa.string()),
        "id": pa.array([row.get("id") for row in rows], pa.string()),
        "curve": pa.array([row["curve_data"] for row in rows], points),
    }
    sink = pa.BufferOutputStream()
    table = pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return ARROW, sink.getvalue().to_pybytes()


async def post(client, form, key="k", **headers):
    declared, body = form
    wanted = {"Content-Type": declared, "Idempotency-Key": key, **headers}
    return await client.post("/bulk", content=body, headers=wanted)


def mixed():
    """Lines of which some are refused, in reading or in carrying out."""
    taken = str(uuid4())
    return [
        new_demand(),
        new_demand(id=taken),
        new_demand(id=taken),  # again: 409
        new_demand(id="no id"),  # 422
        {"op": "set_curve", "id": str(uuid4()), "curve_data": BUY},  # 404
        {"op": "set_curve", "id": taken, "curve_data": BUY[:1]},
        new_demand(),
    ]


def statuses(reply):
    return [json.loads(line)["status"] for line in reply.content.splitlines()]


MIXED = [201, 201, 409, 422, 404, 200, 201]


@pytest.mark.parametrize("form", [as_json, as_arrow])
@pytest.mark.parametrize("prefer", ["", "return=minimal"])
async def test_a_repeated_body_gets_the_first_answer(bench, client, form, prefer):
    body = form(mixed())

    first = await post(client, body, Prefer=prefer)
    for demand in (await client.get("/demand")).json():
        await client.delete(f"/demand/{demand['id']}")  # which does not show
    bench.clock.advance(DAY - 1)
    again = await post(client, body, Prefer=prefer)

    assert first.status_code == again.status_code == 200
    assert statuses(first) == MIXED
    assert again.content == first.content
    assert (await client.get("/demand")).json() == []
    assert bench.service.mirror.sizes()["demand"] == 3


async def test_portfolios_are_made_once_too(bench, client):
    demand, product = str(uuid4()), (await client.post("/product", json=1)).json()["id"]
    group = {"demand": demand, "basis": {product: 2}}
    portfolio = str(uuid4())
    body = as_json(
        [
            new_demand(id=demand),
            {"op": "create_portfolio", "app_data": 1, **group},
            {"op": "create_portfolio", "id": portfolio, "app_data": 1, **group},
            {"op": "set_groups", "id": portfolio, "demand": {}, "basis": None},
        ]
    )

    first = await post(client, body)
    again = await post(client, body)

    assert statuses(first) == [201, 201, 201, 200]
    assert again.content == first.content
    assert bench.service.mirror.sizes()["portfolio"] == 2


async def test_without_a_key_a_body_is_carried_out_each_time(bench, client):
    declared, body = as_json([new_demand()])

    for _ in range(2):
        await client.post("/bulk", content=body, headers={"Content-Type": declared})

    assert bench.service.mirror.sizes()["demand"] == 2


async def test_the_first_answer_outlives_the_server(tmp_path):
    url, body = f"sqlite:{tmp_path / 's.db'}", as_json(mixed())
    async with opened(url) as bench, bench.client(TOKEN) as client:
        first = await post(client, body)
        batch = await client.post("/batch", headers={"Idempotency-Key": "k"})
    async with opened(url) as bench, bench.client(TOKEN) as client:
        again = await post(client, body)
        same = await client.post("/batch", headers={"Idempotency-Key": "k"})
        other = await post(client, as_json(mixed()))
        listed = (await client.get("/batch")).json()["results"]

    assert again.content == first.content
    assert same.text == batch.text
    assert [one["as_of"] for one in listed] == [batch.text]
    assert other.status_code == 422


async def test_a_key_of_another_request_is_422(bench, client):
    body = as_json([new_demand()])
    await post(client, body)
    single = {"app_data": None, "curve_data": None}
    key = {"Idempotency-Key": "single"}
    await client.post("/demand", json=single, headers=key)

    for reply in (
        await post(client, as_json([new_demand()] * 2)),
        await post(client, body, "single"),
        await client.post("/demand", json=single, headers={"Idempotency-Key": "k"}),
    ):
        assert reply.status_code == 422
        assert reply.json()["code"] == "key-reused"
    assert bench.service.mirror.sizes()["demand"] == 2


@pytest.mark.parametrize("name", ["", "x" * 256, "a\tb"])
async def test_a_key_that_is_none_is_400(client, name):
    bulk = await post(client, as_json([new_demand()]), name)
    batch = await client.post("/batch", headers={"Idempotency-Key": name})

    assert (bulk.status_code, batch.status_code) == (400, 400)


async def test_an_attempt_that_ended_midway_is_gone_on_with(bench, client, monkeypatch):
    whole, calls = Bidding.execute_many, []

    async def failing(self, operations):
        calls.append(len(operations))
        if len(calls) == 2:
            raise StoreFailed("the disk is full")
        return await whole(self, operations)

    monkeypatch.setattr(Bidding, "execute_many", failing)
    rows = [*mixed(), *[new_demand()] * LONG]
    wanted = MIXED + [201] * LONG

    first = await post(client, as_json(rows), Prefer="return=minimal")
    known = bench.service.mirror.sizes()["demand"]
    second = await post(client, as_json(rows), Prefer="return=minimal")
    third = await post(client, as_json(rows), Prefer="return=minimal")

    assert statuses(first)[: len(MIXED)] == MIXED
    assert statuses(first)[-1] == 500
    assert 3 < known < LONG
    assert statuses(second) == wanted
    assert third.content == second.content
    assert bench.service.mirror.sizes()["demand"] == LONG + 3


async def test_a_body_of_which_nothing_was_taken_is_carried_out_later(
    bench, client, monkeypatch
):
    async def busy(self, operations):
        raise StoreBusy(1)

    body = as_json(mixed())
    with monkeypatch.context() as patch:
        patch.setattr(Bidding, "execute_many", busy)
        assert (await post(client, body)).status_code == 503

    assert statuses(await post(client, body)) == MIXED


async def test_two_attempts_at_once_make_one(bench, client):
    rows, replies = [*mixed(), *[new_demand()] * FEW], []

    async def attempt():
        replies.append(await post(client, as_json(rows)))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(attempt)

    assert [statuses(reply) for reply in replies] == [MIXED + [201] * FEW] * 3
    assert bench.service.mirror.sizes()["demand"] == FEW + 3


async def test_a_key_makes_no_id_that_others_hold_its_own(bench, client):
    taken = str(uuid4())
    await post(client, as_json([new_demand(id=taken)]), "first")

    reply = await post(client, as_json([new_demand(id=taken)]), "second")
    again = await post(client, as_json([new_demand(id=taken)]), "second")

    assert statuses(reply) == statuses(again) == [409]


# Batches.


async def batch(client, key="k"):
    return await client.post("/batch", headers={"Idempotency-Key": key})


async def stored(client):
    return [one["as_of"] for one in (await client.get("/batch")).json()["results"]]


async def test_a_batch_under_a_key_is_run_once(bench, client):
    first = await batch(client)
    bench.clock.advance(DAY - 1)
    again = await batch(client)
    other = await batch(client, "other")

    assert first.status_code == again.status_code == other.status_code == 200
    assert again.text == first.text != other.text
    assert await stored(client) == [other.text, first.text]


async def test_a_key_of_a_batch_is_forgotten_after_a_day(bench, client):
    first = await batch(client)
    bench.clock.advance(DAY + 1)

    assert (await batch(client)).text != first.text


async def test_a_failed_batch_fails_again_in_the_same_words(bench, client):
    product = (await client.post("/product", json=1)).json()["id"]
    for price, low, high in ((2, 0, None), (1, None, 0)):
        curve = {"price": price, "min_rate": low, "max_rate": high}
        made = await client.post("/demand", json={"app_data": 1, "curve_data": curve})
        body = {"app_data": 1, "demand": made.json()["id"], "basis": product}
        await client.post("/portfolio", json=body)

    first, again = await batch(client), await batch(client)

    assert first.status_code == 409
    assert again.json() == first.json()
    assert len(await stored(client)) == 1


async def test_a_batch_that_was_run_but_not_told_is_found(bench, client, monkeypatch):
    async def broken(self, once, begun, ids):
        raise StoreFailed("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Repeats, "finish", broken)
        lost = await batch(client)
    (only,) = await stored(client)
    for _ in range(3):
        await client.post("/batch")
    monkeypatch.setattr("flowtrade.core.repeats._PAGE", 2)

    assert lost.status_code == 500
    assert (await batch(client)).text == (await batch(client)).text == only
    assert len(await stored(client)) == 4


async def test_two_requests_for_a_batch_at_once_run_one(bench, client):
    replies = []

    async def attempt():
        replies.append((await batch(client)).text)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(attempt)

    assert await stored(client) == [replies[0]]
    assert len(set(replies)) == 1


async def test_a_dry_run_takes_no_key(client):
    reply = await client.post(
        "/batch", params={"dry_run": "true"}, headers={"Idempotency-Key": "k"}
    )

    assert reply.status_code == 400
    assert "Idempotency-Key" in reply.json()["detail"]
    assert await stored(client) == []
