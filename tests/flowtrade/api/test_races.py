"""Requests that race each other, and windows of what batches have told."""

from uuid import uuid4

import pytest
import trio

from flowtrade.api.routes import Right
from flowtrade.settings import ServerSettings, Settings, StoreSettings
from flowtrade.testing.bench import open_bench

ALL = "".join(f"&{r.value}=true" for r in Right if r is not Right.PUBLIC)
TOKEN = f"bidder_id={uuid4()}{ALL}"


@pytest.fixture(params=["memory", "sqlite"])
async def bench(request, tmp_path):
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 's.db'}"
    settings = Settings(
        store=StoreSettings(url=url), server=ServerSettings(page_limit=2)
    )
    async with open_bench(settings) as opened:
        yield opened


async def all_at_once(client, requests):
    """Return the replies to requests that are all on their way together."""
    replies = {}

    async def ask(number, method, path, body):
        replies[number] = await client.request(method, path, json=body)

    async with trio.open_nursery() as nursery:
        for number, request in enumerate(requests):
            nursery.start_soon(ask, number, *request)
    return [replies[number] for number in range(len(requests))]


async def test_of_divisions_that_race_one_happens_and_it_whole(bench):
    item = str(uuid4())
    parts = [[str(uuid4()), str(uuid4())] for _ in range(8)]
    async with bench.client(TOKEN) as client:
        await client.post("/product", json=item)

        replies = await all_at_once(
            client,
            [
                (
                    "POST",
                    f"/product/{item}",
                    [{"app_data": part, "ratio": 1} for part in pair],
                )
                for pair in parts
            ],
        )

        basis = (await client.get(f"/product/{item}")).json()["basis"]
    statuses = [reply.status_code for reply in replies]
    assert sorted(statuses) == [201] + [403] * 7
    assert sorted(basis) == sorted(parts[statuses.index(201)])


async def test_of_changes_that_race_for_one_version_one_happens(bench):
    demand = str(uuid4())
    async with bench.client(TOKEN) as client:
        made = {"app_data": demand, "curve_data": {"price": 0}}
        tag = (await client.post("/demand", json=made)).headers["etag"]
        client.headers["if-match"] = tag

        replies = await all_at_once(
            client, [("PUT", f"/demand/{demand}", {"price": n}) for n in range(1, 9)]
        )

        del client.headers["if-match"]
        stored = (await client.get(f"/demand/{demand}")).json()
    statuses = [reply.status_code for reply in replies]
    assert sorted(statuses) == [200] + [412] * 7
    assert stored["curve_data"]["price"] == statuses.index(200) + 1


async def test_of_twins_that_race_one_is_made(bench):
    demand = str(uuid4())
    body = {"app_data": demand, "curve_data": None}
    async with bench.client(TOKEN) as client:
        replies = await all_at_once(client, [("POST", "/demand", body)] * 8)

    assert sorted(reply.status_code for reply in replies) == [201] + [409] * 7


async def test_windows_of_outcomes_and_batches_begin_and_end_where_asked(bench):
    item, demand, portfolio = (str(uuid4()) for _ in range(3))
    async with bench.client(TOKEN) as client:
        await client.post("/product", json=item)
        curve = {"price": 1, "min_rate": -1, "max_rate": 1}
        await client.post("/demand", json={"app_data": demand, "curve_data": curve})
        await client.post(
            "/portfolio", json={"app_data": portfolio, "demand": demand, "basis": item}
        )
        stamps = []
        for _ in range(5):
            bench.clock.advance(1)
            stamps.append((await client.post("/batch")).text)

        for path, field in (
            (f"/product/{item}/outcomes", "valid_from"),
            (f"/portfolio/{portfolio}/outcomes", "valid_from"),
            ("/batch", "as_of"),
        ):
            query = {"after": stamps[1], "before": stamps[4]}
            first = (await client.get(path, params=query)).json()
            rest = (await client.get(path, params=first["more"])).json()

            # From the second on, itself too; before the fifth, without it.
            assert [row[field] for row in first["results"]] == [stamps[3], stamps[2]]
            assert [row[field] for row in rest["results"]] == [stamps[1]]
            assert "more" not in rest
