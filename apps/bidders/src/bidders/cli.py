"""`bidders`: the sample bidders against any running auction server."""

import sys
from pathlib import Path
from typing import Annotated
from uuid import NAMESPACE_URL, uuid5

import trio
from cyclopts import App, CycloptsError, Parameter

from bidders.bidder import Bidder, UnknownProduct
from bidders.sample import sample_strategies
from flowtrade.auth import generate_jwt
from flowtrade.client import FlowtradeClient
from flowtrade.errors import ApiError, ConnectionFailed, InvalidRequest
from flowtrade.feed import FeedInstrument, MarketFeed, instrument_of
from flowtrade.program import EXIT_USAGE, run_program
from integration.errors import IntegrationError
from integration.market.config import StreamConfig

__all__ = ["app", "bidder_id", "discover", "main"]

app = App(name="bidders", help="Bid like a maker, a spread trader and a basket buyer.")


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


@app.default
def bid(
    url: str = "http://127.0.0.1:8080",
    *,
    secret: Annotated[str, Parameter(env_var="FLOWTRADE_SECRET")],
    every: float = 1.0,
    seed: int = 0,
    websocket_url: str | None = None,
    rest_url: str | None = None,
    record: Path | None = None,
) -> int:
    """Bid until SIGINT or SIGTERM, then take all bids back.

    Args:
        url: The auction server.
        secret: Its token key; the bidders sign their own tokens with it.
        every: Seconds between two rounds.
        seed: Of the bidders' moods.
        websocket_url: The exchange's feed, if not the real one (Binance spot).
        rest_url: The exchange's REST address, likewise.
        record: Folder into which the raw feed is recorded.
    """

    async def run(shutdown: trio.Event) -> None:
        config = StreamConfig(
            websocket_url={}
            if websocket_url is None
            else {"binance_spot": websocket_url},
            rest_url={} if rest_url is None else {"binance_spot": rest_url},
            recorder=record,
        )
        async with trio.open_nursery() as nursery:
            await _bid(nursery, url, secret, every=every, seed=seed, config=config)
            await shutdown.wait()
            nursery.cancel_scope.cancel()

    return run_program(
        "bidders",
        run,
        usage_errors=(UnknownProduct, InvalidRequest),
        run_errors=(ApiError, ConnectionFailed, IntegrationError),
    )


async def _bid(  # what the command line gives
    nursery: trio.Nursery,
    url: str,
    secret: str,
    *,
    every: float,
    seed: int,
    config: StreamConfig,
) -> None:
    async with FlowtradeClient(
        url, generate_jwt(bidder_id("reader"), secret)
    ) as reader:
        ids, instruments = await discover(reader)
    feed = MarketFeed(instruments, config=config)
    await nursery.start(feed.run)
    for name in ids:
        await feed.reached(name, 0)
    mids = {name: mid for name in ids if (mid := feed.mid(name)) is not None}
    for strategy in sample_strategies(mids, seed=seed):
        key = bidder_id(strategy.name)
        client = FlowtradeClient(url, generate_jwt(key, secret))
        bidder = Bidder(client, key, strategy, feed=feed, products=ids)
        await bidder.start()
        nursery.start_soon(_run, client, bidder, every)


async def _run(client: FlowtradeClient, bidder: Bidder, every: float) -> None:
    async with client:
        await bidder.run(every=every)


def main() -> None:
    """Run the command line and exit."""
    try:
        code = app(exit_on_error=False, result_action="return_value")
    except CycloptsError:
        sys.exit(EXIT_USAGE)  # cyclopts has said what is wrong
    sys.exit(code if isinstance(code, int) else 0)
