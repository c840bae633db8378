"""The quick ways of reading many bids say what the plain ways say."""

import json
import math
from types import SimpleNamespace
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowtrade.api.bulk import _read
from flowtrade.api.bulklines import read_line, read_line_plainly
from flowtrade.errors import RequestError
from flowtrade.ids import TimeOrderedIds
from flowtrade.settings import ServerSettings, Settings
from flowtrade.testing.bench import open_bench

BIDDER = str(UUID(int=1))
NEW = str(UUID(int=2))
SERVICE = SimpleNamespace(new_id=lambda _kind, _data: NEW)
TOKEN = f"bidder_id={uuid4()}&can_create_bid=true&can_query_bid=true&can_read_bid=true"
LINES = {"Content-Type": "application/x-ndjson"}


def meaning(line):
    """What a line comes to: an operation, or the words of its refusal."""
    result = _read(SERVICE, BIDDER, line)
    if isinstance(result, RequestError):
        return type(result), str(result)
    return result, repr(result)  # which tells 0.0 from -0.0


NUMBERS = """
    0 1 -1 -0 0.0 -0.0 2.5 -7e-3 1e308 1e999 -1e999 1e-400 9007199254740993
    123456789012345678901234567890 18446744073709551616 null true [] {} NaN 01 -
"""
numbers = (
    st.sampled_from([*NUMBERS.split(), '"1"'])
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.integers().map(str)
)
good_points = st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), max_size=5).map(
    lambda pairs: [
        {"rate": rate, "price": -price}
        for rate, price in zip(
            sorted([0.0, *(p[0] for p in pairs)]),
            sorted([0.0, *(p[1] for p in pairs)]),
            strict=True,
        )
    ]
)
point = st.tuples(st.sampled_from(["rate", "price"]), numbers).map(
    lambda pair: f'"{pair[0]}": {pair[1]}'
)
points = st.lists(st.lists(point, max_size=3), max_size=4).map(
    lambda rows: "[" + ", ".join("{" + ", ".join(row) + "}" for row in rows) + "]"
)
constants = st.lists(
    st.tuples(st.sampled_from(["min_rate", "max_rate", "price", "x"]), numbers),
    max_size=4,
).map(lambda pairs: "{" + ", ".join(f'"{k}": {v}' for k, v in pairs) + "}")
curves = good_points.map(json.dumps) | points | constants | numbers
ids = st.sampled_from(
    [f'"{UUID(int=77)}"', f'"{UUID(int=0xABC << 64)}"'.upper(), '"nobody"', "7", "null"]
)
fields = st.fixed_dictionaries(
    {"op": st.sampled_from(['"set_curve"', '"create_demand"', '"dance"', "1"])},
    optional={
        "id": ids,
        "app_data": st.sampled_from(['{"a": 1.0}', "null", "[1e999]", "{"]),
        "curve_data": curves,
        "note": st.just("1"),
    },
)


@given(fields)
@example({"op": '"create_demand"', "app_data": "1", "id": '"x"', "curve_data": "[]"})
@example({"op": '"set_curve"', "id": '"x"', "curve_data": '[{"rate":1,"price":0}]'})
def test_a_line_means_the_same_read_quickly_and_plainly(texts):
    text = "{" + ", ".join(f'"{key}": {value}' for key, value in texts.items()) + "}"

    quick, plain = read_line(text.encode()), read_line_plainly(text.encode())

    assert meaning(quick) == meaning(plain)


@given(st.binary(max_size=40) | st.just(b"[" * 100_000))
def test_bytes_that_are_no_line_are_refused_in_the_same_words(text):
    assert meaning(read_line(text)) == meaning(read_line_plainly(text))


@pytest.fixture
async def client():
    settings = Settings(server=ServerSettings(body_limit=2**21))
    async with (
        open_bench(settings, ids=TimeOrderedIds()) as bench,
        bench.client(TOKEN) as opened,
    ):
        yield opened


def body(lines):
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


async def test_records_can_be_left_out(client):
    key = str(uuid4())
    lines = body(
        [
            {"op": "create_demand", "id": key, "app_data": 1, "curve_data": None},
            {"op": "set_curve", "id": key, "curve_data": {"price": 3}},
            {"op": "set_curve", "id": key, "curve_data": []},
        ]
    )

    whole = await client.post("/bulk", content=lines, headers=LINES)
    for preference in ("return=minimal", "respond-async, Return = Minimal; x=1"):
        again = await client.post(
            "/bulk", content=lines, headers={**LINES, "Prefer": preference}
        )

        assert again.headers["preference-applied"] == "return=minimal"
        made, changed, refused = map(msgspec.json.decode, again.content.splitlines())
        assert made["code"] == "id-taken"
        assert changed == {"line": 2, "status": 200}
        assert refused["status"] == 422
    other = await client.post(
        "/bulk", content=lines, headers={**LINES, "Prefer": "return=representation"}
    )

    assert "preference-applied" not in whole.headers
    assert "preference-applied" not in other.headers
    assert [line["line"] for line in map(json.loads, whole.text.splitlines())] == [
        1,
        2,
        3,
    ]
    assert json.loads(whole.text.splitlines()[1])["record"]["curve_data"]["price"] == 3


async def test_a_long_body_is_numbered_through_and_lets_others_in_between(client):
    lines = body(
        {"op": "create_demand", "app_data": n, "curve_data": {"price": n}}
        for n in range(1_000)
    )

    reply = await client.post("/bulk", content=lines, headers=LINES)

    answers = [json.loads(line) for line in reply.text.splitlines()]
    assert [answer["line"] for answer in answers] == list(range(1, 1_001))
    assert [answer["record"]["app_data"] for answer in answers] == list(range(1_000))
    assert all(
        math.isclose(a["record"]["curve_data"]["price"], a["line"] - 1) for a in answers
    )
