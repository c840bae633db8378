"""A bidder's own side of a batch, the tree of products, and the anchor's round trip."""

import math
from itertools import pairwise
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrade.core.solver import ClearingSolver
from flowtrade.models.curve import ConstantCurve, Point, PwlCurve, utility
from flowtrade.settings import Settings, StoreSettings
from flowtrade.testing.bench import open_bench

ALICE, BOB, CAROL = (str(UUID(int=n)) for n in (1, 2, 3))
ADMIN = "can_view_products=true&can_manage_products=true&can_run_batch=true"


def bidder(name):
    rights = ("create_bid", "query_bid", "read_bid", "update_bid", "view_products")
    return "&".join([f"bidder_id={name}", *(f"can_{right}=true" for right in rights)])


@pytest.fixture(params=["memory", "sqlite"])
async def bench(request, tmp_path):
    url = "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'store.db'}"
    settings = Settings(store=StoreSettings(url=url))
    async with open_bench(settings, solver=ClearingSolver()) as opened:
        yield opened


async def send(bench, bearer, method, path, body=None, status=None):
    async with bench.client(bearer) as client:
        reply = await client.request(method, path, **({"json": body} if body else {}))
    if status is None:
        assert reply.is_success, reply.text
    else:
        assert reply.status_code == status, reply.text
    text = reply.headers["content-type"].startswith("text/plain")
    return reply.text if text else reply.json()


async def product(bench):
    return (await send(bench, ADMIN, "POST", "/product", str(uuid4())))["id"]


async def bid(bench, owner, curve, basis):
    body = {"app_data": str(uuid4()), "curve_data": curve}
    demand = (await send(bench, bidder(owner), "POST", "/demand", body))["id"]
    body = {"app_data": str(uuid4()), "demand": demand, "basis": basis}
    made = await send(bench, bidder(owner), "POST", "/portfolio", body)
    return demand, made["id"]


def points(*pairs):
    return [{"rate": rate, "price": price} for rate, price in pairs]


async def test_the_produce_round_trip(bench):
    apple, banana, carrot, daikon = [await product(bench) for _ in range(4)]
    seller = points((-10, 10), (0, 5))
    bids = [
        await bid(bench, ALICE, seller, {apple: 1, banana: 1}),
        await bid(bench, BOB, seller, {carrot: 1, daikon: 1}),
        await bid(
            bench,
            CAROL,
            points((0, 30), (10, 0)),
            dict.fromkeys((apple, banana, carrot, daikon), 1),
        ),
    ]

    as_of = await send(bench, ADMIN, "POST", "/batch")

    record = await send(bench, ADMIN, "GET", f"/batch/{quote(as_of)}")
    # Only two sums of prices are determined; each is divided evenly.
    assert [record["products"][key]["price"] for key in (apple, banana, carrot, daikon)]
    for key in (apple, banana, carrot, daikon):
        assert record["products"][key]["price"] == pytest.approx(3.75)
        assert record["products"][key]["rate"] == pytest.approx(5)
    for owner, (_, portfolio), rate in zip(
        (ALICE, BOB, CAROL), bids, (-5, -5, 5), strict=True
    ):
        path = f"/portfolio/{portfolio}/outcomes"
        (outcome,) = (await send(bench, bidder(owner), "GET", path))["results"]
        assert outcome["value"]["rate"] == pytest.approx(rate)


async def test_a_price_tells_whether_another_would_do(bench):
    one, two = await product(bench), await product(bench)
    # Nothing trades at 12 to 15: any price between bid and ask clears.
    await bid(bench, ALICE, points((-10, 15), (0, 15)), {one: 1})
    await bid(bench, BOB, points((0, 12), (10, 12)), {one: 1})
    await bid(bench, ALICE, points((-10, 10), (0, 5)), {two: 1})
    await bid(bench, BOB, points((0, 15), (10, 5)), {two: 1})

    rehearsed = await send(bench, ADMIN, "POST", "/batch?dry_run=true")
    await send(bench, ADMIN, "POST", "/batch")

    products = (await send(bench, ADMIN, "GET", "/batch/latest"))["products"]
    assert rehearsed["products"] == products
    assert products[one]["unique"] is False
    assert products[one]["price_min"] == pytest.approx(12)
    assert products[one]["price_max"] == pytest.approx(15)
    assert 12 - 1e-9 <= products[one]["price"] <= 15 + 1e-9
    assert products[two]["unique"] is True
    assert products[two]["price_min"] == pytest.approx(products[two]["price"])


async def test_surpluses_add_up_to_the_gains_from_trade(bench):
    item = await product(bench)
    offers = {
        ALICE: await bid(bench, ALICE, points((-10, 10), (0, 5)), {item: 1}),
        BOB: await bid(bench, BOB, points((0, 15), (10, 5)), {item: 2}),
        CAROL: await bid(bench, CAROL, {"price": 9, "max_rate": 1}, {item: 1}),
    }

    as_of = await send(bench, ADMIN, "POST", "/batch")

    record = await send(bench, ADMIN, "GET", "/batch/latest")
    sides = {}
    for owner, (demand, portfolio) in offers.items():
        side = await send(bench, bidder(owner), "GET", f"/batch/{quote(as_of)}/bids")
        assert side == await send(bench, bidder(owner), "GET", "/batch/latest/bids")
        assert list(side["portfolios"]) == [portfolio]
        assert list(side["demands"]) == [demand]
        paid = side["portfolios"][portfolio]
        assert paid["payment"] == pytest.approx(paid["price"] * paid["rate"])
        assert side["surplus"] == pytest.approx(side["utility"] - side["payment"])
        assert side["surplus"] >= -1e-9
        sides[owner] = side
    assert sum(side["payment"] for side in sides.values()) == pytest.approx(0, abs=1e-9)
    assert sum(s["surplus"] for s in sides.values()) == pytest.approx(record["gains"])
    assert record["gains"] > 0


async def test_an_account_is_of_the_curve_that_was_cleared(bench):
    item = await product(bench)
    demand, _ = await bid(bench, ALICE, points((-10, 10), (0, 5)), {item: 1})
    await bid(bench, BOB, points((0, 15), (10, 5)), {item: 1})
    await send(bench, ADMIN, "POST", "/batch")
    before = await send(bench, bidder(ALICE), "GET", "/batch/latest/bids")

    await send(bench, bidder(ALICE), "DELETE", f"/demand/{demand}")

    assert before == await send(bench, bidder(ALICE), "GET", "/batch/latest/bids")


async def test_a_bidder_without_bids_has_an_empty_side(bench):
    await send(bench, bidder(ALICE), "GET", "/batch/latest/bids", status=404)
    item = await product(bench)
    await bid(bench, BOB, {"price": 1, "max_rate": 1}, {item: 1})
    await send(bench, ADMIN, "POST", "/batch")

    side = await send(bench, bidder(ALICE), "GET", "/batch/latest/bids")

    assert (side["portfolios"], side["demands"], side["surplus"]) == ({}, {}, 0)
    missing = quote("2020-01-01T00:00:00Z")
    await send(bench, bidder(ALICE), "GET", f"/batch/{missing}/bids", status=404)


async def test_a_portfolio_follows_its_products_divisions_over_time(bench):
    """food -> fruit 2, vegetable 3; fruit -> apple 5, banana 7; vegetable -> 11, 13."""
    food = await product(bench)
    _, held = await bid(bench, ALICE, {"price": 1, "max_rate": 1}, {food: 1})
    made = await send(bench, bidder(ALICE), "GET", f"/portfolio/{held}")
    moments = [made["valid_from"]]

    async def divide(parent, *ratios):
        body = [{"app_data": str(uuid4()), "ratio": ratio} for ratio in ratios]
        parts = await send(bench, ADMIN, "POST", f"/product/{parent}", body)
        path = f"/portfolio/{held}?expand=true"
        moments.append((await send(bench, bidder(ALICE), "GET", path))["valid_from"])
        return [part["id"] for part in parts]

    fruit, vegetable = await divide(food, 2, 3)
    apple, banana = await divide(fruit, 5, 7)
    carrot, daikon = await divide(vegetable, 11, 13)

    expected = [
        {food: 1},
        {fruit: 2, vegetable: 3},
        {vegetable: 3, apple: 10, banana: 14},
        {apple: 10, banana: 14, carrot: 33, daikon: 39},
    ]
    for moment, basis in zip(moments, expected, strict=True):
        path = f"/portfolio/{held}?expand=true&as_of={quote(moment)}"
        assert (await send(bench, bidder(ALICE), "GET", path))["basis"] == basis
    assert sorted(set(moments)) == moments

    tree = await send(bench, ADMIN, "GET", f"/product/{food}/tree")
    assert [
        (node["id"], node["depth"], node["ratio"], node["leaf"]) for node in tree
    ] == [
        (food, 0, 1, False),
        (fruit, 1, 2, False),
        (apple, 2, 10, True),
        (banana, 2, 14, True),
        (vegetable, 1, 3, False),
        (carrot, 2, 33, True),
        (daikon, 2, 39, True),
    ]
    assert tree[0]["parent"] is None
    assert tree[2]["parent"] == fruit
    then = await send(
        bench, ADMIN, "GET", f"/product/{food}/tree?as_of={quote(moments[1])}"
    )
    assert [node["id"] for node in then] == [food, fruit, vegetable]
    below = await send(bench, ADMIN, "GET", f"/product/{fruit}/tree")
    assert [(n["id"], n["parent"], n["ratio"]) for n in below] == [
        (fruit, None, 1),
        (apple, fruit, 5),
        (banana, fruit, 7),
    ]


async def test_the_tree_of_no_product_is_404(bench):
    await send(bench, ADMIN, "GET", f"/product/{uuid4()}/tree", status=404)
    item = await product(bench)
    past = quote("2020-01-01T00:00:00Z")
    await send(bench, ADMIN, "GET", f"/product/{item}/tree?as_of={past}", status=404)


# In steps, because areas of subnormal numbers round to nothing.
NUMBERS = st.integers(-5000, 5000).map(lambda n: n / 100)


@st.composite
def curves(draw):
    rates = sorted([0.0, *draw(st.lists(NUMBERS, max_size=6))])
    prices = sorted(
        draw(st.lists(NUMBERS, min_size=len(rates), max_size=len(rates))),
        reverse=True,
    )
    return PwlCurve(
        points=tuple(Point(rate=r, price=p) for r, p in zip(rates, prices, strict=True))
    )


@given(curves(), st.floats(0, 1))
def test_utility_is_the_integral_of_the_curve(curve, share):
    low, high = curve.domain
    rate = low + (high - low) * share

    def price(at):
        for left, right in pairwise(curve.points):
            if left.rate <= at <= right.rate and right.rate > left.rate:
                weight = (at - left.rate) / (right.rate - left.rate)
                return left.price + weight * (right.price - left.price)
        return curve.points[0].price

    # The trapezoid rule is exact between neighbouring kinks.
    kinks = sorted({0.0, rate, *(p.rate for p in curve.points)})
    inside = [k for k in kinks if min(0.0, rate) <= k <= max(0.0, rate)]
    expected = sum((b - a) * price((a + b) / 2) for a, b in pairwise(inside))
    assert utility(curve, rate) == pytest.approx(
        expected if rate >= 0 else -expected, rel=1e-9, abs=1e-6
    )


def test_utility_without_limits():
    curve = ConstantCurve(min_rate=-math.inf, max_rate=math.inf, price=3)

    assert utility(curve, -4) == -12
    assert utility(curve, 0) == 0
    assert utility(ConstantCurve(min_rate=0, max_rate=2, price=3), 5) == 6
