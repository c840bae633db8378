"""Large answers are encoded in pieces, to the same bytes."""

from uuid import UUID

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from flowtrade.api.large import encode_in_turns, large_answer
from flowtrade.core import turns
from flowtrade.core.service import DraftDemand
from flowtrade.ids import TimeOrderedIds
from flowtrade.models.batch import BidderBatch, DemandAccount, PortfolioAccount
from flowtrade.models.curve import ConstantCurve
from flowtrade.models.page import More
from flowtrade.models.product import ProductPage, ProductRecord
from flowtrade.models.time import parse_timestamp
from flowtrade.settings import Settings, StoreSettings
from flowtrade.testing.bench import open_bench

names = st.text(max_size=5)
numbers = st.floats(allow_nan=False, allow_infinity=False)
portfolios = st.builds(
    PortfolioAccount, price=st.none() | numbers, rate=numbers, payment=numbers
)
batches = st.builds(
    BidderBatch,
    as_of=names,
    seq=st.integers(0, 9),
    portfolios=st.dictionaries(names, portfolios, max_size=200),
    demands=st.dictionaries(
        names, st.builds(DemandAccount, rate=numbers, utility=numbers)
    ),
    utility=numbers,
    payment=numbers,
    surplus=numbers,
)
products = st.builds(
    ProductPage,
    results=st.lists(
        st.builds(
            ProductRecord,
            id=names,
            app_data=st.just(msgspec.Raw(b'{"a":[1]}')),
            parent=st.tuples(names, numbers),
            basis=st.none() | st.dictionaries(names, numbers),
        ),
        max_size=200,
    ),
    more=st.just(msgspec.UNSET) | names,
)
lists = st.lists(st.none() | st.builds(More, before=names), max_size=200)
ALL = (
    "&can_create_bid=true&can_query_bid=true&can_read_bid=true&can_manage_products=true"
)
TOKEN = f"bidder_id={UUID(int=1)}{ALL}&can_run_batch=true"


@given(batches | products | lists)
def test_pieces_make_the_bytes_of_the_whole(value):
    async def both():
        return await encode_in_turns(value), (await large_answer(value)).content

    encoded = msgspec.json.encode(value)
    assert trio.run(both) == (encoded, encoded)


async def test_others_have_their_turn_while_it_is_encoded(monkeypatch):
    monkeypatch.setattr(turns, "_TURN", -1.0)
    value, ran = [0] * 64 * 50, []

    async def other():
        while True:
            ran.append(1)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        data = await encode_in_turns(value)
        nursery.cancel_scope.cancel()

    assert data == msgspec.json.encode(value)
    assert len(ran) >= 25


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_long_lists_are_the_same_as_short_ones(tmp_path, monkeypatch, kind):
    url = "memory:" if kind == "memory" else f"sqlite:{tmp_path / 'store.db'}"
    paths = ["/demand", "/portfolio", "/submission"]
    settings = Settings(store=StoreSettings(url=url))
    async with (
        open_bench(settings, ids=TimeOrderedIds()) as bench,
        bench.client(TOKEN) as client,
    ):
        item = (await client.post("/product", json=1)).json()["id"]
        early = (await client.post("/demand", json=[])).status_code
        made = []
        for number in range(7):
            body = {"app_data": number, "curve_data": {"price": number}}
            if number % 3 == 0:
                body["curve_data"] = None
            made.append((await client.post("/demand", json=body)).json()["id"])
            body = {"app_data": 1, "demand": made[-2:], "basis": {item: number}}
            if number % 3 == 1:
                body |= {"demand": None, "basis": None}
            bid = (await client.post("/portfolio", json=body)).json()["id"]
        # A portfolio that uses a demand younger than itself.
        body = {"app_data": 9, "curve_data": {"price": 9}}
        young = (await client.post("/demand", json=body)).json()["id"]
        patch = await bench.service.set_groups(bid, demand={young: 2.0})
        batch = (await client.post("/batch")).text

        short = [(await client.get(path)).json() for path in paths]
        monkeypatch.setattr("flowtrade.core.bidding._FEW", 0)
        long = [(await client.get(path)).json() for path in paths]
        past = [
            (await client.get(path, params={"as_of": batch})).json() for path in paths
        ]

    assert early == 422
    assert patch.demand == {young: 2.0}
    assert long == short
    assert len(short[0]) == 5
    assert {"portfolios": None}.items() <= short[0][0].items()
    assert any(demand["portfolios"] == {bid: 2.0} for demand in short[2]["demands"])
    assert [{**past[2], "as_of": ""}] == [{**short[2], "as_of": ""}]
    assert past[:2] == short[:2]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_what_happens_while_a_long_list_is_read_is_not_in_it(
    tmp_path, monkeypatch, kind
):
    url = "memory:" if kind == "memory" else f"sqlite:{tmp_path / 'store.db'}"
    settings = Settings(store=StoreSettings(url=url))
    async with (
        open_bench(settings, ids=TimeOrderedIds()) as bench,
        bench.client(TOKEN) as client,
    ):
        body = {"app_data": 1, "curve_data": {"price": 1}}
        demand = (await client.post("/demand", json=body)).json()["id"]
        body = {"app_data": 1, "demand": demand, "basis": None}
        bid = (await client.post("/portfolio", json=body)).json()["id"]
        store = bench.service._store
        read, changes = store.bids_at, []

        async def late(owner, at):  # a read that waits for its turn
            await bench.service.set_curve(demand, ConstantCurve(price=2.0))
            await bench.service.set_groups(bid, demand={demand: 2.0})
            changes.append(await bench.service.create_demand(owner, b"1", None))
            return await read(owner, at)

        for path in ("/demand", "/portfolio", "/submission"):
            before = (await client.get(path)).json()
            with monkeypatch.context() as patch:
                patch.setattr("flowtrade.core.bidding._FEW", 0)
                patch.setattr(store, "bids_at", late)
                assert (await client.get(path)).json() == before
            assert (await client.get(path)).json() != before

    assert len(changes) == 3


async def test_others_may_run_after_each_bid_of_an_account(monkeypatch):
    async with (
        open_bench(ids=TimeOrderedIds()) as bench,
        bench.client(TOKEN) as client,
    ):
        item = (await client.post("/product", json=1)).json()["id"]
        for _ in range(5):
            body = {"app_data": 1, "curve_data": {"price": 1}}
            demand = (await client.post("/demand", json=body)).json()["id"]
            body = {"app_data": 1, "demand": demand, "basis": item}
            await client.post("/portfolio", json=body)
        await client.post("/batch")
        given = []

        async def give_way(_turns):
            given.append(1)

        monkeypatch.setattr(turns.Turns, "give_way", give_way)
        account = (await client.get("/batch/latest/bids")).json()

    assert len(account["demands"]) == len(account["portfolios"]) == 5
    assert len(given) >= 10


async def test_a_submission_tells_the_moment_of_what_it_shows(tmp_path):
    settings = Settings(store=StoreSettings(url=f"sqlite:{tmp_path / 'store.db'}"))
    async with open_bench(settings, ids=TimeOrderedIds()) as bench:
        told = []

        async def submit(price):
            curve = ConstantCurve(price=price)
            draft = DraftDemand(id=None, app_data=b"1", curve=curve)
            told.append(await bench.service.submit(str(UUID(int=1)), [draft], []))

        async with trio.open_nursery() as nursery:  # both share a commit
            nursery.start_soon(submit, 1.0)
            nursery.start_soon(submit, 2.0)

    for record in told:
        (shown,) = record.demands
        assert parse_timestamp(shown.valid_from) <= parse_timestamp(record.as_of)
