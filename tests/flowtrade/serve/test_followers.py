"""A follower's mirror stands where the store stands, whatever was written elsewhere.

Writes go over HTTP to the leader and, some of them, to another process's service; what
a follower answers from its memory is compared with what the store itself tells.
"""

import random
from functools import partial

import pytest
import trio

from flowtrade.auth import FormAuthorizer
from flowtrade.client import FlowtradeClient
from flowtrade.core.mirror import Mirror
from flowtrade.errors import ApiError
from flowtrade.models.curve import ConstantCurve, Point, PwlCurve
from flowtrade.models.product import PartitionChild
from flowtrade.serve import run_auction
from flowtrade.settings import (
    AuctionSettings,
    ScheduleSettings,
    ServerSettings,
    Settings,
    StoreSettings,
)
from flowtrade.testing.crash.load import token_of

pytest.importorskip("psycopg", reason="the extra postgres is absent")

BIDDERS = [f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2)]


def settings(url):
    return Settings(
        server=ServerSettings(port=0),
        store=StoreSettings(url=url),
        schedule=ScheduleSettings(every=None),
        auction=AuctionSettings(horizon=1.0),
    )


async def start(nursery, url):
    run = partial(run_auction, settings(url), authorizer=FormAuthorizer())
    return await nursery.start(run)


class Writer:
    """A bidder who does one thing after the other, at random, and some of it wrong."""

    def __init__(self, client, seed):
        self.client = client
        self.random = random.Random(seed)  # noqa: S311  # no secret
        self.demands, self.portfolios, self.items = [], [], []

    def curve(self):
        price = self.random.uniform(1, 9)
        return self.random.choice(
            [
                None,
                ConstantCurve(min_rate=-1.0, max_rate=1.0, price=price),
                PwlCurve(
                    points=(Point(rate=-1, price=price), Point(rate=1, price=price / 2))
                ),
            ]
        )

    def some(self, known):
        return {key: self.random.uniform(-2, 2) for key in known if self.heads()}

    def heads(self):
        return self.random.random() < 0.5

    async def step(self):
        client, pick = self.client, self.random.choice
        match self.random.randrange(8):
            case 0:
                self.items.append((await client.create_product("item")).id)
            case 1 if self.items:
                parts = [PartitionChild(app_data="part", ratio=r) for r in (1.5, 0.0)]
                item = self.items.pop(self.random.randrange(len(self.items)))
                made = await client.partition(item, parts)
                self.items += [part.id for part in made]
            case 2 | 1:
                self.demands.append((await client.create_demand(self.curve())).id)
            case 3 if self.demands:
                await client.set_curve(pick(self.demands), self.curve())
            case 4 | 3:
                made = await client.create_portfolio(
                    demand=self.some(self.demands), basis=self.some(self.items)
                )
                self.portfolios.append(made.id)
            case 5 if self.portfolios:
                groups = {}
                if self.heads():
                    groups["demand"] = self.some(self.demands)
                if self.heads():
                    groups["basis"] = self.some(self.items)
                await client.update_portfolio(pick(self.portfolios), **groups)
            case 6 if self.portfolios:
                key = pick(self.portfolios)
                await client.update_portfolio(key, demand={}, basis={})
            case _:
                # Nobody's: refused, and nothing of it may be seen anywhere.
                with pytest.raises(ApiError, match="404"):
                    await client.set_curve(BIDDERS[0], None)

    async def run(self, steps):
        for _ in range(steps):
            await self.step()


def image(mirror):
    """All that a mirror holds, comparable."""
    return {
        "at": mirror.at,
        "sizes": mirror.sizes(),
        "demands": {
            owner: [
                (view.entity, view.curve, view.portfolios)
                for view in mirror.demands_of(owner)
            ]
            for owner in BIDDERS
        },
        "portfolios": {owner: list(mirror.portfolios_of(owner)) for owner in BIDDERS},
        "products": [
            (product, mirror.products.leaves(product.id)) for product in mirror.products
        ],
        "auction": mirror.gather(),
        "positions": mirror.positions,
        "batch": mirror.batch,
    }


async def follow(follower, moment):
    """Wait until a follower has heard of a moment."""
    heard = trio.Event()

    def listen(_applied):
        if follower.service.mirror.at >= moment:
            heard.set()

    # The service's own listener was there before, so its mirror has moved by then.
    follower.service.subscribe(listen)
    if follower.service.mirror.at < moment:
        with trio.fail_after(60):
            await heard.wait()


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_followers_mirror_equals_the_store_after_random_writes(
    postgres_url, nursery, seed
):
    leader = await start(nursery, postgres_url)
    follower = await start(nursery, postgres_url)
    assert (leader.lead.epoch, follower.lead.epoch) == (1, None)
    async with (
        FlowtradeClient(leader.url, token_of(BIDDERS[0])) as first,
        FlowtradeClient(follower.url, token_of(BIDDERS[1])) as second,
    ):
        for turn in range(2):
            async with trio.open_nursery() as writers:
                for client, count in ((first, 40), (second, 15)):
                    writer = Writer(client, seed * 10 + turn)
                    writers.start_soon(writer.run, count)
            await first.run_batch()

            snapshot = await leader.service._store.snapshot()
            for auction in (leader, follower):
                await follow(auction, snapshot.at)
                assert image(auction.service.mirror) == image(
                    Mirror.from_snapshot(snapshot)
                )
        # And over HTTP, one by one: what it answers now is what the store tells of now.
        for key in [view.id for view in await second.demands()]:
            now = await second.demand(key)
            assert now == await second.demand(key, as_of=snapshot.at)
