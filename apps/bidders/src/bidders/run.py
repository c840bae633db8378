"""The sample bidders started against a server: its products, one feed, their clients.

What `bidders` runs by the clock and a demo round by round; neither arguments nor
pace live here.
"""

from contextlib import AsyncExitStack
from typing import final
from uuid import NAMESPACE_URL, uuid5

import msgspec
import trio

from bidders.bidder import Bidder, UnknownProduct
from bidders.sample import sample_strategies
from flowtrade.auth import generate_jwt
from flowtrade.client import FlowtradeClient
from flowtrade.feed import FeedInstrument, MarketFeed, instrument_of
from flowtrade.ports import Clock
from integration.market.config import StreamConfig
from netcore.clock import SystemClock

__all__ = ["Access", "bidder_id", "discover", "run_bidders", "start_bidders"]


@final
class Access(msgspec.Struct, frozen=True):
    """Where the auction server is, and how to come in.

    Attributes:
        url: The server.
        secret: Its token key; the bidders sign their own tokens with it.
        clock: What the tokens' times are read from.
    """

    url: str
    secret: str
    clock: Clock = msgspec.field(default_factory=SystemClock)

    def client(self, key: str) -> FlowtradeClient:
        """Return a client that speaks for one bidder, not yet entered."""
        token = generate_jwt(key, self.secret, now=self.clock.now_ns())
        return FlowtradeClient(self.url, token)


def bidder_id(name: str) -> str:
    """The id of a sample bidder: the same in every run."""
    return str(uuid5(NAMESPACE_URL, f"flowtrade:bidder:{name}"))


async def discover(
    client: FlowtradeClient,
) -> tuple[dict[str, str], dict[str, FeedInstrument]]:
    """Read the market's products that have a name and an instrument.

    Returns:
        Product name -> id, and product name -> instrument.

    Raises:
        ApiError: The service refused.
        ConnectionFailed: It could not be reached.
    """
    ids: dict[str, str] = {}
    instruments: dict[str, FeedInstrument] = {}
    for record in (await client.products(leaves=True)).results:
        instrument = instrument_of(record.app_data)
        if instrument is not None and isinstance(record.app_data.get("name"), str):
            ids[record.app_data["name"]] = record.id
            instruments[record.app_data["name"]] = instrument
    return ids, instruments


async def start_bidders(
    access: Access,
    nursery: trio.Nursery,
    stack: AsyncExitStack,
    *,
    config: StreamConfig,
    seed: int,
) -> tuple[MarketFeed, list[Bidder]]:
    """Open a feed of the server's products and start the sample bidders.

    Args:
        access: To the server.
        nursery: Runs the feed.
        stack: Gets the bidders' clients.
        config: Of the feed.
        seed: Of the bidders' moods.

    Returns:
        The feed, keyed by product name, and the bidders, which have not bid yet.

    Raises:
        UnknownProduct: The market has no product with a price.
        ApiError: The service refused.
        ConnectionFailed: It could not be reached.
        IntegrationError: The exchange could not be reached.
    """
    async with access.client(bidder_id("reader")) as reader:
        ids, instruments = await discover(reader)
    feed = MarketFeed(instruments, config=config)
    await nursery.start(feed.run)
    for name in ids:
        await feed.reached(name, 0)
    mids = {name: mid for name in ids if (mid := feed.mid(name)) is not None}
    if not mids:
        msg = f"the market at {access.url} has no product with a price to bid for"
        raise UnknownProduct(msg)
    bidders: list[Bidder] = []
    for strategy in sample_strategies(mids, seed=seed):
        key = bidder_id(strategy.name)
        client = await stack.enter_async_context(access.client(key))
        bidder = Bidder(client, key, strategy, feed=feed, products=ids)
        await bidder.start()
        bidders.append(bidder)
    return feed, bidders


async def run_bidders(
    access: Access,
    *,
    every: float,
    seed: int,
    config: StreamConfig,
    shutdown: trio.Event,
) -> None:
    """Bid until `shutdown` is set, then take all bids back.

    Args:
        access: To the server.
        every: Seconds between two rounds.
        seed: Of the bidders' moods.
        config: Of the feed.
        shutdown: Ends it.

    Raises:
        UnknownProduct: The market has no product with a price.
        ApiError: The service refused.
        ConnectionFailed: It could not be reached when it began.
        IntegrationError: The exchange could not be reached.
    """
    # The clients outlive the bidders, which take their bids back when cancelled.
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        _, bidders = await start_bidders(
            access, nursery, stack, config=config, seed=seed
        )
        for bidder in bidders:
            nursery.start_soon(_bid, bidder, every)
        await shutdown.wait()
        nursery.cancel_scope.cancel()


async def _bid(bidder: Bidder, every: float) -> None:
    await bidder.run(every=every)
