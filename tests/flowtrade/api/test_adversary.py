"""What is no text, no version or beyond all time is refused in words, never a fault."""

from uuid import UUID, uuid4

import msgspec
import pytest

from flowtrade.api.routes import ROUTES
from flowtrade.ids import TimeOrderedIds
from flowtrade.settings import AuctionSettings, Settings, StoreSettings, Transparency
from flowtrade.testing.bench import open_bench

ALL = (
    "&can_create_bid=true&can_query_bid=true&can_read_bid=true&can_update_bid=true"
    "&can_view_products=true&can_manage_products=true&can_run_batch=true"
)
TOKEN = f"bidder_id={UUID(int=1)}{ALL}"
JSON = {"Content-Type": "application/json"}
BODIES = {
    ("POST", "/demand"): b'{"app_data":"%s","curve_data":null}',
    ("PUT", "/demand/{demand_id:str}"): b'{"price":1,"note":"%s"}',
    ("POST", "/portfolio"): b'{"app_data":"%s","demand":null,"basis":null}',
    ("PATCH", "/portfolio/{portfolio_id:str}"): b'{"demand":"%s"}',
    ("PUT", "/portfolio/{portfolio_id:str}/cap"): b'{"%s":1}',
    ("PUT", "/submission"): b'{"demands":[{"id":"%s"}]}',
    ("POST", "/product"): b'"%s"',
    ("POST", "/product/{product_id:str}"): b'[{"app_data":"%s","ratio":1}]',
    ("POST", "/bulk"): b'{"op":"set_curve","id":"%s","curve_data":null}',
}
NO_TEXT = [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\\ud800"]
# Where answers of the store to all of time begin and end: signed 64-bit nanoseconds.
FIRST, LAST = "1677-09-21T00:12:43.145224192Z", "2262-04-11T23:47:16.854775807Z"


@pytest.fixture(params=["memory", "sqlite"])
async def bench(request, tmp_path):
    path = tmp_path / "store.db"
    url = "memory:" if request.param == "memory" else f"sqlite:{path}"
    settings = Settings(
        store=StoreSettings(url=url), auction=AuctionSettings(horizon=1.0)
    )
    async with open_bench(settings, ids=TimeOrderedIds()) as opened:
        yield opened


@pytest.fixture
async def client(bench):
    async with bench.client(TOKEN) as opened:
        yield opened


@pytest.fixture
async def names(client):
    item = (await client.post("/product", json=1)).json()["id"]
    body = {"app_data": 1, "curve_data": {"price": 1}}
    demand = (await client.post("/demand", json=body)).json()["id"]
    body = {"app_data": 1, "demand": demand, "basis": item}
    portfolio = (await client.post("/portfolio", json=body)).json()["id"]
    await client.post("/batch")
    return {
        "{demand_id:str}": demand,
        "{portfolio_id:str}": portfolio,
        "{product_id:str}": item,
        "{as_of:str}": "latest",
    }


def filled(path, names):
    for name, value in names.items():
        path = path.replace(name, value)
    return path


def test_every_route_that_takes_json_is_asked():
    taking = {(r.method, r.path) for r in ROUTES if r.body is not None}

    assert taking == set(BODIES)


async def test_bytes_that_are_no_text_are_400(client, names):
    for (method, path), shape in BODIES.items():
        for bad in NO_TEXT:
            body = shape.replace(b"%s", bad)
            if path == "/bulk":
                headers = {"Content-Type": "application/x-ndjson"}
                reply = await client.post(path, content=body, headers=headers)
                assert msgspec.json.decode(reply.content)["status"] == 400
                continue
            reply = await client.request(
                method, filled(path, names), content=body, headers=JSON
            )
            assert reply.status_code == 400, (method, path, bad)
            assert reply.json()["code"] == "bad-request"


async def test_names_nested_without_end_do_not_stop_the_market(tmp_path):
    settings = Settings(auction=AuctionSettings(transparency=Transparency.BOOK))
    async with (
        open_bench(settings, ids=TimeOrderedIds()) as bench,
        bench.client(TOKEN) as client,
    ):
        accepted = 0
        for depth in range(800, 1000, 3):
            nested = b"[" * depth + b"]" * depth
            body = b'{"app_data":%s,"demand":null,"basis":null}' % nested
            for path, data in (("/portfolio", body), ("/product", nested)):
                reply = await client.post(path, content=data, headers=JSON)
                assert reply.status_code in (201, 400)
                accepted += reply.status_code == 201
        assert accepted
        assert (await client.get("/product", params={"kind": "0"})).is_success
        assert (await client.post("/batch")).is_success


# Conditions.


async def test_if_match_takes_a_list_and_several_lines(client, names):
    path = filled("/demand/{demand_id:str}", names)
    shapes = ('"2020-01-01T00:00:00Z", {}', '{} ,"x"', 'W/"y",{}', "{}")
    # Empty elements count for nothing (RFC 9110 §5.6.1.2).
    shapes += (", {}", "{},", ' , ,"x",\t, {} ,,', ",,{}, ,")
    for shape in shapes:
        tag = (await client.get(path)).headers["etag"]
        headers = {"If-Match": shape.format(tag)}
        reply = await client.put(path, json={"price": 2}, headers=headers)
        assert reply.status_code == 200, shape
    tag = (await client.get(path)).headers["etag"]
    lines = [("If-Match", '"x"'), ("If-Match", tag)]
    assert (await client.put(path, json=[], headers=lines)).status_code == 422
    assert (await client.delete(path, headers=lines)).status_code == 200


async def test_tags_that_no_version_has_are_412_and_what_is_no_tag_400(client, names):
    path = filled("/portfolio/{portfolio_id:str}", names)
    tag = (await client.get(path)).headers["etag"]
    for text in ('"x"', f"W/{tag}", '""', '"a", W/"b"', '"9999-12-31T23:59:59Z"'):
        reply = await client.patch(path, json={}, headers={"If-Match": text})
        assert reply.status_code == 412, text
        assert reply.json()["code"] == "version-mismatch"
    for text in (
        "x",
        '"',
        "",
        f"{tag}, *",
        f"{tag}{tag}",
        'w/"x"',
        '"a b"',
        "*, *",
        ",",
    ):
        reply = await client.delete(path, headers={"If-Match": text})
        assert reply.status_code == 400, text
    assert (await client.get(path)).headers["etag"] == tag


# Times.

DATED = [
    (route.path, query.name)
    for route in ROUTES
    for query in route.query
    if query.schema.get("format") == "date-time"
]


NO_MOMENT = ["", "now", "2026-01-01", "2026-01-01T00:00:00", "2026-02-30T00:00:00Z"]


async def test_bounds_beyond_all_time_are_the_nearest_that_can_be(client, names):
    bounds = (("9999-12-31T23:59:59-12:00", LAST), ("0001-01-01T00:00:00Z", FIRST))
    for path, name in DATED:
        for far, near in bounds:
            one = await client.get(filled(path, names), params={name: far})
            other = await client.get(filled(path, names), params={name: near})
            assert one.status_code == other.status_code
            assert one.status_code in (200, 404), (path, name)
            if one.status_code == 200:
                assert one.content.replace(far.encode(), near.encode()) == other.content


async def test_what_is_no_moment_is_400(client, names):
    for path, name in DATED:
        for text in NO_MOMENT:
            reply = await client.get(filled(path, names), params={name: text})
            assert reply.status_code == 400, (path, name, text)


async def test_a_position_of_something_unknown_is_404_at_any_time(client):
    path = f"/portfolio/{uuid4()}/position"
    for moment in (FIRST, LAST):
        assert (await client.get(path, params={"as_of": moment})).status_code == 404
