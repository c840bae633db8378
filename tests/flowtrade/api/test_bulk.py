"""The quick ways of reading many bids say what the plain ways say."""

import json
import math
from types import SimpleNamespace
from uuid import UUID, uuid4

import msgspec
import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from flowtrade.api.bulk import _answers, _Piece, _read, _read_piece
from flowtrade.api.bulklines import read_line, read_line_plainly
from flowtrade.api.problems import BadRequest
from flowtrade.core.bidding import Bidding
from flowtrade.errors import StoreBusy
from flowtrade.ids import TimeOrderedIds
from flowtrade.models.bulk import BulkAnswer, BulkCreateDemand
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
    if isinstance(result, Exception):
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


POINTS = '[{"rate": 0, "price": 2}, {"rate": 1, "price": 1}]'
TWICE = [
    f'{{"op": "set_curve", "id": "{NEW}", "curve_data": null, "curve_data": {POINTS}}}',
    f'{{"op": "set_curve", "id": "{NEW}", "curve_data": [{{"rate": 1, "rate": 0, '
    '"price": 1}]}',
    f'{{"op": "create_demand", "app_data": 1, "app_data": 2, "curve_data": {POINTS}}}',
    f'{{"op": "create_demand", "id": "{NEW}", "app_data": {{"a": 1, "a": 2}}, '
    f'"curve_data": {POINTS}}}',
    '{"op": "create_portfolio", "app_data": 1, "demand": {"a": 1, "a": 2}, '
    '"basis": null}',
    f'{{"op": "set_groups", "id": "{NEW}", "basis": "a", "basis": "b"}}',
    f'{{"op": "set_curve", "op": "set_curve", "id": "{NEW}", "curve_data": {POINTS}}}',
]


@pytest.mark.parametrize("text", TWICE)
def test_a_line_that_names_a_member_twice_is_refused(text):
    line = read_line(text.encode())

    assert isinstance(line, BadRequest)
    assert "two members" in str(line)


@pytest.mark.parametrize("data", ['{"a:b": "c:d"}', '{"a": {"b": [{"c": 1}]}}', '":"'])
@pytest.mark.parametrize("key", ["", f'"id": "{NEW}", '])
def test_colons_in_the_data_of_a_line_are_data(data, key):
    text = f'{{"op": "create_demand", {key}"app_data": {data}, "curve_data": {POINTS}}}'
    line = read_line(text.encode())

    assert isinstance(line, BulkCreateDemand)
    assert line.app_data == json.loads(data)


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


LONG = 4_300


def long_body():
    """More than goes to the store at once, here and there with a line that is none."""
    return body(
        {"op": "create_demand", "app_data": n, "curve_data": [{"rate": 0, "price": n}]}
        if n % 1_000 != 7
        else {"op": "dance"}
        for n in range(LONG)
    )


@pytest.mark.parametrize("preference", ["return=minimal", "return=representation"])
async def test_a_body_longer_than_the_queue_is_carried_out(client, preference):
    headers = {**LINES, "Prefer": preference}

    reply = await client.post("/bulk", content=long_body(), headers=headers)

    answers = [json.loads(line) for line in reply.text.splitlines()]
    assert [answer["line"] for answer in answers] == list(range(1, LONG + 1))
    assert [answer["status"] for answer in answers] == [
        201 if n % 1_000 != 7 else 422 for n in range(LONG)
    ]
    recorded = {
        a["line"] - 1: a["record"]["app_data"] for a in answers if "record" in a
    }
    assert recorded == (
        {n: n for n in range(LONG) if n % 1_000 != 7} if "rep" in preference else {}
    )
    assert len((await client.get("/demand")).json()) == LONG - 5


@pytest.mark.parametrize(("done", "status"), [(0, 503), (1, 200), (2, 200)])
async def test_what_the_store_has_no_room_for_is_told_line_by_line(
    client, monkeypatch, done, status
):
    calls = []
    real = Bidding.execute_many

    async def sometimes(service, operations):
        if len(calls) == done:
            raise StoreBusy(4_000)
        calls.append(len(operations))
        return await real(service, operations)

    monkeypatch.setattr(Bidding, "execute_many", sometimes)

    reply = await client.post("/bulk", content=long_body(), headers=LINES)

    assert reply.status_code == status
    kept = (await client.get("/demand")).json()
    assert len(kept) == sum(calls)
    if done:
        answers = [json.loads(line) for line in reply.text.splitlines()]
        assert [answer["status"] for answer in answers if answer["status"] != 422] == (
            [201] * sum(calls) + [503] * (LONG - 5 - sum(calls))
        )
        assert {a["code"] for a in answers if a["status"] == 503} == {"store-busy"}
        assert {a["line"] % 1_000 for a in answers if a["status"] == 422} == {8}


async def test_blank_lines_do_not_count(client):
    line = body([{"op": "create_demand", "app_data": 1, "curve_data": None}])
    blank = b"\n \r\n" * 20_000

    reply = await client.post("/bulk", content=blank + line + blank, headers=LINES)
    over = await client.post("/bulk", content=b"1\n" * 40_001, headers=LINES)

    assert [json.loads(a)["line"] for a in reply.text.splitlines()] == [1]
    assert over.status_code == 400
    assert "at most 40000 lines" in over.json()["detail"]


plain_lines = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["set_curve", "create_demand"])},
        optional={
            "id": st.sampled_from([str(UUID(int=77)), str(UUID(int=0xAB << 64))]),
            "app_data": st.sampled_from([None, {"a": 1.0}]),
            "curve_data": good_points | st.just(None) | st.just({"price": 1}),
        },
    ),
    max_size=4,
)
odd_lines = st.lists(fields, max_size=2).map(
    lambda rows: [
        "{" + ", ".join(f'"{key}": {value}' for key, value in row.items()) + "}"
        for row in rows
    ]
)


@given(plain_lines, odd_lines)
def test_lines_mean_the_same_together_and_one_by_one(plain, odd):
    texts = [*map(json.dumps, plain), *odd]
    lines = [read_line(text.encode()) for text in texts]

    piece = _read_piece(SERVICE, BIDDER, lines, first=5)

    found = [piece.refused.get(n) for n in range(5, piece.end)]
    rest = iter(piece.operations)
    found = [next(rest) if one is None else one for one in found]
    assert [
        (type(one), str(one)) if isinstance(one, Exception) else (one, repr(one))
        for one in found
    ] == [meaning(line) for line in lines]
    assert list(rest) == []


@given(st.lists(st.sampled_from([None, None, StoreBusy(1)]), max_size=5))
def test_answers_are_the_same_written_at_once_and_by_the_encoder(results):
    lines = [read_line(body([{"op": "set_curve", "id": NEW, "curve_data": None}]))]
    lines += [
        read_line(body([{"op": "create_demand", "app_data": 1, "curve_data": None}]))
    ]
    made = [_read(SERVICE, BIDDER, lines[n % 2]) for n in range(len(results))]

    told = _answers(None, _Piece(7, made, {}), results)

    told_of = [json.loads(one) for one in told.splitlines()]
    answers = [BulkAnswer(**one) for one in told_of]
    assert [answer.line for answer in answers] == list(range(7, 7 + len(results)))
    assert told == msgspec.json.Encoder().encode_lines(answers)
    assert [answer.status for answer in answers] == [
        503 if result else 200 + n % 2 for n, result in enumerate(results)
    ]


async def test_others_have_their_turn_while_a_long_body_is_read_and_answered(
    client, monkeypatch
):
    monkeypatch.setattr("flowtrade.core.turns._TURN", 0.0)  # at every occasion
    turns = 0

    async def other():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        reply = await client.post("/bulk", content=long_body(), headers=LINES)
        nursery.cancel_scope.cancel()

    pieces = -(-LONG // 250)
    assert len(reply.text.splitlines()) == LONG
    assert turns >= 2 * pieces


@pytest.mark.parametrize(
    "curve",
    [
        '[{"rate": 1, "price": 1}]',
        '[{"rate": 0, "price": 1}, {"rate": 1, "price": 2}]',
        "[]",
        '{"price": 1, "min_rate": 1}',
        '"x"',
        '[{"rate": 0, "price": 1e999}]',
        '{"price": 1e999}',
        '{"price": 1, "min_rate": -1e999}',
    ],
)
async def test_a_line_is_refused_as_a_request_of_its_own_is(client, curve):
    new = {"app_data": None, "curve_data": None}
    made = (await client.post("/demand", json=new)).json()["id"]
    line = f'{{"op": "set_curve", "id": "{made}", "curve_data": {curve}}}'
    typed = {"Content-Type": "application/json"}

    alone = await client.put(f"/demand/{made}", content=curve, headers=typed)
    reply = await client.post("/bulk", content=line, headers=LINES)

    told = json.loads(reply.content)
    assert alone.status_code in (400, 422)
    assert (told["status"], told["code"]) == (alone.status_code, alone.json()["code"])


async def test_a_line_with_a_group_that_is_none_says_what_is_wrong(client):
    line = {"op": "create_portfolio", "app_data": 1, "demand": 7, "basis": None}
    reply = await client.post("/bulk", content=json.dumps(line), headers=LINES)

    told = json.loads(reply.content)
    assert (told["status"], told["code"]) == (422, "group.type")
