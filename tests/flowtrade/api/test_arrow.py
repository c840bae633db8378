"""Bulk bids as Arrow columns: the same operations, the same answers."""

import math
from types import SimpleNamespace
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyarrow")

import pyarrow as pa

from flowtrade.api.arrow import ARROW_STREAM, _by_columns, _by_rows
from flowtrade.api.bulk import _read
from flowtrade.ids import TimeOrderedIds
from flowtrade.settings import ServerSettings, Settings, StoreSettings
from flowtrade.testing.bench import open_bench

RIGHTS = (
    "&can_create_bid=true&can_query_bid=true&can_read_bid=true&can_update_bid=true"
    "&can_view_products=true&can_manage_products=true"
)
TOKEN = f"bidder_id={uuid4()}{RIGHTS}"

POINT = pa.struct([("rate", pa.float64()), ("price", pa.float64())])
CONSTANT = pa.struct([(n, pa.float64()) for n in ("min_rate", "max_rate", "price")])
GROUP = pa.map_(pa.string(), pa.float64())
SCHEMA = pa.schema(
    [
        ("op", pa.string()),
        ("id", pa.string()),
        ("app_data", pa.string()),
        ("curve", pa.list_(POINT)),
        ("constant", CONSTANT),
        ("demand", GROUP),
        ("basis", GROUP),
    ]
)


def stream(rows, schema=SCHEMA):
    table = pa.Table.from_pylist(rows, schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table, max_chunksize=2 if len(rows) < 9 else 1500)
    return sink.getvalue().to_pybytes()


@pytest.fixture(params=["memory", "sqlite"])
async def client(request, tmp_path):
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 's.db'}"
    settings = Settings(
        store=StoreSettings(url=url), server=ServerSettings(body_limit=2**20)
    )
    async with (
        open_bench(settings, ids=TimeOrderedIds()) as bench,
        bench.client(TOKEN) as opened,
    ):
        yield opened


async def post(client, data, status=200):
    headers = {"Content-Type": ARROW_STREAM}
    reply = await client.post("/bulk", content=data, headers=headers)
    assert reply.status_code == status, reply.text
    if status != 200:
        return reply.json()
    return [msgspec.json.decode(line) for line in reply.content.splitlines()]


async def test_rows_are_carried_out_in_order_and_fail_alone(client):
    item = (await client.post("/product", json={"name": "x"})).json()["id"]
    demand, portfolio = str(uuid4()), str(uuid4())
    curve = [{"rate": 0, "price": 9}, {"rate": 2, "price": 1}]

    answers = await post(
        client,
        stream(
            [
                {"op": "create_demand", "id": demand, "app_data": '{"name": "d"}'},
                {"op": "set_curve", "id": demand, "curve": curve},
                {
                    "op": "create_portfolio",
                    "id": portfolio,
                    "demand": [(demand, 1.0)],
                    "basis": [(item, 2.0)],
                },
                {"op": "set_groups", "id": portfolio, "basis": [(item, 3.0)]},
                {"op": "set_curve", "id": demand, "constant": {"price": 5}},
                {"op": "set_curve", "id": demand, "curve": []},
                {"op": "set_curve", "curve": curve},
                {"op": "set_curve", "id": demand, "curve": curve, "constant": {}},
                {"op": "create_demand", "app_data": "{"},
                {"op": "dance"},
                {"op": None},
                {"op": "create_demand", "constant": {"price": 1, "max_rate": 2}},
            ]
        ),
    )

    statuses = [answer["status"] for answer in answers]
    assert statuses == [201, 200, 201, 200, 200, 422, 422, 422, 422, 422, 422, 201]
    assert answers[0]["record"]["app_data"] == {"name": "d"}
    history = (await client.get(f"/demand/{demand}/curve-history")).json()
    assert history["results"][1]["value"] == curve
    assert answers[3]["record"]["demand"] == {demand: 1.0}
    assert answers[3]["record"]["basis"] == {item: 3.0}
    assert answers[4]["record"]["curve_data"] == {
        "min_rate": None,
        "max_rate": None,
        "price": 5.0,
    }
    stored = (await client.get(f"/demand/{demand}")).json()
    assert stored["curve_data"] == answers[4]["record"]["curve_data"]


async def test_columns_that_are_not_needed_may_be_missing(client):
    schema = pa.schema([("op", pa.string()), ("constant", CONSTANT)])
    rows = [{"op": "create_demand", "constant": {"price": n}} for n in range(1000)]

    answers = await post(client, stream(rows, schema))

    assert {answer["status"] for answer in answers} == {201}
    assert len((await client.get("/demand")).json()) == 1000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no readable Arrow stream"),
        (b"nonsense", "no readable Arrow stream"),
        (stream([{"op": "create_demand"}])[:-40], "no readable Arrow stream"),
        (stream([{"id": "x"}], pa.schema([("id", pa.string())])), "the columns must"),
        (
            stream([], pa.schema([("op", pa.string()), ("price", pa.float64())])),
            "the columns must",
        ),
        (
            stream([{"op": "x"}] * 40_001, pa.schema([("op", pa.string())])),
            "at most 40000 rows",
        ),
        (
            stream([{"op": "set_groups", "demand": [("a", 1.0), ("a", 2.0)]}]),
            "no readable Arrow stream",
        ),
    ],
)
async def test_a_stream_that_cannot_be_read_is_400(client, data, reason):
    problem = await post(client, data, status=400)

    assert reason in problem["detail"]


async def test_text_in_a_column_of_numbers_is_refused_row_by_row(client):
    schema = pa.schema([("op", pa.string()), ("constant", pa.string())])

    (answer,) = await post(
        client, stream([{"op": "create_demand", "constant": "5"}], schema)
    )

    assert answer["status"] == 422


rows_of_curves = st.lists(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["set_curve", "set_curve", "create_demand"]),
            "id": st.sampled_from([str(UUID(int=5)), "nobody", None]),
            "app_data": st.sampled_from([None, "1", '{"a": 2}', "{"]),
            "curve": st.none()
            | st.lists(
                st.fixed_dictionaries(
                    {
                        "rate": st.sampled_from([0.0, -0.0, -1.0, 1.0, math.nan]),
                        "price": st.sampled_from([1.0, 1.0, 0.5, math.inf]),
                    }
                ),
                max_size=3,
            ),
        }
    ),
    max_size=6,
)


@given(rows_of_curves, st.integers(0, 6))
def test_a_batch_means_the_same_read_by_columns_and_by_rows(rows, cut):
    (batch,) = pa.Table.from_pylist(rows, schema=SCHEMA).to_batches() or (
        pa.RecordBatch.from_pylist(rows, schema=SCHEMA),
    )
    batch = batch.slice(min(cut, len(rows)))

    by_columns = _by_columns(batch)

    assert by_columns is not None
    told = [meaning(line) for line in by_columns]
    assert told == [meaning(line) for line in _by_rows(batch)]
    assert len(told) == batch.num_rows


@pytest.mark.parametrize(
    "row",
    [
        {"op": "set_groups", "id": "x"},
        {"op": "set_curve", "id": "x", "constant": {"price": 1.0}},
        {"op": "set_curve", "id": "x", "curve": [{"rate": None, "price": 1.0}]},
        {"op": "set_curve", "id": "x", "curve": [None]},
        {"op": None},
    ],
)
def test_a_batch_of_other_things_is_read_by_rows(row):
    rows = [{"op": "set_curve", "id": "x", "curve": []}, row]

    assert _by_columns(pa.RecordBatch.from_pylist(rows, schema=SCHEMA)) is None


def meaning(line):
    """What a row comes to: an operation, or the words of its refusal."""
    service = SimpleNamespace(new_id=lambda _kind, _data: str(UUID(int=6)))
    result = _read(service, str(UUID(int=1)), line)
    if isinstance(result, Exception):
        return type(result), str(result)
    return result, repr(result)


async def test_a_table_without_curves_withdraws_none(client):
    made = await post(
        client,
        stream([{"op": "create_demand", "curve": [{"rate": 0.0, "price": 1.0}]}]),
    )
    demand = made[0]["record"]["id"]
    rows = [{"op": "set_curve", "id": demand}]
    bare = pa.schema([field for field in SCHEMA if field.name in ("op", "id")])

    (refused,) = await post(client, stream(rows, bare))
    kept = (await client.get(f"/demand/{demand}")).json()["curve_data"]
    (withdrawn,) = await post(client, stream(rows))

    assert (refused["status"], refused["code"]) == (422, "invalid")
    assert "curve_data" in refused["detail"]
    assert kept == [{"rate": 0.0, "price": 1.0}]
    assert withdrawn["record"]["curve_data"] is None
