"""The hot lane: the framework's answers without the framework."""

import re
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from litestar import Litestar

from flowtrade.api.front import Front, shortcut_of
from flowtrade.api.routes import ROUTES, Lane
from flowtrade.api.timing import OTHER
from flowtrade.serve import serve
from flowtrade.settings import ServerSettings, Settings
from flowtrade.testing.bench import open_bench

BIDDER = "11111111-1111-4111-8111-111111111111"
OTHERS = "22222222-2222-4222-8222-222222222222"
RIGHTS = (
    "&can_create_bid=true&can_query_bid=true&can_read_bid=true&can_update_bid=true"
    "&can_view_products=true&can_manage_products=true"
)
TOKEN = f"bidder_id={BIDDER}{RIGHTS}"
STRANGER = f"bidder_id={OTHERS}{RIGHTS}"
DEMAND, PORTFOLIO, PRODUCT, NOTHING = (
    f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abcd"
)
PWL = '[{"rate":-1,"price":9},{"rate":0.5,"price":9.0},{"rate":2,"price":1e0}]'


def new_demand(key=DEMAND):
    return f'{{"app_data":"{key}","curve_data":{PWL}}}'


def new_portfolio(demand=DEMAND):
    return f'{{"app_data":"{PORTFOLIO}","demand":"{demand}","basis":"{PRODUCT}"}}'


JSON = {"Content-Type": "application/json"}

BODIES = [
    "",
    "{",
    "null",
    "[]",
    '{"price":1e999}',
    '{"price":5}',
    '{"price":"5"}',
    '{"min_rate":1,"price":5}',
    "[" * 5_000,
    PWL,
    '[{"rate":0,"price":1,"note":"ignored"}]',
    '[{"rate":0,"price":1},{"rate":0,"price":2}]',
    '[{"rate":0,"price":true}]',
    '[{"rate":1,"price":1}]',
    f"[{PWL[1:-1]}," * 200,
    "[" + ",".join(['{"rate":0,"price":1}'] * 60) + "]",
]


def requests():
    """A session over all hot routes: what works, what is wrong and with whose token."""
    yield "POST", "/demand", {}, new_demand()
    yield "POST", "/demand", {}, new_demand()
    yield "POST", "/demand", {"Idempotency-Key": "k"}, new_demand(OTHERS)
    yield "POST", "/demand", {"Idempotency-Key": "k"}, new_demand(OTHERS)
    yield "POST", "/demand", {"Idempotency-Key": "k"}, new_demand(NOTHING)
    yield "POST", "/portfolio", {}, new_portfolio()
    yield "POST", "/portfolio", {}, new_portfolio(NOTHING)
    for kind, key in (("demand", DEMAND), ("portfolio", PORTFOLIO)):
        for name in (
            key,
            NOTHING,
            key.upper(),
            "no-id",
            f"{key}/",
            key.replace("-", ""),
        ):
            yield "GET", f"/{kind}/{name}", {}, ""
        for query in (
            "as_of=1970-01-01T00:00:00Z",
            "as_of=x",
            "expand=true",
            "expand=7",
        ):
            yield "GET", f"/{kind}/{key}?{query}", {}, ""
        for token in ("", STRANGER, "can_read_bid=maybe"):
            yield "GET", f"/{kind}/{key}", {"Authorization": f"Bearer {token}"}, ""
        yield "GET", f"/{kind}/{key}", {"Authorization": "Basic x"}, ""
        yield "GET", f"/{kind}/{key}", {"Origin": "https://elsewhere"}, ""
        yield "GET", f"/{kind}/{key}", {"Host": "a b"}, ""
        yield "TRACE", f"/{kind}/{key}", {}, ""
    for body in BODIES:
        yield "PUT", f"/demand/{DEMAND}", {}, body
        yield "POST", "/demand", {}, body
        yield "PATCH", f"/portfolio/{PORTFOLIO}", {}, body
        yield "PUT", "/submission", {}, body
    for media in ("text/plain", "application/vnd.x+json", "APPLICATION/JSON; a=b", ""):
        yield "PUT", f"/demand/{DEMAND}", {"Content-Type": media}, PWL
    for tag in ('"1970-01-01T00:00:00Z"', "*", "W/x", '""'):
        yield "PUT", f"/demand/{DEMAND}", {"If-Match": tag}, PWL
        yield "DELETE", f"/demand/{DEMAND}", {"If-Match": tag}, ""
    yield "PATCH", f"/portfolio/{PORTFOLIO}", {}, '{"demand":{}}'
    yield (
        "PUT",
        "/submission",
        {},
        f'{{"demands":[{new_demand(NOTHING)}],"portfolios":[]}}',
    )
    yield "DELETE", f"/demand/{DEMAND}", {}, ""


async def answers(bench):
    """Return all that a client sees of the session's answers."""
    seen = []
    async with bench.client(TOKEN) as client:
        assert (await client.post("/product", json=PRODUCT)).status_code == 201
        for method, path, headers, body in requests():
            bench.clock.advance(1)
            headers = {"Content-Type": "application/json", **headers}
            reply = await client.request(method, path, headers=headers, content=body)
            lines = sorted(reply.headers.items())
            seen.append((method, path, body, reply.status_code, lines, reply.content))
    return seen


def settings():
    return Settings(server=ServerSettings(body_limit=2_500))


def front_of(bench):
    front = bench.app.asgi_handler
    assert isinstance(front, Front)
    return front


async def test_both_lanes_answer_alike_byte_for_byte():
    async with open_bench(settings()) as hot, open_bench(settings()) as framed:
        front_of(framed)._hot.clear()

        seen = await answers(hot)

        assert seen == await answers(framed)
    assert {status for *_, status, _, _ in seen} >= {200, 201, 400, 401, 404, 409, 412}
    assert {status for *_, status, _, _ in seen} >= {405, 413, 415, 422}


@asynccontextmanager
async def a_peer_of(bench, shortcut):
    """Serve a bench's application on a socket; yield one connection to it."""
    run = partial(serve, bench.app, shortcut=shortcut)
    async with trio.open_nursery() as nursery:
        url = await nursery.start(run)
        async with await trio.open_tcp_stream("127.0.0.1", url_port(url)) as stream:
            yield stream
        nursery.cancel_scope.cancel()


def url_port(url):
    return int(url.rpartition(":")[2])


def wire_of(method, path, headers, body):
    lines = {"Host": "x", "Authorization": f"Bearer {TOKEN}", **headers}
    if body:
        lines["Content-Length"] = str(len(body))
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{text}\r\n{body}".encode()


async def exchange(stream, wire):
    """Send a request and return its response, which has a length."""
    await stream.send_all(wire)
    data = b""
    with trio.fail_after(60):
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        head, _, rest = data.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        while len(rest) < length:
            rest += await stream.receive_some()
    return head, rest


async def answers_on_the_wire(bench, shortcut):
    seen = []
    async with a_peer_of(bench, shortcut) as stream:
        made = wire_of("POST", "/product", JSON, f'"{PRODUCT}"')
        assert (await exchange(stream, made))[0].startswith(b"HTTP/1.1 201")
        for method, path, headers, body in requests():
            bench.clock.advance(1)
            wire = wire_of(method, path, {**JSON, **headers}, body)
            seen.append((method, path, body, *await exchange(stream, wire)))
    return seen


async def test_the_shortcut_answers_as_asgi_does_byte_for_byte():
    taken = []
    async with open_bench(settings()) as short, open_bench(settings()) as usual:
        known = shortcut_of(short.app)

        def shortcut(request, line):
            found = known(request, line)
            taken.append(found is not None)
            return found

        seen = await answers_on_the_wire(short, shortcut)

        assert seen == await answers_on_the_wire(usual, None)
    assert taken.count(True) > 60
    assert taken.count(False) > 20
    statuses = {int(head.split()[1]) for *_, head, _ in seen}
    assert statuses >= {200, 201, 400, 401, 404, 409, 412, 405, 413, 415, 422}


async def test_the_shortcut_asks_the_framework_for_nothing():
    async with open_bench() as bench:

        async def meet(scope, receive, send):
            raise AssertionError(f"the framework was asked for {scope['path']}")

        front_of(bench)._framework = meet
        shortcut = shortcut_of(bench.app)
        async with a_peer_of(bench, shortcut) as stream:
            made = wire_of("POST", "/demand", JSON, new_demand())
            assert (await exchange(stream, made))[0].startswith(b"HTTP/1.1 201")
            for method, body in (("GET", ""), ("PUT", PWL), ("DELETE", "")):
                wire = wire_of(method, f"/demand/{DEMAND}", JSON, body)
                assert (await exchange(stream, wire))[0].startswith(b"HTTP/1.1 200")


async def test_an_application_without_a_front_has_no_shortcut():
    # Without a logging of its own, which would be everybody's from then on.
    app = Litestar([], openapi_config=None, logging_config=None)

    assert shortcut_of(app) is None


async def test_plain_requests_of_hot_routes_do_not_meet_the_framework():
    hot = [route for route in ROUTES if route.lane is Lane.HOT]
    async with open_bench() as bench, bench.client("") as client:
        front = front_of(bench)

        async def meet(scope, receive, send):
            raise AssertionError(f"the framework was asked for {scope['path']}")

        front._framework = meet
        for route in hot:
            path = route.path.partition("{")[0]
            if path != route.path:
                path += NOTHING
            reply = await client.request(route.method, path)
            assert reply.status_code == 400, route  # there is no token
        with pytest.raises(AssertionError, match="the framework was asked for"):
            await client.get("/demand")
    assert len(hot) >= 8


async def test_an_exception_of_a_handler_is_the_same_bug_in_both_lanes(
    monkeypatch, caplog
):
    def fail(self, key):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("flowtrade.core.bidding.Bidding.demand_owner", fail)
    bodies = []
    for lane in Lane:
        async with open_bench() as bench, bench.client(TOKEN) as client:
            if lane is Lane.FRAMEWORK:
                front_of(bench)._hot.clear()
            reply = await client.get(f"/demand/{DEMAND}")
            bodies.append((reply.status_code, reply.content))

    assert bodies[0] == bodies[1]
    assert bodies[0][0] == 500
    # Once for each, and all of it: in the log alone it is told what was wrong.
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError] * 2
    assert {record.getMessage() for record in caplog.records} == {
        f"a bug answered GET /demand/{DEMAND}"
    }


@pytest.mark.parametrize("lane", Lane)
async def test_requests_are_counted_by_route_and_class_of_status(lane):
    async with open_bench() as bench, bench.client(TOKEN) as client:
        front = front_of(bench)
        if lane is Lane.FRAMEWORK:
            front._hot.clear()
        await client.post("/demand", content=new_demand(), headers=JSON)
        for name in (DEMAND, NOTHING, OTHERS, "no-id"):
            await client.get(f"/demand/{name}")
        await client.get("/demand")
        await client.get(f"/nothing/{DEMAND}")
        await client.request("BREW", f"/demand/{DEMAND}")

        counts = {key: sum(of.counts) for key, of in front._times.series.items()}
        assert all(of.seconds > 0 for of in front._times.series.values())

    assert counts == {
        ("POST /demand", 2): 1,
        ("GET /demand/{demand_id}", 2): 1,
        ("GET /demand/{demand_id}", 4): 3,
        ("GET /demand", 2): 1,
        (OTHER, 4): 2,
    }
