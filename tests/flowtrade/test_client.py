"""The typed client speaks every endpoint that answers JSON."""

import re
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from flowtrade.api.routes import ROUTES
from flowtrade.client import FlowtradeClient
from flowtrade.core.solver import ClearingSolver
from flowtrade.errors import ApiError
from flowtrade.ids import TimeOrderedIds
from flowtrade.models.bulk import BulkCreateDemand, BulkSetCurve
from flowtrade.models.curve import ConstantCurve, Point, PwlCurve
from flowtrade.models.portfolio import TradeCap
from flowtrade.models.product import PartitionChild
from flowtrade.models.submission import Submission
from flowtrade.models.time import parse_timestamp
from flowtrade.settings import AuctionSettings, Settings
from flowtrade.testing.bench import open_bench

ALICE = str(UUID(int=1))
RIGHTS = "".join(
    f"&can_{right}=true"
    for right in (
        *("create_bid", "query_bid", "read_bid", "update_bid"),
        *("view_products", "manage_products", "run_batch"),
    )
)
SELL = ConstantCurve(min_rate=-4, max_rate=0, price=10)
BUY = PwlCurve(points=(Point(rate=0, price=15), Point(rate=10, price=5)))

# Streams, pages and descriptions are not for this client, or tested with a server.
ELSEWHERE = {
    "/updates",
    "/bidder/updates",
    "/health",
    "/health/live",
    "/",
    "/docs",
    "/rapidoc",
    "/docs/api.json",
}


class Calls:
    """Which routes of the table were called."""

    def __init__(self):
        self.seen = set()

    async def __call__(self, request):
        for route in ROUTES:
            pattern = re.sub(r"\{[^}]*\}", "[^/]+", route.path)
            if request.method == route.method and re.fullmatch(
                pattern, request.url.path
            ):
                self.seen.add((route.method, route.path))


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
async def client(calls):
    settings = Settings(auction=AuctionSettings(horizon=1.0))
    async with (
        open_bench(settings, ids=TimeOrderedIds(), solver=ClearingSolver()) as bench,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(bench.app), event_hooks={"request": [calls]}
        ) as http,
    ):
        token = f"bidder_id={ALICE}{RIGHTS}"
        yield FlowtradeClient("http://bench", token, http=http)


async def test_every_endpoint_has_a_method(client, calls):
    item = await client.create_product({"name": "x"}, key="p")
    assert await client.create_product({"name": "x"}, key="p") == item
    seller = await client.create_demand(SELL, key="s")
    buyer = await client.create_demand(BUY)
    portfolios = [
        await client.create_portfolio(demand=demand.id, basis={item.id: 1}, key=key)
        for demand, key in ((seller, "1"), (buyer, None))
    ]
    bid = portfolios[0].id

    rehearsed = await client.rehearse()
    stamp = await client.run_batch()

    record = await client.batch(stamp)
    assert rehearsed.products == record.products
    assert (await client.batches()).results == [await client.batch()] == [record]
    side = await client.batch_bids()
    assert side == await client.batch_bids(stamp)
    assert side.surplus == pytest.approx(record.gains)
    assert side.demands[seller.id].rate == pytest.approx(-4)
    assert (await client.portfolio_outcomes(bid)).results
    assert (await client.product_outcomes(item.id)).results

    cap = TradeCap(min_trade=-1, max_trade=1)
    assert (await client.set_cap(bid, cap)).cap == cap
    assert (await client.position(bid)).cap == cap
    assert (await client.set_cap(bid, None)).cap is None

    made, refused = await client.bulk(
        [
            BulkCreateDemand(app_data=None, curve_data=None),
            BulkSetCurve(id=str(uuid4()), curve_data=None),
        ]
    )
    assert (made.status, refused.status) == (201, 404)
    assert made.record.portfolios is None
    (brief,) = await client.bulk(
        [BulkCreateDemand(app_data=None, curve_data=None)], records=False
    )
    assert (brief.status, brief.record) == (201, msgspec.UNSET)

    assert await client.demand(seller.id)
    assert await client.set_curve(seller.id, BUY)
    assert (await client.curve_history(seller.id)).results
    await client.update_portfolio(bid, basis={})
    assert await client.portfolio(bid)
    assert (await client.demand_history(bid)).results
    assert (await client.product_history(bid)).results
    assert {d.id for d in await client.demands()} == {seller.id, buyer.id}
    assert len(await client.portfolios()) == 2
    assert len((await client.submission()).portfolios) == 2

    child = PartitionChild(app_data={"name": "half"}, ratio=2)
    (part,) = await client.partition(item.id, [child], key="d")
    assert await client.partition(item.id, [child], key="d") == [part]
    tree = await client.product_tree(item.id)
    assert [(node.id, node.ratio) for node in tree] == [(item.id, 1), (part.id, 2)]
    assert await client.product(part.id) == part
    assert len((await client.products()).results) == 2

    await client.delete_portfolio(bid)
    await client.delete_demand(seller.id)
    assert (await client.submit(Submission())).portfolios == []
    assert await client.ready()

    wanted = {
        (route.method, route.path)
        for route in ROUTES
        if route.path not in ELSEWHERE
        and not route.path.endswith(("/updates", "{path:path}"))
    }
    assert wanted - calls.seen == set()


async def test_a_service_that_is_not_ready_says_so(calls):
    def answer(status):
        return FlowtradeClient(
            "http://x",
            http=httpx.AsyncClient(
                transport=httpx.MockTransport(lambda _: httpx.Response(status, json={}))
            ),
        )

    assert not await answer(503).ready()
    with pytest.raises(ApiError):
        await answer(500).ready()


async def test_histories_and_batches_are_read_as_they_were(client):
    item = await client.create_product({"name": "x"})
    demand = await client.create_demand(SELL)
    bid = (await client.create_portfolio(demand=demand.id, basis={item.id: 1})).id
    first = await client.run_batch()
    moment = parse_timestamp(first)
    await client.set_curve(demand.id, BUY)
    await client.update_portfolio(bid, demand={}, basis={})
    second = await client.run_batch()

    for read, key, now in (
        (client.curve_history, demand.id, 2),
        (client.demand_history, bid, 1),
        (client.product_history, bid, 1),
        (client.portfolio_outcomes, bid, 1),
        (client.product_outcomes, item.id, 1),
    ):
        assert len((await read(key)).results) == now
        (row,) = (await read(key, as_of=moment)).results
        assert row.valid_until is None
        assert (await read(key)).results[-1].valid_until is not None
    assert [b.as_of for b in (await client.batches(as_of=moment)).results] == [first]
    assert (await client.batch(at=moment)).as_of == first
    assert (await client.batch_bids(at=moment)).as_of == first
    with pytest.raises(ApiError, match="not-found"):
        await client.batch(second, at=moment)
    with pytest.raises(ApiError, match="not-found"):
        await client.batch_bids(second, at=moment)


async def test_what_is_asked_for_again_under_a_key_is_told_again(client):
    lines = [
        BulkCreateDemand(app_data=None, curve_data=None),
        BulkSetCurve(id=str(uuid4()), curve_data=None),
    ]

    first = await client.bulk(lines, key="k")

    assert await client.bulk(lines, key="k") == first
    assert (await client.bulk(lines))[0].record.id != first[0].record.id
    assert await client.run_batch(key="k") == await client.run_batch(key="k")
    assert len((await client.batches()).results) == 1
