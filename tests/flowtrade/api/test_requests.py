"""What requests may say, what they get, and the defects that must not come back."""

from uuid import uuid4

import msgspec
import pytest

from flowtrade.errors import BatchFailed, SolverFailed, StoreBusy
from flowtrade.ids import TimeOrderedIds
from flowtrade.settings import ServerSettings, Settings
from flowtrade.testing import FixedSolver
from flowtrade.testing.bench import open_bench

BIDDER = str(uuid4())
ALL = (
    "&can_create_bid=true&can_query_bid=true&can_read_bid=true&can_update_bid=true"
    "&can_view_products=true&can_manage_products=true&can_run_batch=true"
)
TOKEN = f"bidder_id={BIDDER}{ALL}"


def new_id():
    return str(uuid4())


@pytest.fixture
async def bench():
    settings = Settings(server=ServerSettings(page_limit=2))
    async with open_bench(settings) as opened:
        yield opened


@pytest.fixture
async def client(bench):
    async with bench.client(TOKEN) as opened:
        yield opened


async def make(client, *, curve={"price": 1.0}, products=1):  # noqa: B006  # read only
    """Return a demand, some products and a portfolio of all."""
    demand, portfolio = new_id(), new_id()
    items = [new_id() for _ in range(products)]
    for item in items:
        assert (await client.post("/product", json=item)).status_code == 201
    body = {"app_data": demand, "curve_data": curve}
    assert (await client.post("/demand", json=body)).status_code == 201
    body = {"app_data": portfolio, "demand": demand, "basis": items}
    assert (await client.post("/portfolio", json=body)).status_code == 201
    return demand, items, portfolio


@pytest.mark.parametrize(
    "curve",
    [
        [],
        "flat",
        7,
        True,
        [{"rate": 0}],
        [{"rate": 1, "price": 1}],
        [{"rate": 0, "price": 1}, {"rate": 1, "price": 2}],
        {"min_rate": 0},
        {"price": None},
        {"min_rate": 1, "price": 1},
    ],
)
async def test_a_curve_that_breaks_a_rule_is_422(client, curve):
    body = {"app_data": new_id(), "curve_data": curve}

    reply = await client.post("/demand", json=body)

    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[1, NaN]", 400),
        (b"\xff\xfe", 400),
        (b'{"app_data": 1, "curve_data": {"price": 1e999}}', 400),
        (b"[" * 100_000, 400),
        (b"{}", 422),
        (b"[]", 422),
        (b'{"app_data": 1}', 422),
        (b'{"curve_data": null}', 422),
        (b'{"app_data": 1, "curve_data": null, "extra": 1}', 422),
    ],
)
async def test_bodies_are_refused_for_what_is_wrong_with_them(client, body, status):
    json = {"Content-Type": "application/json"}

    reply = await client.post("/demand", content=body, headers=json)

    assert reply.status_code == status


@pytest.mark.parametrize("header", ["", "Bearer", "Basic abc", "token", "Bearer "])
async def test_a_header_that_is_not_bearer_is_400(bench, header):
    async with bench.client() as client:
        reply = await client.get("/demand", headers={"Authorization": header})

    assert reply.status_code == 400


@pytest.mark.parametrize(
    "query", ["before=yesterday", "after=2026-13-01T00:00:00Z", "before="]
)
async def test_a_bad_query_is_400(client, query):
    demand, _, _ = await make(client)

    reply = await client.get(f"/demand/{demand}/curve-history?{query}")

    assert reply.status_code == 400


@pytest.mark.parametrize(
    "path", ["/portfolio/ID?expand=7", "/product?leaves=", "/batch?dry_run=yes"]
)
async def test_a_flag_that_is_neither_true_nor_false_is_400(client, path):
    _, _, portfolio = await make(client)
    method = "POST" if "batch" in path else "GET"

    reply = await client.request(method, path.replace("ID", portfolio))

    assert reply.status_code == 400
    assert "is true or false" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("declared", "status"),
    [
        ("application/json", 200),
        ("APPLICATION/json ; charset=utf-8", 200),
        ("application/vnd.example+json", 200),
        ("application/jsonp", 415),
        ("text/json", 415),
        ("", 415),
    ],
)
async def test_a_body_is_declared_as_json_of_some_kind(client, declared, status):
    demand, _, _ = await make(client)
    headers = {"Content-Type": declared}

    reply = await client.put(
        f"/demand/{demand}", content=b'{"price": 1}', headers=headers
    )

    assert reply.status_code == status


async def test_a_body_over_the_limit_is_413():
    settings = Settings(server=ServerSettings(body_limit=2048))
    async with open_bench(settings) as bench, bench.client(TOKEN) as client:
        body = {"app_data": "x" * 4096, "curve_data": None}

        assert (await client.post("/demand", json=body)).status_code == 413


async def test_unknown_routes_and_methods_are_problems(client):
    missing = await client.get("/nothing/here")
    wrong = await client.patch("/health")

    assert (missing.status_code, wrong.status_code) == (404, 405)
    for reply in (missing, wrong):
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["status"] == reply.status_code


# Regressions: each is a defect that the reference has.


async def test_pages_tile_a_history_without_repeat_or_loss(bench, client):
    demand, _, _ = await make(client)
    for price in range(2, 9):
        bench.clock.advance(1)
        await client.put(f"/demand/{demand}", json={"price": price})
    path = f"/demand/{demand}/curve-history"

    prices, query = [], {}
    while True:
        page = (await client.get(path, params=query)).json()
        assert len(page["results"]) <= 2
        prices += [result["value"]["price"] for result in page["results"]]
        if "more" not in page:
            break
        assert list(page["more"]) == ["before"]
        query = page["more"]

    assert prices == [8, 7, 6, 5, 4, 3, 2, 1]


async def test_a_window_keeps_its_lower_end_over_pages(bench, client):
    demand, _, _ = await make(client)
    starts = []
    for price in range(2, 7):
        bench.clock.advance(1)
        record = await client.put(f"/demand/{demand}", json={"price": price})
        starts.append(record.json()["valid_from"])
    path = f"/demand/{demand}/curve-history"

    first = (await client.get(path, params={"after": starts[2]})).json()
    second = (await client.get(path, params=first["more"])).json()

    assert [r["value"]["price"] for r in first["results"]] == [6, 5]
    assert [r["value"]["price"] for r in second["results"]] == [4]  # inclusive
    assert "more" not in second


async def test_the_bounds_of_a_window_accept_any_offset(bench, client):
    demand, _, _ = await make(client)
    bench.clock.advance(1)
    await client.put(f"/demand/{demand}", json={"price": 2})
    path = f"/demand/{demand}/curve-history"
    (latest, _) = (await client.get(path)).json()["results"]
    shifted = latest["valid_from"].replace("Z", "+00:00")

    page = (await client.get(path, params={"before": shifted})).json()

    assert [result["value"]["price"] for result in page["results"]] == [1.0]


async def test_parent_and_part_in_one_portfolio_add_up(client):
    demand, (root,), portfolio = await make(client)
    part = new_id()
    body = [{"app_data": part, "ratio": 10}]
    await client.post(f"/product/{root}", json=body)
    await client.patch(f"/portfolio/{portfolio}", json={"basis": {root: 1, part: 1}})

    record = (await client.get(f"/portfolio/{portfolio}?expand=true")).json()

    assert record["basis"] == {part: 11.0}
    assert demand in record["demand"]


async def test_a_product_with_one_part_cannot_be_divided_again(client):
    _, (root,), _ = await make(client)
    body = [{"app_data": new_id(), "ratio": 1}]

    first = await client.post(f"/product/{root}", json=body)
    second = await client.post(
        f"/product/{root}", json=[{"app_data": new_id(), "ratio": 1}]
    )

    assert (first.status_code, second.status_code) == (201, 403)


async def test_another_bidders_demand_cannot_be_attached(bench, client):
    demand, items, _ = await make(client)
    async with bench.client(f"bidder_id={new_id()}{ALL}") as thief:
        body = {"app_data": new_id(), "demand": demand, "basis": items}
        stolen = await thief.post("/portfolio", json=body)
        own = {"app_data": new_id(), "demand": None, "basis": items}
        portfolio = (await thief.post("/portfolio", json=own)).json()["id"]
        patched = await thief.patch(
            f"/portfolio/{portfolio}", json={"demand": {demand: 0}}
        )

    assert (stolen.status_code, patched.status_code) == (422, 422)
    assert "no such demand of yours" in stolen.json()["detail"]


@pytest.mark.parametrize("group", ["demand", "basis"])
async def test_unknown_references_are_422(client, group):
    body = {"app_data": new_id(), "demand": None, "basis": None, group: new_id()}

    reply = await client.post("/portfolio", json=body)

    assert reply.status_code == 422
    assert reply.json()["code"] == "unknown-reference"


@pytest.mark.parametrize("kind", ["demand", "portfolio", "product"])
async def test_an_id_is_used_once(client, kind):
    body = {
        "demand": {"app_data": (key := new_id()), "curve_data": None},
        "portfolio": {"app_data": key, "demand": None, "basis": None},
        "product": key,
    }[kind]

    first = await client.post(f"/{kind}", json=body)
    second = await client.post(f"/{kind}", json=body)

    assert (first.status_code, second.status_code) == (201, 409)


async def test_changes_at_the_same_clock_reading_all_happen_in_order(client):
    demand, _, _ = await make(client)
    for price in (2, 3, 4):  # the clock stands still
        reply = await client.put(f"/demand/{demand}", json={"price": price})
        assert reply.status_code == 200

    record = (await client.get(f"/demand/{demand}")).json()

    assert record["curve_data"]["price"] == 4


async def test_replies_to_changes_name_the_attached_portfolios(client):
    demand, _, portfolio = await make(client)

    put = await client.put(f"/demand/{demand}", json={"price": 2})
    deleted = await client.delete(f"/demand/{demand}")

    assert put.json()["portfolios"] == {portfolio: 1.0}
    assert deleted.json()["portfolios"] == {portfolio: 1.0}


async def test_a_price_that_nothing_determines_is_read_back_as_null():
    class Undetermined:
        def solve(self, auction, *, targets, time_limit):
            solution = FixedSolver().solve(
                auction, targets=targets, time_limit=time_limit
            )
            (key,) = solution.portfolios
            nothing = msgspec.structs.replace(solution.portfolios[key], price=None)
            return msgspec.structs.replace(solution, portfolios={key: nothing})

    async with (
        open_bench(solver=Undetermined()) as bench,
        bench.client(TOKEN) as client,
    ):
        _, _, portfolio = await make(client)
        assert (await client.post("/batch")).status_code == 200

        page = (await client.get(f"/portfolio/{portfolio}/outcomes")).json()

    assert page["results"][0]["value"] == {"price": None, "rate": 0.0}


async def test_a_market_without_limit_is_refused_with_the_orders_named():
    def cross(_auction):
        raise BatchFailed("unlimited orders cross", orders=("a", "b"))

    async with (
        open_bench(solver=FixedSolver(fail=cross)) as bench,
        bench.client(TOKEN) as client,
    ):
        _, (item,), _ = await make(client)
        reply = await client.post("/batch")
        listed = (await client.get("/batch")).json()["results"]
        outcomes = (await client.get(f"/product/{item}/outcomes")).json()

    assert reply.status_code == 409
    assert reply.json()["orders"] == ["a", "b"]
    (record,) = listed
    assert (record["status"], record["orders"]) == ("failed", ["a", "b"])
    assert record["outcome_hash"] is None
    assert outcomes["results"] == []


async def test_a_solver_without_answer_fails_the_batch_and_not_the_service():
    def give_up(_auction):
        raise SolverFailed("no answer could be certified")

    async with (
        open_bench(solver=FixedSolver(fail=give_up)) as bench,
        bench.client(TOKEN) as client,
    ):
        await make(client)

        assert (await client.post("/batch")).status_code == 409
        assert (await client.get("/health/ready")).status_code == 200


async def test_a_bug_is_500_without_its_words(client, bench, monkeypatch):
    def broken(_bidders):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(bench.service, "demands", broken)

    reply = await client.get("/demand")

    assert reply.status_code == 500
    assert "secret" not in reply.text


async def test_a_full_store_is_503_with_the_time_to_wait(client, bench, monkeypatch):
    async def busy(_operation):
        raise StoreBusy(4096)

    monkeypatch.setattr(bench.service._store, "execute", busy)

    reply = await client.post("/product", json=new_id())

    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "1"


# Beyond the reference.


async def test_an_outdated_entity_tag_is_412(client):
    demand, _, portfolio = await make(client)
    seen = (await client.get(f"/demand/{demand}")).headers["etag"]
    renewed = await client.put(
        f"/demand/{demand}", json={"price": 2}, headers={"If-Match": seen}
    )

    late = await client.put(
        f"/demand/{demand}", json={"price": 3}, headers={"If-Match": seen}
    )
    fresh = await client.delete(
        f"/demand/{demand}", headers={"If-Match": renewed.headers["etag"]}
    )
    any_version = await client.patch(
        f"/portfolio/{portfolio}", json={"demand": []}, headers={"If-Match": "*"}
    )
    nonsense = await client.delete(f"/demand/{demand}", headers={"If-Match": "x"})

    assert renewed.status_code == 200
    assert late.status_code == 412
    assert fresh.status_code == 200
    assert any_version.status_code == 200
    assert nonsense.status_code == 400


async def test_reads_of_the_past_answer_as_they_would_have_then(bench, client):
    demand, _, portfolio = await make(client)
    then = (await client.get(f"/portfolio/{portfolio}")).json()["valid_from"]
    bench.clock.advance(1)
    changed = await client.put(f"/demand/{demand}", json={"price": 2})
    await client.patch(f"/portfolio/{portfolio}", json={"demand": []})

    past = (await client.get(f"/demand/{demand}?as_of={then}")).json()
    present = (await client.get(f"/demand/{demand}")).json()
    early = await client.get(f"/demand/{demand}?as_of=2001-01-01T00:00:00Z")
    group = (await client.get(f"/portfolio/{portfolio}?as_of={then}")).json()

    assert past["curve_data"]["price"] == 1
    assert past["valid_until"] == changed.json()["valid_from"]
    assert past["portfolios"] == {portfolio: 1.0}
    assert (present["curve_data"]["price"], present["portfolios"]) == (2, None)
    assert early.status_code == 404
    assert group["demand"] == {demand: 1.0}


async def test_products_are_listed_by_kind_and_delivery():
    async with open_bench(ids=TimeOrderedIds()) as bench, bench.client(TOKEN) as client:
        for day, kind in ((1, 0), (2, 0), (2, 1)):
            body = {
                "from": f"2030-06-0{day}T00:00:00Z",
                "thru": f"2030-06-0{day + 1}T00:00:00Z",
                "kind": kind,
            }
            assert (await client.post("/product", json=body)).status_code == 201
        twice = await client.post("/product", json=body)
        named = await client.post("/product", json={"name": "BTC-USDT"})
        wrong = await client.post("/product", json={**body, "kind": 2})

        async def listed(**query):
            reply = await client.get("/product", params=query)
            return [record["id"] for record in reply.json()["results"]]

        everything = await listed()
        forwards = await listed(kind="0")
        second_day = await listed(**{"from": "2030-06-02T00:00:00Z"})
        first_day = await listed(thru="2030-06-02T00:00:00Z")

    assert (twice.status_code, wrong.status_code) == (409, 422)
    assert everything[3] == named.json()["id"]
    assert forwards == everything[:2]
    assert second_day == everything[1:3]
    assert first_day == everything[:1]


async def test_pages_of_products_tile_the_list(client):
    made = [new_id() for _ in range(5)]
    for key in made:
        await client.post("/product", json=key)

    listed, query = [], {}
    while True:
        page = (await client.get("/product", params=query)).json()
        listed += [record["id"] for record in page["results"]]
        if "more" not in page:
            break
        query = {"after": page["more"]}

    assert listed == made


async def test_a_product_that_is_none_comes_before_nothing_and_has_no_parts(client):
    after = await client.get("/product", params={"after": new_id()})
    body = [{"app_data": "no id, which would be 422", "ratio": 1}]
    parts = await client.post(f"/product/{new_id()}", json=body)

    assert (after.status_code, parts.status_code) == (404, 404)


async def test_divided_products_can_be_left_out(client):
    root, part = new_id(), new_id()
    await client.post("/product", json=root)
    await client.post(f"/product/{root}", json=[{"app_data": part, "ratio": 1}])

    page = (await client.get("/product", params={"leaves": "true"})).json()

    assert [record["id"] for record in page["results"]] == [part]


async def test_batches_are_listed_with_their_proofs(bench, client):
    await make(client)
    stamps = []
    for _ in range(3):
        bench.clock.advance(1)
        stamps.append((await client.post("/batch")).text)

    first = (await client.get("/batch")).json()
    rest = (await client.get("/batch", params=first["more"])).json()
    one = (await client.get(f"/batch/{stamps[1]}")).json()
    latest = (await client.get("/batch/latest")).json()

    assert [r["as_of"] for r in first["results"] + rest["results"]] == stamps[::-1]
    assert [r["seq"] for r in first["results"] + rest["results"]] == [3, 2, 1]
    assert one == first["results"][1]
    assert latest["as_of"] == stamps[2]
    assert len(one["input_hash"]) == len(one["outcome_hash"]) == 64
    assert one["certificate"]["status"] == "certified"
    assert (await client.get("/batch/2001-01-01T00:00:00Z")).status_code == 404


async def test_an_outcome_is_valid_until_the_next_batch(bench, client):
    _, (item,), _ = await make(client)
    stamps = []
    for _ in range(2):
        bench.clock.advance(1)
        stamps.append((await client.post("/batch")).text)

    results = (await client.get(f"/product/{item}/outcomes")).json()["results"]

    periods = [(r["valid_from"], r["valid_until"]) for r in results]
    assert periods == [(stamps[1], None), (stamps[0], stamps[1])]


async def test_a_submission_replaces_all_bids_at_once(client):
    old, (item,), old_portfolio = await make(client)
    demand, portfolio = new_id(), new_id()
    body = {
        "demands": [{"id": demand, "app_data": demand, "curve_data": {"price": 5}}],
        "portfolios": [
            {"id": portfolio, "app_data": portfolio, "demand": demand, "basis": item}
        ],
    }

    put = await client.put("/submission", json=body)
    got = await client.get("/submission")

    assert put.status_code == 200
    assert [d["id"] for d in put.json()["demands"]] == [demand]
    assert [p["id"] for p in put.json()["portfolios"]] == [portfolio]
    assert put.json()["demands"][0]["portfolios"] == {portfolio: 1.0}
    assert got.json()["portfolios"] == put.json()["portfolios"]
    stopped = (await client.get(f"/demand/{old}")).json()
    assert stopped["curve_data"] is None
    assert stopped["valid_from"] == put.json()["as_of"]
    assert (await client.get(f"/portfolio/{old_portfolio}")).json()["basis"] is None


async def test_a_submission_keeps_what_is_only_named(client):
    demand, _, portfolio = await make(client)
    before = (await client.get("/submission")).json()

    body = {"demands": [{"id": demand}], "portfolios": [{"id": portfolio}]}
    after = (await client.put("/submission", json=body)).json()

    assert after["demands"] == before["demands"]
    assert after["portfolios"] == before["portfolios"]


async def test_a_new_entry_of_a_submission_brings_its_data(client):
    for kind, entry in (("demands", {"curve_data": None}), ("portfolios", {})):
        reply = await client.put("/submission", json={kind: [entry]})

        assert reply.status_code == 422
        assert "is new and needs app_data" in reply.json()["detail"]


async def test_a_bad_entry_refuses_the_whole_submission(client):
    demand, (item,), portfolio = await make(client)
    before = (await client.get("/submission")).json()
    body = {
        "demands": [{"id": demand, "curve_data": {"price": 9}}],
        "portfolios": [{"id": portfolio, "basis": {item: 1, new_id(): 1}}],
    }

    refused = await client.put("/submission", json=body)
    twice = await client.put(
        "/submission", json={"demands": [{"id": demand}, {"id": demand}]}
    )
    incomplete = await client.put("/submission", json={"demands": [{"id": new_id()}]})

    assert [r.status_code for r in (refused, twice, incomplete)] == [422, 422, 422]
    after = (await client.get("/submission")).json()
    assert after["demands"] == before["demands"]
    assert after["portfolios"] == before["portfolios"]


async def test_a_submission_cannot_take_over_anothers_id(bench, client):
    demand, _, _ = await make(client)
    async with bench.client(f"bidder_id={new_id()}{ALL}") as thief:
        named = await thief.put("/submission", json={"demands": [{"id": demand}]})

    assert named.status_code == 409


async def test_auto_solve_runs_a_batch_after_a_change():
    settings = Settings(server=ServerSettings(auto_solve=True))
    solver = FixedSolver()
    async with (
        open_bench(settings, solver=solver) as bench,
        bench.client(TOKEN) as client,
    ):
        with bench.hub.subscribe(("market", "")) as updates:
            demand, _, _ = await make(client)
            await client.put(f"/demand/{demand}", json={"price": 2})
            while b"event: batch" not in await updates.receive():
                pass

    assert solver.auctions


@pytest.mark.parametrize("path", ["/demand", f"/demand/{new_id()}", "/batch"])
async def test_browsers_of_any_origin_may_ask(client, path):
    preflight = await client.options(
        path,
        headers={
            "Origin": "https://example.org",
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "authorization,content-type,if-match",
        },
    )
    simple = await client.get("/health", headers={"Origin": "https://example.org"})

    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert {"authorization", "content-type", "if-match"} <= set(allowed.split(", "))
    assert simple.headers["access-control-allow-origin"] == "*"
    exposed = simple.headers["access-control-expose-headers"].lower()
    assert {"etag", "preference-applied"} <= set(exposed.split(", "))
