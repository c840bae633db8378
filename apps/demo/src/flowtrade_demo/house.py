"""The whole house on loopback: exchange, auction server, bidders; real sockets.

Every part talks to the next one as strangers would: the server and the bidders each
open their own feed to the exchange, the bidders bid through the public HTTP API with
tokens of their own.
"""

import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import final

import msgspec
import trio
import trustme

from bidders.bidder import Bidder
from bidders.run import Access, start_bidders
from flowtrade.auth import JwtAuthorizer, generate_jwt
from flowtrade.client import FlowtradeClient
from flowtrade.commands.config import Config, FeedConfig, ProductConfig
from flowtrade.commands.running import RunningServer, run_server
from flowtrade.feed import MarketFeed
from flowtrade.ports import Clock
from flowtrade.settings import (
    AuctionSettings,
    ScheduleSettings,
    ServerSettings,
    StoreSettings,
    Transparency,
)
from flowtrade.testing import SeededIds
from flowtrade_demo.config import DemoConfig, DemoError, Pace
from integration.market.config import StreamConfig
from integration.models import ExchangeId
from integration.testing import (
    MarketSource,
    RecordedMarket,
    SimulatedExchange,
    SyntheticMarket,
)
from netcore.clock import ManualClock, SystemClock

__all__ = ["House", "open_house"]

_EXCHANGE = ExchangeId.BINANCE_SPOT
_EVENTS_KEPT = 16_384
"""About 25 minutes of a market with three products and three bidders."""

_QUEUE = 4096
"""Events that may wait for one page: all that it asks for when it opens."""

_START_SECONDS = 15.0
"""Longest time that everything may take to come up on a slow machine."""


@final
class House(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that runs.

    Attributes:
        exchange: The simulator.
        server: The auction server with its feed.
        bidders: The bidders, started.
        feed: What the bidders see, keyed by product name.
        client: A client of the public API without rights.
        secret: The server's token key.
        clock: The server's clock.
    """

    exchange: SimulatedExchange
    server: RunningServer
    bidders: list[Bidder]
    feed: MarketFeed
    client: FlowtradeClient
    secret: str
    clock: Clock

    def admin_client(self) -> FlowtradeClient:
        """A new client that may do everything; the caller closes it."""
        token = generate_jwt(None, self.secret, admin=True, now=self.clock.now_ns())
        return FlowtradeClient(self.server.auction.url, token)

    async def settle(self) -> None:
        """Wait until both feeds have taken all that the exchange has published."""
        for product, key in self.server.products.items():
            sequence = self.exchange.sequence(product)
            await self.server.feed.reached(key, sequence)
            await self.feed.reached(product, sequence)


@asynccontextmanager
async def open_house(config: DemoConfig) -> AsyncIterator[House]:
    """Start everything; leaving the block stops everything, the server in order.

    Raises:
        AddressInUse: The page's port is taken.
        RecordingError: A recording cannot be read.
        DemoError: The arguments do not fit together.
    """
    source = _source(config)
    lockstep = config.pace is Pace.LOCKSTEP
    clock: Clock = ManualClock(source.start_ns) if lockstep else SystemClock()
    secret = secrets.token_urlsafe(32)
    serving, trusting = _tls() if config.tls else (None, None)
    exchange = SimulatedExchange(source, ssl_context=serving)
    shutdown, stopped = trio.Event(), trio.Event()

    async def serve(*, task_status: trio.TaskStatus[RunningServer]) -> None:
        await run_server(
            _server_config(config, exchange),
            authorizer=JwtAuthorizer.from_secret(secret, clock=clock),
            clock=clock,
            ids=SeededIds(config.seed),
            ssl_context=trusting,
            shutdown=shutdown,
            task_status=task_status,
        )
        stopped.set()

    async with exchange, trio.open_nursery() as nursery, AsyncExitStack() as stack:
        streams = StreamConfig(
            websocket_url={_EXCHANGE: exchange.websocket_url},
            rest_url={_EXCHANGE: exchange.rest_url},
            ssl_context=trusting,
        )
        with trio.fail_after(_START_SECONDS):
            server: RunningServer = await nursery.start(serve)
            url = server.auction.url
            client = await stack.enter_async_context(FlowtradeClient(url))
            feed, bidders = await start_bidders(
                Access(url, secret, clock),
                nursery,
                stack,
                config=streams,
                seed=config.seed,
            )
        yield House(
            exchange=exchange,
            server=server,
            bidders=bidders,
            feed=feed,
            client=client,
            secret=secret,
            clock=clock,
        )
        shutdown.set()
        await stopped.wait()
        nursery.cancel_scope.cancel()


def _source(config: DemoConfig) -> MarketSource:
    if config.recordings:
        return RecordedMarket(config.recordings, loop=config.loop)
    try:
        return SyntheticMarket(config.seed, config.symbols)
    except ValueError as error:
        raise DemoError(str(error)) from error


def _server_config(config: DemoConfig, exchange: SimulatedExchange) -> Config:
    live = config.pace is Pace.LIVE
    return Config(
        server=ServerSettings(
            host=config.host, port=config.port, replay=_EVENTS_KEPT, queue=_QUEUE
        ),
        store=StoreSettings(url=config.store),
        schedule=ScheduleSettings(every=config.every if live else None),
        auction=AuctionSettings(transparency=Transparency.BOOK),
        feed=FeedConfig(
            websocket_url={_EXCHANGE: exchange.websocket_url},
            rest_url={_EXCHANGE: exchange.rest_url},
            record=None if config.record is None else str(config.record),
        ),
        product=tuple(
            ProductConfig(
                name=spec.symbol, exchange=_EXCHANGE, base=spec.base, quote=spec.quote
            )
            for spec in exchange.specs.values()
        ),
        solver=config.solver,
    )


def _tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return serving, trusting
