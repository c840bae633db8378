"""A body that names a member twice is refused, whatever it is and wherever it does."""

import json
from uuid import uuid4

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowtrade.api.names import check_names
from flowtrade.api.problems import BadRequest
from flowtrade.models.demand import CreateDemand
from flowtrade.models.portfolio import CreatePortfolio, PatchPortfolio, TradeCap
from flowtrade.models.product import PartitionChild
from flowtrade.models.submission import Submission, SubmittedDemand, SubmittedPortfolio
from flowtrade.settings import AuctionSettings, Settings
from flowtrade.testing.bench import open_bench

RECORDS = [CreateDemand, CreatePortfolio, PatchPortfolio, TradeCap, Submission]
ID, OTHER = str(uuid4()), str(uuid4())
ALL = "".join(
    f"&can_{right}=true"
    for right in ("create_bid", "read_bid", "update_bid", "manage_products")
)
TOKEN = f"bidder_id={uuid4()}{ALL}"

TWICE = [
    ("POST", "/product", '{"kind":0,"kind":1}', "kind"),
    ("POST", "/product/ID", '[{"app_data":1,"ratio":1,"ratio":2}]', "ratio"),
    ("POST", "/product/ID", '[{"app_data":{"a":{"b":1,"b":2}},"ratio":1}]', "b"),
    (
        "POST",
        "/demand",
        '{"app_data":1,"curve_data":[],"curve_data":null}',
        "curve_data",
    ),
    ("POST", "/demand", '{"app_data":[[{"a":1,"a":1}]],"curve_data":null}', "a"),
    ("POST", "/demand", '{"app_data":1,"curve_data":{"price":1,"price":2}}', "price"),
    ("PUT", "/demand/ID", '{"price":1,"pric\\u0065":2}', "price"),
    ("PUT", "/demand/ID", '[{"rate":0,"rate":0,"price":1}]', "rate"),
    ("PUT", "/demand/ID", '[{"rate":0,"price":1,"x":1,"x":2}]', "x"),
    ("POST", "/portfolio", '{"app_data":1,"demand":{"A":1,"A":2},"basis":null}', "A"),
    ("PATCH", "/portfolio/ID", '{"basis":null,"basis":{}}', "basis"),
    ("PATCH", "/portfolio/ID", '{"basis":{"A":1,"A":1}}', "A"),
    ("PUT", "/portfolio/ID/cap", '{"max_trade":1,"max_trade":2}', "max_trade"),
    ("PUT", "/submission", '{"demands":[],"demands":[]}', "demands"),
    ("PUT", "/submission", '{"demands":[{"id":"A","id":"A"}]}', "id"),
    ("PUT", "/submission", '{"portfolios":[{"id":"A","demand":{"B":1,"B":2}}]}', "B"),
]


@pytest.fixture
async def client():
    settings = Settings(auction=AuctionSettings(horizon=1.0))
    async with open_bench(settings) as bench, bench.client(TOKEN) as opened:
        await opened.post("/product", json=ID)
        await opened.post("/demand", json={"app_data": ID, "curve_data": None})
        body = {"app_data": ID, "demand": None, "basis": None}
        await opened.post("/portfolio", json=body)
        yield opened


@pytest.mark.parametrize(("method", "path", "body", "name"), TWICE)
async def test_a_member_named_twice_is_400_with_its_name(
    client, method, path, body, name
):
    reply = await client.request(
        method,
        path.replace("ID", ID),
        content=body,
        headers={"Content-Type": "application/json"},
    )

    assert reply.status_code == 400
    assert f"two members {name!r}" in reply.json()["detail"]


async def test_colons_that_follow_no_name_are_data(client):
    body = {
        "app_data": OTHER,
        "curve_data": {"price": 1, "note": "a: b::", "c": [[{}]]},
    }

    made = await client.post("/demand", json=body)

    assert made.status_code == 201


POINTS = '[{"rate":0,"price":2},{"rate":1,"price":1}]'
GROUP = f'{{"{ID}":1,"{OTHER}":-2}}'
USUAL = [
    (CreateDemand, f'{{"app_data":null,"curve_data":{POINTS}}}'),
    (CreateDemand, '{"app_data":{"name":"d"},"curve_data":{"price":1,"min_rate":0}}'),
    (CreatePortfolio, f'{{"app_data":[1],"demand":"{ID}","basis":{GROUP}}}'),
    (PatchPortfolio, f'{{"basis":{GROUP}}}'),
    (TradeCap, '{"max_trade":1}'),
    (list[PartitionChild], '[{"app_data":{"name":"p"},"ratio":1}]'),
    (Submission, f'{{"demands":[{{"id":"{ID}","curve_data":{POINTS}}}]}}'),
    (Submission, f'{{"portfolios":[{{"id":"{ID}","basis":{GROUP}}}]}}'),
    (object, "{}"),
    (object, POINTS),
]


@pytest.mark.parametrize(("kind", "text"), USUAL)
def test_usual_bodies_are_not_read_again(kind, text, monkeypatch):
    def read_again(*_arguments, **_options):
        raise AssertionError("a usual body was read again")

    decoded = msgspec.json.decode(text, type=kind)
    monkeypatch.setattr(json, "loads", read_again)

    check_names(text.encode(), decoded)


def test_what_may_be_left_out_is_empty_by_default():
    # Or a default would be counted for a name that was given.
    for kind in (*RECORDS, SubmittedDemand, SubmittedPortfolio, PartitionChild):
        for field in msgspec.structs.fields(kind):
            if field.default_factory is not msgspec.NODEFAULT:
                assert not field.default_factory()
            elif not field.required:
                assert field.default in (None, msgspec.UNSET)


names = st.sampled_from(["app_data", "curve_data", "demand", "basis", "id", ":", ""])
leaves = st.none() | st.integers(0, 1) | st.sampled_from(["", ":", 'a":', "b\\"])
members = st.lists(st.tuples(names, st.deferred(lambda: values)), max_size=4)
values = leaves | st.lists(st.deferred(lambda: values), max_size=3) | members.map(tuple)


def written(value):
    """Write a value as JSON; a tuple of pairs is an object, as it stands."""
    if isinstance(value, tuple):
        return "{" + ",".join(f"{json.dumps(k)}: {written(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value)


def is_ambiguous(value):
    if isinstance(value, tuple):
        keys = [key for key, _ in value]
        return len(set(keys)) < len(keys) or any(is_ambiguous(v) for _, v in value)
    return isinstance(value, list) and any(map(is_ambiguous, value))


bodies = values | st.tuples(
    st.tuples(st.just("app_data"), values), st.tuples(st.just("curve_data"), values)
)


@given(bodies)
@example((("demand", None), ("demand", 1)))
@example((("app_data", None), ("curve_data", [(("a", 1), ("a", 1))])))
def test_exactly_the_ambiguous_bodies_are_refused(value):
    data = written(value).encode()
    for kind in (*RECORDS, object, list[SubmittedDemand]):
        try:
            decoded = msgspec.json.decode(data, type=kind)
        except msgspec.ValidationError:
            continue
        if is_ambiguous(value):
            with pytest.raises(BadRequest):
                check_names(data, decoded)
        else:
            check_names(data, decoded)


def test_what_is_nested_without_end_is_refused():
    data = b'{"a":' * 5_000 + b"1" + b"}" * 5_000

    with pytest.raises(BadRequest, match="nested too deep"):
        check_names(data, {"a": 1})
