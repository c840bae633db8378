"""A request sent again after the server was killed is answered, not repeated."""

from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import httpx
import pytest
import trio

from flowtrade.testing.crash import Point
from flowtrade.testing.crash.harness import Victim
from flowtrade.testing.crash.load import token_of

# httpx leaves the body of a request behind when the server dies while it is sent.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning"),
]

HEADERS = {"Authorization": f"Bearer {token_of(str(UUID(int=1)))}"}
NEVER = 1e9
"""Seconds between auctions: there are none while a test runs."""


@asynccontextmanager
async def serving(url, point=None, count=0):
    """Run a server that is killed at the end of the block, if it lives that long."""
    start = partial(Victim, url, point, count, every=NEVER)
    victim = await trio.to_thread.run_sync(start)
    try:
        base = await trio.to_thread.run_sync(victim.address)
        async with httpx.AsyncClient(
            base_url=base, headers=HEADERS, timeout=120
        ) as client:
            yield client
    finally:
        await trio.to_thread.run_sync(victim.kill)


def post(client, path, body, key):
    return client.post(path, json=body, headers={"Idempotency-Key": key})


def changed(body):
    if isinstance(body, list):
        return [{**entry, "app_data": "else"} for entry in body]
    return {**body, "app_data": "else"}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'store.db'}"
    return request.getfixturevalue("postgres_url")


async def test_the_stored_answer_outlives_the_server(url):
    demand = {"app_data": {"name": "d"}, "curve_data": {"price": 3}}
    parts = [{"app_data": None, "ratio": 0.5}, {"app_data": 1, "ratio": 2}]
    asked = []
    async with serving(url) as client:

        async def ask(path, body, key):
            answer = await post(client, path, body, key)
            asked.append((path, body, key, answer))
            return answer.json()

        made = (await ask("/demand", demand, "d"))["id"]
        bid = {"app_data": None, "demand": {made: 2}, "basis": None}
        await ask("/portfolio", bid, "b")
        product = (await ask("/product", {"name": "p"}, "x"))["id"]
        await ask(f"/product/{product}", parts, "y")
        await client.put(f"/demand/{made}", json={"price": 4})
        before = (await client.get("/product")).json()

    async with serving(url) as client:
        for path, body, key, answer in asked:
            again = await post(client, path, body, key)
            other = await post(client, path, changed(body), key)
            assert (answer.status_code, again.status_code) == (201, 201)
            assert again.content == answer.content
            assert (other.status_code, other.json()["code"]) == (422, "key-reused")
        assert (await client.get("/product")).json() == before
        (kept,) = (await client.get("/demand")).json()
        assert kept["curve_data"]["price"] == 4


async def test_what_was_kept_but_never_answered_is_answered_by_the_next_server(
    tmp_path,
):
    url = f"sqlite:{tmp_path / 'store.db'}"
    body = {"app_data": 1, "curve_data": {"price": 3}}
    async with serving(url, Point.BEFORE_ANSWER, 1) as client:
        with pytest.raises(httpx.TransportError):
            await post(client, "/demand", body, "k")

    async with serving(url) as client:
        (kept,) = (await client.get("/demand")).json()
        again = await post(client, "/demand", body, "k")
        (still,) = (await client.get("/demand")).json()

    assert again.status_code == 201
    assert again.json()["id"] == kept["id"] == still["id"]


async def test_what_was_not_kept_happens_at_the_second_try(tmp_path):
    url = f"sqlite:{tmp_path / 'store.db'}"
    body = {"app_data": 1, "curve_data": {"price": 3}}
    async with serving(url, Point.BEFORE_COMMIT, 1) as client:
        with pytest.raises(httpx.TransportError):
            await post(client, "/demand", body, "k")

    async with serving(url) as client:
        none = (await client.get("/demand")).json()
        made = await post(client, "/demand", body, "k")
        (one,) = (await client.get("/demand")).json()

    assert none == []
    assert made.status_code == 201
    assert made.json()["id"] == one["id"]
